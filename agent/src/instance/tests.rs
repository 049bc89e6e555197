//! Who may have which share of a machine.

use std::collections::BTreeSet;

use super::*;

/// What an agent asks for, and asks with.
struct Agent {
    tag: &'static str,
    dir: &'static str,
    first_uid: Option<u32>,
    directories: Vec<PathBuf>,
    owned: Vec<Owned>,
}

/// One that leaves it to the machine which user ids it has.
fn chooses(tag: &'static str, dir: &'static str) -> Agent {
    Agent { tag, dir, first_uid: None, directories: Vec::new(), owned: Vec::new() }
}

fn agent(tag: &'static str, dir: &'static str, first_uid: u32) -> Agent {
    Agent { first_uid: Some(first_uid), ..chooses(tag, dir) }
}

fn wish(agent: &Agent) -> Wish<'_> {
    Wish {
        tag: agent.tag,
        state_dir: Path::new(agent.dir),
        directories: &agent.directories,
        first_uid: agent.first_uid,
        subnet: Subnet::containing("10.64.0.1".parse().unwrap(), 20).unwrap(),
    }
}

fn claim(
    directory: &Path,
    agent: &Agent,
    uids: impl FnOnce() -> Vec<u32>,
) -> Result<Held, ClaimError> {
    beside(directory, agent, &[], uids)
}

/// Claims while these interfaces are there.
fn beside(
    directory: &Path,
    agent: &Agent,
    interfaces: &[&str],
    uids: impl FnOnce() -> Vec<u32>,
) -> Result<Held, ClaimError> {
    let interfaces = interfaces.iter().map(|name| (*name).to_owned()).collect();
    let now = || Ok(MachineNow { uids: uids().into_iter().collect(), interfaces });
    super::claim(directory, &wish(agent), &agent.owned, now)
}

fn subordinate(ids: Range<u64>) -> Owned {
    Owned { owner: "alice's subordinate ids".to_owned(), file: "/etc/subuid", ids }
}

fn nobody() -> Vec<u32> {
    Vec::new()
}

#[test]
fn two_agents_with_one_tag_are_one_too_many_while_the_first_lives() {
    let temp = tempfile::tempdir().unwrap();
    let first = claim(temp.path(), &agent("bg", "/a", 200_000), nobody).unwrap();
    let error = claim(temp.path(), &agent("bg", "/b", 300_000), nobody).unwrap_err();
    assert!(matches!(&error, ClaimError::TagTaken { tag, .. } if tag == "bg"), "{error}");
    let said = error.to_string();
    assert!(said.contains(&std::process::id().to_string()) && said.contains("/a"), "{said}");
    // Nor the same agent twice.
    claim(temp.path(), &agent("bg", "/a", 200_000), nobody).unwrap_err();
    drop(first);
    claim(temp.path(), &agent("bg", "/b", 300_000), nobody).unwrap();
}

#[test]
fn guests_that_run_without_their_agent_keep_their_tag_from_another_and_not_from_their_own() {
    let temp = tempfile::tempdir().unwrap();
    drop(claim(temp.path(), &agent("bg", "/a", 200_000), nobody).unwrap());
    let running = || vec![0, 200_007];
    let error = claim(temp.path(), &agent("bg", "/b", 300_000), running).unwrap_err();
    assert!(matches!(error, ClaimError::GuestsRun { .. }), "{error}");
    claim(temp.path(), &agent("bg", "/a", 200_000), running).unwrap();
}

#[test]
fn no_two_agents_have_a_user_id_in_common() {
    let temp = tempfile::tempdir().unwrap();
    let first = claim(temp.path(), &agent("b0", "/a", 200_000), nobody).unwrap();
    for shared in [200_000, 200_000 - 4095, 204_095] {
        let error = claim(temp.path(), &agent("b1", "/b", shared), nobody).unwrap_err();
        let ClaimError::UidsTaken { first, last, .. } = &error else { panic!("{error}") };
        assert_eq!((*first, *last), (200_000, 204_095));
        assert!(error.to_string().contains("guests.uid_base"), "{error}");
    }
    let beside = claim(temp.path(), &agent("b1", "/b", 204_096), nobody).unwrap();
    drop((first, beside));
    // Nobody holds them and nobody runs: they are free.
    claim(temp.path(), &agent("b2", "/c", 200_000), nobody).unwrap();
    let running = || vec![204_100];
    claim(temp.path(), &agent("b3", "/d", 204_096), running).unwrap_err();
}

/// A claim as it is written now, with a value in every field. It has no format of its own, because
/// the directory is empty after a boot; but an agent that was updated meets the claims of others
/// that were not, and they its own.
#[test]
fn a_claim_is_written_as_it_was_before() {
    let claim = Claim {
        tag: "bg".to_owned(),
        state_dir: "/var/lib/banger-agent".into(),
        first_uid: 200_000,
        uids: 4096,
        earlier: vec![(300_000, 256)],
        subnet: "10.64.0.0/20".to_owned(),
        directories: vec!["/srv/jailer".into()],
        pid: 4711,
    };
    let written = r#"{"tag":"bg","state_dir":"/var/lib/banger-agent","first_uid":200000,"uids":4096,"earlier":[[300000,256]],"subnet":"10.64.0.0/20","directories":["/srv/jailer"],"pid":4711}"#;
    assert_eq!(serde_json::to_string(&claim).unwrap(), written);
    // What the first agents wrote is read.
    let first =
        r#"{"tag":"bg","state_dir":"/a","first_uid":1,"uids":2,"subnet":"10.64.0.0/31","pid":3}"#;
    let first: Claim = serde_json::from_str(first).unwrap();
    assert_eq!((first.earlier, first.directories), (Vec::new(), Vec::new()));
}

/// What may lie where a claim should, and what is said of it.
fn damages() -> Vec<(&'static str, Vec<u8>, &'static str)> {
    let whole = serde_json::json!({
        "tag": "b9", "state_dir": "/z", "first_uid": 200_000, "uids": 4096,
        "subnet": "10.64.0.0/20", "pid": 1,
    });
    let text = |value: &serde_json::Value| serde_json::to_vec(value).unwrap();
    let with = |key: &str, value: serde_json::Value| {
        let mut changed = whole.clone();
        changed[key] = value;
        text(&changed)
    };
    vec![
        ("cut", text(&whole)[..40].to_vec(), "EOF"),
        ("no JSON", b"\0\xff\xfe".to_vec(), "expected value"),
        ("no object", b"[]".to_vec(), "invalid"),
        ("another's", with("tag", "b8".into()), "instance \"b8\""),
        ("impossible", with("first_uid", (-1).into()), "invalid value"),
        ("too long", vec![b' '; 20_000], "longer than any claim"),
    ]
}

#[test]
fn a_claim_that_cannot_be_understood_is_said_and_never_taken_for_free() {
    for (what, content, why) in damages() {
        // Of another agent, and of an earlier life of this one: which ids its guests have is not
        // known.
        for tag in ["b0", "b9"] {
            let temp = tempfile::tempdir().unwrap();
            let path = temp.path().join("b9.json");
            std::fs::write(&path, &content).unwrap();
            let error = claim(temp.path(), &agent(tag, "/a", 200_000), nobody).unwrap_err();
            assert!(matches!(error, ClaimError::Unclear { .. }), "{what} {tag}: {error}");
            let said = error.to_string();
            assert!(said.contains("b9.json") && said.contains(why), "{what} {tag}: {said}");
            assert_eq!(std::fs::read(&path).unwrap(), content, "{what}: it is as it was");
            std::fs::remove_file(&path).unwrap();
            claim(temp.path(), &agent(tag, "/a", 200_000), nobody).unwrap();
        }
    }
}

#[test]
fn an_empty_claim_that_nobody_holds_is_nobodys_unless_something_of_its_instance_is_there() {
    for tag in ["b0", "b9"] {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("b9.json");
        std::fs::write(&path, "").unwrap();
        let agent = agent(tag, "/a", 200_000);
        for interface in ["b9br0", "b9-000000000002"] {
            let error = beside(temp.path(), &agent, &["lo", interface], nobody).unwrap_err();
            assert!(matches!(error, ClaimError::Unclear { .. }), "{tag}: {error}");
            assert!(error.to_string().contains(interface), "{tag}: {error}");
        }
        // One that writes it holds it, and has the turn in the versions that wrote in place.
        let held = open_claim(&path).unwrap().unwrap();
        held.lock().unwrap();
        let error = claim(temp.path(), &agent, nobody).unwrap_err();
        let taken = matches!(error, ClaimError::TagTaken { .. });
        assert!(if tag == "b9" { taken } else { error.to_string().contains("holds") }, "{error}");
        drop(held);
        let others = ["lo", "b0br0", "b8-000000000002", "b9"];
        let held = beside(temp.path(), &agent, &others, nobody).unwrap();
        assert_eq!(held.first_uid(), 200_000);
        drop(held);
        // In no instance's name it is nothing that any version has left.
        std::fs::write(temp.path().join("backup.json"), "").unwrap();
        let error = claim(temp.path(), &agent, nobody).unwrap_err();
        assert!(error.to_string().contains("backup.json"), "{error}");
    }
}

#[test]
fn while_it_cannot_be_read_as_whom_processes_run_nobody_gets_an_id() {
    let temp = tempfile::tempdir().unwrap();
    drop(claim(temp.path(), &agent("b0", "/a", 200_000), nobody).unwrap());
    let claimed = std::fs::read(temp.path().join("b0.json")).unwrap();
    for tag in ["b0", "b1"] {
        let agent = agent(tag, "/b", 200_000);
        let blind = || Err(io::Error::other("no /proc"));
        let error = super::claim(temp.path(), &wish(&agent), &[], blind).unwrap_err();
        assert!(matches!(error, ClaimError::Unread(_)), "{tag}: {error}");
    }
    assert_eq!(std::fs::read(temp.path().join("b0.json")).unwrap(), claimed);
    assert!(!temp.path().join("b1.json").exists());
}

#[test]
fn a_process_runs_as_its_user_whatever_it_calls_itself_and_one_that_cannot_be_read_is_an_error() {
    let proc = tempfile::tempdir().unwrap();
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let process = |pid: &str| {
        std::fs::create_dir(proc.path().join(pid)).unwrap();
        proc.path().join(pid).join("status")
    };
    std::fs::write(process("42"), &status).unwrap();
    // Its directory is still there, and nothing is in it.
    process("43");
    let own = BTreeSet::from([nix::unistd::getuid().as_raw(), nix::unistd::geteuid().as_raw()]);
    assert_eq!(now::running_uids(proc.path()).unwrap(), own);
    // What it calls itself is its own choice, and need be no text.
    let hostile = b"Name:\t\xff\xfe Uid:\t0\nUmask:\t0022\nUid:\t200007\t200007\t200007\t200007\n";
    std::fs::write(process("45"), hostile).unwrap();
    assert!(now::running_uids(proc.path()).unwrap().contains(&200_007));
    std::fs::write(process("44"), "Name:\tcut").unwrap();
    now::running_uids(proc.path()).unwrap_err();
    now::running_uids(&proc.path().join("nowhere")).unwrap_err();
}

#[test]
fn claims_that_cannot_be_understood_are_listed_without_touching_any() {
    let temp = tempfile::tempdir().unwrap();
    let now = MachineNow { interfaces: vec!["b7br0".to_owned()], ..MachineNow::default() };
    let unclear = |directory: &Path| files::unclear(directory, &now).unwrap();
    assert_eq!(unclear(&temp.path().join("nowhere")), Vec::<String>::new());
    let held = claim(temp.path(), &agent("b0", "/a", 200_000), nobody).unwrap();
    assert_eq!(unclear(temp.path()), Vec::<String>::new());
    for (name, text) in [("b7.json", ""), ("b8.json", ""), ("b9.json", "{"), ("b9.new", "{")] {
        std::fs::write(temp.path().join(name), text).unwrap();
    }
    let said = unclear(temp.path());
    assert_eq!(said.len(), 2, "{said:?}");
    assert!(said[0].contains("b7.json") && said[0].contains("b7br0"), "{said:?}");
    assert!(said[1].contains("b9.json"), "{said:?}");
    // Who holds one goes on holding it.
    claim(temp.path(), &agent("b0", "/b", 300_000), nobody).unwrap_err();
    drop(held);
}

#[test]
fn what_is_no_file_is_no_claim_and_hangs_nobody_and_no_link_is_followed() {
    let temp = tempfile::tempdir().unwrap();
    let elsewhere = temp.path().join("elsewhere");
    std::fs::write(&elsewhere, "kept").unwrap();
    let path = temp.path().join("b9.json");
    let mode = nix::sys::stat::Mode::from_bits_truncate(0o600);
    let plant: [(&str, &dyn Fn()); 3] = [
        ("a FIFO", &|| nix::unistd::mkfifo(&path, mode).unwrap()),
        ("a directory", &|| std::fs::create_dir(&path).unwrap()),
        ("a link", &|| std::os::unix::fs::symlink(&elsewhere, &path).unwrap()),
    ];
    for (what, plant) in plant {
        plant();
        for tag in ["b0", "b9"] {
            let error = claim(temp.path(), &agent(tag, "/a", 200_000), nobody).unwrap_err();
            assert!(error.to_string().contains("b9.json"), "{what} {tag}: {error}");
        }
        std::fs::remove_file(&path).or_else(|_| std::fs::remove_dir(&path)).unwrap();
    }
    assert_eq!(std::fs::read_to_string(&elsewhere).unwrap(), "kept");
}

#[test]
fn an_agent_that_is_refused_leaves_no_claim_and_one_that_runs_is_one_whatever_its_claim_says() {
    let temp = tempfile::tempdir().unwrap();
    let first = claim(temp.path(), &agent("b0", "/a", 200_000), nobody).unwrap();
    claim(temp.path(), &agent("b1", "/b", 200_000), nobody).unwrap_err();
    let mut names: Vec<_> =
        std::fs::read_dir(temp.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names, ["b0.json", "lock"]);
    std::fs::write(temp.path().join("b0.json"), "").unwrap();
    let error = claim(temp.path(), &agent("b0", "/a", 200_000), nobody).unwrap_err();
    assert!(matches!(error, ClaimError::TagTaken { .. }), "{error}");
    let error = claim(temp.path(), &agent("b1", "/b", 300_000), nobody).unwrap_err();
    assert!(matches!(error, ClaimError::Unclear { .. }), "{error}");
    drop(first);
    // What an agent left that died while it wrote its claim is no claim.
    std::fs::remove_file(temp.path().join("b0.json")).unwrap();
    std::fs::write(temp.path().join("b0.new"), "half").unwrap();
    claim(temp.path(), &agent("b1", "/b", 200_000), nobody).unwrap();
    claim(temp.path(), &agent("b0", "/a", 300_000), nobody).unwrap();
}

#[test]
fn a_share_that_is_given_back_leaves_nothing() {
    let temp = tempfile::tempdir().unwrap();
    let held = claim(temp.path(), &agent("bg", "/a", 200_000), nobody).unwrap();
    held.give_back().unwrap();
    assert!(!temp.path().join("bg.json").exists());
}

#[test]
fn ids_that_a_user_of_the_machine_can_be_are_no_guests() {
    let temp = tempfile::tempdir().unwrap();
    for ids in [165_536..231_072, 204_196..204_197, 200_101..200_102] {
        let owned = vec![subordinate(ids)];
        let chosen = Agent { owned: owned.clone(), ..agent("bg", "/a", 200_101) };
        let error = claim(temp.path(), &chosen, nobody).unwrap_err();
        assert!(matches!(error, ClaimError::UidsOwned { .. }), "{error}");
        let said = error.to_string();
        assert!(said.contains("alice") && said.contains("/etc/subuid"), "{said}");
        let left_out = Agent { owned, ..chooses("bg", "/a") };
        let held = claim(temp.path(), &left_out, nobody).unwrap();
        assert!(said.contains(&format!("`guests.uid_base` to {}", held.first_uid())), "{said}");
        held.give_back().unwrap();
    }
    let beside =
        Agent { owned: vec![subordinate(204_096..9_999_999)], ..agent("bg", "/a", 200_000) };
    claim(temp.path(), &beside, nobody).unwrap();
}

#[test]
fn the_ids_that_earlier_versions_were_configured_with_stop_no_agent_after_an_update() {
    let temp = tempfile::tempdir().unwrap();
    let owned = vec![subordinate(165_536..231_072)];
    let updated = Agent { owned: owned.clone(), ..agent("bg", "/a", 200_000) };
    // Guests that it started before the update run on with their ids.
    let running = || vec![200_007];
    let held = claim(temp.path(), &updated, running).unwrap();
    assert_eq!(held.first_uid(), 231_072);
    // Another agent's ids are another matter: that was somebody's choice on this machine.
    let second = Agent { owned: vec![], ..agent("b1", "/b", 231_072) };
    let error = claim(temp.path(), &second, nobody).unwrap_err();
    assert!(matches!(error, ClaimError::UidsTaken { .. }), "{error}");
}

#[test]
fn ids_that_are_left_out_are_free_ones_and_stay_the_same_over_lives() {
    let temp = tempfile::tempdir().unwrap();
    let owned = vec![subordinate(100_000..300_000), subordinate(1_000_000..1_001_000_000)];
    let first = Agent { owned, ..chooses("b0", "/a") };
    let held = claim(temp.path(), &first, nobody).unwrap();
    assert_eq!(held.first_uid(), 300_000);
    let second = claim(temp.path(), &chooses("b1", "/b"), nobody).unwrap();
    assert_eq!(second.first_uid(), 200_000);
    let third = claim(temp.path(), &chooses("b2", "/c"), nobody).unwrap();
    assert_eq!(third.first_uid(), 204_096);
    drop((held, second, third));
    // What kept it from the first choice is gone by now, and it stays where it is.
    let again = claim(temp.path(), &chooses("b0", "/a"), nobody).unwrap();
    assert_eq!(again.first_uid(), 300_000);
    let everything = Agent { owned: vec![subordinate(0..u64::MAX)], ..chooses("b9", "/x") };
    let error = claim(temp.path(), &everything, nobody).unwrap_err();
    assert!(matches!(error, ClaimError::NoUids { uids: 4096 }), "{error}");
}

#[test]
fn a_range_in_which_guests_run_stays_their_agents_when_it_takes_another() {
    let temp = tempfile::tempdir().unwrap();
    drop(claim(temp.path(), &agent("bg", "/a", 200_000), nobody).unwrap());
    let running = || vec![200_007];
    // One that laps over: another guest could get the id of one that runs.
    let error = claim(temp.path(), &agent("bg", "/a", 200_005), running).unwrap_err();
    assert!(matches!(error, ClaimError::UidsOfOwnGuests { first: 200_000, .. }), "{error}");
    let moved = claim(temp.path(), &agent("bg", "/a", 300_000), running).unwrap();
    let error = claim(temp.path(), &agent("b1", "/b", 200_000), running).unwrap_err();
    assert!(matches!(error, ClaimError::UidsTaken { first: 200_000, .. }), "{error}");
    drop(moved);
    // Over a further life, and until the last of them has ended.
    drop(claim(temp.path(), &agent("bg", "/a", 300_000), running).unwrap());
    claim(temp.path(), &agent("b1", "/b", 200_000), running).unwrap_err();
    drop(claim(temp.path(), &agent("bg", "/a", 300_000), nobody).unwrap());
    claim(temp.path(), &agent("b1", "/b", 200_000), nobody).unwrap();
}

#[test]
fn no_two_agents_have_a_directory_in_common() {
    let temp = tempfile::tempdir().unwrap();
    let run = temp.path().join("run");
    std::fs::create_dir(&run).unwrap();
    std::os::unix::fs::symlink(&run, temp.path().join("link")).unwrap();
    let first = Agent { directories: vec![run.clone()], ..chooses("b0", "/a") };
    let held = claim(temp.path(), &first, nobody).unwrap();
    let same_state = chooses("b1", "/a");
    let same_sockets = Agent { directories: vec![temp.path().join("link")], ..chooses("b1", "/b") };
    for second in [&same_state, &same_sockets] {
        let error = claim(temp.path(), second, nobody).unwrap_err();
        let said = error.to_string();
        assert!(matches!(error, ClaimError::DirectoryTaken { .. }), "{said}");
        assert!(said.contains("instance b0") && said.contains("runtime_dir"), "{said}");
    }
    // Its guests run on without it.
    drop(held);
    claim(temp.path(), &same_sockets, || vec![200_001]).unwrap_err();
    claim(temp.path(), &same_sockets, nobody).unwrap();
}

#[test]
fn a_share_is_given_back_in_turn_with_those_who_claim() {
    let temp = tempfile::tempdir().unwrap();
    let held = claim(temp.path(), &agent("bg", "/a", 200_000), nobody).unwrap();
    let turn = take_turn(temp.path()).unwrap();
    let giving = std::thread::spawn(move || held.give_back().unwrap());
    // Whoever has the turn finds what it has opened still there: a second claim cannot come to hold
    // a file that has no name any more.
    let path = temp.path().join("bg.json");
    let opened = files::open(&path).unwrap();
    assert!(matches!(opened.try_lock(), Err(TryLockError::WouldBlock)));
    assert!(path.exists() && !giving.is_finished());
    drop(turn);
    giving.join().unwrap();
    assert!(!path.exists());
}

#[test]
fn files_of_etc_say_whose_ids_are() {
    let temp = tempfile::tempdir().unwrap();
    let etc = temp.path().join("etc");
    std::fs::create_dir(&etc).unwrap();
    for (name, text) in [
        ("passwd", "root:x:0:0::/root:/bin/sh\n+::::::\n\n"),
        ("group", "staff:x:50:alice\n"),
        ("subuid", "alice:100000:65536\nbroken\nbob:1:18446744073709551615\nnone:7:0\n"),
        ("subgid", "1000:165536:65536\n"),
    ] {
        std::fs::write(etc.join(name), text).unwrap();
    }
    let found: Vec<_> =
        ids::read(temp.path()).into_iter().map(|o| (o.owner, o.file, o.ids)).collect();
    assert_eq!(
        found,
        [
            ("root".to_owned(), "/etc/passwd", 0..1),
            ("staff".to_owned(), "/etc/group", 50..51),
            ("alice's subordinate ids".to_owned(), "/etc/subuid", 100_000..165_536),
            ("1000's subordinate ids".to_owned(), "/etc/subgid", 165_536..231_072),
        ]
    );
}

/// Not a test by itself: the second life of the one below.
#[test]
fn may_not_be_dumped() {
    let Some(uid) = std::env::var("BANGER_TEST_UNDUMPED").ok().and_then(|uid| uid.parse().ok())
    else {
        return;
    };
    let user = nix::unistd::Uid::from_raw(uid);
    nix::unistd::setresuid(user, user, user).unwrap();
    nix::sys::prctl::set_dumpable(false).unwrap();
    println!("ready");
    let mut line = String::new();
    std::io::stdin().read_line(&mut line).unwrap();
}

#[test]
fn priv_a_process_that_may_not_be_dumped_still_runs_as_its_user() {
    use std::io::BufRead as _;
    const UID: u32 = 200_919;
    #[expect(clippy::disallowed_methods, reason = "who becomes another user does not come back")]
    let mut child = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "instance::tests::may_not_be_dumped", "--nocapture"])
        .env("BANGER_TEST_UNDUMPED", UID.to_string())
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = std::io::BufReader::new(child.stdout.take().unwrap()).lines();
    assert!(lines.any(|line| line.unwrap() == "ready"));
    let running = MachineNow::read().unwrap().uids;
    drop(child.stdin.take());
    child.wait().unwrap();
    assert!(running.contains(&UID));
}

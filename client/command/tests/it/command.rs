//! Claims about the command as a process: exit codes, what goes where, and that it asks.

use std::path::Path;

use assert_cmd::Command;
use banger_client::v1::{HostState, VmState};
use tonic::Code;

use banger_fake_server::{self as fake, Running, refusal};

pub(crate) struct Ran {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

/// Runs `banger` with nothing in its environment but a home of its own.
pub(crate) fn run_in(home: &Path, server: &str, args: &[&str], stdin: &str) -> Ran {
    let mut command = Command::new(env!("CARGO_BIN_EXE_banger"));
    command.env_clear().env("HOME", home);
    if !server.is_empty() {
        command.env("BANGER_SERVER", server);
    }
    let output = command.args(args).write_stdin(stdin).output().unwrap();
    Ran {
        code: output.status.code().unwrap_or(-1),
        out: String::from_utf8(output.stdout).unwrap(),
        err: String::from_utf8(output.stderr).unwrap(),
    }
}

pub(crate) fn run(server: &Running, args: &[&str]) -> Ran {
    let home = tempfile::tempdir().unwrap();
    run_in(home.path(), &server.url(), args, "")
}

pub(crate) fn with_vms(names: &[&str]) -> Running {
    let server = fake::start();
    server.state().hosts.insert("b0".to_owned(), fake::host("b0", HostState::Online));
    let mut args = vec!["vm", "create", "--kernel", "k", "--memory", "512M"];
    args.extend(names);
    let ran = run(&server, &args);
    assert_eq!(ran.code, 0, "{}", ran.err);
    server
}

#[test]
fn a_server_that_is_down_is_one_line_that_says_what_to_do() {
    let home = tempfile::tempdir().unwrap();
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", free.local_addr().unwrap());
    drop(free);
    let ran = run_in(home.path(), &url, &["vm", "ls"], "");
    assert_eq!(ran.code, 6);
    assert_eq!(
        ran.err,
        format!(
            "error: cannot reach the server at {url}: connection refused. Is it running? Start \
             one with `banger dev`, or name another with --server.\n"
        )
    );
    assert_eq!(ran.out, "");
}

#[test]
fn each_class_of_error_has_its_exit_code() {
    let server = with_vms(&["web"]);
    for (args, code) in [
        (&["vm", "get", "web"][..], 0),
        (&["vm", "frobnicate"], 2),
        (&["vm", "get"], 2),
        (&["vm", "get", "nope"], 3),
        (&["vm", "create", "web", "--kernel", "k"], 4),
        (&["host", "rm", "b0", "--yes"], 4),
        (&["vm", "create", "other"], 5),
        (&["vm", "console", "web", "--no-attach"], 0),
        (&["host", "drain", "b0"], 8),
        (&["image", "get", "nope"], 3),
        (&["image", "import", "x"], 2),
        (&["vm", "rm", "web"], 2),
        (&["vm", "stop", "web", "other", "--etag", "1"], 2),
        (&["--context", "nope", "vm", "ls"], 2),
        (&["--server", "ftp://x", "vm", "ls"], 2),
        (&["--ca", "/nonexistent", "vm", "ls"], 2),
    ] {
        let ran = run(&server, args);
        assert_eq!(ran.code, code, "{args:?}\n{}{}", ran.out, ran.err);
        assert_eq!(ran.err.is_empty(), code == 0, "{args:?}: {}", ran.err);
    }
    server.state().refuse = Some(refusal(Code::Unauthenticated, "TOKEN_INVALID", "no"));
    assert_eq!(run(&server, &["vm", "ls"]).code, 9);
    server.state().refuse = Some(refusal(Code::Unavailable, "STORE_UNAVAILABLE", "full"));
    assert_eq!(run(&server, &["vm", "ls"]).code, 6);
    server.state().refuse = Some(refusal(Code::Internal, "INTERNAL", "oops"));
    assert_eq!(run(&server, &["vm", "ls"]).code, 1);
}

#[test]
fn every_bad_field_is_listed_on_a_line_of_its_own() {
    let server = fake::start();
    let ran = run(&server, &["vm", "create", "web", "--vcpus", "99"]);
    assert_eq!(ran.code, 5);
    assert_eq!(
        ran.err,
        "error: 2 fields are wrong (INVALID_FIELDS)\n  spec.kernel.name: is required\n  \
         spec.vcpus: must be 1 to 32\n"
    );
}

#[test]
fn what_the_server_does_not_have_yet_is_said_plainly() {
    let server = fake::start();
    let ran = run(&server, &["host", "drain", "b0"]);
    assert_eq!(
        ran.err,
        "error: the server does not have this yet: DrainHost comes later (NOT_IMPLEMENTED)\n"
    );
}

#[test]
fn an_inventory_is_shown_with_all_its_pages() {
    let server = fake::start();
    let ran = run(&server, &["-o", "name", "host", "inventory", "b0"]);
    assert_eq!(ran.out, "bg-aaaaaaaaaaaa\nbg-bbbbbbbbbbbb\nbg-cccccccccccc\nbg-dddddddddddd\n");
}

#[test]
fn a_sweep_needs_yes_unless_it_is_a_dry_run_and_fails_when_something_stays_behind() {
    let server = fake::start();
    let ran = run(&server, &["host", "sweep", "b0"]);
    assert!(ran.err.contains("refusing to remove from b0 what no VM owns"), "{}", ran.err);
    let asked = |name| server.state().calls.iter().filter(|(call, _)| *call == name).count();
    assert_eq!(asked("SweepHost"), 0);
    let ran = run(&server, &["host", "sweep", "b0", "--dry-run"]);
    assert_eq!(ran.code, 0, "{}", ran.err);
    let ran = run(&server, &["host", "sweep", "b0", "--yes"]);
    assert_eq!(ran.code, 1);
    assert!(ran.out.contains("remove snapshot: busy"), "{}", ran.out);
    assert!(ran.err.contains("1 of what no VM owns could not be removed"), "{}", ran.err);
}

#[test]
fn a_program_gets_the_error_as_json() {
    let server = fake::start();
    let ran = run(&server, &["-o", "json", "vm", "create", "web", "--vcpus", "99"]);
    let error: serde_json::Value = serde_json::from_str(&ran.err).unwrap();
    assert_eq!(error["error"]["code"], "InvalidArgument");
    assert_eq!(error["error"]["reason"], "INVALID_FIELDS");
    assert_eq!(error["error"]["fields"][1]["field"], "spec.vcpus");
    assert_eq!(error["error"]["exitCode"], 5);
}

#[test]
fn destroying_without_a_terminal_needs_yes() {
    let server = with_vms(&["web"]);
    let ran = run(&server, &["vm", "rm", "web"]);
    assert_eq!(
        ran.err,
        "error: refusing to delete web with all disks without being asked on a terminal; \
         add --yes\n"
    );
    assert!(server.state().vms.contains_key("web"));
    let ran = run(&server, &["vm", "rm", "web", "--yes", "--wait"]);
    assert_eq!((ran.code, ran.out.as_str()), (0, "web is gone\n"), "{}", ran.err);
    assert!(server.state().vms.is_empty());
    let ran = run(&server, &["vm", "rm", "web", "--yes", "--allow-missing"]);
    assert_eq!((ran.code, ran.out.as_str()), (0, "web was not there\n"), "{}", ran.err);
}

#[test]
fn one_bad_name_among_several_does_not_stop_the_others() {
    let server = with_vms(&["a", "b"]);
    let ran = run(&server, &["vm", "stop", "a", "nope", "b", "-o", "name"]);
    assert_eq!(ran.code, 3);
    assert_eq!(ran.out, "a\nb\n");
    assert_eq!(ran.err, "error: nope: there is no VM \"nope\" (VM_NOT_FOUND)\n");
}

#[test]
fn names_can_be_piped() {
    let server = with_vms(&["a", "b", "c"]);
    assert_eq!(run(&server, &["vm", "ls", "-o", "name"]).out, "a\nb\nc\n");
    assert_eq!(run(&server, &["host", "ls", "-o", "name"]).out, "b0\n");
    assert_eq!(run(&server, &["host", "token", "-o", "name"]).out, "bjt_secret\n");
}

#[test]
fn output_that_is_no_terminal_has_no_colours() {
    let server = with_vms(&["a"]);
    for args in [&["vm", "ls"][..], &["vm", "get", "a"], &["host", "ls"], &["vm", "get", "x"]] {
        let ran = run(&server, args);
        assert!(!(ran.out + &ran.err).contains('\x1b'), "{args:?}");
    }
}

#[test]
fn simulated_is_marked_wherever_vms_and_hosts_are_shown() {
    let server = with_vms(&["a"]);
    for args in [
        &["vm", "ls"][..],
        &["vm", "get", "a"],
        &["vm", "explain", "a"],
        &["vm", "start", "a"],
        &["vm", "wait", "a"],
        &["host", "ls"],
        &["host", "get", "b0"],
    ] {
        let ran = run(&server, args);
        assert!(ran.out.contains("(simulated)"), "{args:?}: {}", ran.out);
    }
}

#[test]
fn create_takes_a_file_from_standard_input_and_flags_win() {
    let server = fake::start();
    let home = tempfile::tempdir().unwrap();
    let yaml = "name: web\nspec:\n  kernel: {name: k}\n  vcpus: 2\n  memoryMib: 512\n";
    let args = ["vm", "create", "-f", "-", "--memory", "1G", "-o", "json"];
    let ran = run_in(home.path(), &server.url(), &args, yaml);
    assert_eq!(ran.code, 0, "{}", ran.err);
    let vm: serde_json::Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!((&vm["name"], &vm["spec"]["vcpus"]), (&"web".into(), &2.into()));
    assert_eq!(vm["spec"]["memoryMib"], 1024);
    assert_eq!(vm["desiredState"], "DESIRED_STATE_RUNNING");
    assert_eq!(vm["createTime"], "2026-11-22T08:00:00Z");
    assert_eq!(vm["generation"], "1", "64-bit numbers are strings");
}

#[test]
fn a_bad_spec_file_is_refused_before_anything_is_sent() {
    let server = fake::start();
    let home = tempfile::tempdir().unwrap();
    let args = ["vm", "create", "web", "-f", "-"];
    let ran = run_in(home.path(), &server.url(), &args, "memory: 512\n");
    assert_eq!(ran.code, 5, "{}", ran.err);
    assert!(ran.err.contains("standard input") && ran.err.contains("memory"), "{}", ran.err);
    assert_eq!(ran.err.lines().count(), 1, "{}", ran.err);
    assert!(server.state().calls.is_empty());
}

#[test]
fn a_vm_that_was_printed_can_be_edited_and_given_back() {
    let server = with_vms(&["web"]);
    let home = tempfile::tempdir().unwrap();
    let printed = run(&server, &["vm", "get", "web", "-o", "yaml"]).out;
    let edited = printed.replace("memoryMib: 512", "memoryMib: 768");
    let args = ["vm", "update", "web", "-f", "-"];
    let ran = run_in(home.path(), &server.url(), &args, &edited);
    assert_eq!(ran.code, 0, "{}", ran.err);
    assert_eq!(server.state().vms["web"].spec.as_ref().unwrap().memory_mib, 768);
    // Somebody changed it meanwhile: by now it is another VM than the one that was edited.
    let ran = run_in(home.path(), &server.url(), &args, &edited);
    assert_eq!(ran.code, 4, "{}", ran.err);
    assert!(ran.err.contains("ETAG_MISMATCH"), "{}", ran.err);
}

#[test]
fn an_update_names_what_it_changes_and_reads_nothing_before() {
    let server = with_vms(&["web"]);
    server.state().overtaken = 1;
    let ran = run(&server, &["vm", "update", "web", "--label", "mine=1", "--memory", "768M"]);
    assert_eq!(ran.code, 0, "{}", ran.err);
    let spec = server.state().vms["web"].spec.clone().unwrap();
    assert_eq!(spec.labels.len(), 2, "a label of somebody was lost: {:?}", spec.labels);
    assert_eq!((&*spec.labels["mine"], spec.memory_mib), ("1", 768));
    let calls: Vec<_> = server.state().calls.iter().map(|(name, _)| *name).collect();
    assert!(calls.ends_with(&["UpdateVm"]) && !calls.contains(&"GetVm"), "{calls:?}");
    let ran = run(&server, &["vm", "update", "web", "--remove-label", "mine"]);
    assert_eq!(ran.code, 0, "{}", ran.err);
    assert!(!server.state().vms["web"].spec.clone().unwrap().labels.contains_key("mine"));
    // With an etag of the caller's it is made once.
    server.state().overtaken = 1;
    let etag = server.state().vms["web"].etag.clone();
    let ran = run(&server, &["vm", "update", "web", "--label", "mine=2", "--etag", &etag]);
    assert_eq!(ran.code, 4);
    assert!(ran.err.contains("ETAG_MISMATCH"), "{}", ran.err);
}

#[test]
fn a_context_file_that_cannot_be_read_stops_nobody_who_names_a_server() {
    let server = with_vms(&["web"]);
    let home = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(home.path().join(".config/banger")).unwrap();
    let file = home.path().join(".config/banger/config.toml");
    for broken in [&b"this is no toml = = ="[..], &[0xff, 0xfe, 0x00]] {
        std::fs::write(&file, broken).unwrap();
        let ran = run_in(home.path(), "", &["vm", "ls", "--server", &server.url()], "");
        assert_eq!(ran.code, 0, "{}", ran.err);
        let ran = run_in(home.path(), &server.url(), &["vm", "ls"], "");
        assert_eq!(ran.code, 0, "{}", ran.err);
        // Who means what is in it is told.
        let ran = run_in(home.path(), "", &["vm", "ls"], "");
        assert!(ran.code != 0 && ran.err.contains("config.toml"), "{}", ran.err);
        let args = ["vm", "ls", "--server", &server.url(), "--context", "lab"];
        assert!(run_in(home.path(), "", &args, "").err.contains("config.toml"));
    }
    // One that an editor has put a mark on is as good as any.
    let text = format!("\u{feff}current = 'lab'\n[contexts.lab]\nserver = '{}'\n", server.url());
    std::fs::write(&file, text).unwrap();
    assert_eq!(run_in(home.path(), "", &["vm", "get", "web"], "").code, 0);
}

#[test]
fn a_spec_with_a_mark_of_an_editor_at_its_beginning_is_read() {
    let server = with_vms(&[]);
    let home = tempfile::tempdir().unwrap();
    for (name, text) in [
        ("a.yaml", "memory_mib: 512\nkernel: {name: k}\n"),
        ("b.json", r#"{"memoryMib": 512, "kernel": {"name": "k"}}"#),
        ("c.toml", "memory_mib = 512\n[kernel]\nname = 'k'\n"),
        ("d", "memory_mib: 512\nkernel: {name: k}\n"),
    ] {
        let path = home.path().join(name);
        std::fs::write(&path, format!("\u{feff}{text}")).unwrap();
        let vm = name.split('.').next().unwrap();
        let args = ["vm", "create", vm, "-f", path.to_str().unwrap()];
        let ran = run_in(home.path(), &server.url(), &args, "");
        assert_eq!(ran.code, 0, "{name}: {}", ran.err);
    }
    let stdin = "\u{feff}memory_mib: 512\nkernel: {name: k}\n";
    let ran = run_in(home.path(), &server.url(), &["vm", "create", "e", "-f", "-"], stdin);
    assert_eq!(ran.code, 0, "{}", ran.err);
}

#[test]
fn a_wait_for_ready_waits_for_the_guest_and_never_for_one_that_is_to_stop() {
    let server = with_vms(&["web"]);
    assert_eq!(run(&server, &["vm", "start", "web", "--wait"]).code, 0);
    assert_eq!(run(&server, &["vm", "start", "web", "--wait=ready"]).code, 0);
    assert_eq!(run(&server, &["vm", "create", "b", "--kernel", "k", "--wait=ready"]).code, 0);
    assert_eq!(server.state().waited_ready, [false, true, true]);
    let ran = run(&server, &["vm", "stop", "web", "--wait=ready"]);
    assert_eq!(ran.code, 2);
    assert!(ran.err.contains("use --wait"), "{}", ran.err);
    // The value is part of the flag: a name after it is a name.
    assert_eq!(run(&server, &["vm", "start", "--wait", "web"]).code, 0);
}

#[test]
fn the_token_of_a_host_comes_as_lines_to_paste_without_the_token_in_arguments() {
    let server = fake::start();
    let mut expected = String::new();
    for (named, more) in [(&[][..], ""), (&["--name", "two"], " --name two")] {
        let ran = run(&server, &[&["host", "token"], named].concat());
        assert_eq!((ran.code, &*ran.out), (0, "bjt_secret\n"));
        expected = format!(
            "echo bjt_secret | banger-agent join --server {} --token-file -{more}\n\
             systemctl restart banger-agent\n",
            server.url()
        );
        assert!(ran.err.ends_with(&expected), "{}", ran.err);
    }
    // What documents show is what is printed; the dashboard's test has the same words.
    let shown = expected.replace("bjt_secret", "TOKEN").replace(" two", " NAME");
    for (document, url, shows) in [
        (include_str!("../../../../docs/OPERATIONS.md"), "URL", 2),
        (include_str!("../../../../deploy/README.md"), "https://server.example:7070", 1),
    ] {
        let shown = shown.replace(&server.url(), url);
        let joins = document.matches("banger-agent join --server").count();
        assert_eq!((document.matches(&shown).count(), joins), (shows, shows), "{shown}");
    }
}

#[test]
fn a_dry_run_creates_nothing() {
    let server = fake::start();
    let ran = run(&server, &["vm", "create", "web", "--kernel", "k", "--dry-run"]);
    assert_eq!(ran.code, 0, "{}", ran.err);
    assert!(ran.err.starts_with("Dry run"), "{}", ran.err);
    assert!(server.state().vms.is_empty());
}

#[test]
fn a_wait_that_fails_says_why_and_leaves_with_its_own_code() {
    let server = fake::start();
    server.state().new_state = Some(VmState::Failed);
    let ran = run(&server, &["vm", "create", "web", "--kernel", "k", "--wait"]);
    assert_eq!(ran.code, 7);
    assert_eq!(
        ran.err,
        "error: web is FAILED on b0 (simulated): b0 has no image \"k\" (KERNEL_IMAGE_MISSING)\n"
    );
    server.state().new_state = Some(VmState::Starting);
    let args = ["vm", "create", "db", "--kernel", "k", "--wait", "--timeout", "200ms"];
    let ran = run(&server, &args);
    assert_eq!(ran.code, 7);
    assert!(ran.err.contains("not reached within 200ms: db is STARTING"), "{}", ran.err);
}

#[test]
fn a_watch_prints_one_json_object_a_line() {
    use banger_client::v1::{Vm, VmEvent, VmEventType, WatchVmsResponse};
    let server = fake::start();
    let vm = Vm { id: "i".into(), name: "web".into(), revision: 1, ..Vm::default() };
    let event = VmEvent { r#type: VmEventType::Added.into(), revision: 1, vm: Some(vm) };
    let events = vec![event];
    server.state().watches.extend([
        vec![fake::Step::Say(WatchVmsResponse {
            events,
            revision: 1,
            initial_state_complete: true,
        })],
        vec![fake::Step::Fail(refusal(Code::PermissionDenied, "NOT_PERMITTED", "no more"))],
    ]);
    let ran = run(&server, &["vm", "watch", "-o", "json"]);
    assert_eq!(ran.code, 9);
    let line: serde_json::Value = serde_json::from_str(ran.out.trim()).unwrap();
    assert_eq!(line["type"], "VM_EVENT_TYPE_ADDED");
    assert_eq!(line["vm"]["name"], "web");
}

#[test]
fn contexts_are_made_used_and_forgotten() {
    let server = with_vms(&["web"]);
    let home = tempfile::tempdir().unwrap();
    let at = |args: &[&str]| run_in(home.path(), "", args, "");
    let url = server.url();
    assert_eq!(at(&["context", "set", "lab", "--server", &url, "--token", "t", "--use"]).code, 0);
    assert_eq!(at(&["vm", "ls", "-o", "name"]).out, "web\n");
    assert_eq!(server.state().calls.last().unwrap().1.as_deref(), Some("Bearer t"));
    let listed = at(&["context", "ls", "-o", "json"]).out;
    assert!(listed.contains("\"lab\"") && !listed.contains("\"t\""), "{listed}");
    let ran = at(&["context", "use", "moon"]);
    assert_eq!(ran.code, 2);
    assert_eq!(ran.err, "error: there is no context \"moon\"; there are: lab\n");
    assert_eq!(at(&["context", "rm", "lab"]).code, 0);
    assert_eq!(at(&["context", "ls", "-o", "name"]).out, "");
}

#[test]
fn a_token_of_the_environment_is_not_stored_unless_somebody_names_it() {
    let home = tempfile::tempdir().unwrap();
    let set = |args: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_banger"));
        command.env_clear().env("HOME", home.path()).env("BANGER_TOKEN", "secret-of-the-shell");
        command.args(["context", "set", "lab", "--server", "http://127.0.0.1:1"]).args(args);
        let output = command.output().unwrap();
        assert!(output.status.success());
        String::from_utf8(output.stderr).unwrap()
    };
    let stored =
        || std::fs::read_to_string(home.path().join(".config/banger/config.toml")).unwrap();
    assert!(set(&[]).contains("The token of BANGER_TOKEN is not stored"));
    assert!(!stored().contains("secret-of-the-shell"), "{}", stored());
    assert_eq!(set(&["--token", "named"]), "");
    assert!(stored().contains("named"), "{}", stored());
}

#[test]
fn dev_refuses_what_cannot_be_in_one_line() {
    let home = tempfile::tempdir().unwrap();
    let at = |args: &[&str]| run_in(home.path(), "", args, "");
    let ran = at(&["dev", "down"]);
    assert_eq!((ran.code, ran.err.as_str()), (0, "Nothing to take down.\n"));
    let ran = at(&["dev", "status"]);
    assert_eq!(ran.code, 0, "{}", ran.err);
    assert_eq!(at(&["dev", "up", "--simulate", "--real"]).code, 2);
    assert_eq!(at(&["dev", "up", "--hosts", "0"]).code, 2);
}

#[test]
fn a_mistyped_name_is_answered_with_the_nearest() {
    let server = with_vms(&["web", "worker"]);
    let import = ["image", "import", "alpine", "--server-path", "/srv/images/a"];
    assert_eq!(run(&server, &import).code, 0);
    for (args, near) in [
        (&["vm", "get", "wbe"][..], "\"web\""),
        (&["vm", "stop", "wroker"], "\"worker\""),
        (&["vm", "exec", "wbe", "--", "cat"], "\"web\""),
        (&["host", "get", "bo"], "\"b0\""),
        (&["image", "get", "alpin"], "\"alpine\""),
        (&["vm", "get", "wbe", "wrker"], "\"worker\""),
    ] {
        let ran = run(&server, args);
        assert_ne!(ran.code, 0);
        assert!(ran.err.contains(&format!("did you mean {near}?")), "{args:?} {}", ran.err);
    }
    let ran = run(&server, &["vm", "get", "something"]);
    assert_eq!(ran.err, "error: there is no VM \"something\" (VM_NOT_FOUND)\n");
}

#[test]
fn words_that_hands_expect_are_there() {
    let server = with_vms(&["web"]);
    assert_eq!(run(&server, &["ps", "-o", "name"]).out, "web\n");
    assert_eq!(run(&server, &["vm", "ps", "-o", "name"]).out, "web\n");
    assert_eq!(run(&server, &["logs", "web", "--tail", "7"]).out, "the last 7\n");
    assert_eq!(run(&server, &["restart", "web"]).code, 0);
    assert_eq!(run(&server, &["vm", "restart", "web"]).code, 0);
    assert_eq!(run(&server, &["exec", "web", "--", "fail"]).code, 3);
    assert!(run(&server, &["version"]).out.starts_with("banger "));
    let shell = run(&server, &["shell", "web"]);
    assert_eq!(shell.code, 0, "{}", shell.err);
    assert!(shell.out.starts_with("[\"/bin/sh\""), "{}", shell.out);
    let ran = run(&server, &["status"]);
    let expected = format!("Server {}\n1 host: 1 ONLINE\n1 VM: 1 RUNNING\n", server.url());
    assert_eq!((ran.code, ran.out), (0, expected));
}

#[test]
fn a_program_that_is_not_set_apart_is_shown_how() {
    let server = with_vms(&["web"]);
    for (args, tip) in [
        (&["vm", "exec", "web", "ls", "-l"][..], "banger vm exec web -- ls -l"),
        (&["exec", "web", "uname"], "banger exec web -- uname"),
        (&["vm", "run", "job", "uname", "-a"], "banger vm run job -- uname -a"),
    ] {
        let ran = run(&server, args);
        assert_eq!(ran.code, 2, "{}", ran.err);
        assert!(ran.err.contains(tip), "{args:?} {}", ran.err);
    }
}

/// What `banger` offers a shell for the last of these words.
fn offered(server: &Running, shell: &str, words: &[&str]) -> String {
    let home = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(home.path().join(".config/banger")).unwrap();
    let file = home.path().join(".config/banger/config.toml");
    std::fs::write(file, "[contexts.lab]\nserver = 'http://127.0.0.1:1'\n").unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_banger"));
    command.env_clear().env("HOME", home.path()).env("BANGER_SERVER", server.url());
    // As the scripts of these shells set them.
    command.env("COMPLETE", shell).env("_CLAP_COMPLETE_INDEX", (words.len()).to_string());
    command.env("_CLAP_COMPLETE_COMP_TYPE", "9").env("_CLAP_COMPLETE_SPACE", "true");
    command.env("_CLAP_IFS", "\n").env("PATH", "/usr/bin:/bin");
    let output = command.args(["--", "banger"]).args(words).output().unwrap();
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn a_shell_completes_names_of_vms_hosts_images_and_contexts() {
    let server = with_vms(&["web", "worker", "db"]);
    let import = ["image", "import", "alpine", "--server-path", "/srv/images/a"];
    assert_eq!(run(&server, &import).code, 0);
    for shell in ["bash", "zsh", "fish"] {
        let names = |words: &[&str]| offered(&server, shell, words);
        let vms = names(&["vm", "get", "w"]);
        assert!(vms.contains("web") && vms.contains("worker"), "{shell}: {vms:?}");
        assert!(!vms.contains("db"), "{shell}: {vms:?}");
        assert!(names(&["vm", "exec", "d"]).contains("db"), "{shell}");
        // As each shell wants a colon written.
        assert!(names(&["vm", "cp", "d"]).replace('\\', "").contains("db:/"), "{shell}");
        assert!(names(&["host", "get", "b"]).contains("b0"), "{shell}");
        assert!(names(&["image", "rm", "al"]).contains("alpine"), "{shell}");
        assert!(names(&["context", "use", "l"]).contains("lab"), "{shell}");
        assert!(names(&["vm", "cre"]).contains("create"), "{shell}");
    }
    // A server that is not there: nothing is offered, and nothing fails.
    drop(server);
    let nobody = fake::start();
    nobody.state().refuse = Some(refusal(Code::Unavailable, "SHUTTING_DOWN", "no"));
    assert!(!offered(&nobody, "fish", &["vm", "get", "w"]).contains("error"));
}

#[test]
fn each_command_has_a_manual_page() {
    let server = fake::start();
    let dir = tempfile::tempdir().unwrap();
    let at = dir.path().join("man1");
    let ran = run(&server, &["man", at.to_str().unwrap()]);
    assert_eq!(ran.code, 0, "{}", ran.err);
    for (page, text) in [
        ("banger.1", "Firecracker"),
        ("banger-vm-create.1", "memory"),
        ("banger-vm-exec.1", "SIGINT"),
        ("banger-host-token.1", "ttl"),
    ] {
        let page = std::fs::read_to_string(at.join(page)).unwrap();
        assert!(page.contains(".TH") && page.contains(text), "{page}");
    }
    // A page for each command that a help names, and none for what is not there.
    let mut named = std::collections::BTreeSet::from(["banger.1".to_owned()]);
    let mut paths = vec![Vec::<String>::new()];
    while let Some(path) = paths.pop() {
        let words: Vec<&str> = path.iter().map(String::as_str).chain(["--help"]).collect();
        let help = run(&server, &words).out;
        let commands = help.split("\nCommands:\n").nth(1).unwrap_or_default();
        for line in commands.lines().take_while(|line| line.starts_with("  ")) {
            let is_name = |line: &&str| !line.starts_with("   ");
            let name = Some(line).filter(is_name).and_then(|line| line.split_whitespace().next());
            let Some(name) = name.filter(|name| *name != "help") else { continue };
            let deeper = [&path[..], &[name.to_owned()]].concat();
            named.insert(format!("banger-{}.1", deeper.join("-")));
            paths.push(deeper);
        }
    }
    let pages = std::fs::read_dir(&at).unwrap();
    let pages = pages.map(|page| page.unwrap().file_name().into_string().unwrap());
    assert_eq!(pages.collect::<std::collections::BTreeSet<_>>(), named);
    assert!(named.len() > 50, "{named:?}");
}

#[test]
fn a_copy_to_or_from_standard_input_and_output_is_refused_with_what_does_it() {
    let server = with_vms(&["web"]);
    for ends in [["web:/proc/meminfo", "-"], ["-", "web:/tmp/a"]] {
        let ran = run(&server, &[&["vm", "cp"][..], &ends[..]].concat());
        assert_eq!(ran.code, 2);
        assert!(ran.err.contains("vm exec"), "{}", ran.err);
    }
}

#[test]
fn an_image_whose_name_and_file_are_swapped_is_told_the_order() {
    let server = fake::start();
    let file = tempfile::NamedTempFile::new().unwrap();
    let path = file.path().to_str().unwrap();
    let ran = run(&server, &["image", "import", path, "climb"]);
    assert_eq!(ran.code, 2, "{}", ran.err);
    assert!(ran.err.contains(&format!("image import climb {path}")), "{}", ran.err);
}

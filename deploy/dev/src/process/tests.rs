//! Claims about who is believed to be ours, and who is ended.

use super::*;

fn sleeper() -> (tempfile::TempDir, Identity) {
    let dir = tempfile::tempdir().unwrap();
    let args = ["600".to_owned()];
    let identity = spawn(Path::new("/bin/sleep"), &args, &dir.path().join("log")).unwrap().unwrap();
    (dir, identity)
}

#[tokio::test]
async fn a_process_is_stopped_once_and_then_was_gone() {
    let (_dir, identity) = sleeper();
    assert!(identity.lives());
    assert_eq!(identity.stop(Duration::from_secs(20)).await.unwrap(), Stopped::ByItself);
    assert!(!identity.lives(), "a zombie counts as dead");
    assert_eq!(identity.stop(Duration::from_secs(20)).await.unwrap(), Stopped::WasGone);
    identity.ended().await.unwrap();
}

#[tokio::test]
async fn a_process_that_does_not_listen_is_killed() {
    let dir = tempfile::tempdir().unwrap();
    let (ready, log) = (dir.path().join("ready"), dir.path().join("log"));
    let script = format!("trap '' TERM; : > {}; while :; do sleep 1; done", ready.display());
    let args = ["-c".to_owned(), script];
    let identity = spawn(Path::new("/bin/sh"), &args, &log).unwrap().unwrap();
    let patience = tokio::time::timeout(Duration::from_secs(20), async {
        while !ready.exists() {
            tokio::task::yield_now().await;
        }
    });
    patience.await.expect("the trap is never set");
    assert_eq!(identity.stop(Duration::from_millis(100)).await.unwrap(), Stopped::Killed);
    assert!(!identity.lives());
}

#[tokio::test]
async fn a_pid_that_is_used_again_is_neither_ours_nor_signalled() {
    let (_dir, identity) = sleeper();
    let earlier = Identity { start_ticks: identity.start_ticks - 1, ..identity.clone() };
    let other_boot = Identity { boot_id: "another".to_owned(), ..identity.clone() };
    for stranger in [earlier, other_boot] {
        assert!(!stranger.lives());
        assert_eq!(stranger.stop(Duration::from_secs(20)).await.unwrap(), Stopped::WasGone);
    }
    assert!(identity.lives());
    identity.stop(Duration::from_secs(20)).await.unwrap();
}

#[test]
fn only_a_server_or_agent_with_its_state_in_this_set_up_is_of_it() {
    let layout = Layout { root: PathBuf::from("/state/dev") };
    let of = |line: &str| {
        let words: Vec<_> = line.split(' ').map(str::to_owned).collect();
        role(&words, &layout)
    };
    let run = "/bin/banger-agent run --config c --state-dir /state/dev/agents/b0 --listen x";
    assert_eq!(of(run).as_deref(), Some("agent b0"));
    assert_eq!(of(&format!("/bin/sh {run}")).as_deref(), Some("agent b0"));
    assert_eq!(of(&run.replace(" run ", " join ")).as_deref(), Some("agent b0"));
    let server = "banger-server --config c --listen x --state-dir /state/dev/server";
    assert_eq!(of(server).as_deref(), Some("server"));
    for other in [
        &run.replace(" run ", " doctor "),
        &run.replace("/agents/", "/elsewhere/"),
        &run.replace("/state/dev/", "/state/dev2/"),
        &run.replace("agents/b0", "agents/x/../b0"),
        &run.replace("banger-agent", "another"),
        "banger-server --state-dir /state/dev/server backup /copy",
        "banger-server --config c --state-dir",
        "tail banger-agent",
        "",
    ] {
        assert_eq!(of(other), None, "{other}");
    }
}

#[test]
fn a_program_that_is_not_there_is_said_by_name() {
    let failure = find("banger-no-such-program").unwrap_err();
    let said = "cannot find banger-no-such-program: it is neither beside `banger` nor on PATH";
    assert!(format!("{failure:?}").contains(said), "{failure:?}");
}

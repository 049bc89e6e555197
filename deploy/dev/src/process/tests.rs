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
fn a_program_that_is_not_there_is_said_by_name() {
    let failure = find("banger-no-such-program").unwrap_err();
    let said = "cannot find banger-no-such-program: it is neither beside `banger` nor on PATH";
    assert!(format!("{failure:?}").contains(said), "{failure:?}");
}

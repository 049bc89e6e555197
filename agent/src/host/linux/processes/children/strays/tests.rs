//! Children of this process, as a VMM that was taken over makes them: by its own parent.

use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, Stdio};

use super::*;
use crate::host::linux::processes::LinuxProcesses;
use crate::host::linux::processes::listing::Ours;
use crate::host::{ExitStatus, Processes as _};

const UID: u32 = 200_002;

/// Makes five children of its own parent, which end at once, and says so.
const LEAVE: &str = r#"
import ctypes, os
libc = ctypes.CDLL(None)
for _ in range(5):
    if libc.syscall(220 if os.uname().machine == "aarch64" else 56, 0x8011, 0, 0, 0, 0) == 0:
        os._exit(0)
"#;

#[expect(clippy::disallowed_methods, reason = "processes to be left and to be waited for")]
fn python(script: &str, uid: u32) -> Child {
    Command::new("/usr/bin/python3")
        .args(["-I", "-S", "-c", script])
        .stdin(Stdio::null())
        .uid(uid)
        .spawn()
        .unwrap()
}

/// Waits until this many children of this process are dead and not waited for.
async fn zombies(expected: usize) {
    let count =
        || listed().into_iter().filter(|pid| user_of_zombie(*pid).is_some()).count() >= expected;
    let seen = tokio::time::timeout(Duration::from_secs(20), async {
        while !count() {
            tokio::task::yield_now().await;
        }
    });
    assert!(seen.await.is_ok(), "there are {:?}", listed());
}

#[tokio::test]
async fn priv_what_a_vmm_leaves_to_us_is_reaped_and_nobodys_status_is_lost() {
    let children = Arc::new(Children::default());
    // One that somebody waits for outside of the table runs as we do, as every tool.
    let mut tool = python("raise SystemExit(7)", 0);
    let mut vmm = python(LEAVE, UID);
    zombies(7).await;
    // It has another user, and nobody knows it: as if it were a sixth.
    let reaped = children.reap_strays();
    assert_eq!(reaped, 6);
    assert!(vmm.wait().is_err(), "it was waited for already");
    assert_eq!(tool.wait().unwrap().code(), Some(7));
    assert_eq!(children.reap_strays(), 0);

    // One that is followed says how it ended, however often strays are looked for.
    let followed = children.start(|| Ok(python("raise SystemExit(9)", UID))).unwrap();
    let processes = LinuxProcesses::new(Arc::clone(&children), Ours::default());
    let watch = Arc::clone(&children);
    let sweeping = tokio::task::spawn_blocking(move || {
        while watch.is_followed(followed.pid) {
            assert_eq!(watch.reap_strays(), 0);
        }
    });
    let exit = processes.wait_exit(followed.pid, followed.start_ticks).await.unwrap();
    assert_eq!(exit, ExitStatus::Code(9));
    sweeping.await.unwrap();
}

//! Processes of this machine, each started here.

use super::*;
use std::process::{Child, Stdio};

#[expect(clippy::disallowed_methods, reason = "a process to look at")]
fn sleeper() -> Child {
    std::process::Command::new("/bin/sleep")
        .arg("600")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .spawn()
        .unwrap()
}

/// Ends the process also when the test fails.
struct Reaped(Option<Child>);

impl Drop for Reaped {
    fn drop(&mut self) {
        if let Some(child) = &mut self.0 {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn processes() -> LinuxProcesses {
    LinuxProcesses::new(Arc::default(), Ours::default())
}

#[tokio::test]
async fn a_process_is_seen_with_its_whole_identity() {
    let child = Reaped(Some(sleeper()));
    let pid = Pid::new(child.0.as_ref().unwrap().id()).unwrap();
    let facts = processes().observe(pid).await.unwrap().unwrap();
    assert_eq!(facts.comm, "sleep");
    assert_eq!(facts.arguments, ["/bin/sleep", "600"]);
    assert!(!facts.zombie && facts.start_ticks > 0);
    let own_root = rustix::fs::stat("/").unwrap();
    assert_eq!(facts.root, Some(FileId { device: own_root.st_dev, inode: own_root.st_ino }));
    let listed = processes().list("sleep").await.unwrap();
    assert!(listed.contains(&facts), "{listed:?}");
    assert_eq!(processes().list("no such comm").await.unwrap(), []);
}

#[tokio::test]
async fn a_process_with_another_start_time_is_never_signalled() {
    let mut child = Reaped(Some(sleeper()));
    let pid = Pid::new(child.0.as_ref().unwrap().id()).unwrap();
    let facts = processes().observe(pid).await.unwrap().unwrap();
    let other = facts.start_ticks + 1;
    let signalled = processes().signal(pid, other, Signal::Kill).await.unwrap();
    assert_eq!(signalled, Change::AlreadySo);
    assert!(child.0.as_mut().unwrap().try_wait().unwrap().is_none());
    // And waiting for such a one is over at once.
    assert_eq!(processes().wait_exit(pid, other).await.unwrap(), ExitStatus::Unknown);
    let signalled = processes().signal(pid, facts.start_ticks, Signal::Kill).await.unwrap();
    assert_eq!(signalled, Change::Made);
}

#[tokio::test]
async fn a_zombie_is_dead() {
    let mut child = Reaped(Some(sleeper()));
    let pid = Pid::new(child.0.as_ref().unwrap().id()).unwrap();
    let start = processes().observe(pid).await.unwrap().unwrap().start_ticks;
    processes().signal(pid, start, Signal::Kill).await.unwrap();
    // Not our child in the table: the pidfd alone tells.
    assert_eq!(processes().wait_exit(pid, start).await.unwrap(), ExitStatus::Unknown);
    let facts = processes().observe(pid).await.unwrap().unwrap();
    assert!(facts.zombie);
    assert_eq!(facts.arguments, Vec::<String>::new());
    assert_eq!(processes().signal(pid, start, Signal::Kill).await.unwrap(), Change::AlreadySo);
    child.0.as_mut().unwrap().wait().unwrap();
    assert_eq!(processes().observe(pid).await.unwrap(), None);
}

#[tokio::test]
async fn a_child_of_ours_says_how_it_ended() {
    let children = Arc::new(Children::default());
    let processes = LinuxProcesses::new(children.clone(), Ours::default());
    let launched = children.start(|| Ok(sleeper())).unwrap();
    let wait = processes.wait_exit(launched.pid, launched.start_ticks);
    let kill = processes.signal(launched.pid, launched.start_ticks, Signal::Terminate);
    let (exit, signalled) = tokio::join!(wait, kill);
    assert_eq!((exit.unwrap(), signalled.unwrap()), (ExitStatus::Signal(15), Change::Made));
    // Asked again, the answer is the same.
    let again = processes.wait_exit(launched.pid, launched.start_ticks).await.unwrap();
    assert_eq!(again, ExitStatus::Signal(15));
    // It was reaped: no zombie stays.
    assert_eq!(processes.observe(launched.pid).await.unwrap(), None);
}

#[test]
fn arguments_are_cut_at_their_ends() {
    assert_eq!(split_arguments(b"a\0b c\0\0"), ["a", "b c", ""]);
    assert_eq!(split_arguments(b"title without end"), ["title without end"]);
    assert_eq!(split_arguments(b""), Vec::<String>::new());
    // As many as one read holds, all of them empty.
    assert_eq!(split_arguments(&[0; READ_LIMIT as usize]).len(), MOST_ARGUMENTS);
}

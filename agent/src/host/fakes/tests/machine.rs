//! Processes, their ends, restarts of the agent and of the machine.

use super::*;

#[tokio::test]
async fn a_launched_process_looks_like_a_jailed_firecracker() {
    let kernel = FakeKernel::new();
    let host = kernel.host();
    let (_, launched) = launch(&host, 1).await.unwrap();
    let facts = host.processes.observe(launched.pid).await.unwrap().unwrap();
    assert_eq!(facts.start_ticks, launched.start_ticks);
    assert_eq!(facts.comm, "firecracker");
    assert_eq!(facts.arguments[..3], ["/firecracker", "--id", "vm-1"]);
    assert_eq!(facts.arguments[3], "--start-time-us");
    let root = host.jails.observe(&jail(1)).await.unwrap().unwrap().root;
    assert!(root.is_some());
    assert_eq!(facts.root, root);
    let pidfile = host.jails.read_pidfile(&jail(1), VmmKind::Firecracker).await.unwrap().unwrap();
    assert_eq!(pidfile, launched.pid.to_string().as_bytes());
    assert_eq!(host.processes.list("firecracker").await.unwrap(), [facts]);
    assert!(host.processes.list("other").await.unwrap().is_empty());
}

#[tokio::test]
async fn everyone_who_waits_for_a_child_is_told_how_it_ended() {
    let kernel = FakeKernel::new();
    let host = kernel.host();
    let (_, launched) = run(&host, 1).await.unwrap();
    let waiter = tokio::spawn({
        let host = host.clone();
        async move { host.processes.wait_exit(launched.pid, launched.start_ticks).await }
    });
    tokio::task::yield_now().await;
    assert!(!answers(host.processes.wait_exit(launched.pid, launched.start_ticks)).await);
    assert!(kernel.crash(&jail(1), ExitStatus::Code(148)));
    assert_eq!(waiter.await.unwrap().unwrap(), ExitStatus::Code(148));
    let later = host.processes.wait_exit(launched.pid, launched.start_ticks).await.unwrap();
    assert_eq!(later, ExitStatus::Code(148));
    assert_eq!(host.processes.observe(launched.pid).await.unwrap(), None);
    assert!(!kernel.crash(&jail(1), ExitStatus::Code(148)));
}

#[tokio::test]
async fn after_a_restart_of_the_agent_nobody_knows_how_a_process_ended() {
    let kernel = FakeKernel::new();
    let (_, launched) = run(&kernel.host(), 1).await.unwrap();
    kernel.new_agent();
    let host = kernel.host();
    let signal = host.processes.signal(launched.pid, launched.start_ticks, Signal::Terminate);
    assert_eq!(signal.await.unwrap(), Change::Made);
    let exit = host.processes.wait_exit(launched.pid, launched.start_ticks).await.unwrap();
    assert_eq!(exit, ExitStatus::Unknown);
}

#[tokio::test]
async fn a_reused_pid_is_never_signalled_nor_waited_for() {
    let kernel = FakeKernel::new();
    let host = kernel.host();
    let (_, launched) = run(&host, 1).await.unwrap();
    let other = kernel.stage_pid_reuse(&jail(1), "sshd", &["sshd", "-D"]).unwrap();
    assert_eq!(other.pid, launched.pid);
    assert_ne!(other.start_ticks, launched.start_ticks);
    let signal = host.processes.signal(launched.pid, launched.start_ticks, Signal::Kill);
    assert_eq!(signal.await.unwrap(), Change::AlreadySo);
    assert!(answers(host.processes.wait_exit(launched.pid, launched.start_ticks)).await);
    assert_eq!(host.processes.observe(other.pid).await.unwrap(), Some(other));
}

#[tokio::test]
async fn a_zombie_is_shown_and_counts_as_dead() {
    let kernel = FakeKernel::new();
    let host = kernel.host();
    let (_, launched) = run(&host, 1).await.unwrap();
    assert!(kernel.make_zombie(&jail(1)));
    let facts = host.processes.observe(launched.pid).await.unwrap().unwrap();
    assert!(facts.zombie && facts.arguments.is_empty() && facts.root.is_none());
    let signal = host.processes.signal(launched.pid, launched.start_ticks, Signal::Kill);
    assert_eq!(signal.await.unwrap(), Change::AlreadySo);
    let exit = host.processes.wait_exit(launched.pid, launched.start_ticks).await.unwrap();
    assert_eq!(exit, ExitStatus::Unknown);
    host.jails.remove(&jail(1)).await.unwrap();
    assert!(kernel.end_process(launched.pid));
    assert_eq!(host.processes.observe(launched.pid).await.unwrap(), None);
}

#[tokio::test]
async fn an_unkillable_process_stays() {
    let kernel = FakeKernel::new();
    let host = kernel.host();
    let (_, launched) = run(&host, 1).await.unwrap();
    kernel.make_unkillable(&jail(1), true);
    host.processes.signal(launched.pid, launched.start_ticks, Signal::Kill).await.unwrap();
    assert!(!answers(host.processes.wait_exit(launched.pid, launched.start_ticks)).await);
    assert_eq!(kind(host.jails.remove(&jail(1)).await), HostErrorKind::Busy);
}

#[tokio::test]
async fn pids_and_start_times_are_never_the_same_twice() {
    let kernel = FakeKernel::new();
    let host = kernel.host();
    let mut seen = std::collections::BTreeSet::new();
    for _ in 0..5 {
        let (_, launched) = launch(&host, 1).await.unwrap();
        assert!(seen.insert((launched.pid, launched.start_ticks)));
        kernel.crash(&jail(1), ExitStatus::Signal(11));
        // The next launch clears what this one left.
    }
    let boot = host.facts.boot_time().await.unwrap();
    assert!(boot.unix_seconds > 0 && boot.ticks_per_second == 100);
}

#[tokio::test]
async fn a_reboot_takes_everything_but_files() {
    let kernel = FakeKernel::new();
    let host = kernel.host();
    run(&host, 1).await.unwrap();
    let boot = host.facts.boot_id().await.unwrap();
    kernel.reboot();
    assert!(!answers(host.facts.boot_id()).await, "the old agent is dead");
    let host = kernel.host();
    assert_ne!(host.facts.boot_id().await.unwrap(), boot);
    let left: Vec<String> = kernel.objects().into_iter().collect();
    assert_eq!(
        left,
        [
            "dir vm-1",
            "file vm-1/console.log",
            "file vm-1/firecracker.log",
            "file vm-1/metrics.log",
            "file vm-1/root.cow",
            "image demo-kernel",
            "image demo-root",
            "jail vm-1",
        ]
    );
    assert_eq!(host.jails.observe_api_socket(&jail(1)).await.unwrap(), SocketEntry::Missing);
    assert!(!kernel.forwards());
    run(&host, 1).await.unwrap();
}

#[tokio::test]
async fn flushed_rules_are_missed_at_the_next_list_and_come_back_with_the_next_change() {
    let kernel = FakeKernel::new();
    let host = kernel.host();
    host.firewall.ensure(&guest(1)).await.unwrap();
    assert!(kernel.forwards());
    kernel.flush_rules();
    assert!(host.firewall.observe(&key(1)).await.unwrap().is_some(), "told from memory");
    assert!(host.firewall.list().await.unwrap().is_empty());
    assert!(host.firewall.observe(&key(1)).await.unwrap().is_none());
    assert_eq!(host.firewall.ensure(&guest(2)).await.unwrap(), Change::Made);
    let keys: Vec<GuestKey> = host.firewall.list().await.unwrap().into_keys().collect();
    assert_eq!(keys, [key(1), key(2)]);
}

#[tokio::test]
async fn a_new_agent_finds_the_rules_of_the_old_one() {
    let kernel = FakeKernel::new();
    kernel.host().firewall.ensure(&guest(1)).await.unwrap();
    kernel.new_agent();
    let host = kernel.host();
    assert_eq!(host.firewall.observe(&key(1)).await.unwrap(), Some(guest(1)));
    assert_eq!(host.firewall.ensure(&guest(1)).await.unwrap(), Change::AlreadySo);
    assert_eq!(host.firewall.remove_all().await.unwrap(), Change::Made);
    assert_eq!(host.firewall.remove_all().await.unwrap(), Change::AlreadySo);
}

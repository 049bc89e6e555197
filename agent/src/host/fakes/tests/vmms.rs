//! What Firecracker answers and refuses.

use super::*;

const REFUSED: HostErrorKind = HostErrorKind::Refused;

#[tokio::test]
async fn a_guest_is_configured_started_paused_and_resumed() {
    let kernel = FakeKernel::new();
    let host = kernel.host();
    let id = jail(1);
    launch(&host, 1).await.unwrap();
    assert_eq!(host.vmm.describe(&id).await.unwrap(), VmmState::NotStarted);
    assert_eq!(kind(host.vmm.start(&id).await), REFUSED, "without configuration");
    assert_eq!(kind(host.vmm.pause(&id).await), REFUSED);
    assert_eq!(kind(host.vmm.send_ctrl_alt_del(&id).await), REFUSED);
    host.vmm.configure(&id, &vmm_config(1)).await.unwrap();
    host.vmm.configure(&id, &vmm_config(1)).await.unwrap();
    assert_eq!(kernel.vmm_config(&id), Some(vmm_config(1)));
    host.vmm.start(&id).await.unwrap();
    assert_eq!(host.vmm.describe(&id).await.unwrap(), VmmState::Running);
    assert_eq!(kind(host.vmm.start(&id).await), REFUSED, "twice");
    assert_eq!(kind(host.vmm.configure(&id, &vmm_config(1)).await), REFUSED, "after the start");
    for _ in 0..2 {
        host.vmm.pause(&id).await.unwrap();
        assert_eq!(kernel.vmm_state(&id), Some(VmmState::Paused));
    }
    for _ in 0..2 {
        host.vmm.resume(&id).await.unwrap();
        assert_eq!(kernel.vmm_state(&id), Some(VmmState::Running));
    }
    host.vmm.put_metadata(&id, "{\"a\":1}").await.unwrap();
    assert_eq!(kernel.metadata(&id).unwrap(), "{\"a\":1}");
    assert_eq!(kind(host.vmm.put_metadata(&id, "{").await), REFUSED);
}

#[tokio::test]
async fn a_configuration_that_names_what_is_not_there_is_refused() {
    let kernel = FakeKernel::new();
    let host = kernel.host();
    launch(&host, 1).await.unwrap();
    let good = vmm_config(1);
    let mut drive = good.drives[0].clone();
    drive.name = part("nothing");
    let mut interface = good.interface.clone().unwrap();
    interface.tap = tap(9);
    let no_disk = || VmmConfig { drives: vec![], ..good.clone() };
    for (why, config) in [
        ("kernel", VmmConfig { kernel: part("nothing"), ..good.clone() }),
        ("initrd", VmmConfig { initrd: Some(part("nothing")), ..good.clone() }),
        ("drive", VmmConfig { drives: vec![drive], ..good.clone() }),
        ("root disk", no_disk()),
        ("tap", VmmConfig { interface: Some(interface), ..good.clone() }),
        ("vcpus", VmmConfig { vcpus: 33, ..good.clone() }),
        ("memory", VmmConfig { memory_mib: 0, ..good.clone() }),
    ] {
        assert_eq!(kind(host.vmm.configure(&jail(1), &config).await), REFUSED, "{why}");
    }
    assert_eq!(kind(host.vmm.start(&jail(1)).await), REFUSED);
    host.vmm.configure(&jail(1), &good).await.unwrap();
}

#[tokio::test]
async fn a_tap_open_in_one_vmm_is_busy_for_another() {
    let kernel = FakeKernel::new();
    let host = kernel.host();
    run(&host, 1).await.unwrap();
    launch(&host, 2).await.unwrap();
    let mut config = vmm_config(2);
    config.interface = vmm_config(1).interface;
    assert_eq!(kind(host.vmm.configure(&jail(2), &config).await), REFUSED);
}

#[tokio::test]
async fn ctrl_alt_del_shuts_a_usual_guest_down_cleanly() {
    let kernel = FakeKernel::new();
    let host = kernel.host();
    let (_, launched) = run(&host, 1).await.unwrap();
    host.vmm.send_ctrl_alt_del(&jail(1)).await.unwrap();
    let exit = host.processes.wait_exit(launched.pid, launched.start_ticks).await.unwrap();
    assert_eq!(exit, ExitStatus::Code(0));
    assert_eq!(kind(host.vmm.describe(&jail(1)).await), HostErrorKind::NotFound);
    let entries = kernel.jail_entries(&jail(1));
    for name in ["kernel", "rootfs", "console.fifo", "console-in.fifo", "log.fifo", "metrics.fifo"]
    {
        assert!(entries.contains(&part(name)), "{name} in {entries:?}");
    }
    assert!(
        entries.contains(&part(in_jail::pidfile(VmmKind::Firecracker).trim_start_matches('/'))),
        "it stays"
    );
}

#[tokio::test]
async fn a_deaf_guest_ignores_ctrl_alt_del_and_a_paused_one_hears_it_later() {
    let kernel = FakeKernel::new();
    let host = kernel.host();
    let (_, launched) = run(&host, 1).await.unwrap();
    kernel.guest_ignores_shutdown(&jail(1));
    host.vmm.send_ctrl_alt_del(&jail(1)).await.unwrap();
    assert!(!answers(host.processes.wait_exit(launched.pid, launched.start_ticks)).await);

    let (_, launched) = run(&host, 2).await.unwrap();
    host.vmm.pause(&jail(2)).await.unwrap();
    host.vmm.send_ctrl_alt_del(&jail(2)).await.unwrap();
    assert!(!answers(host.processes.wait_exit(launched.pid, launched.start_ticks)).await);
    host.vmm.resume(&jail(2)).await.unwrap();
    assert!(answers(host.processes.wait_exit(launched.pid, launched.start_ticks)).await);
}

#[tokio::test(start_paused = true)]
async fn a_hung_vmm_answers_nothing() {
    let kernel = FakeKernel::new();
    let host = kernel.host();
    run(&host, 1).await.unwrap();
    kernel.hang_vmm(&jail(1), true);
    assert_eq!(kind(host.vmm.describe(&jail(1)).await), HostErrorKind::TimedOut);
    assert_eq!(kind(host.vmm.pause(&jail(1)).await), HostErrorKind::TimedOut);
    let limit = Duration::from_secs(5);
    assert_eq!(kind(host.vmm.wait_ready(&jail(1), limit).await), HostErrorKind::TimedOut);
    kernel.hang_vmm(&jail(1), false);
    host.vmm.wait_ready(&jail(1), limit).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn who_waits_for_a_vmm_is_told_when_it_is_there() {
    let kernel = FakeKernel::new();
    let host = kernel.host();
    let limit = Duration::from_secs(5);
    assert_eq!(kind(host.vmm.wait_ready(&jail(1), limit).await), HostErrorKind::NotFound);
    let waiter = tokio::spawn({
        let host = host.clone();
        async move { host.vmm.wait_ready(&jail(1), Duration::from_secs(3600)).await }
    });
    tokio::task::yield_now().await;
    launch(&host, 1).await.unwrap();
    waiter.await.unwrap().unwrap();
}

#[tokio::test]
async fn what_guest_and_vmm_print_is_collected_while_somebody_collects() {
    let kernel = FakeKernel::new();
    let host = kernel.host();
    let missing = host.outputs.ensure(&jail(9), &dir(9)).await;
    assert_eq!(kind(missing), HostErrorKind::NotFound);
    assert_eq!(host.outputs.log_tail(&dir(9)).await.unwrap(), "");
    launch(&host, 1).await.unwrap();
    assert_eq!(host.outputs.ensure(&jail(1), &dir(1)).await.unwrap(), Change::AlreadySo);
    kernel.vmm_logs(&jail(1), &"x".repeat(5000));
    kernel.vmm_logs(&jail(1), "the end\n");
    let tail = host.outputs.log_tail(&dir(1)).await.unwrap();
    assert!(tail.ends_with("the end\n") && tail.len() == 4096);
    kernel.guest_prints(&jail(1), "login: ");
    assert_eq!(kernel.file(&dir(1), &part("console.log")).unwrap(), b"login: ");
    kernel.new_agent();
    kernel.guest_prints(&jail(1), "lost");
    assert_eq!(kernel.host().outputs.remove(&jail(1)).await.unwrap(), Change::AlreadySo);
    assert_eq!(kernel.file(&dir(1), &part("console.log")).unwrap(), b"login: ");
}

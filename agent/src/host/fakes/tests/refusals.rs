//! What kernel and jailer refuse.

use super::*;

#[tokio::test]
async fn a_snapshot_open_in_a_live_vmm_is_busy() {
    let kernel = FakeKernel::new();
    let host = kernel.host();
    run(&host, 1).await.unwrap();
    assert_eq!(host.snapshots.observe(&dm(1)).await.unwrap().unwrap().open_count, 1);
    assert_eq!(kind(host.snapshots.remove(&dm(1)).await), HostErrorKind::Busy);
    kernel.crash(&jail(1), ExitStatus::Signal(11));
    kernel.hold_snapshot(&dm(1), true);
    assert_eq!(kind(host.snapshots.remove(&dm(1)).await), HostErrorKind::Busy);
    kernel.hold_snapshot(&dm(1), false);
    assert_eq!(host.snapshots.remove(&dm(1)).await.unwrap(), Change::Made);
}

#[tokio::test]
async fn a_full_store_refuses_writes_until_the_snapshot_is_made_anew() {
    let kernel = FakeKernel::new();
    let host = kernel.host();
    let disks = make_disks(&host, 1).await.unwrap();
    let total = COW_BYTES / 512;
    for (sectors, fill) in
        [(1000, SnapshotFill::Used { used: 1000, total }), (total + 1, SnapshotFill::Overflow)]
    {
        assert!(kernel.fill_snapshot(&dm(1), sectors));
        assert_eq!(host.snapshots.observe(&dm(1)).await.unwrap().unwrap().fill, fill);
    }
    host.snapshots.remove(&dm(1)).await.unwrap();
    let spec = SnapshotSpec {
        name: dm(1),
        base: disks.base.device,
        base_bytes: disks.base.size_bytes,
        cow: disks.cow.device,
        tail: None,
    };
    let (facts, _) = host.snapshots.ensure(&spec).await.unwrap();
    assert_eq!(facts.fill, SnapshotFill::Used { used: total, total });
}

#[tokio::test]
async fn a_store_with_holes_on_a_full_disk_is_lost_and_a_reserved_one_is_not() {
    let kernel = FakeKernel::new();
    let host = kernel.host();
    make_disks(&host, 1).await.unwrap();
    make_disks(&host, 2).await.unwrap();
    host.files.ensure_reserved(&dir(2), &part("root.cow"), COW_BYTES).await.unwrap();
    kernel.fill_disk();
    assert!(!kernel.fill_snapshot(&dm(1), 1000));
    assert!(kernel.fill_snapshot(&dm(2), 1000));
    let fill = async |n| host.snapshots.observe(&dm(n)).await.unwrap().unwrap().fill;
    assert_eq!(fill(1).await, SnapshotFill::Invalid);
    assert_eq!(fill(2).await, SnapshotFill::Used { used: 1000, total: COW_BYTES / 512 });
}

#[tokio::test]
async fn a_store_that_could_not_be_written_is_lost_for_ever() {
    let kernel = FakeKernel::new();
    let host = kernel.host();
    let disks = make_disks(&host, 1).await.unwrap();
    kernel.fill_disk();
    kernel.fill_snapshot(&dm(1), 1000);
    kernel.set_disk_left(None);
    host.snapshots.remove(&dm(1)).await.unwrap();
    let spec = SnapshotSpec {
        name: dm(1),
        base: disks.base.device,
        base_bytes: disks.base.size_bytes,
        cow: disks.cow.device,
        tail: None,
    };
    let (facts, _) = host.snapshots.ensure(&spec).await.unwrap();
    assert_eq!(facts.fill, SnapshotFill::Invalid);
}

#[tokio::test]
async fn a_snapshot_needs_its_devices() {
    let host = FakeKernel::new().host();
    let (base, _) = host.loops.ensure_attached(&image(DEMO_ROOT), true).await.unwrap();
    let spec = SnapshotSpec {
        name: dm(1),
        base: base.device,
        base_bytes: base.size_bytes,
        cow: crate::host::LoopDevice(9),
        tail: None,
    };
    assert_eq!(kind(host.snapshots.ensure(&spec).await), HostErrorKind::NotFound);
    let spec = SnapshotSpec { cow: base.device, ..spec };
    assert_eq!(kind(host.snapshots.ensure(&spec).await), HostErrorKind::Refused);
    let spec = SnapshotSpec { base_bytes: base.size_bytes + 512, ..spec };
    assert_eq!(kind(host.snapshots.ensure(&spec).await), HostErrorKind::Refused);
}

#[tokio::test]
async fn a_loop_device_keeps_its_removed_file_and_its_room() {
    let kernel = FakeKernel::new();
    let host = kernel.host();
    make_disks(&host, 1).await.unwrap();
    kernel.fill_snapshot(&dm(1), 2048);
    host.files.remove_dir(&dir(1)).await.unwrap();
    assert_eq!(host.loops.observe(&cow(1)).await.unwrap(), None);
    let listed = host.loops.list().await.unwrap();
    let lost = listed.iter().find(|facts| !facts.read_only).unwrap();
    assert!(lost.backing_path.to_string_lossy().ends_with("root.cow (deleted)"));
    assert_eq!(kernel.disk_used(), 2048 * 512);
    assert_eq!(kernel.objects_with("lost file").len(), 1);
    host.snapshots.remove(&dm(1)).await.unwrap();
    host.loops.remove(lost.device, lost.backing).await.unwrap();
    assert_eq!(kernel.disk_used(), 0);
}

#[tokio::test]
async fn each_file_has_an_identity_of_its_own() {
    let kernel = FakeKernel::new();
    let host = kernel.host();
    host.files.ensure_dir(&dir(1)).await.unwrap();
    let mut seen = std::collections::BTreeSet::new();
    for _ in 0..3 {
        host.files.ensure_sparse(&dir(1), &part("root.cow"), 4096).await.unwrap();
        let facts = host.files.observe(&dir(1), &part("root.cow")).await.unwrap().unwrap();
        assert!(seen.insert(facts.id));
        host.files.remove(&dir(1), &part("root.cow")).await.unwrap();
    }
    let name = ImageName::new(DEMO_ROOT).unwrap();
    let old = host.images.observe(&name).await.unwrap().unwrap();
    kernel.add_image(&name, ImageKind::Root, b"another");
    let new = host.images.observe(&name).await.unwrap().unwrap();
    assert_ne!(old.id, new.id);
    assert_eq!(new.sha256, None, "not computed yet");
    let digest = host.images.digest(&name).await.unwrap();
    assert_ne!(digest, old.sha256);
    assert_eq!(host.images.observe(&name).await.unwrap().unwrap().sha256, digest);
}

#[tokio::test]
async fn a_replaced_image_gets_a_device_of_its_own() {
    let kernel = FakeKernel::new();
    let host = kernel.host();
    let (old, _) = host.loops.ensure_attached(&image(DEMO_ROOT), true).await.unwrap();
    let name = ImageName::new(DEMO_ROOT).unwrap();
    kernel.add_sized_image(&name, ImageKind::Root, 1 << 30, &"0".repeat(64));
    let (new, change) = host.loops.ensure_attached(&image(DEMO_ROOT), true).await.unwrap();
    assert_eq!(change, Change::Made);
    assert_ne!(new.device, old.device);
    assert!(kernel.remove_image(&name));
    let gone = host.loops.ensure_attached(&image(DEMO_ROOT), true).await;
    assert_eq!(kind(gone), HostErrorKind::NotFound);
    let written = host.loops.ensure_attached(&image(DEMO_KERNEL), false).await;
    assert_eq!(kind(written), HostErrorKind::Invalid);
}

#[tokio::test]
async fn a_full_disk_refuses_new_files_and_keeps_the_old_ones() {
    let kernel = FakeKernel::new();
    let host = kernel.host();
    host.files.ensure_dir(&dir(1)).await.unwrap();
    host.files.replace(&dir(1), &part("vm.json"), b"old").await.unwrap();
    kernel.fill_disk();
    let full = HostErrorKind::NoSpace;
    assert_eq!(kind(host.files.replace(&dir(1), &part("vm.json"), b"new").await), full);
    assert_eq!(kind(host.files.ensure_sparse(&dir(1), &part("a"), 1).await), full);
    assert_eq!(kind(host.files.ensure_dir(&dir(2)).await), full);
    assert_eq!(
        kind(host.jails.ensure(&jail_spec(1, DeviceNumber { major: 7, minor: 0 })).await),
        full
    );
    assert_eq!(host.files.read(&dir(1), &part("vm.json")).await.unwrap().unwrap(), b"old");
    kernel.set_disk_left(Some(4096));
    host.files.replace(&dir(1), &part("vm.json"), b"new").await.unwrap();
}

#[tokio::test]
async fn names_of_others_are_taken() {
    let kernel = FakeKernel::new();
    let host = kernel.host();
    kernel.add_foreign_link("bgbr0");
    assert_eq!(kind(host.taps.ensure_bridge(&bridge()).await), HostErrorKind::NameTaken);
    let kernel = FakeKernel::new();
    let host = kernel.host();
    host.taps.ensure_bridge(&bridge()).await.unwrap();
    host.taps.ensure(&tap_spec(1)).await.unwrap();
    let other = TapSpec { owner_uid: 1, ..tap_spec(1) };
    assert_eq!(kind(host.taps.ensure(&other).await), HostErrorKind::NameTaken);
    kernel.add_foreign_link(tap(2).as_str());
    assert_eq!(kind(host.taps.ensure(&tap_spec(2)).await), HostErrorKind::NameTaken);
    host.taps.remove_bridge(&bridge().name).await.unwrap();
    assert_eq!(host.taps.observe(&tap(1)).await.unwrap().unwrap().master, None);
    host.taps.ensure_bridge(&bridge()).await.unwrap();
    assert_eq!(host.taps.ensure(&tap_spec(1)).await.unwrap(), Change::Made);
}

#[tokio::test]
async fn no_uplink_and_no_guests_when_the_machine_says_so() {
    let kernel = FakeKernel::new();
    let host = kernel.host();
    kernel.set_uplink(None);
    assert_eq!(kind(host.facts.uplinks().await), HostErrorKind::NoUplink);
    assert_eq!(kind(host.firewall.ensure(&guest(1)).await), HostErrorKind::NoUplink);
    host.firewall.ensure(&GuestNet { nat: false, ..guest(1) }).await.unwrap();
    assert!(!kernel.forwards());
    host.facts.preflight().await.unwrap();
    kernel.set_preflight(Some(HostErrorKind::KvmUnavailable));
    assert_eq!(kind(host.facts.preflight().await), HostErrorKind::KvmUnavailable);
}

#[tokio::test]
async fn the_jailer_refuses_what_an_earlier_run_left() {
    let kernel = FakeKernel::new();
    let host = kernel.host();
    assert_eq!(kind(host.launcher.launch(&launch_spec(1)).await), HostErrorKind::NotFound);
    launch(&host, 1).await.unwrap();
    assert_eq!(kind(host.jails.remove(&jail(1)).await), HostErrorKind::Busy);
    kernel.crash(&jail(1), ExitStatus::Signal(6));
    assert_eq!(kind(host.launcher.launch(&launch_spec(1)).await), HostErrorKind::Refused);
    kernel.set_pidfile(&jail(1), None);
    assert_eq!(kind(host.launcher.launch(&launch_spec(1)).await), HostErrorKind::Refused);
    kernel.clean_jail(&jail(1));
    host.launcher.launch(&launch_spec(1)).await.unwrap();
    assert_eq!(kernel.violations(), Vec::<String>::new());
}

#[tokio::test]
async fn two_live_vmms_in_one_jail_are_a_violation() {
    let kernel = FakeKernel::new();
    let host = kernel.host();
    launch(&host, 1).await.unwrap();
    kernel.clean_jail(&jail(1));
    host.launcher.launch(&launch_spec(1)).await.unwrap();
    assert_eq!(kernel.violations(), ["two live processes in jail vm-1"]);
}

#[tokio::test]
async fn two_live_vmms_as_one_user_are_a_violation() {
    let kernel = FakeKernel::new();
    let host = kernel.host();
    launch(&host, 1).await.unwrap();
    let uid = launch_spec(1).uid;
    let disks = make_disks(&host, 2).await.unwrap();
    host.jails.ensure(&JailSpec { uid, ..jail_spec(2, disks.root) }).await.unwrap();
    host.launcher.launch(&LaunchSpec { uid, ..launch_spec(2) }).await.unwrap();
    let violations = kernel.violations();
    assert!(violations.len() == 1 && violations[0].contains("user 200001"), "{violations:?}");
}

#[tokio::test]
async fn a_jail_needs_its_files() {
    let kernel = FakeKernel::new();
    let host = kernel.host();
    kernel.remove_image(&ImageName::new(DEMO_KERNEL).unwrap());
    let spec = jail_spec(1, DeviceNumber { major: 7, minor: 0 });
    assert_eq!(kind(host.jails.ensure(&spec).await), HostErrorKind::NotFound);
    let files =
        vec![JailFile { name: part("rootfs"), from: image(DEMO_ROOT), access: JailAccess::Write }];
    let written = JailSpec { files, ..spec };
    assert_eq!(kind(host.jails.ensure(&written).await), HostErrorKind::Invalid);
    assert_eq!(host.jails.observe(&jail(1)).await.unwrap(), None);
}

#[tokio::test]
async fn what_lies_at_the_socket_and_in_the_pidfile_can_be_staged() {
    let kernel = FakeKernel::new();
    let host = kernel.host();
    launch(&host, 1).await.unwrap();
    kernel.set_pidfile(&jail(1), Some(&[b'7'; 100]));
    assert_eq!(
        host.jails.read_pidfile(&jail(1), VmmKind::Firecracker).await.unwrap().unwrap().len(),
        64
    );
    for entry in [SocketEntry::NotALink, SocketEntry::Missing, SocketEntry::Link("/tmp/x".into())] {
        kernel.set_api_socket(&jail(1), entry.clone());
        assert_eq!(host.jails.observe_api_socket(&jail(1)).await.unwrap(), entry);
        assert_eq!(kind(host.vmm.describe(&jail(1)).await), HostErrorKind::NotFound);
    }
    let process = kernel.process_of(&jail(1)).unwrap();
    kernel.hide_root(&jail(1));
    assert_eq!(host.processes.observe(process.pid).await.unwrap().unwrap().root, None);
    assert!(kernel.lose_jail(&jail(1)));
    assert_eq!(host.jails.observe(&jail(1)).await.unwrap(), None);
    assert!(host.processes.observe(process.pid).await.unwrap().is_some());
    let direct = kernel.spawn("firecracker", &["--api-sock", "/run/x"], Some(kernel.host_root()));
    assert_eq!(host.processes.observe(direct.pid).await.unwrap(), Some(direct));
}

//! Claims that every host must keep, fake or real.
//!
//! Each takes a [`Host`] with the demo images' names in its image directory (any content of their
//! kinds) and leaves nothing behind. Numbers of VMs are given, so that claims can run side by side
//! on one machine.

use super::*;

pub(crate) async fn scratch_files_are_made_read_replaced_and_removed(host: &Host, n: u32) {
    let (dir, file) = (dir(n), part("vm.json"));
    assert_eq!(host.files.read(&dir, &file).await.unwrap(), None);
    assert_eq!(kind(host.files.replace(&dir, &file, b"x").await), HostErrorKind::NotFound);
    assert_eq!(host.files.ensure_dir(&dir).await.unwrap(), Change::Made);
    assert_eq!(host.files.ensure_dir(&dir).await.unwrap(), Change::AlreadySo);
    assert!(host.files.list_dirs().await.unwrap().contains(&dir));
    host.files.replace(&dir, &file, b"old").await.unwrap();
    let old = host.files.observe(&dir, &file).await.unwrap().unwrap();
    host.files.replace_hint(&dir, &file, b"newer").await.unwrap();
    let new = host.files.observe(&dir, &file).await.unwrap().unwrap();
    assert_eq!(new.size_bytes, 5);
    assert_ne!(old.id, new.id);
    assert_eq!(host.files.read(&dir, &file).await.unwrap().unwrap(), b"newer");
    assert_eq!(host.files.remove(&dir, &file).await.unwrap(), Change::Made);
    assert_eq!(host.files.remove(&dir, &file).await.unwrap(), Change::AlreadySo);
    assert_eq!(host.files.remove_dir(&dir).await.unwrap(), Change::Made);
    assert_eq!(host.files.remove_dir(&dir).await.unwrap(), Change::AlreadySo);
}

pub(crate) async fn sparse_files_grow_and_never_shrink(host: &Host, n: u32) {
    let (dir, file) = (dir(n), part("work.img"));
    let gone = host.files.ensure_sparse(&dir, &file, 1 << 20).await;
    assert_eq!(kind(gone), HostErrorKind::NotFound);
    host.files.ensure_dir(&dir).await.unwrap();
    for (asked, change, size) in [
        (1 << 20, Change::Made, 1 << 20),
        (1 << 20, Change::AlreadySo, 1 << 20),
        (4 << 20, Change::Made, 4 << 20),
        (1 << 20, Change::AlreadySo, 4 << 20),
    ] {
        assert_eq!(host.files.ensure_sparse(&dir, &file, asked).await.unwrap(), change);
        let facts = host.files.observe(&dir, &file).await.unwrap().unwrap();
        assert_eq!(facts.size_bytes, size);
        assert!(facts.allocated_bytes < 1 << 20);
    }
    assert_eq!(kind(host.files.read(&dir, &file).await), HostErrorKind::Invalid);
    host.files.remove_dir(&dir).await.unwrap();
}

pub(crate) async fn one_loop_device_for_each_file(host: &Host, n: u32) {
    let gone = host.loops.ensure_attached(&cow(n), false).await;
    assert_eq!(kind(gone), HostErrorKind::NotFound);
    host.files.ensure_dir(&dir(n)).await.unwrap();
    host.files.ensure_sparse(&dir(n), &part("root.cow"), 1 << 20).await.unwrap();
    assert_eq!(host.loops.observe(&cow(n)).await.unwrap(), None);
    let (facts, change) = host.loops.ensure_attached(&cow(n), false).await.unwrap();
    assert_eq!((change, facts.size_bytes, facts.read_only), (Change::Made, 1 << 20, false));
    let (again, change) = host.loops.ensure_attached(&cow(n), false).await.unwrap();
    assert_eq!((&again, change), (&facts, Change::AlreadySo));
    assert!(host.loops.list().await.unwrap().contains(&facts));

    host.files.ensure_sparse(&dir(n), &part("root.cow"), 2 << 20).await.unwrap();
    let refresh = || host.loops.refresh_size(facts.device, facts.backing);
    assert_eq!(refresh().await.unwrap(), Change::Made);
    assert_eq!(refresh().await.unwrap(), Change::AlreadySo);

    let another = FileId { inode: facts.backing.inode + 1_000_000, ..facts.backing };
    assert_eq!(host.loops.remove(facts.device, another).await.unwrap(), Change::AlreadySo);
    assert!(host.loops.observe(&cow(n)).await.unwrap().is_some());
    assert_eq!(host.loops.remove(facts.device, facts.backing).await.unwrap(), Change::Made);
    assert_eq!(host.loops.remove(facts.device, facts.backing).await.unwrap(), Change::AlreadySo);
    assert_eq!(kind(refresh().await), HostErrorKind::NotFound);
    host.files.remove_dir(&dir(n)).await.unwrap();
}

pub(crate) async fn a_snapshot_holds_its_loop_devices(host: &Host, n: u32) {
    let disks = make_disks(host, n).await.unwrap();
    let facts = host.snapshots.observe(&dm(n)).await.unwrap().unwrap();
    assert_eq!(facts.base, disks.base.device.number());
    assert_eq!(facts.cow, disks.cow.device.number());
    assert_eq!(facts.size_sectors, disks.base.size_bytes / 512);
    assert!(matches!(facts.fill, SnapshotFill::Used { total, .. } if total == COW_BYTES / 512));
    assert!(host.snapshots.list("banger-").await.unwrap().contains(&facts));
    for device in [&disks.base, &disks.cow] {
        let busy = host.loops.remove(device.device, device.backing).await;
        assert_eq!(kind(busy), HostErrorKind::Busy);
    }
    let spec = SnapshotSpec {
        name: dm(n),
        base: disks.base.device,
        base_bytes: disks.base.size_bytes,
        cow: disks.cow.device,
        tail: None,
    };
    assert_eq!(host.snapshots.ensure(&spec).await.unwrap(), (facts, Change::AlreadySo));
    let other = SnapshotSpec { base_bytes: spec.base_bytes - 512, ..spec.clone() };
    assert_eq!(kind(host.snapshots.ensure(&other).await), HostErrorKind::NameTaken);
    let uneven = SnapshotSpec { base_bytes: 1000, ..spec };
    assert_eq!(kind(host.snapshots.ensure(&uneven).await), HostErrorKind::Invalid);

    assert_eq!(host.snapshots.remove(&dm(n)).await.unwrap(), Change::Made);
    assert_eq!(host.snapshots.remove(&dm(n)).await.unwrap(), Change::AlreadySo);
    for device in [&disks.base, &disks.cow] {
        assert_eq!(host.loops.remove(device.device, device.backing).await.unwrap(), Change::Made);
    }
    host.files.remove_dir(&dir(n)).await.unwrap();
}

pub(crate) async fn taps_are_ports_of_the_bridge(host: &Host, n: u32) {
    assert_eq!(kind(host.taps.ensure(&tap_spec(n)).await), HostErrorKind::NotFound);
    assert_eq!(host.taps.ensure_bridge(&bridge()).await.unwrap(), Change::Made);
    assert_eq!(host.taps.ensure_bridge(&bridge()).await.unwrap(), Change::AlreadySo);
    assert_eq!(host.taps.observe(&tap(n)).await.unwrap(), None);
    assert_eq!(host.taps.ensure(&tap_spec(n)).await.unwrap(), Change::Made);
    assert_eq!(host.taps.ensure(&tap_spec(n)).await.unwrap(), Change::AlreadySo);
    let facts = host.taps.observe(&tap(n)).await.unwrap().unwrap();
    assert!(facts.up && facts.master.is_some());
    assert!(host.taps.list("bg-").await.unwrap().contains(&facts));
    let name = TapName::new(bridge().name.as_str()).unwrap();
    assert_eq!(kind(host.taps.observe(&name).await), HostErrorKind::NameTaken);
    assert_eq!(kind(host.taps.remove(&[name, tap(n)]).await), HostErrorKind::NameTaken);
    assert_eq!(host.taps.observe(&tap(n)).await.unwrap(), None);
    assert_eq!(host.taps.remove(&[tap(n)]).await.unwrap(), Change::AlreadySo);
    assert_eq!(host.taps.remove_bridge(&bridge().name).await.unwrap(), Change::Made);
    assert_eq!(host.taps.remove_bridge(&bridge().name).await.unwrap(), Change::AlreadySo);
}

pub(crate) async fn rules_come_and_go_by_guest(host: &Host, n: u32) {
    assert_eq!(host.firewall.ensure(&guest(n)).await.unwrap(), Change::Made);
    assert_eq!(host.firewall.ensure(&guest(n)).await.unwrap(), Change::AlreadySo);
    assert_eq!(host.firewall.observe(&key(n)).await.unwrap(), Some(guest(n)));
    assert_eq!(host.firewall.list().await.unwrap().get(&key(n)), Some(&guest(n)));
    let lacking = GuestNet { address: None, ..guest(n) };
    assert_eq!(kind(host.firewall.ensure(&lacking).await), HostErrorKind::Invalid);
    let lacking = GuestNet { tap: None, ..guest(n) };
    assert_eq!(kind(host.firewall.ensure(&lacking).await), HostErrorKind::Invalid);
    assert_eq!(host.firewall.remove(&key(n)).await.unwrap(), Change::Made);
    assert_eq!(host.firewall.remove(&key(n)).await.unwrap(), Change::AlreadySo);
    assert_eq!(host.firewall.observe(&key(n)).await.unwrap(), None);
}

pub(crate) async fn pins_come_and_go_by_guest(host: &Host, n: u32) {
    assert_eq!(host.pins.observe(&key(n)).await.unwrap(), None);
    assert_eq!(host.pins.ensure(&pin(n)).await.unwrap(), Change::Made);
    assert_eq!(host.pins.ensure(&pin(n)).await.unwrap(), Change::AlreadySo);
    assert_eq!(host.pins.observe(&key(n)).await.unwrap(), Some(pin(n)));
    assert_eq!(host.pins.list().await.unwrap().get(&key(n)), Some(&Some(pin(n))));
    let moved = Pin { uid: 7, ..pin(n) };
    assert_eq!(host.pins.ensure(&moved).await.unwrap(), Change::Made);
    assert_eq!(host.pins.observe(&key(n)).await.unwrap(), Some(moved));
    assert_eq!(host.pins.remove(&key(n)).await.unwrap(), Change::Made);
    assert_eq!(host.pins.remove(&key(n)).await.unwrap(), Change::AlreadySo);
    assert_eq!(host.pins.list().await.unwrap().get(&key(n)), None);
}

pub(crate) async fn a_jail_is_built_and_removed_whole(host: &Host, n: u32) {
    let spec = jail_spec(n, DeviceNumber { major: 7, minor: 0 });
    assert_eq!(host.jails.observe(&jail(n)).await.unwrap(), None);
    assert_eq!(host.jails.observe_api_socket(&jail(n)).await.unwrap(), SocketEntry::Missing);
    assert_eq!(host.jails.ensure(&spec).await.unwrap(), Change::Made);
    assert_eq!(host.jails.ensure(&spec).await.unwrap(), Change::AlreadySo);
    let facts = host.jails.observe(&jail(n)).await.unwrap().unwrap();
    assert!(facts.root.is_some());
    let target =
        host.jails.root_path(&jail(n), VmmKind::Firecracker).join("run/firecracker.socket");
    let link = host.jails.observe_api_socket(&jail(n)).await.unwrap();
    assert_eq!(link, SocketEntry::Link(target));
    assert!(host.jails.list().await.unwrap().contains(&jail(n)));
    assert_eq!(host.jails.read_pidfile(&jail(n), VmmKind::Firecracker).await.unwrap(), None);
    let other = jail_spec(n, DeviceNumber { major: 7, minor: 1 });
    assert_eq!(host.jails.ensure(&other).await.unwrap(), Change::Made);
    assert_eq!(host.jails.remove(&jail(n)).await.unwrap(), Change::Made);
    assert_eq!(host.jails.remove(&jail(n)).await.unwrap(), Change::AlreadySo);
    assert_eq!(host.jails.observe(&jail(n)).await.unwrap(), None);
}

#[tokio::test]
async fn the_fake_host_keeps_the_contract() {
    let kernel = FakeKernel::new();
    let host = kernel.host();
    let before = kernel.objects();
    scratch_files_are_made_read_replaced_and_removed(&host, 1).await;
    sparse_files_grow_and_never_shrink(&host, 2).await;
    one_loop_device_for_each_file(&host, 3).await;
    a_snapshot_holds_its_loop_devices(&host, 4).await;
    taps_are_ports_of_the_bridge(&host, 5).await;
    rules_come_and_go_by_guest(&host, 6).await;
    pins_come_and_go_by_guest(&host, 6).await;
    a_jail_is_built_and_removed_whole(&host, 7).await;
    assert_eq!(kernel.objects(), before);
    assert_eq!(kernel.disk_used(), 0);
}

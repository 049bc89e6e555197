//! What the fake machine promises, claim by claim.
//!
//! [`contract`] holds the claims that every host must keep; it takes any [`Host`], so that the
//! real seams can be held to them where they can run.

use super::*;
use crate::host::{
    BackingFile, BridgeSpec, Change, DeviceNumber, DmName, Drive, ExitStatus, FileId, GuestKey,
    GuestNet, HostErrorKind, HostResult, ImageKind, ImageName, JailAccess, JailDevice, JailFile,
    JailId, JailSpec, LaunchSpec, Launched, LinkName, LoopFacts, MacAddress, NetInterface,
    PathPart, Pin, RateLimit, Signal, SnapshotFill, SnapshotSpec, SocketEntry, TapName, TapSpec,
    VmmConfig, VmmKind, VmmState, in_jail,
};

pub(crate) mod contract;
mod faults;
mod machine;
mod persist;
mod refusals;
mod vmms;

const COW_BYTES: u64 = 64 * 1024 * 1024;

fn dir(n: u32) -> PathPart {
    PathPart::new(format!("vm-{n}")).unwrap()
}

fn part(name: &str) -> PathPart {
    PathPart::new(name).unwrap()
}

fn jail(n: u32) -> JailId {
    JailId::new(format!("vm-{n}")).unwrap()
}

fn tap(n: u32) -> TapName {
    TapName::new(format!("bg-{n}")).unwrap()
}

fn dm(n: u32) -> DmName {
    DmName::new(format!("banger-bg-{n}")).unwrap()
}

fn key(n: u32) -> GuestKey {
    GuestKey::new(format!("vm-{n}")).unwrap()
}

fn image(name: &str) -> BackingFile {
    BackingFile::Image(ImageName::new(name).unwrap())
}

fn cow(n: u32) -> BackingFile {
    BackingFile::Scratch { dir: dir(n), file: part("root.cow") }
}

fn bridge() -> BridgeSpec {
    BridgeSpec {
        name: LinkName::new("bgbr0").unwrap(),
        address: "10.64.0.1".parse().unwrap(),
        prefix: 20,
    }
}

fn tap_spec(n: u32) -> TapSpec {
    TapSpec { name: tap(n), bridge: bridge().name, owner_uid: 200_000 + n }
}

fn guest(n: u32) -> GuestNet {
    let address = std::net::Ipv4Addr::from(0x0a40_0000 + n);
    GuestNet { key: key(n), tap: Some(tap(n)), address: Some(address), nat: true, stale: false }
}

fn pin(n: u32) -> Pin {
    let address = std::net::Ipv4Addr::from(0x0a40_0000 + n);
    let mac = MacAddress([2, 0xfc, 0, 0, 0, 1]);
    Pin { key: key(n), tap: tap(n), mac, address, uid: 200_000 + n }
}

fn jail_spec(n: u32, root: DeviceNumber) -> JailSpec {
    JailSpec {
        id: jail(n),
        vmm: VmmKind::Firecracker,
        uid: 200_000 + n,
        files: vec![JailFile {
            name: part("kernel"),
            from: image(DEMO_KERNEL),
            access: JailAccess::Read,
        }],
        devices: vec![JailDevice { name: part("rootfs"), device: root }],
        bounds: Default::default(),
    }
}

fn launch_spec(n: u32) -> LaunchSpec {
    LaunchSpec { id: jail(n), uid: 200_000 + n, vmm: VmmKind::Firecracker, machine: vmm_config(n) }
}

fn vmm_config(n: u32) -> VmmConfig {
    VmmConfig {
        vcpus: 1,
        memory_mib: 128,
        kernel: part("kernel"),
        initrd: None,
        boot_args: "console=ttyS0".to_owned(),
        drives: vec![Drive {
            id: "rootfs",
            name: part("rootfs"),
            root: true,
            read_only: false,
            limit: RateLimit::default(),
        }],
        interface: Some(NetInterface {
            tap: tap(n),
            mac: MacAddress([2, 0xfc, 0, 0, 0, 1]),
            receive: RateLimit::default(),
            send: RateLimit::default(),
        }),
        vsock_cid: Some(3),
        metadata_json: None,
    }
}

/// The devices of one VM.
struct Disks {
    base: LoopFacts,
    cow: LoopFacts,
    root: DeviceNumber,
}

async fn make_disks(host: &Host, n: u32) -> HostResult<Disks> {
    host.files.ensure_dir(&dir(n)).await?;
    let (base, _) = host.loops.ensure_attached(&image(DEMO_ROOT), true).await?;
    host.files.ensure_sparse(&dir(n), &part("root.cow"), COW_BYTES).await?;
    let (cow, _) = host.loops.ensure_attached(&cow(n), false).await?;
    let spec = SnapshotSpec {
        name: dm(n),
        base: base.device,
        base_bytes: base.size_bytes,
        cow: cow.device,
        tail: None,
    };
    let (snapshot, _) = host.snapshots.ensure(&spec).await?;
    Ok(Disks { base, cow, root: snapshot.device })
}

/// Everything up to a launched VMM that was told nothing.
async fn launch(host: &Host, n: u32) -> HostResult<(Disks, Launched)> {
    let disks = make_disks(host, n).await?;
    host.taps.ensure_bridge(&bridge()).await?;
    host.taps.ensure(&tap_spec(n)).await?;
    host.pins.ensure(&pin(n)).await?;
    host.firewall.ensure(&guest(n)).await?;
    host.jails.remove(&jail(n)).await?;
    host.jails.ensure(&jail_spec(n, disks.root)).await?;
    host.outputs.ensure(&jail(n), &dir(n)).await?;
    let launched = host.launcher.launch(&launch_spec(n)).await?;
    host.vmm.wait_ready(&jail(n), Duration::from_secs(1)).await?;
    Ok((disks, launched))
}

/// A running guest.
async fn run(host: &Host, n: u32) -> HostResult<(Disks, Launched)> {
    let (disks, launched) = launch(host, n).await?;
    host.vmm.configure(&jail(n), &vmm_config(n)).await?;
    host.vmm.start(&jail(n)).await?;
    Ok((disks, launched))
}

/// Removes everything of a VM, in order.
async fn tear_down(host: &Host, n: u32, disks: &Disks, launched: Launched) -> HostResult<()> {
    host.processes.signal(launched.pid, launched.start_ticks, Signal::Kill).await?;
    host.processes.wait_exit(launched.pid, launched.start_ticks).await?;
    host.outputs.remove(&jail(n)).await?;
    host.jails.remove(&jail(n)).await?;
    host.firewall.remove(&key(n)).await?;
    host.pins.remove(&key(n)).await?;
    host.taps.remove(&[tap(n)]).await?;
    host.snapshots.remove(&dm(n)).await?;
    host.loops.remove(disks.cow.device, disks.cow.backing).await?;
    host.files.remove_dir(&dir(n)).await?;
    Ok(())
}

fn kind<T: std::fmt::Debug>(result: HostResult<T>) -> HostErrorKind {
    result.expect_err("it must be refused").kind
}

/// Whether a future has an answer by now, without waiting.
async fn answers<T>(future: impl Future<Output = T>) -> bool {
    tokio::time::timeout(Duration::ZERO, future).await.is_ok()
}

#[tokio::test]
async fn a_vm_made_and_torn_down_leaves_the_machine_as_it_was() {
    let kernel = FakeKernel::new();
    let host = kernel.host();
    let (disks, launched) = run(&host, 1).await.unwrap();
    let before = kernel.objects();
    let room = kernel.disk_used();
    let (other, process) = run(&host, 2).await.unwrap();
    assert_ne!(kernel.objects(), before);
    tear_down(&host, 2, &other, process).await.unwrap();
    assert_eq!(kernel.objects(), before);
    assert_eq!(kernel.disk_used(), room);
    tear_down(&host, 1, &disks, launched).await.unwrap();
    assert_eq!(kernel.objects_with("vm-1"), Default::default());
    assert_eq!(kernel.violations(), Vec::<String>::new());
}

#[tokio::test]
async fn the_simulated_machine_says_what_it_is() {
    let kernel = FakeKernel::new();
    let host = kernel.host();
    assert!(host.simulated);
    let capacity = host.facts.capacity().await.unwrap();
    assert_eq!((capacity.vcpus, capacity.memory_mib), (64, 256 * 1024));
    assert_eq!(capacity.disk_mib, 4 * 1024 * 1024);
    assert_eq!(host.facts.vmm().await.unwrap(), "simulated");
    let small = Capacity { vcpus: 2, memory_mib: 512, disk_mib: 1024 };
    let host = super::host(&kernel, HostOptions { capacity: Some(small), ..Default::default() });
    assert_eq!(host.facts.capacity().await.unwrap(), small);
}

#[tokio::test]
async fn demo_images_have_the_digests_of_their_content() {
    use sha2::Digest as _;
    let host = FakeKernel::new().host();
    for (name, kind) in [(DEMO_KERNEL, ImageKind::Kernel), (DEMO_ROOT, ImageKind::Root)] {
        let facts = host.images.observe(&ImageName::new(name).unwrap()).await.unwrap().unwrap();
        let content = demo_content(kind);
        assert_eq!(facts.kind, kind);
        assert_eq!(facts.size_bytes, content.len() as u64);
        assert_eq!(facts.sha256.unwrap(), hex::encode(sha2::Sha256::digest(&content)));
    }
}

#[tokio::test]
async fn ten_thousand_vms_fit_on_one_machine() {
    let kernel = FakeKernel::new();
    let host = kernel.host();
    let mut made = Vec::new();
    for n in 0..10_000 {
        made.push(run(&host, n).await.unwrap());
    }
    assert_eq!(host.processes.list("firecracker").await.unwrap().len(), 10_000);
    assert_eq!(host.snapshots.list("banger-bg-").await.unwrap().len(), 10_000);
    for (n, (disks, launched)) in (0..).zip(&made) {
        tear_down(&host, n, disks, *launched).await.unwrap();
    }
    let base = &made[0].0.base;
    host.loops.remove(base.device, base.backing).await.unwrap();
    host.taps.remove_bridge(&bridge().name).await.unwrap();
    assert_eq!(kernel.objects(), FakeKernel::new().objects());
}

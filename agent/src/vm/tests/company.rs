//! A machine on which the VM under test is not alone: another VM of the agent runs there, and
//! things of other people that look like ours lie about. None of it may ever be touched.

use crate::assignment::Power;
use crate::host::fakes::FakeKernel;
use crate::host::{
    BackingFile, Change, GuestKey, GuestNet, ImageKind, ImageName, JailId, JailSpec, PathPart,
    SnapshotSpec, TapName, VmmKind,
};
use crate::report::phase::Phase;
use crate::supervisor::harness::World;
use crate::vm::fixtures::{assignment_of, image};

/// A digest of no content in particular.
const DIGEST: &str = "5e9eedaa04d6a2746465224a29943b81ac40e3a077dd3cadfc609dc124a533ca";

/// The id on the command line of somebody else's VMM, and in other names that are not ours.
const STRANGER: &str = "0193a7e2-3f40-7c21-9d5e-00000000dead";

/// A machine with strangers' things and an agent with VM 2 running.
pub(super) async fn world() -> World {
    let kernel = FakeKernel::new();
    strangers(&kernel).await;
    kernel.new_agent();
    let mut world = World::on(kernel).await;
    let other: ImageName = "other-root".parse().expect("a name of an image");
    world.kernel.add_sized_image(&other, ImageKind::Root, 8 << 20, DIGEST);
    let mut neighbour = assignment_of(2, 1, 1, Power::Running);
    if let Some(shape) = &mut neighbour.shape {
        shape.root_image = image("other-root");
    }
    world.assign(neighbour).await;
    world.settles(2, Phase::Running).await;
    world.idle().await;
    world
}

/// What a careless search by name would take for ours.
async fn strangers(kernel: &FakeKernel) {
    let host = kernel.host();
    kernel.spawn("firecracker", &["/firecracker", "--id", STRANGER], Some(kernel.host_root()));
    kernel.spawn("jailer", &["jailer", "--id", "not-a-vm"], Some(kernel.host_root()));
    kernel.add_foreign_link("bg-uplink");
    kernel.add_foreign_link("bg-aaaaaaaaaaaa");
    let image: ImageName = "theirs".parse().expect("a name of an image");
    kernel.add_sized_image(&image, ImageKind::Root, 4 << 20, DIGEST);
    let attached = host.loops.ensure_attached(&BackingFile::Image(image), true).await;
    let (base, made) = attached.expect("a loop device");
    assert_eq!(made, Change::Made);
    // A directory beside those of VMs, and on it a root disk of another instance of the agent.
    let (dir, file): (PathPart, PathPart) = (part_of("somebodys"), part_of("disk"));
    host.files.ensure_dir(&dir).await.expect("a directory");
    host.files.ensure_sparse(&dir, &file, 1 << 20).await.expect("a file");
    let attached = host.loops.ensure_attached(&BackingFile::Scratch { dir, file }, false).await;
    let (cow, _) = attached.expect("a loop device");
    let spec = SnapshotSpec {
        name: format!("banger-b2-{STRANGER}").parse().expect("a name of a device"),
        base: base.device,
        base_bytes: base.size_bytes,
        cow: cow.device,
        tail: None,
    };
    host.snapshots.ensure(&spec).await.expect("a snapshot");
    let jail: JailId = "somebody".parse().expect("an id of a jail");
    let spec = JailSpec {
        id: jail,
        vmm: VmmKind::Firecracker,
        uid: 1,
        files: Vec::new(),
        devices: Vec::new(),
        bounds: Default::default(),
    };
    host.jails.ensure(&spec).await.expect("a jail");
    let rules = GuestNet {
        key: rules(),
        tap: Some("tap0".parse::<TapName>().expect("a name of a tap")),
        address: Some("10.0.0.7".parse().expect("an address")),
        nat: false,
        stale: false,
    };
    host.firewall.ensure(&rules).await.expect("rules");
}

/// What marks the strangers' rules.
pub(super) fn rules() -> GuestKey {
    "web".parse().expect("a key")
}

fn part_of(name: &str) -> PathPart {
    name.parse().expect("a plain file name")
}

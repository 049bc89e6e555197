//! Jails in a temporary directory. What needs root says so.

use super::*;
use crate::host::{
    BackingFile, DeviceNumber, FileId, HostErrorKind, ImageName, JailAccess, JailBounds,
    JailDevice, JailFile, PathPart,
};

const UID: u32 = 200_002;

struct Fixture {
    temp: tempfile::TempDir,
    jails: LinuxJails,
}

fn fixture() -> Fixture {
    let temp = tempfile::tempdir().unwrap();
    let at = |name: &str| Root::open(&temp.path().join(name)).unwrap();
    let roots = Arc::new(Roots { images: at("images"), scratch: at("vms") });
    std::fs::create_dir(temp.path().join("vms/vm")).unwrap();
    std::fs::write(temp.path().join("vms/vm/work.img"), "work").unwrap();
    std::fs::write(temp.path().join("images/vmlinux"), "kernel").unwrap();
    // A directory stands for the mount of the control groups.
    let cgroups = Cgroups::at(&temp.path().join("cgroup"), Path::new("banger-bg.slice"));
    let tree = JailTree::new(at("jails"), at("run"), roots, Some(cgroups));
    Fixture { jails: LinuxJails::new(Arc::new(tree)), temp }
}

fn id() -> JailId {
    JailId::new("0191e0a0-0000-7000-8000-000000000001").unwrap()
}

fn part(text: &str) -> PathPart {
    PathPart::new(text).unwrap()
}

fn spec() -> JailSpec {
    JailSpec {
        id: id(),
        vmm: VmmKind::Firecracker,
        uid: UID,
        files: vec![
            JailFile {
                name: part("kernel"),
                from: BackingFile::Image(ImageName::new("vmlinux").unwrap()),
                access: JailAccess::Read,
            },
            JailFile {
                name: part("work"),
                from: BackingFile::Scratch { dir: part("vm"), file: part("work.img") },
                access: JailAccess::Write,
            },
        ],
        devices: vec![JailDevice {
            name: part("rootfs"),
            device: DeviceNumber { major: 254, minor: 7 },
        }],
        bounds: Default::default(),
    }
}

impl Fixture {
    fn in_jail(&self, name: &str) -> PathBuf {
        self.jails.root_path(&id(), VmmKind::Firecracker).join(name)
    }
}

#[tokio::test]
async fn a_link_into_the_jails_of_another_agent_is_no_jail_of_ours() {
    let f = fixture();
    let run = f.temp.path().join("run");
    let id = id();
    let theirs =
        f.temp.path().join("other/firecracker").join(id.as_str()).join("root/run/x.socket");
    std::os::unix::fs::symlink(&theirs, run.join(format!("{id}.sock"))).unwrap();
    assert_eq!(f.jails.list().await.unwrap(), []);
    assert_eq!(f.jails.survey().await.unwrap(), []);
    // One into ours, whose jail is gone, is what is left of it.
    let ours = f.temp.path().join("jails/firecracker").join(id.as_str()).join("root/run/x.socket");
    std::fs::remove_file(run.join(format!("{id}.sock"))).unwrap();
    std::os::unix::fs::symlink(&ours, run.join(format!("{id}.sock"))).unwrap();
    assert_eq!(f.jails.list().await.unwrap(), std::slice::from_ref(&id));
    assert_eq!(f.jails.survey().await.unwrap().len(), 1);
}

#[tokio::test]
async fn priv_a_jail_is_built_once_and_removed_wholly() {
    use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt as _};
    let f = fixture();
    assert_eq!(f.jails.observe(&id()).await.unwrap(), None);
    assert_eq!(f.jails.ensure(&spec()).await.unwrap(), Change::Made);
    assert_eq!(f.jails.ensure(&spec()).await.unwrap(), Change::AlreadySo);

    let device = std::fs::symlink_metadata(f.in_jail("rootfs")).unwrap();
    assert!(device.file_type().is_block_device());
    assert_eq!(device.rdev(), rustix::fs::makedev(254, 7));
    assert_eq!((device.uid(), device.gid(), device.mode() & 0o777), (UID, UID, 0o600));
    let work = std::fs::metadata(f.in_jail("work")).unwrap();
    assert_eq!((work.uid(), work.nlink()), (UID, 2));
    // Whatever its user let others do with it.
    std::fs::set_permissions(f.in_jail("work"), std::fs::Permissions::from_mode(0o6777)).unwrap();
    assert_eq!(f.jails.ensure(&spec()).await.unwrap(), Change::Made);
    let work = std::fs::metadata(f.in_jail("work")).unwrap();
    assert_eq!(work.mode() & 0o7777, 0o600);
    // The image is a link and still root's: the VMM cannot write it.
    let kernel = std::fs::metadata(f.in_jail("kernel")).unwrap();
    assert_eq!((kernel.uid(), kernel.nlink()), (0, 2));
    for fifo in ["console.fifo", "console-in.fifo", "log.fifo", "metrics.fifo"] {
        let fifo = std::fs::symlink_metadata(f.in_jail(fifo)).unwrap();
        assert!(fifo.file_type().is_fifo() && fifo.uid() == UID);
    }

    let facts = f.jails.observe(&id()).await.unwrap().unwrap();
    let root = std::fs::metadata(f.jails.root_path(&id(), VmmKind::Firecracker)).unwrap();
    assert_eq!(facts.root, Some(FileId { device: root.dev(), inode: root.ino() }));
    assert!(facts.cgroup && f.in_jail("kernel").exists());
    let target = f.jails.root_path(&id(), VmmKind::Firecracker).join("run/firecracker.socket");
    assert_eq!(f.jails.observe_api_socket(&id()).await.unwrap(), SocketEntry::Link(target));
    assert_eq!(f.jails.list().await.unwrap(), [id()]);

    assert_eq!(f.jails.remove(&id()).await.unwrap(), Change::Made);
    assert_eq!(f.jails.remove(&id()).await.unwrap(), Change::AlreadySo);
    assert_eq!(f.jails.observe(&id()).await.unwrap(), None);
    assert_eq!(f.jails.list().await.unwrap(), []);
    assert_eq!(f.jails.observe_api_socket(&id()).await.unwrap(), SocketEntry::Missing);
    // The originals stay.
    assert_eq!(std::fs::read(f.temp.path().join("images/vmlinux")).unwrap(), b"kernel");
    assert_eq!(std::fs::read(f.temp.path().join("vms/vm/work.img")).unwrap(), b"work");
}

#[tokio::test]
async fn priv_an_unreadable_image_is_copied_for_the_jails_user() {
    use std::os::unix::fs::{MetadataExt, PermissionsExt};
    let f = fixture();
    let image = f.temp.path().join("images/vmlinux");
    std::fs::set_permissions(&image, std::fs::Permissions::from_mode(0o600)).unwrap();
    f.jails.ensure(&spec()).await.unwrap();
    let copy = std::fs::metadata(f.in_jail("kernel")).unwrap();
    // Its reader may not change it, nor what the next look at it goes by.
    assert_eq!((copy.uid(), copy.gid(), copy.nlink()), (0, UID, 1));
    assert_eq!(copy.mode() & 0o7777, 0o440);
    assert_eq!(std::fs::read(f.in_jail("kernel")).unwrap(), b"kernel");
    assert_eq!(f.jails.ensure(&spec()).await.unwrap(), Change::AlreadySo);
    // One that looks the same, made by the VMM in its place, is none.
    let times = std::fs::FileTimes::new().set_modified(copy.modified().unwrap());
    std::fs::remove_file(f.in_jail("kernel")).unwrap();
    std::fs::write(f.in_jail("kernel"), "KERNEL").unwrap();
    std::os::unix::fs::chown(f.in_jail("kernel"), Some(UID), Some(UID)).unwrap();
    let planted = std::fs::File::options().write(true).open(f.in_jail("kernel")).unwrap();
    planted.set_times(times).unwrap();
    planted.set_permissions(std::fs::Permissions::from_mode(0o440)).unwrap();
    assert_eq!(f.jails.ensure(&spec()).await.unwrap(), Change::Made);
    assert_eq!(std::fs::read(f.in_jail("kernel")).unwrap(), b"kernel");
    // A newer image is copied anew.
    std::fs::write(&image, "kernel two").unwrap();
    assert_eq!(f.jails.ensure(&spec()).await.unwrap(), Change::Made);
    assert_eq!(std::fs::read(f.in_jail("kernel")).unwrap(), b"kernel two");
}

#[tokio::test]
async fn priv_what_a_hostile_vmm_left_is_replaced_not_followed() {
    let f = fixture();
    f.jails.ensure(&spec()).await.unwrap();
    let secret = f.temp.path().join("secret");
    std::fs::write(&secret, "s").unwrap();
    for name in ["kernel", "work", "rootfs", "log.fifo"] {
        std::fs::remove_file(f.in_jail(name)).unwrap();
        std::os::unix::fs::symlink(&secret, f.in_jail(name)).unwrap();
    }
    std::os::unix::fs::symlink(&secret, f.in_jail("firecracker.pid")).unwrap();
    assert!(f.jails.read_pidfile(&id(), VmmKind::Firecracker).await.is_err());
    f.jails.remove(&id()).await.unwrap();
    assert_eq!(f.jails.ensure(&spec()).await.unwrap(), Change::Made);
    assert_eq!(std::fs::read(&secret).unwrap(), b"s");
    assert_eq!(std::fs::read(f.in_jail("kernel")).unwrap(), b"kernel");
    use std::os::unix::fs::MetadataExt;
    assert_eq!(std::fs::metadata(&secret).unwrap().uid(), 0);
}

#[tokio::test]
async fn a_missing_image_is_not_found_and_named() {
    let f = fixture();
    std::fs::remove_file(f.temp.path().join("images/vmlinux")).unwrap();
    let error = f.jails.ensure(&spec()).await.unwrap_err();
    assert_eq!(error.kind, HostErrorKind::NotFound);
    assert!(error.to_string().contains("image vmlinux"), "{error}");
}

#[tokio::test]
async fn priv_a_jails_control_group_is_bounded_before_anything_is_in_it() {
    let f = fixture();
    let group = f.temp.path().join("cgroup/banger-bg.slice").join(id().as_str());
    std::fs::create_dir_all(&group).unwrap();
    for level in ["cgroup", "cgroup/banger-bg.slice"] {
        std::fs::write(f.temp.path().join(level).join("cgroup.subtree_control"), "").unwrap();
    }
    let bounds = JailBounds::of(VmmKind::Firecracker, 2, 512);
    let bounded = JailSpec { bounds, ..spec() };
    // Where the kernel has no such bounds, the jail is built all the same, and they were asked for.
    f.jails.ensure(&bounded).await.unwrap();
    for level in ["cgroup", "cgroup/banger-bg.slice"] {
        let path = f.temp.path().join(level).join("cgroup.subtree_control");
        assert!(std::fs::read_to_string(path).unwrap().starts_with('+'), "{level}");
    }
    for file in ["memory.max", "pids.max"] {
        std::fs::write(group.join(file), "max\n").unwrap();
    }
    assert_eq!(f.jails.ensure(&bounded).await.unwrap(), Change::Made);
    let read = |file: &str| std::fs::read_to_string(group.join(file)).unwrap();
    assert_eq!(read("memory.max"), ((512 + 16 + 128) * 1024 * 1024).to_string());
    assert_eq!(read("pids.max"), "18");
    assert_eq!(f.jails.ensure(&bounded).await.unwrap(), Change::AlreadySo);
}

#[tokio::test]
async fn an_api_socket_that_is_no_symlink_is_told_apart() {
    let f = fixture();
    std::fs::write(f.temp.path().join("run").join(format!("{}.sock", id())), "").unwrap();
    assert_eq!(f.jails.observe_api_socket(&id()).await.unwrap(), SocketEntry::NotALink);
    assert_eq!(f.jails.list().await.unwrap(), [id()]);
}

#[test]
fn the_mount_of_version_2_is_found_beside_version_1() {
    let hybrid = "tmpfs /sys/fs/cgroup tmpfs rw 0 0\ncgroup /sys/fs/cgroup/cpu cgroup rw 0 0\ncgroup2 /sys/fs/cgroup/unified cgroup2 rw 0 0\n";
    let mount = cgroups::mount_point(hybrid);
    assert_eq!(mount, Some(PathBuf::from("/sys/fs/cgroup/unified")));
    assert_eq!(cgroups::mount_point("cgroup /sys/fs/cgroup/cpu cgroup rw 0 0\n"), None);
}

#[tokio::test]
async fn priv_a_jail_is_told_by_where_it_lies_and_belongs_to_one_vmm() {
    let f = fixture();
    let qemu = JailSpec { vmm: VmmKind::Qemu, ..spec() };
    assert_eq!(f.jails.ensure(&qemu).await.unwrap(), Change::Made);
    assert_eq!(f.jails.ensure(&qemu).await.unwrap(), Change::AlreadySo);
    let facts = f.jails.observe(&id()).await.unwrap().unwrap();
    assert_eq!(facts.vmm, Some(VmmKind::Qemu));
    let root = f.jails.root_path(&id(), VmmKind::Qemu);
    assert!(root.join("log.fifo").exists() && !root.join("metrics.fifo").exists());
    let link = SocketEntry::Link(root.join("run/qmp.socket"));
    assert_eq!(f.jails.observe_api_socket(&id()).await.unwrap(), link);
    assert_eq!(f.jails.ensure(&spec()).await.unwrap_err().kind, HostErrorKind::NameTaken);
    assert_eq!(f.jails.list().await.unwrap(), [id()]);
    assert_eq!(f.jails.remove(&id()).await.unwrap(), Change::Made);
    assert_eq!(f.jails.observe(&id()).await.unwrap(), None);
    assert_eq!(f.jails.ensure(&spec()).await.unwrap(), Change::Made);
}

#[tokio::test]
async fn a_survey_finds_every_part_that_is_left_and_counts_what_would_go_with_it() {
    let f = fixture();
    let other = |n: u32| JailId::new(format!("0191e0a0-0000-7000-8000-00000000000{n}")).unwrap();
    // A whole jail, with a file of its own and one that has another name.
    let root = f.jails.root_path(&id(), VmmKind::Firecracker);
    std::fs::create_dir_all(&root).unwrap();
    std::fs::write(root.join("firecracker"), [1; 10_000]).unwrap();
    std::fs::hard_link(f.temp.path().join("images/vmlinux"), root.join("kernel")).unwrap();
    // A control group alone, a symlink alone.
    std::fs::create_dir_all(f.temp.path().join("cgroup/banger-bg.slice").join(other(2).as_str()))
        .unwrap();
    let link = f.temp.path().join("run").join(format!("{}.sock", other(3)));
    std::os::unix::fs::symlink(f.temp.path().join("jails/nowhere"), link).unwrap();
    // A jail for another VMM without a root, and what somebody else put beside.
    let part = f.jails.root_path(&other(4), VmmKind::Qemu);
    std::fs::create_dir_all(part.parent().unwrap()).unwrap();
    let away = f.jails.root_path(&other(5), VmmKind::Firecracker);
    std::os::unix::fs::symlink(&root, away.parent().unwrap()).unwrap();
    let found = f.jails.survey().await.unwrap();
    let parts: Vec<_> = found
        .iter()
        .map(|jail| (jail.id.clone(), jail.files, jail.root.is_some(), jail.cgroup))
        .collect();
    assert_eq!(
        parts,
        [
            (id(), true, true, false),
            (other(2), false, false, true),
            (other(3), true, false, false),
            (other(4), true, false, false),
        ]
    );
    assert_eq!((found[0].vmm, found[3].vmm), (Some(VmmKind::Firecracker), Some(VmmKind::Qemu)));
    let whole = found[0].occupied_bytes;
    assert!((10_000..20_480).contains(&whole), "the kernel stays as an image: {whole}");
    assert_eq!(found[1].occupied_bytes, 0);
}

#[tokio::test]
async fn a_jail_full_of_names_is_looked_at_without_reading_them_and_removed_in_bounded_parts() {
    let f = fixture();
    let root = f.jails.root_path(&id(), VmmKind::Firecracker);
    std::fs::create_dir_all(root.join("run/a/b")).unwrap();
    std::fs::write(root.join("n"), "").unwrap();
    for n in 0..50_000 {
        // A file has so many names at most.
        let name = root.join(if n % 25_000 == 0 { format!("n{n}") } else { format!("run/n{n}") });
        if n % 25_000 == 0 {
            std::fs::write(name, "").unwrap();
        } else {
            std::fs::hard_link(root.join(format!("n{}", n - n % 25_000)), name).unwrap();
        }
    }
    let facts = f.jails.observe(&id()).await.unwrap().unwrap();
    assert!(facts.root.is_some());
    let survey = f.jails.survey().await.unwrap();
    assert_eq!(survey.len(), 1);
    for n in 0..50_000 {
        let name = if n % 25_000 == 0 { format!("m{n}") } else { format!("m{n}x") };
        if n % 25_000 == 0 {
            std::fs::write(root.join(name), "").unwrap();
        } else {
            std::fs::hard_link(root.join(format!("m{}", n - n % 25_000)), root.join(name)).unwrap();
        }
    }
    let mut parts = 0;
    while f.jails.observe(&id()).await.unwrap().is_some() {
        assert_eq!(f.jails.remove(&id()).await.unwrap(), Change::Made);
        parts += 1;
        assert!(parts < 10, "it does not end");
    }
    assert!(parts >= 5, "{parts} parts for 100,000 names");
    assert_eq!(f.jails.remove(&id()).await.unwrap(), Change::AlreadySo);
}

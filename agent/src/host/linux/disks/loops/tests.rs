//! Loop devices of this machine over files in a temporary directory. Need root.

use super::*;
use crate::host::linux::files::beneath::Root;
use crate::host::{ImageName, PathPart};

/// Detaches whatever a test left attached, also when it failed.
struct Fixture {
    temp: tempfile::TempDir,
    loops: LinuxLoops,
}

impl Drop for Fixture {
    fn drop(&mut self) {
        for (device, path) in attached().unwrap() {
            if path.starts_with(self.temp.path())
                && let Some(fd) = open_device(device).unwrap()
            {
                let _ = ioctl::clear(fd.as_fd());
            }
        }
    }
}

fn fixture() -> Fixture {
    let temp = tempfile::tempdir().unwrap();
    let roots = Roots {
        images: Root::open(&temp.path().join("images")).unwrap(),
        scratch: Root::open(&temp.path().join("vms")).unwrap(),
    };
    std::fs::create_dir(temp.path().join("vms/vm")).unwrap();
    std::fs::write(temp.path().join("vms/vm/root.cow"), vec![0; 1 << 20]).unwrap();
    std::fs::write(temp.path().join("images/base"), vec![7; 1 << 20]).unwrap();
    Fixture { temp, loops: LinuxLoops::new(Arc::new(roots)) }
}

fn image() -> BackingFile {
    BackingFile::Image(ImageName::new("base").unwrap())
}

fn cow() -> BackingFile {
    BackingFile::Scratch {
        dir: PathPart::new("vm").unwrap(),
        file: PathPart::new("root.cow").unwrap(),
    }
}

#[tokio::test]
async fn priv_a_file_is_attached_once_found_again_and_detached() {
    let f = fixture();
    assert_eq!(f.loops.observe(&image()).await.unwrap(), None);
    let (made, change) = f.loops.ensure_attached(&image(), true).await.unwrap();
    assert_eq!(change, Change::Made);
    assert!(made.read_only);
    assert_eq!(made.size_bytes, 1 << 20);
    let (again, change) = f.loops.ensure_attached(&image(), true).await.unwrap();
    assert_eq!((again.device, change), (made.device, Change::AlreadySo));
    // Another life of the agent has no memory of it and finds it all the same.
    let fresh = LinuxLoops::new(f.loops.inner.roots.clone());
    assert_eq!(fresh.observe(&image()).await.unwrap().unwrap().device, made.device);
    assert_eq!(fresh.list().await.unwrap().len(), 1);
    assert_eq!(f.loops.remove(made.device, made.backing).await.unwrap(), Change::Made);
    assert_eq!(f.loops.remove(made.device, made.backing).await.unwrap(), Change::AlreadySo);
    assert_eq!(fresh.observe(&image()).await.unwrap(), None);
}

#[tokio::test]
async fn priv_a_read_only_device_refuses_writes() {
    let f = fixture();
    let (made, _) = f.loops.ensure_attached(&image(), true).await.unwrap();
    let refused = std::fs::OpenOptions::new().write(true).open(made.device.to_string());
    assert!(refused.is_err() || std::io::Write::write(&mut refused.unwrap(), &[1]).is_err());
    assert_eq!(std::fs::read(f.temp.path().join("images/base")).unwrap()[0], 7);
}

#[tokio::test]
async fn priv_a_device_in_use_for_another_file_is_not_detached() {
    let f = fixture();
    let (made, _) = f.loops.ensure_attached(&cow(), false).await.unwrap();
    let other = FileId { device: made.backing.device, inode: made.backing.inode + 1 };
    assert_eq!(f.loops.remove(made.device, other).await.unwrap(), Change::AlreadySo);
    assert!(f.loops.observe(&cow()).await.unwrap().is_some());
    f.loops.remove(made.device, made.backing).await.unwrap();
}

#[tokio::test]
async fn priv_a_grown_file_is_seen_after_the_size_is_taken() {
    let f = fixture();
    let (made, _) = f.loops.ensure_attached(&cow(), false).await.unwrap();
    let file = std::fs::OpenOptions::new().write(true).open(f.temp.path().join("vms/vm/root.cow"));
    file.unwrap().set_len(4 << 20).unwrap();
    assert_eq!(f.loops.refresh_size(made.device, made.backing).await.unwrap(), Change::Made);
    assert_eq!(f.loops.observe(&cow()).await.unwrap().unwrap().size_bytes, 4 << 20);
    assert_eq!(f.loops.refresh_size(made.device, made.backing).await.unwrap(), Change::AlreadySo);
}

#[tokio::test]
async fn priv_a_device_held_open_is_reported_busy_and_goes_when_it_is_closed() {
    let f = fixture();
    let (made, _) = f.loops.ensure_attached(&cow(), false).await.unwrap();
    let holder = std::fs::File::open(made.device.to_string()).unwrap();
    let error = f.loops.remove(made.device, made.backing).await.unwrap_err();
    assert_eq!(error.kind, HostErrorKind::Busy);
    drop(holder);
    // Either it went with the holder or the next attempt takes it.
    f.loops.remove(made.device, made.backing).await.unwrap();
    assert_eq!(f.loops.observe(&cow()).await.unwrap(), None);
}

#[tokio::test]
async fn priv_two_callers_for_one_image_share_one_device() {
    let f = fixture();
    let image = image();
    let (one, two) =
        tokio::join!(f.loops.ensure_attached(&image, true), f.loops.ensure_attached(&image, true));
    assert_eq!(one.unwrap().0.device, two.unwrap().0.device);
    assert_eq!(f.loops.list().await.unwrap().len(), 1);
}

#[tokio::test]
async fn attaching_a_file_that_is_not_there_says_not_found() {
    let f = fixture();
    std::fs::remove_file(f.temp.path().join("images/base")).unwrap();
    let error = f.loops.ensure_attached(&image(), true).await.unwrap_err();
    assert_eq!(error.kind, HostErrorKind::NotFound);
    assert_eq!(f.loops.observe(&image()).await.unwrap(), None);
}

#[test]
fn a_shown_path_is_compared_by_its_end_and_without_the_note_of_unlinking() {
    let file = Path::new("/var/lib/x/vms/a/root.cow");
    assert!(may_be(Path::new("/var/lib/x/vms/a/root.cow (deleted)"), file));
    assert!(may_be(Path::new("/vms/a/root.cow"), file));
    assert!(!may_be(Path::new("/vms/a/work.img"), file));
}

//! Copies on the file system of the temporary directory, whichever way it can.

use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::PathBuf;

use super::*;
use crate::host::linux::files::beneath::Root;

struct Fixture {
    temp: tempfile::TempDir,
    roots: Roots,
}

fn fixture() -> Fixture {
    let temp = tempfile::tempdir().unwrap();
    let at = |name: &str| Root::open(&temp.path().join(name)).unwrap();
    let roots = Roots { images: at("images"), scratch: at("vms") };
    std::fs::create_dir(temp.path().join("vms/vm")).unwrap();
    Fixture { temp, roots }
}

impl Fixture {
    fn image(&self) -> PathBuf {
        self.temp.path().join("images/root.ext4")
    }

    fn copy(&self) -> PathBuf {
        self.temp.path().join("vms/vm/root.img")
    }

    fn ensure(&self) -> HostResult<Change> {
        let part = |text: &str| PathPart::new(text).unwrap();
        let image = ImageName::new("root.ext4").unwrap();
        ensure(&self.roots, &part("vm"), &part("root.img"), &image)
    }
}

#[test]
fn a_copy_has_the_images_content_and_its_holes() {
    let f = fixture();
    let image = File::create(f.image()).unwrap();
    image.set_len(64 << 20).unwrap();
    image.write_all_at(b"begin", 0).unwrap();
    image.write_all_at(b"middle", 32 << 20).unwrap();
    image.sync_all().unwrap();
    assert_eq!(f.ensure().unwrap(), Change::Made);
    let copy = File::open(f.copy()).unwrap();
    let facts = copy.metadata().unwrap();
    assert_eq!((facts.len(), facts.mode() & 0o777), (64 << 20, 0o600));
    assert!(facts.blocks() * 512 < 1 << 20, "{} blocks of a file of holes", facts.blocks());
    assert_eq!(std::fs::read(f.copy()).unwrap(), std::fs::read(f.image()).unwrap());
}

#[test]
fn what_a_guest_wrote_to_its_copy_stays_and_the_image_does_not_change() {
    let f = fixture();
    std::fs::write(f.image(), b"image").unwrap();
    assert_eq!(f.ensure().unwrap(), Change::Made);
    std::fs::write(f.copy(), b"guest").unwrap();
    assert_eq!(f.ensure().unwrap(), Change::AlreadySo);
    assert_eq!(std::fs::read(f.copy()).unwrap(), b"guest");
    assert_eq!(std::fs::read(f.image()).unwrap(), b"image");
    let left: Vec<_> = std::fs::read_dir(f.temp.path().join("vms/vm")).unwrap().collect();
    assert_eq!(left.len(), 1, "{left:?}");
}

#[test]
fn an_image_that_is_missing_or_a_link_is_not_copied() {
    let f = fixture();
    assert_eq!(f.ensure().unwrap_err().kind, HostErrorKind::NotFound);
    std::os::unix::fs::symlink("/etc/passwd", f.image()).unwrap();
    assert!(f.ensure().is_err());
    assert!(!f.copy().exists());
}

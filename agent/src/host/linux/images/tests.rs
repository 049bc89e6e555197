//! Images are told by their first bytes and known by their digest.

use super::*;
use crate::host::linux::files::beneath::Root;

fn fixture() -> (tempfile::TempDir, LinuxImages) {
    let temp = tempfile::tempdir().unwrap();
    let roots = Roots {
        images: Root::open(&temp.path().join("images")).unwrap(),
        scratch: Root::open(&temp.path().join("vms")).unwrap(),
    };
    (temp, LinuxImages::new(Arc::new(roots)))
}

fn name(text: &str) -> ImageName {
    ImageName::new(text).unwrap()
}

#[tokio::test]
async fn kernels_and_file_systems_are_told_by_their_magic() {
    let (temp, images) = fixture();
    let dir = temp.path().join("images");
    std::fs::write(dir.join("vmlinux"), b"\x7fELF\x02").unwrap();
    let mut ext4 = vec![0; 4096];
    ext4[1080..1082].copy_from_slice(b"\x53\xef");
    std::fs::write(dir.join("root.ext4"), &ext4).unwrap();
    std::fs::write(dir.join("initrd"), b"").unwrap();
    std::fs::create_dir(dir.join("folder")).unwrap();
    std::fs::write(dir.join(".hidden"), b"").unwrap();
    std::os::unix::fs::symlink("/etc/passwd", dir.join("link")).unwrap();
    let found: Vec<_> = images
        .list()
        .await
        .unwrap()
        .into_iter()
        .map(|image| (image.name.to_string(), image.kind, image.size_bytes))
        .collect();
    assert_eq!(
        found,
        [
            ("initrd".to_owned(), ImageKind::Other, 0),
            ("root.ext4".to_owned(), ImageKind::Root, 4096),
            ("vmlinux".to_owned(), ImageKind::Kernel, 5),
        ]
    );
}

#[tokio::test]
async fn a_digest_is_kept_until_the_file_changes() {
    let (temp, images) = fixture();
    let path = temp.path().join("images/a");
    std::fs::write(&path, "abc").unwrap();
    assert_eq!(images.observe(&name("a")).await.unwrap().unwrap().sha256, None);
    let digest = images.digest(&name("a")).await.unwrap().unwrap();
    // FIPS 180-2, appendix B.1.
    assert_eq!(digest, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    assert_eq!(images.observe(&name("a")).await.unwrap().unwrap().sha256, Some(digest.clone()));
    // Another file under the name, of the same length.
    std::fs::write(temp.path().join("images/b"), "xyz").unwrap();
    std::fs::rename(temp.path().join("images/b"), &path).unwrap();
    assert_eq!(images.observe(&name("a")).await.unwrap().unwrap().sha256, None);
    assert_ne!(images.digest(&name("a")).await.unwrap().unwrap(), digest);
}

#[tokio::test]
async fn an_image_that_is_not_there_is_none() {
    let (_temp, images) = fixture();
    assert_eq!(images.observe(&name("a")).await.unwrap(), None);
    assert_eq!(images.digest(&name("a")).await.unwrap(), None);
}

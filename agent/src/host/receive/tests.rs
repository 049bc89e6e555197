//! The same claims on a real directory and on the fake machine.

use std::path::Path;
use std::sync::Arc;

use super::*;
use crate::host::fakes::FakeKernel;
use crate::host::linux::test_images;

fn announced(content: &[u8]) -> Announced {
    let sha256 = hex::encode(Sha256::digest(content));
    Announced {
        name: ImageName::new(format!("sha256-{sha256}")).unwrap(),
        sha256,
        size_bytes: content.len() as u64,
        data_bytes: 0,
    }
}

/// An ext4 file as far as anybody looks, with a hole in it that is no whole number of messages.
fn content() -> Vec<u8> {
    let mut content = vec![0; 700_001];
    content[1080..1082].copy_from_slice(b"\x53\xef");
    content[700_000] = 1;
    content[300_000] = 2;
    content
}

async fn begin(images: &dyn Images, announced: &Announced) -> Option<Receiving> {
    Receiving::begin(images, announced.clone(), 0).await.unwrap()
}

async fn put(images: &dyn Images, announced: &Announced, content: &[u8]) -> HostResult<()> {
    let mut receiving = begin(images, announced).await.expect("not there yet");
    for chunk in content.chunks(100_000) {
        receiving.append(Bytes::copy_from_slice(chunk)).await?;
    }
    receiving.finish().await
}

/// What is in the directory, partial files included.
fn files(dir: &Path) -> Vec<String> {
    let mut names: Vec<String> = std::fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

async fn an_image_is_there_whole_or_not_at_all(images: &dyn Images) {
    let (content, announced) = (content(), announced(&content()));
    let observe = || async { images.observe(&announced.name).await.unwrap() };
    // Cut off in the middle.
    let mut cut = begin(images, &announced).await.unwrap();
    cut.append(Bytes::copy_from_slice(&content[..1000])).await.unwrap();
    assert_eq!(observe().await, None);
    assert_eq!(images.list().await.unwrap().iter().filter(|i| i.name == announced.name).count(), 0);
    drop(cut);
    // Too short, too long, and other content of the same length.
    let mut other = content.clone();
    other[5] = 9;
    let long = [content.as_slice(), b"x"].concat();
    for wrong in [&content[..700_000], &long, &other] {
        let refused = put(images, &announced, wrong).await.unwrap_err();
        assert_eq!(refused.kind, HostErrorKind::Invalid, "{}", refused.chain());
        assert_eq!(observe().await, None);
    }
    put(images, &announced, &content).await.unwrap();
    let facts = observe().await.unwrap();
    assert_eq!((facts.size_bytes, facts.kind), (700_001, crate::host::ImageKind::Root));
    assert_eq!(facts.sha256.as_ref(), Some(&announced.sha256));
    assert!(begin(images, &announced).await.is_none(), "it is there");
    assert_eq!(images.remove(&announced.name).await.unwrap(), crate::host::Change::Made);
    assert_eq!(images.remove(&announced.name).await.unwrap(), crate::host::Change::AlreadySo);
    assert_eq!(observe().await, None);
}

async fn without_room_nothing_is_begun(images: &dyn Images) {
    let announced = announced(&content());
    let free = images.room().await.unwrap().free_bytes;
    let refused = Receiving::begin(images, announced.clone(), free).await.map(drop).unwrap_err();
    assert_eq!(refused.kind, HostErrorKind::NoSpace, "{}", refused.chain());
    // Holes take no room: an image larger than the disk whose content is not.
    let large = Announced { size_bytes: u64::MAX, data_bytes: 4096, ..announced };
    assert!(Receiving::begin(images, large, 0).await.unwrap().is_some());
}

#[tokio::test]
async fn a_real_directory_has_an_image_whole_or_not_at_all() {
    let (temp, images) = test_images();
    an_image_is_there_whole_or_not_at_all(&*images).await;
    without_room_nothing_is_begun(&*images).await;
    assert_eq!(files(&temp.path().join("images")), [""; 0]);
}

#[tokio::test]
async fn a_fake_machine_has_an_image_whole_or_not_at_all() {
    let images = FakeKernel::new().host().images;
    an_image_is_there_whole_or_not_at_all(&*images).await;
    without_room_nothing_is_begun(&*images).await;
}

#[tokio::test]
async fn a_sparse_image_stays_sparse_and_is_the_same_when_it_is_read() {
    use std::os::unix::fs::MetadataExt as _;
    let (temp, images) = test_images();
    let mut content = vec![0; 8 << 20];
    content[4 << 20] = 1;
    let announced = announced(&content);
    put(&*images, &announced, &content).await.unwrap();
    let path = temp.path().join("images").join(announced.name.as_str());
    let facts = std::fs::metadata(&path).unwrap();
    assert_eq!((facts.len(), facts.mode() & 0o777), (8 << 20, 0o600));
    assert!(facts.blocks() * 512 <= 1 << 20, "{} blocks", facts.blocks());
    assert!(std::fs::read(&path).unwrap() == content);
}

#[tokio::test]
async fn a_file_of_the_right_name_and_length_with_other_content_is_replaced() {
    let (temp, images) = test_images();
    let (content, announced) = (content(), announced(&content()));
    let path = temp.path().join("images").join(announced.name.as_str());
    std::fs::write(&path, vec![3; content.len()]).unwrap();
    put(&*images, &announced, &content).await.unwrap();
    assert!(std::fs::read(&path).unwrap() == content);
}

#[tokio::test]
async fn a_start_removes_what_a_killed_agent_had_begun_and_nothing_else() {
    let (temp, images) = test_images();
    let dir = temp.path().join("images");
    for name in [".incoming-sha256-aa-0", ".incoming-sha256-aa-17", "vmlinux", ".hidden"] {
        std::fs::write(dir.join(name), b"x").unwrap();
    }
    assert_eq!(images.remove_partials().await.unwrap(), 2);
    assert_eq!(files(&dir), [".hidden", "vmlinux"]);
}

#[tokio::test]
async fn two_transfers_of_one_image_at_once_do_not_spoil_each_other() {
    let (temp, images) = test_images();
    let (content, announced) = (content(), announced(&content()));
    let (mut first, mut second) =
        (begin(&*images, &announced).await.unwrap(), begin(&*images, &announced).await.unwrap());
    first.append(Bytes::copy_from_slice(&content[..10])).await.unwrap();
    second.append(Bytes::copy_from_slice(&content)).await.unwrap();
    second.finish().await.unwrap();
    drop(first);
    assert_eq!(files(&temp.path().join("images")), [announced.name.to_string()]);
    let images: Arc<dyn Images> = images;
    assert_eq!(images.digest(&announced.name).await.unwrap(), Some(announced.sha256));
}

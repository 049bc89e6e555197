//! Claims about what an upload is made of.

use futures_util::StreamExt as _;

use super::*;

async fn all_of(path: &Path) -> Vec<u8> {
    let (parts, failed) = Pack::open(path).ok().unwrap().into_parts();
    let parts: Vec<Vec<u8>> = parts.collect().await;
    assert!(parts.iter().all(|part| part.len() <= CHUNK_BYTES && !part.is_empty()));
    assert!(failed.await.is_err(), "nothing failed");
    parts.concat()
}

#[tokio::test]
async fn a_file_arrives_as_it_is_in_parts_of_bounded_length() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("kernel");
    let content: Vec<u8> = (0..3 * CHUNK_BYTES + 7).map(|at| (at % 251) as u8).collect();
    std::fs::write(&path, &content).unwrap();
    assert_eq!(all_of(&path).await, content);
    std::fs::write(&path, b"").unwrap();
    assert!(all_of(&path).await.is_empty());
}

#[tokio::test]
async fn a_directory_arrives_as_an_archive_with_modes_and_links_as_they_are() {
    use std::os::unix::fs::PermissionsExt as _;
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("etc")).unwrap();
    let tool = dir.path().join("etc/tool");
    std::fs::write(&tool, b"#!/bin/sh\n").unwrap();
    std::fs::set_permissions(&tool, std::fs::Permissions::from_mode(0o4755)).unwrap();
    std::os::unix::fs::symlink("/nowhere/at/all", dir.path().join("link")).unwrap();
    let bytes = all_of(dir.path()).await;
    let mut archive = tar::Archive::new(bytes.as_slice());
    let mut seen = Vec::new();
    for entry in archive.entries().unwrap() {
        let entry = entry.unwrap();
        let link = entry.link_name().unwrap().map(|to| to.display().to_string());
        let path = entry.path().unwrap().display().to_string();
        seen.push((path, entry.header().mode().unwrap() & 0o7777, link));
    }
    assert!(seen.iter().any(|(path, mode, _)| path.ends_with("etc/tool") && *mode == 0o4755));
    let link = seen.iter().find(|(path, _, _)| path.ends_with("link")).unwrap();
    assert_eq!(link.2.as_deref(), Some("/nowhere/at/all"));
}

#[tokio::test]
async fn what_cannot_be_read_to_its_end_never_ends_as_a_shorter_file() {
    let read: Box<Reader> = Box::new(|to| {
        to.write_all(&vec![1; CHUNK_BYTES])?;
        Err(io::Error::other("torn"))
    });
    let (parts, failed) = Pack::start("x".to_owned(), None, read).into_parts();
    let mut parts = Box::pin(parts);
    assert_eq!(parts.next().await.unwrap().len(), CHUNK_BYTES);
    let broken = failed.await.ok().unwrap();
    assert_eq!(broken.error.to_string(), "torn");
    let next = futures_util::poll!(parts.next());
    assert!(next.is_pending(), "the stream must not end while the failure is held");
}

#[tokio::test]
async fn what_is_neither_file_nor_directory_is_refused() {
    assert!(matches!(Pack::open(Path::new("/dev/null")), Err(Failure::Invalid(_))));
    assert!(matches!(Pack::open(Path::new("/nowhere/at/all")), Err(Failure::Other(_))));
}

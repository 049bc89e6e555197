use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};

use super::*;

fn request(directory: &Path, data: Vec<u8>) -> CopyInRequest {
    let directory = directory.to_str().expect("text").to_owned();
    CopyInRequest { directory, data, own_name: String::new() }
}

/// Copies a path out, whole.
async fn pull(path: &Path) -> Result<Vec<u8>, Status> {
    let (chunks, mut stream) = mpsc::channel(1);
    copy_out(path.to_str().expect("text"), chunks, ())?;
    let mut all = Vec::new();
    while let Some(chunk) = stream.recv().await {
        let data = chunk?.data;
        assert!(data.len() <= MAX_CHUNK, "{} bytes at once", data.len());
        all.extend(data);
    }
    Ok(all)
}

async fn push(directory: &Path, archive: &[u8], piece: usize) -> Result<CopyInResponse, Status> {
    let pieces: Vec<_> =
        archive.chunks(piece).map(|data| Ok(request(Path::new(""), data.to_vec()))).collect();
    copy_in(request(directory, Vec::new()), tokio_stream::iter(pieces)).await
}

fn temp() -> tempfile::TempDir {
    tempfile::tempdir().expect("a directory can be made")
}

/// An archive whose entries are written without tar's own checks.
fn archive(entries: &[(&str, EntryType, &str)]) -> Vec<u8> {
    let mut builder = Builder::new(Vec::new());
    for (name, kind, link) in entries {
        let mut header = Header::new_gnu();
        header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
        header.as_old_mut().linkname[..link.len()].copy_from_slice(link.as_bytes());
        header.set_entry_type(*kind);
        header.set_mode(0o644);
        header.set_size(if *kind == EntryType::Regular { 4 } else { 0 });
        header.set_cksum();
        let data: &[u8] = if *kind == EntryType::Regular { b"evil" } else { b"" };
        builder.append(&header, data).expect("it can be written");
    }
    builder.into_inner().expect("it can be ended")
}

#[tokio::test]
async fn what_is_copied_out_and_in_again_is_the_same() {
    let (from, to) = (temp(), temp());
    let tree = from.path().join("tree");
    fs::create_dir_all(tree.join("deep/empty")).expect("it can be made");
    let large: Vec<u8> = (0..300_000_u32).map(|n| (n % 251) as u8).collect();
    fs::write(tree.join("deep/large"), &large).expect("it can be written");
    fs::write(tree.join("script"), "#!/bin/sh\n").expect("it can be written");
    fs::set_permissions(tree.join("script"), fs::Permissions::from_mode(0o755)).expect("it may");
    std::os::unix::fs::symlink("deep/large", tree.join("link")).expect("it can be made");
    let packed = pull(&tree).await.expect("it is packed");
    for piece in [1000, MAX_CHUNK] {
        let done = push(to.path(), &packed, piece).await.expect("it is unpacked");
        assert_eq!((done.entries, done.bytes), (6, 300_010));
        let copy = to.path().join("tree");
        assert!(fs::read(copy.join("deep/large")).expect("it is there") == large);
        assert!(copy.join("deep/empty").is_dir());
        assert_eq!(fs::metadata(copy.join("script")).expect("it is there").mode() & 0o777, 0o755);
        assert_eq!(fs::read_link(copy.join("link")).expect("it is one"), Path::new("deep/large"));
    }
}

#[tokio::test]
async fn a_single_file_is_named_without_its_directory() {
    let (from, to) = (temp(), temp());
    fs::write(from.path().join("one"), "1").expect("it can be written");
    let packed = pull(&from.path().join("one")).await.expect("it is packed");
    push(to.path(), &packed, MAX_CHUNK).await.expect("it is unpacked");
    assert_eq!(fs::read(to.path().join("one")).expect("it is there"), b"1");
}

#[tokio::test]
async fn nothing_is_written_outside_of_the_directory() {
    let outer = temp();
    let inner = outer.path().join("inner");
    let evil: [&[(&str, EntryType, &str)]; 5] = [
        &[("../evil", EntryType::Regular, "")],
        &[("a/../../evil", EntryType::Regular, "")],
        &[("door", EntryType::Symlink, ".."), ("door/evil", EntryType::Regular, "")],
        &[("evil-link", EntryType::Link, "../secret")],
        &[("node", EntryType::Block, "")],
    ];
    for entries in evil {
        fs::create_dir(&inner).expect("it can be made");
        fs::write(outer.path().join("secret"), "secret").expect("it can be written");
        let refused = push(&inner, &archive(entries), MAX_CHUNK).await;
        refused.expect_err(&format!("{entries:?}"));
        assert!(!outer.path().join("evil").exists(), "{entries:?}");
        assert_eq!(fs::read(outer.path().join("secret")).expect("it is there"), b"secret");
        fs::remove_dir_all(&inner).expect("it is ours");
    }
    // What is absolute is taken as if it were not: within the directory.
    fs::create_dir(&inner).expect("it can be made");
    push(&inner, &archive(&[("/evil", EntryType::Regular, "")]), 512)
        .await
        .expect("it is unpacked");
    assert!(inner.join("evil").exists() && !Path::new("/evil").exists());
}

#[tokio::test]
async fn paths_and_archives_that_are_none_are_refused_by_name() {
    let to = temp();
    let code = |result: Result<CopyInResponse, Status>| result.expect_err("it is refused").code();
    for (directory, expected) in [
        ("relative", tonic::Code::InvalidArgument),
        ("/tmp/../etc", tonic::Code::InvalidArgument),
        ("/nonexistent", tonic::Code::NotFound),
        ("/proc/version", tonic::Code::FailedPrecondition),
    ] {
        assert_eq!(code(push(Path::new(directory), b"", 1).await), expected, "{directory}");
    }
    let nonsense = [b'x'; 2000];
    assert_eq!(code(push(to.path(), &nonsense, 100).await), tonic::Code::FailedPrecondition);
    let cut = archive(&[("a", EntryType::Regular, "")]);
    push(to.path(), &cut[..513], 100).await.expect_err("it is cut off");
    assert_eq!(
        pull(Path::new("/nonexistent")).await.expect_err("it is not").code(),
        tonic::Code::NotFound
    );
}

#[tokio::test]
async fn a_reader_that_goes_away_ends_the_packing() {
    let from = temp();
    let file = File::create(from.path().join("huge")).expect("it can be made");
    // Sparse: packing all of it would take minutes.
    file.set_len(1 << 40).expect("it can be long");
    let (chunks, mut stream) = mpsc::channel(1);
    let (held, released) = tokio::sync::oneshot::channel::<()>();
    copy_out(from.path().to_str().expect("text"), chunks, held).expect("it begins");
    stream.recv().await.expect("it comes").expect("it is data");
    drop(stream);
    released.await.expect_err("what was held is let go");
}

/// What is in a directory, with what its files say.
fn listed(directory: &Path) -> Vec<(String, Vec<u8>)> {
    let entry = |entry: io::Result<fs::DirEntry>| {
        let entry = entry.expect("it can be read");
        let name = entry.file_name().into_string().expect("text");
        (name, fs::read(entry.path()).expect("it can be read"))
    };
    let mut all: Vec<_> = fs::read_dir(directory).expect("it is there").map(entry).collect();
    all.sort();
    all
}

#[tokio::test]
async fn a_copy_that_is_broken_off_leaves_every_file_as_it_was_or_whole() {
    let to = temp();
    fs::write(to.path().join("second"), "as it was").expect("it can be written");
    let mut builder = Builder::new(Vec::new());
    for (name, data) in [("first", vec![b'1'; 100]), ("second", vec![b'2'; 100_000])] {
        let mut header = Header::new_gnu();
        header.set_size(data.len() as u64);
        header.set_mode(0o644);
        builder.append_data(&mut header, name, data.as_slice()).expect("it is packed");
    }
    let whole = builder.into_inner().expect("it can be ended");
    // In the middle of the second file, by an error and by an end; between two entries by an error.
    let error = || Err(status::failed("reset"));
    let cut = |at: usize| Ok(request(Path::new(""), whole[..at].to_vec()));
    for parts in [vec![cut(50_000), error()], vec![cut(50_000)], vec![cut(1024), error()]] {
        let said = copy_in(request(to.path(), Vec::new()), tokio_stream::iter(parts)).await;
        said.expect_err("it is not whole");
        let kept =
            [("first".to_owned(), vec![b'1'; 100]), ("second".to_owned(), b"as it was".into())];
        assert_eq!(listed(to.path()), kept);
        fs::remove_file(to.path().join("first")).expect("it was whole");
    }
    push(to.path(), &whole, MAX_CHUNK).await.expect("it is whole");
    let kept = [("first".to_owned(), vec![b'1'; 100]), ("second".to_owned(), vec![b'2'; 100_000])];
    assert_eq!(listed(to.path()), kept);
}

/// As when the host lets go of the call: nobody waits for its answer any more.
#[test]
fn a_copy_whose_call_is_dropped_is_broken_off() {
    let to = temp();
    let (sender, pieces) = mpsc::channel(1);
    let packed = archive(&[("one", EntryType::Regular, "")]);
    drop(sender);
    unpack(to.path(), "", packed[..514].to_vec(), pieces).expect_err("there was no end");
    assert_eq!(listed(to.path()), []);
    // Also where an archive could end: after its first entry.
    let (sender, pieces) = mpsc::channel(1);
    drop(sender);
    unpack(to.path(), "", packed[..1024].to_vec(), pieces).expect_err("there was no end");
}

#[tokio::test]
async fn a_file_replaces_a_link_and_not_what_the_link_leads_to() {
    let (to, elsewhere) = (temp(), temp());
    fs::write(elsewhere.path().join("kept"), "kept").expect("it can be written");
    std::os::unix::fs::symlink(elsewhere.path().join("kept"), to.path().join("file"))
        .expect("it can");
    std::os::unix::fs::symlink(elsewhere.path(), to.path().join("door")).expect("it can");
    let packed =
        archive(&[("new/deep/file", EntryType::Regular, ""), ("file", EntryType::Regular, "")]);
    push(to.path(), &packed, 512).await.expect("it is unpacked");
    assert_eq!(fs::read(to.path().join("file")).expect("it is there"), b"evil");
    assert_eq!(fs::read(to.path().join("new/deep/file")).expect("it is there"), b"evil");
    for leads_out in ["door/file", "door/new/file"] {
        let packed = archive(&[(leads_out, EntryType::Regular, "")]);
        push(to.path(), &packed, 512).await.expect_err("it leads out");
    }
    assert_eq!(listed(elsewhere.path()), [("kept".to_owned(), b"kept".to_vec())]);
}

/// As `cp` does it: what is to be `name` in a directory, and is called `own` by itself.
async fn push_as(
    directory: &Path,
    name: &str,
    own: &str,
    entries: &[(&str, EntryType, &str)],
) -> Result<CopyInResponse, Status> {
    let names: Vec<String> = entries.iter().map(|(below, ..)| format!("{name}{below}")).collect();
    let named: Vec<_> =
        names.iter().zip(entries).map(|(name, (_, kind, to))| (&**name, *kind, *to)).collect();
    let mut first = request(directory, archive(&named));
    first.own_name = own.to_owned();
    copy_in(first, tokio_stream::empty()).await
}

#[tokio::test]
async fn a_copy_goes_where_cp_would_put_it() {
    let at = temp();
    let read = |path: &str| fs::read_to_string(at.path().join(path)).unwrap_or_default();
    fs::create_dir_all(at.path().join("usr/bin")).expect("it can be made");
    std::os::unix::fs::symlink("usr/bin", at.path().join("bin")).expect("it can be made");
    fs::write(at.path().join("real"), "old").expect("it can be written");
    std::os::unix::fs::symlink("real", at.path().join("alias")).expect("it can be made");
    std::os::unix::fs::symlink("nowhere", at.path().join("dangling")).expect("it can be made");
    let file = [("", EntryType::Regular, "")];
    // Into a link to a directory, which stays one.
    push_as(at.path(), "bin", "tool", &file).await.expect("it is copied");
    assert_eq!(read("usr/bin/tool"), "evil");
    assert!(fs::symlink_metadata(at.path().join("bin")).expect("it is there").is_symlink());
    // Into a directory; a whole tree too.
    push_as(at.path(), "usr", "tool", &file).await.expect("it is copied");
    assert_eq!(read("usr/tool"), "evil");
    let tree = [
        ("", EntryType::Directory, ""),
        ("/a", EntryType::Regular, ""),
        ("/b", EntryType::Link, "usr/a"),
        ("/c", EntryType::Symlink, "a"),
    ];
    push_as(at.path(), "usr", "site", &tree).await.expect("it is copied");
    assert_eq!((read("usr/site/a"), read("usr/site/b")), ("evil".to_owned(), "evil".to_owned()));
    assert_eq!(read("usr/site/c"), "evil");
    // Through a link to a file, and not through one that leads nowhere.
    push_as(at.path(), "alias", "tool", &file).await.expect("it is copied");
    assert_eq!(read("real"), "evil");
    assert!(fs::symlink_metadata(at.path().join("alias")).expect("it is there").is_symlink());
    let refused = push_as(at.path(), "dangling", "tool", &file).await.expect_err("it is refused");
    assert!(refused.message().contains("leads nowhere"), "{refused}");
    // What is not there gets the name that was wanted.
    push_as(at.path(), "new", "tool", &file).await.expect("it is copied");
    assert_eq!(read("new"), "evil");
    for own in ["..", "a/b", "."] {
        let refused = push_as(at.path(), "usr", own, &file).await.expect_err("it is refused");
        assert_eq!(refused.code(), tonic::Code::InvalidArgument, "{own}");
    }
    // Another first name than the one that is wanted leads elsewhere.
    let mut first = request(
        at.path(),
        archive(&[("usr", EntryType::Directory, ""), ("real", EntryType::Regular, "")]),
    );
    first.own_name = "site".to_owned();
    copy_in(first, tokio_stream::empty()).await.expect_err("it is refused");
}

#[tokio::test]
async fn files_that_do_not_say_how_long_they_are_are_copied_whole() {
    let to = temp();
    for path in
        ["/proc/version", "/proc/self/mountinfo", "/sys/kernel/mm/transparent_hugepage/enabled"]
    {
        let Ok(content) = fs::read(path) else { continue };
        let packed = pull(Path::new(path)).await.expect("it is packed");
        push(to.path(), &packed, MAX_CHUNK).await.expect("it is unpacked");
        let name = Path::new(path).file_name().expect("it has one");
        let copied = fs::read(to.path().join(name)).expect("it is there");
        assert!(!copied.is_empty() && copied == content, "{path}");
    }
    let refused = pull(Path::new("/proc/self/pagemap")).await;
    assert!(refused.is_err(), "it has no end");
}

#[tokio::test]
async fn a_name_without_an_end_is_not_kept_in_memory_of_a_guest() {
    let to = temp();
    let mut header = Header::new_gnu();
    header.set_entry_type(EntryType::GNULongName);
    header.set_size(240_000_000);
    header.set_path("././@LongLink").expect("it fits");
    header.set_cksum();
    let (sent, first) = (std::cell::Cell::new(0_u64), header.as_bytes().to_vec());
    let endless = std::iter::once(first).chain(std::iter::repeat_with(|| vec![b'a'; MAX_CHUNK]));
    let pieces = endless.map(|data| {
        sent.set(sent.get() + data.len() as u64);
        Ok(request(Path::new(""), data))
    });
    let said = copy_in(request(to.path(), Vec::new()), tokio_stream::iter(pieces)).await;
    let said = said.expect_err("it has no end");
    assert!(said.message().contains("a name without an end"), "{said:?}");
    // Read and on the way.
    assert!(sent.get() <= HEADERS + 8 * MAX_CHUNK as u64, "{} bytes were taken", sent.get());
    // Names of every length that a path may have are taken, after content as well.
    let long = "d".repeat(200);
    let mut builder = Builder::new(Vec::new());
    for name in ["first", &*long] {
        let mut header = Header::new_gnu();
        header.set_size(6 * 1024 * 1024);
        header.set_mode(0o644);
        let content = io::repeat(b'x').take(6 * 1024 * 1024);
        builder.append_data(&mut header, name, content).expect("it is packed");
    }
    let archive = builder.into_inner().expect("it can be ended");
    let done = push(to.path(), &archive, MAX_CHUNK).await.expect("it is unpacked");
    assert_eq!(done.entries, 2);
}

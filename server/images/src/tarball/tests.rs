use super::*;
use crate::testing::{TarMaker, pack_with};

fn entries(bytes: &[u8]) -> Vec<TarEntry> {
    let mut archive = Tarball::new(bytes, "archive");
    let mut all = Vec::new();
    while let Some(entry) = archive.next().unwrap_or_else(|error| panic!("{error}")) {
        all.push(entry);
    }
    all
}

#[test]
fn archives_of_gnu_tar_are_read_in_all_their_formats() {
    let dir = tempfile::tempdir().expect("a temporary directory can be made");
    let long = format!("{}/{}", "d".repeat(120), "n".repeat(200));
    let path = dir.path().join(&long);
    std::fs::create_dir_all(path.parent().expect("it has one")).expect("it can be made");
    std::fs::write(&path, b"contents").expect("it can be written");
    std::os::unix::fs::symlink("t".repeat(150), dir.path().join("link")).expect("a link");
    let top = dir.path().to_str().expect("temporary paths are text");
    for format in ["--format=gnu", "--format=pax"] {
        let bytes =
            pack_with(&["tar", "-c", format, "--owner=7", "--group=4000000", "-C", top, "."], b"");
        let all = entries(&bytes);
        let file = all.iter().find(|entry| entry.kind == EntryKind::File).expect("a file");
        assert_eq!(file.path, format!("./{long}").into_bytes(), "{format}");
        assert_eq!((file.size, file.uid, file.gid), (8, 7, 4_000_000), "{format}");
        let link = all.iter().find(|entry| entry.kind == EntryKind::Symlink).expect("a link");
        assert_eq!(link.link, vec![b't'; 150], "{format}");
    }
}

#[test]
fn headers_of_other_entries_do_not_reach_the_next_one() {
    let bytes = TarMaker::new()
        .pax(&[("path", b"first"), ("uid", b"5"), ("mtime", b"12.75")])
        .file("x", b"")
        .entry(b'g', b"global", b"", 0o644, b"18 comment=nothing\n")
        .file("second", b"")
        .finish();
    let all = entries(&bytes);
    assert_eq!((&all[0].path[..], all[0].uid, all[0].mtime), (&b"first"[..], 5, 12));
    assert_eq!((&all[1].path[..], all[1].uid, all[1].index), (&b"second"[..], 0, 1));
}

#[test]
fn sizes_of_what_has_no_contents_are_not_believed() {
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(tar::EntryType::Symlink);
    header.set_path("link").expect("it fits");
    header.set_link_name("target").expect("it fits");
    header.set_size(512);
    header.set_mode(0o777);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header.set_cksum();
    let bytes = [header.as_bytes(), &TarMaker::new().file("after", b"").finish()[..]].concat();
    let all = entries(&bytes);
    assert_eq!(all.len(), 2);
    assert_eq!(all[1].path, b"after");
}

#[test]
fn names_in_messages_are_short() {
    assert_eq!(shown(&[b'n'; 500]).chars().count(), 201);
}

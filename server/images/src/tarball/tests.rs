use super::*;
use crate::testing::{TarMaker, pack_with};

fn read(bytes: &[u8]) -> Result<Vec<TarEntry>, ImportError> {
    let mut archive = Tarball::new(bytes, "archive");
    let mut all = Vec::new();
    while let Some(entry) = archive.next()? {
        all.push(entry);
    }
    Ok(all)
}

fn entries(bytes: &[u8]) -> Vec<TarEntry> {
    read(bytes).unwrap_or_else(|error| panic!("{error}"))
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
        .entry(b'g', b"global", b"", 0o644, b"19 comment=nothing\n")
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

#[test]
fn a_size_is_what_the_pax_header_says_whatever_the_header_has_room_for() {
    // Python and Go write so from 8 GiB on, where the header has no room for the size.
    for own in [0_u64, 5] {
        let contents = vec![b'w'; 2000];
        let mut bytes = TarMaker::new().pax(&[("size", b"2000")]).unfinished();
        let mut file = TarMaker::new().file("weights.bin", &contents).unfinished();
        file[124..136].copy_from_slice(format!("{own:011o}\0").as_bytes());
        bytes.extend(with_checksum(file));
        bytes.extend(TarMaker::new().file("after", b"after").finish());
        let mut archive = Tarball::new(&bytes[..], "archive");
        let first = archive.next().expect("it is good").expect("an entry");
        assert_eq!((first.size, archive.read_whole(4096).expect("it is there")), (2000, contents));
        let second = archive.next().expect("it is good").expect("an entry");
        assert_eq!(second.path, b"after");
    }
}

/// The first header's checksum put right.
fn with_checksum(mut bytes: Vec<u8>) -> Vec<u8> {
    bytes[148..156].fill(b' ');
    let sum: u32 = bytes[..512].iter().map(|byte| u32::from(*byte)).sum();
    bytes[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    bytes
}

#[test]
fn fields_that_are_blank_are_zeros_and_those_that_are_no_numbers_are_refused() {
    let raw = TarMaker::new().file("x", b"").finish();
    for (from, to) in [(100, 108), (108, 116), (116, 124), (124, 136), (136, 148)] {
        for blank in [b' ', 0] {
            let mut bytes = raw.clone();
            bytes[from..to].fill(blank);
            assert_eq!(entries(&with_checksum(bytes)).len(), 1, "{from} {blank}");
        }
        let mut bytes = raw.clone();
        bytes[from..to].fill(b'x');
        let mut archive = Tarball::new(&*with_checksum(bytes), "archive").next().err();
        let error = archive.take().expect("it is refused").to_string();
        assert!(error.contains("is no number"), "{error}");
    }
}

#[test]
fn times_before_1970_are_kept() {
    let mut bytes = TarMaker::new().file("old", b"").unfinished();
    bytes[136..148].copy_from_slice(&[255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 156]);
    let bytes = with_checksum(bytes);
    let rest = TarMaker::new().pax(&[("mtime", b"-1.5")]).file("pax", b"").finish();
    let all = entries(&[bytes, rest].concat());
    assert_eq!((all[0].mtime, all[1].mtime), (-100, -2));
}

#[test]
fn an_archive_without_an_end_mark_ends_only_where_its_reader_allows_it() {
    let unended = TarMaker::new().file("a", &[1; 600]).unfinished();
    let unpadded = unended[..512 + 600].to_vec();
    let half_mark = [&unended[..], &[0; 512]].concat();
    for bytes in [&unended, &unpadded, &half_mark, &Vec::new()] {
        let mut archive = Tarball::new(&bytes[..], "layer").with_end(EndMark::MayLack);
        let mut count = 0;
        while archive.next().unwrap_or_else(|error| panic!("{error}")).is_some() {
            count += 1;
        }
        assert_eq!(count, usize::from(!bytes.is_empty()));
        let mut archive = Tarball::new(&bytes[..], "archive");
        let mut all = std::iter::from_fn(|| archive.next().transpose());
        assert!(all.any(|entry| entry.is_err()), "{} bytes", bytes.len());
    }
    // Half a header or half of a file's contents are never an end.
    for keep in [100, 700, 1400] {
        let cut = &unended[..keep.min(unended.len() - 1)];
        let mut archive = Tarball::new(cut, "layer").with_end(EndMark::MayLack);
        let mut all = std::iter::from_fn(|| archive.next().transpose());
        assert!(all.any(|entry| entry.is_err()), "{keep} bytes");
    }
}

#[test]
fn attributes_of_bsdtar_are_read_once() {
    let bytes = TarMaker::new()
        .pax(&[("LIBARCHIVE.xattr.user.a%20b", b"dmFsdWU"), ("SCHILY.xattr.user.a b", b"value")])
        .file("x", b"")
        .pax(&[("LIBARCHIVE.xattr.security.capability", b"AQAAAg==")])
        .file("y", b"")
        .finish();
    let all = entries(&bytes);
    assert!(all[0].xattrs.iter().all(|pair| *pair == (b"user.a b".to_vec(), b"value".to_vec())));
    assert_eq!(all[1].xattrs, [(b"security.capability".to_vec(), vec![1, 0, 0, 2])]);
}

#[test]
fn all_extensions_before_one_entry_are_bounded_together() {
    let half = vec![b'x'; 400 << 10];
    let long = |tar: TarMaker| tar.pax(&[("comment", &half)]);
    let apart = (0..3).fold(TarMaker::new(), |tar, at| long(tar).file(&format!("{at}"), b""));
    assert_eq!(read(&apart.finish()).expect("each has room").len(), 3);
    let behind = (0..3).fold(TarMaker::new(), |tar, _| long(tar)).file("a", b"");
    let error = read(&behind.finish()).expect_err("more than all of one entry may have");
    assert!(matches!(error, ImportError::Limit { limit: MOST_EXTENSION_BYTES, .. }), "{error:?}");
    // Nor without an end where each is empty.
    let empty = (0..2100).fold(TarMaker::new(), |tar, _| tar.pax(&[])).file("a", b"");
    let error = read(&empty.finish()).expect_err("more than all of one entry may have");
    assert!(matches!(error, ImportError::Limit { .. }), "{error:?}");
}

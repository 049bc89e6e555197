use super::*;

#[test]
fn entries_are_aligned_and_the_archive_is_closed() {
    let mut archive = Initramfs::default();
    archive.entry("a", DIRECTORY, (0, 0), &[]);
    archive.entry("dev/console", CHARACTER_DEVICE, (5, 1), &[]);
    archive.entry("file", PROGRAM, (0, 0), b"12345");
    let bytes = archive.finish();
    assert_eq!(bytes.len() % 4, 0);
    let text = String::from_utf8_lossy(&bytes);
    let headers: Vec<_> = text.match_indices("070701").map(|(at, _)| at).collect();
    assert_eq!(headers.len(), 4);
    assert!(headers.iter().all(|at| at % 4 == 0), "{headers:?}");
    assert!(text.contains("TRAILER!!!"));
    // The size of `file` is the seventh field.
    let size = &text[headers[2] + 6 + 6 * 8..headers[2] + 6 + 7 * 8];
    assert_eq!(size, "00000005");
}

#[test]
fn a_missing_module_is_named() {
    let tree = tempfile::tempdir().expect("a directory");
    fs::write(tree.path().join("there.ko"), b"x").expect("write");
    match Initramfs::with_busybox(b"#!", &[], tree.path(), &["there", "missing"]) {
        Err(HostError::Unfit(why)) => assert!(why.contains("missing"), "{why}"),
        // On a machine without busybox that is said first.
        Err(HostError::NotBuilt { what, .. }) => assert_eq!(what, "busybox"),
        other => panic!("{other:?}"),
    }
}

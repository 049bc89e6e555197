use proptest::prelude::*;

use super::*;
use crate::testing::{Bench, TarMaker, cat, debugfs, exists, ratio_bomb};
use crate::{ErrorClass, Limits};

fn why(archive: &[u8]) -> Refusal {
    match Bench::new().refusal(archive) {
        ImportError::Refused { why, .. } => why,
        other => panic!("{other}: {other:?}"),
    }
}

fn one(kind: u8, path: &[u8], link: &[u8]) -> Vec<u8> {
    TarMaker::new().entry(kind, path, link, 0o644, b"").finish()
}

#[test]
fn names_that_mean_another_place_are_refused() {
    for (path, reason) in [
        (&b"../evil"[..], Refusal::ParentPart),
        (b"a/../../evil", Refusal::ParentPart),
        (b"a/..", Refusal::ParentPart),
        (b"./../evil", Refusal::ParentPart),
        (b"/etc/passwd", Refusal::Absolute),
        (b"//etc/passwd", Refusal::Absolute),
        (b"a\nb", Refusal::ControlCharacter),
        (b"a\x1b[2Jb", Refusal::ControlCharacter),
        (b"", Refusal::BadPart),
        (b".", Refusal::BadPart),
    ] {
        assert_eq!(why(&one(b'0', path, b"")), reason, "{:?}", path.escape_ascii().to_string());
    }
    // A header's name ends at a NUL, a pax header's does not.
    let with_nul = TarMaker::new().pax(&[("path", b"etc/pass\0wd")]).file("x", b"").finish();
    assert_eq!(why(&with_nul), Refusal::ControlCharacter);
    let with_dots = TarMaker::new().pax(&[("path", b"a/../../b")]).file("x", b"").finish();
    assert_eq!(why(&with_dots), Refusal::ParentPart);
    let long_part = TarMaker::new().pax(&[("path", &[b'n'; 256])]).file("x", b"").finish();
    assert_eq!(why(&long_part), Refusal::BadPart);
    let deep = "d/".repeat(300);
    let deep = TarMaker::new().pax(&[("path", deep.as_bytes())]).directory("x").finish();
    assert_eq!(why(&deep), Refusal::TooDeep);
}

#[test]
fn the_message_names_the_archive_and_shows_the_entry_escaped() {
    let error = Bench::new().refusal(&one(b'0', b"a\x1b]0;evil\x07\nb", b"")).to_string();
    assert!(error.contains("archive: entry \"a\\u{1b}]0;evil\\u{7}\\nb\": the name"), "{error}");
}

#[test]
fn links_that_lead_out_are_refused_and_absolute_ones_are_the_guests_own() {
    for (kind, target, reason) in [
        (b'1', &b"../../etc/passwd"[..], Refusal::LinkOut),
        (b'1', b"/etc/passwd", Refusal::LinkOut),
        (b'1', b"nothing", Refusal::LinkTarget),
        (b'1', b"", Refusal::BadPart),
        (b'2', b"../../../etc/passwd", Refusal::LinkOut),
        (b'2', b"/../etc", Refusal::LinkOut),
        (b'2', b"", Refusal::BadTarget),
        (b'2', b"a\nb", Refusal::ControlCharacter),
    ] {
        assert_eq!(why(&one(kind, b"a/b/link", target)), reason, "{kind} {target:?}");
    }
    let long = TarMaker::new().pax(&[("linkpath", &[b'a'; 4096])]).symlink("l", "x").finish();
    assert_eq!(why(&long), Refusal::BadTarget);

    let bench = Bench::new();
    let good = TarMaker::new().symlink("a/b/up", "../../etc").symlink("mtab", "/proc/mounts");
    bench.root(&bench.put("archive", &good.finish()));
    assert!(debugfs(&bench.out(), "stat /mtab").contains("Fast link dest: \"/proc/mounts\""));
}

#[test]
fn nothing_is_written_through_a_link() {
    let within = TarMaker::new().symlink("etc", "/tmp").file("etc/passwd", b"evil").finish();
    assert_eq!(why(&within), Refusal::ThroughNonDirectory);
    let relative = TarMaker::new().symlink("a", "b").directory("b").file("a/x", b"").finish();
    assert_eq!(why(&relative), Refusal::ThroughNonDirectory);
    let through_file = TarMaker::new().file("a", b"").file("a/x", b"").finish();
    assert_eq!(why(&through_file), Refusal::ThroughNonDirectory);
}

#[test]
fn a_name_that_occurs_twice_is_refused_but_a_directory_may() {
    for second in [b'0', b'1', b'2', b'5', b'6'] {
        let archive = TarMaker::new().file("other", b"").file("etc/passwd", b"first");
        let archive = archive.entry(second, b"./etc//passwd", b"other", 0o644, b"").finish();
        assert_eq!(why(&archive), Refusal::Duplicate, "{second}");
    }
    let over_directory = TarMaker::new().directory("a").file("a", b"").finish();
    assert_eq!(why(&over_directory), Refusal::Duplicate);

    let bench = Bench::new();
    let twice = TarMaker::new().directory("a").file("a/x", b"kept");
    let twice = twice.entry(b'5', b"./a/", b"", 0o700, b"").finish();
    bench.root(&bench.put("archive", &twice));
    assert_eq!(cat(&bench.out(), "/a/x"), "kept");
    assert!(debugfs(&bench.out(), "stat /a").contains("Mode:  0700"));
}

#[test]
fn device_nodes_are_refused_left_out_or_kept_as_one_says() {
    for kind in [b'3', b'4'] {
        assert_eq!(why(&one(kind, b"dev/null", b"")), Refusal::Device);
    }
    let archive = TarMaker::new().entry(b'3', b"dev/null", b"", 0o666, b"").finish();
    let mut bench = Bench::new();
    bench.options.devices = Devices::LeaveOut;
    let made = bench.root(&bench.put("archive", &archive));
    assert!(made.notes.contains(&crate::Note::DevicesLeftOut(1)), "{:?}", made.notes);
    assert!(!exists(&bench.out(), "/dev/null"));
    let mut bench = Bench::new();
    bench.options.devices = Devices::Keep;
    bench.root(&bench.put("archive", &archive));
    assert!(debugfs(&bench.out(), "stat /dev/null").contains("01:03"));
}

#[test]
fn kinds_of_entries_that_are_not_read_are_refused() {
    for kind in [b'S', b'M', b'V', b'Z'] {
        assert_eq!(why(&one(kind, b"a", b"")), Refusal::UnsupportedKind, "{kind}");
    }
    let sparse = TarMaker::new().pax(&[("GNU.sparse.major", b"1")]).file("a", b"x").finish();
    assert_eq!(why(&sparse), Refusal::UnsupportedKind);
}

#[test]
fn attributes_that_do_not_fit_are_refused_and_strange_ones_left_out() {
    let big = [7; 4000];
    let archive = TarMaker::new().pax(&[("SCHILY.xattr.user.big", &big)]).file("a", b"").finish();
    assert_eq!(why(&archive), Refusal::Attributes);

    let bench = Bench::new();
    let archive = TarMaker::new().pax(&[
        ("SCHILY.xattr.user.note", b"with\nlines\0and more"),
        ("SCHILY.xattr.trusted.overlay.opaque", b"y"),
    ]);
    let made = bench.root(&bench.put("archive", &archive.file("a", b"").finish()));
    assert!(made.notes.contains(&crate::Note::AttributesLeftOut(1)), "{:?}", made.notes);
    let listed = debugfs(&bench.out(), "ea_list /a");
    assert!(listed.contains("user.note (19)") && !listed.contains("trusted"), "{listed}");
}

#[test]
fn every_limit_ends_the_import() {
    let archive = TarMaker::new().file("a/long/path/to/a/file", &[1; 5000]).file("b", b"").finish();
    let limits = |change: fn(&mut Limits)| {
        let mut bench = Bench::new();
        change(&mut bench.options.limits);
        let error = bench.refusal(&archive);
        assert_eq!(error.class(), ErrorClass::TooLarge, "{error:?}");
        error.to_string()
    };
    assert!(limits(|l| l.entries = 1).ends_with("more than 1 entries"));
    assert!(limits(|l| l.path_bytes = 10).ends_with("more than 10 bytes in a path"));
    assert!(limits(|l| l.unpacked_bytes = 4096).ends_with("more than 4096 bytes unpacked"));
    assert!(limits(|l| l.source_bytes = 4096).ends_with("more than 4096 bytes"));
    assert!(limits(|l| l.root_bytes = 4096).contains("more than 4096 bytes of a root"));
    let mut bench = Bench::new();
    bench.options.root_size = Some(1 << 20);
    let error = bench.refusal(&archive);
    assert!(matches!(error, ImportError::TooSmall { given_bytes: 1_048_576, .. }), "{error:?}");
}

#[test]
fn bombs_are_refused() {
    let error = Bench::new().refusal(&ratio_bomb(80 << 20));
    // Zeros are an empty archive with a long tail, which has to be read to its end.
    assert!(error.to_string().ends_with("more than 200 times its packed size"), "{error}");

    // A long name of gigabytes is not read.
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(tar::EntryType::GNULongName);
    header.set_size(8 << 30);
    header.set_cksum();
    let error = Bench::new().refusal(header.as_bytes());
    assert!(error.to_string().contains("bytes in a long name"), "{error}");
}

#[test]
fn an_archive_that_ends_too_early_is_damaged() {
    let whole = TarMaker::new().file("a", &[1; 3000]).file("b", &[2; 3000]).finish();
    let without_end = TarMaker::new().file("a", &[1; 3000]).unfinished();
    for cut in [&whole[..700], &whole[..4096], &whole[..4300], &without_end] {
        let error = Bench::new().refusal(cut);
        assert!(matches!(error, ImportError::Damaged { .. }), "{} bytes: {error:?}", cut.len());
    }
    let mut changed = whole;
    changed[0] ^= 1;
    let error = Bench::new().refusal(&changed);
    assert!(error.to_string().contains("checksum"), "{error}");
}

#[test]
fn headers_that_contradict_each_other_are_damaged() {
    let archive = TarMaker::new().pax(&[("size", b"1")]).file("a", &[1; 600]).finish();
    let error = Bench::new().refusal(&archive);
    assert!(error.to_string().contains("differ in its size"), "{error}");
    for records in [&b"x"[..], b"999 a=b\n", b"5 a=b\n7 a=b\n", b"-1 a=b\n", b"6 ab\n\n\n"] {
        let archive = TarMaker::new().entry(b'x', b"pax", b"", 0o644, records).file("a", b"");
        let error = Bench::new().refusal(&archive.finish());
        assert!(error.to_string().contains("pax header"), "{records:?}: {error}");
    }
}

/// An archive with a bit of everything.
fn varied() -> Vec<u8> {
    TarMaker::new()
        .directory("etc")
        .pax(&[("path", b"etc/a-file"), ("SCHILY.xattr.user.note", b"value")])
        .file("x", b"contents")
        .symlink("etc/link", "a-file")
        .hard_link("etc/again", "etc/a-file")
        .entry(b'L', b"long", b"", 0o644, b"a-long-name/of/a/file\0")
        .file("x", &[3; 700])
        .entry(b'6', b"pipe", b"", 0o600, b"")
        .finish()
}

/// Makes the checksum of every block good that may be a header.
fn with_checksums(mut archive: Vec<u8>) -> Vec<u8> {
    for block in archive.chunks_exact_mut(512) {
        if block[257..262] == *b"ustar" {
            block[148..156].fill(b' ');
            let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
            block[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
        }
    }
    archive
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_changed_archive_is_a_clean_file_system_or_refused_and_leaves_nothing(
        changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
    ) {
        let mut archive = varied();
        for (at, byte) in changes {
            let at = at.index(archive.len());
            archive[at] = byte;
        }
        let bench = Bench::new();
        let path = bench.put("archive", &with_checksums(archive));
        // Whether anything is left is looked at in `import`.
        if bench.import(&path, crate::Wanted::Root).is_ok() {
            crate::testing::assert_clean(&bench.out());
        }
    }
}

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
        (b"/../evil", Refusal::ParentPart),
        (b"", Refusal::BadPart),
        (b".", Refusal::BadPart),
    ] {
        assert_eq!(why(&one(b'0', path, b"")), reason, "{:?}", path.escape_ascii().to_string());
    }
    // A header's name ends at a NUL, a pax header's does not.
    let with_nul = TarMaker::new().pax(&[("path", b"etc/pass\0wd")]).file("x", b"").finish();
    assert_eq!(why(&with_nul), Refusal::Nul);
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
    let error = Bench::new().refusal(&one(b'S', b"a\x1b]0;evil\x07\nb", b"")).to_string();
    assert!(
        error.contains("archive: entry \"a\\u{1b}]0;evil\\u{7}\\nb\": it is packed"),
        "{error}"
    );
}

#[test]
fn links_that_lead_nowhere_are_refused_and_all_others_stay_in_the_tree() {
    for (kind, target, reason) in [
        (b'1', &b"../../etc/passwd"[..], Refusal::LinkTarget),
        (b'1', b"nothing", Refusal::LinkTarget),
        (b'1', b"", Refusal::LinkTarget),
        (b'1', b"/", Refusal::LinkTarget),
        (b'1', b"a/..", Refusal::LinkTarget),
        (b'2', b"", Refusal::BadTarget),
    ] {
        assert_eq!(why(&one(kind, b"a/b/link", target)), reason, "{kind} {target:?}");
    }
    let to_directory = TarMaker::new().directory("d").hard_link("link", "d").finish();
    assert_eq!(why(&to_directory), Refusal::LinkTarget);
    let early = TarMaker::new().hard_link("link", "d").directory("d").finish();
    assert_eq!(why(&early), Refusal::LinkTarget);
    let long = TarMaker::new().pax(&[("linkpath", &[b'a'; 4096])]).symlink("l", "x").finish();
    assert_eq!(why(&long), Refusal::BadTarget);

    let bench = Bench::new();
    let good = TarMaker::new()
        .symlink("a/b/up", "../../etc")
        .symlink("mtab", "/proc/mounts")
        .symlink("climbs", "../../../etc/motd")
        .file("etc/motd", b"hello")
        .hard_link("absolute", "/etc/motd")
        .hard_link("above", "../../etc/motd")
        .hard_link("etc/through", "a/b/up/motd");
    bench.root(&bench.put("archive", &good.finish()));
    assert!(debugfs(&bench.out(), "stat /mtab").contains("Fast link dest: \"/proc/mounts\""));
    assert!(debugfs(&bench.out(), "stat /climbs").contains("\"../../../etc/motd\""));
    for name in ["/absolute", "/above", "/etc/through"] {
        assert_eq!(cat(&bench.out(), name), "hello", "{name}");
    }
}

#[test]
fn a_hard_link_may_come_before_its_target_and_before_another_link() {
    let bench = Bench::new();
    let early = TarMaker::new()
        .hard_link("third", "second")
        .hard_link("second", "first")
        .file("first", b"one file")
        .hard_link("itself", "first")
        .hard_link("taken", "later")
        .file("taken", b"its own")
        .file("later", b"");
    bench.root(&bench.put("archive", &early.finish()));
    for name in ["/first", "/second", "/third", "/itself"] {
        assert_eq!(cat(&bench.out(), name), "one file", "{name}");
    }
    assert!(debugfs(&bench.out(), "stat /third").contains("Links: 4"));
    assert_eq!(cat(&bench.out(), "/taken"), "its own", "what came later stands");
    let circle = TarMaker::new().hard_link("a", "b").hard_link("b", "a").finish();
    assert_eq!(why(&circle), Refusal::LinkTarget);
}

#[test]
fn links_on_the_way_to_a_name_are_followed_within_the_tree() {
    let bench = Bench::new();
    let archive = TarMaker::new()
        .symlink("bin", "usr/bin")
        .file("bin/tool", b"merged")
        .symlink("out", "../../../../tmp/x")
        .file("out/inside", b"kept in")
        .symlink("abs", "/srv")
        .file("abs/data", b"absolute");
    bench.root(&bench.put("archive", &archive.finish()));
    assert_eq!(cat(&bench.out(), "/usr/bin/tool"), "merged");
    assert_eq!(cat(&bench.out(), "/tmp/x/inside"), "kept in");
    assert_eq!(cat(&bench.out(), "/srv/data"), "absolute");
    let through_file = TarMaker::new().file("a", b"").file("a/x", b"").finish();
    assert_eq!(why(&through_file), Refusal::ThroughNonDirectory);
    let circle = TarMaker::new().symlink("a", "b").symlink("b", "a").file("a/x", b"").finish();
    assert_eq!(why(&circle), Refusal::LinkLoop);
}

#[test]
fn no_way_is_longer_or_deeper_than_anybody_meant() {
    // Each link leads 200 directories down from where the one before ends.
    let deep = "d/".repeat(200);
    let target = |from: &str| format!("{from}{deep}");
    let archive = TarMaker::new()
        .pax(&[("linkpath", target("/").as_bytes())])
        .symlink("one", "x")
        .pax(&[("linkpath", target("/one/").as_bytes())])
        .symlink("two", "x");
    assert_eq!(why(&archive.clone().file("two/x", b"").finish()), Refusal::TooDeep);
    // And 40 links may not be as long as they like.
    let long = "a/../".repeat(800);
    let archive = (0..8).fold(TarMaker::new().directory("a"), |archive, at| {
        let target = format!("/{long}l{}", at + 1);
        archive.pax(&[("linkpath", target.as_bytes())]).symlink(&format!("l{at}"), "x")
    });
    assert_eq!(why(&archive.file("l0/x", b"").finish()), Refusal::TooDeep);
}

#[test]
fn of_two_entries_of_one_name_the_last_stands() {
    for (second, found) in [(&b'0', "Type: regular"), (&b'2', "Type: symlink"), (&b'6', "FIFO")] {
        let bench = Bench::new();
        let archive = TarMaker::new().file("etc/passwd", b"first").directory("d").file("d/x", b"");
        let archive = archive.entry(*second, b"./etc//passwd", b"other", 0o644, b"");
        let archive = archive.entry(*second, b"d", b"other", 0o644, b"").finish();
        bench.root(&bench.put("archive", &archive));
        for path in ["/etc/passwd", "/d"] {
            let said = debugfs(&bench.out(), &format!("stat {path}"));
            assert!(said.contains(found), "{second}: {said}");
        }
    }
    let bench = Bench::new();
    let twice = TarMaker::new().directory("a").file("a/x", b"kept");
    let twice = twice.entry(b'5', b"./a/", b"", 0o700, b"");
    let twice = twice.symlink("lib", "a").directory("lib").file("lib/own", b"").finish();
    bench.root(&bench.put("archive", &twice));
    assert_eq!(cat(&bench.out(), "/a/x"), "kept");
    assert!(debugfs(&bench.out(), "stat /a").contains("Mode:  0700"));
    assert!(exists(&bench.out(), "/lib/own") && !exists(&bench.out(), "/a/own"));
}

#[test]
fn device_nodes_are_kept_left_out_or_refused_as_one_says() {
    let archive = TarMaker::new()
        .entry(b'3', b"dev/null", b"", 0o666, b"")
        .entry(b'4', b"dev/disk", b"", 0o666, b"")
        .finish();
    let bench = Bench::new();
    bench.root(&bench.put("archive", &archive));
    assert!(debugfs(&bench.out(), "stat /dev/null").contains("01:03"));
    let mut bench = Bench::new();
    bench.options.devices = Devices::LeaveOut;
    let made = bench.root(&bench.put("archive", &archive));
    assert!(made.notes.contains(&crate::Note::DevicesLeftOut(2)), "{:?}", made.notes);
    assert!(!exists(&bench.out(), "/dev/null"));
    let mut bench = Bench::new();
    bench.options.devices = Devices::Refuse;
    let error = bench.refusal(&archive).to_string();
    assert!(error.contains("entry \"dev/null\"") && error.contains("--devices"), "{error}");
    let large = TarMaker::new().pax(&[("SCHILY.devminor", b"1048576")]);
    let large = large.entry(b'3', b"dev/x", b"", 0o666, b"").finish();
    assert_eq!(why(&large), Refusal::DeviceNumber);
}

#[test]
fn opaque_marks_and_whiteouts_cost_no_more_however_many_there_are() {
    // Were each of them a walk through all names, this were a thousand million steps.
    const MANY: usize = 30_000;
    let base = (0..MANY).fold(TarMaker::new(), |tar, at| tar.file(&format!("d/{at}"), b""));
    let upper = (0..MANY).fold(TarMaker::new(), |tar, at| {
        tar.file(&format!("d/{at}"), b"").file("d/.wh..wh..opq", b"").file(".wh.d", b"")
    });
    let tree = crate::tree::tests::layered(&[base.file("d/gone", b""), upper]);
    let tree = tree.unwrap_or_else(|error| panic!("{error}"));
    let d = tree.find(&[b"d"]).and_then(|d| tree.entries(d)).expect("it is there");
    assert_eq!(d.len(), MANY);
    assert!(tree.find(&[b"d", b"gone"]).is_none());
}

/// Links that lead to each other, the first of them `L0`; `between` stands for the way to the next.
fn chain(between: impl Fn(&str) -> String) -> TarMaker {
    let end = TarMaker::new().directory("end").directory("d");
    (0..38).fold(end, |tar, at| {
        let next = if at == 37 { "end".to_owned() } else { format!("L{}", at + 1) };
        let target = between(&next);
        tar.pax(&[("linkpath", target.as_bytes())]).symlink(&format!("L{at}"), "x")
    })
}

/// The steps that a layer takes, and what comes of it.
fn steps_of(layer: TarMaker) -> (u64, Result<(), ImportError>) {
    let ((limits, cancel), bytes) = (crate::testing::limits(), layer.finish());
    let budget = Budget::new(limits, &cancel, &crate::testing::no_report, crate::Step::Check, None);
    let rules = LayerRules { layer: 1, whiteouts: true, devices: Devices::Keep };
    let (mut tree, mut archive) = (Tree::new(), Tarball::new(&bytes[..], "layer".to_owned()));
    let done = put_layer(&mut archive, &rules, &mut tree, &mut LeftOut::default(), &budget);
    (tree.steps(), done)
}

#[test]
fn chains_of_links_cost_an_import_no_more_than_a_bounded_number_of_steps() {
    const MANY: usize = 8_000;
    let by_parents = chain(|next| format!("{}{next}", "d/../".repeat(48)));
    let files = |tar: TarMaker| (0..MANY).fold(tar, |tar, at| tar.file(&format!("L0/f{at}"), b""));
    let links =
        |tar: TarMaker| (0..MANY).fold(tar, |tar, at| tar.hard_link(&format!("h{at}"), "L0/x"));
    let long = chain(|next| format!("{next}/{}", "x/".repeat(2040)));
    let slashes = chain(|next| format!("{}{next}", "/".repeat(4000)));
    for (what, layer) in [
        ("files", files(by_parents.clone())),
        ("links to nothing", links(by_parents)),
        ("long targets", links(long)),
        ("slashes", files(slashes)),
    ] {
        let (steps, done) = steps_of(layer);
        let error = done.expect_err(what);
        assert_eq!(error.class(), ErrorClass::TooLarge, "{what}: {error:?}");
        assert!(error.to_string().contains("steps along paths"), "{what}: {error}");
        assert!(steps < 1_700_000, "{what}: {steps} steps");
    }
    // What images have is far from that: deep, over links, and hard links besides.
    let usual = (0..MANY).fold(TarMaker::new().symlink("lib", "usr/lib"), |tar, at| {
        let path = format!("lib/{}{at}", "package/".repeat(10));
        tar.file(&path, b"").hard_link(&format!("{path}.link"), &path)
    });
    let (steps, done) = steps_of(usual);
    done.unwrap_or_else(|error| panic!("{error}"));
    assert!(steps < 64 * 2 * MANY as u64, "{steps} steps");
}

#[test]
fn links_that_wait_look_at_each_of_them_whether_the_import_was_cancelled() {
    let (limits, cancel) = crate::testing::limits();
    let budget = Budget::new(limits, &cancel, &crate::testing::no_report, crate::Step::Check, None);
    let rules = LayerRules { layer: 1, whiteouts: true, devices: Devices::Keep };
    let (mut tree, mut left_out) = (Tree::new(), LeftOut::default());
    let link = || WaitingLink { path: b"link".to_vec(), target: b"some/where".to_vec() };
    let (hidden, waiting) = (HashSet::new(), vec![link(), link()]);
    let (rules, tree, left_out) = (&rules, &mut tree, &mut left_out);
    let mut layer = Layer { rules, tree, left_out, hidden, waiting, budget: &budget };
    cancel.cancel();
    assert_eq!(layer.link_waiting(), Err(LateEnd::Stopped(Stop::Cancelled)));
    assert_eq!(layer.tree.steps(), 0);
}

#[test]
fn names_and_attributes_without_end_are_too_many() {
    let mut bench = Bench::new();
    bench.options.limits.tree_bytes = 64 << 10;
    // Each of these makes two hundred directories that no entry names.
    let archive = (0..10).fold(TarMaker::new(), |tar, at| {
        let path = format!("{at}/{}x", "d/".repeat(200));
        tar.pax(&[("path", path.as_bytes())]).file("x", b"")
    });
    let error = bench.refusal(&archive.finish());
    assert_eq!(error.class(), ErrorClass::TooLarge, "{error:?}");
    assert!(error.to_string().contains("bytes of names"), "{error}");
}

#[test]
fn kinds_of_entries_that_are_not_read_are_refused() {
    for kind in [b'M', b'N', b'Z', b'D', b'A'] {
        assert_eq!(why(&one(kind, b"a", b"")), Refusal::UnsupportedKind, "{kind}");
    }
    let sparse = TarMaker::new().pax(&[("GNU.sparse.major", b"1")]).file("a", b"x").finish();
    assert_eq!(why(&sparse), Refusal::Sparse);
    assert_eq!(why(&one(b'S', b"a", b"")), Refusal::Sparse);
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
    assert!(error.to_string().contains("bytes in the long names"), "{error}");
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
    // A size that is too small leaves contents where a header is to be.
    let archive = TarMaker::new().pax(&[("size", b"1")]).file("a", &[1; 600]).finish();
    let error = Bench::new().refusal(&archive);
    assert!(error.to_string().contains("checksum"), "{error}");
    let archive = TarMaker::new().pax(&[("size", b"1")]).file("a", &[0; 600]).file("b", b"");
    let error = Bench::new().refusal(&archive.finish());
    assert!(error.to_string().contains("more after the first half"), "{error}");
    for records in [&b"15 holes=1,2,3\n"[..], b"26 SCHILY.realsize=100000\n"] {
        let archive = TarMaker::new().entry(b'x', b"pax", b"", 0o644, records).file("a", b"");
        let error = Bench::new().refusal(&archive.finish());
        assert!(error.to_string().contains("which is not known"), "{error}");
    }
    let archive = TarMaker::new().entry(b'g', b"pax", b"", 0o644, b"10 size=1\n").file("a", b"");
    let error = Bench::new().refusal(&archive.finish());
    assert!(error.to_string().contains("global pax header"), "{error}");
    let lonely = TarMaker::new().file("a", b"").pax(&[("path", b"b")]).finish();
    let error = Bench::new().refusal(&lonely);
    assert!(error.to_string().contains("no entry after it"), "{error}");
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

#[test]
fn small_attributes_count_by_what_they_take_in_memory() {
    let mut bench = Bench::new();
    bench.options.limits.tree_bytes = 64 << 10;
    let keys: Vec<_> = (0..60).map(|at| format!("SCHILY.xattr.user.{at}")).collect();
    let records: Vec<(&str, &[u8])> = keys.iter().map(|key| (&**key, &b""[..])).collect();
    let archive =
        (0..10).fold(TarMaker::new(), |tar, at| tar.pax(&records).file(&format!("{at}"), b""));
    let error = bench.refusal(&archive.finish());
    assert!(error.to_string().contains("bytes of names"), "{error}");
}

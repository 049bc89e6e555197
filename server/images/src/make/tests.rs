use std::sync::Arc;

use parking_lot::Mutex;

use super::*;
use crate::ErrorClass;
use crate::testing::{Bench, TarMaker, small_elf};

#[test]
fn what_a_source_is_is_seen_by_its_contents_not_by_its_name() {
    let bench = Bench::new();
    let kind = |name: &str, bytes: &[u8]| {
        let bench = Bench::new();
        bench.import(&bench.put(name, bytes), Wanted::Auto).map(|made| made.kind)
    };
    let tar = TarMaker::new().file("a", b"").finish();
    assert_eq!(kind("kernel.tar", &small_elf(b"")).expect("a kernel"), Kind::Kernel);
    assert_eq!(kind("vmlinux", &tar).expect("a root"), Kind::Root);
    assert_eq!(kind("root.ext4", b"070701...").expect("an initrd"), Kind::Initrd);
    bench.put("tree/file", b"");
    let made = bench.import(&bench.dir.path().join("tree"), Wanted::Auto);
    assert_eq!(made.expect("a root").kind, Kind::Root);
}

#[test]
fn what_is_not_wanted_or_not_known_is_refused_in_words() {
    let refusal = |bytes: &[u8], wanted| {
        let bench = Bench::new();
        let error = bench.import(&bench.put("source", bytes), wanted).expect_err("refused");
        assert_eq!(error.class(), ErrorClass::Refused, "{error:?}");
        error.to_string()
    };
    let tar = TarMaker::new().file("a", b"").finish();
    assert!(refusal(&tar, Wanted::Kernel).contains("it is an archive; wanted is a vmlinux"));
    assert!(refusal(&small_elf(b""), Wanted::Root).contains("wanted is an ext4 file, a tar"));
    for (magic, at, words) in [
        (&b"QFI\xfb"[..], 0, "qcow2"),
        (b"EFI PART", 512, "partitions"),
        (b"hsqs", 0, "squashfs"),
        (b"XFSB", 0, "XFS"),
        (b"", 0, "no ext4 file system"),
    ] {
        let mut disk = vec![0; 8192];
        disk[at..at + magic.len()].copy_from_slice(magic);
        let said = refusal(&disk, Wanted::Root);
        assert!(said.contains(words), "{said}");
        let said = refusal(&disk, Wanted::Auto);
        assert!(said.contains("nothing that is known"), "{said}");
    }
    assert!(refusal(b"", Wanted::Auto).contains("nothing that is known"));
}

#[test]
fn sources_that_are_not_there_or_no_files_are_refused_without_waiting() {
    let bench = Bench::new();
    let error = bench.import(&bench.dir.path().join("nothing"), Wanted::Auto).expect_err("missing");
    assert_eq!(error.class(), ErrorClass::NotFound, "{error:?}");
    let pipe = bench.dir.path().join("pipe");
    let made = rustix::fs::mknodat(
        rustix::fs::CWD,
        &pipe,
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::RUSR,
        0,
    );
    made.expect("a pipe can be made");
    let error = bench.import(&pipe, Wanted::Auto).expect_err("a pipe");
    assert!(error.to_string().contains("no regular file"), "{error}");
    let bench = Bench::new();
    let image = bench.put("image", &small_elf(b""));
    let error = make_from_path(
        &image,
        Wanted::Kernel,
        &bench.options,
        &bench.dir.path().join("no/such/directory"),
        &|_| (),
    );
    assert_eq!(error.expect_err("no directory").class(), ErrorClass::Host);
}

#[tokio::test]
async fn progress_comes_step_by_step_and_ends_where_it_said() {
    let bench = Bench::new();
    let archive = TarMaker::new().file("big", &[7; 5 << 20]).finish();
    let source = Source::Path(bench.put("archive", &archive));
    let told: Arc<Mutex<Vec<Progress>>> = Arc::default();
    let report = told.clone();
    let report: Report = Arc::new(move |progress| report.lock().push(progress));
    std::fs::create_dir(bench.dir.path().join("out")).expect("a directory can be made");
    let made = make(source, Wanted::Root, bench.options.clone(), bench.out(), report).await;
    assert_eq!(made.unwrap_or_else(|error| panic!("{error}")).size_bytes, 16 << 20);
    assert!(!bench.options.cancel.is_cancelled(), "the next import may share its options");
    let told = told.lock();
    assert!(told.is_sorted_by_key(|progress| (progress.step, progress.done_bytes)), "{told:?}");
    for step in [Step::Check, Step::Write, Step::Digest] {
        let last = told.iter().rfind(|progress| progress.step == step).expect("it was told");
        assert!(last.done_bytes >= 5 << 20, "{last:?}");
        assert!(last.total_bytes.is_none_or(|total| last.done_bytes <= total), "{last:?}");
    }
}

#[test]
fn an_import_may_run_on_any_thread() {
    fn is_send<F: Future + Send>(_: &F) {}
    let reference = "localhost:1/a".parse().expect("it is a reference");
    let source = Source::Registry(reference);
    let import =
        make(source, Wanted::Auto, Options::default(), PathBuf::from("out"), Arc::new(|_| ()));
    is_send(&import);
}

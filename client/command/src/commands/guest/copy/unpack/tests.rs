//! Archives as a guest may send them, good and hostile, into a temporary directory.

use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::*;

struct Archive(tar::Builder<Vec<u8>>);

/// Limits that nobody lifts.
fn limits(bytes: u64, entries: u64) -> Limits {
    Limits { bytes, entries, ask: Box::new(|| false), count: Count::default(), umask: 0 }
}

fn no_limits() -> Limits {
    limits(u64::MAX, u64::MAX)
}

impl Archive {
    fn new() -> Self {
        Self(tar::Builder::new(Vec::new()))
    }

    fn add(mut self, kind: EntryType, path: &str, mode: u32, text: &str) -> Self {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(kind);
        header.set_mode(mode);
        let is_link = matches!(kind, EntryType::Symlink | EntryType::Link);
        header.set_size(if is_link { 0 } else { text.len() as u64 });
        // By hand: the library would refuse what a hostile guest would send.
        let name = &mut header.as_old_mut().name;
        name[..path.len()].copy_from_slice(path.as_bytes());
        if is_link {
            let target = &mut header.as_old_mut().linkname;
            target[..text.len()].copy_from_slice(text.as_bytes());
        }
        header.set_cksum();
        self.0.append(&header, if is_link { &[] } else { text.as_bytes() }).unwrap();
        self
    }

    fn file(self, path: &str, text: &str) -> Self {
        self.add(EntryType::Regular, path, 0o644, text)
    }

    /// Into `target` of a directory that has a file `secret` beside it.
    fn unpack(self) -> (tempfile::TempDir, io::Result<Unpacked>) {
        self.unpack_within(no_limits())
    }

    fn unpack_within(self, mut limits: Limits) -> (tempfile::TempDir, io::Result<Unpacked>) {
        let temp = tempfile::tempdir().unwrap();
        let (target, outside) = (temp.path().join("target"), temp.path().join("outside"));
        std::fs::create_dir(&target).unwrap();
        std::fs::create_dir(&outside).unwrap();
        std::fs::write(outside.join("secret"), "untouched").unwrap();
        let bytes = self.0.into_inner().unwrap();
        let done = unpack(&mut &bytes[..], "data", &target, OsStr::new("copy"), &mut limits);
        let kept = std::fs::read_to_string(outside.join("secret")).unwrap();
        assert_eq!((kept.as_str(), std::fs::read_dir(&outside).unwrap().count()), ("untouched", 1));
        assert_eq!(std::fs::read_dir(temp.path()).unwrap().count(), 2, "something is beside it");
        (temp, done)
    }
}

#[test]
fn a_tree_arrives_under_its_new_name_with_its_links_and_modes() {
    let (temp, done) = Archive::new()
        .add(EntryType::Directory, "data/", 0o555, "")
        .add(EntryType::Directory, "data/sub/", 0o700, "")
        .file("data/sub/a", "hello")
        .add(EntryType::Regular, "data/run", 0o6755, "#!")
        .add(EntryType::Symlink, "data/link", 0o777, "../outside/secret")
        .add(EntryType::Link, "data/hard", 0o644, "data/sub/a")
        .unpack();
    let done = done.unwrap();
    assert_eq!((done.entries, done.bytes, done.left_out.len()), (6, 7, 0));
    let at = temp.path().join("target/copy");
    assert_eq!(std::fs::read_to_string(at.join("sub/a")).unwrap(), "hello");
    assert_eq!(std::fs::metadata(at.join("hard")).unwrap().nlink(), 2);
    assert_eq!(std::fs::read_link(at.join("link")).unwrap(), Path::new("../outside/secret"));
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o7777;
    assert_eq!((mode(&at), mode(&at.join("run"))), (0o555, 0o755));
    std::fs::set_permissions(&at, std::fs::Permissions::from_mode(0o755)).unwrap();
}

#[test]
fn names_that_lead_elsewhere_are_refused() {
    for name in
        ["../outside/secret", "/etc/passwd", "data/../../outside/secret", "other", ".", "data/../x"]
    {
        let (_temp, done) = Archive::new().file(name, "evil").unpack();
        let error = done.expect_err(name).to_string();
        assert!(error.contains("leads elsewhere") || error.contains("not asked for"), "{error}");
    }
    for target in ["../outside/secret", "/etc/passwd", "other"] {
        let archive = Archive::new().add(EntryType::Link, "data/x", 0o644, target);
        assert!(archive.unpack().1.is_err(), "{target}");
    }
}

#[test]
fn a_link_in_the_archive_is_not_followed_by_what_comes_after_it() {
    let (_temp, done) = Archive::new()
        .add(EntryType::Directory, "data", 0o755, "")
        .add(EntryType::Symlink, "data/way", 0o777, "../../outside")
        .file("data/way/secret", "evil")
        .unpack();
    assert!(done.is_err());
    // Nor when the whole is one, and a file takes the place of a link to a file.
    let (_temp, done) = Archive::new()
        .add(EntryType::Symlink, "data", 0o777, "../outside")
        .file("data/secret", "evil")
        .unpack();
    assert!(done.is_err());
    let (temp, done) = Archive::new()
        .add(EntryType::Symlink, "data", 0o777, "../outside/secret")
        .file("data", "mine")
        .unpack();
    assert_eq!(done.unwrap().entries, 2);
    assert_eq!(std::fs::read_to_string(temp.path().join("target/copy")).unwrap(), "mine");
    // A hard link to a link is one to the link.
    let (temp, done) = Archive::new()
        .add(EntryType::Directory, "data", 0o755, "")
        .add(EntryType::Symlink, "data/way", 0o777, "../../outside/secret")
        .add(EntryType::Link, "data/hard", 0o644, "data/way")
        .unpack();
    done.unwrap();
    assert!(std::fs::symlink_metadata(temp.path().join("target/copy/hard")).unwrap().is_symlink());
}

#[test]
fn a_link_that_is_there_already_is_not_followed() {
    let temp = tempfile::tempdir().unwrap();
    let outside = temp.path().join("outside");
    std::fs::create_dir(&outside).unwrap();
    symlink(&outside, temp.path().join("copy")).unwrap();
    let bytes = Archive::new().file("data/secret", "evil").0.into_inner().unwrap();
    let done = unpack(&mut &bytes[..], "data", temp.path(), OsStr::new("copy"), &mut no_limits());
    assert!(done.is_err());
    assert_eq!(std::fs::read_dir(&outside).unwrap().count(), 0);
}

#[test]
fn devices_are_left_out_and_said() {
    let (temp, done) = Archive::new()
        .add(EntryType::Directory, "data", 0o755, "")
        .add(EntryType::Char, "data/null", 0o666, "")
        .add(EntryType::Fifo, "data/fifo", 0o666, "")
        .unpack();
    assert_eq!(done.unwrap().left_out, ["data/null: it is a Char", "data/fifo: it is a Fifo"]);
    assert_eq!(std::fs::read_dir(temp.path().join("target/copy")).unwrap().count(), 0);
}

#[test]
fn half_an_archive_is_an_error() {
    let bytes = Archive::new().file("data", &"x".repeat(5000)).0.into_inner().unwrap();
    let temp = tempfile::tempdir().unwrap();
    let done =
        unpack(&mut &bytes[..2000], "data", temp.path(), OsStr::new("copy"), &mut no_limits());
    assert!(done.is_err(), "{done:?}");
}

/// As tar's library packs a file with holes: one of `size` bytes with one word in its middle.
fn sparse(size: u64) -> Vec<u8> {
    let file = tempfile::NamedTempFile::new().unwrap();
    file.as_file().set_len(size).unwrap();
    std::os::unix::fs::FileExt::write_at(file.as_file(), b"word", size / 2).unwrap();
    let mut archive = tar::Builder::new(Vec::new());
    archive.append_file("data", &mut std::fs::File::open(file.path()).unwrap()).unwrap();
    archive.into_inner().unwrap()
}

#[test]
fn holes_take_no_room_here() {
    let size = 300 * 1024 * 1024;
    let bytes = sparse(size);
    assert!(bytes.len() < 100_000, "the fixture has no holes: {} bytes", bytes.len());
    let temp = tempfile::tempdir().unwrap();
    let name = OsStr::new("copy");
    let done = unpack(&mut &bytes[..], "data", temp.path(), name, &mut no_limits()).unwrap();
    assert_eq!((done.entries, done.bytes), (1, size));
    let facts = std::fs::metadata(temp.path().join("copy")).unwrap();
    assert_eq!(facts.len(), size, "a hole at the end belongs to the file");
    assert!(facts.blocks() * 512 < 1024 * 1024, "{} blocks", facts.blocks());
    let mut word = [0; 4];
    let file = std::fs::File::open(temp.path().join("copy")).unwrap();
    std::os::unix::fs::FileExt::read_exact_at(&file, &mut word, size / 2).unwrap();
    assert_eq!(&word, b"word");
}

#[test]
fn past_a_limit_nothing_is_written_unless_somebody_says_so() {
    let bytes = sparse(64 * 1024 * 1024);
    let temp = tempfile::tempdir().unwrap();
    let mut few = limits(1024 * 1024, 10);
    let name = OsStr::new("copy");
    let error = unpack(&mut &bytes[..], "data", temp.path(), name, &mut few).unwrap_err();
    assert!(error.to_string().contains("more than 1048576 bytes"), "{error}");
    assert!(few.count.read() <= 1024 * 1024);
    let asked = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&asked);
    few.ask = Box::new(move || counted.fetch_add(1, Ordering::Relaxed) == 0);
    unpack(&mut &bytes[..], "data", temp.path(), name, &mut few).unwrap();
    assert_eq!(asked.load(Ordering::Relaxed), 1, "asked once");
    let many = (0..5).fold(Archive::new().add(EntryType::Directory, "data", 0o755, ""), |a, n| {
        a.file(&format!("data/{n}"), "")
    });
    let (_temp, done) = many.unpack_within(limits(u64::MAX, 4));
    assert!(done.unwrap_err().to_string().contains("4 entries"));
}

#[test]
fn a_name_without_an_end_is_not_kept_in_memory() {
    // A long name of 240 MB as the guest would send it, which is read no further than it must be.
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(EntryType::GNULongName);
    header.set_size(240_000_000);
    header.set_path("././@LongLink").unwrap();
    header.set_cksum();
    let read = Arc::new(AtomicU64::new(0));
    struct Counted<R>(R, Arc<AtomicU64>);
    impl<R: Read> Read for Counted<R> {
        fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
            let read = self.0.read(into)?;
            self.1.fetch_add(read as u64, Ordering::Relaxed);
            Ok(read)
        }
    }
    let endless = header.as_bytes().chain(io::repeat(b'a'));
    let temp = tempfile::tempdir().unwrap();
    let mut counted = Counted(endless, Arc::clone(&read));
    let name = OsStr::new("copy");
    let error = unpack(&mut counted, "data", temp.path(), name, &mut no_limits()).unwrap_err();
    assert!(error.to_string().contains("name has no end"), "{error}");
    assert!(read.load(Ordering::Relaxed) <= HEADERS);
    // One that ends, but is longer than any path.
    let long = format!("data/{}", "a/".repeat(5000));
    let mut archive = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(EntryType::Directory);
    header.set_size(0);
    header.set_mode(0o755);
    archive.append_data(&mut header, long, io::empty()).unwrap();
    let bytes = archive.into_inner().unwrap();
    let done = unpack(&mut &bytes[..], "data", temp.path(), name, &mut no_limits());
    assert!(done.unwrap_err().to_string().contains("a name of"));
    assert_eq!(std::fs::read_dir(temp.path()).unwrap().count(), 0);
}

/// An archive of files that lie deep, in directories that no entry names.
fn deep(files: usize, depth: usize) -> Vec<u8> {
    let mut archive = tar::Builder::new(Vec::new());
    for at in 0..files {
        let mut header = tar::Header::new_gnu();
        header.set_size(0);
        header.set_mode(0o644);
        let path = format!("data/{at}/{}f", "a/".repeat(depth));
        archive.append_data(&mut header, path, io::empty()).unwrap();
    }
    archive.into_inner().unwrap()
}

fn directories_in(path: &Path) -> u64 {
    let below = std::fs::read_dir(path).unwrap().map(Result::unwrap);
    below.filter(|at| at.path().is_dir()).map(|at| 1 + directories_in(&at.path())).sum()
}

#[test]
fn directories_that_no_entry_names_count_as_entries_and_as_bytes() {
    let name = OsStr::new("copy");
    for (mut few, most, why) in [
        (limits(1024 * 1024, u64::MAX), 256, "more than 1048576 bytes"),
        (limits(u64::MAX, 500), 500, "500 entries"),
    ] {
        let temp = tempfile::tempdir().unwrap();
        let bytes = deep(20, 200);
        let error = unpack(&mut &bytes[..], "data", temp.path(), name, &mut few).unwrap_err();
        assert!(error.to_string().contains(why), "{error}");
        let made = directories_in(temp.path());
        assert!(made <= most, "{made} directories");
    }
    // Those that are named count once, those that are there already not at all.
    let temp = tempfile::tempdir().unwrap();
    let named = || {
        let names = ["data", "data/a", "data/a/b", "data/a/b/c"];
        names.iter().fold(Archive::new(), |a, n| a.add(EntryType::Directory, n, 0o755, ""))
    };
    for _ in 0..2 {
        let bytes = named().0.into_inner().unwrap();
        unpack(&mut &bytes[..], "data", temp.path(), name, &mut limits(4 * 4096, 4)).unwrap();
    }
    let temp = tempfile::tempdir().unwrap();
    let bytes = deep(1, MOST_PARTS);
    let error = unpack(&mut &bytes[..], "data", temp.path(), name, &mut no_limits()).unwrap_err();
    assert!(error.to_string().contains("deeper"), "{error}");
    assert_eq!(directories_in(temp.path()), 0);
}

#[test]
fn what_is_left_out_counts_with_what_it_holds() {
    for kind in [EntryType::Fifo, EntryType::Char, EntryType::XGlobalHeader] {
        let many = (0..6).fold(Archive::new(), |a, n| a.add(kind, &format!("data/{n}"), 0o644, ""));
        let error = many.unpack_within(limits(u64::MAX, 4)).1.unwrap_err();
        assert!(error.to_string().contains("4 entries"), "{kind:?}: {error}");
        let large = Archive::new().add(kind, "data/x", 0o644, &"x".repeat(5000));
        let error = large.unpack_within(limits(4096, 10)).1.unwrap_err();
        assert!(error.to_string().contains("more than 4096 bytes"), "{kind:?}: {error}");
    }
}

#[test]
fn what_comes_after_something_large_that_is_left_out_is_still_taken() {
    let (temp, done) = Archive::new()
        .add(EntryType::Directory, "data", 0o755, "")
        .add(EntryType::Fifo, "data/fifo", 0o644, &"x".repeat(5 * 1024 * 1024))
        .file("data/after", "here")
        .unpack();
    assert_eq!(done.unwrap().left_out.len(), 1);
    assert!(temp.path().join("target/copy/after").exists());
}

#[test]
fn modes_give_way_to_the_umask_and_to_what_is_there() {
    let archive = Archive::new()
        .add(EntryType::Directory, "data", 0o777, "")
        .add(EntryType::Directory, "data/shut", 0o577, "")
        .add(EntryType::Regular, "data/all", 0o6777, "x");
    let (temp, done) = archive.unpack_within(Limits { umask: 0o027, ..no_limits() });
    done.unwrap();
    let at = temp.path().join("target/copy");
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o7777;
    assert_eq!((mode(&at), mode(&at.join("shut"))), (0o750, 0o550));
    assert_eq!(mode(&at.join("all")), 0o750);
    // As with cp: a directory that was there keeps its mode.
    let temp = tempfile::tempdir().unwrap();
    std::fs::create_dir(temp.path().join("copy")).unwrap();
    std::fs::set_permissions(temp.path().join("copy"), std::fs::Permissions::from_mode(0o711))
        .unwrap();
    let bytes = Archive::new().add(EntryType::Directory, "data", 0o777, "").0.into_inner().unwrap();
    unpack(&mut &bytes[..], "data", temp.path(), OsStr::new("copy"), &mut no_limits()).unwrap();
    assert_eq!(mode(&temp.path().join("copy")), 0o711);
}

#[test]
fn how_much_comes_is_known_of_a_file_and_not_of_a_directory() {
    let of = |archive: Archive| {
        let limits = no_limits();
        let count = limits.count.clone();
        archive.unpack_within(limits).1.unwrap();
        (count.read(), count.of())
    };
    assert_eq!(of(Archive::new().file("data", "12345")), (5, Some(5)));
    let directory = Archive::new().add(EntryType::Directory, "data", 0o755, "");
    assert_eq!(of(directory.file("data/a", "123").file("data/b", "45")), (5, None));
}

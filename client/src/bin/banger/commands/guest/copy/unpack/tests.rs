//! Archives as a guest may send them, good and hostile, into a temporary directory.

use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};

use super::*;

struct Archive(tar::Builder<Vec<u8>>);

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
        let temp = tempfile::tempdir().unwrap();
        let (target, outside) = (temp.path().join("target"), temp.path().join("outside"));
        std::fs::create_dir(&target).unwrap();
        std::fs::create_dir(&outside).unwrap();
        std::fs::write(outside.join("secret"), "untouched").unwrap();
        let bytes = self.0.into_inner().unwrap();
        let done = unpack(&mut &bytes[..], "data", &target, OsStr::new("copy"));
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
    let done = unpack(&mut &bytes[..], "data", temp.path(), OsStr::new("copy"));
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
    let done = unpack(&mut &bytes[..2000], "data", temp.path(), OsStr::new("copy"));
    assert!(done.is_err(), "{done:?}");
}

//! What lies on this machine, and what comes out of its archive.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::os::unix::fs::FileExt as _;

use super::*;

/// Names and contents of an archive.
fn packed(from: &Path) -> (BTreeMap<String, Vec<u8>>, Vec<String>) {
    let mut bytes = Vec::new();
    let left_out = pack(from, Path::new("x"), &mut bytes).unwrap();
    let mut archive = tar::Archive::new(&bytes[..]);
    let mut found = BTreeMap::new();
    for entry in archive.entries().unwrap() {
        let mut entry = entry.unwrap();
        let name = entry.path().unwrap().display().to_string();
        let mut content = Vec::new();
        entry.read_to_end(&mut content).unwrap();
        found.insert(name, content);
    }
    (found, left_out)
}

#[test]
fn files_that_do_not_say_how_long_they_are_are_packed_whole() {
    for path in ["/proc/version", "/proc/self/limits"] {
        let (found, _) = packed(Path::new(path));
        assert_eq!(found["x"], fs::read(path).unwrap(), "{path}");
        assert!(!found["x"].is_empty());
    }
    let endless = pack(Path::new("/proc/self/pagemap"), Path::new("x"), io::sink());
    assert!(endless.is_err(), "it has no end");
}

#[test]
fn what_is_no_content_is_left_out_and_named_and_the_rest_is_there() {
    let dir = tempfile::tempdir().unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(dir.path().join("b.sock")).unwrap();
    fs::write(dir.path().join("a"), "1").unwrap();
    fs::write(dir.path().join("c"), "2").unwrap();
    std::os::unix::fs::symlink("a", dir.path().join("d")).unwrap();
    let (found, left_out) = packed(dir.path());
    let names: Vec<_> = found.keys().map(String::as_str).collect();
    assert_eq!(names, ["x", "x/a", "x/c", "x/d"]);
    assert!(left_out.len() == 1 && left_out[0].contains("b.sock"), "{left_out:?}");
}

#[test]
fn holes_are_not_sent_and_come_out_as_they_were() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("disk");
    let file = File::create(&path).unwrap();
    file.set_len(100 << 20).unwrap();
    file.write_at(b"word", 50 << 20).unwrap();
    assert!(measure(&path).unwrap() < 1 << 20, "holes are no bytes to send");
    let mut bytes = Vec::new();
    pack(&path, Path::new("x"), &mut bytes).unwrap();
    assert!(bytes.len() < 1 << 20, "{} bytes", bytes.len());
    let (found, _) = packed(&path);
    assert_eq!((found["x"].len(), &found["x"][50 << 20..][..4]), (100 << 20, &b"word"[..]));
}

#[test]
fn a_file_that_grows_meanwhile_breaks_nothing_behind_it() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("a.log"), vec![b'a'; 100_000]).unwrap();
    fs::write(dir.path().join("b"), "after").unwrap();
    /// Appends to the file when its header has gone by.
    struct Growing(PathBuf, Vec<u8>);
    impl Write for Growing {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let mut log = fs::OpenOptions::new().append(true).open(&self.0)?;
            log.write_all(&[b'b'; 1000])?;
            self.1.extend_from_slice(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let mut growing = Growing(dir.path().join("a.log"), Vec::new());
    pack(dir.path(), Path::new("x"), &mut growing).unwrap();
    let mut archive = tar::Archive::new(&growing.1[..]);
    let names: Vec<_> = archive
        .entries()
        .unwrap()
        .map(|entry| entry.unwrap().path().unwrap().display().to_string())
        .collect();
    assert_eq!(names, ["x", "x/a.log", "x/b"]);
}

use std::collections::BTreeMap;
use std::error::Error as _;
use std::fs;

use super::*;

fn load_at(path: &Path) -> Result<BTreeMap<String, String>, ConfigError> {
    load("test", Some(path), "/nowhere")
}

/// Else root, who asks whether somebody's configuration is any good, would wait for whoever made it
/// a FIFO, or take a file without an end into memory.
#[test]
fn what_is_no_file_or_has_no_end_is_no_configuration_and_hangs_nobody() {
    let dir = tempfile::tempdir().expect("a directory");
    let at = |name: &str| dir.path().join(name);
    let mode = rustix::fs::Mode::from_raw_mode(0o644);
    let kind = rustix::fs::FileType::Fifo;
    rustix::fs::mknodat(rustix::fs::CWD, at("fifo"), kind, mode, 0).expect("a FIFO");
    std::os::unix::fs::symlink(at("fifo"), at("link")).expect("made");
    std::os::unix::fs::symlink("/dev/zero", at("zero")).expect("made");
    fs::File::create(at("long")).and_then(|file| file.set_len(1 << 40)).expect("made");
    for (name, word) in
        [("fifo", "FIFO"), ("link", "FIFO"), ("zero", "device"), ("long", "large"), ("none", "")]
    {
        let refused = load_at(&at(name)).expect_err(name);
        assert!(matches!(refused, ConfigError::Read { .. }), "{name}: {refused:?}");
        let why = refused.source().expect("a cause").to_string();
        assert!(why.contains(word), "{name}: {why}");
    }
    fs::write(at("text"), b"name = \"\xff\"").expect("written");
    assert!(matches!(load_at(&at("text")), Err(ConfigError::Read { .. })));
    // A link to a file is the file, as where configurations are laid down by links.
    fs::write(at("file"), "name = \"first\"\n").expect("written");
    std::os::unix::fs::symlink(at("file"), at("good")).expect("made");
    let read = load_at(&at("good")).expect("it is a file");
    assert_eq!(read, BTreeMap::from([("name".to_owned(), "first".to_owned())]));
}

//! The file with a join token, which `banger-agent join` reads as root: what it takes and what not.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;

use banger_integration_tests::programs::{command, ours};

/// Where nobody listens.
const NOBODY: &str = "http://127.0.0.1:1";

/// What a join says that comes as far as this file lets it.
fn join(token: &Path, state: &Path) -> String {
    let output = command(&ours("banger-agent"))
        .args(["join", "--server", NOBODY, "--name", "one", "--agent-address", "192.0.2.7:7072"])
        .arg("--state-dir")
        .arg(state)
        .arg("--token-file")
        .arg(token)
        .output()
        .expect("banger-agent can be started");
    assert!(!output.status.success(), "nobody is there to join");
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn admit_a_join_token_in_a_file_that_is_none_or_open_to_others_is_not_taken_and_hangs_nobody() {
    let dir = tempfile::tempdir().expect("a directory");
    let at = |name: &str| dir.path().join(name);
    let token = format!("bj1.{}.{}.{}\n", "1".repeat(32), "2".repeat(64), "3".repeat(64));
    for (name, mode) in [("good", 0o600), ("open", 0o644), ("grouped", 0o640), ("another's", 0o600)]
    {
        fs::write(at(name), &token).expect("written");
        fs::set_permissions(at(name), Permissions::from_mode(mode)).expect("it is ours");
    }
    nix::unistd::mkfifo(&at("fifo"), nix::sys::stat::Mode::from_bits_truncate(0o600))
        .expect("a FIFO");
    for (link, to) in [("to-fifo", "fifo"), ("to-open", "open"), ("to-good", "good")] {
        symlink(at(to), at(link)).expect("made");
    }
    fs::File::create(at("endless")).and_then(|file| file.set_len(1 << 40)).expect("made");
    fs::set_permissions(at("endless"), Permissions::from_mode(0o600)).expect("it is ours");
    for (name, words) in [
        ("open", "chmod"),
        ("grouped", "chmod"),
        ("to-open", "chmod"),
        ("fifo", "is a FIFO"),
        ("to-fifo", "is a FIFO"),
        ("endless", "it is too large"),
        ("nothing", "No such file"),
        (".", "is a directory"),
    ] {
        let said = join(&at(name), &at("state"));
        assert!(said.contains("is not taken") && said.contains(words), "{name}: {said}");
        assert!(!said.contains("222222"), "the token is shown: {said}");
    }
    // A person has root run it, and the file is theirs: root takes it, and nobody else could read
    // it.
    if nix::unistd::geteuid().is_root() {
        std::os::unix::fs::chown(at("another's"), Some(65_534), None).expect("given away");
    }
    for name in ["good", "to-good", "another's"] {
        let said = join(&at(name), &at("state"));
        assert!(!said.contains("is not taken"), "{name}: {said}");
        assert!(said.contains(NOBODY) || said.contains("127.0.0.1:1"), "{name}: {said}");
    }
}

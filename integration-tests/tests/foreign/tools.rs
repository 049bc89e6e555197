//! What the documents take for granted: the images of a demo, and somebody's archive.

use std::path::Path;

use banger_integration_tests::fleet::Fleet;
use banger_integration_tests::programs::{command, ours};

/// The image `demo`, as `make up` and `banger dev up` leave one on a server of simulated hosts.
pub(super) fn demo(fleet: &Fleet) {
    let tree = tempfile::tempdir().expect("a directory");
    std::fs::write(tree.path().join("README"), "never booted\n").expect("a file");
    import(fleet, &["demo", "--kernel", "demo-kernel"], tree.path());
}

/// What else a demo has where guests are real, an initial RAM disk; and beside it in a home
/// directory an archive of somebody's.
pub(super) fn rest_of_demo(fleet: &Fleet, home: &Path) {
    // The record at the end of a cpio archive, without any before it.
    let name = b"TRAILER!!!\0";
    let mut archive = b"070701".to_vec();
    for field in 0..13 {
        let value = if field == 11 { name.len() } else { 0 };
        archive.extend(format!("{value:08x}").bytes());
    }
    archive.extend(name);
    archive.resize(512, 0);
    let initrd = home.join("initrd.img");
    std::fs::write(&initrd, archive).expect("a file");
    import(fleet, &["demo-initrd"], &initrd);
    let tree = home.join("tree");
    std::fs::create_dir(&tree).expect("made");
    std::fs::write(tree.join("README"), "somebody's\n").expect("a file");
    let mut tar = command(Path::new("tar"));
    tar.arg("-C").arg(&tree).arg("-cf").arg(home.join("alpine.tar")).arg(".");
    let packed = tar.status();
    assert!(packed.expect("tar can be started").success());
}

/// `banger image import`, which must succeed.
fn import(fleet: &Fleet, words: &[&str], from: &Path) {
    let home = tempfile::tempdir().expect("a directory");
    let output = command(&ours("banger"))
        .args(["image", "import"])
        .args(words)
        .arg(from)
        .env("HOME", home.path())
        .env("BANGER_SERVER", format!("http://{}", fleet.api()))
        .output()
        .expect("banger can be started");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "the image {words:?} was not made: {said}");
}

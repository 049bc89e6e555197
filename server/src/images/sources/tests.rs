use std::fs;

use tempfile::TempDir;

use super::*;

fn imports() -> (TempDir, Vec<PathBuf>) {
    let directory = TempDir::new().expect("a directory");
    let imports = directory.path().join("imports");
    fs::create_dir_all(imports.join("deep")).expect("made");
    fs::write(imports.join("deep/kernel"), b"kernel").expect("written");
    fs::write(directory.path().join("secret"), b"secret").expect("written");
    (directory, vec![imports])
}

fn shown(dirs: &[PathBuf], rest: &str) -> String {
    format!("{}/{rest}", dirs[0].display())
}

#[test]
fn a_file_or_directory_beneath_an_import_directory_is_opened() {
    let (_directory, dirs) = imports();
    let opened = open(&dirs, &shown(&dirs, "deep/kernel")).expect("beneath");
    assert_eq!(fs::read(opened.path()).expect("readable"), b"kernel");
    let opened = open(&dirs, &shown(&dirs, "deep")).expect("beneath");
    assert!(opened.path().join("kernel").exists());
    assert_eq!(open(&dirs, &shown(&dirs, "no")).expect_err("not there"), SourceError::NotThere);
}

#[test]
fn nothing_outside_is_opened_however_it_is_named() {
    let (directory, dirs) = imports();
    let secret = directory.path().join("secret");
    std::os::unix::fs::symlink(&secret, dirs[0].join("link")).expect("made");
    std::os::unix::fs::symlink(directory.path(), dirs[0].join("dir")).expect("made");
    for hostile in ["../secret", "deep/../../secret", "./../secret"] {
        let refused = open(&dirs, &shown(&dirs, hostile)).expect_err("outside");
        assert_eq!(refused, SourceError::Outside, "{hostile}");
    }
    for hostile in ["link", "dir/secret"] {
        let refused = open(&dirs, &shown(&dirs, hostile)).expect_err("through a symlink");
        assert!(matches!(refused, SourceError::Unreadable(_)), "{hostile}: {refused}");
    }
    let absolute = secret.display().to_string();
    for hostile in ["/etc/passwd", "secret", "", "/", &absolute] {
        assert_eq!(open(&dirs, hostile).expect_err("outside"), SourceError::Outside, "{hostile}");
    }
    let beside = format!("{}-more/x", dirs[0].display());
    assert_eq!(open(&dirs, &beside).expect_err("another directory"), SourceError::Outside);
    assert_eq!(open(&[], &shown(&dirs, "deep/kernel")).expect_err("none"), SourceError::Outside);
}

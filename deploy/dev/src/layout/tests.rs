//! Claims about the directory.

use super::*;

fn layout(root: &Path) -> Layout {
    Layout { root: root.to_owned() }
}

#[test]
fn only_what_banger_dev_made_is_removed() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("dev");
    let layout = layout(&root);
    layout.begin().unwrap();
    for made in ["server/ca", "agents/b0/vms"] {
        fs::create_dir_all(root.join(made)).unwrap();
    }
    fs::write(root.join("thesis.txt"), "years of work").unwrap();
    layout.remove().unwrap();
    let left: Vec<_> = fs::read_dir(&root).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(left, ["thesis.txt"]);
    fs::remove_file(root.join("thesis.txt")).unwrap();
    layout.remove().unwrap();
    assert!(!root.exists());
    layout.remove().unwrap();
}

#[test]
fn two_commands_at_once_are_refused_and_one_after_the_other_is_not() {
    let dir = tempfile::tempdir().unwrap();
    let layout = layout(dir.path());
    let held = layout.lock().unwrap();
    let failure = layout.lock().unwrap_err();
    assert!(format!("{failure:?}").contains("another `banger dev`"), "{failure:?}");
    drop(held);
    layout.lock().unwrap();
}

#[test]
fn the_end_of_a_log_is_shown_without_colours_and_control_characters() {
    let dir = tempfile::tempdir().unwrap();
    let layout = layout(dir.path());
    layout.begin().unwrap();
    fs::write(layout.log("server"), "one\n\x1b[2mtwo\x1b[0m\x07\nthree\n").unwrap();
    assert_eq!(layout.log_tail("server", 2), "  | two\n  | three\n");
    assert_eq!(layout.log_tail("nobody", 2), "");
}

/// Files of somebody's where a set-up would have its own.
fn with_files(root: &Path, files: &[&str]) {
    for file in files {
        fs::create_dir_all(root.join(file).parent().unwrap()).unwrap();
        fs::write(root.join(file), file).unwrap();
    }
}

fn files_below(root: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir(root).unwrap().flatten() {
        if entry.path().is_dir() {
            let name = entry.file_name().into_string().unwrap();
            found.extend(files_below(&entry.path()).iter().map(|file| format!("{name}/{file}")));
        } else {
            found.push(entry.file_name().into_string().unwrap());
        }
    }
    found.sort();
    found
}

const SOMEBODYS: [&str; 4] =
    ["config/precious", "config/server.toml", "logs/old", "server/ca/ca.key"];

#[test]
fn a_start_that_is_taken_back_leaves_what_was_there() {
    for first in [&SOMEBODYS[..], &[]] {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("dev");
        with_files(&root, first);
        let layout = layout(&root);
        let begun = layout.begin().unwrap();
        layout.config("server").unwrap();
        layout.config("b0").unwrap();
        fs::create_dir_all(layout.agent_state("b0")).unwrap();
        layout.unmake(&begun).unwrap();
        assert_eq!(root.exists(), !first.is_empty());
        if root.exists() {
            assert_eq!(files_below(&root), first);
            assert!(!root.join("agents").exists());
        }
    }
}

#[test]
fn a_set_up_that_is_removed_leaves_what_was_there_before_it() {
    let dir = tempfile::tempdir().unwrap();
    with_files(dir.path(), &SOMEBODYS);
    let layout = layout(dir.path());
    drop(layout.begin().unwrap());
    fs::write(layout.record(), "{}").unwrap();
    with_files(dir.path(), &["config/b0.toml", "logs/b0.log", "logs/server.log", "agents/b0/x"]);
    // A second start finds all of that, and none of it becomes somebody else's.
    drop(layout.begin().unwrap());
    layout.remove_agent("b0").unwrap();
    assert!(!dir.path().join("config/b0.toml").exists());
    assert!(!layout.remove().unwrap());
    assert_eq!(files_below(dir.path()), SOMEBODYS);
}

#[test]
fn nothing_is_removed_where_no_set_up_is_recorded_and_all_of_one_of_an_earlier_release() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("dev");
    with_files(&root, &SOMEBODYS);
    let layout = layout(&root);
    assert!(!layout.remove().unwrap());
    assert_eq!(files_below(&root), SOMEBODYS);
    fs::write(layout.record(), "{}").unwrap();
    drop(layout.begin().unwrap());
    assert!(!layout.made().exists(), "what it made is not known any more");
    assert!(layout.remove().unwrap());
}

#[test]
fn a_list_that_leads_elsewhere_removes_nothing() {
    for place in ["..", "server/../../x", "/etc", "thesis.txt", "logs/a/b", ""] {
        let dir = tempfile::tempdir().unwrap();
        let layout = layout(dir.path());
        drop(layout.begin().unwrap());
        fs::write(layout.made(), serde_json::json!([place]).to_string()).unwrap();
        assert!(layout.remove().is_err(), "{place:?}");
        assert!(dir.path().join("logs").exists());
    }
}

#[test]
fn nobody_else_can_open_the_lock_also_one_that_all_could_read() {
    use std::os::unix::fs::PermissionsExt as _;
    let dir = tempfile::tempdir().unwrap();
    let layout = layout(dir.path());
    let path = dir.path().join("lock");
    for earlier in [None, Some(0o644), Some(0o666)] {
        if let Some(mode) = earlier {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        }
        drop(layout.lock().unwrap());
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }
    fs::remove_file(&path).unwrap();
    std::os::unix::fs::symlink(dir.path().join("elsewhere"), &path).unwrap();
    assert!(layout.lock().is_err());
    assert!(!dir.path().join("elsewhere").exists());
}

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
    layout.create().unwrap();
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
    layout.create().unwrap();
    fs::write(layout.log("server"), "one\n\x1b[2mtwo\x1b[0m\x07\nthree\n").unwrap();
    assert_eq!(layout.log_tail("server", 2), "  | two\n  | three\n");
    assert_eq!(layout.log_tail("nobody", 2), "");
}

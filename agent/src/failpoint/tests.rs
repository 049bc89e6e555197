//! Where a text strikes, and that nothing strikes without one. That it kills is seen in the test
//! host, where every sweep on the real kernel would fail without it.

use super::*;

#[test]
fn a_text_names_one_side_of_one_effect_and_anything_else_names_none() {
    assert_eq!(place("after 7 stop"), Some((Side::After, 7)));
    assert_eq!(place("before 1\n"), Some((Side::Before, 1)));
    for text in ["", "list x", "after", "after x", "7 after", "AFTER 7", "after -1"] {
        assert_eq!(place(text), None, "{text:?}");
    }
}

#[test]
fn without_a_file_nothing_happens_and_a_listed_effect_is_only_listed() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("failpoint");
    let failpoint = Failpoint { file: file.clone(), counted: Mutex::default() };
    failpoint.before("launch");
    failpoint.after("launch");
    std::fs::write(&file, "list create").unwrap();
    for effect in ["check_host", "launch"] {
        failpoint.before(effect);
        failpoint.after(effect);
    }
    let listed = std::fs::read_to_string(dir.path().join("failpoint.effects")).unwrap();
    assert_eq!(listed, "check_host\nlaunch\n");
    assert!(file.exists());
}

#[test]
fn effects_are_counted_anew_for_each_text_and_a_place_that_is_not_reached_does_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("failpoint");
    let failpoint = Failpoint { file: file.clone(), counted: Mutex::default() };
    for text in ["after 3 a", "after 3 b"] {
        std::fs::write(&file, text).unwrap();
        for _ in 0..2 {
            failpoint.before("launch");
            failpoint.after("launch");
        }
        assert_eq!(failpoint.counted.lock().effects, 2, "{text}");
    }
}

use super::*;

#[test]
fn a_text_that_is_fine_stays_as_it_is() {
    for text in ["", "IMAGE_MISSING", "größer als 5 €, ”so“", "日本語"] {
        assert_eq!(clean(text.to_owned(), 64), text);
    }
}

#[test]
fn nothing_steers_a_terminal_a_log_or_the_direction_of_text() {
    let hostile = "a\x1b]52;c;aGk=\x07b\u{9b}6n\u{202e}c\u{2066}\u{200b}\u{feff}\r\n\td\x7f\0";
    let cleaned = sentence(hostile.to_owned());
    assert!(!cleaned.chars().any(steers), "{cleaned:?}");
    assert!(cleaned.starts_with("a\u{fffd}]52;c;aGk=\u{fffd}b"), "{cleaned:?}");
    assert!(cleaned.contains("   d"), "line breaks and tabs are spaces: {cleaned:?}");
}

#[test]
fn whatever_comes_is_no_longer_than_allowed_and_cut_between_characters() {
    for text in ["a".repeat(5_000), "€".repeat(5_000), "\x1b".repeat(5_000), "\n".repeat(5_000)] {
        for max in [8, 64, 65, 66, 256, 2048] {
            let cleaned = clean(text.clone(), max);
            assert!(cleaned.len() <= max, "{} > {max}", cleaned.len());
            assert!(cleaned.len() + 4 > max, "{} is cut too short for {max}", cleaned.len());
            assert!(cleaned.ends_with(CUT));
        }
    }
    assert!(clean("\x1b".repeat(64), 64).len() <= 64, "a control character becomes three bytes");
}

#[test]
fn one_of_something_is_one_and_everything_else_is_many() {
    for (count, word, said) in [
        (0, "VM", "0 VMs"),
        (1, "VM", "1 VM"),
        (2, "VM", "2 VMs"),
        (1, "entry", "1 entry"),
        (2, "entry", "2 entries"),
        (2, "key", "2 keys"),
        (1, "process", "1 process"),
        (2, "address", "2 addresses"),
        (2, "root disk", "2 root disks"),
    ] {
        assert_eq!(counted(count, word), said);
    }
}

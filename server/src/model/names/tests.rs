use super::*;

/// Texts that no name, image name or reference may be.
const HOSTILE: &[&str] = &[
    "",
    "-",
    "-web",
    "web-",
    "--help",
    ".",
    "..",
    "../../etc/passwd",
    "/etc/passwd",
    "a/b",
    "a\\b",
    "we b",
    " web",
    "web\n",
    "web\0",
    "web\x1b[31m",
    "wеb", // the second letter is Cyrillic
    "wéb",
    "ｗｅｂ",
    "web\u{200b}",
    "web\u{202e}",
    "web;rm -rf",
    "$(id)",
    "`id`",
    "'; DROP TABLE vms; --",
    "%2e%2e",
    "a=b",
    "a,b",
    "a:b",
    "a@b",
    "*",
    "~",
];

#[test]
fn hostile_texts_are_no_names() {
    for text in HOSTILE {
        assert!(check_name(text).is_err(), "{text:?}");
        assert!(check_reference(text).is_err(), "{text:?}");
    }
}

#[test]
fn hostile_texts_are_no_image_names() {
    for text in HOSTILE.iter().filter(|text| **text != "web-") {
        assert!(check_image_name(text).is_err(), "{text:?}");
    }
    assert!(check_image_name(&"a".repeat(129)).is_err());
    assert!(check_image_name(".hidden").is_err());
}

#[test]
fn rfc_1123_labels_are_names() {
    for text in ["a", "0", "web", "web-1", "1web", "a--b", &"a".repeat(63)] {
        assert_eq!(check_name(text), Ok(()), "{text:?}");
    }
    for text in ["Web", "web.example", "web_1", &"a".repeat(64)] {
        assert!(check_name(text).is_err(), "{text:?}");
    }
}

#[test]
fn a_name_can_not_be_mistaken_for_an_id() {
    for text in ["0192f0c1-2d3e-7a4b-8c5d-6e7f8091a2b3", "0192f0c12d3e7a4b8c5d6e7f8091a2b3"] {
        assert!(check_name(text).is_err(), "{text:?}");
        assert_eq!(check_reference(text), Ok(()), "{text:?}");
    }
}

#[test]
fn usual_file_names_are_image_names() {
    for text in ["vmlinux", "vmlinux-6.1.141", "debian_12+banger.ext4", "A"] {
        assert_eq!(check_image_name(text), Ok(()), "{text:?}");
    }
}

#[test]
fn boot_args_are_printable_ascii_and_bounded() {
    assert_eq!(check_boot_args("console=ttyS0 init=\"/bin/sh\" ~"), Ok(()));
    assert_eq!(check_boot_args(&"a".repeat(MAX_BOOT_ARGS_BYTES)), Ok(()));
    for text in ["a\nb", "a\tb", "a\0", "é", "a\x7f", &"a".repeat(MAX_BOOT_ARGS_BYTES + 1)] {
        assert!(check_boot_args(text).is_err(), "{text:?}");
    }
}

#[test]
fn a_digest_has_64_hexadecimal_digits() {
    assert_eq!(check_sha256(&"aB0".repeat(22)[..64]), Ok(()));
    for text in ["", "abc", &"a".repeat(63), &"g".repeat(64), &"a".repeat(65)] {
        assert!(check_sha256(text).is_err(), "{text:?}");
    }
}

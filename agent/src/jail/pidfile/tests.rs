//! What counts as a pid.

use super::*;

#[test]
fn the_jailers_digits_without_a_newline_are_a_pid() {
    assert_eq!(parse(b"4711"), Ok(Pid::new(4711).unwrap()));
}

#[test]
fn white_space_around_the_digits_is_tolerated() {
    for content in ["4711\n", " 4711", "\t4711\r\n", "\n\n4711 \n"] {
        assert_eq!(parse(content.as_bytes()), Ok(Pid::new(4711).unwrap()), "{content:?}");
    }
}

#[test]
fn garbage_is_no_pid() {
    let long = "9".repeat(64);
    for content in
        ["", " ", "\n", "abc", "12a", "-1", "+1", "0", "4294967296", "1 2", "0x10", &long]
    {
        assert!(parse(content.as_bytes()).is_err(), "{content:?}");
    }
    assert!(parse(&[0xff, 0xfe, b'1']).is_err());
}

/// A jailer writes it, in a directory that the VMM's user owns.
#[test]
fn fuzz_a_pidfile_is_plain_digits_or_garbage_that_is_shown_short() {
    banger_fuzz::fuzz("pidfile", &[b"4711", b" 4711\n", b"4194303"], |content| {
        match parse(content) {
            Ok(pid) => {
                let text = std::str::from_utf8(content).expect("only ASCII is a pid");
                let digits = text.trim_matches(|c: char| c.is_ascii_whitespace() || c == '\0');
                assert!(digits.bytes().all(|byte| byte.is_ascii_digit()), "{text:?}");
                assert_eq!(digits.trim_start_matches('0'), pid.to_string());
                assert_eq!(parse(pid.to_string().as_bytes()), Ok(pid), "it is read back");
            }
            Err(garbage) => assert!(garbage.shown.chars().count() <= 32, "{garbage:?}"),
        }
    });
}

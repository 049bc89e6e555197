//! What hostile guests send to terminals, and what ordinary ones need.

use super::*;

fn passed(bytes: &[u8]) -> String {
    String::from_utf8(Filter::default().pass(bytes)).unwrap()
}

/// Cut in two at every place, and byte by byte, it must come out the same.
fn passed_however_cut(bytes: &[u8]) -> String {
    let whole = passed(bytes);
    for cut in 0..=bytes.len() {
        let mut filter = Filter::default();
        let mut out = filter.pass(&bytes[..cut]);
        out.extend(filter.pass(&bytes[cut..]));
        assert_eq!(String::from_utf8(out).unwrap(), whole, "cut at {cut}");
    }
    let mut filter = Filter::default();
    let single: Vec<u8> = bytes.iter().flat_map(|byte| filter.pass(&[*byte])).collect();
    assert_eq!(String::from_utf8(single).unwrap(), whole, "byte by byte");
    whole
}

/// Each between two words: what is left of it, if anything.
const HOSTILE: &[(&str, &[u8])] = &[
    ("clipboard", b"\x1b]52;c;cm0gLXJmIC8K\x07"),
    ("clipboard, ended by ST", b"\x1b]52;c;cm0gLXJmIC8K\x1b\\"),
    ("clipboard, ended by a C1 ST", "\x1b]52;c;cm0gLXJmIC8K\u{9c}".as_bytes()),
    ("clipboard asked for", b"\x1b]52;c;?\x07"),
    ("title", b"\x1b]0;$(reboot)\x07"),
    ("title, as screen has it", b"\x1bk$(reboot)\x1b\\"),
    ("title reported", b"\x1b[21t"),
    ("window resized", b"\x1b[8;1;1t"),
    ("where is the cursor", b"\x1b[6n"),
    ("where is the cursor, privately", b"\x1b[?6n"),
    ("what are you", b"\x1b[c"),
    ("what are you, with a number", b"\x1b[0c"),
    ("what are you, second", b"\x1b[>c"),
    ("what are you, third", b"\x1b[=c"),
    ("what are you, of old", b"\x1bZ"),
    ("which version", b"\x1b[>0q"),
    ("terminal parameters", b"\x1b[1x"),
    ("is a mode set", b"\x1b[?2026$p"),
    ("checksum of the screen", b"\x1b[1;1;1;1;10;10*y"),
    ("keyboard protocol asked for", b"\x1b[?u"),
    ("keys reported otherwise", b"\x1b[>4;2m"),
    ("a setting asked for", b"\x1bP$q\"p\x1b\\"),
    ("a capability asked for", b"\x1bP+q544e\x1b\\"),
    ("colours asked for", b"\x1b]4;1;?\x07"),
    ("a picture", b"\x1bPq#0;2;0;0;0#0!9~\x1b\\"),
    ("a picture of kitty", b"\x1b_Ga=q,i=1;AAAA\x1b\\"),
    ("a private message", b"\x1b^hello\x1b\\"),
    ("a start of string", b"\x1bXhello\x1b\\"),
    ("print the screen", b"\x1b[i"),
    ("print what comes", b"\x1b[5i"),
    ("mouse reports", b"\x1b[?1000h\x1b[?1003;1006h\x1b[?1015h"),
    ("focus reports", b"\x1b[?1004h"),
    ("keyboard locked", b"\x1b[2h"),
    ("out of UTF-8", b"\x1b%@"),
    ("everything cleared and reset", b"\x1bc"),
    ("a screen of E", b"\x1b#8"),
    ("Enter as two characters", b"\x1b[20h"),
    ("Enter as two characters, beside another", b"\x1b[4;20h"),
    ("answers in eight bits", b"\x1b G"),
    ("ENQ", b"\x05"),
    ("NUL, XON, XOFF, DEL", b"\x00\x11\x13\x7f"),
    ("control in one character", "\u{9b}".as_bytes()),
    (
        "too long",
        b"\x1b[1;1;1;1;1;1;1;1;1;1;1;1;1;1;1;1;1;1;1;1;1;1;1;1;1;1;1;1;1;1;1;1;1;1;1;1;1;1;\
1;1;1;1;1;1;1;1;1;1;1;1;1;1;1;1;1;1;1;1;1;1;1;1;1;1;1;1;1;1;1;1;1;1;1;1;1;1;1;1;1;1;1;1;1m",
    ),
    ("repeated without end", b"\x1b[999999999b"),
    ("a mark in the middle", b"\x1b[6?n"),
    ("a sequence that CAN ends", b"\x1b[6\x18"),
    ("a sequence that another ends", b"\x1b[6\x1b[6n"),
    ("no such sequence", b"\x1b[?1;2y"),
    ("a hyperlink", b"\x1b]8;;http://evil.example\x1b\\"),
];

#[test]
fn nothing_that_makes_a_terminal_answer_or_act_comes_through() {
    for (what, bytes) in HOSTILE {
        let sent = [b"before", *bytes, b"after"].concat();
        assert_eq!(passed_however_cut(&sent), "beforeafter", "{what}");
    }
}

#[test]
fn a_question_in_eight_bits_is_no_question() {
    // Raw, as a terminal without UTF-8 would take it, and as UTF-8.
    assert_eq!(passed_however_cut(b"a\x9b6n"), "a\u{fffd}6n");
    assert_eq!(passed_however_cut("a\u{9b}6n".as_bytes()), "a6n");
    assert_eq!(passed_however_cut("a\u{9d}52;c;eA==\u{9c}b".as_bytes()), "a52;c;eA==b");
    // One inside of a character that is cut off.
    assert_eq!(passed_however_cut(b"\xe2\x9b\x1b[6nb"), "\u{fffd}b");
}

#[test]
fn a_control_character_within_a_sequence_does_not_hide_the_rest_of_it() {
    // xterm would do the line feed and then answer.
    assert_eq!(passed_however_cut(b"a\x1b[6\nn"), "a\nn");
    assert_eq!(passed_however_cut(b"a\x1b]0;x\x1b[6nb"), "ab");
}

#[test]
fn what_people_look_at_comes_through_unchanged() {
    for shown in [
        "Grüße, 世界, 🦀\r\n\tdone\x08\x07",
        "\x1b[1;31mred\x1b[0m \x1b[38;2;255;128;0;48;5;17mx\x1b[39;49m \x1b[4:3mwavy\x1b[m",
        "\x1b[2J\x1b[H\x1b[12;40H\x1b[5A\x1b[K\x1b[1K\x1b[3G\x1b[4d\x1b[2L\x1b[3M\x1b[4P\x1b[5@\x1b[6X",
        "\x1b[?1049h\x1b[?25l\x1b[1;24r\x1b7\x1b8\x1b[s\x1b[u\x1bM\x1bD\x1b[?1049l\x1b[?25h",
        "\x1b[?1h\x1b=\x1b[?2004h$ \x1b[?2004l\x1b>\x1b[?1l\x1b[?7h\x1b[?12h",
        "\x1b(0lqqk\x1b(B\x0ex\x0f",
        "\x1b[4h\x1b[4l\x1b[2 q\x1b[!p\x1b[20l\x1b#6\x1b[3b\x1b[2S\x1b[2T\x1b[0g\x1bH\x1b[I\x1b[Z",
    ] {
        assert_eq!(passed_however_cut(shown.as_bytes()), shown);
    }
}

#[test]
fn of_several_modes_only_the_harmless_are_set() {
    assert_eq!(passed(b"\x1b[?1049;1003;25h"), "\x1b[?1049;25h");
}

#[test]
fn a_string_without_an_end_does_not_hide_everything() {
    let mut filter = Filter::default();
    filter.pass(b"\x1b]52;c;");
    let swallowed = filter.pass(&vec![b'A'; LONGEST_STRING - 16]);
    assert!(swallowed.is_empty());
    filter.pass(&[b'A'; 16]);
    assert_eq!(filter.pass(b"seen"), b"seen");
    // And the next sequence ends it at once.
    assert_eq!(passed(b"\x1b]0;title without end \x1b[32m$ "), "\x1b[32m$ ");
}

#[test]
fn a_terminal_that_a_guest_has_left_changed_is_put_back() {
    let mut filter = Filter::default();
    filter.pass(b"\x1b[?1049h\x1b[?25l\x1b[?7h\x1b[31m\x1b(0");
    assert_eq!(
        String::from_utf8(filter.end()).unwrap(),
        "\x1b[?25h\x1b[?1049l\x0f\x1b(B\x1b[!p\x1b[20l\x1b[0m"
    );
    assert!(filter.end().is_empty());
    // What is half there at the end is not finished by what is printed next.
    let mut filter = Filter::default();
    filter.pass(b"text\x1b[6");
    assert!(filter.end().is_empty());
    assert_eq!(filter.pass(b"n"), b"n");
    assert!(Filter::default().end().is_empty());
}

#[test]
fn any_bytes_come_out_as_text_with_allowed_sequences_only() {
    // Every pair and triple of bytes that mean something, so that no state is left untried.
    let words: &[&[u8]] = &[
        b"\x1b", b"[", b"]", b"P", b"6", b"n", b"c", b"t", b"i", b"?", b">", b";", b"m", b"\x07",
        b"\x18", b"\n", b"\\", b"\xc2", b"\x9b", b"\x9c", b"\xe2", b"\x84", b"a", b" ", b"$",
    ];
    for a in words {
        for b in words {
            for c in words {
                for d in words {
                    let bytes = [*a, *b, *c, *d].concat();
                    let out = passed(&bytes);
                    // Fed again nothing more is taken away: what came out is clean.
                    assert_eq!(passed(out.as_bytes()), out, "{bytes:?}");
                    assert!(!out.chars().any(|c| matches!(c, '\u{80}'..='\u{9f}' | '\x05')));
                    for question in ["[6n", "[c", "[t", "[i", "]", "P", "Z"] {
                        assert!(!out.contains(&format!("\x1b{question}")), "{bytes:?} {out:?}");
                    }
                }
            }
        }
    }
}

#[test]
fn what_turns_or_hides_text_is_dropped_and_what_joins_a_sign_is_not() {
    for steers in ['\u{202e}', '\u{2066}', '\u{2028}', '\u{200b}', '\u{feff}', '\u{e0041}'] {
        assert_eq!(passed_however_cut(format!("a{steers}b").as_bytes()), "ab", "{steers:?}");
    }
    let family = "👨\u{200d}👩\u{200d}👧";
    assert_eq!(passed_however_cut(family.as_bytes()), family);
}

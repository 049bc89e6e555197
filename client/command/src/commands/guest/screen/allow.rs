//! Which sequences a guest may send to a terminal. Pure, but that it notes what is left changed.
//!
//! Sources: xterm's ctlseqs (<https://invisible-island.net/xterm/ctlseqs/ctlseqs.html>) and
//! ECMA-48. Left out on purpose, because the terminal answers: DA (`c`), DSR (`n`), DECREQTPARM
//! (`x`), DECRQM (`$p`), DECRQCRA (`*y`), XTVERSION (`>q`), the keyboard protocol (`?u`), mouse and
//! focus reports (modes 1000 to 1016); because it acts: windows and titles (`t`), printing (`i`),
//! locking the keyboard (mode 2), lights (`q`), and the switch out of UTF-8 (`ESC %`); because it
//! takes what others have written: a full reset (`ESC c`), which clears the lines that were
//! scrolled away and the tab stops with the screen, and the pattern of E (`ESC # 8`); and because
//! it changes what the keys of the next program mean: new line (mode 20), by which Enter sends two
//! characters. Programs ask for none of these but `reset`, which also sends what is let through.

use super::Left;

/// The largest number in a sequence: beyond it terminals repeat or scroll for seconds.
const LARGEST: u16 = 9999;

/// Private modes that may be set and reset.
const MODES: [u16; 14] = [1, 5, 6, 7, 8, 12, 25, 45, 47, 66, 1047, 1048, 1049, 2004];

/// Whether a mode is set in a terminal that nobody has touched.
pub(super) fn is_usual(mode: u16) -> bool {
    matches!(mode, 7 | 8 | 25)
}

/// A sequence of ESC and one or a few characters.
pub(super) fn escape(sequence: &str, left: &mut Left) -> bool {
    match sequence.as_bytes() {
        // Saves and restores the cursor, moves it, sets a tab stop, one character of another set.
        [_, b'7' | b'8' | b'D' | b'E' | b'H' | b'M' | b'N' | b'O'] => true,
        // Which sequences the keypad's keys are.
        [_, b'=' | b'>'] => {
            left.other = true;
            true
        }
        // Which set of characters, such as line drawing.
        [_, b'(' | b')' | b'*' | b'+', b'0' | b'A' | b'B' | b'U' | b'K' | b'<' | b'>'] => {
            left.other = true;
            true
        }
        // Lines of double height and width.
        [_, b'#', b'3'..=b'6'] => true,
        _ => false,
    }
}

/// A sequence that begins with `ESC [`, or what may stay of it.
pub(super) fn control(sequence: &str, left: &mut Left) -> Option<String> {
    let body = sequence.strip_prefix("\x1b[")?;
    let last = body.chars().next_back()?;
    let body = &body[..body.len() - last.len_utf8()];
    let (mark, body) = match body.chars().next() {
        Some(mark @ '<'..='?') => (Some(mark), &body[1..]),
        _ => (None, body),
    };
    let between = body.find(|c| matches!(c, ' '..='/')).unwrap_or(body.len());
    let (numbers, between) = body.split_at(between);
    if !numbers.chars().all(|c| matches!(c, '0'..='9' | ';' | ':')) {
        return None;
    }
    let read = |text: &str| match text {
        "" => Some(0),
        text => text.parse::<u16>().ok().filter(|number| *number <= LARGEST),
    };
    let values: Option<Vec<u16>> = numbers.split([';', ':']).map(read).collect();
    let values = values?;
    let whole = || Some(sequence.to_owned());
    match (mark, between, last) {
        (None, "", 'm') => {
            left.style = true;
            whole()
        }
        // The cursor, erasing, inserting and deleting, scrolling, tab stops, repeating.
        (None, "", '@'..='M' | 'P' | 'S' | 'X' | 'Z' | '`' | 'a' | 'b' | 'd' | 'e' | 'f' | 'g') => {
            whole()
        }
        (Some('?'), "", 'J' | 'K') => whole(),
        // With more numbers it is a mouse's.
        (None, "", 'T') if values.len() == 1 => whole(),
        (None, "", 's' | 'u') if numbers.is_empty() => whole(),
        (None, "", 'r') => {
            left.other = true;
            whole()
        }
        // Insert: the other ANSI modes lock the keyboard, echo, or change what Enter sends. To put
        // new line back is harmless, and consoles of old begin with it.
        (None, "", 'h') if numbers == "4" => {
            left.other = true;
            whole()
        }
        (None, "", 'l') if values.iter().all(|mode| matches!(mode, 4 | 20)) => whole(),
        (Some('?'), "", 'h' | 'l') if !numbers.contains(':') => {
            let kept: Vec<u16> = values.into_iter().filter(|mode| MODES.contains(mode)).collect();
            left.modes.extend(kept.iter().map(|mode| (*mode, last == 'h')));
            let kept: Vec<String> = kept.iter().map(u16::to_string).collect();
            (!kept.is_empty()).then(|| format!("\x1b[?{}{last}", kept.join(";")))
        }
        // The cursor's shape, a soft reset, what selective erasing leaves.
        (None, " ", 'q') | (None, "!", 'p') | (None, "\"", 'q') => whole(),
        _ => None,
    }
}

//! What others say, made fit to keep, show and send on; and how many there are of something.
//!
//! A host's agent is believed about its own host, a guest agent about its own guest; neither is
//! believed to be short or clean. Whatever text of theirs comes in passes here once, at the edge
//! where its message is read: clipped, and freed of characters that would steer a terminal, break a
//! line of a log, or turn the direction of what stands beside them. What is left may still be a
//! lie.

/// Longest sentence, in bytes.
pub const MAX_SENTENCE: usize = 2048;

/// Longest name of a thing on a host: a path, a device, a file.
pub const MAX_NAME: usize = 256;

/// Longest id, reason or other word.
pub const MAX_WORD: usize = 64;

/// Put where a text was cut.
const CUT: &str = "…";

/// Whether a character may not be shown: control characters (C0, DEL, C1), what turns the direction
/// of text (Unicode TR 9), line and paragraph separators, and what is invisible in between.
pub const fn steers(c: char) -> bool {
    matches!(c,
        '\0'..='\x1f' | '\x7f'..='\u{9f}'
        | '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}'
        | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

/// A text of at most `max` bytes in which nothing steers. Line breaks and tabs become spaces, other
/// characters that steer the replacement character. One that is fine already is not copied.
pub fn clean(text: String, max: usize) -> String {
    if text.len() <= max && !text.chars().any(steers) {
        return text;
    }
    let shown = |c| match c {
        '\n' | '\r' | '\t' => ' ',
        c if steers(c) => char::REPLACEMENT_CHARACTER,
        c => c,
    };
    // The replacement is up to three bytes where one was: measured after it.
    let whole: usize = text.chars().take(max + 1).map(|c| shown(c).len_utf8()).sum();
    if whole <= max {
        return text.chars().map(shown).collect();
    }
    let mut cut = String::with_capacity(max);
    for c in text.chars().map(shown) {
        if cut.len() + c.len_utf8() + CUT.len() > max {
            break;
        }
        cut.push(c);
    }
    cut.push_str(CUT);
    cut
}

/// A sentence; see [`clean`].
pub fn sentence(text: String) -> String {
    clean(text, MAX_SENTENCE)
}

/// A name of a thing on a host; see [`clean`].
pub fn name(text: String) -> String {
    clean(text, MAX_NAME)
}

/// An id, a reason or another word; see [`clean`].
pub fn word(text: String) -> String {
    clean(text, MAX_WORD)
}

/// How many of what, in English: `1 VM`, `2 VMs`, `3 entries`, `0 addresses`.
pub fn counted(count: u64, word: &str) -> String {
    if count == 1 {
        return format!("1 {word}");
    }
    match word.strip_suffix('y') {
        Some(stem) if !stem.ends_with(['a', 'e', 'i', 'o', 'u']) => format!("{count} {stem}ies"),
        Some(_) | None if word.ends_with('s') => format!("{count} {word}es"),
        Some(_) | None => format!("{count} {word}s"),
    }
}

#[cfg(test)]
mod tests;

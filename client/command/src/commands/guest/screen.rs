//! What a guest writes, made harmless for the terminal it is shown on.
//!
//! A terminal obeys what it is shown: it answers questions (and the answers are typed into whatever
//! runs next, a shell), changes its title, fills the clipboard, prints. A guest is not to be
//! believed with that. So what goes to a terminal passes a [`Filter`], driven by `console` and
//! `exec`: text, colours, cursor movement, erasing, scrolling, the alternate screen and line
//! drawing go through; every other sequence is dropped whole. The list is of what is allowed, so
//! that a sequence nobody thought of is dropped too. Bytes that are no UTF-8 become U+FFFD: a
//! terminal might take them for eight-bit control characters. `--raw` does without the filter, and
//! a pipe or file gets every byte.
//!
//! The states are those of Paul Williams' parser (<https://vt100.net/emu/dec_ansi_parser>), but a
//! sequence is gathered first and judged when it is whole: what was cut off or is too long was
//! never shown. Nothing is held back but one unfinished sequence of at most [`LONGEST`] bytes.

use std::collections::BTreeMap;
use std::io::{self, IsTerminal};

use banger_proto::words::steers;
use tokio::io::{AsyncWrite, AsyncWriteExt as _};

mod allow;

/// The longest sequence that is let through: a colour in its longest form has 60 bytes.
const LONGEST: usize = 128;

/// The longest string (title, clipboard, picture) that is swallowed. What follows is text again, so
/// that a guest that never ends one does not show nothing for ever.
const LONGEST_STRING: usize = 64 * 1024;

const ESC: char = '\x1b';

/// Where in the language of terminals the stream is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum State {
    #[default]
    Text,
    /// After ESC and what stands between it and its last character.
    Escape,
    /// After `ESC [`.
    Control,
    /// A sequence that is too long, until it ends.
    Ignored,
    /// In a string for the terminal itself, for so many more characters.
    String(usize),
}

/// Lets through what is harmless. One for each stream.
#[derive(Debug, Default)]
pub(crate) struct Filter {
    state: State,
    /// The sequence so far, with its ESC.
    held: String,
    /// Bytes of a character that is not whole yet.
    partial: Vec<u8>,
    left: Left,
}

/// What a guest has changed of the terminal and would leave so.
#[derive(Debug, Default)]
struct Left {
    modes: BTreeMap<u16, bool>,
    style: bool,
    other: bool,
}

impl Filter {
    /// What may be shown of these bytes.
    pub(crate) fn pass(&mut self, bytes: &[u8]) -> Vec<u8> {
        let mut out = String::with_capacity(bytes.len());
        let joined;
        let mut rest = if self.partial.is_empty() {
            bytes
        } else {
            joined = [&std::mem::take(&mut self.partial)[..], bytes].concat();
            &joined[..]
        };
        while !rest.is_empty() {
            let (text, wrong) = match std::str::from_utf8(rest) {
                Ok(text) => (text, None),
                Err(error) => {
                    let valid = &rest[..error.valid_up_to()];
                    // It was just found to be valid.
                    (std::str::from_utf8(valid).unwrap_or_default(), Some(error.error_len()))
                }
            };
            text.chars().for_each(|c| self.take(c, &mut out));
            rest = &rest[text.len()..];
            match wrong {
                None => break,
                // The rest of this character is yet to come.
                Some(None) => {
                    self.partial = rest.to_vec();
                    break;
                }
                Some(Some(length)) => {
                    self.take(char::REPLACEMENT_CHARACTER, &mut out);
                    rest = &rest[length..];
                }
            }
        }
        out.into_bytes()
    }

    /// What puts the terminal back where the guest has left it otherwise. What was not whole by
    /// then is dropped.
    pub(crate) fn end(&mut self) -> Vec<u8> {
        let Left { modes, style, other } = std::mem::take(&mut self.left);
        (self.state, self.partial) = (State::Text, Vec::new());
        self.held.clear();
        let mut out = String::new();
        for (mode, set) in modes {
            if set != allow::is_usual(mode) {
                out += &format!("\x1b[?{mode}{}", if set { 'l' } else { 'h' });
            }
        }
        if other {
            // Character sets, keypad, insert mode, margins, origin; and new line, which a soft
            // reset leaves as it is.
            out += "\x0f\x1b(B\x1b[!p\x1b[20l";
        }
        if style {
            out += "\x1b[0m";
        }
        out.into_bytes()
    }

    fn take(&mut self, c: char, out: &mut String) {
        // These begin, or break off, whatever is under way.
        match c {
            ESC => {
                self.state = State::Escape;
                self.held.clear();
                self.held.push(ESC);
                return;
            }
            '\x18' | '\x1a' => {
                self.state = State::Text;
                return;
            }
            _ => {}
        }
        match self.state {
            State::Text => self.text(c, out),
            State::String(left) => {
                self.state = match (c, left) {
                    ('\x07' | '\u{9c}', _) | (_, 0) => State::Text,
                    (_, left) => State::String(left - 1),
                };
            }
            // A control character in the middle of a sequence: terminals act on it at once. Here
            // the sequence is over.
            State::Escape | State::Control | State::Ignored if c.is_control() => {
                self.state = State::Text;
                self.text(c, out);
            }
            // Nor has a sequence any other character than ASCII.
            State::Escape | State::Control | State::Ignored if !c.is_ascii() => {
                self.state = State::Text;
                self.text(c, out);
            }
            State::Escape => self.escape(c, out),
            State::Control => {
                self.held.push(c);
                if matches!(c, '@'..='~') {
                    self.state = State::Text;
                    if let Some(kept) = allow::control(&self.held, &mut self.left) {
                        out.push_str(&kept);
                    }
                } else if self.held.len() >= LONGEST {
                    self.state = State::Ignored;
                }
            }
            State::Ignored => {
                if matches!(c, '@'..='~') {
                    self.state = State::Text;
                }
            }
        }
    }

    fn text(&mut self, c: char, out: &mut String) {
        match c {
            // Shifts to the other character set and back, as line drawing wants it.
            '\x0e' => self.left.other = true,
            '\x07'..='\x0d' | '\x0f' => {}
            // ENQ asks for the terminal's name, C1 are sequences in one character, the rest is
            // nothing to look at.
            c if c.is_control() => return,
            // Turns the direction of writing, ends a line for some readers, or can't be seen. What
            // joins the parts of one sign (ZWNJ, ZWJ) is text.
            c if steers(c) && !matches!(c, '\u{200c}' | '\u{200d}') => return,
            _ => {}
        }
        out.push(c);
    }

    fn escape(&mut self, c: char, out: &mut String) {
        self.held.push(c);
        match c {
            '[' if self.held.len() == 2 => self.state = State::Control,
            ']' | 'P' | 'X' | '^' | '_' if self.held.len() == 2 => {
                self.state = State::String(LONGEST_STRING);
            }
            // Of old, a title is set so by screen and tmux.
            'k' if self.held.len() == 2 => self.state = State::String(LONGEST_STRING),
            ' '..='/' if self.held.len() < 4 => {}
            _ => {
                self.state = State::Text;
                if allow::escape(&self.held, &mut self.left) {
                    out.push_str(&self.held);
                }
            }
        }
    }
}

/// Standard output or error for what a guest writes: filtered where it is a terminal.
pub(crate) struct Screen<W> {
    to: W,
    filter: Option<Filter>,
}

impl<W: AsyncWrite + Unpin> Screen<W> {
    /// On this stream; with `raw` as it is.
    pub(crate) fn on(to: W, terminal: &impl IsTerminal, raw: bool) -> Self {
        let filter = (terminal.is_terminal() && !raw).then(Filter::default);
        Self { to, filter }
    }

    /// Shows this at once.
    pub(crate) async fn show(&mut self, bytes: &[u8]) -> io::Result<()> {
        match &mut self.filter {
            Some(filter) => self.to.write_all(&filter.pass(bytes)).await?,
            None => self.to.write_all(bytes).await?,
        }
        self.to.flush().await
    }

    /// Leaves the terminal as it was found.
    pub(crate) async fn end(&mut self) -> io::Result<()> {
        if let Some(filter) = &mut self.filter {
            self.to.write_all(&filter.end()).await?;
            self.to.flush().await?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;

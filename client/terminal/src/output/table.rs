//! Lays out tables: no borders, so that they can be cut and grepped; states in colour.

use std::io::IsTerminal as _;

use anstyle::{AnsiColor, Style};
use banger_client::v1::{HostState, VmState};
use comfy_table::{Cell, Color, ColumnConstraint, ContentArrangement, Table, Width, presets};

use crate::text::clean;

/// How a cell is coloured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tone {
    Plain,
    Good,
    Moving,
    Bad,
    Faint,
}

/// The tone of a VM's state.
pub fn vm_tone(state: VmState) -> Tone {
    match state {
        VmState::Running => Tone::Good,
        VmState::Pending
        | VmState::Preparing
        | VmState::Starting
        | VmState::Stopping
        | VmState::Deleting => Tone::Moving,
        VmState::Crashed | VmState::Failed | VmState::Unknown => Tone::Bad,
        VmState::Stopped | VmState::Deleted => Tone::Faint,
        VmState::Paused | VmState::Unspecified => Tone::Plain,
    }
}

/// The tone of a host's state.
pub fn host_tone(state: HostState) -> Tone {
    match state {
        HostState::Online => Tone::Good,
        HostState::Connecting | HostState::Suspect => Tone::Moving,
        HostState::Offline | HostState::Revoked => Tone::Bad,
        HostState::Unspecified => Tone::Plain,
    }
}

impl Tone {
    /// For text outside tables.
    pub fn style(self) -> Style {
        match self {
            Self::Plain => Style::new(),
            Self::Good => AnsiColor::Green.on_default(),
            Self::Moving => AnsiColor::Yellow.on_default(),
            Self::Bad => AnsiColor::Red.on_default(),
            Self::Faint => Style::new().dimmed(),
        }
    }

    fn apply(self, cell: Cell) -> Cell {
        match self {
            Self::Plain => cell,
            Self::Good => cell.fg(Color::DarkGreen),
            Self::Moving => cell.fg(Color::DarkYellow),
            Self::Bad => cell.fg(Color::DarkRed),
            Self::Faint => cell.fg(Color::DarkGrey),
        }
    }
}

/// One row: text and tone of each cell.
pub type Row = Vec<(String, Tone)>;

/// A cell without a colour.
pub fn plain(text: impl AsRef<str>) -> (String, Tone) {
    (clean(text.as_ref()), Tone::Plain)
}

/// A table with a line of headers.
pub fn columns(headers: &[&str], rows: impl IntoIterator<Item = Row>) -> String {
    let rows: Vec<Row> = rows.into_iter().collect();
    let words: Vec<usize> = words(headers, &rows);
    if width().is_some_and(|terminal| !fits(&words, terminal)) {
        return blocks(headers, rows);
    }
    let mut table = bare();
    table.set_header(headers.iter().copied());
    keep_words(&mut table, &words);
    fill(table, rows)
}

/// A row below the other, each as pairs of header and value: for a terminal in which the words of
/// one row do not fit beside each other. Broken words could be neither read nor copied.
fn blocks(headers: &[&str], rows: Vec<Row>) -> String {
    let block = |row: Row| {
        let named = headers.iter().zip(row);
        fill(bare(), named.map(|(word, cell)| vec![plain(format!("{word}:")), cell]))
    };
    rows.into_iter().map(block).collect::<Vec<_>>().join("\n")
}

/// The longest word of each column.
fn words(headers: &[&str], rows: &[Row]) -> Vec<usize> {
    let columns = headers.iter().enumerate().map(|(at, header)| {
        let cells = rows.iter().filter_map(|row| row.get(at));
        cells.map(|(text, _)| longest_word(text)).fold(longest_word(header), usize::max)
    });
    columns.collect()
}

/// Whether columns of these widths fit beside each other.
fn fits(words: &[usize], terminal: u16) -> bool {
    words.iter().map(|word| word + usize::from(GAP)).sum::<usize>() <= usize::from(terminal)
}

fn longest_word(text: &str) -> usize {
    text.split_whitespace().map(|word| word.chars().count()).max().unwrap_or(0)
}

/// Has each column as wide as its longest word; whether the terminal is wide enough for that was
/// looked at before.
fn keep_words(table: &mut Table, words: &[usize]) {
    let widths: Vec<u16> =
        words.iter().map(|word| u16::try_from(*word).unwrap_or(u16::MAX)).collect();
    if width().is_none() {
        return;
    }
    let constraints = widths
        .iter()
        .map(|width| ColumnConstraint::LowerBoundary(Width::Fixed(width.saturating_add(GAP))));
    table.set_constraints(constraints);
}

/// Pairs of a word and its value; pairs without a value are left out.
pub fn pairs(pairs: impl IntoIterator<Item = (&'static str, Option<(String, Tone)>)>) -> String {
    let rows = pairs
        .into_iter()
        .filter_map(|(word, value)| Some(vec![(format!("{word}:"), Tone::Plain), value?]));
    fill(bare(), rows)
}

/// Blanks between columns.
const GAP: u16 = 3;

/// The narrowest terminal that tables are fitted to; below it they would be columns of letters.
const NARROWEST: u16 = 40;

/// How wide the terminal is that tables go to, if it is one.
fn width() -> Option<u16> {
    let out = std::io::stdout();
    let size = out.is_terminal().then(|| rustix::termios::tcgetwinsize(&out).ok()).flatten()?;
    (size.ws_col > 0).then(|| size.ws_col.max(NARROWEST))
}

fn bare() -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    match width() {
        // Nothing is cut off: what does not fit goes on in the next line of its cell.
        Some(width) => {
            table.set_content_arrangement(ContentArrangement::Dynamic);
            table.set_width(width);
        }
        // A pipe has no width, and a row there is one line.
        None => {
            table.set_content_arrangement(ContentArrangement::Disabled);
        }
    }
    // Colours are taken out again when it is printed where there should be none.
    table.enforce_styling();
    table.style_text_only();
    table
}

fn fill(mut table: Table, rows: impl IntoIterator<Item = Row>) -> String {
    for row in rows {
        table.add_row(row.into_iter().map(|(text, tone)| tone.apply(Cell::new(text))));
    }
    for column in table.column_iter_mut() {
        column.set_padding((0, GAP));
    }
    let mut text: String = table.lines().map(|line| line.trim_end().to_owned() + "\n").collect();
    if text.trim().is_empty() {
        text.clear();
    }
    text
}

#[cfg(test)]
mod tests;

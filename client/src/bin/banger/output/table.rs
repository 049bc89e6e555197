//! Lays out tables: no borders, so that they can be cut and grepped; states in colour.

use anstyle::{AnsiColor, Style};
use banger_client::v1::{HostState, VmState};
use comfy_table::{Cell, Color, ContentArrangement, Table, presets};

use super::text::clean;

/// How a cell is coloured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tone {
    Plain,
    Good,
    Moving,
    Bad,
    Faint,
}

/// The tone of a VM's state.
pub(crate) fn vm_tone(state: VmState) -> Tone {
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
pub(crate) fn host_tone(state: HostState) -> Tone {
    match state {
        HostState::Online => Tone::Good,
        HostState::Connecting | HostState::Suspect => Tone::Moving,
        HostState::Offline => Tone::Bad,
        HostState::Unspecified => Tone::Plain,
    }
}

impl Tone {
    /// For text outside tables.
    pub(crate) fn style(self) -> Style {
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
pub(crate) type Row = Vec<(String, Tone)>;

/// A cell without a colour.
pub(crate) fn plain(text: impl AsRef<str>) -> (String, Tone) {
    (clean(text.as_ref()), Tone::Plain)
}

/// A table with a line of headers.
pub(crate) fn columns(headers: &[&str], rows: impl IntoIterator<Item = Row>) -> String {
    let mut table = bare();
    table.set_header(headers.iter().copied());
    fill(table, rows)
}

/// Pairs of a word and its value; pairs without a value are left out.
pub(crate) fn pairs(
    pairs: impl IntoIterator<Item = (&'static str, Option<(String, Tone)>)>,
) -> String {
    let rows = pairs
        .into_iter()
        .filter_map(|(word, value)| Some(vec![(format!("{word}:"), Tone::Plain), value?]));
    fill(bare(), rows)
}

fn bare() -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_content_arrangement(ContentArrangement::Disabled);
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
        column.set_padding((0, 3));
    }
    let mut text: String = table.lines().map(|line| line.trim_end().to_owned() + "\n").collect();
    if text.trim().is_empty() {
        text.clear();
    }
    text
}

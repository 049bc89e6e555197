//! Prints results: `text` makes words of values, `table` lays them out, `proto` is for programs,
//! `vms`, `hosts` and `objects` say which columns there are.

use std::io::Write as _;

use crate::args::Format;
use crate::failure::Failure;

pub(crate) mod hosts;
pub(crate) mod objects;
pub(crate) mod proto;
pub(crate) mod table;
pub(crate) mod text;
pub(crate) mod vms;

use proto::Described;

/// Writes results to standard output in the format that was asked for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Printer {
    format: Format,
}

impl Printer {
    pub(crate) const fn new(format: Format) -> Self {
        Self { format }
    }

    pub(crate) const fn format(self) -> Format {
        self.format
    }

    /// One result, whole: for people as `table`, for scripts as `names`, for programs as the
    /// message itself.
    pub(crate) fn whole<M: Described>(
        self,
        message: &M,
        names: impl FnOnce(&M) -> Vec<String>,
        table: impl FnOnce(&M) -> String,
    ) -> Result<(), Failure> {
        let text = match self.format {
            Format::Table => table(message),
            Format::Name => names(message).iter().map(|name| text::clean(name) + "\n").collect(),
            Format::Json => proto::json(message, true)? + "\n",
            Format::Yaml => proto::yaml(message)?,
        };
        self.raw(&text)
    }

    /// One result of a stream: JSON on one line, YAML as a document of its own.
    pub(crate) fn part<M: Described>(
        self,
        message: &M,
        name: impl FnOnce(&M) -> String,
        line: impl FnOnce(&M) -> String,
    ) -> Result<(), Failure> {
        let text = match self.format {
            Format::Table => line(message),
            Format::Name => text::clean(&name(message)) + "\n",
            Format::Json => proto::json(message, false)? + "\n",
            Format::Yaml => format!("---\n{}", proto::yaml(message)?),
        };
        self.raw(&text)
    }

    /// Text as it is. Colours go only to a terminal, and not with NO_COLOR.
    pub(crate) fn raw(self, text: &str) -> Result<(), Failure> {
        let mut out = anstream::stdout().lock();
        out.write_all(text.as_bytes())?;
        out.flush()?;
        Ok(())
    }

    /// A remark for people that is not part of the result.
    pub(crate) fn note(self, text: &str) {
        if self.format == Format::Table {
            // Where standard error is closed nobody wants remarks.
            let _ = writeln!(anstream::stderr(), "{text}");
        }
    }
}

#[cfg(test)]
mod tests;

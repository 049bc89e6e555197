//! Prints results: `table` lays values out that [`crate::text`] has made words of, `proto` is for
//! programs. Which columns there are, each command says itself.

use std::io::Write as _;

use crate::args::Format;
use crate::failure::Failure;
use crate::text;

pub mod proto;
pub mod table;

use proto::Described;

/// Writes results to standard output in the format that was asked for.
#[derive(Debug, Clone, Copy)]
pub struct Printer {
    format: Format,
}

impl Printer {
    pub const fn new(format: Format) -> Self {
        Self { format }
    }

    pub const fn format(self) -> Format {
        self.format
    }

    /// One result, whole: for people as `table`, for scripts as `names`, for programs as the
    /// message itself.
    pub fn whole<M: Described>(
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
    pub fn part<M: Described>(
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
    pub fn raw(self, text: &str) -> Result<(), Failure> {
        let mut out = anstream::stdout().lock();
        out.write_all(text.as_bytes())?;
        out.flush()?;
        Ok(())
    }

    /// A remark for people that is not part of the result.
    pub fn note(self, text: &str) {
        if self.format == Format::Table {
            // Where standard error is closed nobody wants remarks.
            let _ = writeln!(anstream::stderr(), "{text}");
        }
    }
}

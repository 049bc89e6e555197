//! What a command did, told as it happens and kept for programs.
//!
//! People read a line when it is done; with `-o json` or `-o yaml` one object comes at the end.
//! That nobody reads any more never stops a command half way.

use serde::Serialize;

use super::guests::{Fate, Guest};
use banger_terminal::args::Format;
use banger_terminal::failure::Failure;
use banger_terminal::output::Printer;
use banger_terminal::text::clean;

/// How a step ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Outcome {
    Done,
    /// Worth knowing, and not in the way.
    Note,
    Failed,
}

#[derive(Debug, Clone, Serialize)]
struct Step {
    outcome: Outcome,
    what: String,
}

#[derive(Debug, Serialize)]
struct VmFate<'a> {
    #[serde(flatten)]
    guest: &'a Guest,
    #[serde(flatten)]
    fate: &'a Fate,
}

/// The journal of one command.
#[derive(Debug)]
pub(super) struct Journal {
    printer: Printer,
    action: &'static str,
    steps: Vec<Step>,
    vms: Vec<(Guest, Fate)>,
    rolled_back: bool,
}

impl Journal {
    /// Keeps the journal of a command, and prints it for programs however that ends.
    pub(super) async fn of(
        printer: Printer,
        action: &'static str,
        command: impl AsyncFnOnce(&mut Self) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        let mut journal = Self::new(printer, action);
        let done = command(&mut journal).await;
        journal.end(done.is_ok())?;
        done
    }

    pub(super) fn new(printer: Printer, action: &'static str) -> Self {
        Self { printer, action, steps: Vec::new(), vms: Vec::new(), rolled_back: false }
    }

    /// Something was done.
    pub(super) fn did(&mut self, what: impl Into<String>) {
        self.add(Outcome::Done, what.into());
    }

    /// Something is worth knowing.
    pub(super) fn note(&mut self, what: impl Into<String>) {
        self.add(Outcome::Note, what.into());
    }

    /// Something did not work.
    pub(super) fn failed(&mut self, what: impl Into<String>) {
        self.add(Outcome::Failed, what.into());
    }

    /// What became of the VMs.
    pub(super) fn vms(&mut self, fates: Vec<(Guest, Fate)>) {
        self.vms = fates;
    }

    /// Everything was put back.
    pub(super) fn rolled_back(&mut self) {
        self.rolled_back = true;
    }

    fn add(&mut self, outcome: Outcome, what: String) {
        if self.printer.format() == Format::Table {
            let mark = match outcome {
                Outcome::Done => "ok    ",
                Outcome::Note => "note  ",
                Outcome::Failed => "FAILED",
            };
            // Whoever is not there to read it does not stop an update.
            let _ = self.printer.raw(&format!("{mark}  {}\n", clean(&what)));
        }
        self.steps.push(Step { outcome, what });
    }

    /// The whole, without how it was marked: for golden texts.
    #[cfg(test)]
    pub(super) fn text(&self) -> String {
        let line = |step: &Step| format!("{:?}: {}\n", step.outcome, step.what);
        self.steps.iter().map(line).collect()
    }

    /// Prints the object for programs.
    fn end(&self, good: bool) -> Result<(), Failure> {
        let value = serde_json::json!({
            "action": self.action,
            "ok": good,
            "rolledBack": self.rolled_back,
            "steps": self.steps,
            "vms": self.vms.iter().map(|(guest, fate)| VmFate { guest, fate }).collect::<Vec<_>>(),
        });
        print(self.printer, &value)
    }
}

/// Prints a value for programs; nothing for people.
pub(super) fn print(printer: Printer, value: &serde_json::Value) -> Result<(), Failure> {
    match printer.format() {
        Format::Table | Format::Name => Ok(()),
        Format::Json => {
            let text = serde_json::to_string_pretty(value).map_err(anyhow::Error::from)?;
            printer.raw(&(text + "\n"))
        }
        Format::Yaml => printer.raw(&yaml_serde::to_string(value).map_err(anyhow::Error::from)?),
    }
}

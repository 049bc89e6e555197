//! `banger-agent doctor`: can this machine run guests, and if not, what is to be done?
//!
//! Driven by an operator before the agent runs, and by `banger dev` to choose between real and
//! simulated guests. It changes nothing that stays: `/dev/kvm` is tried with a guest of a
//! few instructions that is gone at once. Every check says what was found and, when it is not well, the
//! command that mends it. What can go wrong: a check cannot find out; that counts as not well.

use std::path::Path;

use serde::Serialize;

use crate::config::AgentConfig;

mod checks;

/// One finding.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Check {
    /// A short name, the same in every version.
    pub name: &'static str,
    /// All is well.
    pub ok: bool,
    /// Guests cannot run while it is not well.
    pub required: bool,
    /// What was found, in a sentence.
    pub message: String,
    /// What mends it; empty when all is well or nothing can be said.
    pub mend: String,
}

/// All findings.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Diagnosis {
    /// Whether guests can run: every required check is well.
    pub usable: bool,
    /// The checks in order.
    pub checks: Vec<Check>,
}

impl Diagnosis {
    fn of(checks: Vec<Check>) -> Self {
        Self { usable: checks.iter().all(|check| check.ok || !check.required), checks }
    }

    /// For people: one line for each check, and below it what mends it.
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = String::new();
        for check in &self.checks {
            let mark = match (check.ok, check.required) {
                (true, _) => "ok  ",
                (false, true) => "FAIL",
                (false, false) => "warn",
            };
            text.push_str(&format!("{mark}  {:<17}{}\n", check.name, check.message));
            if !check.ok && !check.mend.is_empty() {
                text.push_str(&format!("{:<23}mend: {}\n", "", check.mend));
            }
        }
        let verdict = if self.usable {
            "This machine can run guests."
        } else {
            "This machine cannot run guests; `banger-agent run --simulate` pretends to."
        };
        text.push_str(&format!("\n{verdict}\n"));
        text
    }
}

/// Runs all checks. Must be called within a tokio runtime.
pub async fn diagnose(config: &AgentConfig) -> Diagnosis {
    let machine = checks::Machine::look(config).await;
    Diagnosis::of(machine.checks())
}

/// The directory that would hold `path`: itself or the nearest that is there.
fn existing(path: &Path) -> &Path {
    path.ancestors().find(|path| path.exists()).unwrap_or(Path::new("/"))
}

#[cfg(test)]
mod tests;

//! `banger-agent doctor`: can this machine run guests, and if not, what is to be done?
//!
//! Driven by an operator before the agent runs, and by `banger dev` to choose between real and
//! simulated guests. It changes nothing that stays: `/dev/kvm` is tried with a guest of a
//! few instructions that is gone at once. Every check says what was found and, when it is not well,
//! the command that mends it. What can go wrong: a check cannot find out; that counts as not well.
//!
//! Two kinds: what guests need ([`checks`]), and what Firecracker recommends for hosts in
//! production ([`production`]). The second never keeps a guest from running.

use std::path::Path;

use serde::Serialize;

use crate::config::AgentConfig;

mod checks;
mod gateways;
mod production;

/// One finding.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Check {
    /// A short name, the same in every version.
    pub name: &'static str,
    /// All is well.
    pub ok: bool,
    /// Guests cannot run while it is not well.
    pub required: bool,
    /// A recommendation of Firecracker's for hosts in production, above all for those whose guests
    /// belong to several people.
    pub production: bool,
    /// What was found, in a sentence.
    pub message: String,
    /// What mends it; empty when all is well or nothing can be said.
    pub mend: String,
}

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// All is well.
    Ok,
    /// Guests run, but not as well or as safely as they could.
    Warn,
    /// Guests cannot run.
    Fail,
}

impl Check {
    /// How bad it is.
    #[must_use]
    pub const fn severity(&self) -> Severity {
        match (self.ok, self.required) {
            (true, _) => Severity::Ok,
            (false, true) => Severity::Fail,
            (false, false) => Severity::Warn,
        }
    }
}

/// All findings.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Diagnosis {
    /// Whether guests can run: every required check is well.
    pub usable: bool,
    /// Whether every recommendation for hosts in production is followed.
    pub production_ready: bool,
    /// The checks in order.
    #[serde(serialize_with = "with_severity")]
    pub checks: Vec<Check>,
}

impl Diagnosis {
    fn of(checks: Vec<Check>) -> Self {
        Self {
            usable: checks.iter().all(|check| check.ok || !check.required),
            production_ready: checks.iter().all(|check| check.ok || !check.production),
            checks,
        }
    }

    /// For people: one line for each check, and below it what mends it.
    #[must_use]
    pub fn text(&self) -> String {
        let (production, needed): (Vec<_>, Vec<_>) =
            self.checks.iter().partition(|check| check.production);
        let mut text = lines(&needed);
        if !production.is_empty() {
            text.push_str("\nFirecracker's recommendations for hosts in production:\n");
            text.push_str(&lines(&production));
        }
        let verdict = if self.usable {
            "This machine can run guests."
        } else {
            "This machine cannot run guests; `banger-agent run --simulate` pretends to."
        };
        text.push_str(&format!("\n{verdict}\n"));
        let open = production.iter().filter(|check| !check.ok).count();
        if self.usable && open > 0 {
            let (all, are) = (production.len(), if open == 1 { "is" } else { "are" });
            text.push_str(&format!(
                "{open} of {all} recommendations {are} not followed: not for guests of several \
                 people.\n"
            ));
        }
        text
    }
}

fn lines(checks: &[&Check]) -> String {
    let mut text = String::new();
    for check in checks {
        let mark = match check.severity() {
            Severity::Ok => "ok  ",
            Severity::Fail => "FAIL",
            Severity::Warn => "warn",
        };
        text.push_str(&format!("{mark}  {:<17}{}\n", check.name, check.message));
        if !check.ok && !check.mend.is_empty() {
            text.push_str(&format!("{:<23}mend: {}\n", "", check.mend));
        }
    }
    text
}

/// The checks, each with its severity, so that programs need not know the rule.
fn with_severity<S: serde::Serializer>(checks: &[Check], to: S) -> Result<S::Ok, S::Error> {
    #[derive(Serialize)]
    struct Shown<'a> {
        #[serde(flatten)]
        check: &'a Check,
        severity: Severity,
    }
    to.collect_seq(checks.iter().map(|check| Shown { check, severity: check.severity() }))
}

/// Runs all checks. Must be called within a tokio runtime.
pub async fn diagnose(config: &AgentConfig) -> Diagnosis {
    let machine = checks::Machine::look(config).await;
    let mut checks = machine.checks();
    checks.extend(production::checks(&production::seen::MachineSeen::read(Path::new("/"), config)));
    Diagnosis::of(checks)
}

/// A finding that is no recommendation; what mends it is said only when it is not well.
fn check(name: &'static str, ok: bool, required: bool, message: &str, mend: &str) -> Check {
    let mend = if ok { String::new() } else { mend.to_owned() };
    Check { name, ok, required, production: false, message: message.to_owned(), mend }
}

/// The directory that would hold `path`: itself or the nearest that is there.
fn existing(path: &Path) -> &Path {
    path.ancestors().find(|path| path.exists()).unwrap_or(Path::new("/"))
}

#[cfg(test)]
mod tests;

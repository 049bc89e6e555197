//! Real guests or simulated ones: what was asked for, or what `banger-agent doctor` says.

use std::path::Path;

use super::process;
use banger_terminal::doctor::Doctor;
use banger_terminal::failure::Failure;

/// What the agents are to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Mode {
    pub(super) simulated: bool,
    /// Why, as part of a sentence.
    pub(super) why: String,
}

/// Decides. `state` is where the first agent will keep its things: what the file system there can
/// do is part of what doctor looks at.
pub(super) fn decide(
    agent: &Path,
    config: &Path,
    state: &Path,
    simulate: bool,
    real: bool,
) -> Result<Mode, Failure> {
    if simulate {
        return Ok(Mode { simulated: true, why: "--simulate was given".to_owned() });
    }
    let text = |path: &Path| path.to_string_lossy().into_owned();
    let args = ["doctor", "--json", "--config", &text(config), "--state-dir", &text(state)];
    let output = process::run(agent, &args.map(str::to_owned), &[])?;
    let found = match serde_json::from_slice::<Doctor>(&output.stdout) {
        Ok(doctor) if doctor.usable => Ok(()),
        Ok(doctor) => Err(problems(&doctor)),
        Err(_) => Err("`banger-agent doctor` does not say that this machine can".to_owned()),
    };
    match (found, real) {
        (Ok(()), _) => Ok(Mode { simulated: false, why: "this machine can run guests".to_owned() }),
        (Err(why), false) => Ok(Mode { simulated: true, why }),
        (Err(why), true) => Err(Failure::Other(anyhow::anyhow!(
            "this machine cannot run real guests: {why}; see `banger-agent doctor`, or use --simulate"
        ))),
    }
}

fn problems(doctor: &Doctor) -> String {
    let failed: Vec<_> = doctor
        .checks
        .iter()
        .filter(|check| check.required && !check.ok)
        .map(|check| match (check.name.as_str(), check.message.as_str()) {
            // Part of a sentence, of which the others say themselves what they are about.
            ("root", _) => "you are not root",
            (name, "") => name,
            (_, message) => message,
        })
        .collect();
    match failed[..] {
        [] => "`banger-agent doctor` says that this machine cannot".to_owned(),
        [one] => one.to_owned(),
        [first, ..] => format!("{first} (and {} more)", failed.len() - 1),
    }
}

#[cfg(test)]
mod tests;

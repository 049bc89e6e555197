//! The units as systemd sees them: what is asked, and how the answer is read.

use std::collections::BTreeMap;

use anyhow::bail;

use super::machine::{Call, Machine};
use super::payload::Part;

const PROPERTIES: &str =
    "--property=LoadState,ActiveState,SubState,UnitFileState,MainPID,NeedDaemonReload,NRestarts";

/// One unit (systemctl(1), `show`).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Unit {
    /// Such as "loaded" or "not-found".
    pub(super) load: String,
    /// Such as "active" or "failed".
    pub(super) active: String,
    /// Such as "running" or "auto-restart".
    pub(super) sub: String,
    /// Such as "enabled"; empty when there is no file.
    pub(super) enabled: String,
    /// 0 is none.
    pub(super) main_pid: u32,
    /// The file was changed since it was read.
    pub(super) needs_reload: bool,
}

impl Unit {
    /// Reads `systemctl show`: one `Key=value` a line.
    pub(super) fn parse(text: &str) -> Self {
        let values: BTreeMap<_, _> =
            text.lines().filter_map(|line| line.trim().split_once('=')).collect();
        let value = |key: &str| values.get(key).copied().unwrap_or_default().to_owned();
        Self {
            load: value("LoadState"),
            active: value("ActiveState"),
            sub: value("SubState"),
            enabled: value("UnitFileState"),
            main_pid: value("MainPID").parse().unwrap_or(0),
            needs_reload: value("NeedDaemonReload") == "yes",
        }
    }

    /// Whether somebody wants it to run: what was stopped, or has nothing to run for yet, is left
    /// alone by an update.
    pub(super) fn is_up(&self) -> bool {
        matches!(self.active.as_str(), "active" | "activating" | "reloading" | "failed")
    }
}

/// Asks for a unit.
pub(super) async fn show(machine: &impl Machine, part: Part) -> anyhow::Result<Unit> {
    let said = machine.run(&Call::new("systemctl", &["show", PROPERTIES, part.unit()])).await?;
    if !said.good {
        bail!("systemd does not answer: {}", said.complaint());
    }
    Ok(Unit::parse(&said.out))
}

/// `systemctl …`, which must succeed.
pub(super) async fn systemctl(machine: &impl Machine, args: &[&str]) -> anyhow::Result<()> {
    must(machine, &Call::new("systemctl", args)).await
}

/// Any program, which must succeed.
pub(super) async fn must(machine: &impl Machine, call: &Call) -> anyhow::Result<()> {
    let said = machine.run(call).await?;
    if said.good {
        return Ok(());
    }
    bail!("`{}` failed: {}", call.text(), said.complaint())
}

/// A gauge of a page of metrics: the value of `name` without labels.
pub(super) fn gauge(page: &str, name: &str) -> Option<u64> {
    page.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.trim().parse().ok())
}

/// How many VMs the agent counts, by its page: all with a process.
pub(super) fn vms_with_process(page: &str) -> Option<u64> {
    let counts: Vec<u64> = page
        .lines()
        .filter_map(|line| line.strip_prefix("banger_agent_vms{phase=\""))
        .filter_map(|rest| rest.split_once("\"} "))
        .filter(|(phase, _)| matches!(*phase, "running" | "paused" | "stopping"))
        .filter_map(|(_, count)| count.trim().parse().ok())
        .collect();
    (!counts.is_empty()).then(|| counts.iter().sum())
}

#[cfg(test)]
mod tests;

//! `banger system uninstall`: what was laid down goes, what somebody made of it stays.
//!
//! Refused while VMs run, because nobody would look after them any more; told otherwise, they run
//! on. State stays, unless it is to be purged; that is refused while there are VMs at all, stopped
//! ones too: their disks would go, and the server would never know.

use std::path::{Path, PathBuf};

use super::SYSTEM_DIR;
use super::disk::{Disk, Present};
use super::journal::Journal;
use super::links;
use super::machine::{Call, Machine};
use super::payload::Part;
use super::record::Record;
use super::services::{self, must, systemctl};
use super::settings::Settings;
use super::state::{self, Purged};
use crate::args::UninstallArgs;
use banger_terminal::ask::confirm;
use banger_terminal::failure::Failure;
use banger_terminal::output::Printer;
use banger_terminal::text::counted;

pub(super) async fn uninstall(
    machine: &impl Machine,
    disk: &Disk,
    printer: Printer,
    args: UninstallArgs,
) -> Result<(), Failure> {
    Journal::of(printer, "uninstall", async |journal| run(machine, disk, &args, journal).await)
        .await
}

async fn run(
    machine: &impl Machine,
    disk: &Disk,
    args: &UninstallArgs,
    journal: &mut Journal,
) -> Result<(), Failure> {
    let nothing =
        || Failure::Usage("`banger system install` has laid down nothing here".to_owned());
    // Before anything is made, the lock's directory included.
    Record::load(disk)?.ok_or_else(nothing)?;
    let _turn = disk.turn()?;
    let record = Record::load(disk)?.ok_or_else(nothing)?;
    let mut states = Vec::new();
    for part in Part::ALL {
        states.push((part, Settings::of(disk, part)?.state_dir));
    }
    refuse_for_vms(machine, disk, &states, args)?;
    let what = if args.purge {
        "uninstall banger with all its state and configuration"
    } else {
        "uninstall banger"
    };
    confirm(what, args.yes)?;
    stop(machine, disk, &record, journal).await?;
    remove_files(disk, &record, args.purge, journal)?;
    if disk.is_live() && machine.has_systemd() {
        systemctl(machine, &["daemon-reload"]).await?;
    }
    if args.purge {
        purge(machine, disk, &record, &states, journal).await?;
    } else {
        for (part, dir) in states.iter().filter(|(part, _)| record.parts.contains(part)) {
            journal.note(format!("the state of {} stays in {}", part.program(), dir.display()));
        }
    }
    disk.remove_tree(Path::new(SYSTEM_DIR))?;
    for dir in ["/etc/banger", "/usr/lib/banger"] {
        disk.remove_empty(Path::new(dir))?;
    }
    disk.remove_all_empty(&record.directories)?;
    journal.did("banger is uninstalled; kernel settings stay until the next boot");
    Ok(())
}

fn refuse_for_vms(
    machine: &impl Machine,
    disk: &Disk,
    states: &[(Part, PathBuf)],
    args: &UninstallArgs,
) -> Result<(), Failure> {
    let refuse = |why: String| Err(Failure::Conflict(why));
    for (part, dir) in states {
        if *part != Part::Agent {
            continue;
        }
        let agent = Settings::of(disk, *part)?;
        let running = if disk.is_live() { machine.guests(&agent)?.len() } else { 0 };
        if running > 0 && !args.vms_may_keep_running {
            return refuse(format!(
                "guests run here, those of {}: stop or move them first, or leave them to themselves \
                 with --vms-may-keep-running",
                counted(running as u64, "VM")
            ));
        }
        // Each VM has a directory; the agent's reserve against a full disk lies beside them.
        let all = disk.directories(&dir.join("vms"))?.len();
        if args.purge && all > 0 {
            return refuse(format!(
                "{} has the disks of {}: delete them first, so that the server knows",
                dir.display(),
                counted(all as u64, "VM")
            ));
        }
    }
    Ok(())
}

/// Never the slice: what is in it are the guests.
async fn stop(
    machine: &impl Machine,
    disk: &Disk,
    record: &Record,
    journal: &mut Journal,
) -> anyhow::Result<()> {
    // The agent first: the server still hears from it.
    let parts = record.parts.iter().rev().copied();
    if !disk.is_live() || !machine.has_systemd() {
        // Nothing of it can run as a service.
        let parts: Vec<Part> = parts.collect();
        links::disable(disk, &parts)?;
        journal.did(format!("disabled {}", units_of(&parts)));
        return Ok(());
    }
    let mut there = Vec::new();
    for part in parts {
        if services::show(machine, part).await?.load == "loaded" {
            there.push(part);
        }
    }
    if there.is_empty() {
        return Ok(());
    }
    let mut args = vec!["disable", "--now"];
    args.extend(there.iter().map(|part| part.unit()));
    systemctl(machine, &args).await?;
    let units = units_of(&there);
    journal.did(format!("stopped and disabled {units}"));
    Ok(())
}

fn units_of(parts: &[Part]) -> String {
    parts.iter().map(|part| part.unit()).collect::<Vec<_>>().join(", ")
}

fn remove_files(
    disk: &Disk,
    record: &Record,
    purge: bool,
    journal: &mut Journal,
) -> anyhow::Result<()> {
    for (path, laid_down) in &record.files {
        match disk.look(path)? {
            Present::Absent => {}
            Present::File { sha256, .. } if purge || sha256 == *laid_down => {
                disk.remove(path)?;
                journal.did(format!("removed {}", path.display()));
            }
            Present::File { .. } | Present::Other => {
                journal.note(format!("kept {}: it was changed", path.display()));
            }
        }
    }
    for path in &record.beside {
        // A file of somebody's that was put out of the way is theirs.
        let theirs = path.extension().is_some_and(|extension| extension == "old");
        if purge || !theirs {
            disk.remove(path)?;
        } else {
            journal.note(format!("kept {}: it is from before banger", path.display()));
        }
    }
    Ok(())
}

async fn purge(
    machine: &impl Machine,
    disk: &Disk,
    record: &Record,
    states: &[(Part, PathBuf)],
    journal: &mut Journal,
) -> anyhow::Result<()> {
    for (part, dir) in states {
        if !record.parts.contains(part) {
            continue;
        }
        let Purged { removed, left } = state::purge(disk, *part, dir)?;
        if left.is_empty() && removed {
            journal.did(format!("removed {}", dir.display()));
        } else if removed {
            journal.did(format!("removed what {} kept in {}", part.program(), dir.display()));
        }
        if !left.is_empty() {
            journal.note(format!("kept what banger did not make: {}", named(&left)));
        }
    }
    if disk.is_live() && record.parts.contains(&Part::Server) && has_user(disk)? {
        must(machine, &Call::new("userdel", &["banger"])).await?;
        journal.did("removed the user banger");
    }
    Ok(())
}

/// So many of these paths that a line has room for them.
fn named(paths: &[PathBuf]) -> String {
    const MOST: usize = 10;
    let shown = paths.iter().take(MOST).map(|path| path.display().to_string());
    let mut text = shown.collect::<Vec<_>>().join(", ");
    if let Some(more @ 1..) = paths.len().checked_sub(MOST) {
        text.push_str(&format!(" and {more} more"));
    }
    text
}

/// Whether the server's user is there: an install that ended half way may have made none.
fn has_user(disk: &Disk) -> anyhow::Result<bool> {
    let users = disk.read(Path::new("/etc/passwd"))?.unwrap_or_default();
    Ok(String::from_utf8_lossy(&users).lines().any(|line| line.starts_with("banger:")))
}

#[cfg(test)]
mod tests;

//! `banger system install`: lays a release down, starts its services, and refuses where another
//! runs.

use std::path::Path;

use super::disk::{Disk, Turn};
use super::journal::Journal;
use super::laydown::{self, GUEST, Laydown};
use super::links;
use super::machine::{Call, Machine};
use super::payload::{Kind, Part};
use super::record::Record;
use super::services::{self, must, systemctl};
use super::settings::Settings;
use super::source;
use crate::args::{InstallArgs, Only};
use banger_terminal::doctor::Doctor;
use banger_terminal::failure::Failure;
use banger_terminal::output::Printer;
use banger_terminal::text::counted;

/// Which services are meant.
fn parts(args: &InstallArgs) -> Vec<Part> {
    match args.only {
        Some(Only::Server) => vec![Part::Server],
        Some(Only::Agent) => vec![Part::Agent],
        None => Part::ALL.to_vec(),
    }
}

pub(super) async fn install(
    machine: &impl Machine,
    disk: &Disk,
    printer: Printer,
    args: InstallArgs,
) -> Result<(), Failure> {
    Journal::of(printer, "install", async |journal| {
        run(machine, disk, printer, &args, journal).await
    })
    .await
}

async fn run(
    machine: &impl Machine,
    disk: &Disk,
    printer: Printer,
    args: &InstallArgs,
    journal: &mut Journal,
) -> Result<(), Failure> {
    // Before anything is made, the lock's directory included.
    if disk.is_live() && !machine.has_systemd() {
        return Err(Failure::Usage(
            "systemd does not run this machine, and the services are its units, so that nothing was \
             installed; --root DIR lays them down in an image"
                .to_owned(),
        ));
    }
    let turn = if args.dry_run { None } else { Some(disk.turn()?) };
    let done = lay(machine, disk, printer, args, turn.as_ref(), journal).await;
    if let (Err(_), Some(turn)) = (&done, &turn)
        && Record::load(disk).is_ok_and(|record| record.is_none())
    {
        // Nothing was laid down. Best effort: the error counts.
        let _ = disk.undo_turn(turn);
    }
    done
}

/// Plans, checks and does it.
async fn lay(
    machine: &impl Machine,
    disk: &Disk,
    printer: Printer,
    args: &InstallArgs,
    turn: Option<&Turn>,
    journal: &mut Journal,
) -> Result<(), Failure> {
    let from = source(&args.from)?;
    let release = laydown::release_in(machine, &from).await?;
    let earlier = Record::load(disk)?.unwrap_or_default();
    // Once installed, a part stays until it is uninstalled.
    let mut wanted = parts(args);
    wanted.extend(earlier.parts.iter().filter(|part| !parts(args).contains(part)));
    wanted.sort();
    let plan = Laydown::plan(disk, release, &from, &wanted, &earlier)?;
    plan.check()?;
    if args.dry_run {
        return printer.raw(&plan.text());
    }
    if plan.replaces_programs() && disk.is_live() && anything_runs(machine, &wanted).await? {
        return Err(Failure::Usage(format!(
            "another release runs here: banger system update --from {}",
            from.display()
        )));
    }
    if disk.is_live() {
        for name in laydown::programs(&wanted) {
            let program = from.join(name).to_string_lossy().into_owned();
            must(machine, &Call::new(program, &["--version"])).await?;
        }
        if wanted.contains(&Part::Agent) {
            examine(machine, disk, &from, args.anyway, journal).await?;
        }
    }
    let mut record = plan.record(&wanted, &earlier);
    record.directories.extend(turn.iter().flat_map(|turn| turn.made.iter().cloned()));
    if earlier == Record::default() {
        // Before the first file is: an install that ends half way can be repeated and uninstalled.
        record.save(disk)?;
    }
    plan.apply(disk)?;
    record.save(disk)?;
    for line in &plan.lines {
        journal.did(line.text());
    }
    if wanted.contains(&Part::Server) && !disk.is_there(Path::new(GUEST))? {
        journal.note(format!(
            "{} has no banger-guest, the guest agent: root file systems that are imported get none",
            from.display()
        ));
    }
    settle(machine, disk, &plan, &wanted).await?;
    enable(machine, disk, &wanted, journal).await?;
    if disk.is_live() && !args.no_start {
        start(machine, disk, &wanted, journal).await?;
    }
    Ok(())
}

async fn anything_runs(machine: &impl Machine, parts: &[Part]) -> anyhow::Result<bool> {
    for part in parts {
        if services::show(machine, *part).await?.main_pid != 0 {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Asks the new agent whether guests can run here.
async fn examine(
    machine: &impl Machine,
    disk: &Disk,
    from: &Path,
    anyway: bool,
    journal: &mut Journal,
) -> Result<(), Failure> {
    let program = from.join(Part::Agent.program()).to_string_lossy().into_owned();
    let mut call = Call::new(program, &["doctor", "--json"]);
    if disk.read(Path::new(Part::Agent.config()))?.is_some() {
        call.args.extend(["--config".to_owned(), Part::Agent.config().to_owned()]);
    }
    let said = machine.run(&call).await?;
    let Ok(doctor) = serde_json::from_str::<Doctor>(&said.out) else {
        let why = format!("`{}` cannot be understood: {}", call.text(), said.complaint());
        return Err(Failure::Other(anyhow::anyhow!(why)));
    };
    for check in doctor.checks.iter().filter(|check| check.required && !check.ok) {
        journal.failed(format!("{}: {} (mend: {})", check.name, check.message, check.mend));
    }
    let warnings = doctor.checks.iter().filter(|check| !check.required && !check.ok).count();
    if warnings > 0 {
        journal.note(format!(
            "{}: `banger-agent doctor` tells more",
            counted(warnings as u64, "warning")
        ));
    }
    match (doctor.usable, anyway) {
        (true, _) => journal.did("guests can run here"),
        (false, true) => journal.note("no guest can run here; installed anyway"),
        (false, false) => {
            return Err(Failure::Other(anyhow::anyhow!(
                "no guest can run on this machine, so that nothing was installed; --only server installs \
                 the server alone, --anyway the agent too"
            )));
        }
    }
    Ok(())
}

/// User, directories, kernel settings and units become what their files say. On a machine that
/// does not run, its next boot does it.
pub(super) async fn settle(
    machine: &impl Machine,
    disk: &Disk,
    plan: &Laydown,
    parts: &[Part],
) -> anyhow::Result<()> {
    if disk.is_live() {
        apply_support(machine, parts).await?;
        if plan.changes_kind(Kind::Unit) {
            systemctl(machine, &["daemon-reload"]).await?;
        }
    }
    Ok(())
}

async fn enable(
    machine: &impl Machine,
    disk: &Disk,
    parts: &[Part],
    journal: &mut Journal,
) -> anyhow::Result<()> {
    if disk.is_live() {
        let mut args = vec!["enable"];
        args.extend(parts.iter().map(|part| part.unit()));
        systemctl(machine, &args).await?;
    } else {
        links::enable(disk, parts)?;
    }
    let units: Vec<_> = parts.iter().map(|part| part.unit()).collect();
    journal.did(format!("enabled {}", units.join(", ")));
    Ok(())
}

/// The user, the directories, the kernel's settings.
async fn apply_support(machine: &impl Machine, parts: &[Part]) -> anyhow::Result<()> {
    if parts.contains(&Part::Server) {
        must(machine, &Call::new("systemd-sysusers", &["banger.conf"])).await?;
    }
    if parts.contains(&Part::Agent) {
        must(machine, &Call::new("systemd-tmpfiles", &["--create", "banger.conf"])).await?;
        let sysctl = "/lib/systemd/systemd-sysctl";
        must(machine, &Call::new(sysctl, &["/etc/sysctl.d/60-banger.conf"])).await?;
    }
    Ok(())
}

async fn start(
    machine: &impl Machine,
    disk: &Disk,
    parts: &[Part],
    journal: &mut Journal,
) -> anyhow::Result<()> {
    for part in parts {
        let program = laydown::program_path(part.program()).to_string_lossy().into_owned();
        must(machine, &Call::new(program, &["check-config", "--config", part.config()])).await?;
        systemctl(machine, &["start", part.unit()]).await?;
        let unit = services::show(machine, *part).await?;
        if unit.active == "active" {
            journal.did(format!("{} runs as pid {}", part.unit(), unit.main_pid));
            continue;
        }
        let identity = Settings::of(disk, *part)?.state_dir.join("identity/agent.crt");
        let unjoined = *part == Part::Agent && disk.read(&identity)?.is_none();
        if !unjoined {
            anyhow::bail!("{} is {} ({})", part.unit(), unit.active, unit.sub);
        }
        journal.note(
            "this host has joined no fleet yet: `banger host token` on the server prints the lines \
             that are to be run here",
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests;

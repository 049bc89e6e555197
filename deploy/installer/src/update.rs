//! `banger system update`: other programs and units, the same VMs.
//!
//! ```text
//!  try new programs ─ note VMs ─ save ─ stop server ─ copy database ─ swap files ─ daemon-reload
//!      │                                                                               │
//!      ▼ any "no": nothing was touched            server ready ─ agent ready ─ VMs as before
//!                                                       │ any "no"                     │
//!                                                       ▼                              ▼
//!                          put back ─ agent ─ server ─ look again             keep what was saved
//! ```
//!
//! The server comes first: it takes agents of the version before. Going back is the other way
//! round. The old server is given the database as it is; only when it cannot read what the new one
//! made of it, the copy from before comes back, with a new epoch, and that is said loudly.
//!
//! Only what was running is restarted. What can go wrong: the power fails half way. What was saved
//! stays then, and the next update does not overwrite it.

use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;

use super::disk::{Disk, Present};
use super::guests::{self, Fate, View};
use super::install::settle;
use super::journal::Journal;
use super::laydown::{self, Laydown};
use super::machine::{Call, Machine};
use super::payload::{COMMAND, Part};
use super::record::Record;
use super::services::{self, must, systemctl};
use super::settings::Settings;
use super::source;
use crate::args::UpdateArgs;
use banger_terminal::failure::Failure;
use banger_terminal::output::Printer;
use banger_terminal::text::counted;

mod saved;
mod watch;

use saved::Saved;
use watch::Watch;

pub(super) async fn update(
    machine: &impl Machine,
    disk: &Disk,
    printer: Printer,
    args: UpdateArgs,
) -> Result<(), Failure> {
    Journal::of(printer, "update", async |journal| {
        run(machine, disk, printer, &args, journal).await
    })
    .await
}

async fn run(
    machine: &impl Machine,
    disk: &Disk,
    printer: Printer,
    args: &UpdateArgs,
    journal: &mut Journal,
) -> Result<(), Failure> {
    // Before anything is made, the lock's directory included.
    let parts = installed(disk)?;
    if parts.is_empty() {
        return Err(Failure::Usage(
            "nothing is installed here: `banger system install` comes first".to_owned(),
        ));
    }
    let _turn = if args.dry_run { None } else { Some(disk.turn()?) };
    let from = source(&args.from)?;
    let release = laydown::release_in(machine, &from).await?;
    let earlier = Record::load(disk)?.unwrap_or_default();
    let plan = Laydown::plan(disk, release, &from, &parts, &earlier)?;
    plan.check()?;
    if args.dry_run {
        return printer.raw(&plan.text());
    }
    if !disk.is_live() {
        plan.apply(disk)?;
        plan.record(&parts, &earlier).save(disk)?;
        plan.lines.iter().for_each(|line| journal.did(line.text()));
        settle(machine, disk, &plan, &parts).await?;
        return Ok(());
    }
    let update = Update { machine, disk, plan, parts, limit: args.timeout };
    if !update.plan.changes() && !update.something_is_older().await? {
        journal.note(format!(
            "programs and units are those of {} already; another release is named by --from",
            from.display()
        ));
        return Ok(());
    }
    update.run(&from, &earlier, journal).await
}

/// The services whose programs are here.
fn installed(disk: &Disk) -> anyhow::Result<Vec<Part>> {
    let mut parts = Vec::new();
    for part in Part::ALL {
        if disk.look(&laydown::program_path(part.program()))? != Present::Absent {
            parts.push(part);
        }
    }
    Ok(parts)
}

/// One update of a machine that runs.
pub(super) struct Update<'a, M> {
    pub(super) machine: &'a M,
    pub(super) disk: &'a Disk,
    pub(super) plan: Laydown,
    pub(super) parts: Vec<Part>,
    pub(super) limit: Duration,
}

impl<M: Machine> Update<'_, M> {
    /// Whether a service runs another program than the one that lies there.
    async fn something_is_older(&self) -> anyhow::Result<bool> {
        for part in &self.parts {
            let unit = services::show(self.machine, *part).await?;
            let program = laydown::program_path(part.program());
            if unit.main_pid != 0 && self.machine.runs(unit.main_pid, &program) == Some(false) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    pub(super) async fn run(
        &self,
        from: &Path,
        earlier: &Record,
        journal: &mut Journal,
    ) -> Result<(), Failure> {
        self.try_programs(from, journal).await.context("nothing was changed")?;
        let mut up = Vec::new();
        for part in &self.parts {
            if services::show(self.machine, *part).await?.is_up() {
                up.push(*part);
            } else {
                journal.note(format!("{} does not run, and is not started", part.unit()));
            }
        }
        let watch = Watch::begin(self.machine, self.disk, &up, self.limit, journal).await?;
        let saved = Saved::take(self.disk, &self.plan, &self.parts)
            .context("what is there could not be saved, so that nothing was changed")?;
        journal.did(format!("saved what is there in {}", saved.place().display()));
        match self.go_forward(&watch, &saved, &up, journal).await {
            Ok(view) => {
                let fates = guests::fates(&watch.before, &view);
                tell(&fates, journal);
                journal.vms(fates);
                self.plan.record(&self.parts, earlier).save(self.disk)?;
                let place = saved.keep(self.disk)?;
                journal.did(format!(
                    "banger {} runs; to go back: banger system update --from {}",
                    self.plan.version(),
                    place.display()
                ));
                Ok(())
            }
            Err(why) => {
                journal.failed(format!("{why:#}"));
                self.go_back(&watch, saved, &up, journal).await.with_context(|| {
                    format!(
                        "the update failed ({why:#}) and so did going back; what was there before \
                         is in {}",
                        saved::PLACE
                    )
                })?;
                Err(Failure::Other(why.context("the update was rolled back")))
            }
        }
    }

    /// A program that does not even tell its version, or does not take the configuration, changes
    /// nothing.
    async fn try_programs(&self, from: &Path, journal: &mut Journal) -> anyhow::Result<()> {
        for name in laydown::programs(&self.parts) {
            let program = from.join(name).to_string_lossy().into_owned();
            let said = self.machine.run(&Call::new(program.clone(), &["--version"])).await?;
            if !said.good {
                anyhow::bail!("{program} does not run: {}", said.complaint());
            }
            let part = self.parts.iter().find(|part| part.program() == name);
            match part {
                Some(part) if self.disk.read(Path::new(part.config()))?.is_some() => {
                    let args = ["check-config", "--config", part.config()];
                    must(self.machine, &Call::new(program.clone(), &args)).await?;
                }
                Some(_) | None => {}
            }
            let version = said.out.trim().trim_start_matches(name).trim().to_owned();
            if name != COMMAND {
                journal.did(format!("{program} runs and says it is {version}"));
            }
        }
        Ok(())
    }

    async fn go_forward(
        &self,
        watch: &Watch,
        saved: &Saved,
        up: &[Part],
        journal: &mut Journal,
    ) -> anyhow::Result<View> {
        let with_server = up.contains(&Part::Server);
        if with_server {
            systemctl(self.machine, &["stop", Part::Server.unit()]).await?;
            let settings = Settings::of(self.disk, Part::Server)?;
            saved.copy_database(self.disk, &settings.state_dir)?;
            journal.did("stopped the server and copied its database");
        }
        self.plan.apply(self.disk)?;
        for line in self.plan.lines.iter().filter(|line| line.changes()) {
            journal.did(line.text());
        }
        settle(self.machine, self.disk, &self.plan, &self.parts).await?;
        if with_server {
            systemctl(self.machine, &["start", Part::Server.unit()]).await?;
            watch.service(self.machine, Part::Server).await?;
            journal.did("the new server is ready");
        }
        if !up.contains(&Part::Agent) {
            return watch.look(self.machine).await;
        }
        systemctl(self.machine, &["restart", Part::Agent.unit()]).await?;
        watch.service(self.machine, Part::Agent).await?;
        journal.did("the new agent is ready");
        watch.vms(self.machine).await
    }

    /// Everything as it was; best effort is not enough here, so the first error is told.
    async fn go_back(
        &self,
        watch: &Watch,
        saved: Saved,
        up: &[Part],
        journal: &mut Journal,
    ) -> anyhow::Result<()> {
        saved.restore(self.disk)?;
        journal.did("put back programs, units and settings");
        systemctl(self.machine, &["daemon-reload"]).await?;
        for part in up.iter().rev() {
            // However often the new one has failed, the old one may start.
            systemctl(self.machine, &["reset-failed", part.unit()]).await?;
            let began = systemctl(self.machine, &["restart", part.unit()]).await;
            let well = match began {
                Ok(()) => watch.service(self.machine, *part).await,
                Err(why) => Err(why),
            };
            match (part, well) {
                (_, Ok(())) => {}
                (Part::Agent, Err(why)) => return Err(why),
                (Part::Server, Err(why)) => {
                    journal.failed(format!("the server of before does not start: {why:#}"));
                    self.restore_database(watch, &saved, journal).await?;
                }
            }
            journal.did(format!("{} is well again", part.unit()));
        }
        let view = watch.look(self.machine).await?;
        let fates = guests::fates(&watch.before, &view);
        tell(&fates, journal);
        journal.vms(fates);
        journal.rolled_back();
        saved.forget(self.disk)
    }

    /// The new server has changed the database so that the old one cannot read it: the copy comes
    /// back, and a new epoch tells the agents that it is the truth.
    async fn restore_database(
        &self,
        watch: &Watch,
        saved: &Saved,
        journal: &mut Journal,
    ) -> anyhow::Result<()> {
        let settings = Settings::of(self.disk, Part::Server)?;
        systemctl(self.machine, &["stop", Part::Server.unit()]).await?;
        saved.restore_database(self.disk, &settings.state_dir)?;
        let program = laydown::program_path(Part::Server.program()).to_string_lossy().into_owned();
        let config = Part::Server.config();
        let args = ["-u", "banger", "--", program.as_str(), "new-epoch", "--config", config];
        must(self.machine, &Call::new("runuser", &args)).await?;
        systemctl(self.machine, &["reset-failed", Part::Server.unit()]).await?;
        systemctl(self.machine, &["start", Part::Server.unit()]).await?;
        watch.service(self.machine, Part::Server).await?;
        journal.note(
            "the database is the copy from before the update: what was asked of the server since \
             then is forgotten",
        );
        Ok(())
    }
}

/// What became of the VMs, for people.
fn tell(fates: &[(guests::Guest, Fate)], journal: &mut Journal) {
    let kept = fates.iter().filter(|(_, fate)| *fate == Fate::Kept).count();
    match (kept, fates.len()) {
        (0, 0) => journal.did("no VM ran"),
        (1, 1) => journal.did("the VM kept its process: same pid, same start"),
        (kept, all) if kept == all => {
            journal.did(format!("all {all} VMs kept their process: same pid, same start"));
        }
        (kept, all) => {
            journal.note(format!("{kept} of {} kept the process it had", counted(all as u64, "VM")))
        }
    }
    for line in guests::text(fates) {
        journal.note(line);
    }
}

#[cfg(test)]
mod tests;

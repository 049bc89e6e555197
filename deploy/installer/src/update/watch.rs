//! Whether a restarted service is well, and whether every VM is as it was.
//!
//! A service is well when systemd calls it active, its process runs the very file that lies there,
//! and its own page answers. An agent has also come back when it counts one more start, and has
//! taken over what runs: by the server's word where the server can be asked, else by its own count.

use std::time::Duration;

use anyhow::bail;
use serde::Deserialize;

use crate::disk::Disk;
use crate::guests::{self, Fate, View};
use crate::journal::Journal;
use crate::laydown;
use crate::machine::{LOOK, Machine};
use crate::payload::Part;
use crate::services::{self, Unit};
use crate::settings::Settings;
use banger_terminal::text::counted;

/// What the agent keeps of who it is.
#[derive(Debug, Deserialize)]
struct Identity {
    host_id: String,
}

/// How things were before.
#[derive(Debug)]
pub(super) struct Watch {
    pub(super) before: View,
    host_id: Option<String>,
    /// The agent's count of its starts, by its own page.
    epoch: Option<u64>,
    with_agent: bool,
    server: Settings,
    agent: Settings,
    looks: u32,
}

impl Watch {
    /// Notes what runs.
    pub(super) async fn begin(
        machine: &impl Machine,
        disk: &Disk,
        up: &[Part],
        limit: Duration,
        journal: &mut Journal,
    ) -> anyhow::Result<Self> {
        let agent = Settings::of(disk, Part::Agent)?;
        let identity = disk.read(&agent.state_dir.join("identity/host.json"))?;
        let identity = identity.and_then(|text| serde_json::from_slice::<Identity>(&text).ok());
        let looks = limit.as_millis() / LOOK.as_millis();
        let mut watch = Self {
            before: View { guests: machine.guests(&agent)?, fleet: None },
            host_id: identity.map(|identity| identity.host_id),
            epoch: None,
            with_agent: up.contains(&Part::Agent),
            server: Settings::of(disk, Part::Server)?,
            agent,
            looks: u32::try_from(looks).unwrap_or(u32::MAX).max(1),
        };
        if watch.with_agent {
            let page = machine.page(watch.agent.metrics, "/metrics").await;
            watch.epoch = page.ok().and_then(|page| services::gauge(&page, "banger_agent_epoch"));
            if let Some(host_id) = &watch.host_id {
                match machine.fleet(host_id).await {
                    Ok(fleet) if fleet.online => watch.before.fleet = Some(fleet),
                    Ok(fleet) => journal.note(format!(
                        "the server says this host is {}: VMs are compared by what the agent says",
                        fleet.state
                    )),
                    Err(why) => journal.note(format!(
                        "the server cannot be asked ({why}): VMs are compared by what the agent says"
                    )),
                }
            }
        }
        journal.did(match watch.before.guests.len() {
            0 => "no VM runs".to_owned(),
            count => format!("noted pid and start of {}", counted(count as u64, "VM")),
        });
        Ok(watch)
    }

    /// Waits until a service is well.
    pub(super) async fn service(&self, machine: &impl Machine, part: Part) -> anyhow::Result<()> {
        let mut last = String::new();
        for _ in 0..self.looks {
            match self.is_well(machine, part).await? {
                Ok(()) => return Ok(()),
                Err(seen) => last = seen,
            }
            machine.pause().await;
        }
        bail!("{} is not well: {last}", part.unit())
    }

    async fn is_well(
        &self,
        machine: &impl Machine,
        part: Part,
    ) -> anyhow::Result<Result<(), String>> {
        let unit @ Unit { main_pid, .. } = &services::show(machine, part).await?;
        if unit.active != "active" || *main_pid == 0 {
            return Ok(Err(format!("it is {} ({})", unit.active, unit.sub)));
        }
        let program = laydown::program_path(part.program());
        if machine.runs(*main_pid, &program) != Some(true) {
            return Ok(Err(format!("pid {main_pid} does not run {}", program.display())));
        }
        let (address, page) = match part {
            Part::Server => (self.server.metrics, "/readyz"),
            Part::Agent => (self.agent.metrics, "/healthz"),
        };
        Ok(machine.page(address, page).await.map(drop))
    }

    /// What runs now.
    pub(super) async fn look(&self, machine: &impl Machine) -> anyhow::Result<View> {
        let guests = machine.guests(&self.agent)?;
        let mut view = View { guests, fleet: None };
        if let (Some(host_id), Some(_)) = (&self.host_id, &self.before.fleet) {
            view.fleet = machine.fleet(host_id).await.ok();
        }
        Ok(view)
    }

    /// Waits until the agent has reported every VM, and fails at once when one is lost.
    pub(super) async fn vms(&self, machine: &impl Machine) -> anyhow::Result<View> {
        let mut last = String::new();
        for _ in 0..self.looks {
            let view = self.look(machine).await?;
            let fates = guests::fates(&self.before, &view);
            // A moment ago somebody may have stopped it: only with the server's word it is lost.
            let certain = self.before.fleet.is_none() || view.fleet.is_some();
            let bad: Vec<_> =
                fates.iter().filter(|(_, f)| f.is_bad() && certain).cloned().collect();
            if !bad.is_empty() && self.reported(machine, &view).await.is_ok() {
                bail!("{}", guests::text(&bad).join("; "));
            }
            let settled = |fate: &Fate| match fate {
                Fate::Kept | Fate::Ended { .. } | Fate::Changed => true,
                Fate::NotReported { .. } | Fate::Lost | Fate::Restarted { .. } => false,
            };
            match self.reported(machine, &view).await {
                Ok(()) if fates.iter().all(|(_, fate)| settled(fate)) => return Ok(view),
                Ok(()) => last = guests::text(&fates).join("; "),
                Err(seen) => last = seen,
            }
            machine.pause().await;
        }
        bail!("the VMs were not reported as before: {last}")
    }

    /// Whether the restarted agent has told what it took over.
    async fn reported(&self, machine: &impl Machine, view: &View) -> Result<(), String> {
        if let Some(before) = &self.before.fleet {
            let Some(fleet) = &view.fleet else {
                return Err("the server cannot be asked".to_owned());
            };
            return match (fleet.online, fleet.epoch > before.epoch) {
                (true, true) => Ok(()),
                (false, _) => Err(format!("the server says this host is {}", fleet.state)),
                (true, false) => Err("the server has not heard of the new agent".to_owned()),
            };
        }
        let page = machine.page(self.agent.metrics, "/metrics").await?;
        let epoch = services::gauge(&page, "banger_agent_epoch");
        if let (Some(before), Some(now)) = (self.epoch, epoch)
            && now <= before
        {
            return Err(format!("the agent still counts {}", counted(now, "start")));
        }
        let running = view.guests.len() as u64;
        match services::vms_with_process(&page) {
            Some(count) if count >= running => Ok(()),
            Some(count) => {
                Err(format!("the agent has taken over {count} of {}", counted(running, "VM")))
            }
            None => Err("the agent does not count its VMs".to_owned()),
        }
    }
}

//! Looking at one VM, and joining what is seen with what was remembered.
//!
//! Driven by the VM's task at the beginning of a pass. Where the process is found alive it is
//! kept; where it is found dead, how it ended decides what that means. What can go wrong: a part
//! of the machine does not answer; then the look says so and nothing is done on its account.

use std::time::Duration;

use super::adopt::{Adoption, adopt};
use super::bounds;
use super::cow::{self, CowLevel};
use super::effect::EffectKind;
use super::exit::{CONSOLE_TAIL, LastWords, exit_from};
use super::machine::Vm;
use super::plan::teardown;
use super::probe::{Eyes, Probe, Seen};
use crate::assignment::{Exit, Record};
use crate::handles::{LoopHandle, ProcessHandle, ProcessIdentity, VmHandles};
use crate::host::{BackingFile, ExitStatus, Heard, LinkName};
use crate::jail::process::{Liveness, ProcessTable, Search, WhyNot, WhyUnclear, vm_alive};
use crate::naming;
use crate::report::phase::{Fault, Reason};

/// How long a whole look may take before it counts as "cannot tell".
const LOOK_LIMIT: Duration = Duration::from_secs(30);

/// How long the end of a process is waited for whose API has just ceased to answer.
const ENDING: Duration = Duration::from_secs(1);

/// How long nothing may come on the console of a dead process until all of it was heard, and how
/// long that is waited for in all.
const CONSOLE_QUIET: Duration = Duration::from_millis(100);
const CONSOLE_LIMIT: Duration = Duration::from_secs(1);

impl Vm {
    /// Looks at everything that matters of this VM and folds what was seen into its memory.
    /// `table` is given at the start of the agent, where one reading of all processes serves
    /// all VMs.
    pub async fn look(&mut self, table: Option<&ProcessTable>) -> Probe {
        let mut probe = self.look_within_limit(table).await;
        if self.is_ending(&probe).await {
            probe = self.look_within_limit(None).await;
        }
        let (unclear, mute) = match &probe {
            Probe::Unclear(_) => (self.memory.unclear + 1, self.memory.mute),
            Probe::Alive(alive) if alive.vmm.present().is_none() => (0, self.memory.mute + 1),
            Probe::Alive(_) | Probe::Dead(_) => (0, 0),
        };
        (self.memory.unclear, self.memory.mute) = (unclear, mute);
        probe
    }

    async fn look_within_limit(&mut self, table: Option<&ProcessTable>) -> Probe {
        match tokio::time::timeout(LOOK_LIMIT, self.look_whole(table)).await {
            Ok(probe) => probe,
            Err(_) => Probe::Unclear(WhyUnclear::Unreadable {
                what: format!("looking took longer than {} s", LOOK_LIMIT.as_secs()),
            }),
        }
    }

    /// Whether a process whose API answered until now is gone within a moment: a VMM that ends
    /// takes its socket away before itself, and that is no fault of its own.
    async fn is_ending(&self, probe: &Probe) -> bool {
        let Probe::Alive(alive) = probe else { return false };
        if alive.vmm.present().is_some() || self.memory.mute > 0 || self.memory.attempt.is_some() {
            return false;
        }
        let ended = self.host().processes.wait_exit(alive.identity.pid, alive.identity.start_ticks);
        matches!(tokio::time::timeout(ENDING, ended).await, Ok(Ok(_)))
    }

    async fn look_whole(&mut self, table: Option<&ProcessTable>) -> Probe {
        let own_table = match table {
            Some(_) => None,
            // A start whose outcome is unknown may have left a process that nothing points to.
            None if self.search_all => ProcessTable::read(&*self.shared.host.processes).await.ok(),
            None => None,
        };
        let hints = self.handles.get();
        let record = self.record.get();
        let shape = record.as_ref().and_then(|record| record.assignment.shape.as_ref());
        let search = Search {
            jail: &self.names.jail,
            user: shape.map(|shape| self.uid(shape)),
            boot_id: &self.shared.boot_id,
            remembered: hints.process.as_ref().map(|process| &process.identity),
            table: table.or(own_table.as_ref()),
        };
        let liveness = vm_alive(self.host(), search).await;
        self.notice(hints, &liveness).await;
        self.looked |= !matches!(liveness, Liveness::CannotTell(_));
        self.search_all = self.search_all && own_table.is_none() && table.is_none();
        let ask_vmm = self.memory.attempt.is_none();
        let handles = self.handles.get();
        let (bridge, host_net) = (self.shared.naming.bridge(), self.shared.network.get());
        // What failed may succeed now: it is tried at once.
        if self.network_changes != host_net.changes {
            self.network_changes = host_net.changes;
            self.memory.network_changed();
        }
        let eyes = Eyes { clash: host_net.clash.as_deref(), ..self.eyes(&handles, &bridge) };
        let probe = eyes.look(liveness, ask_vmm).await;
        let seen = match &probe {
            Probe::Alive(alive) => alive.bounds.present().cloned(),
            Probe::Dead(_) | Probe::Unclear(_) => None,
        };
        self.bounds = match (self.vmm, shape, &seen) {
            (Some(vmm), Some(shape), Some(_)) => {
                Some(bounds::wanted(&self.shared.host, &self.names, shape, vmm).await)
            }
            _ => None,
        };
        self.bounds_seen = seen;
        // The store of a VM that runs is looked at by one for all VMs.
        self.memory.disk = match &probe {
            Probe::Alive(_) => {
                self.fill.get().map(|level| cow::judge(level, &self.shared.settings.disks))
            }
            Probe::Dead(_) | Probe::Unclear(_) => None,
        };
        self.note_seen(&probe);
        probe
    }

    pub(super) fn eyes<'a>(&'a self, handles: &'a VmHandles, bridge: &'a LinkName) -> Eyes<'a> {
        Eyes {
            host: &self.shared.host,
            names: &self.names,
            handles,
            base_held: self.shared.bases.holds(self.id),
            bridge,
            clash: None,
        }
    }

    /// Joins what was remembered with what was found.
    async fn notice(&mut self, hints: VmHandles, liveness: &Liveness) {
        match adopt(hints, liveness, &self.shared.boot_id) {
            Adoption::Keep { handles, corrected } => {
                self.handles.update(|now| *now = handles);
                if !self.looked || corrected {
                    self.find_user().await;
                    self.find_lost_handles().await;
                    let jail = self.host().jails.observe(&self.names.jail).await.ok().flatten();
                    self.vmm = jail.and_then(|jail| jail.vmm);
                    self.adopted_at = Some(self.shared.clock.now());
                    self.memory.restart.alive_since = Some(self.shared.clock.monotonic());
                    tracing::info!(vm = %self.id, corrected, "adopted the running process");
                }
            }
            Adoption::Demote { handles, ended, why } => {
                self.handles.update(|now| *now = handles);
                match ended {
                    Some(ended) => self.process_ended(&ended, &why).await,
                    None if !self.looked => self.ended_while_away(&why).await,
                    None => {}
                }
            }
            Adoption::Unclear { .. } => {}
        }
    }

    /// Asks the kernel as whom the process runs: a hint may be missing, or of an agent that kept
    /// none. A jailer, which is still root, is on the way to the user that it was told.
    async fn find_user(&self) {
        let Some(process) = self.handles.get().process else { return };
        let ProcessIdentity { pid, start_ticks, .. } = process.identity;
        let Ok(Some(facts)) = self.host().processes.observe(pid).await else { return };
        let user = facts.user.filter(|user| *user != 0 && facts.start_ticks == start_ticks);
        self.handles.update(|handles| {
            if let (Some(process), Some(user)) = (&mut handles.process, user) {
                process.user = Some(user);
            }
        });
    }

    /// Looks for what the hints should name and do not, because their file was lost. Nothing hangs
    /// on it but what is shown: a part that can't be seen now stays unnamed.
    async fn find_lost_handles(&self) {
        let known = self.handles.get();
        if known.tap.is_some() && known.snapshot.is_some() && known.cow_loop.is_some() {
            return;
        }
        let Some(record) = self.record.get() else { return };
        let (host, names) = (self.host(), &self.names);
        let tap = host.taps.observe(&names.tap).await.ok().flatten().map(|_| names.tap.clone());
        let snapshot = host.snapshots.observe(&names.snapshot).await.ok().flatten();
        let attached = async |file: BackingFile| {
            let facts = host.loops.observe(&file).await.ok().flatten()?;
            Some(LoopHandle { file, attached: Some((facts.device, facts.backing)) })
        };
        let cow_loop = attached(names.cow()).await;
        let base_loop = match &record.assignment.shape {
            Some(shape) => attached(naming::base(shape.root_image.name.clone())).await,
            None => None,
        };
        self.handles.update(|now| {
            now.tap = now.tap.take().or(tap);
            now.snapshot = now.snapshot.take().or(snapshot.map(|_| names.snapshot.clone()));
            now.cow_loop = now.cow_loop.take().or(cow_loop);
            now.base_loop = now.base_loop.take().or(base_loop);
        });
    }

    async fn process_ended(&mut self, ended: &ProcessHandle, why: &WhyNot) {
        self.adopted_at = None;
        let now = self.shared.clock.monotonic();
        if ended.identity.boot_id != self.shared.boot_id {
            tracing::info!(vm = %self.id, "the host was rebooted; the VM is stopped");
            self.memory.process_gone();
            return;
        }
        // Whatever it ended of: it was to end, and should the hint that we were at it be lost, that
        // is no crash to stay down for. With a failed attempt behind it the process never had a
        // guest.
        let wanted_down = self.record.get().is_some_and(|record| record.must_end());
        let starting = self.memory.attempt.is_some();
        let asked = !starting && (ended.ending || wanted_down || self.memory.failure.is_some());
        let exit = self.exit_of(ended, asked).await;
        tracing::info!(vm = %self.id, %why, asked, exit = exit.message, "the process has ended");
        if starting {
            let step = EffectKind::StartGuest.row().step;
            let fault = Fault::new(Reason::VmmExited, step, exit.message.clone());
            self.memory.exit = Some(exit);
            self.memory.attempt_failed(fault, now);
            self.memory.process_gone();
        } else if asked {
            self.memory.exit = Some(exit);
            self.memory.process_gone();
        } else {
            self.memory.ended_by_itself(exit, now);
        }
    }

    /// A guest that an earlier agent saw running has no process, and the hint to it is lost too:
    /// whatever happened, it is not a guest that was never started.
    async fn ended_while_away(&mut self, why: &WhyNot) {
        let ran = |record: std::sync::Arc<Record>| {
            record.ran_in(&self.shared.boot_id) && !record.must_end()
        };
        if !self.record.get().is_some_and(ran) {
            return;
        }
        let exit = self.exit_by_last_words(ExitStatus::Unknown, false).await;
        tracing::info!(vm = %self.id, %why, exit = exit.message,
            "the process has ended while no agent looked");
        self.memory.ended_by_itself(exit, self.shared.clock.monotonic());
    }

    async fn exit_of(&self, ended: &ProcessHandle, asked: bool) -> Exit {
        let ProcessIdentity { pid, start_ticks, .. } = ended.identity;
        let status = self.host().processes.wait_exit(pid, start_ticks);
        // It is dead, so that this answers at once.
        let status = match tokio::time::timeout(Duration::from_secs(2), status).await {
            Ok(Ok(status)) => status,
            Ok(Err(_)) | Err(_) => ExitStatus::Unknown,
        };
        self.exit_by_last_words(status, asked).await
    }

    async fn exit_by_last_words(&self, status: ExitStatus, asked: bool) -> Exit {
        let log = self.host().outputs.log_tail(&self.names.dir).await.unwrap_or_default();
        let console = if asked { String::new() } else { self.console_end().await };
        let words = LastWords { log: &log, console: &console };
        exit_from(status, words, asked, self.shared.clock.now())
    }

    /// The end of what the guest printed. The collector may still be at the last of it when the
    /// process is dead.
    async fn console_end(&self) -> String {
        let (jail, dir) = (&self.names.jail, &self.names.dir);
        let Ok(mut console) = self.host().outputs.console(jail, dir, CONSOLE_TAIL).await else {
            return String::new();
        };
        let mut text = std::mem::take(&mut console.past);
        let rest = async {
            while let Ok(Some(heard)) =
                tokio::time::timeout(CONSOLE_QUIET, console.live.next()).await
            {
                if let Heard::Bytes(bytes) = heard {
                    text.extend_from_slice(&bytes);
                }
            }
        };
        // A guest that prints for ever is dead by now; its console may not be empty for a while.
        let _ = tokio::time::timeout(CONSOLE_LIMIT, rest).await;
        let from = text.len().saturating_sub(usize::try_from(CONSOLE_TAIL).unwrap_or(usize::MAX));
        String::from_utf8_lossy(&text[from..]).into_owned()
    }

    /// Keeps or lets go of the VM's address, by what there is of it.
    fn hold_address(&self, probe: &Probe) {
        let addresses = &self.shared.addresses;
        let pin = match probe {
            Probe::Alive(alive) => alive.pin.present(),
            Probe::Dead(objects) => match (&objects.pin, &objects.jail) {
                (Seen::Absent, Seen::Absent) => return addresses.release(&self.names.rules),
                (pin, _) => pin.present(),
            },
            Probe::Unclear(_) => None,
        };
        match pin {
            Some(pin) => addresses.keep(pin),
            None => self.keep_address(),
        }
    }

    pub(super) fn note_seen(&mut self, probe: &Probe) {
        self.hold_address(probe);
        let Probe::Dead(objects) = probe else { return };
        if let Some(snapshot) = objects.snapshot.present() {
            self.fill.set(CowLevel::of(snapshot));
        }
        if self.memory.attempt.is_some() {
            return;
        }
        let now = self.shared.clock.monotonic();
        for (effect, why) in teardown::unknown(objects) {
            if self.memory.step_due(effect, now) {
                self.memory.failed(effect, teardown::UNKNOWN_REASON, why, now);
            }
        }
    }
}

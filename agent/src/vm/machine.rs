//! One VM as its task holds it: what is wanted, what is remembered, and the two things the task
//! does with it, planning and performing one effect.
//!
//! Looking is in `look`, showing in `publish`. What can go wrong in an effect is folded into
//! [`Memory`]; nothing here fails.

use std::sync::Arc;

use banger_proto::ids::{Version, VmId};
use jiff::Timestamp;
use tracing::Instrument as _;

use super::apply::{self, Done, Failed, Hands, Learnt};
use super::effect::{Effect, EffectKind};
use super::memory::{Memory, Success};
use super::plan::network::{NetWanted, uid};
use super::plan::{self, Next, Recorded, Wanted};
use super::probe::{Alive, Probe};
use super::record::RecordCell;
use super::shared::{EffectEvent, Shared};
use super::status::Level;
use crate::assignment::{Record, Shape};
use crate::clock::Moment;
use crate::guests::GuestChannel;
use crate::handles::{HandleCache, VmHandles};
use crate::host::{BoundsSeen, Change, Host, JailBounds, VmmKind};
use crate::naming::VmNames;
use crate::report::VmReport;

/// One VM, as its task holds it.
pub struct Vm {
    /// Which.
    pub id: VmId,
    /// Its names.
    pub names: VmNames,
    /// What all share.
    pub shared: Arc<Shared>,
    /// What is wanted.
    pub record: Arc<RecordCell>,
    /// Hints to kernel objects.
    pub handles: HandleCache,
    /// This life's.
    pub memory: Memory,
    /// When the process was taken over.
    pub adopted_at: Option<Timestamp>,
    /// What its process runs under, once that was seen.
    pub(super) vmm: Option<VmmKind>,
    /// What its processes are to be held to, as of the last look at a process.
    pub(super) bounds: Option<JailBounds>,
    /// What they are held to.
    pub(super) bounds_seen: Option<BoundsSeen>,
    /// The directory is removed.
    pub gone: bool,
    pub(super) looked: bool,
    pub(super) search_all: bool,
    pub(super) fill: Level,
    /// How often the network of the host had changed at the last look.
    pub(super) network_changes: u64,
    pub(super) guest: Arc<GuestChannel>,
    pub(super) shown: Option<Arc<VmReport>>,
    seen: Option<Version>,
}

impl Vm {
    /// A VM that was not looked at yet.
    #[must_use]
    pub fn new(
        id: VmId,
        shared: Arc<Shared>,
        record: Arc<RecordCell>,
        hints: VmHandles,
        fill: Level,
        guest: Arc<GuestChannel>,
    ) -> Self {
        Self {
            id,
            names: shared.naming.vm(id),
            shared,
            record,
            handles: HandleCache::new(id, hints),
            memory: Memory::default(),
            adopted_at: None,
            vmm: None,
            bounds: None,
            bounds_seen: None,
            gone: false,
            looked: false,
            search_all: false,
            seen: None,
            fill,
            network_changes: 0,
            guest,
            shown: None,
        }
    }

    /// The machine.
    #[must_use]
    pub fn host(&self) -> &Host {
        &self.shared.host
    }

    /// Lets the next look go through all processes: something of the VM was found that nothing
    /// on disk accounts for.
    pub fn search_everywhere(&mut self) {
        self.search_all = true;
    }

    /// Notes that it has the address of its record, whoever else has it too: before the first look
    /// a process of any VM of which something is here may live, and two records can name one
    /// address.
    pub fn keep_address(&self) {
        let net = self.record.get().and_then(|record| self.network_of(&record));
        if let Some(net) = net {
            self.shared.addresses.keep(&net.pin);
        }
    }

    /// What to do next, given a look.
    #[must_use]
    pub fn plan(&self, record: &Record, probe: &Probe) -> Next {
        let handles = self.handles.get();
        let net = self.network_of(record);
        let wanted = self.wanted(record, net.as_ref());
        let recorded = self.recorded(record, &handles);
        plan::next(&wanted, &recorded, probe, self.shared.clock.monotonic())
    }

    /// A host that was rebooted may have been fenced, and its VMs started elsewhere: there the
    /// server has to speak first, however often the agent starts before it does.
    pub(super) fn may_start(&self, record: &Record) -> bool {
        self.shared.settings.may_start_unasked
            || record.progress.told_in_boot == self.shared.boot_id
    }

    pub(super) fn wanted<'a>(
        &'a self,
        record: &'a Record,
        net: Option<&'a NetWanted>,
    ) -> Wanted<'a> {
        let allocation = self.shared.settings.disks.allocation();
        let wanted = Wanted::of(record, self.may_start(record), net, allocation);
        Wanted { bounds: self.bounds.as_ref(), ..wanted }
    }

    pub(super) fn recorded<'a>(
        &'a self,
        record: &'a Record,
        handles: &'a VmHandles,
    ) -> Recorded<'a> {
        Recorded {
            progress: &record.progress,
            handles,
            memory: &self.memory,
            names: &self.names,
            guest_agent: self.guest.is_reached(),
        }
    }

    /// The network that a guest of this record is to have.
    pub(super) fn network_of(&self, record: &Record) -> Option<NetWanted> {
        let bridge = self.shared.naming.bridge();
        let shape = record.assignment.shape.as_ref()?;
        Some(NetWanted::of(shape, &self.names, bridge, self.uid(shape)))
    }

    /// The user that a VMM of this shape runs as: that of the process that there is, or the one
    /// that the next gets. The base may be another than when the process was started, and its tap
    /// and its pin are for the user that it is.
    pub(super) fn uid(&self, shape: &Shape) -> u32 {
        let process = self.handles.get().process;
        let user = process.and_then(|process| process.user);
        user.unwrap_or_else(|| uid(self.shared.settings.uid_base, shape))
    }

    fn hands<'a>(&'a self, record: &'a Record, net: Option<&'a NetWanted>) -> Hands<'a> {
        Hands {
            vm: self.id,
            host: &self.shared.host,
            names: &self.names,
            settings: &self.shared.settings,
            record,
            notes: &self.record,
            handles: &self.handles,
            net,
            bases: &self.shared.bases,
            addresses: &self.shared.addresses,
            guest: &self.guest,
            boot_id: &self.shared.boot_id,
            clock: &self.shared.clock,
        }
    }

    /// Performs one effect and looks again at what it touched. The outcome, good or bad, is in
    /// the memory; the answer says what to look at next.
    pub async fn perform(&mut self, record: &Record, effect: &Effect, probe: Probe) -> NextLook {
        let (kind, row) = (effect.kind(), effect.kind().row());
        if matches!(probe, Probe::Dead(_)) {
            self.memory.begin(kind);
        }
        if matches!(probe, Probe::Alive(_)) && kind.makes_network() {
            tracing::warn!(vm = %self.id, effect = row.name,
                "the network of a running guest is not as it was made; it is mended");
        }
        let new = probe.lacks_what_is_made_by(kind);
        let started = self.shared.clock.monotonic();
        if let Some(observe) = &self.shared.on_effect {
            observe(row.name, EffectEvent::Begins);
        }
        let span = tracing::info_span!("effect", vm = %self.id, effect = row.name);
        banger_wire::trace::link(&span, &record.assignment.traceparent);
        let net = self.network_of(record);
        let work = apply::apply(self.hands(record, net.as_ref()), effect).instrument(span);
        let outcome = match tokio::time::timeout(row.deadline, work).await {
            Ok(outcome) => outcome,
            Err(_) => Err(Failed {
                reason: row.reason,
                message: format!(
                    "no answer within {} s; whether it was done is unknown",
                    row.deadline.as_secs()
                ),
            }),
        };
        let now = self.shared.clock.monotonic();
        if let Some(observe) = &self.shared.on_effect {
            let (succeeded, took) = (outcome.is_ok(), started.until(now));
            observe(row.name, EffectEvent::Ended { succeeded, took });
        }
        match outcome {
            Ok(Done { change, learnt }) => {
                // A disk that was there is never removed because a later step failed.
                let change = if new { change } else { Change::AlreadySo };
                self.succeeded(record, kind, change, now);
                if let Some(learnt) = learnt {
                    self.learn(learnt);
                }
                self.look_after(kind, probe).await
            }
            Err(failed) => {
                tracing::warn!(vm = %self.id, effect = row.name,
                    reason = failed.reason.as_str(), error = failed.message, "effect failed");
                self.search_all |= kind == EffectKind::Launch;
                self.memory.failed(kind, failed.reason, failed.message, now);
                NextLook::Whole
            }
        }
    }

    fn succeeded(&mut self, record: &Record, effect: EffectKind, change: Change, now: Moment) {
        tracing::debug!(vm = %self.id, effect = effect.row().name, ?change, "effect done");
        let shape = record.assignment.shape.as_ref();
        let metadata = shape.and_then(|shape| shape.metadata_json.as_deref());
        let stop_grace = record.assignment.stop_grace;
        self.memory.done(effect, change, &Success { now, stop_grace, metadata });
    }

    /// Folds in what only the performance of an effect could tell.
    fn learn(&mut self, learnt: Learnt) {
        match learnt {
            Learnt::CanRun(vmm) => {
                if let Some(attempt) = &mut self.memory.attempt {
                    attempt.vmm = Some(vmm);
                }
            }
            Learnt::RootDevice(device) => {
                if let Some(attempt) = &mut self.memory.attempt {
                    attempt.root_device = Some(device);
                }
            }
            Learnt::Launched(vmm) => (self.vmm, self.adopted_at) = (Some(vmm), None),
            Learnt::Level(level) => {
                self.fill.set(level);
            }
            Learnt::Gone => self.gone = true,
        }
    }

    async fn look_after(&mut self, effect: EffectKind, probe: Probe) -> NextLook {
        let Probe::Dead(mut objects) = probe else { return NextLook::Whole };
        let handles = self.handles.get();
        match (effect, &handles.process) {
            // The kernel would say the same for a moment longer that this is the jailer, which has
            // no root of its own yet. What comes next finds out whether it lives.
            (EffectKind::Launch, Some(process)) => {
                let identity = process.identity.clone();
                return NextLook::At(Probe::Alive(Box::new(Alive::launched(identity))));
            }
            (EffectKind::Launch | EffectKind::Kill, _) => return NextLook::Whole,
            _ => {}
        }
        if let Some(part) = effect.row().part {
            let bridge = self.shared.naming.bridge();
            self.eyes(&handles, &bridge).look_again(&mut objects, part).await;
        }
        let probe = Probe::Dead(objects);
        self.note_seen(&probe);
        NextLook::At(probe)
    }

    /// Takes note of a newer assignment. `true` when there is one.
    pub fn notice_assignment(&mut self, record: &Record) -> bool {
        let version = record.assignment.version;
        let newer = self.seen.is_some_and(|seen| seen != version);
        self.seen = Some(version);
        if newer {
            let assignment = &record.assignment;
            let now = self.shared.clock.monotonic();
            self.memory.assignment_changed(assignment.power, assignment.stop_grace, now);
        }
        newer
    }
}

/// What to look at after an effect.
pub enum NextLook {
    /// Everything.
    Whole,
    /// Nothing more: this is what is there now.
    At(Probe),
}

//! One VM as its task holds it: what is wanted, what is remembered, and the two things the task
//! does with it, planning and performing one effect.
//!
//! Looking is in `look`, showing in `publish`. What can go wrong in an effect is folded into
//! [`Memory`]; nothing here fails.

use std::sync::Arc;

use banger_proto::ids::{Version, VmId};
use jiff::Timestamp;
use tracing::Instrument as _;

use super::apply::{self, Failed};
use super::effect::Effect;
use super::memory::{Done, Memory};
use super::phase::Reason;
use super::plan::{self, Next, Recorded, Wanted};
use super::probe::{Alive, Probe};
use super::record::RecordCell;
use super::shared::{EffectEvent, Shared};
use super::status::Level;
use crate::assignment::Record;
use crate::clock::Moment;
use crate::guests::Seat;
use crate::handles::{HandleCache, VmHandles};
use crate::host::{Change, Host, VmmKind};
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
    /// The directory is removed.
    pub gone: bool,
    pub(super) looked: bool,
    pub(super) search_all: bool,
    pub(super) fill: Level,
    pub(super) guest: Arc<Seat>,
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
        guest: Arc<Seat>,
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
            gone: false,
            looked: false,
            search_all: false,
            seen: None,
            fill,
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

    /// What to do next, given a look.
    #[must_use]
    pub fn plan(&self, record: &Record, probe: &Probe) -> Next {
        let handles = self.handles.get();
        let rules = apply::rules_of(self, record);
        let wanted = Wanted::of(record, self.may_start(record), rules.as_ref());
        let recorded = self.recorded(record, &handles);
        plan::next(&wanted, &recorded, probe, self.shared.clock.monotonic())
    }

    /// A host that was rebooted may have been fenced, and its VMs started elsewhere: there the
    /// server has to speak first, however often the agent starts before it does.
    pub(super) fn may_start(&self, record: &Record) -> bool {
        self.shared.settings.may_start_unasked
            || record.progress.told_in_boot == self.shared.boot_id
    }

    pub(super) fn recorded<'a>(
        &'a self,
        record: &'a Record,
        handles: &'a VmHandles,
    ) -> Recorded<'a> {
        Recorded { progress: &record.progress, handles, memory: &self.memory, names: &self.names }
    }

    /// Performs one effect and looks again at what it touched. The outcome, good or bad, is in
    /// the memory; the answer says what to look at next.
    pub async fn perform(&mut self, record: &Record, effect: Effect, probe: Probe) -> Look {
        if matches!(probe, Probe::Dead(_)) {
            self.memory.begin(effect);
        }
        let new = probe.lacks_what_is_made_by(effect);
        let started = self.shared.clock.monotonic();
        if let Some(observe) = &self.shared.on_effect {
            observe(effect.name(), EffectEvent::Begins);
        }
        let span = tracing::info_span!("effect", vm = %self.id, effect = effect.name());
        banger_proto::wire::trace::link(&span, &record.assignment.traceparent);
        let work = apply::apply(self, record, effect).instrument(span);
        let outcome = match tokio::time::timeout(effect.deadline(), work).await {
            Ok(outcome) => outcome,
            Err(_) => Err(Failed {
                reason: Reason::of_step(effect),
                message: format!(
                    "no answer within {} s; whether it was done is unknown",
                    effect.deadline().as_secs()
                ),
            }),
        };
        let now = self.shared.clock.monotonic();
        if let Some(observe) = &self.shared.on_effect {
            let (succeeded, took) = (outcome.is_ok(), started.until(now));
            observe(effect.name(), EffectEvent::Ended { succeeded, took });
        }
        match outcome {
            Ok(change) => {
                // A disk that was there is never removed because a later step failed.
                let change = if new { change } else { Change::AlreadySo };
                self.succeeded(record, effect, change, now);
                self.look_after(effect, probe).await
            }
            Err(failed) => {
                tracing::warn!(vm = %self.id, effect = effect.name(),
                    reason = failed.reason.as_str(), error = failed.message, "effect failed");
                self.search_all |= effect == Effect::Launch;
                self.memory.failed(effect, failed.reason, failed.message, now);
                Look::Whole
            }
        }
    }

    fn succeeded(&mut self, record: &Record, effect: Effect, change: Change, now: Moment) {
        tracing::debug!(vm = %self.id, effect = effect.name(), ?change, "effect done");
        let shape = record.assignment.shape.as_ref();
        let metadata = shape.and_then(|shape| shape.metadata_json.as_deref());
        let stop_grace = record.assignment.stop_grace;
        self.memory.done(effect, change, &Done { now, stop_grace, metadata });
    }

    async fn look_after(&mut self, effect: Effect, probe: Probe) -> Look {
        let Probe::Dead(mut objects) = probe else { return Look::Whole };
        let handles = self.handles.get();
        match (effect, &handles.process) {
            // The kernel would say the same for a moment longer that this is the jailer, which has
            // no root of its own yet. What comes next finds out whether it lives.
            (Effect::Launch, Some(process)) => {
                let identity = process.identity.clone();
                return Look::At(Probe::Alive(Alive::launched(identity)));
            }
            (Effect::Launch | Effect::Kill, _) => return Look::Whole,
            _ => {}
        }
        self.eyes(&handles).look_again(&mut objects, effect).await;
        let probe = Probe::Dead(objects);
        self.note_seen(&probe);
        Look::At(probe)
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
pub enum Look {
    /// Everything.
    Whole,
    /// Nothing more: this is what is there now.
    At(Probe),
}

//! A VM that is to run and has no process: begin from nothing, then build in order. Pure.

use crate::assignment::{RestartPolicy, Shape};
use crate::clock::Moment;
use crate::host::{RootDiskKind, VmmKind};

use super::teardown;
use super::{Next, Recorded, Waiting, Wanted, stays_down, step};
use crate::report::phase::{Fault, Phase, Reason};
use crate::vm::effect::{Effect, EffectKind, RootDisk};
use crate::vm::memory::{Attempt, Memory};
use crate::vm::probe::{Objects, Seen};

/// What to do next towards a running guest.
pub(super) fn next(
    wanted: &Wanted<'_>,
    recorded: &Recorded<'_>,
    objects: &Objects,
    now: Moment,
) -> Next {
    let memory = recorded.memory;
    if let Some(attempt) = &memory.attempt {
        return build(wanted, memory, attempt, objects);
    }
    let policy =
        wanted.assignment.shape.as_ref().map_or(RestartPolicy::Never, |shape| shape.restart);
    // First of all, lest a crash be forgotten if the agent dies during the teardown.
    if let Some(exit) = &memory.ended
        && stays_down(policy, exit.crashed)
        && !wanted.reboot
    {
        return step(recorded, Effect::MarkHalted(exit.clone()), now);
    }
    match (teardown::before_a_start(recorded, objects, now), &memory.failure) {
        (None, _) => {}
        // What failed first is what a person has to know; what is left behind adds to it.
        (Some(Next::Stuck(left)), Some(first)) => {
            return Next::Stuck(Fault {
                left_behind: left.left_behind,
                retry_at: left.retry_at,
                ..first.fault.clone()
            });
        }
        (Some(next), _) => return next,
    }
    if wanted.reboot {
        return step(recorded, Effect::MarkBooted, now);
    }
    // With nothing there is nothing to lose; a disk that is there waits for what replaces it.
    if wanted.new_root_disk && renewal(objects) == Effect::MarkRootDisk {
        return step(recorded, Effect::MarkRootDisk, now);
    }
    if !wanted.may_start {
        return Next::Settled(Phase::Stopped);
    }
    if memory.ended.is_some() {
        if let Some(not_before) = memory.restart.not_before.filter(|at| now < *at) {
            return Next::WaitUntil(not_before, Waiting::Restart);
        }
    } else if let Some(halt) = &recorded.progress.halt
        && halt.boot_number == wanted.assignment.boot_number
        && stays_down(policy, halt.exit.crashed)
    {
        let phase = if halt.exit.crashed { Phase::Crashed } else { Phase::Stopped };
        return Next::Settled(phase);
    }
    if let Some(failure) = &memory.failure
        && failure.fault.retry_at.is_none_or(|retry_at| now < retry_at)
    {
        return Next::Stuck(failure.fault.clone());
    }
    build(wanted, memory, &Attempt::default(), objects)
}

/// The next effect of an attempt: the first of the recipe whose part is not there.
fn build(wanted: &Wanted<'_>, memory: &Memory, attempt: &Attempt, objects: &Objects) -> Next {
    let Some(shape) = &wanted.assignment.shape else {
        return Next::Stuck(Fault::new(
            Reason::Internal,
            EffectKind::CheckImages.row().step,
            "the assignment has no shape",
        ));
    };
    let done = |effect| attempt.done.contains(&effect);
    // Not before the image is known to be there: a mistyped name must not cost a disk.
    if wanted.new_root_disk && done(EffectKind::CheckHost) && done(EffectKind::CheckImages) {
        return Next::Do(renewal(objects));
    }
    let site = Site { wanted, shape, attempt, objects };
    // The first of all, whose answer the others need.
    let Some(vmm) = attempt.vmm else { return Next::Do(Effect::CheckHost) };
    let missing = EffectKind::ALL.iter().find_map(|kind| site.missing(*kind, vmm));
    Next::Do(missing.unwrap_or(Effect::Launch { again: memory.ended.is_some(), vmm }))
}

/// What an attempt stands before.
struct Site<'a> {
    wanted: &'a Wanted<'a>,
    shape: &'a Shape,
    attempt: &'a Attempt,
    objects: &'a Objects,
}

impl Site<'_> {
    /// The effect of this kind, where the part that it makes is not there. One that cannot be
    /// looked at is made once; the verb that makes it is idempotent and its word is taken. A disk's
    /// file is made also over one that is there: it may be shorter than it is to be, or have holes.
    fn missing(&self, kind: EffectKind, vmm: VmmKind) -> Option<Effect> {
        let objects = self.objects;
        let done = self.attempt.done.contains(&kind);
        let lacks = |is_there: Option<bool>| !is_there.unwrap_or(done);
        let unmade = |file: &Seen<u64>| !(done && file.is_there() != Some(false));
        let snapshot = objects.root_disk() == RootDiskKind::Snapshot;
        let allocation = self.wanted.allocation;
        match kind {
            EffectKind::CheckRoom if !done => Some(Effect::CheckRoom(objects.root_disk())),
            EffectKind::BuildJail if !done => {
                self.root_disk().map(|root| Effect::BuildJail { root, vmm })
            }
            EffectKind::MakeCowFile if snapshot && unmade(&objects.cow_file) => {
                Some(Effect::MakeCowFile(allocation))
            }
            EffectKind::CopyRootDisk if !snapshot && unmade(&objects.root_copy) => {
                Some(Effect::CopyRootDisk(allocation))
            }
            EffectKind::MakeWorkDisk
                if self.shape.work_disk_mib > 0 && unmade(&objects.work_file) =>
            {
                Some(Effect::MakeWorkDisk(allocation))
            }
            _ => {
                let missing = match kind {
                    EffectKind::CheckHost
                    | EffectKind::CheckImages
                    | EffectKind::CollectOutputs => !done,
                    EffectKind::AttachBase => snapshot && !(done && objects.base_held),
                    EffectKind::AttachCow => snapshot && lacks(objects.cow_loop.is_there()),
                    EffectKind::CreateSnapshot => snapshot && self.root_disk().is_none(),
                    EffectKind::EnsureBridge => match &objects.bridge {
                        Seen::Present(bridge) => {
                            self.wanted.net.is_some_and(|net| !bridge.fits(&net.bridge))
                        }
                        unseen => lacks(unseen.is_there()),
                    },
                    EffectKind::EnsureTap => lacks(objects.tap.is_there()),
                    EffectKind::PinAddress => match &objects.pin {
                        Seen::Present(pin) => self.wanted.net.is_none_or(|net| net.pin != *pin),
                        unseen => lacks(unseen.is_there()),
                    },
                    EffectKind::EnsureRules => match &objects.rules {
                        Seen::Present(rules) => {
                            self.wanted.net.is_none_or(|net| net.rules != *rules)
                        }
                        unseen => lacks(unseen.is_there()),
                    },
                    _ => false,
                };
                missing.then(|| kind.plain()).flatten()
            }
        }
    }

    /// The root disk as it is, once it is made.
    fn root_disk(&self) -> Option<RootDisk> {
        match (self.objects.root_disk(), &self.objects.snapshot) {
            (RootDiskKind::Copy, _) => Some(RootDisk::Copy),
            (RootDiskKind::Snapshot, Seen::Present(facts)) => Some(RootDisk::Device(facts.device)),
            (RootDiskKind::Snapshot, Seen::Absent) => None,
            (RootDiskKind::Snapshot, Seen::Unknown(_)) => {
                self.attempt.root_device.map(RootDisk::Device)
            }
        }
    }
}

/// The next effect towards a new root disk in place of the one that is there, if any.
fn renewal(objects: &Objects) -> Effect {
    match (&objects.cow_file, &objects.root_copy) {
        (Seen::Present(_) | Seen::Unknown(_), _) => Effect::RemoveCowFile,
        (Seen::Absent, Seen::Present(_) | Seen::Unknown(_)) => Effect::RemoveRootCopy,
        (Seen::Absent, Seen::Absent) => Effect::MarkRootDisk,
    }
}

/// MiB in bytes.
#[must_use]
pub fn bytes_of(mib: u32) -> u64 {
    u64::from(mib) << 20
}

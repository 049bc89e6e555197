//! A VM that is to run and has no process: begin from nothing, then build in order. Pure.

use crate::assignment::RestartPolicy;
use crate::clock::Moment;
use crate::host::RootDiskKind;

use super::teardown;
use super::{Next, Recorded, Waiting, Wanted, stays_down, step};
use crate::vm::effect::Effect;
use crate::vm::memory::Attempt;
use crate::vm::phase::{Fault, Phase, Reason};
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
        return build(wanted, attempt, objects);
    }
    let policy =
        wanted.assignment.shape.as_ref().map_or(RestartPolicy::Never, |shape| shape.restart);
    // First of all, lest a crash be forgotten if the agent dies during the teardown.
    if let Some(exit) = &memory.ended
        && stays_down(policy, exit.crashed)
        && !wanted.reboot
    {
        return step(recorded, Effect::MarkHalted, now);
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
    build(wanted, &Attempt::default(), objects)
}

/// The next effect of an attempt: the first in order whose object is not there. An object that
/// cannot be looked at is made once; the verb that makes it is idempotent and its word is taken.
fn build(wanted: &Wanted<'_>, attempt: &Attempt, objects: &Objects) -> Next {
    let Some(shape) = &wanted.assignment.shape else {
        return Next::Stuck(Fault::new(
            Reason::Internal,
            Effect::CheckImages.step(),
            "the assignment has no shape",
        ));
    };
    let done = |effect| attempt.done.contains(&effect);
    // Not before the image is known to be there: a mistyped name must not cost a disk.
    if wanted.new_root_disk && done(Effect::CheckHost) && done(Effect::CheckImages) {
        return Next::Do(renewal(objects));
    }
    let lacks = |effect, is_there: Option<bool>| !is_there.unwrap_or_else(|| done(effect));
    let snapshot = objects.root_disk() == RootDiskKind::Snapshot;
    let copied = done(Effect::CopyRootDisk) && there(&objects.root_copy) != Some(false);
    let order = [
        (Effect::CheckHost, !done(Effect::CheckHost)),
        (Effect::CheckImages, !done(Effect::CheckImages)),
        (Effect::CheckRoom, !done(Effect::CheckRoom)),
        (Effect::AttachBase, snapshot && !(done(Effect::AttachBase) && objects.base_held)),
        (Effect::CopyRootDisk, !(snapshot || copied)),
        // Also over a disk that is there: it may be shorter than it is to be, or have holes.
        (
            Effect::MakeCowFile,
            snapshot && !(done(Effect::MakeCowFile) && there(&objects.cow_file) != Some(false)),
        ),
        (
            Effect::MakeWorkDisk,
            shape.work_disk_mib > 0
                && !(done(Effect::MakeWorkDisk) && there(&objects.work_file) != Some(false)),
        ),
        (Effect::AttachCow, snapshot && lacks(Effect::AttachCow, there(&objects.cow_loop))),
        (
            Effect::CreateSnapshot,
            snapshot && lacks(Effect::CreateSnapshot, there(&objects.snapshot)),
        ),
        (Effect::EnsureTap, lacks(Effect::EnsureTap, there(&objects.tap))),
        (
            Effect::EnsureRules,
            match &objects.rules {
                Seen::Present(rules) => wanted.rules != Some(rules),
                Seen::Absent => true,
                Seen::Unknown(_) => !done(Effect::EnsureRules),
            },
        ),
        (Effect::BuildJail, !done(Effect::BuildJail)),
        (Effect::CollectOutputs, !done(Effect::CollectOutputs)),
    ];
    let missing = order.into_iter().find_map(|(effect, missing)| missing.then_some(effect));
    Next::Do(missing.unwrap_or(Effect::Launch))
}

/// The next effect towards a new root disk in place of the one that is there, if any.
fn renewal(objects: &Objects) -> Effect {
    match (&objects.cow_file, &objects.root_copy) {
        (Seen::Present(_) | Seen::Unknown(_), _) => Effect::RemoveCowFile,
        (Seen::Absent, Seen::Present(_) | Seen::Unknown(_)) => Effect::RemoveRootCopy,
        (Seen::Absent, Seen::Absent) => Effect::MarkRootDisk,
    }
}

fn there<T>(seen: &Seen<T>) -> Option<bool> {
    match seen {
        Seen::Present(_) => Some(true),
        Seen::Absent => Some(false),
        Seen::Unknown(_) => None,
    }
}

/// MiB in bytes.
#[must_use]
pub fn bytes_of(mib: u32) -> u64 {
    u64::from(mib) << 20
}

//! Taking apart what a VM without a process holds, in the reverse order of building. Pure.
//!
//! A step that failed blocks only what stands on it; the others go on. What remains is named in
//! the fault, is tried again for ever, and is never forgotten.

use crate::clock::Moment;
use crate::vm::effect::Effect;
use crate::vm::memory::Memory;
use crate::vm::phase::{Fault, Reason};
use crate::vm::probe::{self, Objects, Seen};

use super::{Next, Recorded, Waiting};

/// Failures of a step that are waited out in silence; the next one is shown.
const QUIET_FAILURES: u32 = 2;

/// One step of taking apart.
struct Step {
    effect: Effect,
    needed: bool,
    /// What has to be gone before.
    after: &'static [Effect],
}

/// All kernel objects; disks and directory stay. `None` when nothing is left of them.
pub(super) fn kernel_objects(
    recorded: &Recorded<'_>,
    objects: &Objects,
    now: Moment,
) -> Option<Next> {
    first_of(kernel_steps(recorded.memory, objects), recorded, objects, now)
}

/// As [`kernel_objects`], and the files that a failed attempt to start had made.
pub(super) fn before_a_start(
    recorded: &Recorded<'_>,
    objects: &Objects,
    now: Moment,
) -> Option<Next> {
    let mut steps = kernel_steps(recorded.memory, objects);
    let undo = &recorded.memory.undo;
    steps.extend(
        file_steps(objects)
            .into_iter()
            .filter(|step| undo.iter().any(|made| made.opposite() == Some(step.effect))),
    );
    first_of(steps, recorded, objects, now)
}

/// Everything, the record last. `None` never comes while the directory is there: its removal is
/// the last step, and the task ends with it.
pub(super) fn everything(recorded: &Recorded<'_>, objects: &Objects, now: Moment) -> Option<Next> {
    let mut steps = kernel_steps(recorded.memory, objects);
    steps.extend(file_steps(objects));
    steps.push(Step { effect: Effect::RemoveDir, needed: true, after: &EVERYTHING_ELSE });
    first_of(steps, recorded, objects, now)
}

const EVERYTHING_ELSE: [Effect; 10] = [
    Effect::StopOutputs,
    Effect::RemoveJail,
    Effect::RemoveRules,
    Effect::RemoveTap,
    Effect::RemoveSnapshot,
    Effect::DetachCow,
    Effect::ReleaseBase,
    Effect::RemoveCowFile,
    Effect::RemoveRootCopy,
    Effect::RemoveWorkDisk,
];

fn kernel_steps(memory: &Memory, objects: &Objects) -> Vec<Step> {
    vec![
        Step { effect: Effect::StopOutputs, needed: memory.collecting, after: &[] },
        Step { effect: Effect::RemoveJail, needed: !objects.jail.is_absent(), after: &[] },
        Step { effect: Effect::RemoveRules, needed: !objects.rules.is_absent(), after: &[] },
        Step { effect: Effect::RemoveTap, needed: !objects.tap.is_absent(), after: &[] },
        Step { effect: Effect::RemoveSnapshot, needed: !objects.snapshot.is_absent(), after: &[] },
        Step {
            effect: Effect::DetachCow,
            needed: !objects.cow_loop.is_absent(),
            after: &[Effect::RemoveSnapshot],
        },
        Step {
            effect: Effect::ReleaseBase,
            needed: objects.base_held,
            after: &[Effect::RemoveSnapshot],
        },
    ]
}

fn file_steps(objects: &Objects) -> Vec<Step> {
    vec![
        Step {
            effect: Effect::RemoveCowFile,
            needed: !objects.cow_file.is_absent(),
            after: &[Effect::DetachCow, Effect::RemoveSnapshot],
        },
        Step {
            effect: Effect::RemoveRootCopy,
            needed: !objects.root_copy.is_absent(),
            after: &[Effect::RemoveJail],
        },
        Step {
            effect: Effect::RemoveWorkDisk,
            needed: !objects.work_file.is_absent(),
            after: &[Effect::RemoveJail],
        },
    ]
}

fn first_of(
    steps: Vec<Step>,
    recorded: &Recorded<'_>,
    objects: &Objects,
    now: Moment,
) -> Option<Next> {
    let memory = recorded.memory;
    let mut remaining: Vec<Effect> = Vec::new();
    for step in steps {
        if !step.needed {
            continue;
        }
        let blocked = step.after.iter().any(|before| remaining.contains(before));
        if !blocked && memory.step_due(step.effect, now) {
            return Some(Next::Do(step.effect));
        }
        remaining.push(step.effect);
    }
    let failures = || remaining.iter().filter_map(|effect| memory.steps.get(effect));
    let worst = failures().max_by_key(|failure| failure.attempts)?;
    let retry_at = failures().filter_map(|failure| failure.fault.retry_at).min();
    if let (true, Some(retry_at)) = (worst.attempts <= QUIET_FAILURES, retry_at) {
        return Some(Next::WaitUntil(retry_at, Waiting::Retry));
    }
    let left_behind = remaining
        .iter()
        .filter_map(|effect| probe::shown(*effect, recorded.names, objects))
        .collect();
    Some(Next::Stuck(Fault { left_behind, retry_at, ..worst.fault.clone() }))
}

/// The removal whose object could not be looked at, for each such object: the removal counts as
/// failed, so that it is tried again later and not at once for ever.
#[must_use]
pub fn unknown(objects: &Objects) -> Vec<(Effect, String)> {
    fn why<T>(effect: Effect, seen: &Seen<T>) -> Option<(Effect, String)> {
        match seen {
            Seen::Unknown(why) => Some((effect, why.clone())),
            Seen::Present(_) | Seen::Absent => None,
        }
    }
    [
        why(Effect::RemoveJail, &objects.jail),
        why(Effect::RemoveRules, &objects.rules),
        why(Effect::RemoveTap, &objects.tap),
        why(Effect::RemoveSnapshot, &objects.snapshot),
        why(Effect::DetachCow, &objects.cow_loop),
        why(Effect::RemoveCowFile, &objects.cow_file),
        why(Effect::RemoveRootCopy, &objects.root_copy),
        why(Effect::RemoveWorkDisk, &objects.work_file),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// The reason for an object that cannot be looked at.
pub const UNKNOWN_REASON: Reason = Reason::ToolFailed;

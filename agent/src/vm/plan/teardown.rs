//! Taking apart what a VM without a process holds, in the reverse order of building. Pure.
//!
//! A step that failed blocks only what stands on it; the others go on. What remains is named in
//! the fault, is tried again for ever, and is never forgotten.

use crate::clock::Moment;
use crate::report::phase::{Fault, Reason};
use crate::vm::effect::{Effect, EffectKind, Part, removals};
use crate::vm::memory::Memory;
use crate::vm::probe::{self, Objects, Seen};

use super::{Next, Recorded, Waiting};

/// Failures of a step that are waited out in silence; the next one is shown.
const QUIET_FAILURES: u32 = 2;

/// All kernel objects; disks and directory stay. `None` when nothing is left of them.
pub(super) fn kernel_objects(
    recorded: &Recorded<'_>,
    objects: &Objects,
    now: Moment,
) -> Option<Next> {
    first_of(removals().filter(|(_, part)| !part.is_file()), recorded, objects, now)
}

/// As [`kernel_objects`], and the files that a failed attempt to start had made.
pub(super) fn before_a_start(
    recorded: &Recorded<'_>,
    objects: &Objects,
    now: Moment,
) -> Option<Next> {
    let undo = &recorded.memory.undo;
    let undone = |effect: &Effect| undo.iter().any(|made| made.row().undo == Some(effect.kind()));
    let steps = removals().filter(|(effect, part)| !part.is_file() || undone(effect));
    first_of(steps, recorded, objects, now)
}

/// Everything, the record last. `None` never comes while the directory is there: its removal is
/// the last step, and the task ends with it.
pub(super) fn everything(recorded: &Recorded<'_>, objects: &Objects, now: Moment) -> Option<Next> {
    let last = (Effect::RemoveDir, Part::Directory);
    first_of(removals().chain([last]), recorded, objects, now)
}

/// Whether there is something to remove, as far as can be told.
fn is_there(part: Part, memory: &Memory, objects: &Objects) -> bool {
    match part {
        Part::Outputs => memory.collecting || memory.may_collect,
        _ => objects.seen(part).is_none_or(|seen| !seen.is_absent()),
    }
}

/// Whether a part that remains keeps another from being removed.
fn holds(remaining: Part, part: Part) -> bool {
    part == Part::Directory || remaining.stands_on().contains(&part)
}

fn first_of(
    steps: impl Iterator<Item = (Effect, Part)>,
    recorded: &Recorded<'_>,
    objects: &Objects,
    now: Moment,
) -> Option<Next> {
    let memory = recorded.memory;
    let mut remaining: Vec<(EffectKind, Part)> = Vec::new();
    for (effect, part) in steps.filter(|(_, part)| is_there(*part, memory, objects)) {
        let blocked = remaining.iter().any(|(_, remaining)| holds(*remaining, part));
        if !blocked && memory.step_due(effect.kind(), now) {
            return Some(Next::Do(effect));
        }
        remaining.push((effect.kind(), part));
    }
    let failures = || remaining.iter().filter_map(|(effect, _)| memory.steps.get(effect));
    let worst = failures().max_by_key(|failure| failure.attempts)?;
    let retry_at = failures().filter_map(|failure| failure.fault.retry_at).min();
    if let (true, Some(retry_at)) = (worst.attempts <= QUIET_FAILURES, retry_at) {
        return Some(Next::WaitUntil(retry_at, Waiting::Retry));
    }
    let left_behind = remaining
        .iter()
        .filter_map(|(_, part)| probe::shown(*part, recorded.names, objects))
        .collect();
    Some(Next::Stuck(Fault { left_behind, retry_at, ..worst.fault.clone() }))
}

/// The removal whose object could not be looked at, for each such object: the removal counts as
/// failed, so that it is tried again later and not at once for ever.
#[must_use]
pub fn unknown(objects: &Objects) -> Vec<(EffectKind, String)> {
    let why = |(effect, part): (Effect, Part)| match objects.seen(part)? {
        Seen::Unknown(why) => Some((effect.kind(), why)),
        Seen::Present(()) | Seen::Absent => None,
    };
    removals().filter_map(why).collect()
}

/// The reason for an object that cannot be looked at.
pub const UNKNOWN_REASON: Reason = Reason::ToolFailed;

//! What the server would do for a VM now, in words.
//!
//! The decision is the driver's own; only the sentences are made here. Pure.

use banger_proto::ids::{Epoch, Version};
use jiff::Timestamp;

use super::needs::{self, IMAGE_TRANSFER};
use super::plan::{BlockedReason, Decision, Subject, WaitReason, decide};
use crate::model::host::HostView;
use crate::model::intent::Desired;
use crate::model::observed::{Observation, ObservedVm};
use crate::watch::VmRecord;

/// What `ExplainVm` answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Explanation {
    /// `IN_SYNC`, `SEND`, `WAIT`, `BLOCKED` or `FORGET`.
    pub decision: &'static str,
    /// Reason code; empty where the decision says all.
    pub reason: String,
    /// Sentences, the most important first.
    pub sentences: Vec<String>,
}

/// Explains what would be done for a VM, and why.
pub fn explain(record: &VmRecord, epoch: Epoch, now: Timestamp) -> Explanation {
    let intent = &record.intent;
    let name = &intent.name;
    let host = record.host.as_deref();
    let on = host.map_or_else(|| "its host".to_owned(), |h| format!("host {}", h.record.name));
    let subject = Subject { intent, observation: &record.observation };
    let decision = decide(subject, host.map(|host| &host.health), epoch);
    let wanted =
        format!("VM {name} is wanted {} (generation {})", intent.desired, intent.generation);
    let mut explanation = match &decision {
        Decision::InSync => Explanation {
            decision: "IN_SYNC",
            reason: String::new(),
            sentences: vec![format!("{on} has what is wanted; there is nothing to do")],
        },
        Decision::Send(_) if needs::is_shown(record) => Explanation {
            decision: "WAIT",
            reason: IMAGE_TRANSFER.to_owned(),
            sentences: vec![format!("{on} is told as soon as it has the images of VM {name}")],
        },
        Decision::Send(command) => Explanation {
            decision: "SEND",
            reason: String::new(),
            sentences: vec![match &record.observation {
                Observation::Present(vm) => format!(
                    "the agent of {on} holds version {} and is told {}",
                    vm.accepted, command.version
                ),
                Observation::Absent | Observation::Unknown { .. } => {
                    format!(
                        "{on} holds nothing of VM {name} and is told version {}",
                        command.version
                    )
                }
            }],
        },
        Decision::Wait(WaitReason::Unknown(why)) => Explanation {
            decision: "WAIT",
            reason: why.reason().to_owned(),
            sentences: vec![
                format!("nothing is known of VM {name} on {on}: {}", why.sentence()),
                "nothing is sent or concluded until its agent has sent a full inventory".to_owned(),
            ],
        },
        Decision::Wait(WaitReason::AgentAtWork) => Explanation {
            decision: "WAIT",
            reason: "AGENT_AT_WORK".to_owned(),
            sentences: vec![format!("the agent of {on} has been told and is at work")],
        },
        Decision::Wait(WaitReason::AgentRetries) => Explanation {
            decision: "WAIT",
            reason: "AGENT_RETRIES".to_owned(),
            sentences: vec![format!("the agent of {on} failed and will try again by itself")],
        },
        Decision::Blocked(why) => blocked(why, name, &on, epoch, record),
        Decision::Forget => Explanation {
            decision: "FORGET",
            reason: String::new(),
            sentences: vec![format!("nothing of VM {name} is left; its intent is dropped")],
        },
        Decision::Place => Explanation {
            // To its owner it waits, however often the server looks for a host.
            decision: "WAIT",
            reason: intent.pending.map(|why| why.reason().to_owned()).unwrap_or_default(),
            sentences: vec![match intent.pending {
                Some(why) => format!("VM {name} has no host: {}", why.sentence()),
                None => format!("VM {name} has no host yet"),
            }],
        },
    };
    explanation.sentences.push(wanted);
    if let Some(trouble) = &record.trouble {
        if explanation.reason.is_empty() {
            trouble.reason.clone_into(&mut explanation.reason);
        }
        explanation.sentences.push(trouble.message.clone());
    }
    if let Some(vm) = record.seen() {
        explanation.sentences.extend(about_the_sight(vm, now));
    }
    if let Some(host) = host {
        explanation.sentences.push(about_the_host(host, now));
    }
    explanation
}

fn blocked(
    why: &BlockedReason,
    name: &str,
    on: &str,
    epoch: Epoch,
    record: &VmRecord,
) -> Explanation {
    let from_status = |otherwise: &str| match record.status.reason.as_ref() {
        "" => otherwise.to_owned(),
        reason => reason.to_owned(),
    };
    let ours = Version { epoch, generation: record.intent.generation };
    let (reason, sentence) = match why {
        BlockedReason::AgentHasNewer { seen } => (
            "AGENT_HAS_NEWER_GENERATION".to_owned(),
            format!(
                "the agent of {on} holds version {seen}, newer than the server's {ours}: if the \
                 server's store was restored from a backup, raise its epoch"
            ),
        ),
        BlockedReason::AgentGaveUp => (
            from_status("AGENT_GAVE_UP"),
            format!("the agent of {on} failed and won't try again without a change of VM {name}"),
        ),
        BlockedReason::EndedByItself => (
            from_status("ENDED_BY_ITSELF"),
            match record.intent.desired {
                Desired::Running | Desired::Paused => format!(
                    "the process of VM {name} ended by itself and its restart policy leaves it so; \
                     start it again to have it back"
                ),
                Desired::Stopped | Desired::Absent => format!("the process of VM {name} ended"),
            },
        ),
        BlockedReason::ProcessUnclear => (
            "PROCESS_UNCLEAR".to_owned(),
            format!(
                "the agent of {on} can't tell whether the process it found is VM {name}'s, and \
                 touches nothing until it can"
            ),
        ),
    };
    Explanation { decision: "BLOCKED", reason, sentences: vec![sentence] }
}

fn about_the_sight(vm: &ObservedVm, now: Timestamp) -> Vec<String> {
    let mut sentences = vec![format!(
        "seen {} ago: {:?}, holding version {}, done with {}",
        ago(vm.observed_at, now),
        vm.phase,
        vm.accepted,
        vm.settled
    )];
    if let Some(fault) = &vm.fault {
        let step = if fault.step.is_empty() { "a step" } else { fault.step.as_str() };
        sentences.push(format!("{} at {step}: {}", fault.reason, fault.message));
        if !fault.left_behind.is_empty() {
            sentences.push(format!("left behind: {}", fault.left_behind.join(", ")));
        }
    }
    if let Some(at) = vm.next_attempt_at {
        sentences.push(match at > now {
            true => format!("the agent tries again in {}", ago(now, at)),
            false => "the agent tries again now".to_owned(),
        });
    }
    sentences
}

fn about_the_host(host: &HostView, now: Timestamp) -> String {
    let mut sentence = format!("host {} is {}", host.record.name, host.health.state);
    if let Some(seen) = host.health.last_seen {
        sentence.push_str(&format!(", last heard {} ago", ago(seen, now)));
    }
    if !host.health.message.is_empty() {
        sentence.push_str(": ");
        sentence.push_str(&host.health.message);
    }
    sentence
}

/// How long `earlier` is before `later`, in seconds; nothing when it is not.
fn ago(earlier: Timestamp, later: Timestamp) -> String {
    let seconds = later.duration_since(earlier).as_secs().max(0);
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7200 => format!("{} min", seconds / 60),
        _ => format!("{} h", seconds / 3600),
    }
}

#[cfg(test)]
mod tests;

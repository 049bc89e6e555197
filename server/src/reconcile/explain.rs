//! What the next pass does for a VM, in words.
//!
//! The decision comes from the plan that its driver or the placement task goes by, with the same
//! [`Knowledge`]; only the sentences are made here. Changes nothing.

use std::time::Duration;

use banger_proto::ids::{Epoch, Version};
use jiff::Timestamp;
use tokio::time::Instant;

use super::attempts::{Pause, Step};
use super::knowledge::Knowledge;
use super::needs::IMAGE_TRANSFER;
use super::plan::{BlockedReason, Decision, Subject, WaitReason, decide};
use crate::model::host::HostView;
use crate::model::intent::Desired;
use crate::model::ledger::VmRef;
use crate::model::observed::{Observation, ObservedVm};
use crate::watch::VmRecord;

/// What `ExplainVm` answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Explanation {
    /// `IN_SYNC`, `SEND`, `WAIT`, `BLOCKED`, `FORGET` or `GONE`.
    pub decision: &'static str,
    /// Reason code; empty where the decision says all.
    pub reason: String,
    /// Sentences, the most important first.
    pub sentences: Vec<String>,
}

/// Explains a VM that is deleted.
pub fn explain_gone(vm: &VmRef) -> Explanation {
    Explanation {
        decision: "GONE",
        reason: String::new(),
        sentences: vec![format!(
            "VM {vm} is deleted and nothing of it is left; its history says when and by whom"
        )],
    }
}

/// Explains what is done for a VM, and why. `host` is its host as it is known now: the record has
/// it as it was when the VM changed last.
pub fn explain(
    record: &VmRecord,
    host: Option<&HostView>,
    knowledge: &Knowledge,
    now: Timestamp,
) -> Explanation {
    explain_at(record, host, knowledge, now, Instant::now())
}

/// The same at a moment of both clocks.
pub(super) fn explain_at(
    record: &VmRecord,
    host: Option<&HostView>,
    knowledge: &Knowledge,
    now: Timestamp,
    instant: Instant,
) -> Explanation {
    let decision = knowledge.of(host, instant, |known| decide(Subject::of(record), known));
    in_words(record, host, &decision, knowledge.epoch(), now, instant)
}

fn in_words(
    record: &VmRecord,
    host: Option<&HostView>,
    decision: &Decision,
    epoch: Epoch,
    now: Timestamp,
    instant: Instant,
) -> Explanation {
    let intent = &record.intent;
    let name = &intent.name;
    let on = host.map_or_else(|| "its host".to_owned(), |h| format!("host {}", h.record.name));
    let version = Version { epoch, generation: intent.generation };
    let wanted = format!(
        "the desired state of VM {name} is {} (generation {})",
        intent.desired, intent.generation
    );
    let mut explanation = match decision {
        Decision::InSync => Explanation {
            decision: "IN_SYNC",
            reason: String::new(),
            sentences: vec![format!("{on} has what is wanted; there is nothing to do")],
        },
        Decision::Fetch(_, fetch) => Explanation {
            decision: "WAIT",
            reason: IMAGE_TRANSFER.to_owned(),
            sentences: vec![
                format!("{on} is told as soon as it has the images of VM {name}"),
                fetch.message.clone(),
            ],
        },
        Decision::ConfirmGone(_) => Explanation {
            decision: "SEND",
            reason: String::new(),
            sentences: vec![format!(
                "{on} shows nothing of VM {name}; its agent is told {version} and has to confirm \
                 the delete, so that nothing comes late"
            )],
        },
        Decision::WaitUntil { at, step, pause } => Explanation {
            decision: "WAIT",
            reason: match (step, pause) {
                (Step::Send, Pause::NotSeenYet) => "AGENT_AT_WORK".to_owned(),
                (Step::Send, Pause::Failed) => trouble_or("AGENT_DOES_NOT_ANSWER", record),
                (Step::Forget, _) => "STORE_UNAVAILABLE".to_owned(),
            },
            sentences: vec![later(*step, *pause, &on, name, at.duration_since(instant))],
        },
        Decision::Wait(WaitReason::UnderWay) => Explanation {
            decision: "WAIT",
            reason: "AGENT_AT_WORK".to_owned(),
            sentences: vec![match intent.desired {
                Desired::Absent if record.seen().is_none() => {
                    format!("{on} confirms that VM {name} is gone, or its intent is being dropped")
                }
                _ => format!("{on} is being told {version} and has not answered yet"),
            }],
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
            sentences: vec![format!("the agent of {on} failed and will try again")],
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
    // How images stand is in the decision, as it is now.
    let trouble = record.trouble.as_ref().filter(|trouble| trouble.reason != IMAGE_TRANSFER);
    if let Some(trouble) = trouble {
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

fn trouble_or(otherwise: &str, record: &VmRecord) -> String {
    record.trouble.as_ref().map_or(otherwise, |trouble| trouble.reason).to_owned()
}

fn later(step: Step, pause: Pause, on: &str, name: &str, wait: Duration) -> String {
    let then = format!("in {:.1} s", wait.as_secs_f64());
    match (step, pause) {
        (Step::Send, Pause::NotSeenYet) => format!(
            "the agent of {on} has accepted the newest version; if it is not seen to hold it, it \
             is told again {then}"
        ),
        (Step::Send, Pause::Failed) => {
            format!("the last command to the agent of {on} failed; it is sent again {then}")
        }
        (Step::Forget, _) => format!(
            "nothing of VM {name} is left; its intent could not be dropped, which is tried again \
             {then}"
        ),
    }
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
            format!(
                "the process of VM {name} ended on its own and its restart policy leaves it so; \
                 start it again to have it back"
            ),
        ),
        BlockedReason::Degraded => (
            from_status("INTERNAL"),
            format!(
                "VM {name} runs on {on}, and something of it is not as it is to be; the agent \
                 can't mend that while it runs"
            ),
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
        "its host last reported a change {} ago: {:?}, holding version {}, done with {}",
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

//! What is thought of every host for a VM, as a caller may read it.
//!
//! The one place where that is decided: whoever sees hosts is told all of it; a caller of a project
//! whether any host can take the VM, and what of their own wishes speaks against others. What is
//! left on a host, how many there are, or how they compare, says what others have there.

use std::collections::{BTreeMap, BTreeSet};

use banger_proto::v1;

use crate::model::affinity::{AffinityDraft, AffinityRule};
use crate::model::audience::Audience;
use crate::model::placement::{Evaluation, NoHost, Score, Strategy, Unsuitable, Verdict};

/// An evaluation for this caller.
pub fn evaluation(found: &Evaluation, to: Audience) -> v1::PlacementEvaluation {
    let sees_hosts = to.sees_hosts;
    let chosen = found.chosen.as_ref().ok().filter(|_| sees_hosts);
    let suitable = found.verdicts.iter().filter(|one| one.found.is_ok()).count();
    let suitable = if sees_hosts { suitable } else { suitable.min(1) };
    v1::PlacementEvaluation {
        strategy: strategy(Some(found.strategy)).into(),
        chosen_host_id: chosen.map(ToString::to_string).unwrap_or_default(),
        reason: found.chosen.map_or_else(NoHost::reason, |_| "").to_owned(),
        hosts: match sees_hosts {
            true => found.verdicts.iter().map(verdict).collect(),
            false => Vec::new(),
        },
        suitable_hosts: count(suitable),
        objections: match sees_hosts {
            true => objections(&found.verdicts),
            false => own_objections(&found.verdicts),
        },
    }
}

/// An order of filling; `None` is not said.
pub(super) fn strategy(strategy: Option<Strategy>) -> v1::PlacementStrategy {
    match strategy {
        None => v1::PlacementStrategy::Unspecified,
        Some(Strategy::Spread) => v1::PlacementStrategy::Spread,
        Some(Strategy::Pack) => v1::PlacementStrategy::Pack,
    }
}

/// A rule of a VM.
pub(super) fn affinity(rule: &AffinityRule) -> v1::AffinityRule {
    let AffinityDraft { vm_selector, host_selector, topology, anti, weight } = rule.draft();
    v1::AffinityRule { vm_selector, host_selector, topology, anti, weight }
}

fn verdict(verdict: &Verdict) -> v1::HostVerdict {
    let Verdict { host, name, found } = verdict;
    let score = found.as_ref().ok();
    v1::HostVerdict {
        host_id: host.to_string(),
        host_name: name.clone(),
        suitable: score.is_some(),
        objections: found.as_ref().err().into_iter().flatten().map(objection).collect(),
        score: score.map_or(0, |score| score.total()),
        score_parts: score.map(parts).unwrap_or_default(),
    }
}

fn parts(score: &Score) -> Vec<v1::ScorePart> {
    let part = |name: &str, value| v1::ScorePart { name: name.to_owned(), value };
    vec![part("room", score.room), part("affinity", score.affinity)]
}

fn objection(why: &Unsuitable) -> v1::HostObjection {
    v1::HostObjection { reason: why.reason().to_owned(), message: why.to_string() }
}

/// Hosts by the first that speaks against them.
fn objections(verdicts: &[Verdict]) -> Vec<v1::HostObjectionCount> {
    let mut counts = BTreeMap::new();
    let against = verdicts.iter().filter_map(|verdict| verdict.found.as_ref().err()?.first());
    for why in against {
        *counts.entry(why.reason()).or_insert(0) += 1;
    }
    let counted = |(reason, hosts): (&str, usize)| v1::HostObjectionCount {
        reason: reason.to_owned(),
        hosts: count(hosts),
    };
    counts.into_iter().map(counted).collect()
}

/// What of a VM's own spec speaks against hosts, and one word for all else.
fn own_objections(verdicts: &[Verdict]) -> Vec<v1::HostObjectionCount> {
    let against = verdicts.iter().filter_map(|verdict| verdict.found.as_ref().err());
    let reasons: BTreeSet<&str> = against
        .map(|all| {
            let own = all.iter().find(|why| is_own(why));
            own.map_or(NoHost::NoneHasRoom.reason(), |why| why.reason())
        })
        .collect();
    let told = |reason: &str| v1::HostObjectionCount { reason: reason.to_owned(), hosts: 0 };
    reasons.into_iter().map(told).collect()
}

/// Whether it is the VM's spec, or another VM of its project, that speaks against a host.
const fn is_own(why: &Unsuitable) -> bool {
    match why {
        Unsuitable::HasAnother
        | Unsuitable::NotNamed
        | Unsuitable::LacksImage
        | Unsuitable::LabelMismatch
        | Unsuitable::OtherPool
        | Unsuitable::HostRule(_)
        | Unsuitable::VmRule(_)
        | Unsuitable::KeptApart
        | Unsuitable::TooSmall(_) => true,
        Unsuitable::Cordoned
        | Unsuitable::NotYetSeen
        | Unsuitable::Unreachable
        | Unsuitable::NoRoom(_)
        | Unsuitable::Full
        | Unsuitable::NoFreeAddress => false,
    }
}

fn count(hosts: usize) -> u32 {
    u32::try_from(hosts).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::caller::ProjectRole;
    use crate::model::fixtures::{caller, caller_of, host_id};
    use crate::model::placement::Shortage;

    #[test]
    fn a_project_learns_of_hosts_only_whether_one_can_take_its_vm_and_what_it_asked_too_much() {
        let shortage = Shortage { resource: "MiB of memory", wanted: 7000, left: 4242 };
        let verdict = |number, found| Verdict {
            host: host_id(number),
            name: format!("host-{number}"),
            found,
        };
        let verdicts = vec![
            verdict(1, Ok(Score { room: 123_456, ..Score::default() })),
            verdict(2, Err(vec![Unsuitable::Cordoned, Unsuitable::NoRoom(shortage)])),
            verdict(3, Err(vec![Unsuitable::NoRoom(shortage)])),
            verdict(4, Ok(Score::default())),
            verdict(5, Err(vec![Unsuitable::Cordoned, Unsuitable::LabelMismatch])),
            verdict(6, Err(vec![Unsuitable::Unreachable])),
        ];
        let strategy = Strategy::Pack;
        let found = Evaluation { strategy, verdicts, chosen: Ok(host_id(1)) };
        let whole = evaluation(&found, Audience::of(&caller()));
        assert_eq!((whole.hosts.len(), whole.suitable_hosts), (6, 2));
        assert_eq!(whole.chosen_host_id, host_id(1).to_string());
        assert_eq!((whole.hosts[0].score, whole.hosts[0].score_parts[0].value), (123_456, 123_456));
        assert_eq!(whole.hosts[1].objections.len(), 2);
        assert!(whole.hosts[2].objections[0].message.contains("4242"));

        let theirs = evaluation(&found, Audience::of(&caller_of("lab", ProjectRole::Admin)));
        let text = format!("{theirs:?}");
        for number in ["123456", "4242", "7000", "host-", &host_id(1).to_string()] {
            assert!(!text.contains(number), "{number} in {text}");
        }
        let told: Vec<_> = theirs.objections.iter().map(|one| (&*one.reason, one.hosts)).collect();
        assert_eq!(told, [("NO_HOST_HAS_ROOM", 0), ("NO_HOST_MATCHES", 0)]);
        assert_eq!((theirs.suitable_hosts, theirs.hosts.len()), (1, 0));
    }
}

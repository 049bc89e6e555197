//! What is thought of every host for a VM, as a caller may read it.
//!
//! The one place where that is decided: whoever sees hosts is told all of it; to a caller of a
//! project the hosts are counted by what speaks against them, because what is left on a host, or
//! how it compares with another, says what others have there.

use std::collections::BTreeMap;

use banger_proto::v1;

use crate::model::affinity::{AffinityDraft, AffinityRule};
use crate::model::audience::Audience;
use crate::model::placement::{Evaluation, NoHost, Score, Strategy, Unsuitable, Verdict};

/// An evaluation for this caller.
pub fn evaluation(found: &Evaluation, to: Audience) -> v1::PlacementEvaluation {
    let sees_hosts = to.sees_hosts;
    let chosen = found.chosen.as_ref().ok().filter(|_| sees_hosts);
    v1::PlacementEvaluation {
        strategy: strategy(Some(found.strategy)).into(),
        chosen_host_id: chosen.map(ToString::to_string).unwrap_or_default(),
        reason: found.chosen.map_or_else(NoHost::reason, |_| "").to_owned(),
        hosts: match sees_hosts {
            true => found.verdicts.iter().map(verdict).collect(),
            false => Vec::new(),
        },
        suitable_hosts: count(found.verdicts.iter().filter(|one| one.found.is_ok()).count()),
        objections: objections(&found.verdicts),
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
    fn a_project_learns_of_hosts_only_how_many_there_are_and_what_speaks_against_them() {
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
        ];
        let strategy = Strategy::Pack;
        let found = Evaluation { strategy, verdicts, chosen: Ok(host_id(1)) };
        let whole = evaluation(&found, Audience::of(&caller()));
        assert_eq!(whole.hosts.len(), 3);
        assert_eq!(whole.chosen_host_id, host_id(1).to_string());
        assert_eq!((whole.hosts[0].score, whole.hosts[0].score_parts[0].value), (123_456, 123_456));
        assert_eq!(whole.hosts[1].objections.len(), 2);
        assert!(whole.hosts[2].objections[0].message.contains("4242"));

        let theirs = evaluation(&found, Audience::of(&caller_of("lab", ProjectRole::Admin)));
        let text = format!("{theirs:?}");
        for number in ["123456", "4242", "7000", "host-", &host_id(1).to_string()] {
            assert!(!text.contains(number), "{number} in {text}");
        }
        assert_eq!((theirs.suitable_hosts, theirs.objections), (1, whole.objections));
    }
}

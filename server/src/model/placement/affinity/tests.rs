use super::*;
use crate::model::affinity::{AffinityDraft, check_all};
use crate::testing::host_record;

fn host(number: u32, zone: Option<&str>) -> HostRecord {
    let mut host = HostRecord::clone(&host_record(number));
    host.labels.extend(zone.map(|zone| ("zone".to_owned(), zone.to_owned())));
    host
}

fn rule(change: impl FnOnce(&mut AffinityDraft)) -> AffinityRule {
    let mut draft = AffinityDraft::default();
    change(&mut draft);
    check_all(vec![draft], "rules", &mut Vec::new()).pop().expect("a rule")
}

fn near_web(topology: &str, anti: bool, weight: u32) -> AffinityRule {
    rule(|draft| {
        draft.vm_selector = "app=web".to_owned();
        draft.topology = topology.to_owned();
        draft.anti = anti;
        draft.weight = weight;
    })
}

/// Which of three hosts break the rule, with VMs that match on these.
fn broken(rule: &AffinityRule, matching: &[usize], is_one: bool) -> [bool; 3] {
    let hosts = [host(1, Some("a")), host(2, Some("a")), host(3, None)];
    let mut peers = Peers::default();
    peers.add_rule(rule, matching.iter().map(|index| &hosts[*index]), is_one);
    [0, 1, 2].map(|index| peers.broken_about_vms(&hosts[index]).is_some())
}

#[test]
fn apart_is_another_host_or_another_value_of_a_label() {
    assert_eq!(broken(&near_web("", true, 0), &[0], true), [true, false, false]);
    assert_eq!(broken(&near_web("zone", true, 0), &[0], true), [true, true, false]);
    assert_eq!(broken(&near_web("zone", true, 0), &[2], true), [false; 3], "near to nothing");
    assert_eq!(broken(&near_web("", true, 0), &[], true), [false; 3]);
}

#[test]
fn near_is_where_others_are_and_the_first_goes_where_others_can_follow() {
    assert_eq!(broken(&near_web("", false, 0), &[0], false), [false, true, true]);
    assert_eq!(broken(&near_web("zone", false, 0), &[0], false), [false, false, true]);
    assert_eq!(broken(&near_web("", false, 0), &[], false), [true; 3], "not one of them");
    assert_eq!(broken(&near_web("", false, 0), &[], true), [false; 3]);
    assert_eq!(broken(&near_web("zone", false, 0), &[], true), [false, false, true]);
}

#[test]
fn a_soft_rule_breaks_nothing_and_counts_against_where_most_of_them_are() {
    assert_eq!(broken(&near_web("", true, 50), &[0], true), [false; 3]);
    let hosts = [host(1, Some("a")), host(2, Some("a")), host(3, Some("b"))];
    let score = |rule: &AffinityRule, at: &[usize]| {
        let mut peers = Peers::default();
        peers.add_rule(rule, at.iter().map(|index| &hosts[*index]), true);
        [0, 1, 2].map(|index| peers.score(&hosts[index]))
    };
    assert_eq!(score(&near_web("", true, 100), &[0, 0, 0, 1]), [-1_000_000, -333_333, 0]);
    // However many there are, the host with the fewest stands out as much.
    let many: Vec<usize> = (0..300).map(|n| n % 2).collect();
    assert_eq!(score(&near_web("", true, 100), &many), [-1_000_000, -1_000_000, 0]);
    assert_eq!(score(&near_web("zone", false, 10), &[0, 2]), [100_000; 3]);
    assert_eq!(score(&near_web("", false, 100), &[]), [0; 3]);
    let liked = rule(|draft| {
        draft.host_selector = "zone in (b)".to_owned();
        draft.weight = 5;
    });
    assert_eq!(score(&liked, &[]), [0, 0, 50_000]);
    let disliked = AffinityRule { anti: true, ..liked };
    assert_eq!(score(&disliked, &[]), [0, 0, -50_000]);
}

#[test]
fn a_rule_about_hosts_goes_by_their_labels_alone() {
    let on = rule(|draft| draft.host_selector = "zone=a".to_owned());
    let off = AffinityRule { anti: true, ..on.clone() };
    let (a, none) = (host(1, Some("a")), host(2, None));
    let broken = |rule: &AffinityRule| {
        let mut peers = Peers::default();
        peers.add_rule(rule, [], false);
        [&a, &none].map(|host| peers.broken_about_hosts(host))
    };
    assert_eq!(broken(&on), [None, Some(1)]);
    assert_eq!(broken(&off), [Some(1), None]);
}

#[test]
fn who_is_stayed_apart_from_is_kept_from_where_that_one_is() {
    let hosts = [host(1, Some("a")), host(2, Some("a")), host(3, Some("b"))];
    let forbidden = |topology| {
        let mut peers = Peers::default();
        peers.forbid(topology, [&hosts[0]]);
        [0, 1, 2].map(|index| peers.is_forbidden(&hosts[index]))
    };
    assert_eq!(forbidden(None), [true, false, false]);
    assert_eq!(forbidden(Some("zone")), [true, true, false]);
    assert_eq!(forbidden(Some("rack")), [false; 3]);
}

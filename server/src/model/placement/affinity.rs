//! The rules of a VM, kept when hosts are compared: which are broken on a host, what the soft ones
//! come to.
//!
//! The ledger looks up once a decision where the VMs are that the rules are about ([`Peers`]); what
//! is asked of each host is a look into a small table.

use std::collections::{HashMap, HashSet};

use banger_proto::ids::HostId;

use super::score::WHOLE;
use crate::model::affinity::{AffinityRule, AffinityTarget, MAX_WEIGHT};
use crate::model::host::HostRecord;

/// What a weight of 1 comes to in a score.
const A_WEIGHT: i64 = 10_000;

// The greatest weight outweighs the whole difference between a full host and an empty one.
const _: () = assert!(A_WEIGHT * 100 == WHOLE && MAX_WEIGHT == 100);

/// What is near: one host, or all with the same value of a label.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Domain<'a> {
    Host(HostId),
    Value(&'a str),
}

impl<'a> Domain<'a> {
    /// Of a host; `None` without the label: it is near to nothing.
    fn of(host: &'a HostRecord, topology: Option<&str>) -> Option<Self> {
        match topology {
            None => Some(Self::Host(host.id)),
            Some(label) => host.labels.get(label).map(|value| Self::Value(value)),
        }
    }
}

/// Where the VMs are that one rule is about.
#[derive(Debug, Clone, Default)]
pub struct Near<'a> {
    counts: HashMap<Domain<'a>, u32>,
    /// How many are near each other where most of them are.
    most: u32,
    /// The VM itself is one of those that it wants to be near.
    is_one: bool,
}

/// Where hard rules of other VMs forbid this one.
#[derive(Debug, Clone)]
struct Forbidden<'a> {
    topology: Option<&'a str>,
    domains: HashSet<Domain<'a>>,
}

/// Where the VMs are that a VM's rules are about, and those whose rules are about it.
#[derive(Debug, Clone, Default)]
pub struct Peers<'a> {
    rules: Vec<(&'a AffinityRule, Near<'a>)>,
    forbidden: Vec<Forbidden<'a>>,
}

impl<'a> Peers<'a> {
    /// Adds a rule of the VM's own, in their order, with the hosts of the VMs that match: a host as
    /// often as it has one. `is_one`: the VM itself matches.
    pub fn add_rule(
        &mut self,
        rule: &'a AffinityRule,
        hosts: impl IntoIterator<Item = &'a HostRecord>,
        is_one: bool,
    ) {
        self.add_counted(rule, Near::default(), hosts, is_one);
    }

    /// The same, beside hosts that were counted before for its selector and topology.
    pub fn add_counted(
        &mut self,
        rule: &'a AffinityRule,
        counted: Near<'a>,
        hosts: impl IntoIterator<Item = &'a HostRecord>,
        is_one: bool,
    ) {
        let mut near = Near { is_one, ..counted };
        if let AffinityTarget::Vms { topology, .. } = &rule.target {
            near.count(topology.as_deref(), hosts);
        }
        self.rules.push((rule, near));
    }

    /// Adds the hosts of VMs that stay apart from this one.
    pub fn forbid(
        &mut self,
        topology: Option<&'a str>,
        hosts: impl IntoIterator<Item = &'a HostRecord>,
    ) {
        let domains = hosts.into_iter().filter_map(|host| Domain::of(host, topology));
        match self.forbidden.iter_mut().find(|forbidden| forbidden.topology == topology) {
            Some(forbidden) => forbidden.domains.extend(domains),
            None => self.forbidden.push(Forbidden { topology, domains: domains.collect() }),
        }
    }

    /// Which rule about hosts, counted from 1, is broken on one.
    pub(super) fn broken_about_hosts(&self, host: &HostRecord) -> Option<usize> {
        self.broken(host, |rule| matches!(rule.target, AffinityTarget::Hosts(_)))
    }

    /// Which rule about VMs.
    pub(super) fn broken_about_vms(&self, host: &HostRecord) -> Option<usize> {
        self.broken(host, |rule| matches!(rule.target, AffinityTarget::Vms { .. }))
    }

    fn broken(&self, host: &HostRecord, of: impl Fn(&AffinityRule) -> bool) -> Option<usize> {
        let broken = |(rule, near): &(&AffinityRule, Near<'_>)| {
            of(rule) && rule.weight.is_none() && !is_kept(rule, near, host)
        };
        self.rules.iter().position(broken).map(|index| index + 1)
    }

    /// Whether a VM that stays apart from this one is near.
    pub(super) fn is_forbidden(&self, host: &HostRecord) -> bool {
        self.forbidden.iter().any(|forbidden| {
            Domain::of(host, forbidden.topology)
                .is_some_and(|domain| forbidden.domains.contains(&domain))
        })
    }

    /// What the soft rules come to on a host.
    pub(super) fn score(&self, host: &HostRecord) -> i64 {
        let part = |(rule, near): &(&AffinityRule, Near<'_>)| {
            let Some(weight) = rule.weight else { return 0 };
            let most = i64::from(weight) * A_WEIGHT;
            let worth = match &rule.target {
                AffinityTarget::Hosts(selector) if selector.matches(&host.labels) => most,
                AffinityTarget::Hosts(_) => 0,
                // Of all of them, one host of many replicas would be a share near nothing.
                AffinityTarget::Vms { topology, .. } => match near.most {
                    0 => 0,
                    greatest => {
                        most * i64::from(near.at(host, topology.as_deref())) / i64::from(greatest)
                    }
                },
            };
            if rule.anti { -worth } else { worth }
        };
        self.rules.iter().map(part).sum()
    }
}

impl<'a> Near<'a> {
    /// Counts hosts, each as often as it comes.
    pub fn count(
        &mut self,
        topology: Option<&str>,
        hosts: impl IntoIterator<Item = &'a HostRecord>,
    ) {
        for domain in hosts.into_iter().filter_map(|host| Domain::of(host, topology)) {
            let count = self.counts.entry(domain).or_default();
            *count += 1;
            self.most = self.most.max(*count);
        }
    }

    /// How many are near this host.
    fn at(&self, host: &HostRecord, topology: Option<&str>) -> u32 {
        let domain = Domain::of(host, topology);
        domain.and_then(|domain| self.counts.get(&domain)).copied().unwrap_or(0)
    }
}

/// Whether a hard rule is kept on a host.
fn is_kept(rule: &AffinityRule, near: &Near<'_>, host: &HostRecord) -> bool {
    match (&rule.target, rule.anti) {
        (AffinityTarget::Hosts(selector), anti) => selector.matches(&host.labels) != anti,
        (AffinityTarget::Vms { topology, .. }, true) => near.at(host, topology.as_deref()) == 0,
        (AffinityTarget::Vms { topology, .. }, false) => {
            // The first of those that want to be together goes anywhere, where others can follow.
            let first = near.most == 0 && near.is_one;
            let can_follow = || Domain::of(host, topology.as_deref()).is_some();
            near.at(host, topology.as_deref()) > 0 || (first && can_follow())
        }
    }
}

#[cfg(test)]
mod tests;

//! Where VMs with certain labels are: an index of those that have a host.
//!
//! A rule of affinity is about VMs that match a selector. It has a term that names a label with its
//! value, and only VMs with that are looked at, so that a decision costs what the rule is about and
//! not what there is.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use banger_proto::ids::{HostId, VmId};

use super::Ledger;
use crate::model::affinity::AffinityTarget;
use crate::model::host::HostRecord;
use crate::model::intent::{Desired, VmIntent};
use crate::model::labels::{Labels, Selector};
use crate::model::placement::{Near, Peers};
use crate::model::project::ProjectName;

/// A rule to stay apart: its selector's text and its topology.
type RuleKey = (Arc<str>, Option<Arc<str>>);

/// Whom a rule is about, as seen from a VM: project, selector's text and topology, and whether
/// those count that are on their way out.
type NearKey<'a> = (&'a ProjectName, &'a str, Option<&'a str>, bool);

/// Where VMs are that rules are about, for decisions between which no host of a VM that is stored
/// changes: by project, selector and topology.
#[derive(Debug, Default)]
pub(super) struct Counted<'a> {
    near: RefCell<HashMap<NearKey<'a>, Near<'a>>>,
}

/// The labels and the hard rules to stay apart of VMs that have a host.
#[derive(Debug, Clone, Default)]
pub(super) struct PeerIndex {
    projects: HashMap<ProjectName, ProjectPeers>,
}

#[derive(Debug, Clone, Default)]
struct ProjectPeers {
    /// By key and value of a label.
    labelled: HashMap<String, HashMap<String, BTreeSet<VmId>>>,
    /// On which hosts there are VMs with such a rule, and how many: by key and value of the label
    /// that all have which the rule is about.
    apart: HashMap<String, HashMap<String, BTreeMap<RuleKey, Apart>>>,
}

#[derive(Debug, Clone)]
struct Apart {
    selector: Selector,
    hosts: BTreeMap<HostId, u32>,
}

impl Apart {
    /// Takes one VM off; whether none is left.
    fn is_empty_without(&mut self, host: HostId) -> bool {
        if let Some(count) = self.hosts.get_mut(&host) {
            *count -= 1;
            if *count == 0 {
                self.hosts.remove(&host);
            }
        }
        self.hosts.is_empty()
    }
}

impl ProjectPeers {
    /// The rules to stay apart that may be about a VM with these labels: all that are, each once.
    fn apart_from<'a>(
        &'a self,
        labels: &'a Labels,
    ) -> impl Iterator<Item = (&'a RuleKey, &'a Apart)> {
        let of_label = move |(key, value): (&String, &String)| self.apart.get(key)?.get(value);
        labels.iter().filter_map(of_label).flatten()
    }
}

impl PeerIndex {
    /// Whether any VM of a project that has a host has a hard rule to stay apart.
    pub(super) fn some_stay_apart(&self, project: &ProjectName) -> bool {
        self.projects.get(project).is_some_and(|of| !of.apart.is_empty())
    }

    /// How many rules to stay apart a decision about a VM with these labels looks at.
    #[cfg(test)]
    pub(super) fn rules_looked_at(&self, project: &ProjectName, labels: &Labels) -> usize {
        self.projects.get(project).map_or(0, |of| of.apart_from(labels).count())
    }

    /// Where the texts of the rules to stay apart are in memory, and how many rules have them.
    #[cfg(test)]
    pub(super) fn texts(&self) -> (std::collections::HashSet<*const u8>, usize) {
        let values = self.projects.values().flat_map(|of| of.apart.values());
        let rules: Vec<_> = values.flat_map(HashMap::values).flatten().collect();
        let texts = rules.iter().flat_map(|((text, _), rule)| [&**text, rule.selector.text()]);
        (texts.map(|text| text.as_ptr()).collect(), rules.len())
    }

    /// A VM has a host.
    pub(super) fn add(&mut self, vm: &VmIntent) {
        let Some(host) = vm.host else { return };
        let rules = vm.spec.placement().affinity.iter().filter_map(|rule| rule.repels());
        if vm.spec.labels().is_empty() && rules.clone().next().is_none() {
            return;
        }
        let of = self.projects.entry(vm.project.clone()).or_default();
        for (key, value) in vm.spec.labels() {
            let values = of.labelled.entry(key.clone()).or_default();
            values.entry(value.clone()).or_default().insert(vm.id);
        }
        for (selector, topology) in rules {
            let (label, values) = selector.anchor().unwrap_or_default();
            // All values of a rule share its texts: a caller's bytes are kept once.
            let key = (selector.shared_text(), topology.map(Arc::from));
            for value in values {
                let key = key.clone();
                let of_value = of.apart.entry(label.to_owned()).or_default();
                let apart = of_value.entry(value.to_owned()).or_default().entry(key);
                let new = || Apart { selector: selector.clone(), hosts: BTreeMap::new() };
                *apart.or_insert_with(new).hosts.entry(host).or_default() += 1;
            }
        }
    }

    /// It is gone, or is about to be added anew.
    pub(super) fn remove(&mut self, vm: &VmIntent) {
        let Some(host) = vm.host else { return };
        let Some(of) = self.projects.get_mut(&vm.project) else { return };
        for (key, value) in vm.spec.labels() {
            let Some(values) = of.labelled.get_mut(key) else { continue };
            if let Some(ids) = values.get_mut(value) {
                ids.remove(&vm.id);
                if ids.is_empty() {
                    values.remove(value);
                }
            }
            if values.is_empty() {
                of.labelled.remove(key);
            }
        }
        for (selector, topology) in
            vm.spec.placement().affinity.iter().filter_map(|rule| rule.repels())
        {
            let key = (selector.shared_text(), topology.map(Arc::from));
            let (label, values) = selector.anchor().unwrap_or_default();
            let Some(of_value) = of.apart.get_mut(label) else { continue };
            for value in values {
                let Some(rules) = of_value.get_mut(value) else { continue };
                if rules.get_mut(&key).is_some_and(|apart| apart.is_empty_without(host)) {
                    rules.remove(&key);
                }
                if rules.is_empty() {
                    of_value.remove(value);
                }
            }
            if of_value.is_empty() {
                of.apart.remove(label);
            }
        }
        if of.labelled.is_empty() && of.apart.is_empty() {
            self.projects.remove(&vm.project);
        }
    }
}

#[cfg(test)]
std::thread_local! {
    /// How many VMs that rules may be about were looked at.
    pub(super) static WALKED: std::cell::Cell<usize> = const { std::cell::Cell::new(0) };
}

impl Ledger {
    /// Where the VMs are that the rules of this one are about, and those whose rules are about it.
    /// `also` has VMs that get a host in the same decision, `counted` what was counted for it.
    pub(super) fn peers<'a, 'l: 'a>(
        &'l self,
        vm: &'l VmIntent,
        also: &'a [Arc<VmIntent>],
        counted: &Counted<'l>,
    ) -> Peers<'a> {
        let mut peers = Peers::default();
        let also = move || also.iter().filter(|other| other.project == vm.project);
        for rule in &vm.spec.placement().affinity {
            let AffinityTarget::Vms { selector, topology } = &rule.target else {
                peers.add_rule(rule, [], false);
                continue;
            };
            // Nobody follows a VM that goes; it is stayed apart from until it has gone.
            let counts = |other: &VmIntent| rule.anti || other.desired != Desired::Absent;
            let matches = |other: &&Arc<VmIntent>| {
                other.id != vm.id && selector.matches(other.spec.labels()) && counts(other)
            };
            let count = || {
                let placed = self.matching_vms(&vm.project, selector).filter(matches);
                let mut near = Near::default();
                let hosts = placed.filter_map(|other| self.record_of(other.host?));
                near.count(topology.as_deref(), hosts);
                near
            };
            let near = match self.vms.get(&vm.id).is_some_and(|stored| stored.host.is_some()) {
                // It is none of its own peers.
                true => count(),
                false => {
                    let key = (&vm.project, selector.text(), topology.as_deref(), rule.anti);
                    counted.near.borrow_mut().entry(key).or_insert_with(count).clone()
                }
            };
            let hosts = also().filter(matches).filter_map(|other| self.record_of(other.host?));
            peers.add_counted(rule, near, hosts, selector.matches(vm.spec.labels()));
        }
        if let Some(of) = self.peer_index.projects.get(&vm.project) {
            // It does not keep itself away: where it is now is left out once.
            let own = self.vms.get(&vm.id).and_then(|stored| {
                let rules = stored.spec.placement().affinity.iter();
                let keys = rules.filter_map(|rule| rule.repels());
                Some((stored.host?, keys.collect::<Vec<_>>()))
            });
            for ((text, topology), apart) in of.apart_from(vm.spec.labels()) {
                if !apart.selector.matches(vm.spec.labels()) {
                    continue;
                }
                // It may have the same rule more than once.
                let own = |host: HostId| {
                    let of = own.as_ref().filter(|(at, _)| *at == host);
                    let is_it = |(selector, near): &&(&Selector, Option<&str>)| {
                        selector.text() == &**text && *near == topology.as_deref()
                    };
                    of.map_or(0, |(_, rules)| rules.iter().filter(is_it).count())
                };
                let others = apart.hosts.iter();
                let others = others.filter(|(host, count)| **count as usize > own(**host));
                let hosts = others.filter_map(|(host, _)| self.record_of(*host));
                peers.forbid(topology.as_deref(), hosts);
            }
        }
        for other in also() {
            for rule in &other.spec.placement().affinity {
                if let Some((selector, topology)) = rule.repels()
                    && selector.matches(vm.spec.labels())
                {
                    peers.forbid(topology, other.host.and_then(|host| self.record_of(host)));
                }
            }
        }
        peers
    }

    /// VMs of a project with a host, of which some may match: all that do are among them.
    fn matching_vms<'a>(
        &'a self,
        project: &ProjectName,
        selector: &'a Selector,
    ) -> impl Iterator<Item = &'a Arc<VmIntent>> {
        let of = self.peer_index.projects.get(project);
        let (key, values) = selector.anchor().unwrap_or_default();
        let labelled = of.and_then(|of| of.labelled.get(key));
        let ids = values.into_iter().filter_map(move |value| labelled?.get(value)).flatten();
        #[cfg(test)]
        let ids = ids.inspect(|_| WALKED.set(WALKED.get() + 1));
        ids.filter_map(|id| self.vms.get(id))
    }

    fn record_of(&self, host: HostId) -> Option<&HostRecord> {
        self.hosts.get(&host).map(|entry| &*entry.record)
    }
}

//! Rules of a VM about where it is: on which hosts, near which VMs, apart from which.
//!
//! The edge fills an [`AffinityDraft`] for each, [`check_all`] answers every problem at once. How a
//! rule is kept when hosts are compared is in [`super::placement`].

use super::labels::{self, Selector};

/// Most rules of one VM.
pub const MAX_RULES: usize = 16;

/// The greatest weight of a soft rule.
pub const MAX_WEIGHT: u32 = 100;

/// A rule as a request says it.
#[derive(Debug, Clone, Default)]
pub struct AffinityDraft {
    /// Over the labels of VMs; empty: not said.
    pub vm_selector: String,
    /// Over the labels of hosts; empty: not said.
    pub host_selector: String,
    /// A label of hosts; empty: the same host.
    pub topology: String,
    /// Apart instead of near.
    pub anti: bool,
    /// 0: hard.
    pub weight: u32,
}

/// A checked rule.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct AffinityRule {
    pub target: AffinityTarget,
    /// Apart instead of near, or not on instead of on.
    pub anti: bool,
    /// 1 to [`MAX_WEIGHT`]; `None`: hard.
    pub weight: Option<u32>,
}

/// What a rule is about.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum AffinityTarget {
    /// Hosts with such labels.
    Hosts(Selector),
    /// VMs of the same project with such labels.
    Vms {
        selector: Selector,
        /// Hosts with the same value of this label are near each other; `None`: each only to
        /// itself.
        topology: Option<String>,
    },
}

impl AffinityRule {
    /// As a request says it.
    pub fn draft(&self) -> AffinityDraft {
        let (vm_selector, host_selector, topology) = match &self.target {
            AffinityTarget::Hosts(selector) => ("", selector.text(), ""),
            AffinityTarget::Vms { selector, topology } => {
                (selector.text(), "", topology.as_deref().unwrap_or(""))
            }
        };
        AffinityDraft {
            vm_selector: vm_selector.to_owned(),
            host_selector: host_selector.to_owned(),
            topology: topology.to_owned(),
            anti: self.anti,
            weight: self.weight.unwrap_or(0),
        }
    }

    /// Whether it is a hard rule to be near VMs: the VM waits for one of them.
    pub fn follows(&self) -> bool {
        !self.anti && self.weight.is_none() && matches!(self.target, AffinityTarget::Vms { .. })
    }

    /// The selector and topology of a hard rule to stay apart from VMs.
    pub fn repels(&self) -> Option<(&Selector, Option<&str>)> {
        match &self.target {
            AffinityTarget::Vms { selector, topology } if self.anti && self.weight.is_none() => {
                Some((selector, topology.as_deref()))
            }
            AffinityTarget::Vms { .. } | AffinityTarget::Hosts(_) => None,
        }
    }
}

/// Checks all rules of a request, and appends each problem as (path, description).
pub fn check_all(
    drafts: Vec<AffinityDraft>,
    path: &str,
    problems: &mut Vec<(String, String)>,
) -> Vec<AffinityRule> {
    if drafts.len() > MAX_RULES {
        let why = format!("has {} rules; at most {MAX_RULES} are allowed", drafts.len());
        problems.push((path.to_owned(), why));
        return Vec::new();
    }
    let mut rules = Vec::with_capacity(drafts.len());
    for (index, draft) in drafts.into_iter().enumerate() {
        let known = problems.len();
        let rule = check(draft, &format!("{path}[{index}]"), problems);
        rules.extend(rule.filter(|_| problems.len() == known));
    }
    rules
}

fn check(
    draft: AffinityDraft,
    path: &str,
    problems: &mut Vec<(String, String)>,
) -> Option<AffinityRule> {
    let mut problem = |field: &str, why: String| {
        problems.push((format!("{path}{field}"), why));
    };
    let AffinityDraft { vm_selector, host_selector, topology, anti, weight } = draft;
    if weight > MAX_WEIGHT {
        problem(".weight", format!("is {weight}; must be 0 to {MAX_WEIGHT}"));
    }
    let target = match (vm_selector.trim().is_empty(), host_selector.trim().is_empty()) {
        (true, true) | (false, false) => {
            problem("", "must have either vm_selector or host_selector".to_owned());
            return None;
        }
        (true, false) => {
            if !topology.is_empty() {
                problem(".topology", "goes with vm_selector only".to_owned());
            }
            let selector = Selector::parse(&host_selector);
            let selector = selector.map_err(|why| problem(".host_selector", why)).ok()?;
            AffinityTarget::Hosts(selector)
        }
        (false, true) => {
            if let Some(Err(why)) = (!topology.is_empty()).then(|| labels::check_key(&topology)) {
                problem(".topology", why.to_owned());
            }
            let selector = Selector::parse(&vm_selector);
            let selector = selector.map_err(|why| problem(".vm_selector", why)).ok()?;
            if selector.anchor().is_none() {
                let why = "must have a term key=value or key in (value,value)";
                problem(".vm_selector", why.to_owned());
            }
            let topology = (!topology.is_empty()).then_some(topology);
            AffinityTarget::Vms { selector, topology }
        }
    };
    Some(AffinityRule { target, anti, weight: (weight > 0).then_some(weight) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problems(draft: AffinityDraft) -> Vec<String> {
        let mut found = Vec::new();
        check_all(vec![draft], "a", &mut found);
        found.into_iter().map(|(field, _)| field).collect()
    }

    #[test]
    fn a_rule_comes_back_as_it_was_said() {
        let vms = AffinityDraft {
            vm_selector: "app in (web,db)".to_owned(),
            topology: "zone".to_owned(),
            anti: true,
            weight: 7,
            ..AffinityDraft::default()
        };
        let hosts = AffinityDraft { host_selector: "!spot".to_owned(), ..AffinityDraft::default() };
        for draft in [vms, hosts] {
            let mut found = Vec::new();
            let rules = check_all(vec![draft.clone()], "a", &mut found);
            assert_eq!(found, []);
            assert_eq!(format!("{:?}", rules[0].draft()), format!("{draft:?}"));
        }
    }

    #[test]
    fn each_wrong_field_of_a_rule_is_named() {
        let vms = |selector: &str| AffinityDraft {
            vm_selector: selector.to_owned(),
            ..AffinityDraft::default()
        };
        assert_eq!(problems(AffinityDraft::default()), ["a[0]"]);
        let both = AffinityDraft { host_selector: "gpu".to_owned(), ..vms("app=web") };
        assert_eq!(problems(both), ["a[0]"]);
        assert_eq!(problems(vms("a=b=c")), ["a[0].vm_selector"]);
        assert_eq!(problems(vms("!app")), ["a[0].vm_selector"], "nothing to look up");
        let bad = AffinityDraft { topology: "-".to_owned(), weight: 101, ..vms("app=web") };
        assert_eq!(problems(bad), ["a[0].weight", "a[0].topology"]);
        let hosts = AffinityDraft {
            host_selector: "gpu".to_owned(),
            topology: "zone".to_owned(),
            ..AffinityDraft::default()
        };
        assert_eq!(problems(hosts), ["a[0].topology"]);
        let mut found = Vec::new();
        check_all(vec![vms("app=web"); MAX_RULES + 1], "a", &mut found);
        assert_eq!(found.len(), 1);
    }
}

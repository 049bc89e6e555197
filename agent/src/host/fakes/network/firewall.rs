//! The firewall of the fake machine: the seam of `host/firewall.rs`.
//!
//! Like the real one it remembers what this life of the agent asked for, answers looks from its
//! memory, and puts everything back at the next change after somebody flushed the rules. What can
//! go wrong: no uplink, a guest without tap or address.

use std::collections::{BTreeMap, BTreeSet};

use async_trait::async_trait;

use crate::host::fakes::kernel::gate::{Repeat, Seam};
use crate::host::fakes::kernel::state::{FirewallMemory, Rule, State, refuse};
use crate::host::{Change, Firewall, GuestKey, GuestNet, HostErrorKind, HostResult, LinkName};

impl State {
    /// A look into the kernel, which is remembered.
    fn look_at_rules(&mut self) {
        let stale = |rule: &Rule| rule.nat && (rule.uplink != self.uplink || !self.forwarding);
        let stale = self.rules.iter().filter(|(_, rule)| stale(rule));
        self.firewall.stale = stale.map(|(key, _)| key.clone()).collect();
        self.firewall.seen = Some(self.rules.clone());
    }

    /// Before a change: what is wanted is known, and is in the kernel.
    fn rules_in_place(&mut self) {
        let Self { firewall, rules, flushes, .. } = self;
        let wanted = firewall.wanted.get_or_insert_with(|| rules.clone());
        if firewall.flushes != *flushes {
            *rules = wanted.clone();
            firewall.seen = Some(wanted.clone());
        }
        if firewall.seen.is_none() {
            firewall.seen = Some(wanted.clone());
        }
        firewall.flushes = *flushes;
    }

    fn set_rule(&mut self, guest: &GuestNet) -> HostResult<Change> {
        let verb = "add rules for";
        let no = |kind, why: &str| Err(refuse(kind, verb, &guest.key, why));
        let (Some(tap), Some(address)) = (&guest.tap, guest.address) else {
            return no(HostErrorKind::Invalid, "the guest has no tap or no address");
        };
        if guest.nat && self.uplink.is_none() {
            return no(HostErrorKind::NoUplink, "there is no default route");
        }
        let uplink = self.uplink.clone().filter(|_| guest.nat);
        let rule = Rule { tap: tap.clone(), address, nat: guest.nat, uplink };
        let was = self.rules.get(&guest.key) == Some(&rule);
        self.rules_in_place();
        self.net_changes += u64::from(!was);
        self.forwarding |= rule.nat;
        self.firewall.stale.remove(&guest.key);
        let FirewallMemory { wanted, seen, .. } = &mut self.firewall;
        for known in [wanted.as_mut(), seen.as_mut()].into_iter().flatten() {
            known.insert(guest.key.clone(), rule.clone());
        }
        self.rules.insert(guest.key.clone(), rule);
        Ok(Change::from_bool(!was))
    }

    fn unset_rule(&mut self, key: &GuestKey) -> Change {
        self.rules_in_place();
        let FirewallMemory { wanted, seen, .. } = &mut self.firewall;
        let mut had = self.rules.remove(key).is_some();
        for known in [wanted.as_mut(), seen.as_mut()].into_iter().flatten() {
            had |= known.remove(key).is_some();
        }
        self.firewall.stale.remove(key);
        self.net_changes += u64::from(had);
        Change::from_bool(had)
    }

    fn unset_all_rules(&mut self) -> Change {
        let change = Change::from_bool(!self.rules.is_empty());
        self.rules.clear();
        self.net_changes += 1;
        self.firewall = FirewallMemory {
            stale: BTreeSet::new(),
            wanted: Some(BTreeMap::new()),
            seen: Some(BTreeMap::new()),
            flushes: self.flushes,
        };
        change
    }
}

#[async_trait]
impl Firewall for Seam {
    async fn list(&self) -> HostResult<BTreeMap<GuestKey, GuestNet>> {
        self.read("firewall.list", |state| {
            state.look_at_rules();
            let State { rules, firewall, .. } = state;
            let net = |(key, rule): (&GuestKey, &Rule)| {
                (key.clone(), rule.guest_net(key, firewall.stale.contains(key)))
            };
            Ok(rules.iter().map(net).collect())
        })
        .await
    }

    async fn count_rules(&self) -> HostResult<BTreeMap<GuestKey, usize>> {
        self.read("firewall.count_rules", |state| {
            state.look_at_rules();
            let rules = state.rules.iter();
            Ok(rules.map(|(key, rule)| (key.clone(), if rule.nat { 5 } else { 1 })).collect())
        })
        .await
    }

    async fn observe(&self, key: &GuestKey) -> HostResult<Option<GuestNet>> {
        self.read("firewall.observe", |state| {
            if state.firewall.seen.is_none() {
                state.look_at_rules();
            }
            let FirewallMemory { seen, stale, .. } = &state.firewall;
            let rule = seen.as_ref().and_then(|seen| seen.get(key));
            Ok(rule.map(|rule| rule.guest_net(key, stale.contains(key))))
        })
        .await
    }

    fn uplinks(&self) -> Vec<LinkName> {
        self.kernel.peek(|state| state.uplink.clone()).into_iter().collect()
    }

    async fn ensure(&self, guest: &GuestNet) -> HostResult<Change> {
        self.effect("firewall.ensure", guest.key.to_string(), Repeat::MustBeSo, |state| {
            state.set_rule(guest)
        })
        .await
    }

    /// The fake machine forwards for guests alone and has no policy that anybody could change.
    async fn ensure_closed(&self) -> HostResult<Change> {
        Ok(Change::AlreadySo)
    }

    async fn remove(&self, key: &GuestKey) -> HostResult<Change> {
        self.effect("firewall.remove", key.to_string(), Repeat::MustBeSo, |state| {
            Ok(state.unset_rule(key))
        })
        .await
    }

    async fn remove_all(&self) -> HostResult<Change> {
        self.effect("firewall.remove_all", String::new(), Repeat::MustBeSo, |state| {
            Ok(state.unset_all_rules())
        })
        .await
    }
}

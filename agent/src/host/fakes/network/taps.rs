//! Bridge and taps of the fake machine: the seam of `host/taps.rs`.
//!
//! What can go wrong: a name belongs to another kind of interface or to a tap of another owner,
//! the bridge is missing.

use std::collections::BTreeMap;

use async_trait::async_trait;

use crate::host::fakes::kernel::FakeKernel;
use crate::host::fakes::kernel::gate::{Repeat, Seam};
use crate::host::fakes::kernel::state::{FakeLink, LinkKind, State, refuse};
use crate::host::{
    BridgeFacts, BridgeSpec, Change, HostError, HostErrorKind, HostResult, LinkName, Subnet,
    TapFacts, TapName, TapSpec, Taps, Traffic, clash,
};

fn taken(verb: &'static str, name: &str, why: &str) -> HostError {
    refuse(HostErrorKind::NameTaken, verb, name, why)
}

const NO_TAP: &str = "an interface of that name is no tap";
const NO_BRIDGE: &str = "an interface of that name is no bridge";

fn tap_facts(name: &str, link: &FakeLink) -> Option<TapFacts> {
    match link.kind {
        LinkKind::Tap { master, up, isolated, open, .. } => Some(TapFacts {
            name: TapName::new(name).ok()?,
            index: link.index,
            master,
            up,
            isolated,
            open: open.is_some(),
        }),
        LinkKind::Bridge { .. } | LinkKind::Other => None,
    }
}

impl State {
    pub(crate) fn add_link(&mut self, name: &str, kind: LinkKind) {
        let index = self.next_link;
        self.next_link += 1;
        self.net_changes += 1;
        self.links.insert(name.to_owned(), FakeLink { index, kind });
    }

    fn make_bridge(&mut self, spec: &BridgeSpec) -> HostResult<Change> {
        let (address, prefix) = (Some(spec.address), spec.prefix);
        let wanted = LinkKind::Bridge { address, prefix, up: true };
        let has_address = matches!(
            self.links.get(spec.name.as_str()).map(|link| &link.kind),
            Some(LinkKind::Bridge { address: has, prefix: length, .. })
                if (*has, *length) == (address, prefix)
        );
        let subnet = Subnet::containing(spec.address, spec.prefix);
        let clashes = |subnet| clash(subnet, &self.used_networks(), &spec.name).cloned();
        if let Some(used) = subnet.and_then(clashes).filter(|_| !has_address) {
            let why = format!("the machine uses {used}");
            return Err(refuse(HostErrorKind::SubnetTaken, "make bridge", &spec.name, why));
        }
        match self.links.get_mut(spec.name.as_str()) {
            None => {
                self.add_link(spec.name.as_str(), wanted);
                Ok(Change::Made)
            }
            Some(link) if link.kind == wanted => Ok(Change::AlreadySo),
            Some(link) => match link.kind {
                LinkKind::Bridge { .. } => {
                    link.kind = wanted;
                    self.net_changes += 1;
                    Ok(Change::Made)
                }
                LinkKind::Tap { .. } | LinkKind::Other => {
                    Err(taken("make bridge", spec.name.as_str(), NO_BRIDGE))
                }
            },
        }
    }

    fn remove_bridge(&mut self, name: &LinkName) -> HostResult<Change> {
        let Some(link) = self.links.get(name.as_str()) else { return Ok(Change::AlreadySo) };
        if !matches!(link.kind, LinkKind::Bridge { .. }) {
            return Err(taken("remove bridge", name.as_str(), NO_BRIDGE));
        }
        let gone = link.index;
        self.links.remove(name.as_str());
        self.net_changes += 1;
        // Rare, so that looking at every port is no matter.
        for link in self.links.values_mut() {
            if let LinkKind::Tap { master, .. } = &mut link.kind
                && *master == Some(gone)
            {
                *master = None;
            }
        }
        Ok(Change::Made)
    }

    fn make_tap(&mut self, spec: &TapSpec) -> HostResult<Change> {
        let verb = "make tap";
        let name = spec.name.as_str();
        let bridge = match self.links.get(spec.bridge.as_str()) {
            Some(FakeLink { index, kind: LinkKind::Bridge { .. } }) => *index,
            Some(_) | None => {
                let why = format!("there is no bridge {}", spec.bridge);
                return Err(refuse(HostErrorKind::NotFound, verb, name, why));
            }
        };
        let Some(link) = self.links.get_mut(name) else {
            let (owner_uid, master) = (spec.owner_uid, Some(bridge));
            self.add_link(
                name,
                LinkKind::Tap { owner_uid, master, up: true, isolated: true, open: None },
            );
            return Ok(Change::Made);
        };
        match &mut link.kind {
            LinkKind::Bridge { .. } | LinkKind::Other => Err(taken(verb, name, NO_TAP)),
            LinkKind::Tap { owner_uid, .. } if *owner_uid != spec.owner_uid => {
                Err(taken(verb, name, "a tap of that name belongs to another user"))
            }
            LinkKind::Tap { master, up, isolated, .. } => {
                let so = *master == Some(bridge) && *up && *isolated;
                (*master, *up, *isolated) = (Some(bridge), true, true);
                self.net_changes += u64::from(!so);
                Ok(Change::from_bool(!so))
            }
        }
    }

    /// All that are taps, then the refusal for those that are not.
    fn remove_taps(&mut self, names: &[TapName]) -> HostResult<Change> {
        let mut change = Change::AlreadySo;
        let mut refused = None;
        for name in names {
            match self.links.get(name.as_str()).map(|link| &link.kind) {
                None => {}
                Some(LinkKind::Tap { .. }) => {
                    self.links.remove(name.as_str());
                    self.net_changes += 1;
                    change = Change::Made;
                }
                Some(LinkKind::Bridge { .. } | LinkKind::Other) => {
                    refused = Some(taken("remove tap", name.as_str(), NO_TAP));
                }
            }
        }
        refused.map_or(Ok(change), Err)
    }
}

impl FakeKernel {
    /// A guest has sent and received so much.
    pub fn set_traffic(&self, tap: &TapName, traffic: Traffic) {
        self.with(|state| state.traffic.insert(tap.to_string(), traffic));
    }
}

#[async_trait]
impl Taps for Seam {
    async fn ensure_bridge(&self, spec: &BridgeSpec) -> HostResult<Change> {
        self.effect("taps.ensure_bridge", spec.name.to_string(), Repeat::MustBeSo, |state| {
            state.make_bridge(spec)
        })
        .await
    }

    async fn remove_bridge(&self, name: &LinkName) -> HostResult<Change> {
        self.effect("taps.remove_bridge", name.to_string(), Repeat::MustBeSo, |state| {
            state.remove_bridge(name)
        })
        .await
    }

    async fn observe_bridge(&self, name: &LinkName) -> HostResult<Option<BridgeFacts>> {
        self.read("taps.observe_bridge", |state| match state.links.get(name.as_str()) {
            None => Ok(None),
            Some(FakeLink { index, kind: LinkKind::Bridge { address, prefix, up } }) => {
                let addresses = address.iter().map(|address| (*address, *prefix)).collect();
                Ok(Some(BridgeFacts { index: *index, addresses, up: *up }))
            }
            Some(_) => Err(taken("look at bridge", name.as_str(), NO_BRIDGE)),
        })
        .await
    }

    async fn list(&self, prefix: &str) -> HostResult<Vec<TapFacts>> {
        self.read("taps.list", |state| {
            let range = state.links.range(prefix.to_owned()..);
            Ok(range
                .take_while(|(name, _)| name.starts_with(prefix))
                .filter_map(|(name, link)| tap_facts(name, link))
                .collect())
        })
        .await
    }

    async fn observe(&self, name: &TapName) -> HostResult<Option<TapFacts>> {
        self.read("taps.observe", |state| match state.links.get(name.as_str()) {
            None => Ok(None),
            Some(link) => match tap_facts(name.as_str(), link) {
                Some(facts) => Ok(Some(facts)),
                None => Err(taken("look at tap", name.as_str(), NO_TAP)),
            },
        })
        .await
    }

    async fn traffic(&self, prefix: &str) -> HostResult<BTreeMap<TapName, Traffic>> {
        self.read("taps.traffic", |state| {
            let taps = state.links.keys().filter(|name| name.starts_with(prefix));
            let of = |name: &String| state.traffic.get(name).copied().unwrap_or_default();
            Ok(taps.filter_map(|name| Some((TapName::new(name).ok()?, of(name)))).collect())
        })
        .await
    }

    async fn ensure(&self, spec: &TapSpec) -> HostResult<Change> {
        self.effect("taps.ensure", spec.name.to_string(), Repeat::MustBeSo, |state| {
            state.make_tap(spec)
        })
        .await
    }

    async fn remove(&self, names: &[TapName]) -> HostResult<Change> {
        let object = match names {
            [one] => one.to_string(),
            many => format!("{} taps", many.len()),
        };
        self.effect("taps.remove", object, Repeat::MustBeSo, |state| state.remove_taps(names)).await
    }
}

//! The watch over the network of running guests: somebody may flush the rules, take a tap off its
//! bridge, remove the bridge or its address, or give the host another uplink.
//!
//! Looks when the kernel tells of a change, and now and then all the same, because some changes are
//! told to nobody. A VM is woken when its part is not what it was at the look before, and also as
//! long as it is not what was made: who undoes the same thing again as soon as it is mended gives
//! two looks in a row that are equal and both bad. The VM's own task looks again and its plan says
//! what to mend, so nothing is decided here, and only what is no VM's is mended: that the host
//! forwards for guests alone, and that its gateways are always let through. What can go wrong: a
//! part cannot be read; then it counts as what it was. A look does not end; then it is given up.
//! Looks have a least distance, so that a flood of changes, ours among them, costs a bounded part
//! of the time, and a greatest one, however slow the machine is.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use banger_proto::ids::VmId;

use super::{Entry, Supervisor};
use crate::clock::Moment;
use crate::host::{
    BoundsSeen, BridgeFacts, Change, GuestNet, LinkName, Pin, Subnet, TapFacts, Traffic, clash,
};
use crate::report::phase::Reason;
use crate::vm::plan::network::{NetWanted, uid};

/// The time to the next look when nothing is told.
const USUAL: Duration = Duration::from_secs(10);

/// The least and the greatest pause after a look; between them it is so many times as long as the
/// look took.
const LEAST: Duration = Duration::from_millis(250);
const MOST: Duration = Duration::from_secs(5);
const SHARE: u32 = 20;

/// How long a look may take. A tool of the firewall that waits for a lock gives up sooner.
const LOOK_LIMIT: Duration = Duration::from_secs(30);

/// The least time from one count of what guests send and receive to the next.
const COUNTS: Duration = Duration::from_secs(10);

/// Wait after the kernel could not be listened to.
const DEAF: Duration = Duration::from_secs(1);

/// What a VM's network hangs on, as far as it could be read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct GuestPart {
    tap: Option<TapFacts>,
    rules: Option<GuestNet>,
    pin: Option<Pin>,
    /// No network, and undone by whoever writes to control groups just as well.
    bounds: Option<BoundsSeen>,
}

impl GuestPart {
    /// Whether nothing is to be mended. As whom its VMM runs, only the VM's task knows.
    fn is_as_made(&self, wanted: &NetWanted, bridge: Option<&BridgeFacts>) -> bool {
        let bridge = bridge.filter(|bridge| bridge.fits(&wanted.bridge));
        let pin = self.pin.clone().map(|pin| Pin { uid: wanted.pin.uid, ..pin });
        self.rules.as_ref() == Some(&wanted.rules)
            && pin.as_ref() == Some(&wanted.pin)
            && bridge.zip(self.tap.as_ref()).is_some_and(|(bridge, tap)| tap.is_port_of(bridge))
    }
}

/// One look.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Picture {
    bridge: Option<BridgeFacts>,
    uplinks: Vec<LinkName>,
    clash: Option<String>,
    vms: BTreeMap<VmId, GuestPart>,
}

/// Whom a look wakes.
#[derive(Debug, PartialEq, Eq)]
enum Wakes {
    /// Every VM: what they share has changed.
    All,
    /// These.
    Some(Vec<VmId>),
}

/// Whom to wake: also whoever is new, because what its own task saw may be over already, and
/// whoever is unwell, because what its task did about it may be undone already. Who is gone needs
/// nobody.
fn wakes(before: &Picture, now: &Picture, unwell: &BTreeSet<VmId>) -> Wakes {
    let shared = |picture: &Picture| {
        (picture.bridge.clone(), picture.uplinks.clone(), picture.clash.clone())
    };
    if shared(before) != shared(now) {
        return Wakes::All;
    }
    let differs = |vm: &VmId, part: &GuestPart| before.vms.get(vm) != Some(part);
    let woken = now.vms.iter().filter(|(vm, part)| differs(vm, part) || unwell.contains(vm));
    Wakes::Some(woken.map(|(vm, _)| *vm).collect())
}

/// The pause after a look that took so long.
fn pause(took: Duration) -> Duration {
    took.saturating_mul(SHARE).clamp(LEAST, MOST)
}

/// Whether a fault comes of the network, so that the next look may find it over.
fn is_of_the_network(reason: Reason) -> bool {
    matches!(
        reason,
        Reason::NoUplink | Reason::SubnetInUse | Reason::NetworkDegraded | Reason::TapLost
    )
}

impl Supervisor {
    /// Watches the network until the agent stops.
    pub(super) fn spawn_network_watch(&self) {
        let this = self.clone();
        self.0.tasks.spawn(async move {
            let stop = this.0.stop.clone();
            // Cancel-safe: a look has no effect of its own.
            tokio::select! {
                () = stop.cancelled() => {}
                () = this.watch_network() => {}
            }
        });
    }

    async fn watch_network(&self) {
        let clock = &self.0.shared.clock;
        let mut before = Picture::default();
        let mut counted: Option<Moment> = None;
        loop {
            let began = clock.monotonic();
            let look = async {
                self.close_forwarding().await;
                self.keep_gateways().await;
                self.note_lost_again().await;
                self.count_refused().await;
                if counted.is_none_or(|at: Moment| at.until(clock.monotonic()) >= COUNTS) {
                    counted = Some(clock.monotonic());
                    self.count_traffic().await;
                }
                self.picture(&before).await
            };
            match tokio::time::timeout(LOOK_LIMIT, look).await {
                Ok(now) => {
                    self.wake(&before, &now);
                    before = now;
                }
                Err(_) => tracing::warn!(
                    limit_secs = LOOK_LIMIT.as_secs(),
                    "a look at the network took too long and was given up"
                ),
            }
            let pause = pause(began.until(clock.monotonic()));
            tokio::time::sleep(pause).await;
            // Cancel-safe: what is told meanwhile waits for the next call.
            tokio::select! {
                () = self.told() => {}
                () = tokio::time::sleep(USUAL.saturating_sub(pause)) => {}
            }
        }
    }

    /// Without any VM, too: forwarding stays on after the last one.
    async fn close_forwarding(&self) {
        if let Err(error) = self.0.shared.host.firewall.ensure_closed().await {
            tracing::warn!(
                error = error.chain(),
                "it can't be told that nothing else is forwarded"
            );
        }
    }

    async fn keep_gateways(&self) {
        match self.0.shared.host.pins.ensure_gateways().await {
            Ok(Change::AlreadySo) => {}
            Ok(Change::Made) => tracing::info!("guests are let through to the host's new gateways"),
            Err(error) => {
                tracing::warn!(error = error.chain(), "the gateways of the host can't be kept open")
            }
        }
    }

    async fn count_refused(&self) {
        let shared = &self.0.shared;
        let Some(tell) = &shared.on_refused else { return };
        match shared.host.pins.refused().await {
            Ok(refused) => tell(&refused),
            // Whatever else is wrong with nft is said by whoever needs it.
            Err(error) => tracing::debug!(error = error.chain(), "refused packets are not counted"),
        }
    }

    /// What cannot be read is what it was.
    async fn count_traffic(&self) {
        let (host, naming) = (&self.0.shared.host, self.0.shared.naming);
        let live = self.live();
        let prefix = naming.tap_prefix();
        let (taps, refused) =
            futures_util::join!(host.taps.traffic(&prefix), host.pins.refused_of_guests());
        let (taps, refused) = match (taps, refused) {
            (Ok(taps), Ok(refused)) => (taps, refused),
            (Err(error), _) | (_, Err(error)) => {
                tracing::debug!(error = error.chain(), "traffic of guests is not counted");
                return;
            }
        };
        let of = |vm: VmId| {
            let names = naming.vm(vm);
            let refused_packets = refused.get(&names.rules).copied().unwrap_or(0);
            Some((vm, Traffic { refused_packets, ..*taps.get(&names.tap)? }))
        };
        self.reporter().set_traffic(live.into_iter().filter_map(of).collect());
    }

    async fn told(&self) {
        if let Err(error) = self.0.shared.host.network.changed().await {
            tracing::warn!(error = error.chain(), "changes of the network are not told");
            tokio::time::sleep(DEAF).await;
        }
    }

    fn wake(&self, before: &Picture, now: &Picture) {
        let wakes = wakes(before, now, &self.unwell(now));
        let vms = self.0.vms.lock();
        match wakes {
            Wakes::All => {
                self.0.shared.network.changed(now.clash.clone());
                vms.values().for_each(|entry| entry.bell.wake.notify_one());
            }
            Wakes::Some(changed) => {
                for entry in changed.iter().filter_map(|vm| vms.get(vm)) {
                    entry.bell.wake.notify_one();
                }
            }
        }
    }

    /// The VMs whose network is not what was made for them, or who say so.
    fn unwell(&self, now: &Picture) -> BTreeSet<VmId> {
        let vms = self.0.vms.lock();
        let is_unwell = |vm: VmId, part: &GuestPart| {
            let report = self.reporter().get(vm);
            let fault = report.as_ref().and_then(|report| report.fault.as_ref());
            let wanted = vms.get(&vm).and_then(|entry| self.wanted_network(vm, entry));
            fault.is_some_and(|fault| is_of_the_network(fault.reason))
                || wanted.is_some_and(|wanted| !part.is_as_made(&wanted, now.bridge.as_ref()))
        };
        let unwell = now.vms.iter().filter(|(vm, part)| is_unwell(**vm, part));
        unwell.map(|(vm, _)| *vm).collect()
    }

    fn wanted_network(&self, vm: VmId, entry: &Entry) -> Option<NetWanted> {
        let shared = &self.0.shared;
        let record = entry.record.get()?;
        let shape = record.assignment.shape.as_ref()?;
        let user = uid(shared.settings.uid_base, shape);
        Some(NetWanted::of(shape, &shared.naming.vm(vm), shared.naming.bridge(), user))
    }

    /// The VMs whose reports say that they have a process.
    fn live(&self) -> Vec<VmId> {
        let vms: Vec<VmId> = self.0.vms.lock().keys().copied().collect();
        let live = |vm: &VmId| {
            let report = self.reporter().get(*vm);
            report.is_some_and(|report| report.process.is_some())
        };
        vms.into_iter().filter(live).collect()
    }

    /// Looks at everything. What cannot be read is what it was.
    async fn picture(&self, was: &Picture) -> Picture {
        let live = self.live();
        if live.is_empty() {
            return Picture::default();
        }
        let (host, naming) = (&self.0.shared.host, self.0.shared.naming);
        let name = naming.bridge();
        let prefix = naming.tap_prefix();
        let jails: Vec<_> = live.iter().map(|vm| naming.vm(*vm).jail).collect();
        let (bridge, taps, rules, pins, addresses, bounds) = futures_util::join!(
            host.taps.observe_bridge(&name),
            host.taps.list(&prefix),
            host.firewall.list(),
            host.pins.list(),
            host.network.addresses(),
            host.jails.bounds(&jails),
        );
        let bounds: BTreeMap<VmId, BoundsSeen> =
            live.iter().copied().zip(bounds.unwrap_or_default()).collect();
        let bridge = bridge.unwrap_or_else(|_| was.bridge.clone());
        let subnet = bridge.as_ref().and_then(|bridge| {
            let (address, prefix) = bridge.addresses.first()?;
            Subnet::containing(*address, *prefix)
        });
        let clash = match (&addresses, subnet) {
            (Ok(used), Some(subnet)) => clash(subnet, used, &name).map(ToString::to_string),
            (Ok(_), None) => None,
            (Err(_), _) => was.clash.clone(),
        };
        let uplinks = host.firewall.uplinks();
        let taps: Option<BTreeMap<_, _>> =
            taps.ok().map(|taps| taps.into_iter().map(|tap| (tap.name.clone(), tap)).collect());
        let part = |vm: VmId| {
            let names = naming.vm(vm);
            let was = was.vms.get(&vm).cloned().unwrap_or_default();
            let tap = match &taps {
                Some(taps) => taps.get(&names.tap).cloned(),
                None => was.tap,
            };
            let rules = match &rules {
                Ok(rules) => rules.get(&names.rules).cloned(),
                Err(_) => was.rules,
            };
            let pin = match &pins {
                Ok(pins) => pins.get(&names.rules).cloned().flatten(),
                Err(_) => was.pin,
            };
            let bounds = bounds.get(&vm).cloned().or(was.bounds);
            (vm, GuestPart { tap, rules, pin, bounds })
        };
        Picture { bridge, uplinks, clash, vms: live.into_iter().map(part).collect() }
    }
}

#[cfg(test)]
mod tests;

//! What the network of a running guest lacks, and what to do about it. Pure.
//!
//! The rules come first: with them goes the isolation. Then what the tap hangs on, then the tap.
//! What can't be mended while the guest runs is a fault: it is shown and waits for somebody.

use super::RULES_AGAIN;
use crate::assignment::Shape;
use crate::clock::Moment;
use crate::host::{BridgeSpec, GuestNet, LinkName, Pin, TapSpec};
use crate::naming::VmNames;
use crate::report::phase::{Fault, Reason};
use crate::vm::effect::Effect;
use crate::vm::probe::{Alive, Seen};

/// The step that a fault of the network names when nothing was tried.
pub const STEP: &str = "watch the network";

/// The network that a guest is to have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NetWanted {
    /// The bridge, which all guests of the host share.
    pub bridge: BridgeSpec,
    /// Its tap.
    pub tap: TapSpec,
    /// What ties it to its tap.
    pub pin: Pin,
    /// Its rules.
    pub rules: GuestNet,
}

impl NetWanted {
    /// That of a guest of this shape, whose VMM runs as this user.
    #[must_use]
    pub fn of(shape: &Shape, names: &VmNames, bridge: LinkName, uid: u32) -> Self {
        let network = &shape.network;
        Self {
            bridge: BridgeSpec {
                name: bridge.clone(),
                address: network.gateway,
                prefix: network.prefix,
            },
            tap: TapSpec { name: names.tap.clone(), bridge, owner_uid: uid },
            pin: Pin {
                key: names.rules.clone(),
                tap: names.tap.clone(),
                mac: network.mac,
                address: network.address,
                uid,
            },
            rules: GuestNet {
                key: names.rules.clone(),
                tap: Some(names.tap.clone()),
                address: Some(network.address),
                nat: network.nat,
                stale: false,
            },
        }
    }
}

/// Each VM runs as a user of its own: the base plus the place of its address in the subnet.
#[must_use]
pub fn uid(base: u32, shape: &Shape) -> u32 {
    let mask = u32::MAX.checked_shl(32 - u32::from(shape.network.prefix)).unwrap_or(0);
    base.saturating_add(u32::from(shape.network.address) & !mask)
}

/// What is not as it is to be.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Lacks {
    /// What mends it, in order.
    pub(super) mend: Vec<Effect>,
    /// What nothing mends while the guest runs, or what can't be told: the worst of it.
    pub(super) fault: Option<Fault>,
}

/// What the network of a guest that runs lacks.
pub(super) fn lacks(wanted: &NetWanted, alive: &Alive, now: Moment) -> Lacks {
    let mut lacks = Lacks::default();
    let unseen = |why: &str| Fault {
        retry_at: Some(now.after(RULES_AGAIN)),
        ..Fault::new(Reason::NetworkDegraded, STEP, why)
    };
    match &alive.pin {
        Seen::Present(pin) if *pin == wanted.pin => {}
        Seen::Present(_) | Seen::Absent => lacks.mend.push(Effect::PinAddress),
        Seen::Unknown(why) => lacks.fault = Some(unseen(why)),
    }
    match &alive.rules {
        Seen::Present(rules) if *rules == wanted.rules => {}
        Seen::Present(_) | Seen::Absent => lacks.mend.push(Effect::EnsureRules),
        // Whether they are as wanted is not known, so that the VM is not settled.
        Seen::Unknown(why) => {
            lacks.fault.get_or_insert_with(|| unseen(why));
        }
    }
    let bridge = match &alive.net.bridge {
        Seen::Present(bridge) if bridge.fits(&wanted.bridge) => Some(bridge),
        Seen::Present(_) | Seen::Absent => {
            lacks.mend.push(Effect::EnsureBridge);
            None
        }
        Seen::Unknown(why) => {
            lacks.fault.get_or_insert_with(|| unseen(why));
            None
        }
    };
    match (&alive.net.tap, bridge) {
        (Seen::Absent, _) => lacks.fault = Some(lost("its tap was removed")),
        (Seen::Present(tap), _) if !tap.open => {
            lacks.fault = Some(lost("its VMM does not have the tap of that name open"));
        }
        (Seen::Present(tap), Some(bridge)) if !tap.is_port_of(bridge) => {
            lacks.mend.push(Effect::EnsureTap);
        }
        // Without its bridge a tap has nothing to be put on.
        (Seen::Present(_), _) => {}
        (Seen::Unknown(why), _) => {
            lacks.fault.get_or_insert_with(|| unseen(why));
        }
    }
    if let (Some(used), None) = (&alive.net.clash, &lacks.fault) {
        let subnet = (wanted.bridge.address, wanted.bridge.prefix);
        lacks.fault = Some(Fault::new(
            Reason::SubnetInUse,
            STEP,
            format!(
                "the host has come to use {used}, which shares addresses with its guest subnet \
                 ({}/{})",
                subnet.0, subnet.1
            ),
        ));
    }
    lacks
}

/// A VMM keeps the tap that it opened: another one of the same name is none to it.
fn lost(how: &str) -> Fault {
    let message = format!("{how}; the guest has no network until it is rebooted");
    Fault::new(Reason::TapLost, STEP, message)
}

/// A step of the network that failed, for a guest that runs all the same.
pub(super) fn degraded(fault: Fault) -> Fault {
    match fault.reason {
        Reason::ToolFailed => Fault { reason: Reason::NetworkDegraded, ..fault },
        _ => fault,
    }
}

#[cfg(test)]
mod tests;

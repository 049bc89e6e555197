//! What a soak does when: a pure function of its settings.
//!
//! Two kinds of timelines. Each slot, which is one VM at a time, has a line of wishes; each part
//! that can fail has a line of faults. What a wish comes to depends only on the wishes before it in
//! its slot, so that the same seed asks for the same, however fast the machine is. What the parts
//! make of it at which moment is theirs.

use std::time::Duration;

use rand::rngs::SmallRng;
use rand::{Rng as _, SeedableRng as _};

/// What decides a soak.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    /// Decides everything below.
    pub seed: u64,
    /// How long faults strike.
    pub time: Duration,
    /// Hosts, each with an agent.
    pub hosts: usize,
    /// VMs at a time.
    pub slots: usize,
}

/// A wish for the VM of a slot: which one it is, of those that make sense, is told by a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wish {
    /// Not before this time since the start.
    pub at: Duration,
    /// Chooses the wish.
    pub choice: u32,
    /// The id of the VM, should it be a create.
    pub id: u128,
}

/// A part that can fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Part {
    /// The server.
    Server,
    /// The agent of this host.
    Agent(usize),
    /// The link between the server and this host.
    Link(usize),
}

/// What happens to a part, and for how long until it is made good.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// SIGKILL.
    Kill,
    /// SIGTERM, and the end of the process is waited for.
    Stop,
    /// SIGSTOP, then SIGCONT.
    Freeze,
    /// Connections break and none are taken.
    Cut,
    /// Connections stand and nothing moves.
    Hold,
    /// Requests arrive, answers do not.
    HoldAnswers,
    /// Everything arrives later.
    Slow,
    /// Cut and whole by turns.
    Flap,
}

impl Fault {
    /// Every fault.
    pub const ALL: [Self; 8] = [
        Self::Kill,
        Self::Stop,
        Self::Freeze,
        Self::Cut,
        Self::Hold,
        Self::HoldAnswers,
        Self::Slow,
        Self::Flap,
    ];
}

/// A fault with its time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Strike {
    /// Since the start.
    pub at: Duration,
    /// What happens.
    pub fault: Fault,
    /// For how long.
    pub lasts: Duration,
}

/// Everything a soak does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Schedule {
    /// The wishes of each slot, in order.
    pub slots: Vec<Vec<Wish>>,
    /// The faults of each part, in order.
    pub parts: Vec<(Part, Vec<Strike>)>,
}

impl Schedule {
    /// The one of these settings.
    #[must_use]
    pub fn of(settings: &Settings) -> Self {
        // Each timeline has a generator of its own: more hosts do not change what slots do.
        let line = |kind: u64, n: usize| {
            let n = u64::try_from(n).unwrap_or(u64::MAX);
            SmallRng::seed_from_u64(settings.seed ^ (kind << 56) ^ (n << 40))
        };
        let slots = (0..settings.slots).map(|n| wishes(line(1, n), settings.time)).collect();
        let mut parts = vec![(Part::Server, strikes(line(2, 0), settings.time, server_fault))];
        for n in 0..settings.hosts {
            parts.push((Part::Agent(n), strikes(line(3, n), settings.time, agent_fault)));
            parts.push((Part::Link(n), strikes(line(4, n), settings.time, link_fault)));
        }
        Self { slots, parts }
    }
}

fn millis(random: &mut SmallRng, range: std::ops::Range<u64>) -> Duration {
    Duration::from_millis(random.random_range(range))
}

fn wishes(mut random: SmallRng, time: Duration) -> Vec<Wish> {
    let mut wishes = Vec::new();
    let mut at = millis(&mut random, 0..1_000);
    while at < time {
        wishes.push(Wish { at, choice: random.random(), id: random.random() });
        // Now and then two at once, which the host has to take one after the other.
        at +=
            if random.random_ratio(1, 4) { Duration::ZERO } else { millis(&mut random, 50..2_500) };
    }
    wishes
}

fn strikes(
    mut random: SmallRng,
    time: Duration,
    fault: fn(&mut SmallRng) -> (Fault, Duration, Duration),
) -> Vec<Strike> {
    let mut strikes = Vec::new();
    let mut at = millis(&mut random, 500..3_000);
    while at < time {
        let (kind, lasts, rest) = fault(&mut random);
        strikes.push(Strike { at, fault: kind, lasts });
        at += lasts + rest;
    }
    strikes
}

fn server_fault(random: &mut SmallRng) -> (Fault, Duration, Duration) {
    let (fault, lasts) = match random.random_range(0..6) {
        0..4 => (Fault::Kill, millis(random, 1..1_000)),
        4 => (Fault::Stop, millis(random, 1..500)),
        _ => (Fault::Freeze, millis(random, 200..4_000)),
    };
    (fault, lasts, millis(random, 1_000..6_000))
}

fn agent_fault(random: &mut SmallRng) -> (Fault, Duration, Duration) {
    let (fault, lasts) = match random.random_range(0..6) {
        0..4 => (Fault::Kill, millis(random, 1..2_000)),
        4 => (Fault::Stop, millis(random, 1..500)),
        _ => (Fault::Freeze, millis(random, 200..6_000)),
    };
    (fault, lasts, millis(random, 500..5_000))
}

fn link_fault(random: &mut SmallRng) -> (Fault, Duration, Duration) {
    let fault = [Fault::Cut, Fault::Hold, Fault::HoldAnswers, Fault::Slow, Fault::Flap]
        [random.random_range(0..5)];
    (fault, millis(random, 100..6_000), millis(random, 1_000..6_000))
}

#[cfg(test)]
mod tests;

//! What tests make of what was said and seen. No I/O.

use std::collections::{BTreeMap, BTreeSet};

use super::attempts::{Attempt, Reach};
use super::watch::{BY_TCP, Sight};

/// Marks from here on are of what is allowed, by which a watch is known to see.
pub const CONTROL: u16 = 900;

/// What is wrong with what the attacker said, by the names of attempts: each has to be made, to be
/// answered by nobody, and to leave its guest answered as itself.
#[must_use]
pub fn of_said(attempts: &[Attempt], said: &str) -> Vec<String> {
    let lines: BTreeSet<&str> = said.lines().map(str::trim_end).collect();
    let wrong = |(number, attempt): (usize, &Attempt)| {
        let wanted = format!("hostile {number:03} answers 0, itself answered");
        if lines.contains(wanted.as_str()) {
            return None;
        }
        let start = format!("hostile {number:03} ");
        let line = lines.iter().find(|line| line.starts_with(&start)).unwrap_or(&"never made");
        Some(format!("{}: {line}", attempt.name))
    };
    attempts.iter().enumerate().filter_map(wrong).collect()
}

/// What is wrong with what was seen on a host with this bridge and the attacker's tap, where one
/// connection was made by the test itself: what arrived where it may not, and what should have come
/// to the tap, or to the router, and did not, because it was never sent.
#[must_use]
pub fn of_seen(
    attempts: &[Attempt],
    seen: &BTreeSet<Sight>,
    bridge: &str,
    tap: &str,
) -> Vec<String> {
    let arrived = seen.iter().filter_map(|(place, number)| {
        let attempt = attempts.get(usize::from(*number));
        let (name, allowed) = match attempt {
            _ if place == BY_TCP => ("a connection", *number == 0),
            _ if place == tap => return None,
            None => ("a control", *number >= CONTROL),
            Some(attempt) => (attempt.name, attempt.reach == Reach::Router && place == bridge),
        };
        (!allowed).then(|| format!("{name} ({number}) arrived at {place}"))
    });
    let unseen = attempts.iter().enumerate().filter_map(|(number, attempt)| {
        let sight = (bridge.to_owned(), u16::try_from(number).ok()?);
        let missing = attempt.reach == Reach::Router && !seen.contains(&sight);
        missing.then(|| format!("{} never came to the router", attempt.name))
    });
    let unsent = attempts.iter().enumerate().filter_map(|(number, attempt)| {
        let sight = (tap.to_owned(), u16::try_from(number).ok()?);
        (!seen.contains(&sight)).then(|| format!("{} never left its guest", attempt.name))
    });
    arrived.chain(unseen).chain(unsent).collect()
}

/// The attempts of which fewer frames came to the attacker's tap than are of them: nothing is
/// proven by what refuses the others.
#[must_use]
pub fn of_sent(attempts: &[Attempt], counted: &BTreeMap<Sight, u64>, tap: &str) -> Vec<String> {
    let short = |(number, attempt): (usize, &Attempt)| {
        let sight = (tap.to_owned(), u16::try_from(number).ok()?);
        let (came, all) = (counted.get(&sight).copied().unwrap_or(0), attempt.frames.len() as u64);
        (came < all).then(|| format!("{}: {came} of {all} frames left its guest", attempt.name))
    };
    attempts.iter().enumerate().filter_map(short).collect()
}

/// How many frames there are of all attempts that may come so far.
#[must_use]
pub fn frames(attempts: &[Attempt], reach: Reach) -> u64 {
    let of = attempts.iter().filter(|attempt| attempt.reach == reach);
    of.map(|attempt| attempt.frames.len() as u64).sum()
}

#[cfg(test)]
mod tests;

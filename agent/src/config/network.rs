//! What the network of guests is bounded by.

use super::GuestsConfig;
use crate::host::AddressRange;

/// Where clouds have their metadata services: link-local (AWS, Google, Azure and most others),
/// Alibaba, Azure's host agent, Oracle's older address.
const METADATA: [&str; 4] = ["169.254.0.0/16", "100.100.100.200", "168.63.129.16", "192.0.0.192"];

/// The most `guests.closed_addresses`: each packet of a guest is compared with them.
const MAX_CLOSED: usize = 256;

/// The most `guests.max_connections`: more than any host tracks.
const MAX_CONNECTIONS: u32 = 1 << 20;

/// The ranges that are closed unless the operator says otherwise.
pub(super) fn metadata_services() -> Vec<AddressRange> {
    METADATA.iter().filter_map(|text| text.parse().ok()).collect()
}

/// What does not fit.
pub(super) fn problems(guests: &GuestsConfig) -> Vec<String> {
    let mut problems = Vec::new();
    let connections = guests.max_connections;
    if connections > MAX_CONNECTIONS {
        problems.push(format!(
            "guests.max_connections is {connections}; must be 0 to {MAX_CONNECTIONS}"
        ));
    }
    let closed = guests.closed_addresses.len();
    if closed > MAX_CLOSED {
        problems.push(format!(
            "guests.closed_addresses has {closed} ranges; must be at most {MAX_CLOSED}"
        ));
    }
    problems
}

#[cfg(test)]
mod tests;

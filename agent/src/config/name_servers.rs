//! The name servers that guests are told: a list, or whichever the host itself asks. No I/O.

use std::net::Ipv4Addr;

use serde::{Deserialize, Serialize};

/// What `guests.dns` says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged, expecting = "\"host\", or a list of IPv4 addresses")]
pub enum NameServers {
    /// Those that the host asks when the agent starts.
    Host(OfTheHost),
    /// These; an empty list tells guests of none.
    Listed(Vec<Ipv4Addr>),
}

/// The word in the configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OfTheHost {
    /// `"host"`.
    Host,
}

impl NameServers {
    /// Those to tell, where `of_the_host` reads what the host asks.
    #[must_use]
    pub fn resolve(&self, of_the_host: impl FnOnce() -> Vec<Ipv4Addr>) -> Vec<Ipv4Addr> {
        match self {
            Self::Host(OfTheHost::Host) => of_the_host(),
            Self::Listed(these) => these.clone(),
        }
    }
}

impl Default for NameServers {
    fn default() -> Self {
        Self::Host(OfTheHost::Host)
    }
}

//! The seam to what pins each guest to its tap: who a guest is, is never what it writes.
//!
//! Driven by the VM tasks and by the start of the agent. A pinned tap lets through only frames of
//! its own guest: its Ethernet address, its IPv4 address, its ARP sender; and to it only what is
//! for them. A guest starts on no other tap. The same pin closes the host's network to the user
//! that the guest's VMM runs as. What can go wrong: `nft` is missing or says no, somebody flushed
//! the rules by hand.

use std::collections::BTreeMap;
use std::fmt;
use std::net::Ipv4Addr;
use std::str::FromStr;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use super::{BadName, Change, GuestKey, HostError, HostErrorKind, HostResult, MacAddress, TapName};

/// One guest on its tap.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pin {
    /// Marks it as this guest's.
    pub key: GuestKey,
    /// Its tap.
    pub tap: TapName,
    /// The one Ethernet address it may send from.
    pub mac: MacAddress,
    /// The one IPv4 address it may send from.
    pub address: Ipv4Addr,
    /// The user its VMM runs as, which reaches no network of the host.
    pub uid: u32,
}

impl Pin {
    /// Whether it is another guest's and has something that only one guest can have. Ethernet
    /// addresses follow from addresses; the names of taps are short hashes of ids, of which two may
    /// be the same.
    #[must_use]
    pub fn rivals(&self, other: &Self) -> bool {
        (self.address == other.address || self.uid == other.uid || self.tap == other.tap)
            && self.key != other.key
    }

    /// The refusal to pin it beside a rival whose guest may live.
    pub(crate) fn taken_by(&self, rival: &GuestKey) -> HostError {
        HostError::new(HostErrorKind::AddressTaken, "pin", &self.key).detail(format!(
            "address {}, user {} or tap {} is that of {rival}, which is still on this host",
            self.address, self.uid, self.tap
        ))
    }
}

/// Why packets of guests are refused. The names are those of counters in the kernel, and of a
/// metric.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RefusedFor {
    /// A frame says to be somebody else's, or is of a kind that no guest sends: IPv6, a VLAN, an
    /// answer of DHCP. Guests that mean no harm try IPv6, and DHCP where they are set up so.
    NotItsOwn,
    /// It goes where no guest may go: a metadata service.
    Closed,
    /// A fragment is longer than any frame.
    LongFragment,
    /// One guest sends too many fragments.
    FragmentsOfGuest,
    /// All guests together do.
    FragmentsOfAll,
    /// A message of ICMP is none that a guest may send.
    Icmp,
    /// One guest has too many connections.
    Connections,
    /// Guests have the host look for too many neighbours.
    Neighbours,
}

impl RefusedFor {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::NotItsOwn,
        Self::Closed,
        Self::LongFragment,
        Self::FragmentsOfGuest,
        Self::FragmentsOfAll,
        Self::Icmp,
        Self::Connections,
        Self::Neighbours,
    ];

    /// Its name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NotItsOwn => "not_its_own",
            Self::Closed => "closed",
            Self::LongFragment => "long_fragment",
            Self::FragmentsOfGuest => "fragments_of_guest",
            Self::FragmentsOfAll => "fragments_of_all",
            Self::Icmp => "icmp",
            Self::Connections => "connections",
            Self::Neighbours => "neighbours",
        }
    }
}

/// Pins of all guests: two tables of our own, with sets keyed by tap.
///
/// Changes asked for at the same time are applied together.
#[async_trait]
pub trait Pins: Send + Sync {
    /// The guests of which anything is pinned in the kernel now; `None` where a part is missing, so
    /// that the guest is not whole. Whatever it finds, [`Pins::observe`] knows afterwards.
    async fn list(&self) -> HostResult<BTreeMap<GuestKey, Option<Pin>>>;

    /// The guest's pin, if all of it is in the kernel as far as was seen at the last look: after
    /// each of our changes, and at every [`Pins::list`]. Costs nothing.
    async fn observe(&self, key: &GuestKey) -> HostResult<Option<Pin>>;

    /// Pins a guest, in one transaction. For a tap that is not there yet, what belongs to the port
    /// of the bridge waits until it is asked for again. The host forgets the connections that the
    /// address had before.
    ///
    /// # Errors
    /// [`AddressTaken`](HostErrorKind::AddressTaken) when the address or the user is that of
    /// another guest that is pinned and has its tap: nothing was done.
    async fn ensure(&self, pin: &Pin) -> HostResult<Change>;

    /// Has packets of guests go on to every gateway of the host's default routes, however many
    /// neighbours guests have it look for. To be called when routes may have changed; without pins
    /// nothing is done.
    async fn ensure_gateways(&self) -> HostResult<Change>;

    /// How many packets of guests were refused since our tables were made or replaced. Those that
    /// do not count are left out.
    async fn refused(&self) -> HostResult<BTreeMap<RefusedFor, u64>>;

    /// The same for each guest that is pinned, of which any were.
    async fn refused_of_guests(&self) -> HostResult<BTreeMap<GuestKey, u64>>;

    /// Removes a guest's pin; with the last one our tables go.
    async fn remove(&self, key: &GuestKey) -> HostResult<Change>;
}

/// IPv4 addresses with a common beginning: `169.254.0.0/16`, or a single one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct AddressRange {
    first: Ipv4Addr,
    prefix: u8,
}

impl AddressRange {
    fn mask(prefix: u8) -> u32 {
        u32::MAX.checked_shl(32 - u32::from(prefix)).unwrap_or(0)
    }

    /// Whether every address of `other` is in it.
    #[must_use]
    pub fn covers(self, other: Self) -> bool {
        let beginning = u32::from(other.first) & Self::mask(self.prefix);
        self.prefix <= other.prefix && beginning == u32::from(self.first)
    }
}

impl fmt::Display for AddressRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.prefix {
            32 => write!(f, "{}", self.first),
            prefix => write!(f, "{}/{prefix}", self.first),
        }
    }
}

impl FromStr for AddressRange {
    type Err = BadName;

    fn from_str(text: &str) -> Result<Self, BadName> {
        let bad = |why| BadName { what: "range of addresses", text: text.to_owned(), why };
        let (first, prefix) = text.split_once('/').unwrap_or((text, "32"));
        let first: Ipv4Addr = first.parse().map_err(|_| bad("it begins with no IPv4 address"))?;
        let prefix = prefix.parse().map_err(|_| bad("its prefix is no number"))?;
        if !(1..=32).contains(&prefix) {
            return Err(bad("its prefix is not between 1 and 32"));
        }
        if u32::from(first) & Self::mask(prefix) != u32::from(first) {
            return Err(bad("its address has bits set beyond the prefix"));
        }
        Ok(Self { first, prefix })
    }
}

impl TryFrom<String> for AddressRange {
    type Error = BadName;

    fn try_from(text: String) -> Result<Self, BadName> {
        text.parse()
    }
}

impl From<AddressRange> for String {
    fn from(range: AddressRange) -> Self {
        range.to_string()
    }
}

//! Guest subnets: which addresses a host's guests have.
//!
//! Every host gets one subnet out of the pool, and every VM on it one slot. Address, MAC and vsock
//! context id follow from subnet and slot, so that one number is all that must be unique.

use std::fmt;
use std::net::Ipv4Addr;
use std::str::FromStr;

/// The lowest slot a VM can have: 0 is the network, 1 the bridge.
pub const FIRST_SLOT: u32 = 2;

/// An IPv4 network: its first address and the length of its prefix.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Subnet {
    base: u32,
    prefix: u8,
}

/// A text that is no IPv4 network of the form `10.64.0.0/20`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("must be an IPv4 network such as 10.64.0.0/20, with no bits set after the prefix")]
pub struct ParseSubnetError;

impl Subnet {
    /// The network that holds `address`, with this prefix length (0 to 32).
    ///
    /// # Errors
    /// When the prefix is too long or bits are set behind it.
    pub fn new(address: Ipv4Addr, prefix: u8) -> Result<Self, ParseSubnetError> {
        let base = u32::from(address);
        if prefix > 32 || base & !mask(prefix) != 0 {
            return Err(ParseSubnetError);
        }
        Ok(Self { base, prefix })
    }

    /// Length of the prefix in bits.
    pub fn prefix(self) -> u8 {
        self.prefix
    }

    /// The bridge's address on the host: the guests' gateway.
    pub fn gateway(self) -> Ipv4Addr {
        Ipv4Addr::from(self.base + 1)
    }

    /// The address of a slot, if the subnet has that slot.
    pub fn address(self, slot: u32) -> Option<Ipv4Addr> {
        (FIRST_SLOT..=self.last_slot()).contains(&slot).then(|| Ipv4Addr::from(self.base + slot))
    }

    /// The slot of an address, if it is one of this subnet's.
    pub fn slot(self, address: Ipv4Addr) -> Option<u32> {
        let slot = u32::from(address).checked_sub(self.base)?;
        self.address(slot).map(|_| slot)
    }

    /// The highest slot: the one below the broadcast address. Below [`FIRST_SLOT`] when the subnet
    /// is too small for any guest.
    pub fn last_slot(self) -> u32 {
        (!mask(self.prefix)).saturating_sub(1)
    }

    /// Whether the two share an address.
    pub fn overlaps(self, other: Self) -> bool {
        let prefix = self.prefix.min(other.prefix);
        self.base & mask(prefix) == other.base & mask(prefix)
    }

    /// The networks of this prefix length inside this one, lowest first.
    pub fn split(self, prefix: u8) -> impl Iterator<Item = Self> {
        let count =
            if prefix >= self.prefix && prefix <= 32 { 1_u64 << (prefix - self.prefix) } else { 0 };
        let size = 1_u64 << (32 - u32::from(prefix.min(32)));
        (0..count).map(move |index| {
            let base = u64::from(self.base) + index * size;
            Self { base: u32::try_from(base).expect("inside an IPv4 network"), prefix }
        })
    }
}

fn mask(prefix: u8) -> u32 {
    u32::MAX.checked_shl(32 - u32::from(prefix)).unwrap_or(0)
}

impl fmt::Display for Subnet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", Ipv4Addr::from(self.base), self.prefix)
    }
}

impl fmt::Debug for Subnet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Subnet {
    type Err = ParseSubnetError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (address, prefix) = text.split_once('/').ok_or(ParseSubnetError)?;
        if prefix.len() > 2 || !prefix.bytes().all(|b| b.is_ascii_digit()) {
            return Err(ParseSubnetError);
        }
        Self::new(
            address.parse().map_err(|_| ParseSubnetError)?,
            prefix.parse().map_err(|_| ParseSubnetError)?,
        )
    }
}

/// A hardware address of a guest's interface.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct MacAddr([u8; 6]);

impl MacAddr {
    /// Locally administered, unicast: 02:fc and the four bytes of the guest's address.
    pub fn of(address: Ipv4Addr) -> Self {
        let [a, b, c, d] = address.octets();
        Self([0x02, 0xfc, a, b, c, d])
    }
}

impl fmt::Display for MacAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

impl fmt::Debug for MacAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests;

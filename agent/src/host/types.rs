//! Names of kernel objects and files as types.
//!
//! Whoever holds one of these holds a text that is safe as a path component, a device name or an
//! argument: the checks happen where it is made, nowhere else. No type here knows what a VM is.

use std::fmt;
use std::net::Ipv4Addr;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A text that cannot name the kind of object it was meant for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} cannot name a {what}: {why}")]
pub struct BadName {
    /// The kind of object.
    pub what: &'static str,
    /// The text refused.
    pub text: String,
    /// The rule it breaks.
    pub why: &'static str,
}

fn check(
    what: &'static str,
    text: &str,
    max: usize,
    allowed: fn(u8) -> bool,
) -> Result<(), BadName> {
    let bad = |why| Err(BadName { what, text: text.to_owned(), why });
    match text.as_bytes() {
        [] => bad("it is empty"),
        bytes if bytes.len() > max => bad("it is too long"),
        // Never read as an option by a tool, never hidden, never "." or "..".
        [first, ..] if !first.is_ascii_alphanumeric() => {
            bad("it does not begin with a letter or a digit")
        }
        bytes if !bytes.iter().copied().all(allowed) => bad("it holds a character not allowed"),
        _ => Ok(()),
    }
}

const fn dns_like(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'-'
}

const fn file_like(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.')
}

/// As the public API has it: `ImageRef` in `vm.proto`.
const fn image_like(byte: u8) -> bool {
    file_like(byte) || byte == b'+'
}

macro_rules! name {
    ($(#[$doc:meta])* $name:ident, $what:literal, $max:literal, $allowed:path) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(Box<str>);

        impl $name {
            /// The longest name in bytes.
            pub const MAX: usize = $max;

            /// Checks a name.
            ///
            /// # Errors
            /// It is empty, too long, begins with something other than a letter or a digit, or
            /// holds a character that the kind of object does not allow.
            pub fn new(text: impl AsRef<str>) -> Result<Self, BadName> {
                let text = text.as_ref();
                check($what, text, Self::MAX, $allowed)?;
                Ok(Self(text.into()))
            }

            /// The name as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = BadName;

            fn from_str(text: &str) -> Result<Self, BadName> {
                Self::new(text)
            }
        }

        impl TryFrom<String> for $name {
            type Error = BadName;

            fn try_from(text: String) -> Result<Self, BadName> {
                Self::new(text)
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> Self {
                name.0.into()
            }
        }
    };
}

name! {
    /// A network interface other than a tap: a bridge or an uplink. IFNAMSIZ is 16 with the
    /// closing NUL.
    LinkName, "network interface", 15, file_like
}

name! {
    /// A tap device. IFNAMSIZ is 16 with the closing NUL.
    TapName, "tap device", 15, dns_like
}

name! {
    /// A device-mapper device. DM_NAME_LEN is 128 with the closing NUL.
    DmName, "device-mapper device", 127, file_like
}

name! {
    /// One component of a path beneath one of our directories: a directory or a file.
    PathPart, "file or directory", 200, file_like
}

name! {
    /// A file in the image directory.
    ImageName, "image file", 128, image_like
}

name! {
    /// A jail, as the jailer's `--id` takes it: letters, digits and dashes.
    JailId, "jail", 64, dns_like
}

name! {
    /// What marks the firewall rules of one guest in their comment.
    GuestKey, "guest", 64, dns_like
}

/// `/dev/loopN`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct LoopDevice(pub u32);

impl fmt::Display for LoopDevice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "/dev/loop{}", self.0)
    }
}

impl LoopDevice {
    /// The block device's number: major 7, minor N (devices.txt; `max_part=0`, the default).
    #[must_use]
    pub const fn number(self) -> DeviceNumber {
        DeviceNumber { major: 7, minor: self.0 }
    }
}

/// Major and minor number of a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct DeviceNumber {
    /// Which driver.
    pub major: u32,
    /// Which device of it.
    pub minor: u32,
}

impl DeviceNumber {
    /// From one number, as stat(2) gives it (makedev(3)).
    #[must_use]
    pub fn of(device: u64) -> Self {
        Self { major: rustix::fs::major(device), minor: rustix::fs::minor(device) }
    }
}

impl fmt::Display for DeviceNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.major, self.minor)
    }
}

impl FromStr for DeviceNumber {
    type Err = BadName;

    fn from_str(text: &str) -> Result<Self, BadName> {
        let parsed = text
            .trim()
            .split_once(':')
            .and_then(|(major, minor)| Some((major.parse().ok()?, minor.parse().ok()?)));
        match parsed {
            Some((major, minor)) => Ok(Self { major, minor }),
            None => Err(BadName {
                what: "device number",
                text: text.to_owned(),
                why: "it is not of the form MAJOR:MINOR",
            }),
        }
    }
}

/// Identity of a file or directory: the same only if both agree.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct FileId {
    /// Of the file system, as `st_dev`.
    pub device: u64,
    /// Within the file system.
    pub inode: u64,
}

/// A process id; 0 and negative numbers mean other things to `kill(2)` and cannot be held.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "u32", into = "u32")]
pub struct Pid(u32);

impl Pid {
    /// Checks a number: 1 to `i32::MAX`.
    #[must_use]
    pub fn new(pid: u32) -> Option<Self> {
        (pid != 0 && i32::try_from(pid).is_ok()).then_some(Self(pid))
    }

    /// The number.
    #[must_use]
    pub const fn get(self) -> u32 {
        self.0
    }
}

impl TryFrom<u32> for Pid {
    type Error = BadName;

    fn try_from(pid: u32) -> Result<Self, BadName> {
        Self::new(pid).ok_or_else(|| BadName {
            what: "process",
            text: pid.to_string(),
            why: "it is not between 1 and 2147483647",
        })
    }
}

impl From<Pid> for u32 {
    fn from(pid: Pid) -> Self {
        pid.0
    }
}

impl fmt::Display for Pid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// An Ethernet address.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct MacAddress(pub [u8; 6]);

impl fmt::Display for MacAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

impl fmt::Debug for MacAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for MacAddress {
    type Err = BadName;

    fn from_str(text: &str) -> Result<Self, BadName> {
        let bad = || BadName {
            what: "Ethernet address",
            text: text.to_owned(),
            why: "it is not six pairs of hexadecimal digits with colons between",
        };
        let mut octets = [0; 6];
        let mut parts = text.split(':');
        for octet in &mut octets {
            let part = parts.next().filter(|part| part.len() == 2).ok_or_else(bad)?;
            *octet = u8::from_str_radix(part, 16).map_err(|_| bad())?;
        }
        match parts.next() {
            None => Ok(Self(octets)),
            Some(_) => Err(bad()),
        }
    }
}

impl TryFrom<String> for MacAddress {
    type Error = BadName;

    fn try_from(text: String) -> Result<Self, BadName> {
        text.parse()
    }
}

impl From<MacAddress> for String {
    fn from(mac: MacAddress) -> Self {
        mac.to_string()
    }
}

/// An IPv4 subnet given by its first address and the length of its prefix.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Subnet {
    network: Ipv4Addr,
    prefix: u8,
}

impl Subnet {
    /// The subnet that holds `address`; `prefix` is 8 to 30 (below is no guest subnet, above
    /// leaves no room for a gateway and a guest).
    #[must_use]
    pub fn containing(address: Ipv4Addr, prefix: u8) -> Option<Self> {
        (8..=30).contains(&prefix).then(|| {
            let mask = u32::MAX << (32 - u32::from(prefix));
            Self { network: Ipv4Addr::from(u32::from(address) & mask), prefix }
        })
    }

    /// The first address, which no machine has.
    #[must_use]
    pub const fn network(self) -> Ipv4Addr {
        self.network
    }

    /// The length of the prefix in bits.
    #[must_use]
    pub const fn prefix(self) -> u8 {
        self.prefix
    }

    /// Whether `address` is one of the subnet's.
    #[must_use]
    pub fn contains(self, address: Ipv4Addr) -> bool {
        Self::containing(address, self.prefix) == Some(self)
    }
}

impl fmt::Display for Subnet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.network, self.prefix)
    }
}

impl FromStr for Subnet {
    type Err = BadName;

    fn from_str(text: &str) -> Result<Self, BadName> {
        let bad = |why| BadName { what: "subnet", text: text.to_owned(), why };
        let (address, prefix) =
            text.split_once('/').ok_or_else(|| bad("it is not of the form ADDRESS/PREFIX"))?;
        let address: Ipv4Addr =
            address.parse().map_err(|_| bad("its address is no IPv4 address"))?;
        let prefix = prefix.parse().map_err(|_| bad("its prefix is no number"))?;
        let subnet = Self::containing(address, prefix)
            .ok_or_else(|| bad("its prefix is not between 8 and 30"))?;
        if subnet.network == address {
            Ok(subnet)
        } else {
            Err(bad("its address has bits set beyond the prefix"))
        }
    }
}

impl TryFrom<String> for Subnet {
    type Error = BadName;

    fn try_from(text: String) -> Result<Self, BadName> {
        text.parse()
    }
}

impl From<Subnet> for String {
    fn from(subnet: Subnet) -> Self {
        subnet.to_string()
    }
}

#[cfg(test)]
mod tests;

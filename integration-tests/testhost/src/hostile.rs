//! A guest that tries to be somebody else, the neighbour that it tries it at, and who looks whether
//! any of it arrives.
//!
//! Driven by tests of hosts: as a program with root in a real guest (`hostile-guest`), and by the
//! stand-in for Firecracker, which holds the tap as a VMM does. Frames are made here byte by byte,
//! so that no kernel keeps the guest from anything.
//!
//! - [`frames`]: frames as bytes.
//! - [`attempts`]: the table of what is tried, and how far each may come.
//! - [`wire`]: where frames go and come from: a network card in a guest, or a VMM's tap.
//! - [`guests`]: the attacker, and the neighbour that talks all the while.
//! - [`watch`]: the host's side: what arrives on interfaces and at sockets.
//! - [`verdict`]: what tests make of both.
//!
//! Each frame carries the number of its attempt ([`mark`]), by which it is known wherever it comes.

pub mod attempts;
pub mod frames;
pub mod guests;
pub mod verdict;
pub mod watch;
pub mod wire;

mod program;

pub use program::main;

/// The port of services of the host that are there to be found.
pub const PORT: u16 = 4711;

/// What the marks begin with.
const MARK: &[u8] = b"hostile:";

/// What the frames of an attempt carry: eleven bytes, which find room behind an ARP message.
#[must_use]
pub fn mark(attempt: u16) -> Vec<u8> {
    [MARK, format!("{attempt:03}").as_bytes()].concat()
}

/// The attempt that a frame or datagram is of, wherever in it the mark is.
#[must_use]
pub fn marked(bytes: &[u8]) -> Option<u16> {
    let at = bytes.windows(MARK.len()).position(|window| window == MARK)? + MARK.len();
    std::str::from_utf8(bytes.get(at..at + 3)?).ok()?.parse().ok()
}

//! How bytes go between a host and the guest agent of one of its guests.
//!
//! Used by both ends. Below it is one stream of bytes: a vsock connection, or a virtio-serial port,
//! which has neither connections nor an end: whoever was killed in the middle of a frame leaves
//! half of it in the pipe, and the next one begins behind it. So a *session* is marked in the
//! stream itself: bytes are stuffed ([`stuffing`]) so that one value, the flag, never appears among
//! them. The host begins a session with the flag and a line with a number nobody could have
//! foreseen; the guest answers with the flag and the same line; whatever came before is dropped by
//! both. HTTP/2 runs within a session and ends with it. On vsock the same is done, so that there is
//! one protocol.
//!
//! ```text
//! host  …old bytes 7e banger-guest/1 9f2c…⏎ stuffed HTTP/2 …
//! guest …old bytes 7e banger-guest/1 9f2c…⏎ stuffed HTTP/2 …
//! ```
//!
//! What can go wrong: the stream ends or fails, or the other end never answers, which whoever calls
//! bounds in time. What comes from the other end is bounded in memory: a line is at most
//! [`LONGEST_LINE`] bytes. A host bounds in time, too, what a guest says to nobody (`pace`).

pub mod pace;
pub mod session;
pub mod stuffing;

/// Where a guest agent listens on vsock. Below 1024, so that in the guest only root can take its
/// place (`net/vmw_vsock/af_vsock.c`: `LAST_RESERVED_PORT`).
pub const VSOCK_PORT: u32 = 1023;

/// The name of the virtio-serial port that leads to the guest agent.
pub const SERIAL_PORT: &str = "banger.guest.0";

/// The most data in one message of a stream, in bytes.
pub const MAX_CHUNK: usize = 64 * 1024;

/// The largest message between host and guest, encoded, in bytes.
pub const MAX_MESSAGE: usize = 256 * 1024;

/// The longest line that begins a session, its end included.
pub const LONGEST_LINE: usize = 64;

/// What its line begins with: the protocol and its version.
const GREETING: &str = "banger-guest/1 ";

/// A number nobody could have foreseen, which tells a session from those before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Nonce(pub u128);

impl Nonce {
    /// The line of a session.
    fn line(self) -> String {
        format!("{GREETING}{:032x}\n", self.0)
    }

    /// From a line without its end; `None` when it is none.
    fn of_line(line: &[u8]) -> Option<Self> {
        let digits = line.strip_prefix(GREETING.as_bytes())?;
        let plain = digits.len() == 32 && digits.iter().all(u8::is_ascii_hexdigit);
        let digits = std::str::from_utf8(digits).ok().filter(|_| plain)?;
        u128::from_str_radix(digits, 16).ok().map(Self)
    }
}

#[cfg(test)]
mod tests;

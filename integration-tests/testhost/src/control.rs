//! The wire between the driver and the test host: commands, their output, and forwarded ports.
//!
//! One TCP connection carries one request. Everything is frames: a byte for the kind, four bytes
//! for the length (big endian), then the payload. The driver sends its token and one request;
//! [`server`] in the host answers with output frames and one [`Frame::EXIT`]. A connection that
//! breaks ends the command it started, so that a test that dies leaves nothing running.
//!
//! What can go wrong: the host is not up yet (connection refused or reset: [`client`] says so and
//! the driver tries again), a command that leaves a child with its output open (the exit comes
//! only when the output is closed, as with ssh).

use std::io::{self, Read, Write};

pub mod client;
pub mod server;

/// The port inside the host.
pub const PORT: u16 = 7;

/// No frame is longer, either way.
const MAX_FRAME: usize = 1 << 20;

/// One message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// What it is: one of the constants.
    pub kind: u8,
    /// What it carries.
    pub payload: Vec<u8>,
}

impl Frame {
    /// First from the driver: the token of this host.
    pub const TOKEN: u8 = b'T';
    /// Run: the arguments, each ended by a zero byte.
    pub const RUN: u8 = b'X';
    /// Connect to this port of the host's loopback (decimal); raw bytes follow [`Frame::READY`].
    pub const CONNECT: u8 = b'C';
    /// A piece of standard input.
    pub const INPUT: u8 = b'S';
    /// The end of standard input.
    pub const INPUT_END: u8 = b'Z';
    /// A piece of standard output.
    pub const OUTPUT: u8 = b'O';
    /// A piece of standard error.
    pub const ERROR: u8 = b'R';
    /// How the command ended: `code N` or `signal N`.
    pub const EXIT: u8 = b'Q';
    /// The request could not be carried out: a sentence.
    pub const REFUSED: u8 = b'F';
    /// The forwarded connection stands.
    pub const READY: u8 = b'K';
}

/// Writes one frame.
///
/// # Errors
///
/// The connection's, or `InvalidInput` for a payload over a mebibyte.
pub fn write_frame(to: &mut impl Write, kind: u8, payload: &[u8]) -> io::Result<()> {
    if payload.len() > MAX_FRAME {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "frame too long"));
    }
    let mut bytes = Vec::with_capacity(5 + payload.len());
    bytes.push(kind);
    // The length was checked just above.
    bytes.extend_from_slice(&(payload.len() as u32).to_be_bytes());
    bytes.extend_from_slice(payload);
    to.write_all(&bytes)
}

/// Reads one frame; `None` where the other side closed between two frames.
///
/// # Errors
///
/// The connection's, or `InvalidData` for a length no side ever sends.
pub fn read_frame(from: &mut impl Read) -> io::Result<Option<Frame>> {
    let mut kind = [0; 1];
    if from.read(&mut kind)? == 0 {
        return Ok(None);
    }
    let mut length = [0; 4];
    from.read_exact(&mut length)?;
    let length = u32::from_be_bytes(length) as usize;
    if length > MAX_FRAME {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "frame too long"));
    }
    let mut payload = vec![0; length];
    from.read_exact(&mut payload)?;
    Ok(Some(Frame { kind: kind[0], payload }))
}

#[cfg(test)]
mod tests;

//! Byte stuffing, as in RFC 1662 (PPP in HDLC-like framing): the flag never appears within data.
//!
//! Pure. What can go wrong: behind an escape comes what is never sent there, and the session is
//! broken. Random data grows by one byte in 128.

/// Marks the beginning of a session. Never data, not even behind an escape.
pub const FLAG: u8 = 0x7e;

const ESCAPE: u8 = 0x7d;
const FLIP: u8 = 0x20;

/// Appends `data` to `out`, stuffed.
pub fn stuff(data: &[u8], out: &mut Vec<u8>) {
    for &byte in data {
        if matches!(byte, FLAG | ESCAPE) {
            out.extend([ESCAPE, byte ^ FLIP]);
        } else {
            out.push(byte);
        }
    }
}

/// Undoes it, piece by piece.
#[derive(Debug, Clone, Default)]
pub struct Unstuffer {
    escaped: bool,
}

/// How far a piece was taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Taken {
    /// How many bytes of it, with what it ended at.
    pub used: usize,
    /// Why no further.
    pub ended: End,
}

/// Where the taking of a piece ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// At its end: the session goes on in the next one.
    Piece,
    /// At a flag: what comes next belongs to another session.
    Flag,
    /// Behind an escape at what [`stuff`] never puts there.
    Broken,
}

impl Unstuffer {
    /// Takes a piece up to its first flag, or to what no sender writes, and appends the data in it
    /// to `out`: at least one byte for two of the piece, but for an escape at either end of it.
    /// Were escapes taken without end, a sender that is paid by the data could have any number of
    /// bytes read for nothing.
    pub fn take(&mut self, piece: &[u8], out: &mut Vec<u8>) -> Taken {
        for (at, &byte) in piece.iter().enumerate() {
            let used = at + 1;
            match (byte, std::mem::take(&mut self.escaped)) {
                // A session may have been cut off behind an escape.
                (FLAG, _) => return Taken { used, ended: End::Flag },
                (ESCAPE, false) => self.escaped = true,
                (_, false) => out.push(byte),
                (_, true) if matches!(byte ^ FLIP, FLAG | ESCAPE) => out.push(byte ^ FLIP),
                (_, true) => return Taken { used, ended: End::Broken },
            }
        }
        Taken { used: piece.len(), ended: End::Piece }
    }
}

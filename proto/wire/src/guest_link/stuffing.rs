//! Byte stuffing, as in RFC 1662 (PPP in HDLC-like framing): the flag never appears within data.
//!
//! Pure. Nothing can go wrong: every input means something. Random data grows by one byte in 128.

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
    /// How many bytes of it, the flag included.
    pub used: usize,
    /// It ended at a flag: what comes next belongs to another session.
    pub flag: bool,
}

impl Unstuffer {
    /// Takes a piece up to its first flag and appends the data in it to `out`.
    pub fn take(&mut self, piece: &[u8], out: &mut Vec<u8>) -> Taken {
        for (at, &byte) in piece.iter().enumerate() {
            match byte {
                // A session may have been cut off behind an escape.
                FLAG => {
                    self.escaped = false;
                    return Taken { used: at + 1, flag: true };
                }
                ESCAPE => self.escaped = true,
                _ if std::mem::take(&mut self.escaped) => out.push(byte ^ FLIP),
                _ => out.push(byte),
            }
        }
        Taken { used: piece.len(), flag: false }
    }
}

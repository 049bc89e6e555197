//! The etag of a stored object: for a change that must not overwrite somebody else's.

use sha2::{Digest as _, Sha256};

/// An opaque text that changes with every generation of one thing and differs between things.
pub(crate) fn etag(kind: &[u8], id: &str, generation: u64) -> String {
    let mut hash = Sha256::new();
    hash.update(kind);
    hash.update(id.as_bytes());
    hash.update(generation.to_be_bytes());
    hex::encode(&hash.finalize()[..8])
}

#[cfg(test)]
mod tests;

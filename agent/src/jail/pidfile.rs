//! The pidfile that the jailer writes: digits, with or without white space around. Pure.
//!
//! It lies in the jail, which the VMM's user owns, and it outlives the process: whatever it says
//! is a hint to look at, never a reason to signal.

use crate::host::Pid;

/// What is no pid.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the pidfile holds {shown:?}, which is no pid")]
pub struct Garbage {
    /// The beginning of the content, for showing.
    pub shown: String,
}

/// Reads the content of a pidfile.
///
/// # Errors
/// [`Garbage`]: empty, not only digits, zero, or too large for a pid.
pub fn parse(content: &[u8]) -> Result<Pid, Garbage> {
    std::str::from_utf8(content)
        .ok()
        .map(|text| text.trim_matches(|c: char| c.is_ascii_whitespace() || c == '\0'))
        // `u32::from_str` takes a sign; a pidfile has none.
        .filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()))
        .and_then(|text| text.parse().ok())
        .and_then(Pid::new)
        .ok_or_else(|| {
            let shown = String::from_utf8_lossy(&content[..content.len().min(32)]);
            Garbage { shown: shown.into_owned() }
        })
}

#[cfg(test)]
mod tests;

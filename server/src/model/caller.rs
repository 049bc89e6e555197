//! Who asks: made once per call, by the layer that every call passes, and handed on beside what is
//! asked.
//!
//! Nothing here says what is to change; that is a mutation ([`super::ledger`]). What the server
//! does by itself has a caller too: itself.

use std::sync::Arc;

use jiff::Timestamp;

/// What a caller may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Grants {
    /// What needs no token: joining with a join token, health, reflection.
    Open,
    /// Everything.
    All,
}

/// Who asks, what they may do, on behalf of which request, and when.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// As it is written into the history: a principal of the API, `host <name>`, or
    /// `banger-server`.
    pub actor: Arc<str>,
    /// What they may do.
    pub grants: Grants,
    /// W3C trace context of the request; empty when it has none.
    pub trace: String,
    /// When it was asked.
    pub at: Timestamp,
}

impl Caller {
    /// The server itself.
    pub fn server(at: Timestamp) -> Self {
        Self { actor: "banger-server".into(), grants: Grants::All, trace: String::new(), at }
    }

    /// The same caller at a later time, for what is decided long after the call began.
    #[must_use]
    pub fn at(&self, at: Timestamp) -> Self {
        Self { at, ..self.clone() }
    }
}

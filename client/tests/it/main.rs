//! The library over real connections, against a small server of its own (`banger-fake-server`).

#![expect(clippy::unwrap_used, reason = "a test whose footing is missing has failed")]

mod library;
mod proxy;
mod watching;

//! The wire and the words: what every part of banger has in common.
//!
//! - [`v1`]: the public API, [`agent_v1`]: what server and agent say to each other, [`guest_v1`]:
//!   what a host and its guests do. Generated from the `.proto` files beside this crate by
//!   `examples/gen.rs` and committed.
//! - [`causes`]: an error and its causes in one line.
//! - [`ids`]: typed ids and counters. Parse, print and order; no I/O.
//! - [`guest_link`]: how the bytes between a host and a guest agent are carried, so that a new
//!   connection begins cleanly whatever became of the one before.
//! - [`resets`]: for servers: requests that were broken off, told apart from those that ended.
//! - [`wire`]: what both ends of a connection must agree on: limits, TLS, trace context,
//!   telemetry.
//! - `service` (a feature): what server and agent are alike in as services.

pub mod causes;
pub mod guest_link;
pub mod ids;
pub mod resets;
#[cfg(feature = "service")]
pub mod service;
#[cfg(feature = "wire")]
pub mod wire;

/// The public API, package `banger.v1`.
#[expect(missing_docs, reason = "generated; the comments are in the .proto files")]
#[expect(clippy::all, clippy::allow_attributes, reason = "generated")]
pub mod v1 {
    include!("gen/banger.v1.rs");
}

/// Between server and agent, package `banger.agent.v1`.
#[expect(missing_docs, reason = "generated; the comments are in the .proto files")]
#[expect(clippy::all, clippy::allow_attributes, reason = "generated")]
pub mod agent_v1 {
    include!("gen/banger.agent.v1.rs");
}

/// Between the agent of a host and the guest agent, package `banger.guest.v1`.
#[expect(missing_docs, reason = "generated; the comments are in the .proto files")]
#[expect(clippy::allow_attributes, reason = "generated")]
pub mod guest_v1 {
    include!("gen/banger.guest.v1.rs");
}

/// Descriptors of all packages, for reflection.
pub const FILE_DESCRIPTOR_SET: &[u8] = include_bytes!("gen/descriptors.bin");

//! The messages and the words: what every part of banger says to the others.
//!
//! - [`v1`]: the public API, [`agent_v1`]: what server and agent say to each other, [`guest_v1`]:
//!   what a host and its guests do. Generated from the `.proto` files beside this crate by
//!   `examples/gen` and committed.
//! - [`ids`]: typed ids and counters. Parse, print and order; no I/O.
//! - [`bounds`]: what a message may hold.
//! - [`words`]: texts of those who are not believed to be short or clean.
//!
//! How the messages travel is the crate `banger-wire`'s.

#![warn(missing_docs)]

pub mod bounds;
pub mod ids;
pub mod words;

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

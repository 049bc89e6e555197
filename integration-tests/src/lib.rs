//! What the tests of the whole of banger stand on.
//!
//! - [`programs`]: the programs of this workspace as processes, each with a log, ended by pid.
//! - [`fleet`]: a real server and real agents on simulated hosts, over loopback, that can be
//!   killed, stopped and started again on the same state.
//! - [`pages`]: the documents, and what they say to type.
//! - [`ports`]: where programs of a test listen that nobody else does.
//! - [`machine`]: what the simulated machine of a host holds.
//! - [`watching`]: lists and watch streams, held to their rules.
//! - [`provider`]: a provider of identities, who misbehaves where a test asks for it.
//! - [`proxy`]: a link that can be cut, held and slowed.
//! - [`soak`]: random kills under load, and the oracle that says what was lost.
//! - [`wait`]: waiting on a predicate, with the last answer in the failure.
//! - [`specs`]: VMs to ask for.

pub mod fleet;
pub mod machine;
pub mod pages;
pub mod ports;
pub mod programs;
pub mod provider;
pub mod proxy;
pub mod soak;
pub mod specs;
pub mod wait;
pub mod watching;

//! One VM on this host.
//!
//! ```text
//!            ┌───────── failed step: undone, tried again with back-off ─────────┐
//!            ▼                                                                  │
//!  nothing ─▶ preparing ─▶ starting ─▶ running ◀─▶ paused                       │
//!            ▲    │            │          │  │                                  │
//!            │    └────────────┴──────────┼──┼──────────────────────────▶ failed┘
//!            │                            │  └─ ended by itself ─▶ crashed ─┐
//!            │                            ▼                                 │ policy
//!            │                        stopping ─▶ stopped                   │
//!            └───────────────────────────────────────┴──────────────────────┘
//!      any ─▶ deleting ─▶ gone            any ─▶ unclear: nothing is done
//! ```
//!
//! - [`record`]: what is wanted, on disk; [`stale`]: what refuses the old where no record does.
//!   [`memory`]: what this life of the agent remembers.
//! - [`adopt`]: what to do with a VM at the start of the agent.
//! - [`probe`]: what the kernel says. [`plan`]: what to do next, pure. [`effect`]: what can be
//!   done, as data. [`apply`]: doing it.
//! - [`machine`]: one VM as its task holds it; `look` and `publish` are parts of it.
//! - [`task`]: the loop over them. [`status`] and [`exit`]: what is shown, as a
//!   [phase](crate::report::phase).
//! - [`cow`]: how large the store behind a root disk is to be.
//! - `seed`: what the guest is told of itself, as a document and as a disk.
//! - [`shared`]: what all VMs share; [`bases`]: the users of the loop devices of root images;
//!   [`addresses`]: who has which address.
//!
//! A crash of the agent at any point leaves objects whose names are functions of the VM's id; the
//! next life finds them, keeps a VM whose process lives, and tears down the rest before it starts
//! anything.

pub mod addresses;
pub mod adopt;
pub mod apply;
pub mod bases;
mod bounds;
pub mod cow;
pub mod effect;
pub mod exit;
mod look;
pub mod machine;
pub mod memory;
pub mod plan;
pub mod probe;
mod publish;
pub mod record;
mod seed;
pub mod shared;
pub mod stale;
pub mod status;
pub mod task;

#[cfg(test)]
pub(crate) mod fixtures;
#[cfg(test)]
mod tests;

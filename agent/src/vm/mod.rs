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
//! - [`record`]: what is wanted, on disk; [`fence`]: what refuses the old where no record does.
//!   [`memory`]: what this life of the agent remembers.
//! - [`probe`]: what the kernel says. [`plan`]: what to do next, pure. [`effect`]: what can be
//!   done, as data. [`apply`]: doing it.
//! - [`machine`]: one VM as its task holds it; `look` and `publish` are parts of it.
//! - [`task`]: the loop over them. [`phase`], [`status`] and [`exit`]: what is shown.
//! - [`store`]: how large the store behind a root disk is to be.
//! - `seed`: what the guest is told of itself, as a document and as a disk.
//! - [`shared`]: what all VMs share; [`bases`]: the users of the loop devices of root images.
//!
//! A crash of the agent at any point leaves objects whose names are functions of the VM's id; the
//! next life finds them, keeps a VM whose process lives, and tears down the rest before it starts
//! anything.

pub mod apply;
pub mod bases;
pub mod effect;
pub mod exit;
pub mod fence;
mod look;
pub mod machine;
pub mod memory;
pub mod phase;
pub mod plan;
pub mod probe;
mod publish;
pub mod record;
mod seed;
pub mod shared;
pub mod status;
pub mod store;
pub mod task;

#[cfg(test)]
pub(crate) mod fixtures;
#[cfg(test)]
mod tests;

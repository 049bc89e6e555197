//! The one table that everybody reads, and its changes in order.
//!
//! The [`View`] joins intents (from the store, after each commit) and observations (from the
//! sessions) under one mutex, and gives every change of a VM or a host one revision. Four kinds of
//! readers:
//!
//! - a list takes a [`Snapshot`], which costs nothing and holds up nobody;
//! - a stream holds a [`Watcher`], a cursor over the table's changes;
//! - a wait holds a [`VmWait`], woken by changes of its VM only;
//! - a driver asks for the VMs of its host that need something, and is woken when there are some.
//!
//! ```text
//! store ── committed ─▶ ┌──────────────┐ ─▶ ring of segments ─▶ watchers that keep up
//!                       │ table, index │ ─▶ index by revision ─▶ watchers that fell behind
//! session ── observed ─▶└──────────────┘ ─▶ unsettled per host ─▶ reconcile
//! ```
//!
//! A change is encoded once, by the first stream that sends it, and shared by the others. A
//! watcher that falls behind the ring skips from its cursor through the index by revision: it sees
//! each VM's newest state, in order, and never holds up a writer. Nothing here grows with the
//! number of changes: the ring and the list of deleted VMs are bounded, and a cursor older than
//! both is answered with "list again". What went before this life of the server comes from the
//! store, so that a stream goes on over a restart.

mod catch_up;
mod host;
mod record;
mod ring;
mod snapshot;
mod start_states;
mod table;
mod traffic;
mod view;
mod wait;
mod waiters;
mod wants;
mod watched;
mod watcher;

pub use host::HostSnapshot;
pub use record::VmRecord;
pub use ring::{ChangeKind, Encoded, Event, Segment};
#[cfg(test)]
pub(crate) use snapshot::LOOKED_AT;
pub use snapshot::Snapshot;
#[cfg(test)]
pub(crate) use table::needs_the_server;
pub use table::{Limits, TooOldWhy};
pub use view::{HostRecords, View};
pub use wait::VmWait;
pub use wants::{Interest, Wants};
pub use watched::{PastThing, Watched};
pub use watcher::{ChangeBatch, Changes, WatchEnd, Watcher};

//! What banger means: wishes, hosts, what is seen, and what follows from them.
//!
//! Pure: values in, values out. No task, no clock, no SQL, no message of the wire. The edge turns
//! requests into drafts and mutations, the store's writer asks the [`ledger`] what they change, the
//! watch view computes a [`status::VmStatus`] from wish and observation. Whatever can be refused is
//! refused here, with the reason as a value.

pub mod access;
pub mod affinity;
pub mod agent_address;
pub mod audience;
pub mod audit;
pub mod audit_room;
pub mod caller;
pub mod capacity;
mod etag;
pub mod filter;
pub mod guest;
pub mod history;
pub mod host;
pub mod image;
pub mod intent;
pub mod inventory;
pub mod labels;
pub mod ledger;
pub mod names;
pub mod observed;
pub mod past;
pub mod placement;
pub mod project;
pub mod rate;
pub mod request;
pub mod retention;
pub mod spec;
pub mod status;
pub mod strategy;
pub mod subnet;
pub mod token;

#[cfg(test)]
pub(crate) mod fixtures;

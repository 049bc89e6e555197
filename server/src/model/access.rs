//! Who may do what: the one function that decides it.
//!
//! A method of the API is an action on a kind of thing (the API has the table), and [`authorize`]
//! says whether a caller may do that. It is pure. A new kind of thing does not compile until
//! [`needed`] says who may read and who may change it.

use std::sync::Arc;

use super::caller::{Caller, Grants, Role};

/// What is done to a [`Resource`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// It is looked at.
    Read,
    /// It is made, changed, removed or, where it is a guest, acted in.
    Change,
}

/// A kind of thing that calls are about. All of a kind belong to the fleet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Resource {
    /// What strangers may ask: health, reflection, a join with its own proof.
    Door,
    /// VMs, with their states and histories.
    Vm,
    /// Metadata documents of VMs, which may hold secrets.
    Metadata,
    /// What is in a guest: its console, programs, files, ports.
    Guest,
    /// Hosts, what is on them, and the tokens that they join with.
    Host,
    /// Images and uploads.
    Image,
    /// Tokens of callers.
    Token,
    /// Who did what.
    Audit,
    /// A method of which nobody has said what it is about.
    Unlisted,
}

/// Why a caller may not do something.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// They have shown no identity.
    #[error("this needs an identity")]
    Stranger,
    /// Their role is too small.
    #[error("{who} is {has}; this needs the role {needed}")]
    Role {
        /// The principal.
        who: Arc<str>,
        has: Role,
        /// The least role that would do.
        needed: Role,
    },
}

/// Whether a caller may do this to things of this kind.
///
/// # Errors
/// Why not.
pub fn authorize(caller: &Caller, action: Action, resource: Resource) -> Result<(), Refused> {
    match (needed(action, resource), caller.grants) {
        (None, _) => Ok(()),
        (Some(_), Grants::Open) => Err(Refused::Stranger),
        (Some(needed), Grants::Role(has)) if has >= needed => Ok(()),
        (Some(needed), Grants::Role(has)) => {
            Err(Refused::Role { who: Arc::clone(&caller.actor), has, needed })
        }
    }
}

/// The least role that may do this; `None`: everybody may.
fn needed(action: Action, resource: Resource) -> Option<Role> {
    match (resource, action) {
        (Resource::Door, Action::Read | Action::Change) => None,
        (Resource::Vm | Resource::Host | Resource::Image, Action::Read) => Some(Role::Viewer),
        (Resource::Vm | Resource::Host | Resource::Image, Action::Change)
        | (Resource::Guest | Resource::Metadata, Action::Read | Action::Change) => {
            Some(Role::Operator)
        }
        (Resource::Token | Resource::Audit | Resource::Unlisted, Action::Read | Action::Change) => {
            Some(Role::Admin)
        }
    }
}

/// Whether somebody who looks at a VM sees its metadata too, and what its guest said last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Secrets {
    Shown,
    Hidden,
}

impl Secrets {
    /// What this caller sees.
    pub fn for_caller(caller: &Caller) -> Self {
        match authorize(caller, Action::Read, Resource::Metadata) {
            Ok(()) => Self::Shown,
            Err(_) => Self::Hidden,
        }
    }
}

#[cfg(test)]
mod tests;

//! Who may do what, and to whose: the one function that decides it.
//!
//! A method of the API is an action on a kind of thing (the API has the table), and [`authorize`]
//! says whether a caller may do that, to things of a project or at all. It is pure. A new kind of
//! thing does not compile until [`needed`] says who may read and who may change it.
//!
//! What is of a project that is not the caller's is [`Refused::NotThere`], and whoever is told so
//! must not be able to tell it from what does not exist.

use std::sync::Arc;

use super::caller::{Caller, Grants, ProjectRole, Rights, Role};
use super::project::ProjectName;

/// What is done to a [`Resource`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// It is looked at.
    Read,
    /// It is made, changed, removed or, where it is a guest, acted in.
    Change,
}

/// A kind of thing that calls are about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Resource {
    /// Who the caller is.
    Myself,
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
    /// Images that VMs of every project may boot from, and which they are.
    PublicImage,
    /// What of the server's own machine an import may use: files below its import directories,
    /// names and passwords for registries, registries on it.
    ImportSource,
    /// Tokens of callers.
    Token,
    /// Projects themselves.
    Project,
    /// Who did what.
    Audit,
    /// A method of which nobody has said what it is about.
    Unlisted,
}

/// Whose it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Of<'a> {
    /// Nothing is said of that yet: whether they may at all, for a project's callers to what is
    /// their own.
    Any,
    /// It belongs to this project.
    Project(&'a ProjectName),
}

/// Why a caller may not do something.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// They have shown no identity.
    #[error("this needs an identity")]
    Stranger,
    /// It is another project's: to them it is not there.
    #[error("it is not there")]
    NotThere,
    /// Their role is too small.
    #[error("{who} is {has}; this needs the role {needed}{}", whole(has, *needed))]
    Role {
        /// The principal.
        who: Arc<str>,
        has: Rights,
        /// The least role that would do.
        needed: Needed,
    },
}

/// The least role that would do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Needed {
    /// One of the whole fleet.
    Fleet(Role),
    /// One of the project.
    Project(ProjectRole),
}

impl Needed {
    /// Its word.
    pub fn role(self) -> &'static str {
        match self {
            Self::Fleet(role) => role.as_str(),
            Self::Project(role) => role.as_str(),
        }
    }
}

/// What a project's caller has to be told besides: that no role of a project would do.
fn whole(has: &Rights, needed: Needed) -> &'static str {
    match (has, needed) {
        (Rights::Project(..), Needed::Fleet(_)) => " of the whole fleet",
        (_, _) => "",
    }
}

impl std::fmt::Display for Needed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.role())
    }
}

/// Whether a caller may do this to things of this kind that are whose it says.
///
/// # Errors
/// Why not.
pub fn authorize(
    caller: &Caller,
    action: Action,
    resource: Resource,
    of: Of<'_>,
) -> Result<(), Refused> {
    let Some((fleet, project)) = needed(action, resource) else { return Ok(()) };
    let refused = |has: &Rights, needed| {
        Err(Refused::Role { who: Arc::clone(&caller.actor), has: has.clone(), needed })
    };
    match (&caller.grants, of) {
        (Grants::Open, _) => Err(Refused::Stranger),
        (Grants::To(Rights::Fleet(has)), _) if *has >= fleet => Ok(()),
        (Grants::To(rights @ Rights::Fleet(_)), _) => refused(rights, Needed::Fleet(fleet)),
        // Before their role: it would tell them that it is there.
        (Grants::To(Rights::Project(own, _)), Of::Project(other)) if own != other => {
            Err(Refused::NotThere)
        }
        (Grants::To(rights @ Rights::Project(_, has)), _) => match project {
            Some(needed) if *has >= needed => Ok(()),
            Some(needed) => refused(rights, Needed::Project(needed)),
            None => refused(rights, Needed::Fleet(fleet)),
        },
    }
}

/// The least roles that may do this: of the fleet, and of a project to what is its own, if any may.
/// `None`: everybody may.
fn needed(action: Action, resource: Resource) -> Option<(Role, Option<ProjectRole>)> {
    use ProjectRole as P;
    Some(match (resource, action) {
        (Resource::Door, Action::Read | Action::Change) => return None,
        (Resource::Vm | Resource::Image | Resource::Project, Action::Read)
        | (Resource::Myself, Action::Read | Action::Change) => (Role::Viewer, Some(P::Viewer)),
        (Resource::Vm | Resource::Image, Action::Change)
        | (Resource::Guest | Resource::Metadata, Action::Read | Action::Change) => {
            (Role::Operator, Some(P::Developer))
        }
        (Resource::Host | Resource::PublicImage, Action::Read) => (Role::Viewer, None),
        (Resource::Host | Resource::PublicImage, Action::Change)
        | (Resource::ImportSource, Action::Read | Action::Change) => (Role::Operator, None),
        (Resource::Token, Action::Read | Action::Change) => (Role::Admin, Some(P::Admin)),
        (Resource::Project, Action::Change)
        | (Resource::Audit | Resource::Unlisted, Action::Read | Action::Change) => {
            (Role::Admin, None)
        }
    })
}

impl Caller {
    /// Who they are where few of something are shared: a principal of the fleet, or all of a
    /// project's together, whose admin makes as many of them as they like.
    pub fn party(&self) -> String {
        self.only().map_or_else(|| self.actor.to_string(), Self::party_of)
    }

    /// The party of all callers of this project. No principal is called so.
    pub fn party_of(project: &ProjectName) -> String {
        format!("{project}/")
    }

    /// On whose account they are where what they hold of the server is counted: the party's. Those
    /// who may take back its tokens have one beside it, which the others can't fill.
    pub fn account(&self) -> String {
        let party = self.party();
        match authorize(self, Action::Change, Resource::Token, Of::Any) {
            Ok(()) => format!("{party} admins"),
            Err(_) => party,
        }
    }

    /// Whether what belongs to this project is there for them. Every lookup of a VM, an image or a
    /// token goes by it.
    pub fn sees(&self, project: &ProjectName) -> bool {
        authorize(self, Action::Read, Resource::Vm, Of::Project(project)).is_ok()
    }

    /// The one project that is all they see; `None`: they see the whole fleet.
    pub fn only(&self) -> Option<&ProjectName> {
        match &self.grants {
            Grants::To(Rights::Project(own, _)) => Some(own),
            Grants::To(Rights::Fleet(_)) | Grants::Open => None,
        }
    }

    /// The project that they mean where they name none.
    pub fn home(&self) -> ProjectName {
        self.only().cloned().unwrap_or_default()
    }

    /// Whether they may know which hosts there are, what they have, and what others use of it.
    pub fn sees_hosts(&self) -> bool {
        authorize(self, Action::Read, Resource::Host, Of::Any).is_ok()
    }
}

/// Whether somebody who looks at a VM sees its metadata too, and what its guest said last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Secrets {
    Shown,
    Hidden,
}

impl Secrets {
    /// What this caller sees, of VMs that they see at all.
    pub fn for_caller(caller: &Caller) -> Self {
        match authorize(caller, Action::Read, Resource::Metadata, Of::Any) {
            Ok(()) => Self::Shown,
            Err(_) => Self::Hidden,
        }
    }
}

#[cfg(test)]
mod tests;

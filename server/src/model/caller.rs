//! Who asks: made once per call, by the layer that every call passes, and handed on beside what is
//! asked.
//!
//! Nothing here says what is to change; that is a mutation ([`super::ledger`]). What the server
//! does by itself has a caller too: itself.

use std::fmt;
use std::net::SocketAddr;
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use jiff::Timestamp;

use super::project::ProjectName;

/// Who the history calls the server itself. No principal has this name.
pub const SERVER: &str = "banger-server";

/// Callers that have shown no token, where the listener is not loopback and where it is.
pub const ANONYMOUS: &str = "anonymous";
/// See [`ANONYMOUS`].
pub const LOCAL: &str = "local";

/// What somebody is to the fleet. Each may do all that those before it may.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// Looks at everything that holds no secret.
    Viewer,
    /// Runs the fleet: hosts, images, every VM and what is in it.
    Operator,
    /// Everything.
    Admin,
}

impl Role {
    /// All of them, the least first.
    pub const ALL: [Self; 3] = [Self::Viewer, Self::Operator, Self::Admin];

    /// Its word in files, errors and listings.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::Operator => "operator",
            Self::Admin => "admin",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Role {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        Self::ALL.into_iter().find(|role| role.as_str() == text).ok_or(())
    }
}

/// What somebody is to one project. Each may do all that those before it may.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ProjectRole {
    /// Looks at everything of it that holds no secret.
    Viewer,
    /// Its VMs, what is in them, and its images.
    Developer,
    /// Everything of it: its tokens too.
    Admin,
}

impl ProjectRole {
    /// All of them, the least first.
    pub const ALL: [Self; 3] = [Self::Viewer, Self::Developer, Self::Admin];

    /// Its word in errors, listings and the database.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::Developer => "developer",
            Self::Admin => "admin",
        }
    }
}

impl fmt::Display for ProjectRole {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for ProjectRole {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        Self::ALL.into_iter().find(|role| role.as_str() == text).ok_or(())
    }
}

/// What somebody is, and to what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Rights {
    /// To the whole fleet, every project included.
    Fleet(Role),
    /// To this project alone: nothing else is there for them.
    Project(ProjectName, ProjectRole),
}

impl Rights {
    /// The word of the role.
    pub fn role(&self) -> &'static str {
        match self {
            Self::Fleet(role) => role.as_str(),
            Self::Project(_, role) => role.as_str(),
        }
    }

    /// The project; `None`: the whole fleet.
    pub fn project(&self) -> Option<&ProjectName> {
        match self {
            Self::Fleet(_) => None,
            Self::Project(project, _) => Some(project),
        }
    }
}

impl fmt::Display for Rights {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fleet(role) => role.fmt(f),
            Self::Project(project, role) => write!(f, "{role} of project {project}"),
        }
    }
}

/// What a caller may do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Grants {
    /// What needs no identity: joining with a join token, health, reflection.
    Open,
    /// What these may do: [`super::access::authorize`].
    To(Rights),
}

impl Grants {
    /// A role of the whole fleet.
    pub const fn fleet(role: Role) -> Self {
        Self::To(Rights::Fleet(role))
    }
}

/// Who holds a token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Principal {
    /// As it is written into the history.
    pub name: Arc<str>,
    pub rights: Rights,
}

/// Who asks, what they may do, on behalf of which request, and when.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// As it is written into the history: a principal of the API, `host <name>`, or
    /// `banger-server`.
    pub actor: Arc<str>,
    /// What they may do.
    pub grants: Grants,
    /// W3C trace context of the request; empty when it has none.
    pub trace: String,
    /// When it was asked.
    pub at: Timestamp,
    /// The id of the token that they call with, where it was made by a call: they change nothing
    /// once it is gone or has expired.
    pub token: Option<Arc<str>>,
    /// What others have vouched for them by, where it is no token of this server: they change
    /// nothing once it has expired.
    pub vouched: Option<Vouch>,
    /// Whether what they call with was taken back since, a line of the token file too: they change
    /// nothing then.
    pub ended: Ended,
    /// The call that they make, for the audit; `None`: none of the API's.
    pub call: Option<Arc<CallOf>>,
}

/// What somebody else than this server has signed for who somebody is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Vouch {
    /// How the audit calls it: what kind it is, and 16 digits of its digest.
    pub id: Arc<str>,
    /// Who has signed it.
    pub by: Arc<str>,
    /// Not good from then on.
    pub expires_at: Timestamp,
}

/// The call of the API that somebody makes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CallOf {
    /// Full, such as `banger.v1.VmService/DeleteVm`.
    pub method: &'static str,
    /// Where its connection comes from.
    pub peer: Option<SocketAddr>,
}

/// The sign that an identity is good no longer, which all that was begun with it shares. Set once
/// and for ever; nobody waits for it.
#[derive(Debug, Clone, Default)]
pub struct Ended(Arc<AtomicBool>);

impl Ended {
    /// From now on nothing is decided for whoever holds this.
    pub fn set(&self) {
        self.0.store(true, Ordering::Release);
    }

    pub fn is_set(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

/// The same sign, not one that says the same.
impl PartialEq for Ended {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for Ended {}

impl Caller {
    /// The server itself.
    pub fn server(at: Timestamp) -> Self {
        Self {
            actor: SERVER.into(),
            grants: Grants::fleet(Role::Admin),
            trace: String::new(),
            at,
            token: None,
            vouched: None,
            ended: Ended::default(),
            call: None,
        }
    }

    /// The id of what they call with, as the audit says it; empty for a line of the token file.
    pub fn shown_id(&self) -> &str {
        let vouched = self.vouched.as_ref().map(|vouched| &vouched.id);
        self.token.as_ref().or(vouched).map_or("", |id| id)
    }

    /// The same caller at a later time, for what is decided long after the call began: their token
    /// has to be good then.
    #[must_use]
    pub fn at(&self, at: Timestamp) -> Self {
        Self { at, ..self.clone() }
    }

    /// The same caller for writing down what was done for them: it was done, also when their token
    /// has gone since.
    #[must_use]
    pub fn for_the_record(&self) -> Self {
        Self { token: None, vouched: None, ended: Ended::default(), ..self.clone() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn roles_are_read_back_from_their_words() {
        for role in Role::ALL {
            assert_eq!(role.to_string().parse(), Ok(role));
        }
        assert_eq!("root".parse::<Role>(), Err(()));
        for role in ProjectRole::ALL {
            assert_eq!(role.to_string().parse(), Ok(role));
        }
        assert_eq!("operator".parse::<ProjectRole>(), Err(()));
    }
}

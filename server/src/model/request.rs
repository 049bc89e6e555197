//! Requests that name themselves, so that a repetition is known.
//!
//! Whoever does not hear the answer to a change sends it again with the same id. The ledger answers
//! the repetition as things stand, and changes nothing: neither twice, nor with "somebody else has
//! changed it" after its own success. What was done is stored with what it has changed, and kept
//! for a stated time. A create needs none of this: its ids are in the VM's own row.

use std::fmt;
use std::str::FromStr;

use banger_proto::ids::{HostId, VmId};
use jiff::Timestamp;
use uuid::Uuid;

use super::project::{Named, ProjectName};

/// The id that a client gave a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RequestId(pub Uuid);

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.hyphenated().fmt(f)
    }
}

/// A request that names itself, and what it asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RequestKey {
    pub id: RequestId,
    /// sha256 of what it asks for, but for the object's name.
    pub fingerprint: [u8; 32],
}

/// What a request was about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RequestTarget {
    Vm(VmId),
    Host(HostId),
    /// An image, by project and name.
    Image(Named),
    Project(ProjectName),
    /// A token, by id.
    Token(String),
}

impl fmt::Display for RequestTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Vm(id) => write!(f, "vm {id}"),
            Self::Host(id) => write!(f, "host {id}"),
            Self::Image(named) => write!(f, "image {}", named.text()),
            Self::Project(name) => write!(f, "project {name}"),
            Self::Token(id) => write!(f, "token {id}"),
        }
    }
}

impl FromStr for RequestTarget {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        match text.split_once(' ').ok_or(())? {
            ("vm", id) => id.parse().map(Self::Vm).map_err(|_| ()),
            ("host", id) => id.parse().map(Self::Host).map_err(|_| ()),
            ("image", name) => {
                Named::parse(name, &ProjectName::default()).map(Self::Image).map_err(|_| ())
            }
            ("project", name) => ProjectName::parse(name).map(Self::Project).map_err(|_| ()),
            ("token", id) => Ok(Self::Token(id.to_owned())),
            _ => Err(()),
        }
    }
}

/// A request that was done: a row of the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DoneRequest {
    /// Which, and what it asked for.
    pub key: RequestKey,
    /// What it was about.
    pub target: RequestTarget,
    /// The project that was all that whoever asked for it saw; `None`: they saw the fleet, or asked
    /// before that was kept.
    pub project: Option<ProjectName>,
    /// Whose share of what is remembered it is: see
    /// [`Caller::party`](super::caller::Caller::party).
    pub party: String,
    pub at: Timestamp,
}

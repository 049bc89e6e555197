//! How requests name what they are about: by id or by name, and which state of it they have seen.

use banger_proto::ids::{HostId, VmId};

/// A VM as requests name it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum VmRef {
    Id(VmId),
    /// By the name of a living VM.
    Name(String),
}

impl std::fmt::Display for VmRef {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Id(id) => id.fmt(f),
            // Debug form: a reference from outside may hold anything.
            Self::Name(name) => write!(f, "{name:?}"),
        }
    }
}

/// A host as requests name it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HostRef {
    Id(HostId),
    Name(String),
}

impl std::fmt::Display for HostRef {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Id(id) => id.fmt(f),
            Self::Name(name) => write!(f, "{name:?}"),
        }
    }
}

/// Etag of a request: when it is given it must be the present one.
pub type IfMatch = Option<String>;

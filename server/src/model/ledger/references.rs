//! How requests name what they are about: by id, or by a name, which of a VM is one in its project;
//! and which state of it they have seen.

use std::fmt;

use banger_proto::ids::{HostId, VmId};

use crate::model::project::Named;

/// A VM as requests name it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum VmRef {
    Id(VmId),
    /// By the name of a living VM, in its project.
    Name(Named),
}

impl fmt::Display for VmRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Id(id) => id.fmt(f),
            Self::Name(named) => named.fmt(f),
        }
    }
}

/// A host as requests name it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HostRef {
    Id(HostId),
    Name(String),
}

impl fmt::Display for HostRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Id(id) => id.fmt(f),
            Self::Name(name) => write!(f, "{name:?}"),
        }
    }
}

/// Etag of a request: when it is given it must be the present one.
pub type IfMatch = Option<String>;

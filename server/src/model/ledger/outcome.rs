//! What a mutation came to, whichever it was: the ledger says it, each mutation reads its answer
//! out of it.

use std::sync::Arc;

use banger_proto::ids::HostId;

use super::turn::Turn;
use crate::model::host::HostRecord;
use crate::model::image::ImageRecord;
use crate::model::intent::VmIntent;
use crate::model::project::ProjectRecord;
use crate::model::token::TokenRecord;

/// What any mutation came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The VM as it is wanted now.
    Vm {
        /// The row.
        intent: Arc<VmIntent>,
        /// Whether the mutation changed anything.
        changed: bool,
    },
    /// The VM is gone; this is its last row.
    VmGone(Arc<VmIntent>),
    /// VMs without a host were looked at.
    Placed {
        /// How many were placed by this mutation.
        placed: usize,
        /// How many are left without a host.
        pending: usize,
        /// Those that come after this one are still to be looked at; `None`: all were, and none of
        /// those that are left could have one now.
        rest_after: Option<Turn>,
    },
    /// A sweep of a host is written down.
    Sweep {
        host: HostId,
        /// It is to begin now; else the same request began one before.
        begins: bool,
    },
    /// The lines were written.
    Recorded,
    /// The host as it is now.
    Host(Arc<HostRecord>),
    /// The host is gone; this is its last row.
    HostGone(Arc<HostRecord>),
    /// The join token is kept.
    JoinTokenKept,
    /// The project as it is now.
    Project(Arc<ProjectRecord>),
    /// The project is gone; this is its last row.
    ProjectGone(Arc<ProjectRecord>),
    /// The token as it is now.
    Token(Arc<TokenRecord>),
    /// The token is forgotten.
    TokenGone(Revoked),
    /// The image as it is now.
    Image {
        /// The row.
        image: Arc<ImageRecord>,
        /// Whether the mutation changed anything.
        changed: bool,
    },
    /// The name is forgotten; this is its last row.
    ImageGone(Arc<ImageRecord>),
}

/// A token that is forgotten, and what became of what was made with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Revoked {
    /// Its last row.
    pub token: Arc<TokenRecord>,
    /// The tokens that were made with it, and with those, by name. They are gone too, or stay.
    pub made: Vec<Arc<TokenRecord>>,
    /// How many join tokens that no host has used went along.
    pub join_tokens: usize,
}

//! What is stored, as kinds of objects, and what a decision changes of it.
//!
//! An object is a row that is there under its key until it is removed. A new kind of object has its
//! row in the model, one file here that decides about it, one file in the store that is its table,
//! and a line in the list of each (`objects` here, `tables` there). What is only ever written, such
//! as a line of history, is no object and a variant of its own.

use std::collections::BTreeMap;
use std::fmt;
use std::hash::Hash;
use std::sync::Arc;

use banger_proto::ids::{HostId, VmId};
use jiff::Timestamp;

use super::JoinToken;
use crate::model::audit::AuditRecord;
use crate::model::history::HistoryEvent;
use crate::model::host::{HostRecord, KeyDigest, RevokedKey};
use crate::model::image::ImageRecord;
use crate::model::intent::VmIntent;
use crate::model::inventory::SweepRecord;
use crate::model::project::{Named, ProjectName, ProjectRecord};
use crate::model::request::DoneRequest;
use crate::model::token::TokenRecord;

/// A kind of stored object: one row for each.
pub trait Object {
    /// What finds it. Never changes.
    type Key: Clone + Ord + Hash + fmt::Debug;

    fn key(&self) -> Self::Key;
}

/// What becomes of one object.
#[derive(Debug, PartialEq)]
pub enum Edit<T> {
    /// It is new or different.
    Put(Arc<T>),
    /// It is gone.
    Remove {
        /// Its last row.
        last: Arc<T>,
        at: Timestamp,
    },
}

impl<T> Clone for Edit<T> {
    fn clone(&self) -> Self {
        match self {
            Self::Put(row) => Self::Put(Arc::clone(row)),
            Self::Remove { last, at } => Self::Remove { last: Arc::clone(last), at: *at },
        }
    }
}

impl<T: Object> Edit<T> {
    /// Which object.
    pub fn key(&self) -> T::Key {
        match self {
            Self::Put(row) | Self::Remove { last: row, .. } => row.key(),
        }
    }
}

/// The one list of kinds: each with its row, and what its key is.
macro_rules! objects {
    ($($(#[$doc:meta])* $kind:ident($row:ty): $key:ty = |$object:ident| $of:expr;)*) => {
        /// One change of what is stored.
        #[derive(Debug, Clone, PartialEq)]
        pub enum Change {
            $($(#[$doc])* $kind(Edit<$row>),)*
            /// A line of history is written.
            Event(HistoryEvent),
            /// A sweep was asked for, or has come to an end.
            Sweep(SweepRecord),
            /// A request that names itself was done.
            Request(DoneRequest),
            /// Somebody did something.
            Audit(Arc<AuditRecord>),
        }

        $(
            impl Object for $row {
                type Key = $key;

                fn key(&self) -> $key {
                    let $object = self;
                    $of
                }
            }

            impl From<Edit<$row>> for Change {
                fn from(edit: Edit<$row>) -> Self {
                    Self::$kind(edit)
                }
            }
        )*
    };
}

objects! {
    /// A VM. The id of one that is gone is kept as used up.
    Vm(VmIntent): VmId = |vm| vm.id;
    Host(HostRecord): HostId = |host| host.id;
    JoinToken(JoinToken): String = |token| token.id.clone();
    /// A key of an agent that is good for no host any more. Never removed.
    RevokedKey(RevokedKey): KeyDigest = |key| key.key_sha256;
    /// A project that was made.
    Project(ProjectRecord): ProjectName = |project| project.name.clone();
    /// A token of a caller.
    Token(TokenRecord): String = |token| token.id.clone();
    /// The name of an image, and the content that it stands for.
    Image(ImageRecord): Named = |image| image.named();
}

impl Change {
    /// The object is new or different.
    pub fn put<T>(row: Arc<T>) -> Self
    where
        Edit<T>: Into<Self>,
    {
        Edit::Put(row).into()
    }

    /// The object is gone from `at` on; `last` is its last row.
    pub fn remove<T>(last: Arc<T>, at: Timestamp) -> Self
    where
        Edit<T>: Into<Self>,
    {
        Edit::Remove { last, at }.into()
    }
}

/// All objects of one kind, by key. For kinds of which there are few; VMs and hosts have indexes of
/// their own.
#[derive(Debug, Clone)]
pub(super) struct Rows<T: Object>(BTreeMap<T::Key, Arc<T>>);

impl<T: Object> Default for Rows<T> {
    fn default() -> Self {
        Self(BTreeMap::new())
    }
}

impl<T: Object> Rows<T> {
    pub(super) fn apply(&mut self, edit: &Edit<T>) {
        match edit {
            Edit::Put(row) => drop(self.0.insert(row.key(), Arc::clone(row))),
            Edit::Remove { last, .. } => drop(self.0.remove(&last.key())),
        }
    }

    pub(super) fn get<Q>(&self, key: &Q) -> Option<&Arc<T>>
    where
        T::Key: std::borrow::Borrow<Q>,
        Q: Ord + ?Sized,
    {
        self.0.get(key)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Arc<T>> {
        self.0.values()
    }

    /// Those whose keys are not before this one, in order.
    pub(super) fn from<'a>(
        &'a self,
        key: &T::Key,
    ) -> impl Iterator<Item = &'a Arc<T>> + use<'a, T> {
        self.0.range(key..).map(|(_, row)| row)
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }
}

//! The tables of objects: what each has to do, and the list of them.
//!
//! A table is the half of a kind of object that knows SQL; the other half is in
//! [`crate::model::ledger`]. Each is a file of its own, and a line here.

use std::collections::HashMap;
use std::sync::Arc;

use jiff::Timestamp;
use sqlx::SqliteConnection;

use super::batch::Batch;
use super::error::StoreError;
use super::{audit, meta, requests};
use crate::model::audit::AuditRecord;
use crate::model::history::HistoryEvent;
use crate::model::host::{HostRecord, RevokedKey};
use crate::model::image::ImageRecord;
use crate::model::intent::VmIntent;
use crate::model::inventory::SweepRecord;
use crate::model::ledger::{Change, Edit, JoinToken, Ledger, LedgerConfig, Object};
use crate::model::project::ProjectRecord;
use crate::model::request::DoneRequest;
use crate::model::token::TokenRecord;

/// The table of one kind of object.
pub(super) trait Table: Object + Sized {
    /// Writes rows, new or changed. There is at least one.
    fn put(batch: &mut Batch, rows: &[&Self]);

    /// Removes rows, each with when it went. There is at least one.
    fn remove(batch: &mut Batch, gone: &[(&Self, Timestamp)]);

    /// Reads every row. `loaded` has those of the tables before this one in the list.
    async fn load(
        connection: &mut SqliteConnection,
        loaded: &Ledger,
    ) -> Result<Vec<Self>, StoreError>;
}

/// The last edit of each object of one kind, in the order in which they were first touched.
#[derive(Debug)]
pub(super) struct Edits<'a, T: Object> {
    places: HashMap<T::Key, usize>,
    last: Vec<&'a Edit<T>>,
}

impl<T: Object> Default for Edits<'_, T> {
    fn default() -> Self {
        Self { places: HashMap::new(), last: Vec::new() }
    }
}

impl<'a, T: Object> Edits<'a, T> {
    pub(super) fn add(&mut self, edit: &'a Edit<T>) {
        let place = *self.places.entry(edit.key()).or_insert(self.last.len());
        match self.last.get_mut(place) {
            Some(old) => *old = edit,
            None => self.last.push(edit),
        }
    }

    /// How many objects are touched.
    pub(super) fn len(&self) -> usize {
        self.last.len()
    }

    /// What goes.
    pub(super) fn removed(&self) -> impl Iterator<Item = (&'a T, Timestamp)> {
        self.last.iter().filter_map(|edit| match edit {
            Edit::Put(_) => None,
            Edit::Remove { last, at } => Some((&**last, *at)),
        })
    }

    /// What is new or different.
    pub(super) fn put(&self) -> impl Iterator<Item = &'a T> {
        self.last.iter().filter_map(|edit| match edit {
            Edit::Put(row) => Some(&**row),
            Edit::Remove { .. } => None,
        })
    }
}

impl<T: Table> Edits<'_, T> {
    fn write_puts(&self, batch: &mut Batch) {
        let rows: Vec<&T> = self.put().collect();
        if !rows.is_empty() {
            T::put(batch, &rows);
        }
    }

    fn write_removals(&self, batch: &mut Batch) {
        let gone: Vec<_> = self.removed().collect();
        if !gone.is_empty() {
            T::remove(batch, &gone);
        }
    }
}

/// The one list of tables. A table that refers to another comes after it.
macro_rules! tables {
    ($($edits:ident: $kind:ident($row:ty),)*) => {
        /// What a group of changes comes to. Within one group a VM may be created, changed and
        /// forgotten, and its name taken by another: only the last state of each thing is written.
        #[derive(Debug, Default)]
        pub(super) struct NetEffect<'a> {
            $(pub(super) $edits: Edits<'a, $row>,)*
            pub(super) events: Vec<&'a HistoryEvent>,
            pub(super) sweeps: Vec<&'a SweepRecord>,
            pub(super) requests: Vec<&'a DoneRequest>,
            pub(super) audit: Vec<&'a AuditRecord>,
        }

        impl<'a> NetEffect<'a> {
            /// Of changes in order.
            pub(super) fn of(changes: &'a [Change]) -> Self {
                let mut effect = Self::default();
                for change in changes {
                    match change {
                        $(Change::$kind(edit) => effect.$edits.add(edit),)*
                        Change::Event(event) => effect.events.push(event),
                        Change::Sweep(sweep) => {
                            effect.sweeps.retain(|earlier| earlier.id != sweep.id);
                            effect.sweeps.push(sweep);
                        }
                        Change::Request(done) => effect.requests.push(done),
                        Change::Audit(record) => effect.audit.push(record),
                    }
                }
                effect
            }

            /// How many rows are written or removed.
            pub(super) fn rows(&self) -> usize {
                let notes = self.events.len() + self.audit.len();
                let written = notes + self.sweeps.len() + self.requests.len();
                written $(+ self.$edits.len())*
            }

            /// Writes the objects. What goes is removed before anything is put, so that the
            /// constraints of the database hold after every statement.
            pub(super) fn write_objects(&self, batch: &mut Batch) {
                backwards!(self, batch; $($edits)*);
                $(self.$edits.write_puts(batch);)*
            }
        }

        /// Everything there is, as a ledger.
        pub(super) async fn load(
            connection: &mut SqliteConnection,
            config: LedgerConfig,
        ) -> Result<Ledger, StoreError> {
            let mut ledger = Ledger::new(config);
            $(
                let rows = <$row as Table>::load(connection, &ledger).await?;
                let rows = rows.into_iter().map(|row| Change::put(Arc::new(row)));
                ledger.apply(&rows.collect::<Vec<_>>());
            )*
            let records = meta::read(connection, meta::AUDIT_RECORDS).await?;
            ledger.set_audit_records(records, audit::shares(connection).await?);
            ledger.set_remembered(requests::shares(connection).await?);
            Ok(ledger)
        }
    };
}

/// Removals of the tables in the opposite order: what refers to a row goes before it.
macro_rules! backwards {
    ($effect:ident, $batch:ident;) => {};
    ($effect:ident, $batch:ident; $first:ident $($rest:ident)*) => {
        backwards!($effect, $batch; $($rest)*);
        $effect.$first.write_removals($batch);
    };
}

tables! {
    hosts: Host(HostRecord),
    join_tokens: JoinToken(JoinToken),
    revoked_keys: RevokedKey(RevokedKey),
    projects: Project(ProjectRecord),
    tokens: Token(TokenRecord),
    images: Image(ImageRecord),
    vms: Vm(VmIntent),
}

//! What lasts and is audited: a record before it begins, without which it does not, and one when it
//! has ended, however it ends.
//!
//! A [`Use`] is there once its beginning is stored, and held for as long; when it goes, its end is
//! written. So there is no end without its beginning. What is missing is the end of what was under
//! way when the server was killed. Dropped before its end was told, a use counts as broken off: by
//! its caller, or because that one may no longer call.

use std::sync::Arc;
use std::time::Duration;

use banger_wire::service::calls;
use tokio::runtime::Handle;
use tokio::sync::oneshot;
use tokio_util::task::TaskTracker;
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use super::auth::LetIn;
use super::{Api, new_uuid, status};
use crate::clock::SharedClock;
use crate::model::audit::{AuditObject, AuditOutcome, AuditRecord, AuditStep};
use crate::model::caller::Caller;
use crate::model::history::HistoryEvent;
use crate::model::ledger::Audit;
use crate::store::Store;

/// How long the server waits for the last records at its end.
const PATIENCE: Duration = Duration::from_secs(2);

/// Records that are being written of what begins or has ended. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Endings(TaskTracker);

impl Endings {
    /// Ends when they are written; nothing may begin any more.
    pub async fn written(&self) {
        self.0.close();
        if tokio::time::timeout(PATIENCE, self.0.wait()).await.is_err() {
            tracing::warn!("the end of what was under way is not in the audit");
        }
    }
}

/// Something under way.
#[derive(Debug)]
pub(super) struct Use {
    store: Store,
    clock: SharedClock,
    endings: Endings,
    caller: Caller,
    let_in: LetIn,
    /// `None`: it has no record, or its end is written.
    record: Option<AuditRecord>,
    outcome: Option<AuditOutcome>,
}

impl Use {
    /// Writes that it begins, with what the history says of it.
    ///
    /// # Errors
    /// That can't be written: it must not begin.
    pub(super) async fn begin(
        api: &Api,
        caller: &Caller,
        let_in: &LetIn,
        object: AuditObject,
        events: Vec<HistoryEvent>,
    ) -> Result<Self, Status> {
        let now = api.clock.now();
        let caller = caller.at(now);
        let mut record = AuditRecord::of(&caller, AuditStep::Began, AuditOutcome::open());
        if let Some(record) = &mut record {
            record.object = Some(object);
            record.call_id = new_uuid(now)?.to_string();
        }
        let records: Vec<AuditRecord> = record.iter().cloned().collect();
        let (store, clock, endings) =
            (api.store.clone(), Arc::clone(&api.clock), api.endings.clone());
        let (of_it, let_in) = (caller.for_the_record(), let_in.clone());
        let (tell, told) = oneshot::channel();
        // Goes on when its caller goes away, who may have begun all the same: nobody is told then,
        // and the use ends as soon as it has begun.
        api.endings.0.spawn(async move {
            let begun = store.submit(caller, Audit { records, events }).await;
            let begun = begun.map(|()| Self {
                store,
                clock,
                endings,
                caller: of_it,
                let_in,
                record,
                outcome: None,
            });
            drop(tell.send(begun));
        });
        let begun = told.await.map_err(|_| status::internal("what begins ended by a defect"))?;
        begun.map_err(status::mutation_failed)
    }

    /// It is about this, which was not known when it began.
    pub(super) fn about(&mut self, object: AuditObject) {
        if let Some(record) = &mut self.record {
            record.object = Some(object);
        }
    }

    /// How it has ended. The first end counts.
    pub(super) fn end<T>(&mut self, result: Result<T, &Status>) {
        let outcome = match result {
            Ok(_) => AuditOutcome::ok(),
            Err(status) => outcome(status),
        };
        self.outcome.get_or_insert(outcome);
    }
}

fn outcome(status: &Status) -> AuditOutcome {
    let reason = status.get_details_error_info().map(|info| info.reason).unwrap_or_default();
    AuditOutcome { code: calls::name(status.code()).to_owned(), reason }
}

impl Drop for Use {
    fn drop(&mut self) {
        let Some(record) = self.record.take() else { return };
        let now = self.clock.now();
        let given_up = || match self.let_in.check(now) {
            Err(refused) => outcome(&refused),
            Ok(()) => AuditOutcome {
                code: calls::name(Code::Cancelled).to_owned(),
                reason: String::new(),
            },
        };
        let outcome = self.outcome.take().unwrap_or_else(given_up);
        let ended = AuditRecord { at: now, step: AuditStep::Ended, outcome, ..record };
        let (store, caller) = (self.store.clone(), self.caller.at(now));
        let write = async move {
            let audit = Audit { records: vec![ended], events: Vec::new() };
            if let Err(error) = store.submit(caller, audit).await {
                tracing::warn!(error = %error, "the audit does not say that something has ended");
            }
        };
        // Nothing is dropped outside of it but when the process ends.
        if let Ok(runtime) = Handle::try_current() {
            self.endings.0.spawn_on(write, &runtime);
        }
    }
}

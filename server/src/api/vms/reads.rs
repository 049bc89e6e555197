//! Reading many: lists of VMs and their history, a page at a time.
//!
//! The pages of one list of VMs come from one snapshot; history is read from the store beside the
//! writer.

use std::sync::Arc;
use std::time::Instant;

use banger_proto::ids::VmId;
use banger_proto::v1;
use prost::Message as _;
use tonic::Status;

use super::Vms;
use crate::api::page::{Cursor, MAX_PAGE_BYTES, PageQuery, page_size};
use crate::api::{all_or_problems, convert, parse_vm, status};
use crate::model::audience::Audience;
use crate::model::caller::Caller;
use crate::model::filter::VmFilter;
use crate::model::host::HostView;
use crate::model::intent::Desired;
use crate::model::ledger::VmRef;
use crate::reconcile::{self, Explanation};
use crate::watch::{Snapshot, VmRecord};

impl Vms {
    pub(super) fn list(
        &self,
        caller: &Caller,
        mut message: v1::ListVmsRequest,
    ) -> Result<v1::ListVmsResponse, Status> {
        let token = std::mem::take(&mut message.page_token);
        let query = PageQuery::of("ListVms", &message).seen_by(caller);
        let size = page_size(message.page_size)?;
        let filter = convert::filter(message.filter, &self.api, caller)?;
        let now = Instant::now();
        let pages = &self.api.pages;
        let cursor = pages.read(&query, &token)?;
        let (snapshot, after, total) = match cursor {
            Some(cursor) => {
                let after = VmId::from_uuid(uuid::Uuid::from_u128(cursor.after));
                (
                    pages.snapshot(&caller.party().into(), cursor.revision, now)?,
                    Some(after),
                    cursor.total,
                )
            }
            None => {
                let snapshot = self.api.view.snapshot();
                let total = snapshot.count(&filter) as u64;
                (snapshot, None, total)
            }
        };
        let show = |record: &VmRecord| convert::vm(record, &self.api.domain, Audience::of(caller));
        let (vms, more_after) = page(&snapshot, &filter, after, size, show);
        let next_page_token = match more_after {
            Some(last) => {
                pages.keep(&caller.party().into(), &snapshot, now);
                let after = last.uuid().as_u128();
                pages.token(&query, Cursor { revision: snapshot.revision, after, total })
            }
            None => String::new(),
        };
        Ok(v1::ListVmsResponse {
            vms,
            next_page_token,
            revision: snapshot.revision.0,
            total_size: total,
        })
    }

    pub(super) async fn events(
        &self,
        mut message: v1::ListVmEventsRequest,
        caller: &Caller,
    ) -> Result<v1::ListVmEventsResponse, Status> {
        let token = std::mem::take(&mut message.page_token);
        let query = PageQuery::of("ListVmEvents", &message).seen_by(caller);
        let to = Audience::of(caller);
        let size = page_size(message.page_size)?;
        let mut problems = Vec::new();
        let parsed = parse_vm(&message.vm, "vm", &mut problems, caller);
        let vm = all_or_problems(parsed, problems)?;
        let id = match self.api.seen(&vm, caller) {
            Some(record) => record.id(),
            None => self.gone_id(&vm, caller).await?,
        };
        let after = self.api.pages.read(&query, &token)?.map_or(0, |cursor| cursor.after);
        let after = u64::try_from(after).unwrap_or(u64::MAX);
        let limit = u32::try_from(size + 1).unwrap_or(u32::MAX);
        let stored = self.api.store.vm_events(id, after, limit).await;
        let stored = stored.map_err(|error| status::read_failed(&error))?;
        let mut events = Vec::new();
        let (mut bytes, mut last, mut more) = (0, 0, false);
        for event in stored {
            let number = event.number;
            let event = convert::history_event(event, to);
            bytes += event.encoded_len() + 8;
            if events.len() == size || (bytes > MAX_PAGE_BYTES && !events.is_empty()) {
                more = true;
                break;
            }
            events.push(event);
            last = number;
        }
        let cursor = Cursor { revision: Default::default(), after: u128::from(last), total: 0 };
        let next_page_token =
            if more { self.api.pages.token(&query, cursor) } else { String::new() };
        Ok(v1::ListVmEventsResponse { events, next_page_token })
    }
}

impl Vms {
    /// The id of a VM that is gone and was there for this caller; of a name, the one that had it
    /// last.
    async fn gone_id(&self, vm: &VmRef, caller: &Caller) -> Result<VmId, Status> {
        let store = &self.api.store;
        let gone = match (vm, caller.only()) {
            (VmRef::Id(id), None) => store.was_deleted(*id).await.map(|known| known.then_some(*id)),
            (VmRef::Id(id), Some(own)) => {
                let of = store.deleted_of(*id).await;
                of.map(|project| project.filter(|project| project == own).map(|_| *id))
            }
            (VmRef::Name(named), _) if caller.sees(&named.project) => {
                store.last_deleted(named).await
            }
            (VmRef::Name(_), _) => Ok(None),
        };
        let gone = gone.map_err(|error| status::read_failed(&error))?;
        gone.ok_or_else(|| status::vm_not_found(vm))
    }

    /// What there is to say of one VM, also of one that is gone.
    pub(super) async fn explained(
        &self,
        text: &str,
        caller: &Caller,
    ) -> Result<v1::ExplainVmResponse, Status> {
        let to = Audience::of(caller);
        let mut problems = Vec::new();
        let parsed = parse_vm(text, "vm", &mut problems, caller);
        let vm = all_or_problems(parsed, problems)?;
        let Some(record) = self.api.seen(&vm, caller) else {
            let id = self.gone_id(&vm, caller).await?;
            let status = v1::VmStatus { state: v1::VmState::Deleted.into(), ..Default::default() };
            let (name, project) = match &vm {
                VmRef::Name(named) => (named.name.clone(), named.project.to_string()),
                VmRef::Id(_) => (String::new(), String::new()),
            };
            let id = id.to_string();
            let gone = v1::Vm { id, name, project, status: Some(status), ..v1::Vm::default() };
            return Ok(explained(gone, reconcile::explain_gone(&vm), None));
        };
        let host = record.intent.host.and_then(|host| self.api.view.host(host));
        let host = host.as_ref().map(|host| host_for(&host.view, to));
        let now = self.api.clock.now();
        let mut told = VmRecord::clone(&record);
        told.observation = to.observation(&record.observation);
        told.trouble = record.trouble.as_ref().map(|trouble| Arc::new(to.trouble(trouble)));
        let explanation = reconcile::explain(&told, host.as_ref(), &self.api.knowledge, now);
        let sentences = explanation.sentences.iter().map(|text| to.told("", text)).collect();
        let explanation = Explanation { sentences, ..explanation };
        let living = record.intent.desired != Desired::Absent;
        let found = living.then(|| self.api.store.evaluate(&record.intent));
        let placement = found.map(|found| convert::evaluation(&found, to));
        Ok(explained(self.now(&record, to), explanation, placement))
    }
}

/// The host of a VM, for an explanation: how it fares in words only to those who may know hosts.
fn host_for(host: &HostView, to: Audience) -> HostView {
    let mut host = host.clone();
    if !to.sees_hosts {
        host.health.message = String::new();
    }
    host
}

fn explained(
    vm: v1::Vm,
    explanation: Explanation,
    placement: Option<v1::PlacementEvaluation>,
) -> v1::ExplainVmResponse {
    let Explanation { decision, reason, sentences } = explanation;
    let decision = decision.to_owned();
    v1::ExplainVmResponse { vm: Some(vm), decision, reason, explanation: sentences, placement }
}

/// The next VMs after `after` that match, and the last of them if there are more.
fn page(
    snapshot: &Snapshot,
    filter: &VmFilter,
    after: Option<VmId>,
    size: usize,
    show: impl Fn(&VmRecord) -> v1::Vm,
) -> (Vec<v1::Vm>, Option<VmId>) {
    let mut vms = Vec::new();
    let (mut bytes, mut last) = (0, None);
    for record in snapshot.matching(Some(filter), after) {
        if vms.len() == size {
            return (vms, last);
        }
        let vm = show(record);
        bytes += vm.encoded_len() + 8;
        if bytes > MAX_PAGE_BYTES && !vms.is_empty() {
            return (vms, last);
        }
        vms.push(vm);
        last = Some(record.id());
    }
    (vms, None)
}

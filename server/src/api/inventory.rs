//! GetHostInventory and SweepHost: what a host holds of banger's, and the removal of orphans.
//!
//! The agent is asked for each page anew: what a host holds has no revision. What can go wrong: the
//! host is not reached ([`status::host_unreachable`]), its agent can't list
//! ([`status::host_refused`]), or it was told to sweep and did not answer
//! ([`status::outcome_unknown`]).

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use banger_proto::v1;
use prost::Message as _;
use tonic::{Request, Response, Status};

use super::auth::LetIn;
use super::page::{MAX_PAGE, MAX_PAGE_BYTES, PageQuery, page_size};
use super::uses::Use;
use super::{Api, all_or_problems, convert, new_uuid, once, parse_host, status};
use crate::fleet::link::LinkError;
use crate::model::audit::{AuditObject, AuditedKind};
use crate::model::host::HostRecord;
use crate::model::inventory::{KeptReason, SweepPolicy, SweepRecord, Whose};
use crate::reconcile::objects::{HostSweep, ObjectsError, Owned, SweepAsk, owned};
use crate::watch::HostSnapshot;

/// What a call that failed may have changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Effect {
    Nothing,
    Removals,
}

fn host(api: &Api, text: &str) -> Result<HostSnapshot, Status> {
    let mut problems = Vec::new();
    let host = parse_host(text, "host", &mut problems);
    let host = all_or_problems(host, problems)?;
    api.view.resolve_host(&host).ok_or_else(|| status::host_not_found(&host))
}

pub(super) async fn get_host_inventory(
    api: &Api,
    request: Request<v1::GetHostInventoryRequest>,
) -> Result<Response<v1::GetHostInventoryResponse>, Status> {
    let mut message = request.into_inner();
    let token = std::mem::take(&mut message.page_token);
    let query = PageQuery::of("GetHostInventory", &message);
    let size = if message.page_size == 0 { MAX_PAGE } else { message.page_size };
    let size = page_size(size)?;
    let after = api.pages.read_key(&query, &token)?;
    let here = host(api, &message.host)?.view.record.id;
    let inventory = api.objects.inventory(here).await;
    let inventory = inventory.map_err(|error| failed(error, Effect::Nothing))?;
    let seen = &*inventory.seen;
    let counts = counts(&seen.objects);

    let mut objects = Vec::new();
    let (mut bytes, mut last, mut more) = (0, String::new(), false);
    for row in &seen.objects {
        let key = key(row);
        let shown = !message.only_unowned || is_unowned(row.whose);
        if !shown || after.as_ref().is_some_and(|after| key <= *after) {
            continue;
        }
        let row = object(row);
        bytes += row.encoded_len() + 8;
        if objects.len() == size || (bytes > MAX_PAGE_BYTES / 2 && !objects.is_empty()) {
            more = true;
            break;
        }
        objects.push(row);
        last = key;
    }
    let next_page_token = if more { api.pages.key_token(&query, &last) } else { String::new() };
    Ok(Response::new(v1::GetHostInventoryResponse {
        objects,
        next_page_token,
        counts,
        policy: Some(policy(seen.policy)),
        recent_sweeps: inventory.recent.iter().map(record).collect(),
        taken_at: Some(convert::timestamp(seen.taken_at)),
    }))
}

pub(super) async fn sweep_host(
    api: &Api,
    request: Request<v1::SweepHostRequest>,
) -> Result<Response<v1::SweepHostResponse>, Status> {
    let dry_run = request.get_ref().dry_run;
    let host = Arc::clone(&host(api, &request.get_ref().host)?.view.record);
    let here = host.id;
    let key = if dry_run { None } else { once::key(request.get_ref())? };
    let (id, caller) = (new_uuid(api.clock.now())?, api.caller(&request)?);
    let ask = SweepAsk { id, dry_run, caller, request: key };
    let swept = if dry_run {
        api.objects.sweep(here, ask).await.map_err(|error| failed(error, Effect::Nothing))?
    } else {
        sweep(api.clone(), host, LetIn::of(&request), ask).await?
    };
    let shown = |row| Some(object(&owned(row, here, &swept.claims)));
    let outcome = swept.outcome;
    Ok(Response::new(v1::SweepHostResponse {
        removed: outcome.removed.into_iter().filter_map(shown).collect(),
        kept: outcome
            .kept
            .into_iter()
            .map(|(row, reason, message)| v1::KeptObject {
                object: shown(row),
                reason: kept(reason).into(),
                message,
            })
            .collect(),
        failed: outcome
            .failed
            .into_iter()
            .map(|(row, message)| v1::FailedObject { object: shown(row), message })
            .collect(),
        not_listed: outcome.not_listed,
        policy: Some(policy(outcome.policy)),
        repeated: swept.repeated,
    }))
}

/// Sweeps for real: in the audit from before it begins until it has ended, whether its caller waits
/// or not.
async fn sweep(
    api: Api,
    host: Arc<HostRecord>,
    let_in: LetIn,
    ask: SweepAsk,
) -> Result<HostSweep, Status> {
    let object = AuditObject::new(AuditedKind::Host, host.id, &host.name);
    let mut using = Use::begin(&api, &ask.caller, &let_in, object, Vec::new()).await?;
    let swept = tokio::spawn(async move {
        let swept = api.objects.sweep(host.id, ask).await;
        let swept = swept.map_err(|error| failed(error, Effect::Removals));
        using.end(swept.as_ref());
        swept
    });
    swept.await.unwrap_or_else(|_| Err(status::internal("the sweep ended by a defect")))
}

/// What is shown when only the unowned are asked for.
const fn is_unowned(whose: Whose) -> bool {
    match whose {
        Whose::Owned | Whose::PendingRemoval | Whose::Shared => false,
        Whose::Orphan | Whose::Unclear | Whose::ClaimedElsewhere(_) | Whose::Unclaimed => true,
    }
}

/// Where an object stands in a list: by kind, then by name.
fn key(row: &Owned) -> String {
    // Nine kinds: one digit.
    format!("{}{}", row.object.kind as u8, row.object.name)
}

fn counts(objects: &[Owned]) -> Vec<v1::HostObjectCount> {
    let mut counts: BTreeMap<_, u32> = BTreeMap::new();
    for row in objects {
        *counts.entry((row.object.kind, i32::from(state(row.whose)))).or_default() += 1;
    }
    let counts = counts.into_iter();
    counts
        .map(|((kind, state), count)| v1::HostObjectCount {
            kind: kind.as_str().to_owned(),
            state,
            count,
        })
        .collect()
}

const fn state(whose: Whose) -> v1::HostObjectState {
    match whose {
        Whose::Owned => v1::HostObjectState::Owned,
        Whose::PendingRemoval => v1::HostObjectState::PendingRemoval,
        Whose::Shared => v1::HostObjectState::Shared,
        Whose::Orphan => v1::HostObjectState::Orphan,
        Whose::Unclear => v1::HostObjectState::Unclear,
        Whose::ClaimedElsewhere(_) => v1::HostObjectState::ClaimedElsewhere,
        Whose::Unclaimed => v1::HostObjectState::Unclaimed,
    }
}

const fn kept(reason: KeptReason) -> v1::KeptReason {
    match reason {
        KeptReason::GracePeriod => v1::KeptReason::GracePeriod,
        KeptReason::BudgetSpent => v1::KeptReason::BudgetSpent,
        KeptReason::Unclear => v1::KeptReason::Unclear,
        KeptReason::Claimed => v1::KeptReason::Claimed,
        KeptReason::ProcessStays => v1::KeptReason::ProcessStays,
        KeptReason::MountedByOthers => v1::KeptReason::MountedByOthers,
        KeptReason::FoundOwner => v1::KeptReason::FoundOwner,
        KeptReason::Other => v1::KeptReason::Unspecified,
    }
}

fn object(row: &Owned) -> v1::HostObject {
    let object = &row.object;
    let claimed_by_host_id = match row.whose {
        Whose::ClaimedElsewhere(Some(host)) => host.to_string(),
        Whose::ClaimedElsewhere(None)
        | Whose::Owned
        | Whose::PendingRemoval
        | Whose::Shared
        | Whose::Orphan
        | Whose::Unclear
        | Whose::Unclaimed => String::new(),
    };
    v1::HostObject {
        kind: object.kind.as_str().to_owned(),
        name: object.name.clone(),
        vm_id: object.vm.map(|vm| vm.to_string()).unwrap_or_default(),
        age: object.age.map(duration),
        size_bytes: object.size_bytes,
        vm_name: row.vm_name.clone().unwrap_or_default(),
        state: state(row.whose).into(),
        detail: row.remark.map_or_else(|| object.detail.clone(), str::to_owned),
        orphan_for: object.orphan_for.map(duration),
        claimed_by_host_id,
    }
}

fn policy(policy: SweepPolicy) -> v1::SweepPolicy {
    v1::SweepPolicy {
        grace: Some(duration(policy.grace)),
        budget_per_hour: policy.budget_per_hour,
        budget_left: policy.budget_left,
        automatic: policy.automatic,
    }
}

fn record(record: &SweepRecord) -> v1::SweepRecord {
    v1::SweepRecord {
        time: Some(convert::timestamp(record.at)),
        actor: record.actor.clone(),
        removed: record.removed,
        kept: record.kept,
        failed: record.failed,
        message: record.message.clone(),
    }
}

fn duration(duration: Duration) -> prost_types::Duration {
    prost_types::Duration {
        seconds: i64::try_from(duration.as_secs()).unwrap_or(i64::MAX),
        nanos: i32::try_from(duration.subsec_nanos()).unwrap_or(0),
    }
}

fn failed(error: ObjectsError, effect: Effect) -> Status {
    let message = error.to_string();
    match error {
        ObjectsError::NotThere { .. } => status::host_unreachable(message),
        ObjectsError::Link { source, .. } => match (source, effect) {
            (LinkError::Unreachable { .. }, _)
            | (LinkError::OutcomeUnknown { .. }, Effect::Nothing) => {
                status::host_unreachable(message)
            }
            (LinkError::OutcomeUnknown { .. } | LinkError::Protocol { .. }, Effect::Removals) => {
                status::outcome_unknown(message)
            }
            (LinkError::Refused { .. }, _) | (LinkError::Protocol { .. }, Effect::Nothing) => {
                status::host_refused(message)
            }
        },
        ObjectsError::NotRecorded(error) => status::mutation_failed(error),
        ObjectsError::Unreadable(error) => status::read_failed(&error),
        ObjectsError::Defect { .. } => status::internal(message),
    }
}

//! What a host holds of banger's, and its sweeps: asked of the agent, joined with the intents.
//!
//! Driven by the API. The agent says what there is and whose it is by its own records; the intents
//! say which of those VMs the server knows, and where. Before a sweep the agent is told of every VM
//! that the server knows, on whatever host: nothing of them is removed. Who asked for a sweep is
//! stored before the agent is told. Looks are shared and few at a time ([`super::looks`]). What can
//! go wrong: the agent is not there, or does not answer in time; a sweep then may have happened,
//! and the inventory shows it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use banger_proto::ids::{HostId, VmId};
use futures_util::FutureExt as _;
use jiff::Timestamp;
use uuid::Uuid;

use super::looks::{LookPlace, Looks};
use crate::clock::SharedClock;
use crate::fleet::Fleet;
use crate::fleet::link::{AgentLink, LinkError};
use crate::model::caller::Caller;
use crate::model::intent::Desired;
use crate::model::inventory::{
    Claim, HostObject, SweepOutcome, SweepPolicy, SweepRecord, Whose, whose,
};
use crate::model::ledger::{BeginSweep, RecordSweep};
use crate::model::request::RequestKey;
use crate::store::{MutateError, Store, StoreError};
use crate::watch::View;

/// How many sweeps are shown beside an inventory.
const RECENT_SWEEPS: u32 = 10;

/// An object with what the server knows of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Owned {
    /// As the agent tells it.
    pub object: HostObject,
    /// Whose it is.
    pub whose: Whose,
    /// The name of its VM, when the server knows one.
    pub vm_name: Option<String>,
    /// What is to be said beside or in place of the agent's detail.
    pub remark: Option<&'static str>,
}

/// What one look at a host has found.
#[derive(Debug)]
pub struct Seen {
    /// In order of kind and name.
    pub objects: Vec<Owned>,
    /// What its sweeps go by.
    pub policy: SweepPolicy,
    /// When the host was looked at.
    pub taken_at: Timestamp,
    _place: LookPlace,
}

/// Everything of banger's on a host.
#[derive(Debug, Clone)]
pub struct HostInventory {
    /// Shared with whoever asked at the same time. To be let go of soon: it has one of few places.
    pub seen: Arc<Seen>,
    /// The newest sweeps that were asked for, newest first.
    pub recent: Vec<SweepRecord>,
}

/// What came of a sweep, joined with what the server knows.
#[derive(Debug, Clone)]
pub struct HostSweep {
    /// As the agent answered, where an object's place is the same in `removed`, `kept` and
    /// `failed`.
    pub outcome: SweepOutcome,
    /// The names of the VMs in it.
    pub claims: BTreeMap<VmId, Claim>,
    /// It was begun before by the same request: nothing was removed now.
    pub repeated: bool,
}

/// Who asks for a sweep, and how.
#[derive(Debug, Clone)]
pub struct SweepAsk {
    /// Tells the sweep from others.
    pub id: Uuid,
    /// Remove nothing.
    pub dry_run: bool,
    pub caller: Caller,
    /// Where it may be asked for again.
    pub request: Option<RequestKey>,
}

/// Why a host could not be asked.
#[derive(Debug, thiserror::Error)]
pub enum ObjectsError {
    /// Its agent is not there; nothing was asked.
    #[error("host {host} can't be asked: {why}")]
    NotThere {
        /// The host's name.
        host: String,
        /// Why, as the host's health says it.
        why: String,
    },
    /// The call came to nothing, or to nobody knows what.
    #[error("host {host}: {source}")]
    Link {
        /// The host's name.
        host: String,
        /// What became of it.
        source: LinkError,
    },
    /// Who asked could not be written down, so nothing was asked.
    #[error(transparent)]
    NotRecorded(MutateError),
    /// The store can't be read.
    #[error(transparent)]
    Unreadable(StoreError),
    #[error("the sweep of host {host} ended by a defect")]
    Defect {
        /// The host's name.
        host: String,
    },
}

/// Asks hosts for their objects. Cheap to clone.
#[derive(Debug, Clone)]
pub struct HostObjects {
    view: Arc<View>,
    fleet: Fleet,
    store: Store,
    clock: SharedClock,
    looks: Looks<Result<Arc<Seen>, LinkError>>,
}

impl HostObjects {
    /// Over the server's parts.
    pub fn new(view: Arc<View>, fleet: Fleet, store: Store, clock: SharedClock) -> Self {
        Self { view, fleet, store, clock, looks: Looks::new() }
    }

    /// Everything of banger's on a host, from its operating system.
    ///
    /// # Errors
    /// See [`ObjectsError`].
    pub async fn inventory(&self, host: HostId) -> Result<HostInventory, ObjectsError> {
        let link = self.link(host)?;
        let look = self.looks.shared(host, || {
            let this = self.clone();
            async move { this.look(host, &*link).await.map(Arc::new) }.boxed()
        });
        let seen = look.await.map_err(|source| self.failed(host, source))?;
        let recent = self.store.host_sweeps(host, RECENT_SWEEPS).await;
        let recent = recent.map_err(ObjectsError::Unreadable)?;
        Ok(HostInventory { seen, recent })
    }

    async fn look(&self, host: HostId, link: &dyn AgentLink) -> Result<Seen, LinkError> {
        let place = self.looks.place().await;
        let (objects, policy) = link.objects(&self.placed_on(host)).await?;
        let taken_at = self.clock.now();
        let claims = self.claims(objects.iter());
        let mut objects: Vec<Owned> =
            objects.into_iter().map(|object| owned(object, host, &claims)).collect();
        objects
            .sort_by(|a, b| (a.object.kind, &a.object.name).cmp(&(b.object.kind, &b.object.name)));
        Ok(Seen { objects, policy, taken_at, _place: place })
    }

    /// Has a host remove what nobody owns. Goes on when the caller goes away.
    ///
    /// # Errors
    /// See [`ObjectsError`].
    pub async fn sweep(&self, host: HostId, ask: SweepAsk) -> Result<HostSweep, ObjectsError> {
        let this = self.clone();
        let name = self.name(host);
        tokio::spawn(async move { this.sweep_now(host, ask).await })
            .await
            .unwrap_or(Err(ObjectsError::Defect { host: name }))
    }

    async fn sweep_now(&self, host: HostId, ask: SweepAsk) -> Result<HostSweep, ObjectsError> {
        let link = self.link(host)?;
        let SweepAsk { id, dry_run, caller, request } = ask;
        let actor: &str = &caller.actor;
        // The first look is for the VMs that the server knows and has elsewhere.
        let mut claimed: BTreeSet<VmId> = self.placed_on(host).into_iter().collect();
        {
            let _place = self.looks.place().await;
            let listed = link.objects(&claimed.iter().copied().collect::<Vec<_>>()).await;
            let (objects, _) = listed.map_err(|source| self.failed(host, source))?;
            claimed.extend(self.claims(objects.iter()).into_keys());
        }
        let claimed: Vec<VmId> = claimed.into_iter().collect();

        let mut record = SweepRecord {
            id,
            host,
            at: self.clock.now(),
            actor: actor.to_owned(),
            removed: 0,
            kept: 0,
            failed: 0,
            message: "asked for; the host has not answered yet".to_owned(),
        };
        let begins = !dry_run && {
            tracing::info!(host.id = %host, host.name = %self.name(host), actor,
                "a sweep of the host was asked for");
            let by = caller.at(self.clock.now());
            let begun = self.store.submit_once(by, request, BeginSweep(record.clone())).await;
            begun.map_err(ObjectsError::NotRecorded)?
        };
        let swept = link.sweep(!begins, &claimed, actor).await;
        self.looks.begin_anew(host);
        match &swept {
            Ok(outcome) => {
                let count = |list: usize| u32::try_from(list).unwrap_or(u32::MAX);
                record.removed = count(outcome.removed.len());
                record.kept = count(outcome.kept.len()).saturating_add(outcome.not_listed);
                record.failed = count(outcome.failed.len());
                record.message.clear();
            }
            Err(error) => record.message = error.to_string(),
        }
        // What was removed was removed: the caller is told of it whether or not this is written,
        // and it is written whether or not their token is there still.
        let caller = caller.for_the_record();
        if begins && let Err(error) = self.write(&record, &caller).await {
            tracing::warn!(host.id = %host, actor, error = %error,
                "what came of a sweep was not written down");
        }
        let mut outcome = swept.map_err(|source| self.failed(host, source))?;
        let repeated = !dry_run && !begins;
        if repeated {
            // It would be now, by another sweep.
            outcome.removed.clear();
        }
        let named = outcome
            .removed
            .iter()
            .chain(outcome.kept.iter().map(|(object, _, _)| object))
            .chain(outcome.failed.iter().map(|(object, _)| object));
        let claims = self.claims(named);
        Ok(HostSweep { outcome, claims, repeated })
    }

    async fn write(&self, record: &SweepRecord, caller: &Caller) -> Result<(), MutateError> {
        let caller = caller.at(self.clock.now());
        self.store.submit(caller, RecordSweep(record.clone())).await
    }

    fn link(&self, host: HostId) -> Result<Arc<dyn AgentLink>, ObjectsError> {
        self.fleet.ready_link(host).ok_or_else(|| {
            let health = self.view.host(host).map(|host| host.view.health.message.clone());
            let why = health.filter(|why| !why.is_empty());
            ObjectsError::NotThere {
                host: self.name(host),
                why: why.unwrap_or_else(|| "its agent is not connected now".to_owned()),
            }
        })
    }

    fn failed(&self, host: HostId, source: LinkError) -> ObjectsError {
        ObjectsError::Link { host: self.name(host), source }
    }

    fn name(&self, host: HostId) -> String {
        let host = self.view.host(host);
        host.map(|host| host.view.record.name.clone()).unwrap_or_default()
    }

    fn placed_on(&self, host: HostId) -> Vec<VmId> {
        self.view.placed_on(host).iter().map(|record| record.intent.id).collect()
    }

    /// What is known of the VMs that these objects are named after.
    fn claims<'a>(&self, objects: impl Iterator<Item = &'a HostObject>) -> BTreeMap<VmId, Claim> {
        let vms: BTreeSet<VmId> = objects.filter_map(|object| object.vm).collect();
        vms.into_iter()
            .filter_map(|vm| {
                let intent = Arc::clone(&self.view.get(vm)?.intent);
                let leaving = intent.desired == Desired::Absent;
                Some((vm, Claim { name: intent.name.clone(), host: intent.host, leaving }))
            })
            .collect()
    }
}

/// Joins one object with what is known of its VM.
pub fn owned(object: HostObject, here: HostId, claims: &BTreeMap<VmId, Claim>) -> Owned {
    let claim = object.vm.and_then(|vm| claims.get(&vm));
    let (whose, remark) = whose(&object, here, claim);
    Owned { whose, vm_name: claim.map(|claim| claim.name.clone()), remark, object }
}

//! What each party has open at a time, and how often it calls: bounds by which nobody keeps out
//! others.
//!
//! A party is a project, or a principal of the whole fleet ([`Caller::party`]). Calls that last are
//! counted here, where every call passes: those that watch or wait, and those that carry bytes of
//! guests and images. A method that lasts and is in neither list fails a test. One call holds its
//! place until its answer is sent or given up.
//!
//! What a project may have is its quota's, told by the store's commits, else what the server is set
//! to. Principals of the fleet have fixed bounds: they run it.

use std::collections::HashMap;
use std::sync::Arc;

use banger_wire::service::edge::places::PartyName;
use parking_lot::{Mutex, RwLock};
use tokio::time::Instant;
use tonic::Status;

use super::rates::Rates;
use crate::api::status;
use crate::model::caller::Caller;
use crate::model::ledger::{Change, Edit};
use crate::model::project::{ProjectBounds, ProjectName, ProjectRecord, Quota};

/// Methods that watch or wait.
pub(super) const WATCHES: [&str; 5] = [
    "/banger.v1.WatchService/Watch",
    "/banger.v1.VmService/WatchVms",
    "/banger.v1.VmService/WaitVm",
    "/banger.v1.HostService/WatchHosts",
    "/banger.v1.AuditService/WatchAudit",
];

/// Methods that carry bytes of guests and images, for as long as these come.
pub(super) const STREAMS: [&str; 9] = [
    "/banger.v1.VmService/ReadConsole",
    "/banger.v1.VmService/AttachConsole",
    "/banger.v1.VmService/ExecVm",
    "/banger.v1.VmService/CopyToVm",
    "/banger.v1.VmService/CopyFromVm",
    "/banger.v1.VmService/ForwardVm",
    "/banger.v1.ImageService/ImportImage",
    "/banger.v1.ImageService/ImportImageWithProgress",
    "/banger.v1.ImageService/UploadBlob",
];

/// What one principal of the fleet may have open at a time: watches, and streams.
const OF_PRINCIPAL: [u64; 2] = [10_000, 512];

/// A kind of call that lasts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lasting {
    Watch,
    Stream,
}

impl Lasting {
    /// Of the method at this path; `None`: it is over when it is answered.
    pub(super) fn of(path: &str) -> Option<Self> {
        let watch = || WATCHES.contains(&path).then_some(Self::Watch);
        watch().or_else(|| STREAMS.contains(&path).then_some(Self::Stream))
    }

    /// What such calls are called.
    pub(super) fn noun(self) -> &'static str {
        match self {
            Self::Watch => "watches",
            Self::Stream => "streams",
        }
    }
}

/// What a party has open, by kind.
type OpenNow = [u64; 2];

#[derive(Debug, Default)]
struct Shared {
    bounds: RwLock<ProjectBounds>,
    quotas: RwLock<HashMap<ProjectName, Quota>>,
    open: Mutex<HashMap<PartyName, OpenNow>>,
    rates: Rates,
}

/// What each party has open, and may have. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Parties(Arc<Shared>);

/// A call that lasts; it ends when this is dropped.
#[derive(Debug)]
pub(super) struct OpenCall {
    parties: Parties,
    party: PartyName,
    kind: Lasting,
}

/// What a project has now of what its callers may have at a time.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CallUse {
    pub watches: u64,
    pub streams: u64,
    /// In the last whole second.
    pub calls: u64,
}

impl Parties {
    /// From now on projects may have this where their quotas say nothing else.
    pub(super) fn bound(&self, bounds: ProjectBounds) {
        *self.0.bounds.write() = bounds;
    }

    /// These projects are stored.
    pub fn load<'a>(&self, projects: impl IntoIterator<Item = &'a Arc<ProjectRecord>>) {
        let mut quotas = self.0.quotas.write();
        for project in projects {
            quotas.insert(project.name.clone(), project.quota);
        }
    }

    /// Takes over changes that are durable, in the order of their commits.
    pub fn committed(&self, changes: &[Change]) {
        for change in changes {
            match change {
                Change::Project(Edit::Put(project)) => self.load([project]),
                Change::Project(Edit::Remove { last, .. }) => {
                    self.0.quotas.write().remove(&last.name);
                }
                _ => {}
            }
        }
    }

    /// Counts a call. Callers of the fleet have no bound.
    ///
    /// # Errors
    /// It is one too many of its project.
    pub(super) fn count_call(&self, caller: &Caller, now: Instant) -> Result<(), Status> {
        let Some(project) = caller.only() else { return Ok(()) };
        let per_second = self.calls_per_second(project);
        let counted = self.0.rates.admit(project, per_second, now);
        counted.map_err(|wait| status::called_too_often(per_second, wait))
    }

    /// A call that lasts begins.
    ///
    /// # Errors
    /// Its party has as many open as it may.
    pub(super) fn open(&self, caller: &Caller, kind: Lasting) -> Result<OpenCall, Status> {
        let allowed = match caller.only() {
            Some(project) => self.allowed(project, kind),
            None => OF_PRINCIPAL[kind as usize],
        };
        let party: PartyName = caller.party().into();
        let mut open = self.0.open.lock();
        let count = &mut open.entry(Arc::clone(&party)).or_default()[kind as usize];
        if allowed > 0 && *count >= allowed {
            return Err(status::too_many_open(caller, kind.noun(), *count, allowed));
        }
        *count += 1;
        Ok(OpenCall { parties: self.clone(), party, kind })
    }

    /// What the callers of a project have open, and how often they call.
    pub fn used(&self, project: &ProjectName, now: Instant) -> CallUse {
        let open = self.0.open.lock();
        let [watches, streams] = open.get(&*Caller::party_of(project)).copied().unwrap_or_default();
        CallUse { watches, streams, calls: self.0.rates.lately(project, now) }
    }

    fn allowed(&self, project: &ProjectName, kind: Lasting) -> u64 {
        let own = self.0.quotas.read().get(project).map(|quota| match kind {
            Lasting::Watch => quota.watches,
            Lasting::Stream => quota.streams,
        });
        own.filter(|own| *own > 0).unwrap_or_else(|| {
            let bounds = self.0.bounds.read();
            match kind {
                Lasting::Watch => bounds.watches,
                Lasting::Stream => bounds.streams,
            }
        })
    }

    fn calls_per_second(&self, project: &ProjectName) -> u32 {
        let own = self.0.quotas.read().get(project).map(|quota| quota.calls_per_second);
        let own = own.filter(|own| *own > 0).map(|own| u32::try_from(own).unwrap_or(u32::MAX));
        own.unwrap_or_else(|| self.0.bounds.read().calls_per_second)
    }
}

impl Drop for OpenCall {
    fn drop(&mut self) {
        let mut open = self.parties.0.open.lock();
        if let Some(counts) = open.get_mut(&self.party) {
            counts[self.kind as usize] -= 1;
            if *counts == OpenNow::default() {
                open.remove(&self.party);
            }
        }
    }
}

#[cfg(test)]
mod tests;

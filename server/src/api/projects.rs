//! The project service: makes projects, lists them, and takes away those that are empty.

use std::sync::Arc;

use banger_proto::v1;
use banger_proto::v1::project_service_server::ProjectService;
use sha2::{Digest as _, Sha256};
use tokio::time::Instant;
use tonic::{Request, Response, Status};
use tracing::info;

use super::auth::parties::Parties;
use super::page::{Cursor, PageQuery, page_size};
use super::{Api, convert, once, status};
use crate::model::caller::Caller;
use crate::model::host::Resources;
use crate::model::ledger::{CreateProject, DeleteProject, Refusal, UpdateProject};
use crate::model::project::{ProjectName, ProjectRecord, Quota};
use crate::model::request::RequestTarget;
use crate::store::MutateError;

/// Answers calls about projects.
#[derive(Debug, Clone)]
pub struct Projects {
    api: Api,
    parties: Parties,
}

impl Projects {
    /// Over the server's parts, and what each party has open.
    pub fn new(api: Api, parties: Parties) -> Self {
        Self { api, parties }
    }

    /// A project with what it has of what it may have; `None`: the one that is always there.
    fn shown(&self, name: &ProjectName, made: Option<&ProjectRecord>) -> v1::Project {
        let (used, calls) = (self.api.store.project_use(name), Instant::now());
        let calls = self.parties.used(name, calls);
        let bytes = used.images.bytes.saturating_add(self.api.images.uploaded(name));
        let Resources { vcpus, memory_mib, disk_mib, guests } = used.booked;
        v1::Project {
            name: name.to_string(),
            create_time: made.map(|made| convert::timestamp(made.created_at)),
            created_by: made.map(|made| made.created_by.clone()).unwrap_or_default(),
            vm_count: number(used.vms),
            image_count: number(used.images.images),
            quota: made.map(|made| made.quota).filter(|quota| *quota != Quota::default()).map(told),
            used: Some(v1::ProjectResources {
                vms: guests.into(),
                vcpus: vcpus.into(),
                memory_mib,
                disk_mib,
                image_mib: bytes.div_ceil(1 << 20),
                watches: calls.watches,
                streams: calls.streams,
                calls_per_second: calls.calls,
            }),
        }
    }

    /// The same for who asks: who made it is a caller of the fleet, whose names are the fleet's.
    fn seen(&self, name: &ProjectName, caller: &Caller) -> Option<v1::Project> {
        let made = self.api.store.project(name);
        if made.is_none() && !name.is_default() {
            return None;
        }
        let shown = self.shown(name, made.as_deref());
        Some(match caller.only() {
            None => shown,
            Some(_) => v1::Project { created_by: String::new(), ..shown },
        })
    }

    fn list(
        &self,
        caller: &Caller,
        mut message: v1::ListProjectsRequest,
    ) -> Result<v1::ListProjectsResponse, Status> {
        let token = std::mem::take(&mut message.page_token);
        let query = PageQuery::of("ListProjects", &message).seen_by(caller);
        let size = page_size(message.page_size)?;
        let after = self.api.pages.read(&query, &token)?.map(|cursor| cursor.after);
        // Whoever sees one alone has no other looked at.
        let names = match caller.only() {
            Some(own) => vec![own.clone()],
            None => {
                let made = self.api.store.projects();
                let made = made.iter().map(|project| project.name.clone());
                std::iter::once(ProjectName::default()).chain(made).collect()
            }
        };
        // By a digest of the name, as images: one that comes or goes between two pages moves no
        // other.
        let mut keyed: Vec<(u128, ProjectName)> =
            names.into_iter().map(|name| (key(name.as_str()), name)).collect();
        keyed.sort_unstable();
        let mut rest = keyed.into_iter().filter(|(key, _)| after.is_none_or(|after| *key > after));
        let page: Vec<_> = rest.by_ref().take(size).collect();
        let more = rest.next().is_some();
        let next_page_token = match page.last().filter(|_| more) {
            Some((last, _)) => {
                let cursor = Cursor { revision: Default::default(), after: *last, total: 0 };
                self.api.pages.token(&query, cursor)
            }
            None => String::new(),
        };
        let projects = page.iter().filter_map(|(_, name)| self.seen(name, caller)).collect();
        Ok(v1::ListProjectsResponse { projects, next_page_token })
    }
}

fn told(quota: Quota) -> v1::ProjectResources {
    let [vms, vcpus, memory_mib, disk_mib, image_mib, watches, streams, calls_per_second] =
        quota.numbers();
    v1::ProjectResources {
        vms,
        vcpus,
        memory_mib,
        disk_mib,
        image_mib,
        watches,
        streams,
        calls_per_second,
    }
}

/// A quota from a request.
///
/// # Errors
/// A number is larger than any that is kept.
fn quota(asked: Option<v1::ProjectResources>) -> Result<Quota, Status> {
    const MOST: u64 = 1 << 53;
    const MOST_CALLS: u64 = 1_000_000;
    let asked = asked.unwrap_or_default();
    let v1::ProjectResources { vms, vcpus, memory_mib, disk_mib, .. } = asked;
    let v1::ProjectResources { image_mib, watches, streams, calls_per_second, .. } = asked;
    let numbers = [vms, vcpus, memory_mib, disk_mib, image_mib, watches, streams, calls_per_second];
    if numbers.into_iter().any(|number| number > MOST) {
        return Err(status::invalid_field("quota", "has a number of more than 2^53"));
    }
    for (field, asked) in
        [("watches", watches), ("streams", streams), ("calls_per_second", calls_per_second)]
    {
        if asked > MOST_CALLS {
            let why = format!("is {asked}; must be at most {MOST_CALLS}");
            return Err(status::invalid_field(&format!("quota.{field}"), why));
        }
    }
    Ok(Quota::of_numbers(numbers))
}

fn number(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

/// A number by which projects are ordered over pages.
fn key(name: &str) -> u128 {
    let digest = Sha256::digest(name.as_bytes());
    digest.iter().take(16).fold(0, |key, byte| (key << 8) | u128::from(*byte))
}

fn parse(name: &str) -> Result<ProjectName, Status> {
    ProjectName::parse(name).map_err(|why| status::invalid_field("name", why))
}

#[tonic::async_trait]
impl ProjectService for Projects {
    async fn create_project(
        &self,
        request: Request<v1::CreateProjectRequest>,
    ) -> Result<Response<v1::Project>, Status> {
        let key = once::key(request.get_ref())?;
        let name = parse(&request.get_ref().name)?;
        let quota = quota(request.get_ref().quota)?;
        let caller = self.api.caller(&request)?;
        let create = CreateProject(Arc::new(ProjectRecord {
            name,
            created_at: caller.at,
            created_by: caller.actor.to_string(),
            quota,
        }));
        let made = self.api.store.submit_once(caller, key, create).await;
        let made = made.map_err(status::mutation_failed)?;
        info!(project = %made.name, by = made.created_by, "a project was made");
        Ok(Response::new(self.shown(&made.name, Some(&made))))
    }

    async fn update_project(
        &self,
        request: Request<v1::UpdateProjectRequest>,
    ) -> Result<Response<v1::Project>, Status> {
        let message = request.get_ref();
        let key = once::key(message)?;
        let update = UpdateProject { name: parse(&message.name)?, quota: quota(message.quota)? };
        let caller = self.api.caller(&request)?;
        let changed = self.api.store.submit_once(caller, key, update).await;
        let changed = changed.map_err(status::mutation_failed)?;
        Ok(Response::new(self.shown(&changed.name, Some(&changed))))
    }

    async fn get_project(
        &self,
        request: Request<v1::GetProjectRequest>,
    ) -> Result<Response<v1::Project>, Status> {
        let caller = self.api.caller(&request)?;
        let name = match &*request.get_ref().name {
            "" => caller.home(),
            name => parse(name)?,
        };
        let seen = Some(&name).filter(|name| caller.sees(name));
        let project = seen.and_then(|name| self.seen(name, &caller));
        project.map(Response::new).ok_or_else(|| status::project_not_found(&name))
    }

    async fn list_projects(
        &self,
        request: Request<v1::ListProjectsRequest>,
    ) -> Result<Response<v1::ListProjectsResponse>, Status> {
        let caller = self.api.caller(&request)?;
        self.list(&caller, request.into_inner()).map(Response::new)
    }

    async fn delete_project(
        &self,
        request: Request<v1::DeleteProjectRequest>,
    ) -> Result<Response<v1::Project>, Status> {
        let message = request.get_ref();
        let key = once::key(message)?;
        let name = parse(&message.name)?;
        let caller = self.api.caller(&request)?;
        match self.api.store.submit_once(caller, key, DeleteProject(name)).await {
            Ok(gone) => {
                info!(project = %gone.name, "a project was taken away");
                self.api.images.forget_uploads(gone.name.clone()).await;
                // What it has is gone with it, but for calls that are ending.
                Ok(Response::new(self.shown(&gone.name, Some(&gone))))
            }
            // Gone by an earlier request with this id.
            Err(MutateError::Refused(Refusal::DoneAndGone {
                what: RequestTarget::Project(name),
            })) => {
                Ok(Response::new(v1::Project { name: name.to_string(), ..v1::Project::default() }))
            }
            Err(MutateError::Refused(Refusal::ProjectNotFound { .. })) if message.allow_missing => {
                Ok(Response::new(v1::Project::default()))
            }
            Err(failure) => Err(status::mutation_failed(failure)),
        }
    }
}

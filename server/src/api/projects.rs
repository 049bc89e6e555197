//! The project service: makes projects, lists them, and takes away those that are empty.

use std::sync::Arc;

use banger_proto::v1;
use banger_proto::v1::project_service_server::ProjectService;
use sha2::{Digest as _, Sha256};
use tonic::{Request, Response, Status};
use tracing::info;

use super::page::{Cursor, PageQuery, page_size};
use super::{Api, convert, once, status};
use crate::model::caller::Caller;
use crate::model::host::Resources;
use crate::model::ledger::{CreateProject, DeleteProject, ProjectUse, Refusal, UpdateProject};
use crate::model::project::{DEFAULT, ProjectName, ProjectRecord, Quota};
use crate::model::request::RequestTarget;
use crate::store::MutateError;

/// Answers calls about projects.
#[derive(Debug, Clone)]
pub struct Projects {
    api: Api,
}

impl Projects {
    /// Over the server's parts.
    pub fn new(api: Api) -> Self {
        Self { api }
    }

    fn now(&self, project: &ProjectRecord) -> v1::Project {
        let uses = self.api.store.project_uses();
        shown(project, uses.get(&project.name).copied().unwrap_or_default())
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
        let uses = self.api.store.project_uses();
        let used = |name: &ProjectName| uses.get(name).copied().unwrap_or_default();
        let default = ProjectName::default();
        let mut all = vec![v1::Project {
            name: DEFAULT.to_owned(),
            vm_count: number(used(&default).vms),
            image_count: number(used(&default).images),
            used: Some(booked(used(&default))),
            ..v1::Project::default()
        }];
        let made = self.api.store.projects();
        all.extend(made.iter().map(|project| shown(project, used(&project.name))));
        // By a digest of the name, as images: one that comes or goes between two pages moves no
        // other.
        let mut all: Vec<(u128, v1::Project)> = all
            .into_iter()
            .filter_map(|shown| match caller.only() {
                None => Some(shown),
                // Who made it is a caller of the fleet, whose names are the fleet's.
                Some(own) => (own.as_str() == shown.name)
                    .then(|| v1::Project { created_by: String::new(), ..shown }),
            })
            .map(|shown| (key(&shown.name), shown))
            .collect();
        all.sort_by_key(|(key, _)| *key);
        let mut rest = all.into_iter().filter(|(key, _)| after.is_none_or(|after| *key > after));
        let page: Vec<_> = rest.by_ref().take(size).collect();
        let more = rest.next().is_some();
        let next_page_token = match page.last().filter(|_| more) {
            Some((last, _)) => {
                let cursor = Cursor { revision: Default::default(), after: *last, total: 0 };
                self.api.pages.token(&query, cursor)
            }
            None => String::new(),
        };
        let projects = page.into_iter().map(|(_, project)| project).collect();
        Ok(v1::ListProjectsResponse { projects, next_page_token })
    }
}

fn shown(project: &ProjectRecord, used: ProjectUse) -> v1::Project {
    v1::Project {
        name: project.name.to_string(),
        create_time: Some(convert::timestamp(project.created_at)),
        created_by: project.created_by.clone(),
        vm_count: number(used.vms),
        image_count: number(used.images),
        quota: (project.quota != Quota::default()).then(|| {
            let Quota { vms, vcpus, memory_mib, disk_mib } = project.quota;
            v1::ProjectResources { vms, vcpus, memory_mib, disk_mib }
        }),
        used: Some(booked(used)),
    }
}

fn booked(used: ProjectUse) -> v1::ProjectResources {
    let Resources { vcpus, memory_mib, disk_mib, guests } = used.booked;
    v1::ProjectResources { vms: guests.into(), vcpus: vcpus.into(), memory_mib, disk_mib }
}

/// A quota from a request.
///
/// # Errors
/// A number is larger than any that is kept.
fn quota(asked: Option<v1::ProjectResources>) -> Result<Quota, Status> {
    const MOST: u64 = 1 << 53;
    let v1::ProjectResources { vms, vcpus, memory_mib, disk_mib } = asked.unwrap_or_default();
    if [vms, vcpus, memory_mib, disk_mib].into_iter().any(|number| number > MOST) {
        return Err(status::invalid_field("quota", "has a number of more than 2^53"));
    }
    Ok(Quota { vms, vcpus, memory_mib, disk_mib })
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
        Ok(Response::new(self.now(&made)))
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
        Ok(Response::new(self.now(&changed)))
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
                Ok(Response::new(shown(&gone, ProjectUse::default())))
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

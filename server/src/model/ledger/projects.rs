//! Deciding about projects: made by a name that is free, taken away when nothing belongs to them,
//! and what their VMs may come to.
//!
//! With a project go the tokens of its callers, so that nobody calls for what is not there, nor for
//! another that gets its name later. Who may make and take away projects was decided before.

use std::sync::Arc;

use super::{Change, Decided, ImageUse, Ledger, Outcome, Refusal};
use crate::model::caller::Caller;
use crate::model::host::Resources;
use crate::model::project::{ProjectName, ProjectRecord, Quota};
use crate::model::spec::SpecProblem;

/// Most projects.
const MAX_PROJECTS: usize = 10_000;

/// Keep a project.
#[derive(Debug, Clone)]
pub struct CreateProject(pub Arc<ProjectRecord>);

/// Give a project another quota.
#[derive(Debug, Clone)]
pub struct UpdateProject {
    pub name: ProjectName,
    pub quota: Quota,
}

/// Forget a project that is empty.
#[derive(Debug, Clone)]
pub struct DeleteProject(pub ProjectName);

/// What belongs to a project.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ProjectUse {
    /// Those that are being deleted included.
    pub vms: usize,
    /// What the VMs count for.
    pub booked: Resources,
    pub images: ImageUse,
}

impl Ledger {
    /// Every project that was made, by name: `default` is none of them.
    pub fn projects(&self) -> impl Iterator<Item = &Arc<ProjectRecord>> {
        self.projects.iter()
    }

    /// Whether there is such a project for this caller.
    pub fn has_project(&self, project: &ProjectName, caller: &Caller) -> bool {
        let there = project.is_default() || self.projects.get(project).is_some();
        there && caller.sees(project)
    }

    /// One that was made.
    pub fn project(&self, project: &ProjectName) -> Option<&Arc<ProjectRecord>> {
        self.projects.get(project)
    }

    /// What belongs to a project: kept beside the VMs and images, so that none of them is looked
    /// at.
    pub fn project_use(&self, project: &ProjectName) -> ProjectUse {
        let booked = self.usage.get(project).copied().unwrap_or_default();
        ProjectUse { vms: booked.guests as usize, booked, images: self.image_use(project) }
    }

    /// Refuses a project that is not there for this caller, in the same words whatever the cause.
    pub(super) fn check_project(
        &self,
        project: &ProjectName,
        caller: &Caller,
    ) -> Result<(), Refusal> {
        match self.has_project(project, caller) {
            true => Ok(()),
            false => Err(Refusal::ProjectNotFound { name: project.to_string() }),
        }
    }

    pub(super) fn create_project(&self, project: &Arc<ProjectRecord>) -> Result<Decided, Refusal> {
        if project.name.is_default() || self.projects.get(&project.name).is_some() {
            return Err(Refusal::ProjectNameTaken { name: project.name.to_string() });
        }
        if self.gone_projects.contains(&project.name) {
            return Err(Refusal::ProjectNameUsed { name: project.name.to_string() });
        }
        if self.projects.len() >= MAX_PROJECTS {
            return Err(Refusal::LimitReached { what: "projects", limit: MAX_PROJECTS });
        }
        Ok(Decided {
            changes: vec![Change::put(Arc::clone(project))],
            outcome: Outcome::Project(Arc::clone(project)),
        })
    }

    pub(super) fn update_project(
        &self,
        update: &UpdateProject,
        caller: &Caller,
    ) -> Result<Decided, Refusal> {
        self.check_project(&update.name, caller)?;
        let Some(known) = self.projects.get(&update.name) else {
            let why = "is default, which has no quota";
            return Err(Refusal::InvalidFields(vec![SpecProblem::new("name", why)]));
        };
        if known.quota == update.quota {
            let outcome = Outcome::Project(Arc::clone(known));
            return Ok(Decided { changes: Vec::new(), outcome });
        }
        let project = ProjectRecord { quota: update.quota, ..ProjectRecord::clone(known) };
        let project = Arc::new(project);
        let changes = vec![Change::put(Arc::clone(&project))];
        Ok(Decided { changes, outcome: Outcome::Project(project) })
    }

    /// Refuses a VM that would take its project past its quota. `had`: what it counts for already.
    pub(super) fn check_quota(
        &self,
        project: &ProjectName,
        had: Resources,
        wants: Resources,
    ) -> Result<(), Refusal> {
        let Some(record) = self.projects.get(project) else { return Ok(()) };
        let others = self.usage.get(project).copied().unwrap_or_default().minus(had);
        let refused = |passed| Refusal::QuotaExceeded { project: project.to_string(), passed };
        record.quota.check(others, had, wants).map_err(refused)
    }

    pub(super) fn delete_project(
        &self,
        name: &ProjectName,
        caller: &Caller,
    ) -> Result<Decided, Refusal> {
        self.check_project(name, caller)?;
        let name_text = || name.to_string();
        let Some(project) = self.projects.get(name) else {
            return Err(Refusal::ProjectStays { name: name_text() });
        };
        let ProjectUse { vms, images: ImageUse { images, .. }, .. } = self.project_use(name);
        if vms + images > 0 {
            return Err(Refusal::ProjectNotEmpty { name: name_text(), vms, images });
        }
        // Whatever was made with one of them is of the project too.
        let its = self.tokens().filter(|token| token.rights.project() == Some(name));
        let mut changes: Vec<Change> =
            its.map(|token| Change::remove(Arc::clone(token), caller.at)).collect();
        changes.push(Change::remove(Arc::clone(project), caller.at));
        Ok(Decided { changes, outcome: Outcome::ProjectGone(Arc::clone(project)) })
    }
}

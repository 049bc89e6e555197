//! Images and projects for whoever reads them: from the ledger, as it decides.

use std::sync::Arc;

use super::Store;
use crate::model::caller::Caller;
use crate::model::image::ImageRecord;
use crate::model::ledger::ProjectUse;
use crate::model::project::{Named, ProjectName, ProjectRecord};

impl Store {
    /// Every image that is there for this caller, each with the number of VMs
    /// that use its content, of those that they see.
    pub fn images(&self, caller: &Caller) -> Vec<(Arc<ImageRecord>, usize)> {
        let ledger = self.ledger.lock();
        let used = |image: &Arc<ImageRecord>| ledger.image_users(&image.sha256, caller);
        let images = ledger.images_for(caller).into_iter();
        images.map(|image| (Arc::clone(image), used(image))).collect()
    }

    /// One of them: what the name means to their own VMs, or in full that of a project.
    pub fn image(&self, named: &Named, caller: &Caller) -> Option<(Arc<ImageRecord>, usize)> {
        let ledger = self.ledger.lock();
        let found = match named.project == caller.home() {
            true => ledger.image_for(&named.project, &named.name),
            false => ledger.image(named),
        };
        let image = found.filter(|image| is_for(image, caller))?;
        Some((Arc::clone(image), ledger.image_users(&image.sha256, caller)))
    }

    /// How long the content of an image is, in bytes; 0: there is none of this name.
    pub fn image_length(&self, named: &Named) -> u64 {
        self.ledger.lock().image(named).map_or(0, |image| image.size_bytes)
    }

    /// Whether there is such a project for this caller.
    pub fn has_project(&self, project: &ProjectName, caller: &Caller) -> bool {
        self.ledger.lock().has_project(project, caller)
    }

    /// Every project that was made, by name.
    pub fn projects(&self) -> Vec<Arc<ProjectRecord>> {
        self.ledger.lock().projects().cloned().collect()
    }

    /// One of them.
    pub fn project(&self, project: &ProjectName) -> Option<Arc<ProjectRecord>> {
        self.ledger.lock().project(project).cloned()
    }

    /// What belongs to a project.
    pub fn project_use(&self, project: &ProjectName) -> ProjectUse {
        self.ledger.lock().project_use(project)
    }
}

fn is_for(image: &ImageRecord, caller: &Caller) -> bool {
    caller.only().is_none_or(|own| image.is_for(own))
}

//! What of a project's quota images and uploads may take, looked at before bytes come.
//!
//! A hint: it saves a transfer that would come to nothing. What counts is decided by the ledger,
//! with the name of the image, and for uploads where their bytes are counted
//! ([`super::reserved`]).

use banger_images::{ImportError, Limits};

use super::{Images, Wish};
use crate::model::ledger::Refusal;
use crate::model::project::{Named, ProjectName};

/// How long an image may become.
pub(super) struct Longest {
    limits: Limits,
    /// What its project has left, and what is said of an image that is longer.
    left: Option<(u64, Refusal)>,
}

impl Longest {
    pub(super) fn limits(&self) -> Limits {
        self.limits
    }

    /// Why, where it is the quota that ended an import.
    pub(super) fn passed_by(self, error: &ImportError) -> Option<Refusal> {
        let ImportError::Limit { limit, .. } = error else { return None };
        self.left.filter(|(left, _)| left == limit).map(|(_, refusal)| refusal)
    }
}

impl Images {
    /// What the uploads of a project take, those under way included, in bytes.
    pub fn uploaded(&self, project: &ProjectName) -> u64 {
        self.reserved.of(project)
    }

    /// Counts the uploads that are kept.
    ///
    /// # Errors
    /// The directory can't be read; nothing is counted anew then.
    pub fn count_uploads(&self) -> std::io::Result<()> {
        self.library.kept_blobs(|kept| self.reserved.set_kept(kept))
    }

    /// Refuses so many bytes more, beside so many of uploads, where images and these have as many
    /// as their project may.
    pub(super) fn check_quota(
        &self,
        project: &ProjectName,
        uploaded: u64,
        more: u64,
    ) -> Result<(), Refusal> {
        let Some(record) = self.store.project(project) else { return Ok(()) };
        let images = self.store.project_use(project).images.bytes;
        let refused = |passed| Refusal::QuotaExceeded { project: project.to_string(), passed };
        record.quota.check_images(images.saturating_add(uploaded), more).map_err(refused)
    }

    /// Refuses an import that can't be named, before its bytes come: it has one at least, where
    /// nobody has said how long it will be.
    pub(super) fn check_import(&self, wish: &Wish) -> Result<(), Refusal> {
        let wanted = wish.root_bytes.unwrap_or(1);
        match self.left_for(wish) {
            Some(left) if wanted > left => self.check_quota(&wish.project, 0, wanted),
            Some(_) | None => Ok(()),
        }
    }

    /// How long an image may become: no longer than its quota lets it be named.
    pub(super) fn longest_of(&self, wish: &Wish) -> Longest {
        let mut limits = Limits::default();
        let left = self.left_for(wish).filter(|left| *left < limits.root_bytes);
        let Some(left) = left else { return Longest { limits, left: None } };
        limits.root_bytes = left;
        limits.boot_bytes = limits.boot_bytes.min(left);
        let refusal = self.check_quota(&wish.project, 0, left.saturating_add(1)).err();
        Longest { limits, left: refusal.map(|refusal| (left, refusal)) }
    }

    /// How many bytes an image may have; `None`: no quota bounds that.
    fn left_for(&self, wish: &Wish) -> Option<u64> {
        let allowed = self.store.project(&wish.project)?.quota.image_mib.saturating_mul(1 << 20);
        let used = self.store.project_use(&wish.project).images.bytes;
        let replaced = self.store.image_length(&Named::new(&wish.project, &wish.name));
        // One that takes the place of another may have what that had in any case.
        let left = allowed.saturating_sub(used.saturating_sub(replaced)).max(replaced);
        (allowed > 0).then_some(left)
    }
}

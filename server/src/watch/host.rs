//! One host as everybody reads it.

use std::sync::Arc;

use banger_proto::ids::{Revision, VmId};

use crate::model::host::{CertificateSeen, HostHealth, HostView, Resources};

/// A host as readers see it.
#[derive(Debug, Clone)]
pub struct HostSnapshot {
    /// Record, health and facts.
    pub view: Arc<HostView>,
    /// How many VMs are placed on it.
    pub vm_count: usize,
    /// What they may use.
    pub booked: Resources,
    /// VMs its agent holds that no intent knows.
    pub unclaimed: Vec<VmId>,
    /// The certificate that its agent shows; `None` before the first connection.
    pub certificate: Option<Arc<CertificateSeen>>,
    /// The revision of the newest change shown here.
    pub revision: Revision,
    /// The revision at which it first appeared; of one that is older than what is known, one that
    /// nobody resumes from before.
    pub added: Revision,
}

impl HostSnapshot {
    /// Whether a reader would see no difference but in the revision, and in when its agent was last
    /// heard: that it goes on being heard is no news.
    pub(super) fn shows_the_same_as(&self, other: &Self) -> bool {
        let (view, was) = (&self.view, &other.view);
        let health = |health: &HostHealth| {
            let HostHealth { state, since, reason, message, last_seen: _ } = health.clone();
            (state, since, reason, message)
        };
        (self.vm_count, self.booked) == (other.vm_count, other.booked)
            && self.unclaimed == other.unclaimed
            && self.certificate == other.certificate
            && view.record == was.record
            && view.facts == was.facts
            && health(&view.health) == health(&was.health)
    }

    /// A rough size in bytes of what a change to this one has added in memory, and of its message.
    pub(super) fn weight(&self) -> usize {
        let HostView { record, health, facts } = &*self.view;
        let labels: usize = record.labels.iter().map(|(k, v)| k.len() + v.len() + 8).sum();
        let images = facts.as_ref().map_or(0, |facts| {
            facts.images.iter().map(|image| image.name.len() + image.sha256.len() + 24).sum()
        });
        1024 + labels + health.message.len() + 48 * self.unclaimed.len() + images
    }
}

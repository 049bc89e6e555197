//! What a plan goes by beside the VM itself: its host, the link, the images there, what was tried.
//!
//! Gathered in one place from those who own it, so that a driver and `ExplainVm` decide by the
//! same.

use std::sync::Arc;

use banger_proto::ids::{Epoch, HostId};
use parking_lot::Mutex;
use tokio::time::Instant;

use super::attempts::{AllAttempts, Attempts};
use super::delivery::ImageDelivery;
use super::needs::HostImages;
use super::plan::Known;
use crate::fleet::Fleet;
use crate::model::host::HostView;

/// Where it is gathered from. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Knowledge {
    fleet: Fleet,
    delivery: Arc<ImageDelivery>,
    attempts: Arc<AllAttempts>,
    epoch: Epoch,
}

impl Knowledge {
    /// With nothing tried yet. Epoch is the store's.
    pub fn new(fleet: Fleet, delivery: Arc<ImageDelivery>, epoch: Epoch) -> Self {
        Self { fleet, delivery, attempts: Arc::default(), epoch }
    }

    pub(super) fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// What is known at `now` of a host, or of none for a VM that has no host; for as long as
    /// `plan` takes, which holds up the host's driver.
    pub(super) fn of<R>(
        &self,
        host: Option<&HostView>,
        now: Instant,
        plan: impl FnOnce(&Known<'_>) -> R,
    ) -> R {
        let Some(host) = host else {
            let (images, attempts) = (HostImages::default(), Attempts::default());
            return plan(&Known {
                host: None,
                connected: false,
                images: &images,
                attempts: &attempts,
                epoch: self.epoch,
                now,
            });
        };
        let id = host.record.id;
        let images = HostImages::new(host.facts.as_ref(), self.delivery.standings(id));
        let attempts = self.attempts.of(id);
        let attempts = attempts.lock();
        plan(&Known {
            host: Some(host),
            connected: self.fleet.ready_link(id).is_some(),
            images: &images,
            attempts: &attempts,
            epoch: self.epoch,
            now,
        })
    }

    /// What was tried on a host; its driver alone changes it.
    pub(super) fn attempts(&self, host: HostId) -> Arc<Mutex<Attempts>> {
        self.attempts.of(host)
    }

    /// The host is gone.
    pub(super) fn forget(&self, host: HostId) {
        self.attempts.forget(host);
        self.delivery.forget(host);
    }
}

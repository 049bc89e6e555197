//! Who uses which root image's loop device.
//!
//! The device of an image is shared by all VMs that boot from it. It may be detached only when
//! nobody stands on it and nobody is about to: between attaching it and making its snapshot a VM
//! holds it by its entry here alone. Attaching and releasing an image happen under one lock for
//! that image. In memory only: after a restart of the agent a VM that lives holds its device by
//! its snapshot, which the kernel counts.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use banger_proto::ids::VmId;
use parking_lot::Mutex;

use crate::host::{
    BackingFile, Change, Host, HostError, HostErrorKind, HostResult, ImageName, LoopDevices,
    LoopFacts,
};

type Users = Arc<tokio::sync::Mutex<BTreeSet<VmId>>>;

/// The users of every image.
#[derive(Debug, Default)]
pub struct BaseUsers {
    images: Mutex<BTreeMap<BackingFile, Users>>,
    holders: Mutex<BTreeSet<VmId>>,
}

impl BaseUsers {
    fn of(&self, image: &BackingFile) -> Users {
        Arc::clone(self.images.lock().entry(image.clone()).or_default())
    }

    /// Whether a VM holds any image.
    #[must_use]
    pub fn holds(&self, vm: VmId) -> bool {
        self.holders.lock().contains(&vm)
    }

    /// The images that a VM uses, or that somebody attaches or releases just now.
    #[must_use]
    pub fn in_use(&self) -> BTreeSet<ImageName> {
        let images = self.images.lock();
        let used = images.iter().filter(|(_, users)| {
            // Held by an attach or a release under way.
            users.try_lock().map_or(true, |users| !users.is_empty())
        });
        used.filter_map(|(image, _)| match image {
            BackingFile::Image(name) => Some(name.clone()),
            BackingFile::Scratch { .. } => None,
        })
        .collect()
    }

    /// Attaches an image for a VM, or finds it attached.
    ///
    /// # Errors
    /// As [`LoopDevices::ensure_attached`].
    pub async fn attach(
        &self,
        loops: &dyn LoopDevices,
        vm: VmId,
        image: &BackingFile,
    ) -> HostResult<(LoopFacts, Change)> {
        let users = self.of(image);
        let mut users = users.lock().await;
        // Noted first: an attach whose answer is lost is released with the rest.
        users.insert(vm);
        self.holders.lock().insert(vm);
        loops.ensure_attached(image, true).await
    }

    /// Lets an image go, and detaches its device when nobody else holds it or stands on it.
    ///
    /// # Errors
    /// As [`LoopDevices::remove`]; the VM still holds the image then, so that it is tried again.
    pub async fn release(
        &self,
        loops: &dyn LoopDevices,
        vm: VmId,
        image: &BackingFile,
    ) -> HostResult<Change> {
        let users = self.of(image);
        let mut users = users.lock().await;
        if users.iter().all(|user| *user == vm)
            && let Some(device) = loops.observe(image).await?
            && device.holders.is_empty()
        {
            loops.remove(device.device, device.backing).await?;
        }
        let held = users.remove(&vm);
        self.holders.lock().remove(&vm);
        Ok(Change::from_bool(held))
    }

    /// Removes an image that no VM holds and no device lies over.
    ///
    /// # Errors
    /// [`HostErrorKind::Busy`] when one does; as [`Images::remove`](crate::host::Images::remove).
    pub async fn remove_image(
        &self,
        host: &Host,
        name: &ImageName,
        is_used: impl Fn() -> bool + Send,
    ) -> HostResult<Change> {
        let image = BackingFile::Image(name.clone());
        let users = self.of(&image);
        let users = users.lock().await;
        if !users.is_empty() || is_used() || host.loops.observe(&image).await?.is_some() {
            let busy = HostError::new(HostErrorKind::Busy, "remove image", name);
            return Err(busy.detail("a VM of this host uses it"));
        }
        host.images.remove(name).await
    }

    /// Detaches an image's device that nobody holds or stands on, for the sweep. `None` when a VM
    /// holds it.
    ///
    /// # Errors
    /// As [`LoopDevices::remove`].
    pub async fn detach_unused(
        &self,
        loops: &dyn LoopDevices,
        image: &BackingFile,
        device: &LoopFacts,
    ) -> HostResult<Option<Change>> {
        let users = self.of(image);
        let users = users.lock().await;
        if users.is_empty() {
            // Busy when something stands on it.
            loops.remove(device.device, device.backing).await.map(Some)
        } else {
            Ok(None)
        }
    }
}

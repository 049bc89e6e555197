//! Reading a checked spec: its fields, its images, what it books. Decides nothing.

use super::{Egress, ImageRef, Placement, RateLimits, ResourceLimits, RestartPolicy, VmSpec};
use crate::model::host::Resources;
use crate::model::labels::Labels;

impl VmSpec {
    /// Number of vCPUs.
    pub fn vcpus(&self) -> u32 {
        self.vcpus
    }

    /// Guest memory in MiB.
    pub fn memory_mib(&self) -> u32 {
        self.memory_mib
    }

    pub fn kernel(&self) -> &ImageRef {
        &self.kernel
    }

    /// The root file system.
    pub fn root_image(&self) -> &ImageRef {
        &self.root_image
    }

    /// The initial RAM disk, if one is used.
    pub fn initrd(&self) -> Option<&ImageRef> {
        self.initrd.as_ref()
    }

    /// All images, each with the path of its field.
    pub fn images(&self) -> impl Iterator<Item = (&'static str, &ImageRef)> {
        [
            Some(("spec.kernel", &self.kernel)),
            Some(("spec.root_image", &self.root_image)),
            self.initrd.as_ref().map(|image| ("spec.initrd", image)),
        ]
        .into_iter()
        .flatten()
    }

    /// The digests of the contents that the server keeps for it.
    pub fn stored_images(&self) -> impl Iterator<Item = &str> {
        self.images().filter_map(|(_, image)| image.stored_digest())
    }

    /// The same with other images: each is given with the path of its field.
    pub(in crate::model) fn map_images(
        &self,
        mut map: impl FnMut(&'static str, &ImageRef) -> ImageRef,
    ) -> Self {
        Self {
            kernel: map("spec.kernel", &self.kernel),
            root_image: map("spec.root_image", &self.root_image),
            initrd: self.initrd.as_ref().map(|image| map("spec.initrd", image)),
            ..self.clone()
        }
    }

    /// The same for a host that is named in another way.
    pub(in crate::model) fn on_host(&self, host: String) -> Self {
        let placement = Placement { host: Some(host), ..self.placement.clone() };
        Self { placement, ..self.clone() }
    }

    /// Size of the copy-on-write store in MiB.
    pub fn root_disk_mib(&self) -> u32 {
        self.root_disk_mib
    }

    /// Size of the work disk in MiB, if there is one.
    pub fn work_disk_mib(&self) -> Option<u32> {
        self.work_disk_mib
    }

    /// Kernel command line, never empty.
    pub fn boot_args(&self) -> &str {
        &self.boot_args
    }

    /// The metadata document as JSON, if there is one.
    pub fn metadata(&self) -> Option<&str> {
        self.metadata.as_deref()
    }

    /// What the guest may reach.
    pub fn egress(&self) -> Egress {
        self.egress
    }

    /// Bounds on throughput.
    pub fn rate_limits(&self) -> RateLimits {
        self.rate_limits
    }

    /// What it may take of its host.
    pub fn limits(&self) -> ResourceLimits {
        self.limits
    }

    /// Labels of the VM.
    pub fn labels(&self) -> &Labels {
        &self.labels
    }

    /// Where the VM may run.
    pub fn placement(&self) -> &Placement {
        &self.placement
    }

    /// What to do when the process ends though the VM should run.
    pub fn restart_policy(&self) -> RestartPolicy {
        self.restart_policy
    }

    /// What the VM counts for in the quota of its project, with a root image of this length: as it
    /// books, but a root disk is never shorter than its image, whatever the spec says. The same
    /// wherever it runs: a host that keeps only what differs from the image takes less.
    pub fn counted(&self, root_image_mib: u64) -> Resources {
        let booked = self.resources();
        let longer = root_image_mib.saturating_sub(u64::from(self.root_disk_mib));
        Resources { disk_mib: booked.disk_mib.saturating_add(longer), ..booked }
    }

    /// What the VM books on its host. Both disks count in full: hosts reserve them when they
    /// are made.
    pub fn resources(&self) -> Resources {
        Resources {
            vcpus: self.vcpus,
            memory_mib: u64::from(self.memory_mib),
            disk_mib: u64::from(self.root_disk_mib) + u64::from(self.work_disk_mib.unwrap_or(0)),
            guests: 1,
        }
    }
}

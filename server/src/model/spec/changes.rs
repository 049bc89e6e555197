//! What differs between two specs, and when each difference can take effect.
//!
//! The ledger asks at UpdateVm. The list of fields is written out, so that a new field of the spec
//! does not compile until it is decided here what its change means.

use super::{ImageRef, VmSpec};

/// When a change of a field takes effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TakesEffect {
    /// At once.
    Live,
    /// With the next process.
    NeedsStoppedVm,
    /// With the search for a host: once there is one, it can't change.
    BeforePlaced,
}

/// A field that differs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FieldChange {
    /// Path of the field, such as `spec.vcpus`.
    pub field: &'static str,
    /// When it takes effect.
    pub takes_effect: TakesEffect,
}

impl VmSpec {
    /// Every field in which `new` differs from this spec.
    pub fn changes(&self, new: &Self) -> Vec<FieldChange> {
        use TakesEffect::{BeforePlaced, Live, NeedsStoppedVm};
        let Self {
            vcpus,
            memory_mib,
            kernel,
            root_image,
            initrd,
            root_disk_mib,
            work_disk_mib,
            boot_args,
            metadata,
            egress,
            rate_limits,
            limits,
            labels,
            placement,
            restart_policy,
        } = self;
        [
            (*vcpus != new.vcpus, "spec.vcpus", NeedsStoppedVm),
            (*memory_mib != new.memory_mib, "spec.memory_mib", NeedsStoppedVm),
            (*kernel != new.kernel, "spec.kernel", NeedsStoppedVm),
            (*root_image != new.root_image, "spec.root_image", NeedsStoppedVm),
            (*initrd != new.initrd, "spec.initrd", NeedsStoppedVm),
            (*root_disk_mib != new.root_disk_mib, "spec.root_disk_mib", NeedsStoppedVm),
            (*work_disk_mib != new.work_disk_mib, "spec.work_disk", NeedsStoppedVm),
            (*boot_args != new.boot_args, "spec.boot_args", NeedsStoppedVm),
            (*metadata != new.metadata, "spec.metadata", Live),
            (*egress != new.egress, "spec.network.egress", Live),
            (*rate_limits != new.rate_limits, "spec.rate_limits", NeedsStoppedVm),
            (*limits != new.limits, "spec.limits", Live),
            (*labels != new.labels, "spec.labels", Live),
            (*placement != new.placement, "spec.placement", BeforePlaced),
            (*restart_policy != new.restart_policy, "spec.restart_policy", Live),
        ]
        .into_iter()
        .filter(|(differs, _, _)| *differs)
        .map(|(_, field, takes_effect)| FieldChange { field, takes_effect })
        .collect()
    }

    /// Whether the root disk of this spec is useless under `new`: what the guest has written lies
    /// over another image. Only naming the digest of the same file keeps the disk.
    pub fn root_disk_is_lost(&self, new: &Self) -> bool {
        fn digests_differ(old: &ImageRef, new: &ImageRef) -> bool {
            matches!((&old.sha256, &new.sha256), (Some(old), Some(new)) if old != new)
        }
        self.root_image.name != new.root_image.name
            || digests_differ(&self.root_image, &new.root_image)
    }

    /// Disks that `new` would make smaller while they are kept: (field, size now, size asked for)
    /// in MiB. Cutting off what a guest has written can't be undone.
    pub fn shrunk_disks(&self, new: &Self) -> Vec<(&'static str, u32, u32)> {
        let root = (self.root_disk_mib > new.root_disk_mib && !self.root_disk_is_lost(new))
            .then_some(("spec.root_disk_mib", self.root_disk_mib, new.root_disk_mib));
        let work = match (self.work_disk_mib, new.work_disk_mib) {
            (Some(old), Some(new)) if old > new => Some(("spec.work_disk.size_mib", old, new)),
            _ => None,
        };
        root.into_iter().chain(work).collect()
    }
}

//! What the processes of one VM are to be held to: by the size of its machine, by its spec, and on
//! which devices its disks are.
//!
//! Asked before a start and at every look at a guest that runs. What can go wrong: it cannot be
//! told on which device a disk is; then that device is left out, and a limit that is held on none
//! of them is said to be unheld.

use crate::assignment::Shape;
use crate::host::{DeviceNumber, Host, IoBounds, JailBounds, VmmKind};
use crate::naming::{self, VmNames, part};

/// The bounds of a VM of this shape.
pub(super) async fn wanted(
    host: &Host,
    names: &VmNames,
    shape: &Shape,
    vmm: VmmKind,
) -> JailBounds {
    let resources = shape.resources;
    let devices = match resources.io.is_unbounded() {
        true => Vec::new(),
        false => devices(host, names).await,
    };
    JailBounds {
        cpu_weight: resources.cpu_weight,
        cpu_millis: resources.cpu_millis,
        io: IoBounds { rates: resources.io, devices },
        ..JailBounds::of(vmm, shape.vcpus, shape.memory_mib)
    }
}

/// The devices that the kernel can bound its disks by: the snapshot's own, and that of the file
/// system with the files of the others.
async fn devices(host: &Host, names: &VmNames) -> Vec<DeviceNumber> {
    let snapshot = host.snapshots.observe(&names.snapshot).await.ok().flatten();
    let mut found: Vec<DeviceNumber> = snapshot.into_iter().map(|facts| facts.device).collect();
    for file in [naming::file::ROOT, naming::file::WORK] {
        if let Ok(Some(facts)) = host.files.observe(&names.dir, &part(file)).await {
            found.push(DeviceNumber::of(facts.id.device));
        }
    }
    let mut devices = Vec::new();
    for device in found {
        devices.extend(host.jails.bounded_device(device).await.ok().flatten());
    }
    devices.sort_unstable();
    devices.dedup();
    devices
}

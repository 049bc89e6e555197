//! How large a host is, says it is, and counts as; and the condition where these differ.

use banger_proto::v1;

use crate::model::capacity::{AcceptedCapacity, NOT_ACCEPTED};
use crate::model::host::Resources;

/// What a request accepts; a field that is 0 says nothing.
pub fn accepted(given: Option<v1::HostResources>) -> AcceptedCapacity {
    let v1::HostResources { vcpus, memory_mib, disk_mib, guests } = given.unwrap_or_default();
    AcceptedCapacity::of(Resources { vcpus, memory_mib, disk_mib, guests })
}

/// Things of a host. No limit of guests is 0.
pub(super) fn resources(resources: Resources) -> v1::HostResources {
    let Resources { vcpus, memory_mib, disk_mib, guests } = resources;
    let guests = if guests == u32::MAX { 0 } else { guests };
    v1::HostResources { vcpus, memory_mib, disk_mib, guests }
}

/// What was accepted; `None` where that is nothing.
pub(super) fn ceiling(accepted: AcceptedCapacity) -> Option<v1::HostResources> {
    (accepted != AcceptedCapacity::default()).then(|| {
        resources(Resources {
            vcpus: accepted.vcpus.unwrap_or(0),
            memory_mib: accepted.memory_mib.unwrap_or(0),
            disk_mib: accepted.disk_mib.unwrap_or(0),
            guests: accepted.guests.unwrap_or(0),
        })
    })
}

/// What is to be decided about a host that says so of itself.
pub(super) fn condition(
    host: &str,
    ceiling: AcceptedCapacity,
    said: Resources,
) -> Option<v1::HostCondition> {
    ceiling.is_passed_by(said).then(|| {
        let counts = ceiling.counted(said);
        v1::HostCondition {
            reason: NOT_ACCEPTED.to_owned(),
            message: format!(
                "the agent of host {host} says that it has {}; it counts as {} until somebody \
                 accepts more: banger host set {host} --accept-capacity",
                sentence(said),
                sentence(counts),
            ),
        }
    })
}

fn sentence(resources: Resources) -> String {
    let Resources { vcpus, memory_mib, disk_mib, guests } = resources;
    let guests = match guests {
        u32::MAX => "any number of guests".to_owned(),
        guests => format!("{guests} guests"),
    };
    format!("{vcpus} vCPUs, {memory_mib} MiB of memory, {disk_mib} MiB of disk and {guests}")
}

//! Which hosts can take a VM: every filter there is, each with its reason.
//!
//! All of them are asked where somebody wants to know why; a decision stops at the first that
//! objects. Adding one is a line in [`FILTERS`] and a variant of [`Unsuitable`].

use super::{Candidate, POOL_LABEL, Shortage, Unsuitable, Wanted};
use crate::model::host::Resources;

type Filter = fn(&Wanted<'_>, &Candidate<'_>) -> Option<Unsuitable>;

/// In the order in which they are asked: what waiting does not change comes first.
const FILTERS: [Filter; 10] =
    [named, labels, pool, host_rules, images, cordon, there, room, address, vm_rules];

/// All that speaks against a host, the most telling first.
pub(super) fn objections<'a>(
    wanted: &'a Wanted<'_>,
    candidate: &'a Candidate<'_>,
) -> impl Iterator<Item = Unsuitable> + 'a {
    FILTERS.iter().filter_map(|filter| filter(wanted, candidate))
}

fn named(wanted: &Wanted<'_>, candidate: &Candidate<'_>) -> Option<Unsuitable> {
    let other = wanted.named.is_some_and(|named| named != candidate.host.id);
    other.then_some(Unsuitable::NotNamed)
}

fn labels(wanted: &Wanted<'_>, candidate: &Candidate<'_>) -> Option<Unsuitable> {
    let has = &candidate.host.labels;
    let mut asked = wanted.spec.placement().host_labels.iter();
    asked.any(|(key, value)| has.get(key) != Some(value)).then_some(Unsuitable::LabelMismatch)
}

fn pool(wanted: &Wanted<'_>, candidate: &Candidate<'_>) -> Option<Unsuitable> {
    let asked = wanted.spec.placement().pool.as_ref();
    (candidate.host.labels.get(POOL_LABEL) != asked).then_some(Unsuitable::OtherPool)
}

fn host_rules(wanted: &Wanted<'_>, candidate: &Candidate<'_>) -> Option<Unsuitable> {
    wanted.peers.broken_about_hosts(candidate.host).map(Unsuitable::HostRule)
}

/// Last: of what is nearest to being taken it says most.
fn vm_rules(wanted: &Wanted<'_>, candidate: &Candidate<'_>) -> Option<Unsuitable> {
    let broken = wanted.peers.broken_about_vms(candidate.host).map(Unsuitable::VmRule);
    broken.or_else(|| wanted.peers.is_forbidden(candidate.host).then_some(Unsuitable::KeptApart))
}

/// A file that only hosts can have. Contents that the server keeps are brought to any host, and a
/// host that has not said what it has may have it.
fn images(wanted: &Wanted<'_>, candidate: &Candidate<'_>) -> Option<Unsuitable> {
    let files = candidate.image_files?;
    let mut asked = wanted.spec.images();
    let lacks = asked.any(|(_, image)| !image.stored && !files.contains(&image.name));
    lacks.then_some(Unsuitable::LacksImage)
}

fn cordon(_: &Wanted<'_>, candidate: &Candidate<'_>) -> Option<Unsuitable> {
    candidate.host.cordoned.then_some(Unsuitable::Cordoned)
}

fn there(_: &Wanted<'_>, candidate: &Candidate<'_>) -> Option<Unsuitable> {
    match (candidate.allocatable, candidate.available) {
        (None, _) => Some(Unsuitable::NotYetSeen),
        (Some(_), false) => Some(Unsuitable::Unreachable),
        (Some(_), true) => None,
    }
}

fn room(wanted: &Wanted<'_>, candidate: &Candidate<'_>) -> Option<Unsuitable> {
    let limit = candidate.allocatable?;
    let asked = wanted.spec.resources();
    if let Err(shortage) = check_room(asked, Resources::default(), limit) {
        return Some(Unsuitable::TooSmall(shortage));
    }
    check_room(asked, candidate.booked, limit).err().map(Unsuitable::NoRoom)
}

fn address(_: &Wanted<'_>, candidate: &Candidate<'_>) -> Option<Unsuitable> {
    (!candidate.has_free_slot).then_some(Unsuitable::NoFreeAddress)
}

/// Whether `wanted` fits beside what is booked.
///
/// # Errors
/// The first resource that is short.
pub fn check_room(wanted: Resources, booked: Resources, limit: Resources) -> Result<(), Shortage> {
    let rows = [
        ("vCPUs", u64::from(wanted.vcpus), u64::from(booked.vcpus), u64::from(limit.vcpus)),
        ("MiB of memory", wanted.memory_mib, booked.memory_mib, limit.memory_mib),
        ("MiB of disk", wanted.disk_mib, booked.disk_mib, limit.disk_mib),
        (
            "port of the guests' bridge",
            u64::from(wanted.guests),
            u64::from(booked.guests),
            u64::from(limit.guests),
        ),
    ];
    for (resource, wanted, booked, limit) in rows {
        let left = limit.saturating_sub(booked);
        if wanted > left {
            return Err(Shortage { resource, wanted, left });
        }
    }
    Ok(())
}

//! Which host takes a VM: the first, in the order they joined, that matches and has room.
//!
//! Pure: the ledger makes one [`Candidate`] a host and asks. Refusals are values, because a named
//! host is refused to the caller at once, while "no host yet" is kept with the VM and shown.

use banger_proto::ids::HostId;

use super::host::{HostRecord, Resources};
use super::labels::Labels;
use super::spec::VmSpec;

/// How much more may be booked than the kernel has. 1.0: exactly what it has.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Overcommit {
    /// Ratio for vCPUs.
    pub vcpus: f64,
    /// Ratio for memory.
    pub memory: f64,
}

impl Default for Overcommit {
    fn default() -> Self {
        Self { vcpus: 4.0, memory: 1.0 }
    }
}

impl Overcommit {
    /// What may be booked on a host of this capacity. Disks are never promised twice.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "capacities are far below 2^52, ratios are checked to be 0.1 to 100, casts saturate"
    )]
    pub fn limit(self, capacity: Resources) -> Resources {
        Resources {
            vcpus: (f64::from(capacity.vcpus) * self.vcpus) as u32,
            memory_mib: (capacity.memory_mib as f64 * self.memory) as u64,
            disk_mib: capacity.disk_mib,
            guests: capacity.guests,
        }
    }
}

/// One host as placement sees it.
#[derive(Debug, Clone, Copy)]
pub struct Candidate<'a> {
    /// The durable record.
    pub host: &'a HostRecord,
    /// What the kernel has, once the agent has said it in this life of the server.
    pub capacity: Option<Resources>,
    /// Whether the agent can be reached now.
    pub available: bool,
    /// What the VMs placed there may use.
    pub booked: Resources,
    /// Whether a guest address is free.
    pub has_free_slot: bool,
}

/// Why one host can't take one VM.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unsuitable {
    /// An operator keeps further VMs off it.
    Cordoned,
    /// A label that the VM asks for is not there.
    LabelMismatch,
    /// Its agent was not reached since the server started.
    NotYetSeen,
    /// Its agent can't be reached now.
    Unreachable,
    /// The VM is larger than the host, were it empty.
    TooSmall(Shortage),
    /// Booking the VM would pass what the host has.
    NoRoom(Shortage),
    /// The same, for those who may not know how much is left.
    Full,
    /// All guest addresses are taken.
    NoFreeAddress,
}

impl Unsuitable {
    /// The reason code shown to users.
    pub const fn reason(self) -> &'static str {
        match self {
            Self::Cordoned => "HOST_CORDONED",
            Self::LabelMismatch => "NO_HOST_MATCHES",
            Self::NotYetSeen => "HOST_NOT_YET_SEEN",
            Self::Unreachable => "HOST_UNREACHABLE",
            Self::TooSmall(_) => "NO_HOST_LARGE_ENOUGH",
            Self::NoRoom(_) | Self::Full | Self::NoFreeAddress => "NO_HOST_HAS_ROOM",
        }
    }
}

impl std::fmt::Display for Unsuitable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Cordoned => f.write_str("it is cordoned"),
            Self::LabelMismatch => f.write_str("it lacks a label that the VM asks for"),
            Self::NotYetSeen => {
                f.write_str("its agent has not been reached since the server started")
            }
            Self::Unreachable => f.write_str("its agent can't be reached"),
            Self::TooSmall(Shortage { resource, wanted, left }) => {
                write!(f, "the VM needs {wanted} {resource} and the host has {left} in all")
            }
            Self::NoRoom(shortage) => write!(f, "{shortage}"),
            Self::Full => f.write_str("it has no room for that"),
            Self::NoFreeAddress => f.write_str("its guest subnet has no free address"),
        }
    }
}

/// The first resource that is short.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shortage {
    /// "vCPUs", "MiB of memory", "MiB of disk" or "port of the guests' bridge".
    pub resource: &'static str,
    /// How much the VM asks for.
    pub wanted: u64,
    /// How much may still be booked.
    pub left: u64,
}

impl std::fmt::Display for Shortage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "the VM needs {} {} and {} are left", self.wanted, self.resource, self.left)
    }
}

/// Why a VM has no host yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoHost {
    /// No host has joined.
    NoHosts,
    /// No host has the labels asked for.
    NoneMatches,
    /// Hosts match and are there, but the VM is larger than any of them: waiting does not help.
    NoneLargeEnough,
    /// Hosts match, but each is cordoned or can't be reached.
    NoneAvailable,
    /// Hosts match and are there, but none has room.
    NoneHasRoom,
}

impl NoHost {
    const ALL: [Self; 5] = [
        Self::NoHosts,
        Self::NoneMatches,
        Self::NoneLargeEnough,
        Self::NoneAvailable,
        Self::NoneHasRoom,
    ];

    /// The reason code shown to users, also stored.
    pub const fn reason(self) -> &'static str {
        match self {
            Self::NoHosts => "NO_HOST",
            Self::NoneMatches => "NO_HOST_MATCHES",
            Self::NoneLargeEnough => "NO_HOST_LARGE_ENOUGH",
            Self::NoneAvailable => "NO_HOST_AVAILABLE",
            Self::NoneHasRoom => "NO_HOST_HAS_ROOM",
        }
    }

    /// The reverse of [`NoHost::reason`].
    pub fn parse(reason: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|why| why.reason() == reason)
    }

    /// The reason as a sentence.
    pub const fn sentence(self) -> &'static str {
        match self {
            Self::NoHosts => "no host has joined yet",
            Self::NoneMatches => "no host has the labels that the VM asks for",
            Self::NoneLargeEnough => "the VM would not fit on any matching host, even an empty one",
            Self::NoneAvailable => "every host that matches is cordoned or can't be reached",
            Self::NoneHasRoom => "no host that matches has room",
        }
    }
}

/// Whether one host can take a VM of this shape, and if not the first reason against it.
///
/// # Errors
/// The reason.
pub fn check_host(
    spec: &VmSpec,
    candidate: &Candidate<'_>,
    overcommit: Overcommit,
) -> Result<(), Unsuitable> {
    if !labels_match(&spec.placement().host_labels, &candidate.host.labels) {
        return Err(Unsuitable::LabelMismatch);
    }
    if candidate.host.cordoned {
        return Err(Unsuitable::Cordoned);
    }
    let Some(capacity) = candidate.capacity else {
        return Err(Unsuitable::NotYetSeen);
    };
    if !candidate.available {
        return Err(Unsuitable::Unreachable);
    }
    let limit = overcommit.limit(capacity);
    check_room(spec.resources(), Resources::default(), limit).map_err(Unsuitable::TooSmall)?;
    check_room(spec.resources(), candidate.booked, limit).map_err(Unsuitable::NoRoom)?;
    if !candidate.has_free_slot {
        return Err(Unsuitable::NoFreeAddress);
    }
    Ok(())
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

/// The first host that can take the VM.
///
/// # Errors
/// The reason that came closest: a full host says more than one with other labels.
pub fn choose_host<'a>(
    spec: &VmSpec,
    candidates: impl IntoIterator<Item = Candidate<'a>>,
    overcommit: Overcommit,
) -> Result<HostId, NoHost> {
    let mut nearest = NoHost::NoHosts;
    for candidate in candidates {
        let why = match check_host(spec, &candidate, overcommit) {
            Ok(()) => return Ok(candidate.host.id),
            Err(why) => why,
        };
        let (rank, found) = match why {
            Unsuitable::LabelMismatch => (1, NoHost::NoneMatches),
            Unsuitable::TooSmall(_) => (2, NoHost::NoneLargeEnough),
            // One that is not there now may be large enough.
            Unsuitable::Cordoned | Unsuitable::NotYetSeen | Unsuitable::Unreachable => {
                (3, NoHost::NoneAvailable)
            }
            Unsuitable::NoRoom(_) | Unsuitable::Full | Unsuitable::NoFreeAddress => {
                (4, NoHost::NoneHasRoom)
            }
        };
        if rank > closeness(nearest) {
            nearest = found;
        }
    }
    Err(nearest)
}

const fn closeness(why: NoHost) -> u8 {
    match why {
        NoHost::NoHosts => 0,
        NoHost::NoneMatches => 1,
        NoHost::NoneLargeEnough => 2,
        NoHost::NoneAvailable => 3,
        NoHost::NoneHasRoom => 4,
    }
}

fn labels_match(wanted: &Labels, has: &Labels) -> bool {
    wanted.iter().all(|(key, value)| has.get(key) == Some(value))
}

#[cfg(test)]
mod tests;

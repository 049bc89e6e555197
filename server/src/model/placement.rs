//! Which host takes a VM: of those that pass every [filter], the one with the highest [score].
//!
//! Pure: the ledger makes one [`Candidate`] a host and asks; a decision costs a few comparisons a
//! host, however many VMs there are. Refusals are values, because a named host is refused to the
//! caller at once, while "no host yet" is kept with the VM and shown. What is thought of every host
//! is an [`Evaluation`], made by the same filters and the same score.

mod affinity;
mod filter;
mod overcommit;
mod score;
mod verdict;

use std::collections::BTreeSet;

use banger_proto::ids::HostId;

pub use self::affinity::{Near, Peers};
pub use self::filter::check_room;
pub use self::overcommit::Overcommit;
pub use self::score::{Score, WHOLE};
pub use self::verdict::{Evaluation, Verdict};
pub use super::host::HostOvercommit;
use super::host::{HostRecord, Resources};
use super::spec::VmSpec;
pub use super::strategy::Strategy;

/// The label that says which pool a host is in: it takes only VMs that ask for that pool.
pub const POOL_LABEL: &str = "banger/pool";

/// What is asked of a host, and by what hosts are compared.
#[derive(Debug, Clone)]
pub struct Wanted<'a> {
    /// Of the VM.
    pub spec: &'a VmSpec,
    /// The only host that will do.
    pub named: Option<HostId>,
    /// In which order hosts are filled.
    pub strategy: Strategy,
    /// What is usual among the sizes of hosts.
    pub usual: Option<Resources>,
    /// Where the VMs are that rules are about.
    pub peers: Peers<'a>,
}

impl Wanted<'_> {
    /// How well a host suits; `None` for one of which nothing is known.
    fn score(&self, candidate: &Candidate<'_>) -> Option<Score> {
        let limit = self.weighed(candidate)?;
        let score = Score::of(self.strategy, self.spec.resources(), candidate.booked, limit);
        Some(Score { affinity: self.peers.score(candidate.host), ..score })
    }

    /// As how large a host is compared with the others. One for whose size only its own word stands
    /// takes what it has room for, and is preferred for no more than twice what is usual: it would
    /// draw every VM by saying that it is huge.
    fn weighed(&self, candidate: &Candidate<'_>) -> Option<Resources> {
        let limit = candidate.allocatable?;
        let own_word = !candidate.host.accepted.is_whole() && self.strategy == Strategy::Spread;
        Some(match self.usual.filter(|_| own_word) {
            Some(usual) => limit.at_most(usual.plus(usual)),
            None => limit,
        })
    }
}

/// One host as placement sees it.
#[derive(Debug, Clone, Copy)]
pub struct Candidate<'a> {
    /// The durable record.
    pub host: &'a HostRecord,
    /// What may be booked in all, once the agent has said in this life of the server what it has.
    pub allocatable: Option<Resources>,
    /// Whether the agent can be reached now.
    pub available: bool,
    /// What the VMs placed there may use.
    pub booked: Resources,
    /// Whether a guest address is free.
    pub has_free_slot: bool,
    /// Names of the files in its image directory, once its agent has said them.
    pub image_files: Option<&'a BTreeSet<String>>,
}

/// Why one host can't take one VM.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unsuitable {
    /// The VM has another host already.
    HasAnother,
    /// The VM names another host.
    NotNamed,
    /// A file that the VM names as an image is not there, and is none of the server's.
    LacksImage,
    /// An operator keeps further VMs off it.
    Cordoned,
    /// A label that the VM asks for is not there.
    LabelMismatch,
    /// It is in a pool that the VM does not ask for, or not in the one that it asks for.
    OtherPool,
    /// A hard rule of the VM about hosts, counted from 1, is broken.
    HostRule(usize),
    /// A hard rule of the VM about other VMs, counted from 1, is broken.
    VmRule(usize),
    /// Another VM near it stays apart from such VMs.
    KeptApart,
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
            Self::HasAnother => "VM_HAS_HOST",
            Self::NotNamed => "HOST_NOT_NAMED",
            Self::LacksImage => "NO_HOST_HAS_IMAGE",
            Self::Cordoned => "HOST_CORDONED",
            Self::LabelMismatch | Self::OtherPool | Self::HostRule(_) => "NO_HOST_MATCHES",
            Self::VmRule(_) | Self::KeptApart => "NO_HOST_MEETS_AFFINITY",
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
            Self::HasAnother => f.write_str("it has another host already"),
            Self::NotNamed => f.write_str("the VM names another host"),
            Self::LacksImage => f.write_str("it has no file that the VM names as an image"),
            Self::Cordoned => f.write_str("it is cordoned"),
            Self::LabelMismatch => f.write_str("it lacks a label that the VM asks for"),
            Self::OtherPool => write!(f, "the VM does not ask for its pool (label {POOL_LABEL})"),
            Self::HostRule(rule) => write!(f, "it breaks rule {rule} of the VM about hosts"),
            Self::VmRule(rule) => {
                write!(f, "it breaks rule {rule} of the VM about the VMs that are near")
            }
            Self::KeptApart => f.write_str("a VM there stays apart from such VMs"),
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
    /// Hosts match, but none has a file that the VM names as an image.
    NoneHasImage,
    /// Hosts match and are there, but the VM is larger than any of them: waiting does not help.
    NoneLargeEnough,
    /// Hosts match, but each is cordoned or can't be reached.
    NoneAvailable,
    /// Hosts match and are there, but none has room.
    NoneHasRoom,
    /// Hosts have room, but each breaks a hard rule about VMs near by.
    NoneMeetsAffinity,
    /// There is room, and VMs that wait come first.
    OthersFirst,
    /// Somebody else finds its host.
    LeftToScheduler,
}

impl NoHost {
    pub(crate) const ALL: [Self; 9] = [
        Self::NoHosts,
        Self::NoneMatches,
        Self::NoneHasImage,
        Self::NoneLargeEnough,
        Self::NoneAvailable,
        Self::NoneHasRoom,
        Self::NoneMeetsAffinity,
        Self::OthersFirst,
        Self::LeftToScheduler,
    ];

    /// The reason code shown to users, also stored.
    pub const fn reason(self) -> &'static str {
        match self {
            Self::NoHosts => "NO_HOST",
            Self::NoneMatches => "NO_HOST_MATCHES",
            Self::NoneHasImage => "NO_HOST_HAS_IMAGE",
            Self::NoneLargeEnough => "NO_HOST_LARGE_ENOUGH",
            Self::NoneAvailable => "NO_HOST_AVAILABLE",
            Self::NoneHasRoom => "NO_HOST_HAS_ROOM",
            Self::NoneMeetsAffinity => "NO_HOST_MEETS_AFFINITY",
            Self::OthersFirst => "OTHERS_FIRST",
            Self::LeftToScheduler => "WAITS_FOR_SCHEDULER",
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
            Self::NoneHasImage => "no host that matches has the image files that the VM names",
            Self::NoneLargeEnough => "the VM would not fit on any matching host, even an empty one",
            Self::NoneAvailable => "every host that matches is cordoned or can't be reached",
            Self::NoneHasRoom => "no host that matches has room",
            Self::NoneMeetsAffinity => {
                "every host with room breaks a rule about the VMs that are near"
            }
            Self::LeftToScheduler => "the scheduler that the VM names has found no host for it yet",
            Self::OthersFirst => {
                "VMs that have waited longer, or have a higher priority, come first"
            }
        }
    }
}

/// Whether one host can take a VM.
///
/// # Errors
/// All that speaks against it, the most telling first; never nothing.
pub fn check_host(wanted: &Wanted<'_>, candidate: &Candidate<'_>) -> Result<(), Vec<Unsuitable>> {
    let against: Vec<Unsuitable> = filter::objections(wanted, candidate).collect();
    if against.is_empty() { Ok(()) } else { Err(against) }
}

/// The host that takes the VM: of those that can, the one with the highest score; between equals
/// the one with the fewest VMs (with the most, by [`Strategy::Pack`]), and then the one that joined
/// first. Candidates come in the order in which they joined.
///
/// # Errors
/// The reason that came closest: a full host says more than one with other labels.
pub fn choose_host<'a>(
    wanted: &Wanted<'_>,
    candidates: impl IntoIterator<Item = Candidate<'a>>,
) -> Result<HostId, NoHost> {
    let mut choice = Choice::new(wanted.strategy);
    for candidate in candidates {
        let found = match filter::objections(wanted, &candidate).next() {
            None => wanted.score(&candidate).ok_or(Some(Unsuitable::NotYetSeen)),
            Some(why) => Err(Some(why)),
        };
        choice.take(candidate.host.id, found);
    }
    choice.made()
}

/// A choice that is being made, host by host.
#[derive(Debug)]
struct Choice {
    strategy: Strategy,
    best: Option<(Score, HostId)>,
    nearest: NoHost,
}

impl Choice {
    const fn new(strategy: Strategy) -> Self {
        Self { strategy, best: None, nearest: NoHost::NoHosts }
    }

    /// The next host: how well it suits, or the first that speaks against it.
    fn take(&mut self, host: HostId, found: Result<Score, Option<Unsuitable>>) {
        match found {
            Ok(score) => {
                if self.best.is_none_or(|(best, _)| score.beats(best, self.strategy)) {
                    self.best = Some((score, host));
                }
            }
            Err(why) => {
                let why = why.map_or(NoHost::NoneAvailable, Unsuitable::of_all);
                if why.closeness() > self.nearest.closeness() {
                    self.nearest = why;
                }
            }
        }
    }

    fn made(self) -> Result<HostId, NoHost> {
        self.best.map(|(_, host)| host).ok_or(self.nearest)
    }
}

impl Unsuitable {
    /// Why there is no host, where this is the most that can be said of any.
    const fn of_all(self) -> NoHost {
        match self {
            Self::HasAnother
            | Self::NotNamed
            | Self::LabelMismatch
            | Self::OtherPool
            | Self::HostRule(_) => NoHost::NoneMatches,
            Self::VmRule(_) | Self::KeptApart => NoHost::NoneMeetsAffinity,
            Self::LacksImage => NoHost::NoneHasImage,
            Self::TooSmall(_) => NoHost::NoneLargeEnough,
            // One that is not there now may be large enough.
            Self::Cordoned | Self::NotYetSeen | Self::Unreachable => NoHost::NoneAvailable,
            Self::NoRoom(_) | Self::Full | Self::NoFreeAddress => NoHost::NoneHasRoom,
        }
    }
}

impl NoHost {
    /// How near a host came that failed for this.
    const fn closeness(self) -> u8 {
        match self {
            Self::NoHosts => 0,
            Self::NoneMatches => 1,
            Self::NoneHasImage => 2,
            Self::NoneLargeEnough => 3,
            Self::NoneAvailable => 4,
            Self::NoneHasRoom => 5,
            Self::NoneMeetsAffinity => 6,
            Self::OthersFirst => 7,
            Self::LeftToScheduler => 8,
        }
    }
}

#[cfg(test)]
mod tests;

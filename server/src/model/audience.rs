//! What is told of a VM to whom: the one place that leaves out what is not for everybody who sees
//! the VM.
//!
//! Viewers read nothing that may hold a secret. Callers of a project read of the hosts, which are
//! the fleet's, the name and the state of the one that their VM is on, and nothing else: not its
//! address, not how much is left of it, and nothing of others on it. What a host says in its own
//! words may have all of that, so of its words they read those of reasons that are about the VM
//! alone, a closed list. A reason that is new is not on it.
//!
//! Answers, streams, explanations, histories and errors all go by [`Audience::told`].

use super::access::Secrets;
use super::caller::Caller;
use super::observed::{Fault, Observation, ObservedVm};
use super::status::Trouble;

/// Whoever is told something of a VM that they see.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Audience {
    /// Metadata, and what guests print.
    pub secrets: Secrets,
    /// Whether they may know what hosts have, and who else is on them.
    pub sees_hosts: bool,
}

/// What a host says of this is not for whoever asks.
const WITHHELD: &str =
    "what its host says of this is for callers of the whole fleet: ask an operator";

/// What an agent puts before what a guest's console says. Earlier ones, of which the history has
/// sentences, put the words of a panic before the last lines.
const CONSOLE: [&str; 2] = ["; its console ends: ", PANIC_WORDS];
const PANIC_WORDS: &str = ": Kernel panic - not syncing";

/// What comes before why an image did not get to a host, in the host's words or the network's.
pub const TRANSFER_FAILED: &str = " could not be brought to host ";

/// Reasons whose sentences are about the VM alone, the server's own among them.
const OF_THE_VM: [&str; 27] = [
    "",
    // Where it is to run.
    "NO_HOST",
    "NO_HOST_MATCHES",
    "NO_HOST_MEETS_AFFINITY",
    "NO_HOST_HAS_IMAGE",
    "OTHERS_FIRST",
    "WAITS_FOR_SCHEDULER",
    "NO_HOST_LARGE_ENOUGH",
    "NO_HOST_AVAILABLE",
    "NO_HOST_HAS_ROOM",
    "HOST_NOT_YET_SEEN",
    "AWAITING_INVENTORY",
    "HOST_UNREACHABLE",
    "AGENT_HAS_NEWER_GENERATION",
    "IMAGE_TRANSFER",
    "ADOPTED",
    // What it is made of.
    "KERNEL_IMAGE_MISSING",
    "INITRD_IMAGE_MISSING",
    "ROOT_IMAGE_MISSING",
    "IMAGE_DIGEST_MISMATCH",
    "ROOT_DISK_LOST",
    // How it ended.
    "VMM_CONFIGURE_FAILED",
    "VMM_EXITED",
    "GUEST_PANIC",
    "GUEST_SHUTDOWN",
    "UNEXPLAINED_END",
    "CRASHED",
];

/// Reasons of a call into a guest whose sentences are about that guest alone. Of others, such as a
/// console that can't be read, the sentence is the host's, with its files in it.
const OF_THE_GUEST: [&str; 6] = [
    "GUEST_AGENT_UNREACHABLE",
    "GUEST_AGENT_LOST",
    "GUEST_REFUSED",
    "LIMIT_REACHED",
    "DEADLINE_EXCEEDED",
    "VM_NOT_RUNNING",
];

impl Audience {
    /// Somebody who calls.
    pub fn of(caller: &Caller) -> Self {
        Self { secrets: Secrets::for_caller(caller), sees_hosts: caller.sees_hosts() }
    }

    /// All that there are: each is told something else.
    pub const ALL: [Self; 4] = [
        Self { secrets: Secrets::Shown, sees_hosts: true },
        Self { secrets: Secrets::Hidden, sees_hosts: true },
        Self { secrets: Secrets::Shown, sees_hosts: false },
        Self { secrets: Secrets::Hidden, sees_hosts: false },
    ];

    /// Its place in [`Self::ALL`].
    pub const fn index(self) -> usize {
        let secrets = match self.secrets {
            Secrets::Shown => 0,
            Secrets::Hidden => 1,
        };
        secrets + if self.sees_hosts { 0 } else { 2 }
    }

    /// Whether they read two sentences, each with its reason, as the same.
    pub fn reads_alike(self, one: (&str, &str), other: (&str, &str)) -> bool {
        one == other || self.told(one.0, one.1) == self.told(other.0, other.1)
    }

    /// A sentence as they may read it, which may be a host's and comes with this reason.
    pub fn told(self, reason: &str, sentence: &str) -> String {
        if !self.sees_hosts && !sentence.is_empty() && !OF_THE_VM.contains(&reason) {
            return WITHHELD.to_owned();
        }
        let mut told = sentence;
        if self.secrets == Secrets::Hidden
            && let Some(begins) = CONSOLE.iter().filter_map(|words| told.find(words)).min()
        {
            told = &told[..begins];
        }
        match told.find(TRANSFER_FAILED).filter(|_| !self.sees_hosts) {
            Some(at) => format!("{} could not be brought to its host", &told[..at]),
            None => told.to_owned(),
        }
    }

    /// What a host or a guest has answered to a call into the guest, as they may read it.
    pub fn told_by_guest(self, reason: &str, sentence: &str) -> String {
        match self.sees_hosts || sentence.is_empty() || OF_THE_GUEST.contains(&reason) {
            true => sentence.to_owned(),
            false => WITHHELD.to_owned(),
        }
    }

    /// What was seen of a VM, with its fault in words that they may read.
    pub fn observation(self, seen: &Observation) -> Observation {
        match seen {
            Observation::Present(vm) => Observation::Present(Box::new(ObservedVm {
                fault: vm.fault.as_ref().map(|fault| self.fault(fault)),
                ..ObservedVm::clone(vm)
            })),
            Observation::Unknown { .. } | Observation::Absent => seen.clone(),
        }
    }

    fn fault(self, fault: &Fault) -> Fault {
        let message = self.told(&fault.reason, &fault.message);
        let left_behind = match self.sees_hosts {
            true => fault.left_behind.clone(),
            false => Vec::new(),
        };
        Fault { message, left_behind, ..fault.clone() }
    }

    /// What keeps an intent from its agent, in words that they may read.
    pub fn trouble(self, trouble: &Trouble) -> Trouble {
        let message = self.told(trouble.reason, &trouble.message);
        Trouble { reason: trouble.reason, message }
    }
}

/// Some of [`Audience::ALL`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Audiences(u8);

impl Audiences {
    /// All of them.
    pub const EVERYBODY: Self = Self((1 << Audience::ALL.len()) - 1);

    /// Those of which this is so.
    pub fn of(is_so: impl Fn(Audience) -> bool) -> Self {
        let bit = |to: Audience| u8::from(is_so(to)) << to.index();
        Self(Audience::ALL.into_iter().map(bit).fold(0, std::ops::BitOr::bitor))
    }

    pub const fn has(self, audience: Audience) -> bool {
        self.0 & (1 << audience.index()) != 0
    }

    pub const fn is_nobody(self) -> bool {
        self.0 == 0
    }
}

#[cfg(test)]
mod tests;

//! What is known of one VM: nothing, that it is not there, or what its agent saw.
//!
//! Three values on purpose: "unknown" is neither "gone" nor "as it was". Observations live in
//! memory only. After a start of the server every one is [`Observation::Unknown`] until the
//! inventory.

use std::cmp::Ordering;
use std::net::Ipv4Addr;

use banger_proto::ids::Version;
use jiff::Timestamp;

use super::intent::Desired;

/// What is known of one VM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Observation {
    /// Nothing, at present.
    Unknown {
        /// Since when.
        since: Timestamp,
        why: UnknownWhy,
    },
    /// The host was asked and holds nothing of it.
    Absent,
    /// What the agent saw.
    Present(Box<ObservedVm>),
}

/// Why nothing is known of a VM.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UnknownWhy {
    /// The agent was not reached since the server started.
    HostNotYetSeen,
    /// The agent is reached, its inventory not complete.
    AwaitingInventory,
    /// The agent was reached and is not any more.
    HostUnreachable,
    /// The host was shut out.
    HostRevoked,
}

impl UnknownWhy {
    /// The reason code shown to users.
    pub const fn reason(self) -> &'static str {
        match self {
            Self::HostNotYetSeen => "HOST_NOT_YET_SEEN",
            Self::AwaitingInventory => "AWAITING_INVENTORY",
            Self::HostUnreachable => "HOST_UNREACHABLE",
            Self::HostRevoked => "HOST_REVOKED",
        }
    }

    /// The same as a sentence without its subject.
    pub const fn sentence(self) -> &'static str {
        match self {
            Self::HostNotYetSeen => "its agent has not been reached since the server started",
            Self::AwaitingInventory => "its agent is connected and has not sent its inventory yet",
            Self::HostUnreachable => "its agent can't be reached; the VM may well be running",
            Self::HostRevoked => "its host was shut out; the VM may well be running there",
        }
    }
}

/// What an agent says of a VM's stage.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Disks, tap and jail are being made.
    Preparing,
    /// The process is being started and configured.
    Starting,
    /// The guest runs.
    Running,
    /// The guest's vCPUs are stopped.
    Paused,
    /// The guest is being stopped.
    Stopping,
    /// No process, disks kept.
    Stopped,
    /// The process ended by itself and is not started again now.
    Crashed,
    /// A step failed.
    Failed,
    /// Being taken apart.
    Deleting,
    /// The agent can't tell whether the process it found is this VM's.
    Unclear,
}

/// What an agent saw of one VM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObservedVm {
    /// The highest version the agent accepted.
    pub accepted: Version,
    /// The version that the phase is the result of.
    pub settled: Version,
    /// The stage.
    pub phase: Phase,
    /// Why it is failed, crashed or unclear.
    pub fault: Option<Fault>,
    /// When the agent looked.
    pub observed_at: Timestamp,
    /// When the stage was entered.
    pub phase_since: Timestamp,
    /// The VMM process, if there is one.
    pub process: Option<ProcessSeen>,
    /// Boot id of the host when the process was started; empty without one.
    pub boot_id: String,
    /// How the last process ended, if one has.
    pub exit: Option<ExitSeen>,
    /// How often the agent started the process again.
    pub restart_count: u32,
    /// When the present agent took over a process of an earlier one.
    pub adopted_at: Option<Timestamp>,
    /// What its guest agent says.
    pub guest: Option<GuestSeen>,
    /// Kernel objects made for it.
    pub devices: DevicesSeen,
    /// When the agent tries again, if it will.
    pub next_attempt_at: Option<Timestamp>,
    /// The name the agent was last told.
    pub name: String,
    /// The guest's address that the agent was last told; not of a lost record, nor of an agent of
    /// an earlier version.
    pub guest_address: Option<Ipv4Addr>,
    /// What its control group holds it to, where the agent says so.
    pub limits: Option<LimitsSeen>,
}

/// What a guest has sent and received since its start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct TrafficSeen {
    pub sent_bytes: u64,
    pub sent_packets: u64,
    pub received_bytes: u64,
    pub received_packets: u64,
    /// Packets of it that its host did not let through.
    pub refused_packets: u64,
}

/// What the kernel of a host holds a VM's processes to; zero is no bound.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LimitsSeen {
    pub cpu_weight: u32,
    /// In thousandths of a processor.
    pub cpu_millis: u32,
    pub memory_bytes: u64,
    /// Threads and processes.
    pub tasks: u32,
    pub io: Vec<IoLimitSeen>,
    /// Controllers that its group does not have.
    pub missing: Vec<String>,
}

/// The same of the traffic with one device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IoLimitSeen {
    /// Its number, such as "253:4".
    pub device: String,
    pub read_bytes_per_second: u64,
    pub write_bytes_per_second: u64,
    pub read_ops_per_second: u64,
    pub write_ops_per_second: u64,
}

impl ObservedVm {
    /// Whether the agent is to be sent `version`: it holds an older one, or it holds this one and
    /// does not act on it. A host that was rebooted starts nothing before its server has spoken, so
    /// that a fenced one can't bring its copies back: the same version again is the word it waits
    /// for.
    pub fn is_to_be_told(&self, desired: Desired, version: Version) -> bool {
        match self.accepted.cmp(&version) {
            Ordering::Less => true,
            Ordering::Equal => {
                self.phase == Phase::Stopped && desired.wants_process() && self.settled < version
            }
            Ordering::Greater => false,
        }
    }
}

impl ObservedVm {
    /// About how many bytes it is in memory, to bound what is kept of what agents say.
    pub fn weight(&self) -> usize {
        let fault = self.fault.as_ref().map_or(0, |fault| {
            let left: usize = fault.left_behind.iter().map(|left| left.len() + 24).sum();
            fault.reason.len() + fault.step.len() + fault.message.len() + left
        });
        let exit = self.exit.as_ref().map_or(0, |exit| exit.message.len());
        let guest = self.guest.as_ref().map_or(0, |guest| {
            let GuestSeen { agent_version, boot_id, hostname, transport, .. } = guest;
            agent_version.len() + boot_id.len() + hostname.len() + transport.len()
        });
        let devices = &self.devices;
        let devices: usize = [
            &devices.tap,
            &devices.base_loop,
            &devices.cow_loop,
            &devices.snapshot,
            &devices.api_socket,
            &devices.vsock_socket,
            &devices.vmm,
            &devices.root_disk,
        ]
        .into_iter()
        .map(String::len)
        .sum();
        let texts = self.boot_id.len() + self.name.len() + fault + exit + guest + devices;
        size_of::<Self>() + texts
    }
}

/// Why a VM is failed, crashed or unclear.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// From the closed list in docs/STATES.md.
    pub reason: String,
    /// The step that failed.
    pub step: String,
    /// What went wrong.
    pub message: String,
    /// What could not be undone, each as "kind name".
    pub left_behind: Vec<String>,
    /// Whether the agent tries again by itself.
    pub retrying: bool,
}

/// What can be wrong with a root disk's store, from its agent's reasons.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DiskTrouble {
    /// It is past the alarm threshold and can't be made larger.
    NearlyFull,
    /// It is full: the guest's writes fail.
    Full,
    /// It can't be used any more.
    Lost,
}

impl DiskTrouble {
    /// From the reason of a fault, if it is about the store.
    pub fn of(reason: &str) -> Option<Self> {
        match reason {
            "ROOT_DISK_NEARLY_FULL" => Some(Self::NearlyFull),
            "ROOT_DISK_FULL" => Some(Self::Full),
            "ROOT_DISK_LOST" => Some(Self::Lost),
            _ => None,
        }
    }
}

/// What can be wrong with the network of a guest that runs, from its agent's reasons.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NetworkTrouble {
    /// The host has no uplink.
    NoUplink,
    /// The host uses the guest subnet elsewhere.
    SubnetInUse,
    /// Its tap is gone.
    TapLost,
    /// Something else could not be mended.
    Degraded,
}

impl NetworkTrouble {
    /// Of a VM whose guest runs: one that could not be started has no network to lose.
    pub fn of_vm(vm: &ObservedVm) -> Option<Self> {
        let runs = matches!(vm.phase, Phase::Running | Phase::Paused);
        vm.fault.as_ref().filter(|_| runs).and_then(|fault| Self::of(&fault.reason))
    }

    /// From the reason of a fault, if it is about the network.
    pub fn of(reason: &str) -> Option<Self> {
        match reason {
            "NO_UPLINK" => Some(Self::NoUplink),
            "SUBNET_IN_USE" => Some(Self::SubnetInUse),
            "TAP_LOST" => Some(Self::TapLost),
            "NETWORK_DEGRADED" => Some(Self::Degraded),
            _ => None,
        }
    }
}

/// A VMM process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProcessSeen {
    /// Process id on its host.
    pub pid: u32,
    /// Start in clock ticks since boot.
    pub start_ticks: u64,
    /// The same as a time.
    pub start_time: Option<Timestamp>,
}

/// How a process ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExitSeen {
    /// What it came of.
    pub cause: ExitCause,
    /// A crash, not a guest's own shutdown.
    pub crashed: bool,
    /// Exit status.
    pub code: Option<i32>,
    /// Signal number.
    pub signal: Option<i32>,
    /// A sentence.
    pub message: String,
    pub time: Option<Timestamp>,
}

/// What the end of a process came of.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum ExitCause {
    /// Its agent does not say.
    #[default]
    Unknown,
    /// It was to end.
    Asked,
    /// The guest shut down by itself.
    GuestShutdown,
    /// The guest's kernel panicked.
    GuestPanic,
    /// As after a shutdown, but nobody asked for one or heard of one.
    Unexplained,
    /// The VMM failed or was killed.
    VmmEnded,
}

impl ExitCause {
    /// Every one that has a word.
    const NAMED: [Self; 5] =
        [Self::Asked, Self::GuestShutdown, Self::GuestPanic, Self::Unexplained, Self::VmmEnded];

    /// The word for it, in the API and from agents.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Unknown => "",
            Self::Asked => "ASKED_FOR",
            Self::GuestShutdown => "GUEST_SHUTDOWN",
            Self::GuestPanic => "GUEST_PANIC",
            Self::Unexplained => "UNEXPLAINED_END",
            Self::VmmEnded => "VMM_ENDED",
        }
    }

    /// From an agent's word; one that is not known says nothing.
    pub fn of(word: &str) -> Self {
        Self::NAMED.into_iter().find(|cause| cause.as_str() == word).unwrap_or_default()
    }
}

/// What the guest agent of a VM says of its guest, as the agent of the host passes it on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GuestSeen {
    /// Version of the guest agent.
    pub agent_version: String,
    /// Of the guest's kernel.
    pub boot_id: String,
    /// The guest's own name.
    pub hostname: String,
    /// When it was first heard.
    pub ready_at: Option<Timestamp>,
    /// Whether it is reached at present.
    pub connected: bool,
    /// By what it is reached.
    pub transport: String,
}

/// Kernel objects of a VM, by name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DevicesSeen {
    /// Tap device.
    pub tap: String,
    /// Loop device of the shared root image.
    pub base_loop: String,
    /// Loop device of the copy-on-write file.
    pub cow_loop: String,
    /// Device-mapper name of the root disk.
    pub snapshot: String,
    /// Sectors used of the copy-on-write store.
    pub cow_used_sectors: u64,
    /// Sectors of the copy-on-write store in all.
    pub cow_total_sectors: u64,
    /// API socket path.
    pub api_socket: String,
    /// vsock socket path.
    pub vsock_socket: String,
    /// What it runs under.
    pub vmm: String,
    /// How its root disk is made.
    pub root_disk: String,
}

impl DevicesSeen {
    /// Whether there is anything of them.
    pub fn is_any(&self) -> bool {
        *self != Self::default()
    }
}

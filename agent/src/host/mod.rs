//! The seams of the host: every effect the agent has on a machine passes through one of these
//! traits, and every fact it knows of one comes from them.
//!
//! Driven by the VM tasks and by the start of the agent. Nothing here knows what a VM is, in what
//! order its parts are made, or why: a verb makes one object be so and says whether it changed
//! anything. What can go wrong is a [`HostError`], whose kind says what to do about it.
//!
//! Rules for every verb:
//! - `ensure_*` and `remove_*` are idempotent and answer [`Change`]. Repeating one after a crash
//!   in its middle finishes it.
//! - `observe_*` and `list_*` read; they change nothing. "Not there" is an `Option::None`, not an
//!   error: an error means "cannot tell".
//! - Every verb ends within a time limit of its own.
//! - A verb that takes an object's identity beside its name refuses to act when the name now
//!   belongs to another object.
//!
//! Two sets of implementations: the files beside this one for Linux, [`fakes`] over one stateful
//! fake kernel. Both are the same bundle, [`Host`].

use std::sync::Arc;

pub mod bounds;
pub mod console;
pub mod error;
pub mod exec;
pub mod facts;
pub mod fakes;
pub mod files;
pub mod firewall;
pub mod guests;
pub mod images;
pub mod jails;
pub mod kind;
pub mod launcher;
pub mod linux;
pub mod loops;
pub mod network;
pub mod pins;
pub mod processes;
pub mod receive;
pub mod snapshots;
pub mod taps;
pub mod traffic;
pub mod types;
pub mod vmm;

pub use bounds::{BoundsSeen, IoBounds, IoRates, JailBounds};
pub use console::{Console, Feed, Heard, Hub};
pub use error::{Change, HostError, HostErrorKind, HostResult};
pub use facts::{BootTime, Capacity, Facts};
pub use files::{BackingFile, DirFacts, FileFacts, Files, Room};
pub use firewall::{Firewall, GuestNet};
pub use guests::{GuestIo, GuestStream, Guests};
pub use images::{ImageFacts, ImageKind, Images, PartialImage};
pub use jails::{
    JailAccess, JailDevice, JailFacts, JailFile, JailSpec, JailSurvey, Jails, MountFacts,
    SocketEntry, in_jail,
};
pub use kind::{RootDiskKind, VmmKind};
pub use launcher::{LaunchSpec, Launched, Launcher, Outputs};
pub use loops::{LoopDevices, LoopDirs, LoopFacts};
pub use network::{Network, UsedNetwork, WIDEST_ROUTED, clash};
pub use pins::{AddressRange, Pin, Pins, RefusedFor};
pub use processes::{ExitStatus, ProcessFacts, ProcessStart, Processes, Signal};
pub use receive::{Announced, Receiving};
pub use snapshots::{SnapshotFacts, SnapshotFill, SnapshotSpec, Snapshots, Tail};
pub use taps::{BridgeFacts, BridgeSpec, TapFacts, TapSpec, Taps};
pub use traffic::Traffic;
pub use types::{
    BadName, DeviceNumber, DmName, FileId, GuestKey, ImageName, JailId, LinkName, LoopDevice,
    MacAddress, PathPart, Pid, Subnet, TapName,
};
pub use vmm::{Drive, NetInterface, RateLimit, Vmm, VmmConfig, VmmState};

/// Everything the agent can do to one machine. Cheap to clone.
#[derive(Clone)]
pub struct Host {
    /// No kernel object is made: the machine pretends.
    pub simulated: bool,
    /// Scratch directories, one for each VM.
    pub files: Arc<dyn Files>,
    /// The image directory.
    pub images: Arc<dyn Images>,
    /// Loop devices.
    pub loops: Arc<dyn LoopDevices>,
    /// Device-mapper snapshots.
    pub snapshots: Arc<dyn Snapshots>,
    /// The bridge and the taps on it.
    pub taps: Arc<dyn Taps>,
    /// Our chains.
    pub firewall: Arc<dyn Firewall>,
    /// What ties each guest to its tap.
    pub pins: Arc<dyn Pins>,
    /// What is true of the network as a whole.
    pub network: Arc<dyn Network>,
    /// Jail directories.
    pub jails: Arc<dyn Jails>,
    /// Starts jailers.
    pub launcher: Arc<dyn Launcher>,
    /// Collects what guests and VMMs print, and types into consoles.
    pub outputs: Arc<dyn Outputs>,
    /// The API of each VMM.
    pub vmm: Arc<dyn Vmm>,
    /// What runs in the guests.
    pub guests: Arc<dyn Guests>,
    /// Processes.
    pub processes: Arc<dyn Processes>,
    /// What is true of the machine as a whole.
    pub facts: Arc<dyn Facts>,
}

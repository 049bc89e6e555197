//! What the kernel says about one VM now.
//!
//! Driven by the VM's task: whole at the beginning of a pass, then only the part that the last
//! effect touched. Reads only. What can go wrong: a part cannot be read; then it is
//! [`Seen::Unknown`], which is not the same as [`Seen::Absent`], and nothing is destroyed on its
//! account. What is read depends on the process: of a live VM the disks are not looked at, so
//! that adopting a thousand of them costs a thousand looks at processes and no more.

use crate::handles::{ProcessIdentity, VmHandles};
use crate::host::{
    BackingFile, BoundsSeen, BridgeFacts, GuestNet, Host, HostResult, JailFacts, LinkName,
    LoopFacts, Pin, RootDiskKind, SnapshotFacts, TapFacts, VmmState,
};
use crate::jail::process::{Liveness, WhyNot, WhyUnclear};
use crate::naming::{self, VmNames};

use super::effect::{EffectKind, Part};

/// A look at one thing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Seen<T> {
    /// It is there.
    Present(T),
    /// It is not there.
    Absent,
    /// It cannot be told.
    Unknown(String),
}

impl<T> Seen<T> {
    fn of(result: HostResult<Option<T>>) -> Self {
        match result {
            Ok(Some(facts)) => Self::Present(facts),
            Ok(None) => Self::Absent,
            Err(error) => Self::Unknown(error.chain()),
        }
    }

    /// The facts, when it is there.
    pub const fn present(&self) -> Option<&T> {
        match self {
            Self::Present(facts) => Some(facts),
            Self::Absent | Self::Unknown(_) => None,
        }
    }

    /// Whether it is there; `None` when that cannot be told.
    pub const fn is_there(&self) -> Option<bool> {
        match self {
            Self::Present(_) => Some(true),
            Self::Absent => Some(false),
            Self::Unknown(_) => None,
        }
    }

    /// The same without the facts.
    fn bare(&self) -> Seen<()> {
        match self {
            Self::Present(_) => Seen::Present(()),
            Self::Absent => Seen::Absent,
            Self::Unknown(why) => Seen::Unknown(why.clone()),
        }
    }

    /// Whether it certainly is not there.
    pub const fn is_absent(&self) -> bool {
        matches!(self, Self::Absent)
    }
}

/// What the kernel says about one VM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Probe {
    /// Its process lives.
    Alive(Box<Alive>),
    /// It has no process.
    Dead(Box<Objects>),
    /// That cannot be told.
    Unclear(WhyUnclear),
}

/// A VM with a process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Alive {
    /// Which.
    pub identity: ProcessIdentity,
    /// What the VMM says. Not asked while it is being configured by us.
    pub vmm: Seen<VmmState>,
    /// The guest's rules.
    pub rules: Seen<GuestNet>,
    /// What ties the guest to its tap.
    pub pin: Seen<Pin>,
    /// What its tap hangs on.
    pub net: NetSeen,
    /// What its control group holds it to.
    pub bounds: Seen<BoundsSeen>,
}

/// The network of a guest that runs, its rules apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NetSeen {
    /// The bridge of all guests.
    pub bridge: Seen<BridgeFacts>,
    /// The guest's tap.
    pub tap: Seen<TapFacts>,
    /// A network of the machine that shares addresses with the guests', by the last look of the
    /// watch over the network.
    pub clash: Option<String>,
}

impl NetSeen {
    fn unlooked() -> Self {
        let why = || "not looked at during a start".to_owned();
        Self { bridge: Seen::Unknown(why()), tap: Seen::Unknown(why()), clash: None }
    }
}

impl Alive {
    /// A process that we started a moment ago and did not look at yet.
    #[must_use]
    pub fn launched(identity: ProcessIdentity) -> Self {
        let unseen = "not looked at during a start";
        let rules = Seen::Unknown(unseen.to_owned());
        let pin = Seen::Unknown(unseen.to_owned());
        let bounds = Seen::Unknown(unseen.to_owned());
        Self { identity, vmm: unasked(), rules, pin, net: NetSeen::unlooked(), bounds }
    }
}

/// The objects of a VM without a process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Objects {
    /// Why there is no process.
    pub why: WhyNot,
    /// The jail.
    pub jail: Seen<JailFacts>,
    /// The guest's rules.
    pub rules: Seen<GuestNet>,
    /// What ties the guest to its tap.
    pub pin: Seen<Pin>,
    /// The bridge of all guests.
    pub bridge: Seen<BridgeFacts>,
    /// The tap.
    pub tap: Seen<TapFacts>,
    /// The root disk.
    pub snapshot: Seen<SnapshotFacts>,
    /// The copy-on-write store's loop device.
    pub cow_loop: Seen<LoopFacts>,
    /// Whether this VM holds on to the root image's loop device.
    pub base_held: bool,
    /// The copy-on-write store's size in bytes.
    pub cow_file: Seen<u64>,
    /// The size in bytes of the root disk that is a copy.
    pub root_copy: Seen<u64>,
    /// The second disk's size in bytes.
    pub work_file: Seen<u64>,
    /// How the host makes new root disks.
    pub new_root_disks: RootDiskKind,
}

impl Objects {
    /// How this VM's root disk is made: what is there goes on being used, whatever the host would
    /// choose now.
    #[must_use]
    pub const fn root_disk(&self) -> RootDiskKind {
        match (&self.root_copy, &self.cow_file) {
            (Seen::Present(_), _) => RootDiskKind::Copy,
            (_, Seen::Present(_)) => RootDiskKind::Snapshot,
            (Seen::Absent | Seen::Unknown(_), Seen::Absent | Seen::Unknown(_)) => {
                self.new_root_disks
            }
        }
    }

    /// Whether a part is there; `None` of one that is not looked at here.
    #[must_use]
    pub fn seen(&self, part: Part) -> Option<Seen<()>> {
        Some(match part {
            Part::Base if self.base_held => Seen::Present(()),
            Part::Base => Seen::Absent,
            Part::CowFile => self.cow_file.bare(),
            Part::RootCopy => self.root_copy.bare(),
            Part::WorkFile => self.work_file.bare(),
            Part::CowLoop => self.cow_loop.bare(),
            Part::Snapshot => self.snapshot.bare(),
            Part::Bridge => self.bridge.bare(),
            Part::Tap => self.tap.bare(),
            Part::Pin => self.pin.bare(),
            Part::Rules => self.rules.bare(),
            Part::Jail => self.jail.bare(),
            Part::Outputs | Part::Process | Part::Directory => return None,
        })
    }
}

impl Probe {
    /// Whether what this effect makes is not there at all. An effect that only changes what it
    /// finds, such as a disk that is made larger, must not be undone by removing it.
    #[must_use]
    pub const fn lacks_what_is_made_by(&self, effect: EffectKind) -> bool {
        match (self, effect) {
            (Self::Dead(objects), EffectKind::MakeCowFile) => objects.cow_file.is_absent(),
            (Self::Dead(objects), EffectKind::MakeWorkDisk) => objects.work_file.is_absent(),
            (_, EffectKind::MakeCowFile | EffectKind::MakeWorkDisk) => false,
            (_, _) => true,
        }
    }
}

/// What to look with.
#[derive(Clone, Copy)]
pub struct Eyes<'a> {
    /// The machine.
    pub host: &'a Host,
    /// The VM's names.
    pub names: &'a VmNames,
    /// What is remembered.
    pub handles: &'a VmHandles,
    /// Whether the VM is registered as a user of its root image's loop device.
    pub base_held: bool,
    /// The bridge of the guests.
    pub bridge: &'a LinkName,
    /// What the watch over the network saw last.
    pub clash: Option<&'a str>,
}

impl Eyes<'_> {
    /// Looks at everything that matters, given what is known of the process. `ask_vmm` is false
    /// while the VMM is being configured: its state is known, and its API is one thread.
    pub async fn look(self, liveness: Liveness, ask_vmm: bool) -> Probe {
        match liveness {
            Liveness::Alive(identity) => Probe::Alive(Box::new(Alive {
                identity,
                vmm: if ask_vmm { self.vmm().await } else { unasked() },
                rules: self.rules().await,
                pin: self.pin().await,
                net: if ask_vmm { self.net().await } else { NetSeen::unlooked() },
                bounds: self.bounds().await,
            })),
            Liveness::CannotTell(why) => Probe::Unclear(why),
            Liveness::Dead(why) => Probe::Dead(Box::new(self.objects(why).await)),
            Liveness::SomebodyElses { pid, .. } => {
                Probe::Dead(Box::new(self.objects(WhyNot::SomebodyElses { pid }).await))
            }
        }
    }

    async fn objects(self, why: WhyNot) -> Objects {
        let new_root_disks = self.host.facts.root_disk_kind().await.unwrap_or_default();
        let (jail, rules, pin, bridge, tap, snapshot, cow_loop, cow_file, root_copy, work_file) = futures_util::join!(
            self.jail(),
            self.rules(),
            self.pin(),
            self.bridge(),
            self.tap(),
            self.snapshot(),
            self.cow_loop(),
            self.size(naming::file::COW),
            self.size(naming::file::ROOT),
            self.size(naming::file::WORK),
        );
        Objects {
            why,
            jail,
            rules,
            pin,
            bridge,
            tap,
            snapshot,
            cow_loop,
            base_held: self.base_held(),
            cow_file,
            root_copy,
            work_file,
            new_root_disks,
        }
    }

    /// Looks again at a part that was touched.
    pub async fn look_again(self, objects: &mut Objects, part: Part) {
        match part {
            Part::Base => objects.base_held = self.base_held(),
            Part::CowFile => objects.cow_file = self.size(naming::file::COW).await,
            Part::RootCopy => objects.root_copy = self.size(naming::file::ROOT).await,
            Part::WorkFile => objects.work_file = self.size(naming::file::WORK).await,
            Part::CowLoop => objects.cow_loop = self.cow_loop().await,
            Part::Snapshot => objects.snapshot = self.snapshot().await,
            Part::Bridge => objects.bridge = self.bridge().await,
            Part::Tap => objects.tap = self.tap().await,
            Part::Pin => objects.pin = self.pin().await,
            Part::Rules => objects.rules = self.rules().await,
            Part::Jail => objects.jail = self.jail().await,
            Part::Outputs | Part::Process | Part::Directory => {}
        }
    }

    async fn vmm(self) -> Seen<VmmState> {
        Seen::of(self.host.vmm.describe(&self.names.jail).await.map(Some))
    }

    async fn bounds(self) -> Seen<BoundsSeen> {
        let jails = std::slice::from_ref(&self.names.jail);
        Seen::of(self.host.jails.bounds(jails).await.map(|mut seen| seen.pop()))
    }

    async fn jail(self) -> Seen<JailFacts> {
        Seen::of(self.host.jails.observe(&self.names.jail).await)
    }

    async fn rules(self) -> Seen<GuestNet> {
        Seen::of(self.host.firewall.observe(&self.names.rules).await)
    }

    async fn pin(self) -> Seen<Pin> {
        Seen::of(self.host.pins.observe(&self.names.rules).await)
    }

    async fn tap(self) -> Seen<TapFacts> {
        Seen::of(self.host.taps.observe(&self.names.tap).await)
    }

    async fn bridge(self) -> Seen<BridgeFacts> {
        Seen::of(self.host.taps.observe_bridge(self.bridge).await)
    }

    async fn net(self) -> NetSeen {
        let (bridge, tap) = futures_util::join!(self.bridge(), self.tap());
        NetSeen { bridge, tap, clash: self.clash.map(str::to_owned) }
    }

    async fn snapshot(self) -> Seen<SnapshotFacts> {
        Seen::of(self.host.snapshots.observe(&self.names.snapshot).await)
    }

    async fn cow_loop(self) -> Seen<LoopFacts> {
        Seen::of(self.host.loops.observe(&self.names.cow()).await)
    }

    async fn size(self, file: &'static str) -> Seen<u64> {
        let facts = self.host.files.observe(&self.names.dir, &naming::part(file)).await;
        Seen::of(facts.map(|facts| facts.map(|facts| facts.size_bytes)))
    }

    fn base_held(self) -> bool {
        self.base_held || self.handles.base_loop.is_some()
    }
}

fn unasked() -> Seen<VmmState> {
    Seen::Unknown("not asked while it is being configured".to_owned())
}

/// What a fault calls a part that is left behind.
#[must_use]
pub fn shown(part: Part, names: &VmNames, objects: &Objects) -> Option<String> {
    Some(match part {
        Part::Jail => format!("jail {}", names.jail),
        Part::Rules => format!("firewall-rules {}", names.rules),
        Part::Pin => format!("pin {}", names.rules),
        Part::Tap => format!("tap {}", names.tap),
        Part::Snapshot => format!("dm-device {}", names.snapshot),
        Part::CowLoop => match objects.cow_loop.present() {
            Some(facts) => format!("loop-device {}", facts.device),
            None => format!("loop-device of {}", names.cow()),
        },
        Part::Base => "loop-device of the root image".to_owned(),
        Part::CowFile => file_shown(&names.cow()),
        Part::RootCopy => file_shown(&names.root_copy()),
        Part::WorkFile => file_shown(&names.work()),
        Part::Directory => format!("directory {}", names.dir),
        Part::Bridge | Part::Outputs | Part::Process => return None,
    })
}

fn file_shown(file: &BackingFile) -> String {
    format!("file {file}")
}

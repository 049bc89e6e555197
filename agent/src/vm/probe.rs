//! What the kernel says about one VM now.
//!
//! Driven by the VM's task: whole at the beginning of a pass, then only the part that the last
//! effect touched. Reads only. What can go wrong: a part cannot be read; then it is
//! [`Seen::Unknown`], which is not the same as [`Seen::Absent`], and nothing is destroyed on its
//! account. What is read depends on the process: of a live VM the disks are not looked at, so
//! that adopting a thousand of them costs a thousand looks at processes and no more.

use crate::handles::{ProcessIdentity, VmHandles};
use crate::host::{
    BackingFile, GuestNet, Host, HostResult, JailFacts, LoopFacts, RootDiskKind, SnapshotFacts,
    VmmState,
};
use crate::jail::process::{Liveness, WhyNot, WhyUnclear};
use crate::naming::{self, VmNames};

use super::effect::Effect;

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

    /// Whether it certainly is not there.
    pub const fn is_absent(&self) -> bool {
        matches!(self, Self::Absent)
    }
}

/// What the kernel says about one VM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Probe {
    /// Its process lives.
    Alive(Alive),
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
}

impl Alive {
    /// A process that we started a moment ago and did not look at yet.
    #[must_use]
    pub fn launched(identity: ProcessIdentity) -> Self {
        let rules = Seen::Unknown("not looked at during a start".to_owned());
        Self { identity, vmm: unasked(), rules }
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
    /// The tap.
    pub tap: Seen<()>,
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
}

impl Probe {
    /// Whether what this effect makes is not there at all. An effect that only changes what it finds,
    /// such as a disk that is made larger, must not be undone by removing it.
    #[must_use]
    pub const fn lacks_what_is_made_by(&self, effect: Effect) -> bool {
        match (self, effect) {
            (Self::Dead(objects), Effect::MakeCowFile) => objects.cow_file.is_absent(),
            (Self::Dead(objects), Effect::MakeWorkDisk) => objects.work_file.is_absent(),
            (_, Effect::MakeCowFile | Effect::MakeWorkDisk) => false,
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
}

impl Eyes<'_> {
    /// Looks at everything that matters, given what is known of the process. `ask_vmm` is false
    /// while the VMM is being configured: its state is known, and its API is one thread.
    pub async fn look(self, liveness: Liveness, ask_vmm: bool) -> Probe {
        match liveness {
            Liveness::Alive(identity) => Probe::Alive(Alive {
                identity,
                vmm: if ask_vmm { self.vmm().await } else { unasked() },
                rules: self.rules().await,
            }),
            Liveness::CannotTell(why) => Probe::Unclear(why),
            Liveness::Dead(why) => Probe::Dead(Box::new(self.objects(why).await)),
            Liveness::SomebodyElses { pid, .. } => {
                Probe::Dead(Box::new(self.objects(WhyNot::SomebodyElses { pid }).await))
            }
        }
    }

    async fn objects(self, why: WhyNot) -> Objects {
        let new_root_disks = self.host.facts.root_disk_kind().await.unwrap_or_default();
        let (jail, rules, tap, snapshot, cow_loop, cow_file, root_copy, work_file) = futures_util::join!(
            self.jail(),
            self.rules(),
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

    /// Looks again at the object that an effect touches; nothing when that is another thing.
    pub async fn look_again(self, objects: &mut Objects, effect: Effect) {
        match effect {
            Effect::BuildJail | Effect::RemoveJail => objects.jail = self.jail().await,
            Effect::EnsureRules | Effect::RemoveRules => objects.rules = self.rules().await,
            Effect::EnsureTap | Effect::RemoveTap => objects.tap = self.tap().await,
            Effect::CreateSnapshot | Effect::RemoveSnapshot => {
                objects.snapshot = self.snapshot().await;
            }
            Effect::AttachCow | Effect::DetachCow => objects.cow_loop = self.cow_loop().await,
            Effect::AttachBase | Effect::ReleaseBase => objects.base_held = self.base_held(),
            Effect::MakeCowFile | Effect::RemoveCowFile => {
                objects.cow_file = self.size(naming::file::COW).await;
            }
            Effect::CopyRootDisk | Effect::RemoveRootCopy => {
                objects.root_copy = self.size(naming::file::ROOT).await;
            }
            Effect::MakeWorkDisk | Effect::RemoveWorkDisk => {
                objects.work_file = self.size(naming::file::WORK).await;
            }
            Effect::CheckHost
            | Effect::CheckImages
            | Effect::CheckRoom
            | Effect::GrowStore
            | Effect::CollectOutputs
            | Effect::StopOutputs
            | Effect::Launch
            | Effect::Configure
            | Effect::StartGuest
            | Effect::Pause
            | Effect::Resume
            | Effect::PutMetadata
            | Effect::AskGuestToStop
            | Effect::Kill
            | Effect::RemoveDir
            | Effect::MarkBooted
            | Effect::MarkRootDisk
            | Effect::MarkStarted
            | Effect::MarkHalted => {}
        }
    }

    async fn vmm(self) -> Seen<VmmState> {
        Seen::of(self.host.vmm.describe(&self.names.jail).await.map(Some))
    }

    async fn jail(self) -> Seen<JailFacts> {
        Seen::of(self.host.jails.observe(&self.names.jail).await)
    }

    async fn rules(self) -> Seen<GuestNet> {
        Seen::of(self.host.firewall.observe(&self.names.rules).await)
    }

    async fn tap(self) -> Seen<()> {
        Seen::of(self.host.taps.observe(&self.names.tap).await.map(|tap| tap.map(|_| ())))
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

/// What a fault calls an object that is left behind.
#[must_use]
pub fn shown(effect: Effect, names: &VmNames, objects: &Objects) -> Option<String> {
    match effect {
        Effect::RemoveJail => Some(format!("jail {}", names.jail)),
        Effect::RemoveRules => Some(format!("firewall-rules {}", names.rules)),
        Effect::RemoveTap => Some(format!("tap {}", names.tap)),
        Effect::RemoveSnapshot => Some(format!("dm-device {}", names.snapshot)),
        Effect::DetachCow => Some(match objects.cow_loop.present() {
            Some(facts) => format!("loop-device {}", facts.device),
            None => format!("loop-device of {}", names.cow()),
        }),
        Effect::ReleaseBase => Some("loop-device of the root image".to_owned()),
        Effect::RemoveCowFile => Some(file_shown(&names.cow())),
        Effect::RemoveRootCopy => Some(file_shown(&names.root_copy())),
        Effect::RemoveWorkDisk => Some(file_shown(&names.work())),
        Effect::RemoveDir => Some(format!("directory {}", names.dir)),
        _ => None,
    }
}

fn file_shown(file: &BackingFile) -> String {
    format!("file {file}")
}

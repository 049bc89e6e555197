//! The seam to jail directories: what a VMM sees of the machine.
//!
//! Driven by the VM tasks. What can go wrong: a leftover of an earlier life, a full disk, a process
//! that still sits in the jail. The VMM's user owns the jail's root, so whatever lies in it may
//! have been replaced by a hostile VMM: nothing in it is followed or believed.

use std::path::PathBuf;

use async_trait::async_trait;

use super::{
    BackingFile, BoundsSeen, Change, DeviceNumber, FileId, HostResult, JailBounds, JailId,
    PathPart, Pid, VmmKind,
};

/// How a file comes into a jail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum JailAccess {
    /// The VMM reads it: a hard link with the file's own owner and mode when that is world-readable
    /// and on the same file system, else a copy.
    Read,
    /// The VMM writes it: a hard link, owned by the jail's user. Refused across file systems.
    Write,
}

/// A file in a jail's root.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JailFile {
    /// Its name in the jail.
    pub name: PathPart,
    /// What it is.
    pub from: BackingFile,
    /// What the VMM does with it.
    pub access: JailAccess,
}

/// A block device node in a jail's root, owned by the jail's user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JailDevice {
    /// Its name in the jail.
    pub name: PathPart,
    /// Which device.
    pub device: DeviceNumber,
}

/// A jail to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JailSpec {
    /// The jailer's `--id`.
    pub id: JailId,
    /// What will run in it.
    pub vmm: VmmKind,
    /// User and group the VMM runs as.
    pub uid: u32,
    /// Files to put into it.
    pub files: Vec<JailFile>,
    /// Device nodes to put into it.
    pub devices: Vec<JailDevice>,
    /// What all of its processes may use together.
    pub bounds: JailBounds,
}

/// A jail that exists, wholly or in part.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JailFacts {
    /// What it was built for; `None` when only a symlink or a control group is left of it.
    pub vmm: Option<VmmKind>,
    /// Its root directory, which `/proc/<pid>/root` of its process is.
    pub root: Option<FileId>,
    /// Whether its control group exists.
    pub cgroup: bool,
}

/// How many processes of a jail's control group are told. A VMM has one, with threads; one that was
/// taken over may have as many as the kernel lets it.
pub const MOST_MEMBERS: usize = 256;

/// What is left of one jail.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JailSurvey {
    /// Which.
    pub id: JailId,
    /// What it was built for; `None` when there is no directory of it.
    pub vmm: Option<VmmKind>,
    /// Whether there is a directory of it, or a symlink in the runtime directory.
    pub files: bool,
    /// Its root directory.
    pub root: Option<FileId>,
    /// Whether its control group exists.
    pub cgroup: bool,
    /// The processes in its control group, as [`Jails::members`] tells them.
    pub members: Vec<Pid>,
    /// When its directory was made, in seconds since 1970; `None` where the file system keeps no
    /// such time.
    pub born: Option<u64>,
    /// What the files in its root occupy that have no other name, in bytes.
    pub occupied_bytes: u64,
}

/// Something mounted in a directory of banger. Banger mounts nothing there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MountFacts {
    /// Where, to be shown.
    pub path: PathBuf,
    /// The jail or scratch directory it lies in.
    pub inside: JailId,
}

/// What lies at the place of a jail's API socket in the runtime directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SocketEntry {
    /// Nothing.
    Missing,
    /// Something that is no symlink.
    NotALink,
    /// A symlink to this path.
    Link(PathBuf),
}

/// Jail directories, laid out as Firecracker's jailer expects: `<base>/<vmm>/<id>/root`, with
/// symlinks `<runtime dir>/<id>.sock` and `.vsock` into it.
///
/// Inside every jail: the API socket ([`in_jail::api_socket`], made by the VMM), `v.sock` (vsock,
/// made by Firecracker), `console.fifo`, `console-in.fifo`, `log.fifo` and `metrics.fifo`, and the
/// pidfile ([`in_jail::pidfile`], made by the jailer).
#[async_trait]
pub trait Jails: Send + Sync {
    /// The jails of which anything is left: a directory, a control group, or a symlink in the
    /// runtime directory.
    async fn list(&self) -> HostResult<Vec<JailId>>;

    /// As [`Jails::list`], with what is left of each.
    async fn survey(&self) -> HostResult<Vec<JailSurvey>>;

    /// What is mounted on or beneath the directory of a jail, or a scratch directory.
    async fn mounts(&self) -> HostResult<Vec<MountFacts>>;

    /// What there is of a jail; `None` when nothing.
    async fn observe(&self, id: &JailId) -> HostResult<Option<JailFacts>>;

    /// Builds the jail: directories, files, device nodes, FIFOs, control group and symlinks.
    /// An object of the right name and kind that is there already is replaced if it is not the
    /// one asked for.
    async fn ensure(&self, spec: &JailSpec) -> HostResult<Change>;

    /// The processes in the jail's control group, at most [`MOST_MEMBERS`] of them; none without
    /// groups. A process can neither leave its group nor enter another's: only root moves it.
    async fn members(&self, id: &JailId) -> HostResult<Vec<Pid>>;

    /// Ends every process in the jail's control group, and waits a while until none is left.
    ///
    /// # Errors
    /// [`Busy`](super::HostErrorKind::Busy) when one outlives that: it waits for a disk.
    async fn end_members(&self, id: &JailId) -> HostResult<Change>;

    /// What the control groups of these jails hold them to, in this order.
    async fn bounds(&self, ids: &[JailId]) -> HostResult<Vec<BoundsSeen>>;

    /// Holds a jail that is in use to these bounds, as far as its group has the controllers.
    ///
    /// # Errors
    /// [`Refused`](super::HostErrorKind::Refused) where it would be held to less memory than it
    /// has: the kernel would end the guest.
    async fn bound(&self, id: &JailId, bounds: &JailBounds) -> HostResult<Change>;

    /// The device by whose number the kernel bounds traffic with this one: the whole disk of a
    /// partition. `None` where it bounds none, as of a file system that is on no device.
    async fn bounded_device(&self, device: DeviceNumber) -> HostResult<Option<DeviceNumber>>;

    /// Removes the jail, its control group and its symlinks. Does a bounded amount of work: what a
    /// VMM filled its jail with may need several calls, each of which says
    /// [`Made`](Change::Made), and [`Jails::observe`] says whether anything is left.
    ///
    /// # Errors
    /// [`Busy`](super::HostErrorKind::Busy) while a process is in the control group.
    async fn remove(&self, id: &JailId) -> HostResult<Change>;

    /// What lies at the API socket's place in the runtime directory.
    async fn observe_api_socket(&self, id: &JailId) -> HostResult<SocketEntry>;

    /// The content of a VMM's pidfile as its jailer wrote it, `None` when there is none. At most 64
    /// bytes are read.
    async fn read_pidfile(&self, id: &JailId, vmm: VmmKind) -> HostResult<Option<Vec<u8>>>;

    /// The root directory of a jail for one VMM, for showing and for comparing with a symlink's
    /// target.
    fn root_path(&self, id: &JailId, vmm: VmmKind) -> PathBuf;

    /// The symlink to the API socket in the runtime directory.
    fn api_socket_path(&self, id: &JailId) -> PathBuf;

    /// The symlink to the vsock socket in the runtime directory.
    fn vsock_path(&self, id: &JailId) -> PathBuf;
}

/// Names inside a jail, the same in every one. Absolute as the VMM sees them.
pub mod in_jail {
    use super::VmmKind;

    /// The API socket: Firecracker's default, or QEMU's machine protocol (QMP).
    #[must_use]
    pub const fn api_socket(vmm: VmmKind) -> &'static str {
        match vmm {
            VmmKind::Firecracker => "/run/firecracker.socket",
            VmmKind::Qemu => "/run/qmp.socket",
        }
    }

    /// The serial console, both ways, of a VMM that has it as a socket: QEMU. What the guest
    /// prints while nobody is connected is lost.
    pub const CONSOLE_SOCKET: &str = "/run/console.socket";
    /// The virtio-serial port that leads to the guest agent, of a VMM without vsock: QEMU.
    pub const GUEST_SOCKET: &str = "/run/guest.socket";
    /// The host's end of the vsock device.
    pub const VSOCK: &str = "/v.sock";
    /// What the guest writes to its serial console.
    pub const CONSOLE: &str = "/console.fifo";
    /// What is typed into the guest's serial console, of a VMM that reads it from its standard
    /// input: Firecracker.
    pub const CONSOLE_INPUT: &str = "/console-in.fifo";
    /// The VMM's log.
    pub const LOG: &str = "/log.fifo";
    /// The VMM's metrics.
    pub const METRICS: &str = "/metrics.fifo";
    /// The pidfile that the jailer writes: Firecracker's gives it the name of the program it
    /// starts, plus `.pid`.
    #[must_use]
    pub const fn pidfile(vmm: VmmKind) -> &'static str {
        match vmm {
            VmmKind::Firecracker => "/firecracker.pid",
            VmmKind::Qemu => "/qemu.pid",
        }
    }
}

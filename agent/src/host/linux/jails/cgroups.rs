//! The control groups of the guests: `<mount>/<parent>/<id>`, outside the agent's own unit, so that
//! systemd does not count them to it.
//!
//! The jailer moves itself into a group that exists (`--parent-cgroup` without `--cgroup`,
//! `Env::new` in its `env.rs`), so that the group is made here, and bounded before anything is in
//! it. Its own way to bounds (`--cgroup`) makes a further group below, which the agent would not
//! look into.
//!
//! What can go wrong: a controller is not there, or belongs to a hierarchy of version 1; then what
//! it would bound is not, and `banger-agent doctor` says so.

mod bounds;

pub(super) use self::bounds::bounded_device;

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::io::Errno;
use rustix::process::{PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use crate::host::jails::MOST_MEMBERS;
use crate::host::linux::blocking;
use crate::host::{Change, HostError, HostErrorKind, HostResult, JailBounds, JailId, Pid};

/// How often the removal of a group is tried again while the kernel still counts a process that
/// just died, and the wait between.
const ATTEMPTS: u32 = 50;
const PAUSE: Duration = Duration::from_millis(20);

/// How much of a list of processes is read: more than [`MOST_MEMBERS`] pids of seven digits.
const MEMBERS_READ: u64 = 16 * 1024;

/// The guests' group.
#[derive(Debug, Clone)]
pub(crate) struct Cgroups {
    parent: PathBuf,
    relative: PathBuf,
}

impl Cgroups {
    /// Finds where version 2 is mounted, as the jailer does: the first such line. `None` when it
    /// is nowhere.
    pub(crate) fn detect(relative: &Path) -> Option<Self> {
        let mounts = std::fs::read_to_string("/proc/self/mounts").ok()?;
        mount_point(&mounts).map(|mount| Self::at(&mount, relative))
    }

    pub(crate) fn at(mount: &Path, relative: &Path) -> Self {
        Self { parent: mount.join(relative), relative: relative.to_owned() }
    }

    /// As the jailer is told it.
    pub(super) fn relative(&self, id: &JailId) -> String {
        self.relative.join(id.as_str()).to_string_lossy().into_owned()
    }

    pub(super) fn path(&self, id: &JailId) -> PathBuf {
        self.parent.join(id.as_str())
    }

    pub(super) fn exists(&self, id: &JailId) -> bool {
        self.path(id).is_dir()
    }

    /// A group that is there and bounded.
    pub(super) fn ensure(&self, id: &JailId, bounds: &JailBounds) -> HostResult<bool> {
        let made = self.make(id)?;
        Ok(self.bound(id, bounds)? || made)
    }

    /// Has every group from the mount down to the guests' let its children be held by a controller
    /// (cgroups(7), `cgroup.subtree_control`). One that has it already, or cannot, stays as it is:
    /// whether it came down is seen in the last one.
    fn hand_down(&self, controller: &str) {
        let depth = self.relative.components().count();
        let mut levels: Vec<&Path> = self.parent.ancestors().take(depth + 1).collect();
        levels.reverse();
        for level in levels {
            let path = level.join("cgroup.subtree_control");
            let file = std::fs::OpenOptions::new().write(true).open(&path);
            let said = file.and_then(|mut file| {
                use std::io::Write as _;
                file.write_all(format!("+{controller}").as_bytes())
            });
            if let Err(error) = said {
                tracing::debug!(path = %path.display(), controller, %error, "not handed down");
            }
        }
    }

    fn make(&self, id: &JailId) -> HostResult<bool> {
        let path = self.path(id);
        if path.is_dir() {
            return Ok(false);
        }
        let mut attempts = 0;
        loop {
            match std::fs::create_dir_all(&path) {
                Ok(()) => return Ok(true),
                // The removal of the last guest took the group above away meanwhile.
                Err(error) if error.kind() == ErrorKind::NotFound && attempts < 3 => attempts += 1,
                Err(error) => {
                    return Err(HostError::io("make control group", path.display(), error));
                }
            }
        }
    }

    /// The processes in a group, some thousands at most: a process may have as many children as the
    /// kernel lets it.
    pub(super) fn members(&self, id: &JailId) -> HostResult<Vec<Pid>> {
        use std::io::Read as _;
        let path = self.path(id).join("cgroup.procs");
        let failed = |error| HostError::io("read", path.display(), error);
        let file = match std::fs::File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(failed(error)),
        };
        let mut text = Vec::new();
        match file.take(MEMBERS_READ).read_to_end(&mut text) {
            // The group went while it was read.
            Err(error) if error.raw_os_error() == Some(Errno::NODEV.raw_os_error()) => {
                return Ok(Vec::new());
            }
            done => {
                done.map_err(failed)?;
            }
        }
        let text = String::from_utf8_lossy(&text);
        // A last line that was cut is no number of its own.
        let whole = text.rfind('\n').map_or("", |end| &text[..end]);
        Ok(whole
            .lines()
            .filter_map(|line| Pid::new(line.parse().ok()?))
            .take(MOST_MEMBERS)
            .collect())
    }

    /// Ends every process in a group: at once by `cgroup.kill`, which no fork outruns, where the
    /// kernel has it (5.14), and each by itself. A process whose first thread has ended is passed
    /// over by `cgroup.kill`, which signals that thread alone.
    fn kill(&self, id: &JailId) -> HostResult<()> {
        let path = self.path(id).join("cgroup.kill");
        match std::fs::OpenOptions::new().write(true).open(&path) {
            Ok(mut file) => {
                use std::io::Write as _;
                file.write_all(b"1")
                    .map_err(|error| HostError::io("write", path.display(), error))?;
            }
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(HostError::io("open", path.display(), error)),
        }
        for pid in self.members(id)? {
            let Some(raw) = i32::try_from(pid.get()).ok().and_then(rustix::process::Pid::from_raw)
            else {
                continue;
            };
            let Ok(pidfd) = pidfd_open(raw, PidfdFlags::empty()) else { continue };
            // Opened first and looked for after: whoever is in the group now had the pid then.
            if self.members(id)?.contains(&pid) {
                match pidfd_send_signal(pidfd, Signal::KILL) {
                    Ok(()) | Err(Errno::SRCH) => {}
                    Err(error) => return Err(HostError::io("signal process", pid, error)),
                }
            }
        }
        Ok(())
    }

    pub(super) async fn end_members(&self, id: &JailId) -> HostResult<Change> {
        let mut change = Change::AlreadySo;
        for _ in 0..ATTEMPTS {
            let (groups, jail) = (self.clone(), id.clone());
            let ended = blocking(move || {
                if groups.members(&jail)?.is_empty() {
                    return Ok(true);
                }
                groups.kill(&jail)?;
                Ok(false)
            });
            if ended.await? {
                return Ok(change);
            }
            change = Change::Made;
            tokio::time::sleep(PAUSE).await;
        }
        Err(HostError::new(HostErrorKind::Busy, "end the processes of jail", id)
            .detail("one of them does not die of SIGKILL"))
    }

    pub(super) async fn remove(&self, id: &JailId) -> HostResult<bool> {
        let verb = "remove control group";
        for _ in 0..ATTEMPTS {
            let (path, parent) = (self.path(id), self.parent.clone());
            let removed = blocking(move || match rustix::fs::rmdir(&path) {
                Ok(()) => {
                    // Ours too, and kept by the kernel while there is another guest in it. What is
                    // above belongs to the system.
                    let _ = rustix::fs::rmdir(&parent);
                    Ok(Some(true))
                }
                Err(Errno::NOENT) => Ok(Some(false)),
                Err(Errno::BUSY) => Ok(None),
                Err(error) => Err(HostError::io(verb, path.display(), error)),
            });
            if let Some(removed) = removed.await? {
                return Ok(removed);
            }
            tokio::time::sleep(PAUSE).await;
        }
        Err(HostError::new(HostErrorKind::Busy, verb, id).detail("a process is still in it"))
    }

    pub(super) fn names(&self) -> HostResult<Vec<String>> {
        let entries = match std::fs::read_dir(&self.parent) {
            Ok(entries) => entries,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => {
                return Err(HostError::io("list", self.parent.display(), error));
            }
        };
        Ok(entries
            .filter_map(Result::ok)
            .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
            .filter_map(|entry| entry.file_name().into_string().ok())
            .collect())
    }
}

/// The mount point of the first line of type `cgroup2` in proc_mounts(5).
pub(super) fn mount_point(mounts: &str) -> Option<PathBuf> {
    mounts.lines().find_map(|line| {
        let mut words = line.split(' ').skip(1);
        let (point, kind) = (words.next()?, words.next()?);
        (kind == "cgroup2").then(|| PathBuf::from(point))
    })
}

//! Processes by way of `/proc` and pidfds: proc_pid_stat(5), pidfd_open(2).
//!
//! Everything of one process is read through one descriptor of its `/proc` directory, which goes
//! dead with it: no two facts can be of two processes.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use async_trait::async_trait;
use procfs::FromRead;
use procfs::process::Stat;
use rustix::fs::{AtFlags, CWD, Mode, OFlags, StatxFlags, makedev, statx};
use rustix::io::Errno;
use rustix::process::{PidfdFlags, pidfd_open, pidfd_send_signal};

use super::blocking;
use crate::host::{
    Change, ExitStatus, FileId, HostError, HostErrorKind, HostResult, Pid, ProcessFacts,
    ProcessStart, Processes, Signal,
};

pub(super) mod children;
pub(super) mod listing;
pub(super) mod ready;

use children::Children;
use listing::Ours;
use ready::readable;

/// How much of a command line, or of another file of a process, is read. What we look for stands at
/// the beginning of our own command lines, and anybody may start processes with long ones.
const READ_LIMIT: u64 = 4096;

/// So many arguments of a command line are kept; ours have fewer before all that we look for.
const MOST_ARGUMENTS: usize = 64;

/// The processes of this machine.
pub(crate) struct LinuxProcesses {
    children: Arc<Children>,
    ours: Ours,
}

impl LinuxProcesses {
    pub(crate) fn new(children: Arc<Children>, ours: Ours) -> Self {
        Self { children, ours }
    }
}

/// "The process is gone", in the forms that `/proc` has for it.
fn is_gone(error: Errno) -> bool {
    matches!(error, Errno::NOENT | Errno::SRCH)
}

fn open_proc(pid: Pid) -> rustix::io::Result<Option<OwnedFd>> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    match rustix::fs::openat(CWD, format!("/proc/{pid}"), flags, Mode::empty()) {
        Ok(fd) => Ok(Some(fd)),
        Err(error) if is_gone(error) => Ok(None),
        Err(error) => Err(error),
    }
}

fn read_file(dir: BorrowedFd<'_>, name: &str) -> rustix::io::Result<Option<Vec<u8>>> {
    use std::io::Read;
    let fd = match rustix::fs::openat(dir, name, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()) {
        Ok(fd) => fd,
        Err(error) if is_gone(error) => return Ok(None),
        Err(error) => return Err(error),
    };
    let mut bytes = Vec::new();
    match std::fs::File::from(fd).take(READ_LIMIT).read_to_end(&mut bytes) {
        Ok(_) => Ok(Some(bytes)),
        Err(error) => match Errno::from_io_error(&error) {
            Some(error) if is_gone(error) => Ok(None),
            Some(error) => Err(error),
            None => Err(Errno::IO),
        },
    }
}

fn read_stat(dir: BorrowedFd<'_>) -> rustix::io::Result<Option<Stat>> {
    match read_file(dir, "stat")? {
        Some(bytes) => Stat::from_read(&*bytes).map(Some).map_err(|_| Errno::BADMSG),
        None => Ok(None),
    }
}

/// Cut at NULs, as the kernel joins them.
fn split_arguments(bytes: &[u8]) -> Vec<String> {
    bytes
        .strip_suffix(b"\0")
        .unwrap_or(bytes)
        .split(|byte| *byte == 0)
        .filter(|_| !bytes.is_empty())
        .take(MOST_ARGUMENTS)
        .map(|word| String::from_utf8_lossy(word).into_owned())
        .collect()
}

/// Whether all of a process is dead. The state in `stat` is that of its first thread, which may end
/// before the others do; it is counted among them until all are gone.
fn is_dead(stat: &Stat) -> bool {
    matches!(stat.state, 'Z' | 'X' | 'x') && stat.num_threads <= 1
}

/// The user who runs a process, from the line `Uid:` of proc_pid_status(5): real, effective, saved
/// and file system user. Only where all are the same.
fn user(status: &[u8]) -> Option<u32> {
    let line = status.split(|byte| *byte == b'\n').find_map(|line| line.strip_prefix(b"Uid:"))?;
    let mut users = std::str::from_utf8(line).ok()?.split_ascii_whitespace();
    let first = users.next()?;
    (users.clone().count() == 3 && users.all(|user| user == first)).then(|| first.parse().ok())?
}

/// The name of the file that a process executes, of `/proc/<pid>/exe`, which the kernel makes.
fn program(dir: BorrowedFd<'_>) -> Option<String> {
    let path = rustix::fs::readlinkat(dir, "exe", Vec::new()).ok()?;
    let path = path.to_string_lossy();
    let path = path.strip_suffix(" (deleted)").unwrap_or(&path);
    path.rsplit('/').next().map(str::to_owned)
}

fn started(pid: Pid) -> rustix::io::Result<Option<ProcessStart>> {
    let Some(dir) = open_proc(pid)? else { return Ok(None) };
    let stat = read_stat(dir.as_fd())?;
    Ok(stat.map(|stat| ProcessStart { start_ticks: stat.starttime, zombie: is_dead(&stat) }))
}

/// A process' root directory as it is: by the link that the kernel makes, not by name. A zombie has
/// none; another's may be barred.
///
/// The directory may be in a file system that its owner serves, and has stopped serving (FUSE,
/// beneath an overlay so that it is asked for root too). So it is not walked through, and its
/// attributes are those that the kernel has.
fn root_of(dir: BorrowedFd<'_>) -> Option<FileId> {
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    let root = rustix::fs::openat(dir, "root", flags, Mode::empty()).ok()?;
    let as_known = AtFlags::EMPTY_PATH | AtFlags::STATX_DONT_SYNC;
    let seen = statx(root, "", as_known, StatxFlags::INO).ok()?;
    let device = makedev(seen.stx_dev_major, seen.stx_dev_minor);
    Some(FileId { device, inode: seen.stx_ino })
}

fn observe(pid: Pid) -> rustix::io::Result<Option<ProcessFacts>> {
    let Some(dir) = open_proc(pid)? else { return Ok(None) };
    observe_in(pid, dir.as_fd())
}

/// By the process' own directory.
fn observe_in(pid: Pid, dir: BorrowedFd<'_>) -> rustix::io::Result<Option<ProcessFacts>> {
    let Some(stat) = read_stat(dir)? else { return Ok(None) };
    let Some(arguments) = read_file(dir, "cmdline")? else { return Ok(None) };
    let Some(status) = read_file(dir, "status")? else { return Ok(None) };
    Ok(Some(ProcessFacts {
        pid,
        start_ticks: stat.starttime,
        zombie: is_dead(&stat),
        user: user(&status),
        program: program(dir),
        comm: stat.comm,
        arguments: split_arguments(&arguments),
        root: root_of(dir),
    }))
}

/// The user of a process all of which is dead and that was not waited for yet.
fn user_of_zombie(pid: Pid) -> Option<u32> {
    let dir = open_proc(pid).ok()??;
    let dead = is_dead(&read_stat(dir.as_fd()).ok()??);
    dead.then(|| user(&read_file(dir.as_fd(), "status").ok()??)).flatten()
}

/// When a process started, `None` when there is none of this id.
pub(super) fn start_ticks(pid: Pid) -> HostResult<Option<u64>> {
    let started = started(pid).map_err(|error| HostError::io("look at process", pid, error))?;
    Ok(started.map(|process| process.start_ticks))
}

/// A pidfd of exactly this process, `None` when it is gone.
///
/// The descriptor is opened first and the identity read after: the process that has the right
/// identity then had this pid all the time since it started, so also when the descriptor was
/// opened.
fn open_pidfd(pid: Pid, expected: u64) -> HostResult<Option<OwnedFd>> {
    let failed = |error: Errno| HostError::io("open process", pid, error);
    let raw = i32::try_from(pid.get())
        .ok()
        .and_then(rustix::process::Pid::from_raw)
        .ok_or_else(|| HostError::new(HostErrorKind::Invalid, "open process", pid))?;
    let pidfd = match pidfd_open(raw, PidfdFlags::empty()) {
        Ok(fd) => fd,
        Err(Errno::SRCH) => return Ok(None),
        // A thread of some process has the number now.
        Err(Errno::INVAL | Errno::NOENT) => return Ok(None),
        Err(error) => return Err(failed(error)),
    };
    match started(pid).map_err(failed)? {
        Some(facts) if facts.start_ticks == expected && !facts.zombie => Ok(Some(pidfd)),
        Some(_) | None => Ok(None),
    }
}

#[async_trait]
impl Processes for LinuxProcesses {
    async fn list(&self, comm: &str) -> HostResult<Vec<ProcessFacts>> {
        let (wanted, ours) = (comm.to_owned(), self.ours.clone());
        blocking(move || ours.list(&wanted)).await
    }

    async fn observe(&self, pid: Pid) -> HostResult<Option<ProcessFacts>> {
        blocking(move || observe(pid).map_err(|error| HostError::io("look at process", pid, error)))
            .await
    }

    async fn started(&self, pid: Pid) -> HostResult<Option<ProcessStart>> {
        blocking(move || started(pid).map_err(|error| HostError::io("look at process", pid, error)))
            .await
    }

    async fn signal(&self, pid: Pid, start_ticks: u64, signal: Signal) -> HostResult<Change> {
        blocking(move || {
            let Some(pidfd) = open_pidfd(pid, start_ticks)? else {
                return Ok(Change::AlreadySo);
            };
            let number = match signal {
                Signal::Terminate => rustix::process::Signal::TERM,
                Signal::Kill => rustix::process::Signal::KILL,
            };
            match pidfd_send_signal(pidfd, number) {
                Ok(()) => Ok(Change::Made),
                Err(Errno::SRCH) => Ok(Change::AlreadySo),
                Err(error) => Err(HostError::io("signal process", pid, error)),
            }
        })
        .await
    }

    async fn wait_exit(&self, pid: Pid, start_ticks: u64) -> HostResult<ExitStatus> {
        if let Some(mut exit) = self.children.exit_of(pid, start_ticks) {
            // Cancel-safe: `wait_for` only looks.
            return match exit.wait_for(Option::is_some).await {
                Ok(status) => Ok(status.unwrap_or(ExitStatus::Unknown)),
                // The task that reaps is gone with the runtime.
                Err(_) => Ok(ExitStatus::Unknown),
            };
        }
        let Some(pidfd) = blocking(move || open_pidfd(pid, start_ticks)).await? else {
            return Ok(ExitStatus::Unknown);
        };
        let failed = |error| HostError::io("wait for process", pid, error);
        let pidfd = readable(pidfd).map_err(failed)?;
        drop(pidfd.readable().await.map_err(failed)?);
        Ok(ExitStatus::Unknown)
    }
}

#[cfg(test)]
mod tests;

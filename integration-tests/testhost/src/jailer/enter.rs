//! The jailer's own process: what it sheds, the root it enters, and the program it becomes.
//!
//! Driven by `jailer::run`, in the order of that function. Every function here changes the calling
//! process for good, so each is called once.

use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, setns, unshare};
use nix::sys::resource::{Resource, setrlimit};
use nix::sys::stat::Mode;
use nix::time::{ClockId, clock_gettime};
use nix::unistd::{ForkResult, chdir, fork, getpid, getsid, mkdir, pivot_root, setsid};

use super::{JailerError, Wanted, jail, step};

/// Which time.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Clock {
    /// Since the machine started.
    Monotonic,
    /// Used by this process.
    Process,
}

/// Microseconds; 0 where the kernel has no such clock, as it is only for the metrics.
pub(crate) fn now_us(clock: Clock) -> u64 {
    let id = match clock {
        Clock::Monotonic => ClockId::CLOCK_MONOTONIC,
        Clock::Process => ClockId::CLOCK_PROCESS_CPUTIME_ID,
    };
    clock_gettime(id).map_or(0, |time| {
        time.tv_sec().unsigned_abs() * 1_000_000 + time.tv_nsec().unsigned_abs() / 1_000
    })
}

/// Closes every file descriptor but the first three.
pub(crate) fn close_inherited() -> Result<(), JailerError> {
    let listing = || {
        let mut open = Vec::new();
        for entry in std::fs::read_dir("/proc/self/fd")? {
            if let Ok(number) = entry?.file_name().to_string_lossy().parse::<i32>() {
                open.push(number);
            }
        }
        io::Result::Ok(open)
    };
    let open = listing().map_err(step("close inherited file descriptors"))?;
    for descriptor in open.into_iter().filter(|descriptor| *descriptor > 2) {
        // The one that listed the directory is closed already.
        let _ = nix::unistd::close(descriptor);
    }
    Ok(())
}

pub(crate) fn join_network_namespace(path: &Path) -> Result<(), JailerError> {
    let file = File::open(path).map_err(step(format!("open file {}", path.display())))?;
    setns(&file, CloneFlags::CLONE_NEWNET).map_err(step("join network namespace: netns"))
}

pub(crate) fn set_limits(wanted: &Wanted) -> Result<(), JailerError> {
    if let Some(size) = wanted.file_size {
        setrlimit(Resource::RLIMIT_FSIZE, size, size)
            .map_err(step("set limit for resource: size of file"))?;
    }
    setrlimit(Resource::RLIMIT_NOFILE, wanted.open_files, wanted.open_files)
        .map_err(step("set limit for resource: number of file descriptors"))
}

pub(crate) fn open_null() -> Result<File, JailerError> {
    File::open("/dev/null").map_err(step("open file /dev/null"))
}

/// A mount namespace of its own whose root is the jail and from which nothing else is reachable.
pub(crate) fn change_root(root: &Path) -> Result<(), JailerError> {
    const NONE: Option<&str> = None;
    unshare(CloneFlags::CLONE_NEWNS).map_err(step("unshare into new mount namespace"))?;
    mount(NONE, "/", NONE, MsFlags::MS_SLAVE | MsFlags::MS_REC, NONE)
        .map_err(step("change the propagation type to slave"))?;
    // pivot_root wants a mount point.
    mount(Some(root), root, NONE, MsFlags::MS_BIND | MsFlags::MS_REC, NONE)
        .map_err(step("bind mount the jail root directory"))?;
    chdir(root).map_err(step("change current directory"))?;
    mkdir("old_root", Mode::S_IRUSR | Mode::S_IWUSR)
        .map_err(step("create the jail root directory before pivoting root"))?;
    pivot_root(".", "old_root").map_err(step("pivot root"))?;
    chdir("/").map_err(step("chdir into chroot directory"))?;
    umount2("old_root", MntFlags::MNT_DETACH).map_err(step("unmount the old jail root"))?;
    std::fs::remove_dir("old_root").map_err(step("remove old jail root directory"))
}

/// Leaves the caller's session and terminal, by the usual two forks.
pub(crate) fn daemonize(null: &File) -> Result<(), JailerError> {
    exit_parent()?;
    setsid().map_err(step("daemonize: setsid"))?;
    exit_parent()?;
    let duplicate = step("duplicate fd");
    nix::unistd::dup2_stdin(null.as_fd())
        .and_then(|()| nix::unistd::dup2_stdout(null.as_fd()))
        .and_then(|()| nix::unistd::dup2_stderr(null.as_fd()))
        .map_err(duplicate)
}

fn exit_parent() -> Result<(), JailerError> {
    match forked().map_err(step("daemonize"))? {
        ForkResult::Parent { .. } => std::process::exit(0),
        ForkResult::Child => Ok(()),
    }
}

#[expect(unsafe_code, reason = "there is no other way to leave a session")]
fn forked() -> nix::Result<ForkResult> {
    // SAFETY: this program has one thread, so the child may do everything the parent may.
    unsafe { fork() }
}

/// Becomes the program in the jail. Returns only with an error.
pub(crate) fn exec(wanted: &Wanted, started_us: u64) -> Result<(), JailerError> {
    if !wanted.new_pid_namespace {
        jail::write_pidfile(wanted, getpid().as_raw())?;
        return Err(replace_self(wanted, started_us));
    }
    let leads_session = !wanted.daemonize && getsid(None) == Ok(getpid());
    unshare(CloneFlags::CLONE_NEWPID).map_err(step("clone into a new child process"))?;
    match forked().map_err(step("clone into a new child process"))? {
        ForkResult::Child => {
            if leads_session {
                setsid().map_err(step("daemonize: setsid"))?;
            }
            Err(replace_self(wanted, started_us))
        }
        ForkResult::Parent { child } => {
            jail::write_pidfile(wanted, child.as_raw())?;
            std::process::exit(0)
        }
    }
}

fn replace_self(wanted: &Wanted, started_us: u64) -> JailerError {
    #[expect(clippy::disallowed_methods, reason = "becoming the program is what a jailer is for")]
    let mut program = Command::new(format!("/{}", wanted.program_name));
    let used_us = now_us(Clock::Process);
    let error = program
        .env_clear()
        .args(["--id", &wanted.id])
        .args(["--start-time-us", &started_us.to_string()])
        .args(["--start-time-cpu-us", &used_us.to_string()])
        .args(["--parent-cpu-time-us", &used_us.to_string()])
        .args(&wanted.extra)
        .uid(wanted.uid)
        .gid(wanted.gid)
        .exec();
    step("exec into Firecracker")(error)
}

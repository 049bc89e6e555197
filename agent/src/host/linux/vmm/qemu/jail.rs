//! The jailer of QEMU: what `banger-agent jail-qemu` does.
//!
//! Firecracker has a jailer of its own, QEMU has none: `-chroot` and `-runas` begin only once QEMU
//! has opened and parsed everything as root. So the agent starts its own program, which takes the
//! same steps as Firecracker's jailer (`docs/jailer.md`) and then becomes QEMU: control group, open
//! files, mount namespace, device nodes, pidfile, new root, unprivileged user, no way back to
//! privileges. All of QEMU's own code runs in the jail as the VM's user.
//!
//! A Firecracker is static and is copied into its jail; QEMU is linked with forty libraries. They
//! are not copied: the process has a mount namespace of its own, in which the host's `/usr` is
//! mounted read-only into the jail. Outside of that namespace the jail's `usr` is an empty
//! directory, and with the process the mounts are gone. `-sandbox spawn=deny` keeps QEMU from
//! executing anything of what it sees there. Of all that it sees it can write `/run`, with its
//! sockets, its disks and its FIFO, and nothing else: a QEMU that was taken over makes names
//! nowhere else.
//!
//! Its tap is opened for it, as its user, so that the kernel refuses a tap that is not its own; the
//! device of taps is not in the jail. What it may ask of it, and of networks at all, is by
//! [`filter`]. Nor is `/dev/kvm`, unless its guest runs by it. It has an IPC namespace of
//! its own: what it shares by a key is gone with it.
//!
//! Driven by [`launcher`](super::launcher), in a process of one thread. What can go wrong: a step
//! is refused; it is said on standard error, which is the VMM's log, and the process ends. A jail
//! is entered once: what is there already is refused.

use std::convert::Infallible;
use std::ffi::{CString, OsString};
use std::io;
use std::os::fd::{AsRawFd as _, IntoRawFd as _, OwnedFd};
use std::os::unix::ffi::OsStringExt as _;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};
use nix::sys::resource::{Resource, setrlimit};
use nix::sys::stat::{Mode, SFlag, makedev, mknod, umask};
use nix::unistd::{Gid, Uid, chdir, chown, execve, pivot_root, setgroups, setresgid, setresuid};

use super::filter;
use crate::host::linux::network::taps::ioctl;
use crate::host::{VmmKind, in_jail};

/// The directory of the host that the jail sees, read-only. QEMU, its firmware and its libraries
/// lie in it.
pub const LIBRARIES: &str = "/usr";

/// Where libraries are looked for beside it: on most systems symlinks into it.
const MORE_LIBRARIES: [&str; 2] = ["lib", "lib64"];

/// The descriptor that the tap is passed on as.
pub const TAP: i32 = 3;

/// The device node that swallows everything: 1:3.
const NULL: (u64, u64) = (1, 3);

/// What is jailed, and where.
#[derive(Debug, Clone)]
pub struct JailOrder {
    /// The jail's root directory, built and owned by root.
    pub root: PathBuf,
    /// User and group to run as.
    pub uid: u32,
    /// How many files it may have open.
    pub max_files: u32,
    /// The tap that it is given, which belongs to its user.
    pub tap: Option<String>,
    /// Whether its guest is run by KVM, whose device it is given then.
    pub kvm: bool,
    /// The control group's directory, which is there.
    pub cgroup: Option<PathBuf>,
    /// The program, beneath [`LIBRARIES`].
    pub program: PathBuf,
    /// Its arguments.
    pub arguments: Vec<OsString>,
}

/// A step that was refused.
#[derive(Debug, thiserror::Error)]
#[error("could not {step}")]
pub struct Refused {
    /// Which, as it reads after "could not".
    step: &'static str,
    #[source]
    source: io::Error,
}

/// Names the step that an error belongs to.
fn at<E: Into<io::Error>>(step: &'static str) -> impl Fn(E) -> Refused {
    move |error| Refused { step, source: error.into() }
}

/// Enters a jail and becomes the program. Comes back only with an error.
///
/// # Errors
/// The first step that was refused. The process must end then: it is half in the jail.
pub fn enter(order: &JailOrder) -> Result<Infallible, Refused> {
    if let Some(group) = &order.cgroup {
        std::fs::write(group.join("cgroup.procs"), std::process::id().to_string())
            .map_err(at("enter the control group"))?;
    }
    let files = u64::from(order.max_files);
    setrlimit(Resource::RLIMIT_NOFILE, files, files).map_err(at("limit open files"))?;
    setrlimit(Resource::RLIMIT_CORE, 0, 0).map_err(at("forbid core files"))?;
    umask(Mode::empty());
    let tun = order.tap.as_ref().map(|_| ioctl::device()).transpose();
    let tun = tun.map_err(at("open the device of taps"))?;
    unshare(CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWIPC)
        .map_err(at("make namespaces of mounts and of shared memory"))?;
    let none = None::<&str>;
    // What is mounted from here on is seen by this process alone.
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none)
        .map_err(at("make mounts private"))?;
    // A root must be a mount of its own: pivot_root(2).
    mount(Some(&order.root), &order.root, none, MsFlags::MS_BIND, none)
        .map_err(at("mount the jail on itself"))?;
    chdir(&order.root).map_err(at("change to the jail"))?;
    show_libraries()?;
    make_devices(order.uid, order.kvm)?;
    make_directory("run", 0o700)?;
    give("run", order.uid)?;
    write_pidfile()?;
    close_root()?;
    pivot_root(".", ".").map_err(at("change the root"))?;
    umount2(".", MntFlags::MNT_DETACH).map_err(at("let go of the old root"))?;
    chdir("/").map_err(at("change to the new root"))?;
    drop_privileges(order.uid)?;
    if let (Some(tun), Some(tap)) = (&tun, &order.tap) {
        ioctl::attach(tun, tap).map_err(at("open the tap"))?;
    }
    close_all_but_outputs()?;
    if let Some(tap) = tun {
        pass_on(tap)?;
    }
    umask(Mode::from_bits_truncate(0o077));
    filter::set().map_err(|error| at("filter system calls")(io::Error::other(error)))?;
    become_program(order)
}

fn make_directory(path: &str, mode: u32) -> Result<(), Refused> {
    std::fs::create_dir(path).map_err(at("make a directory in the jail"))?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode))
        .map_err(at("set the mode of a directory in the jail"))
}

/// The root stays root's: its user reads and enters it, and writes nowhere but in `run` and into
/// the files that were given to it. The directories above let nobody in from outside.
fn close_root() -> Result<(), Refused> {
    std::fs::set_permissions(".", std::fs::Permissions::from_mode(0o755))
        .map_err(at("set the mode of the jail's root"))
}

fn give(path: &str, uid: u32) -> Result<(), Refused> {
    chown(path, Some(Uid::from_raw(uid)), Some(Gid::from_raw(uid)))
        .map_err(at("give the jail to its user"))
}

/// Mounts a directory or file of the host at a place that is there, read-only.
fn show(host: &Path, place: &str) -> Result<(), Refused> {
    let none = None::<&str>;
    mount(Some(host), place, none, MsFlags::MS_BIND, none)
        .map_err(at("show a file to the jail"))?;
    // A bind takes its flags only in a second step: mount(2).
    let flags = MsFlags::MS_BIND
        | MsFlags::MS_REMOUNT
        | MsFlags::MS_RDONLY
        | MsFlags::MS_NOSUID
        | MsFlags::MS_NODEV;
    mount(none, place, none, flags, none).map_err(at("show a file read-only"))
}

fn show_libraries() -> Result<(), Refused> {
    make_directory("usr", 0o755)?;
    show(Path::new(LIBRARIES), "usr")?;
    for name in MORE_LIBRARIES {
        let host = Path::new("/").join(name);
        match std::fs::symlink_metadata(&host) {
            Ok(found) if found.is_symlink() => {
                let target =
                    std::fs::read_link(&host).map_err(at("read a link to the libraries"))?;
                std::os::unix::fs::symlink(target, name).map_err(at("link to the libraries"))?;
            }
            Ok(found) if found.is_dir() => {
                make_directory(name, 0o755)?;
                show(&host, name)?;
            }
            Ok(_) | Err(_) => {}
        }
    }
    // Where the loader looks for libraries in other places than its own: ld.so(8).
    let cache = Path::new("/etc/ld.so.cache");
    if cache.is_file() {
        make_directory("etc", 0o755)?;
        // Made by a process without a umask: with the mode that it is to have.
        let mut place = std::fs::OpenOptions::new();
        let place = place.write(true).create_new(true).mode(0o444).open("etc/ld.so.cache");
        drop(place.map_err(at("make a place for the loader's cache"))?);
        show(cache, "etc/ld.so.cache")?;
    }
    Ok(())
}

fn make_devices(uid: u32, kvm: bool) -> Result<(), Refused> {
    make_directory("dev", 0o755)?;
    let node = |path: &str, number| {
        mknod(path, SFlag::S_IFCHR, Mode::S_IRUSR | Mode::S_IWUSR, number)
            .map_err(at("make a device node"))?;
        give(path, uid)
    };
    // What QEMU tries the kernel's file locks on.
    node("dev/null", makedev(NULL.0, NULL.1))?;
    // Its number is the kernel's to give. Whether it works was asked before; without it QEMU says
    // so itself.
    if let Some(device) = kvm.then(|| std::fs::metadata("/dev/kvm").ok()).flatten() {
        node("dev/kvm", device.rdev())?;
    }
    Ok(())
}

/// Like Firecracker's jailer: digits, nothing after them.
fn write_pidfile() -> Result<(), Refused> {
    use std::io::Write as _;
    let path = in_jail::pidfile(VmmKind::Qemu).trim_start_matches('/');
    let file = std::fs::OpenOptions::new().write(true).create_new(true).open(path);
    let mut file = file.map_err(at("make the pidfile"))?;
    write!(file, "{}", std::process::id()).map_err(at("write the pidfile"))?;
    file.set_permissions(std::fs::Permissions::from_mode(0o644))
        .map_err(at("set the mode of the pidfile"))
}

fn drop_privileges(uid: u32) -> Result<(), Refused> {
    let (user, group) = (Uid::from_raw(uid), Gid::from_raw(uid));
    setgroups(&[]).map_err(at("leave all groups"))?;
    setresgid(group, group, group).map_err(at("become the jail's group"))?;
    // From root to another user: all capabilities go with it (capabilities(7)).
    setresuid(user, user, user).map_err(at("become the jail's user"))?;
    nix::sys::prctl::set_no_new_privs().map_err(at("give up privileges for good"))
}

/// Passes the tap on, as [`TAP`].
fn pass_on(tap: OwnedFd) -> Result<(), Refused> {
    const STEP: &str = "pass on the tap";
    if tap.as_raw_fd() == TAP {
        rustix::io::fcntl_setfd(&tap, rustix::io::FdFlags::empty()).map_err(at(STEP))?;
    } else {
        #[expect(unsafe_code, reason = "no crate here wraps dup2(2) to a number")]
        // SAFETY: whatever has the number was opened by who started us, and is closed by the exec
        // otherwise; nothing in this process uses it any more.
        let done = unsafe { nix::libc::dup2(tap.as_raw_fd(), TAP) };
        if done < 0 {
            return Err(at(STEP)(io::Error::last_os_error()));
        }
    }
    // Open until the exec, which it outlives by its number.
    let _ = tap.into_raw_fd();
    Ok(())
}

/// Whatever somebody passed on open: nothing but the three standard descriptors goes on.
fn close_all_but_outputs() -> Result<(), Refused> {
    #[expect(unsafe_code, reason = "no crate here wraps close_range(2)")]
    // SAFETY: descriptors are marked to be closed by the exec; nothing in this process uses one of
    // them after it.
    let done = unsafe {
        nix::libc::close_range(3, nix::libc::c_uint::MAX, nix::libc::CLOSE_RANGE_CLOEXEC as i32)
    };
    if done == 0 {
        return Ok(());
    }
    match io::Error::last_os_error() {
        // A kernel before 5.11: what the agent opens is closed by the exec anyway.
        error if matches!(error.raw_os_error(), Some(nix::libc::ENOSYS | nix::libc::EINVAL)) => {
            Ok(())
        }
        error => Err(at("close what is open")(error)),
    }
}

fn become_program(order: &JailOrder) -> Result<Infallible, Refused> {
    let text = |word: OsString| {
        CString::new(word.into_vec())
            .map_err(|error| at("pass an argument")(io::Error::from(error)))
    };
    let program = text(order.program.clone().into_os_string())?;
    let mut words = vec![program.clone()];
    for argument in &order.arguments {
        words.push(text(argument.clone())?);
    }
    execve(&program, &words, &[] as &[&std::ffi::CStr]).map_err(at("become the VMM"))
}

#[cfg(test)]
mod tests;

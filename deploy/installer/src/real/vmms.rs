//! Which process is the VMM of which VM of this machine's agent, by what nobody but root can make
//! so.
//!
//! Driven by every look at the guests. What a process says of itself (its name, its arguments) is
//! anybody's to write. It is a VM's by its root directory, which is the VM's jail; where that jail
//! is gone, by its words only if it also runs as root or as one of the agent's own users and behind
//! the program of a VMM. Everybody else's is passed over: no reason to wait, to refuse or to take
//! an update back. The agent judges the same way (`agent/src/jail/process.rs`), with its claim in
//! `/run/banger-agents` for its users. What can go wrong: a process ends while it is looked at, and
//! is none.

use std::collections::BTreeMap;
use std::fs;
use std::ops::Range;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use procfs::process::{Process, Stat, Status};
use rustix::fs::{AtFlags, OFlags, StatxFlags, makedev, statx};
use serde::Deserialize;
use uuid::Uuid;

use crate::guests::Guest;

/// Where agents claim their share of a machine (`agent/src/instance.rs`).
pub(super) const CLAIMS: &str = "/run/banger-agents";

/// What the kernel calls VMMs, and what their programs' files are called.
const FIRECRACKER: &str = "firecracker";
const QEMU: &str = "qemu-system-x86";
const QEMU_PROGRAM: &str = "qemu-system-x86_64";

/// Where the jails of each VMM lie below the directory of jails.
const JAILS: [&str; 2] = [FIRECRACKER, "qemu"];

/// The agent names a QEMU's guest after its VM.
const QEMU_PREFIX: &str = "banger-";

/// A claim is shorter.
const MOST_OF_A_CLAIM: u64 = 16 * 1024;

/// A directory, wherever it is seen from: device and inode.
type DirId = (u64, u64);

/// What one agent has of this machine.
#[derive(Debug, Default)]
pub(super) struct Share {
    /// The VMs that have a directory.
    vms: Vec<String>,
    /// The VM of each jail's root.
    jails: BTreeMap<DirId, String>,
    /// The user ids of its guests.
    users: Vec<Range<u64>>,
}

/// The part of an agent's claim that is read here.
#[derive(Debug, Deserialize)]
struct Claim {
    state_dir: PathBuf,
    first_uid: u32,
    uids: u32,
    #[serde(default)]
    earlier: Vec<(u32, u32)>,
}

impl Share {
    /// Of the VMs with these names, whose jails lie in a directory, and of what the agent with that
    /// state directory claims.
    pub(super) fn read(vms: Vec<String>, jails: &Path, claims: &Path, state_dir: &Path) -> Self {
        let mut share = Self { users: users(claims, state_dir), ..Self::default() };
        for vm in vms {
            for vmm in JAILS {
                let root = jails.join(vmm).join(&vm).join("root");
                // Of root's own making, down to itself: a link there would be somebody's trick.
                if let Ok(seen) = fs::symlink_metadata(root)
                    && seen.is_dir()
                {
                    share.jails.insert((seen.dev(), seen.ino()), vm.clone());
                }
            }
            share.vms.push(vm);
        }
        share
    }

    /// The VMM of each VM that has one: of several processes in a jail the oldest, which has
    /// started the others.
    pub(super) fn guests(&self, all: impl Iterator<Item = Process>) -> Vec<Guest> {
        let mut oldest: BTreeMap<String, Guest> = BTreeMap::new();
        for guest in all.filter_map(|process| self.guest(&process)) {
            let is_older =
                |known: &Guest| (guest.start_ticks, guest.pid) < (known.start_ticks, known.pid);
            if oldest.get(&guest.vm).is_none_or(is_older) {
                oldest.insert(guest.vm.clone(), guest);
            }
        }
        oldest.into_values().collect()
    }

    /// The VM of a VMM's process.
    pub(super) fn guest(&self, process: &Process) -> Option<Guest> {
        let stat = process.stat().ok()?;
        if is_dead(&stat) {
            return None;
        }
        let pid = u32::try_from(stat.pid).ok()?;
        let vm = match root_of(process).and_then(|root| self.jails.get(&root)) {
            Some(vm) => vm.clone(),
            None => self.told(process, &stat)?,
        };
        Some(Guest { vm, pid, start_ticks: stat.starttime })
    }

    /// The VM that a process outside of every jail says it runs, if it may be believed.
    fn told(&self, process: &Process, stat: &Stat) -> Option<String> {
        // Before its words are read: there may be any number of them, and of strangers.
        if !is_vmms(&stat.comm) || !self.is_ours(&process.status().ok()?) || !runs_vmm(process) {
            return None;
        }
        let words = process.cmdline().ok()?;
        // In the form that a directory's name has.
        let vm = Uuid::parse_str(jail_of(&stat.comm, &words)?).ok()?.to_string();
        // Where there is a jail, its VMM is in it.
        let has_jail = self.jails.values().any(|with_jail| *with_jail == vm);
        (self.vms.contains(&vm) && !has_jail).then_some(vm)
    }

    /// Whether a process runs, by all four of its users, as root or as one that guests run as.
    fn is_ours(&self, status: &Status) -> bool {
        let user = status.ruid;
        let all_four = [status.euid, status.suid, status.fuid].iter().all(|other| *other == user);
        all_four && (user == 0 || self.users.iter().any(|ids| ids.contains(&u64::from(user))))
    }
}

/// The user ids that the agent with a state directory claims for its guests; none where it claims
/// nothing, or a claim that can't be understood.
fn users(claims: &Path, state_dir: &Path) -> Vec<Range<u64>> {
    let range = |(first, count): (u32, u32)| u64::from(first)..u64::from(first) + u64::from(count);
    let claims = fs::read_dir(claims).into_iter().flatten().flatten().filter_map(|entry| {
        let path = entry.path();
        let is_claim = path.extension().is_some_and(|end| end == "json");
        let seen = fs::symlink_metadata(&path).ok()?;
        if !is_claim || !seen.is_file() || seen.len() > MOST_OF_A_CLAIM {
            return None;
        }
        serde_json::from_slice::<Claim>(&fs::read(path).ok()?).ok()
    });
    let own = claims.filter(|claim| claim.state_dir == state_dir);
    own.flat_map(|claim| {
        std::iter::once((claim.first_uid, claim.uids)).chain(claim.earlier).map(range)
    })
    .collect()
}

/// Whether all of a process is dead: its first thread may end before the others do.
fn is_dead(stat: &Stat) -> bool {
    matches!(stat.state, 'Z' | 'X' | 'x') && stat.num_threads <= 1
}

/// A process' root directory as it is, not by name: by `/proc/<pid>/root`, which the kernel makes.
/// A stranger's may be in a file system that he serves, and has stopped serving: it is not walked
/// through, and its attributes are those that the kernel has (as the agent looks, too).
fn root_of(process: &Process) -> Option<DirId> {
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    let root = process.open_relative_flags("root", flags).ok()?;
    let as_known = AtFlags::EMPTY_PATH | AtFlags::STATX_DONT_SYNC;
    let seen = statx(root, "", as_known, StatxFlags::INO).ok()?;
    Some((makedev(seen.stx_dev_major, seen.stx_dev_minor), seen.stx_ino))
}

/// Whether the file that a process executes is called what a VMM's is.
fn runs_vmm(process: &Process) -> bool {
    let Ok(program) = process.exe() else { return false };
    let name = program.file_name().map(|name| name.to_string_lossy().into_owned());
    let name = name.as_deref().map(|name| name.strip_suffix(" (deleted)").unwrap_or(name));
    matches!(name, Some(FIRECRACKER | QEMU_PROGRAM))
}

fn is_vmms(comm: &str) -> bool {
    [FIRECRACKER, QEMU].contains(&comm)
}

/// The jail, named after its VM, that a VMM's command line tells: `/firecracker --id <id> …`, or
/// `qemu-system-x86_64 … -name banger-<id> …`. The agent writes both (`agent/src/host/kind.rs`).
fn jail_of<'a>(comm: &str, words: &'a [String]) -> Option<&'a str> {
    let after = |flag: &str| {
        let at = words.iter().position(|word| word == flag)?;
        words.get(at + 1).map(String::as_str)
    };
    match comm {
        FIRECRACKER => after("--id"),
        QEMU => after("-name")?.strip_prefix(QEMU_PREFIX),
        _ => None,
    }
}

#[cfg(test)]
mod tests;

//! What is read for the recommendations: small files, as text.
//!
//! Below a root directory, so that a tree of fixtures is looked at as a machine is. A file that is
//! not there or cannot be read is `None`; what that means is the judges' affair.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use banger_wire::real_paths::real;

use crate::config::{AgentConfig, open_metadata};
use crate::host::exec::Tool;
use crate::instance::ids::{self, Owned};

/// The user ids one host can give its VMs: the largest guest subnet is a /16.
const VM_USERS: u64 = 65_536;

/// What was read.
#[derive(Debug, Clone, Default)]
pub(in crate::doctor) struct MachineSeen {
    /// As Rust names it: "x86_64" or "aarch64".
    pub(super) arch: String,
    pub(super) release: Option<String>,
    pub(super) command_line: Option<String>,
    pub(super) seccomp: Option<String>,
    pub(super) printk: Option<String>,
    pub(super) mounts: Option<String>,
    pub(super) controllers: Option<String>,
    pub(super) limits: Option<String>,
    pub(super) pid_max: Option<String>,
    pub(super) threads_max: Option<String>,
    /// How many neighbours the host remembers, and how many it looks for on behalf of guests.
    pub(super) neighbours: Option<String>,
    pub(super) max_neighbours: u32,
    /// How many connections the host tracks, and how many of one guest.
    pub(super) tracked: Option<String>,
    pub(super) max_connections: u32,
    /// The known metadata services that guests are not kept from.
    pub(super) open_metadata: Vec<String>,
    /// Whether udev runs; banger's rule for it; and where the files of guests' disks lie.
    pub(super) udev: bool,
    pub(super) udev_rules: Option<String>,
    pub(super) disk_dirs: Vec<PathBuf>,
    pub(super) swaps: Option<String>,
    pub(super) ksm: Option<String>,
    pub(super) memory_controllers: usize,
    pub(super) smt_active: Option<String>,
    pub(super) smt_control: Option<String>,
    /// By name, as in `/sys/devices/system/cpu/vulnerabilities`; empty when there is none.
    pub(super) vulnerabilities: BTreeMap<String, String>,
    pub(super) nx_huge_pages: Option<String>,
    pub(super) min_timer_period: Option<String>,
    pub(super) halt_poll: Option<String>,
    /// Ids that somebody has.
    pub(super) owned: Vec<Owned>,
    /// The first and the last user id a VM may have, where an operator chose them.
    pub(super) vm_users: Option<(u64, u64)>,
    /// Paths a jailer is given, or above one, that somebody who is not root may change.
    pub(super) changeable: Vec<String>,
}

impl MachineSeen {
    /// Looks at the machine whose root directory this is.
    pub(in crate::doctor) fn read(root: &Path, config: &AgentConfig) -> Self {
        let text = |path: &str| {
            fs::read_to_string(root.join(path)).ok().map(|text| text.trim_end().to_owned())
        };
        Self {
            arch: std::env::consts::ARCH.to_owned(),
            release: text("proc/sys/kernel/osrelease"),
            command_line: text("proc/cmdline"),
            seccomp: text("proc/sys/kernel/seccomp/actions_avail"),
            printk: text("proc/sys/kernel/printk"),
            mounts: text("proc/self/mounts"),
            controllers: text("sys/fs/cgroup/cgroup.controllers"),
            limits: text("proc/self/limits"),
            pid_max: text("proc/sys/kernel/pid_max"),
            threads_max: text("proc/sys/kernel/threads-max"),
            neighbours: text("proc/sys/net/ipv4/neigh/default/gc_thresh3"),
            max_neighbours: config.guests.max_neighbours,
            tracked: text("proc/sys/net/netfilter/nf_conntrack_max"),
            max_connections: config.guests.max_connections,
            open_metadata: open_metadata(&config.guests.closed_addresses)
                .iter()
                .map(ToString::to_string)
                .collect(),
            udev: root.join("run/udev/control").exists(),
            // The first of one name counts.
            udev_rules: ["etc", "run", "usr/lib", "lib"]
                .iter()
                .find_map(|above| text(&format!("{above}/udev/rules.d/09-banger.rules"))),
            disk_dirs: disk_dirs(root, config),
            swaps: text("proc/swaps"),
            ksm: text("sys/kernel/mm/ksm/run"),
            memory_controllers: memory_controllers(&root.join("sys/devices/system/edac/mc")),
            smt_active: text("sys/devices/system/cpu/smt/active"),
            smt_control: text("sys/devices/system/cpu/smt/control"),
            vulnerabilities: texts(&root.join("sys/devices/system/cpu/vulnerabilities")),
            nx_huge_pages: text("sys/module/kvm/parameters/nx_huge_pages"),
            min_timer_period: text("sys/module/kvm/parameters/min_timer_period_us"),
            halt_poll: text("sys/module/kvm/parameters/halt_poll_ns"),
            owned: ids::read(root),
            vm_users: config.guests.uid_base.map(|first| {
                let first = u64::from(first);
                (first, first + VM_USERS - 1)
            }),
            changeable: changeable(root, &jailer_paths(config)),
        }
    }
}

/// Where the files below guests' disks lie, or will, as the kernel calls the places.
fn disk_dirs(root: &Path, config: &AgentConfig) -> Vec<PathBuf> {
    [config.state_dir.clone(), config.images()].map(|path| real(root, &path)).into()
}

/// What the jailer is given: the VMM, its chroot base, and the jailer itself.
fn jailer_paths(config: &AgentConfig) -> Vec<PathBuf> {
    let linux = config.linux();
    let named = |tool: Tool| {
        let found = || {
            crate::host::exec::search_dirs()
                .into_iter()
                .map(|dir| dir.join(tool.name()))
                .find(|path| path.is_file())
        };
        linux.tools.get(&tool).cloned().or_else(found)
    };
    let mut paths = vec![config.jails()];
    paths.extend([Tool::Firecracker, Tool::Jailer].into_iter().filter_map(named));
    paths
}

/// Which of the paths and the directories above them are owned by somebody else than root, or may
/// be written by others. A sticky directory (`/tmp`) lets nobody replace what is another's.
fn changeable(root: &Path, paths: &[PathBuf]) -> Vec<String> {
    const STICKY: u32 = 0o1000;
    const OTHERS_WRITE: u32 = 0o022;
    let mut found = Vec::new();
    for path in paths {
        for above in path.ancestors() {
            let Ok(inside) = above.strip_prefix("/") else { continue };
            // What is not there yet is made by root.
            let Ok(metadata) = fs::metadata(root.join(inside)) else { continue };
            let open = metadata.mode() & OTHERS_WRITE != 0 && metadata.mode() & STICKY == 0;
            let shown = above.display().to_string();
            if (open || metadata.uid() != 0) && !found.contains(&shown) {
                found.push(shown);
            }
        }
    }
    found.sort();
    found
}

/// Memory controllers with error correction that the kernel watches.
fn memory_controllers(dir: &Path) -> usize {
    let Ok(listing) = fs::read_dir(dir) else { return 0 };
    let is_one = |name: &str| {
        let digits = name.strip_prefix("mc").unwrap_or_default();
        !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit())
    };
    listing.flatten().filter(|entry| entry.file_name().to_str().is_some_and(is_one)).count()
}

/// Every file of a directory, by its name.
fn texts(dir: &Path) -> BTreeMap<String, String> {
    let Ok(listing) = fs::read_dir(dir) else { return BTreeMap::new() };
    listing
        .flatten()
        .filter_map(|entry| {
            let name = entry.file_name().into_string().ok()?;
            let text = fs::read_to_string(entry.path()).ok()?;
            Some((name, text.trim().to_owned()))
        })
        .collect()
}

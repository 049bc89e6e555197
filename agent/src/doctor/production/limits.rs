//! The kernel: its version, what it filters, how much it prints, and how much of everything it
//! allows.

use banger_proto::words::counted;

use super::{finding, number};
use crate::doctor::Check;
use crate::doctor::production::seen::MachineSeen;

/// The oldest kernel that Firecracker is tested on (`docs/kernel-policy.md`).
const OLDEST_KERNEL: (u32, u32) = (5, 10);

/// Controllers by which guests are kept within bounds.
const CONTROLLERS: [&str; 4] = ["cpu", "io", "memory", "pids"];

/// A pidfd, three FIFOs and a few sockets for each of a thousand VMs.
const OPEN_FILES: u64 = 16_384;

/// Threads of a thousand VMs with some vCPUs each, and the host's own.
const PROCESSES: u64 = 65_536;

/// `gc_thresh3` in `60-banger.conf`.
const SHIPPED_NEIGHBOURS: u64 = 32_768;

/// For how many guests that have all the connections that they may the host's table should have
/// room.
const GREEDY_GUESTS: u64 = 256;

/// "The host kernel must be regularly patched", and Firecracker's kernel policy.
pub(super) fn host_kernel(seen: &MachineSeen) -> Check {
    let release = seen.release.as_deref().unwrap_or("unknown");
    let found = match kernel_version(release) {
        Some(version) if version >= OLDEST_KERNEL => Ok(format!("the kernel is {release}")),
        _ => Err((
            format!("the kernel is {release}; Firecracker is tested on 5.10, 6.1 and 6.18"),
            "apt-get install linux-image-amd64, and reboot".to_owned(),
        )),
    };
    finding("host-kernel", found)
}

/// Reads `6.1.0-18-cloud-amd64`.
pub(super) fn kernel_version(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit());
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

/// "Seccomp": banger never turns Firecracker's filters off, so the kernel must have them.
pub(super) fn seccomp(seen: &MachineSeen) -> Check {
    let actions = seen.seccomp.as_deref().unwrap_or_default();
    let found = if actions.split_whitespace().any(|action| action == "trap") {
        Ok("the kernel filters system calls".to_owned())
    } else {
        Err((
            "the kernel filters no system calls".to_owned(),
            "boot a kernel with CONFIG_SECCOMP_FILTER".to_owned(),
        ))
    };
    finding("seccomp", found)
}

/// "Logging and performance": `quiet loglevel=1`.
pub(super) fn console_level(seen: &MachineSeen) -> Check {
    // The first of four numbers is the level below which messages go to the console (proc(5)).
    let found = match seen.printk.as_deref().and_then(number) {
        Some(level) if level <= 1 => Ok("the kernel prints next to nothing".to_owned()),
        Some(level) => Err((
            format!("messages below level {level} go to the console, and each tap waits for them"),
            "sysctl -w kernel.printk='1 4 1 7', and `quiet loglevel=1` on the kernel's command line"
                .to_owned(),
        )),
        None => Ok("this kernel prints nothing".to_owned()),
    };
    finding("console-level", found)
}

/// "Jailer Configuration": without these a limit on a guest cannot be set.
pub(super) fn controllers(seen: &MachineSeen) -> Check {
    let there = seen.controllers.as_deref().unwrap_or_default();
    let missing: Vec<_> =
        CONTROLLERS.into_iter().filter(|c| !there.split_whitespace().any(|w| w == *c)).collect();
    let found = if missing.is_empty() {
        Ok(format!("guests can be bounded by {}", CONTROLLERS.join(", ")))
    } else {
        Err((
            format!("guests cannot be bounded by {}", missing.join(", ")),
            "boot with systemd.unified_cgroup_hierarchy=1, without cgroup_disable=".to_owned(),
        ))
    };
    finding("controllers", found)
}

/// Resource limits: open files of the agent, which holds some for each VM.
pub(super) fn open_files(seen: &MachineSeen) -> Check {
    let found = match seen.limits.as_deref().and_then(most_open_files) {
        Some(most) if most >= OPEN_FILES => Ok(format!("a process may open {most} files")),
        Some(most) => Err((
            format!(
                "a process may open only {most} files, enough for {}",
                counted(most / 16, "VM")
            ),
            "run the agent by its unit, or raise LimitNOFILE= there".to_owned(),
        )),
        None => Err((
            "it cannot be told how many files a process may open".to_owned(),
            "look at /proc/self/limits".to_owned(),
        )),
    };
    finding("open-files", found)
}

/// The hard limit in `/proc/self/limits`.
pub(super) fn most_open_files(limits: &str) -> Option<u64> {
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    match line.split_whitespace().nth(1)? {
        "unlimited" => Some(u64::MAX),
        most => most.parse().ok(),
    }
}

/// Resource limits: processes and threads of the whole host.
pub(super) fn processes(seen: &MachineSeen) -> Check {
    let of = |text: &Option<String>| text.as_deref().and_then(number).unwrap_or(0);
    let most = of(&seen.pid_max).min(of(&seen.threads_max));
    let found = if most >= PROCESSES {
        Ok(format!("the host may have {most} threads"))
    } else {
        Err((
            format!("the host may have only {most} threads"),
            "sysctl -w kernel.pid_max=4194304 kernel.threads-max=1048576 (60-banger.conf)"
                .to_owned(),
        ))
    };
    finding("processes", found)
}

/// The kernel's one table of neighbours: the half of it is the host's own. The entries of pinned
/// guests are permanent, which the table's bound does not count.
pub(super) fn neighbours(seen: &MachineSeen) -> Check {
    let of_guests = u64::from(seen.max_neighbours);
    let found = match (seen.neighbours.as_deref().and_then(number), of_guests) {
        (_, 0) => Err((
            "a guest that scans can fill the host's table of neighbours".to_owned(),
            "set guests.max_neighbours in /etc/banger/agent.toml".to_owned(),
        )),
        (Some(most), of_guests) if most >= 2 * of_guests => {
            Ok(format!("the host remembers {most} neighbours, {of_guests} for guests"))
        }
        (Some(most), of_guests) => Err((
            format!(
                "the host remembers {most} neighbours, and guests that scan take {of_guests} of them"
            ),
            format!(
                "sysctl -w net.ipv4.neigh.default.gc_thresh3={} (60-banger.conf), or lower \
                 guests.max_neighbours",
                (2 * of_guests).max(SHIPPED_NEIGHBOURS)
            ),
        )),
        (None, _) => Err((
            "it cannot be told how many neighbours the host remembers".to_owned(),
            "sysctl net.ipv4.neigh.default.gc_thresh3".to_owned(),
        )),
    };
    finding("neighbours", found)
}

/// Tracked connections, of which all guests together can use up the host's table.
pub(super) fn connections(seen: &MachineSeen) -> Check {
    let each = u64::from(seen.max_connections);
    let found = match (seen.tracked.as_deref().and_then(number), each) {
        (None, _) => Ok("the kernel tracks no connections yet".to_owned()),
        (Some(_), 0) => Err((
            "one guest can fill the host's table of connections".to_owned(),
            "set guests.max_connections in /etc/banger/agent.toml".to_owned(),
        )),
        (Some(most), each) if most >= GREEDY_GUESTS.saturating_mul(each) => {
            Ok(format!("the host tracks {most} connections, {each} of a guest"))
        }
        (Some(most), each) => Err((
            format!(
                "the host tracks {most} connections: {} guests that open {each} each fill the table",
                most / each
            ),
            format!(
                "sysctl -w net.netfilter.nf_conntrack_max={} (60-banger.conf), or lower \
                 guests.max_connections",
                GREEDY_GUESTS.saturating_mul(each)
            ),
        )),
    };
    finding("connections", found)
}

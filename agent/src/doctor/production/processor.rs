//! The processor and KVM: side channels, their mitigations, and what guests cost the host.

use super::limits::kernel_version;
use super::{finding, number};
use crate::doctor::Check;
use crate::doctor::production::seen::MachineSeen;

/// Words on the kernel's command line that take a mitigation away
/// (`Documentation/admin-guide/kernel-parameters.txt`).
const SWITCHES: [&str; 22] = [
    "gather_data_sampling=off",
    "indirect_target_selection=off",
    "kpti=0",
    "kpti=off",
    "l1d_flush=off",
    "l1tf=off",
    "mds=off",
    "mitigations=off",
    "mmio_stale_data=off",
    "nopti",
    "nospec_store_bypass_disable",
    "nospectre_bhb",
    "nospectre_v1",
    "nospectre_v2",
    "pti=off",
    "reg_file_data_sampling=off",
    "retbleed=off",
    "spec_rstack_overflow=off",
    "spec_store_bypass_disable=off",
    "spectre_v2=off",
    "srbds=off",
    "tsx_async_abort=off",
];

/// The kernel's default of `kvm.min_timer_period_us`, in microseconds.
const TIMER_DEFAULT: u64 = 200;

/// The default of `kvm.halt_poll_ns` on x86-64, in nanoseconds; other machines have less.
const HALT_POLL_DEFAULT: u64 = 200_000;

/// "Disable SMT".
pub(super) fn smt(seen: &MachineSeen) -> Check {
    let active = seen.smt_active.as_deref().map(str::trim);
    let found = match (active, seen.smt_control.as_deref().map(str::trim)) {
        (Some("1"), _) => Err((
            "two guests may share a core, and each other's secrets, by SMT".to_owned(),
            "echo off >/sys/devices/system/cpu/smt/control, and `nosmt` on the kernel's command \
             line"
                .to_owned(),
        )),
        (Some("0"), Some(control)) => Ok(format!("no two guests share a core (SMT: {control})")),
        (Some("0"), None) => Ok("no two guests share a core".to_owned()),
        _ => Ok("the kernel knows no SMT here".to_owned()),
    };
    finding("smt", found)
}

/// "Mitigating hardware vulnerabilities": those the kernel itself calls open.
pub(super) fn vulnerabilities(seen: &MachineSeen) -> Check {
    let open: Vec<_> = seen
        .vulnerabilities
        .iter()
        .filter(|(_, state)| is_open(state))
        .map(|(name, _)| name.as_str())
        .collect();
    let found = match (seen.vulnerabilities.len(), &open[..]) {
        (0, _) => Err((
            "the kernel does not say which vulnerabilities of the processor are open".to_owned(),
            "boot a kernel that has /sys/devices/system/cpu/vulnerabilities".to_owned(),
        )),
        (known, []) => Ok(format!("none of {known} known vulnerabilities is open")),
        (_, open) => Err((
            format!("open to guests: {}", open.join(", ")),
            "apt-get install intel-microcode amd64-microcode, remove mitigations=off from the \
             kernel's command line, reboot; grep . /sys/devices/system/cpu/vulnerabilities/*"
                .to_owned(),
        )),
    };
    finding("vulnerabilities", found)
}

/// Whether the text of a vulnerability says that nothing holds it.
pub(super) fn is_open(state: &str) -> bool {
    let state = state.strip_prefix("KVM: ").unwrap_or(state);
    state.starts_with("Vulnerable") || state.starts_with("Processor vulnerable")
}

/// The same, asked for by the command line.
pub(super) fn mitigations(seen: &MachineSeen) -> Check {
    let line = seen.command_line.as_deref().unwrap_or_default();
    let off: Vec<_> = line.split_whitespace().filter(|word| SWITCHES.contains(word)).collect();
    let found = if off.is_empty() {
        Ok("the kernel's command line takes no mitigation away".to_owned())
    } else {
        let off = off.join(" ");
        Err((
            format!("the kernel's command line takes mitigations away: {off}"),
            format!(
                "remove {off} from GRUB_CMDLINE_LINUX in /etc/default/grub; update-grub; reboot"
            ),
        ))
    };
    finding("mitigations", found)
}

/// "Load updated microcode as soon as possible".
pub(super) fn microcode(seen: &MachineSeen) -> Check {
    let lacking = |(name, state): (&String, &String)| {
        let old = name == "old_microcode" && is_open(state);
        (old || state.to_ascii_lowercase().contains("no microcode")).then(|| name.clone())
    };
    let lacking: Vec<_> = seen.vulnerabilities.iter().filter_map(lacking).collect();
    let found = if lacking.is_empty() {
        Ok("no mitigation waits for newer microcode".to_owned())
    } else {
        Err((
            format!("the processor's microcode is too old for {}", lacking.join(", ")),
            "apt-get install intel-microcode amd64-microcode (non-free-firmware), and reboot"
                .to_owned(),
        ))
    };
    finding("microcode", found)
}

/// "Constrain CPU overhead caused by kvm-pit kernel threads"; x86-64 only.
pub(super) fn kvm_pit(seen: &MachineSeen) -> Option<Check> {
    if seen.arch != "x86_64" {
        return None;
    }
    let found = match seen.min_timer_period.as_deref().map(number) {
        Some(Some(period)) if period > TIMER_DEFAULT => {
            Ok(format!("a guest's timer fires at most every {period} µs"))
        }
        Some(Some(period)) => Err((
            format!(
                "a guest may have a timer every {period} µs, at the cost of a thread of the kernel \
                 that is counted to nobody"
            ),
            "echo options kvm min_timer_period_us=500 >/etc/modprobe.d/kvm.conf, try your \
             workloads with it, and load kvm again"
                .to_owned(),
        )),
        Some(None) | None => Err((
            "KVM is not loaded: its limit of timers cannot be read".to_owned(),
            "modprobe kvm_intel or kvm_amd".to_owned(),
        )),
    };
    Some(finding("kvm-pit", found))
}

/// How long the host spins for a guest that waits. The kernel's own advice
/// (`Documentation/virt/kvm/halt-polling.rst`): more than the default burns processors.
pub(super) fn halt_poll(seen: &MachineSeen) -> Check {
    let found = match seen.halt_poll.as_deref().map(number) {
        Some(Some(nanos)) if nanos > HALT_POLL_DEFAULT => Err((
            format!("the host spins {nanos} ns for each guest that waits, counted to nobody"),
            format!("echo {HALT_POLL_DEFAULT} >/sys/module/kvm/parameters/halt_poll_ns"),
        )),
        Some(Some(nanos)) => {
            Ok(format!("the host spins at most {nanos} ns for a guest that waits"))
        }
        Some(None) | None => Ok("KVM is not loaded, or does not spin".to_owned()),
    };
    finding("kvm-halt-poll", found)
}

/// "VM Physical counter behaviour"; ARM only.
pub(super) fn counter_offset(seen: &MachineSeen) -> Option<Check> {
    if seen.arch != "aarch64" {
        return None;
    }
    let version = seen.release.as_deref().and_then(kernel_version);
    let found = match version {
        Some(version) if version >= (6, 4) => Ok("guests do not see the host's counter".to_owned()),
        _ => Err((
            "guests read the host's physical counter: the kernel is older than 6.4".to_owned(),
            "boot a kernel of 6.4 or later".to_owned(),
        )),
    };
    Some(finding("counter-offset", found))
}

/// Whether the processor needs huge pages not to be executable for guests' sake.
fn multihit(seen: &MachineSeen) -> bool {
    let state = seen.vulnerabilities.get("itlb_multihit");
    !state.is_some_and(|state| state.starts_with("Not affected"))
}

/// "Linux 6.1 boot time regressions", mitigation 2: only where iTLB multihit does not matter. The
/// other way round, the mitigation has to be on.
pub(super) fn nx_huge_pages(seen: &MachineSeen) -> Check {
    let setting = seen.nx_huge_pages.as_deref().map(str::trim);
    let found = match (setting, multihit(seen)) {
        (Some("never" | "N" | "off"), true) => Err((
            "a guest can stop the host by iTLB multihit: kvm.nx_huge_pages is off".to_owned(),
            "echo auto >/sys/module/kvm/parameters/nx_huge_pages, and remove it from \
             /etc/modprobe.d"
                .to_owned(),
        )),
        (Some(setting), true) => Ok(format!("iTLB multihit is held (nx_huge_pages: {setting})")),
        (Some("never"), false) => Ok("no recovery thread is made for each VM".to_owned()),
        (Some(setting), false) if is_slow_kernel(seen) => Err((
            format!(
                "each start of a VM waits for a thread that this processor does not need \
                 (nx_huge_pages: {setting})"
            ),
            "echo options kvm nx_huge_pages=never >/etc/modprobe.d/kvm.conf, and load kvm again"
                .to_owned(),
        )),
        (Some(setting), false) => {
            Ok(format!("nx_huge_pages is {setting}, which costs nothing here"))
        }
        (None, _) => Ok("KVM is not loaded, or has no nx_huge_pages".to_owned()),
    };
    finding("nx-huge-pages", found)
}

/// Since 6.0 moving a task between control groups is slow unless it is favoured.
fn is_slow_kernel(seen: &MachineSeen) -> bool {
    seen.release.as_deref().and_then(kernel_version).is_none_or(|version| version >= (6, 0))
}

/// "Linux 6.1 boot time regressions", mitigation 1.
pub(super) fn favordynmods(seen: &MachineSeen) -> Check {
    let never = seen.nx_huge_pages.as_deref().map(str::trim) == Some("never");
    let favoured = seen.mounts.as_deref().is_some_and(has_favordynmods);
    let found = if favoured {
        Ok("moving tasks between control groups is favoured".to_owned())
    } else if !is_slow_kernel(seen) {
        Ok("this kernel moves tasks between control groups fast".to_owned())
    } else if never && !multihit(seen) {
        Ok("not needed: KVM moves no thread at the start of a VM".to_owned())
    } else {
        Err((
            "each start of a VM waits for control groups".to_owned(),
            "mount -o remount,favordynmods /sys/fs/cgroup".to_owned(),
        ))
    };
    finding("favordynmods", found)
}

/// Whether the control groups of version 2 are mounted with the option.
pub(super) fn has_favordynmods(mounts: &str) -> bool {
    mounts.lines().any(|line| {
        let mut words = line.split_whitespace().skip(2);
        words.next() == Some("cgroup2")
            && words.next().is_some_and(|options| options.split(',').any(|o| o == "favordynmods"))
    })
}

//! Firecracker's recommendations for hosts in production, each as a check.
//!
//! From its `docs/prod-host-setup.md` and `docs/kernel-policy.md` (release 1.16), and the kernel's
//! `Documentation/admin-guide/hw-vuln`. Driven by `doctor`: [`seen::MachineSeen`] reads files of
//! `/proc`, `/sys` and `/etc`, everything here is a pure function of what was read. What does not
//! follow a recommendation is a warning, because guests run all the same; `doctor --production`
//! makes it a failure. What banger does by itself (a jail and a user for each VM, the default
//! seccomp filters, bounded logs and consoles, no way to the metadata address) is no check;
//! docs/OPERATIONS.md has the whole list.
//!
//! What can go wrong: a file is not there, because the kernel is older or built otherwise. Where
//! that means "cannot be the case" it is well, else the check says that it cannot tell.

use super::Check;

mod access;
mod limits;
mod memory;
mod processor;
pub(super) mod seen;

use seen::MachineSeen;

/// All of them, in the order of Firecracker's document.
pub(super) fn checks(seen: &MachineSeen) -> Vec<Check> {
    let mut checks = vec![
        limits::host_kernel(seen),
        limits::seccomp(seen),
        limits::console_level(seen),
        access::program_paths(seen),
        access::vm_users(seen),
        limits::controllers(seen),
        limits::open_files(seen),
        limits::processes(seen),
        limits::neighbours(seen),
        limits::connections(seen),
        access::metadata(seen),
        access::guest_disks(seen),
    ];
    checks.extend(processor::kvm_pit(seen));
    checks.push(processor::halt_poll(seen));
    checks.extend([memory::swap(seen), memory::ksm(seen), memory::error_correction(seen)]);
    checks.extend([
        processor::smt(seen),
        processor::vulnerabilities(seen),
        processor::mitigations(seen),
        processor::microcode(seen),
    ]);
    checks.extend(processor::counter_offset(seen));
    checks.extend([processor::nx_huge_pages(seen), processor::favordynmods(seen)]);
    checks
}

/// A finding about a recommendation: `Ok` with what was found, or `Err` with that and what mends
/// it.
fn finding(name: &'static str, found: Result<String, (String, String)>) -> Check {
    let (ok, message, mend) = match found {
        Ok(message) => (true, message, String::new()),
        Err((message, mend)) => (false, message, mend),
    };
    Check { name, ok, required: false, production: true, message, mend }
}

/// The first number of a text.
fn number(text: &str) -> Option<u64> {
    text.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests;

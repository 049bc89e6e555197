//! What a QEMU may not ask the kernel, whatever it has become: a seccomp filter (seccomp(2)) that
//! it is born with. It is beside QEMU's own (`-sandbox`), which knows nothing of networks.
//!
//! A VMM holds its tap open, and the tun device answers requests on that descriptor without asking
//! for a privilege (`__tun_chr_ioctl`, `drivers/net/tun.c`): among them `SIOCSIFHWADDR`. A tap that
//! takes its neighbour's Ethernet address has the bridge hand the neighbour's frames to itself, and
//! so cuts it off. Of the requests to the tun device those are left that QEMU makes of a tap that
//! it is given; of those to sockets and interfaces, none. Sockets are local ones, and none is
//! connected by QEMU. What could do the same another way is shut, too: rings of requests that no
//! filter sees (`io_uring`), and user namespaces, in which it would have all privileges over a
//! network of its own.
//!
//! Nothing of it outlives it or falls to its parent, the agent. Memory, messages and semaphores
//! that are shared by a key stay behind their makers; a process that is made with `CLONE_PARENT` is
//! the agent's child, to be waited for by it; a lease on a file makes whoever opens the file wait.
//!
//! Driven by [`jail`](super::jail), as its last step. What can go wrong: the kernel has no filters.
//! Filters are compiled by `seccompiler`, as Firecracker's are; a program of another architecture's
//! calls is ended by them.

use std::collections::BTreeMap;

use nix::libc;
use seccompiler::{
    BackendError, BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition,
    SeccompFilter, SeccompRule, TargetArch,
};

/// The kind of request that `linux/sockios.h` numbers: 0x89 in the second byte.
const SOCKETS_AND_INTERFACES: u64 = 0x8900;

/// That of `linux/if_tun.h`: `'T'`, numbered from 200. (Terminals have it as well, below 200.)
const TUN: u64 = 0x5400;
const TUN_REQUESTS: std::ops::RangeInclusive<u64> = 200..=255;

/// What QEMU asks of a tap that it is given (`net/tap-linux.c`): TUNGETFEATURES, TUNSETOFFLOAD,
/// TUNGETIFF, TUNSETSNDBUF, TUNGETVNETHDRSZ, TUNSETVNETHDRSZ, TUNSETVNETLE, TUNSETVNETBE. They
/// change how frames are laid out in its own reads and writes, and no interface.
const TUN_ALLOWED: [u64; 8] = [207, 208, 210, 212, 215, 216, 220, 222];

/// Kind and number of a request, without its size and direction.
const KIND_AND_NUMBER: u64 = 0xffff;
const KIND: u64 = 0xff00;

/// `__X32_SYSCALL_BIT` of `asm/unistd.h`: the same architecture to a filter, with other numbers.
#[cfg(target_arch = "x86_64")]
const X32: i64 = 0x4000_0000;

/// A filter that cannot be made or set.
#[derive(Debug, thiserror::Error)]
pub(super) enum FilterError {
    /// It is no filter for this machine.
    #[error("the filter cannot be made")]
    Make(#[from] BackendError),
    /// The kernel does not take it.
    #[error("the kernel does not take the filter")]
    Set(#[from] seccompiler::Error),
}

/// The filters, in the order in which they are set: calls that fall back to an older one when they
/// are said not to be there, and what is refused.
fn programs() -> Result<[BpfProgram; 2], BackendError> {
    let arch = TargetArch::try_from(std::env::consts::ARCH)?;
    let compile = |rules, errno: i32| -> Result<BpfProgram, BackendError> {
        let errno = u32::try_from(errno).unwrap_or(1);
        let (otherwise, matched) = (SeccompAction::Allow, SeccompAction::Errno(errno));
        SeccompFilter::new(rules, otherwise, matched, arch)?.try_into()
    };
    Ok([compile(absent()?, libc::ENOSYS)?, compile(refused()?, libc::EPERM)?])
}

type Rules = BTreeMap<i64, Vec<SeccompRule>>;

/// For one call, under all of its numbers. No rule: always.
fn add(rules: &mut Rules, call: libc::c_long, conditions: Vec<SeccompRule>) {
    for number in numbers(call) {
        rules.insert(number, conditions.clone());
    }
}

#[cfg(target_arch = "x86_64")]
fn numbers(call: libc::c_long) -> Vec<i64> {
    // Those that x32 numbers otherwise, with the bit and, before Linux 5.7, without it.
    let own = match call {
        libc::SYS_ioctl => Some(514),
        libc::SYS_ptrace => Some(521),
        libc::SYS_io_setup => Some(543),
        _ => None,
    };
    let mut all = vec![call, call | X32];
    all.extend(own.into_iter().flat_map(|own| [own, own | X32]));
    all
}

#[cfg(not(target_arch = "x86_64"))]
fn numbers(call: libc::c_long) -> Vec<i64> {
    vec![call]
}

/// `clone3` has its flags in memory, where no filter looks; the C library goes on with `clone`.
fn absent() -> Result<Rules, BackendError> {
    let mut rules = Rules::new();
    for call in [
        libc::SYS_clone3,
        libc::SYS_io_uring_setup,
        libc::SYS_io_uring_enter,
        libc::SYS_io_uring_register,
    ] {
        add(&mut rules, call, Vec::new());
    }
    Ok(rules)
}

/// Calls that QEMU has no use for, whatever they are asked: to other processes, namespaces and
/// programs of the kernel; to what outlives who made it; to keys, and to more of the kernel than
/// this QEMU needs (its disks are read and written by threads: `aio=threads`).
const NEVER: [libc::c_long; 16] = [
    libc::SYS_connect,
    libc::SYS_unshare,
    libc::SYS_setns,
    libc::SYS_bpf,
    libc::SYS_ptrace,
    libc::SYS_shmget,
    libc::SYS_shmat,
    libc::SYS_msgget,
    libc::SYS_semget,
    libc::SYS_mq_open,
    libc::SYS_add_key,
    libc::SYS_keyctl,
    libc::SYS_request_key,
    libc::SYS_userfaultfd,
    libc::SYS_open_tree,
    libc::SYS_io_setup,
];

fn refused() -> Result<Rules, BackendError> {
    let one = |argument, operator, value| -> Result<SeccompRule, BackendError> {
        // The kernel takes requests, families and flags as 32 bits, whatever stands above them.
        let length = SeccompCmpArgLen::Dword;
        SeccompRule::new(vec![SeccompCondition::new(argument, length, operator, value)?])
    };
    let mut rules = Rules::new();
    let mut requests = vec![one(1, SeccompCmpOp::MaskedEq(KIND), SOCKETS_AND_INTERFACES)?];
    for number in TUN_REQUESTS.filter(|number| !TUN_ALLOWED.contains(number)) {
        requests.push(one(1, SeccompCmpOp::MaskedEq(KIND_AND_NUMBER), TUN | number)?);
    }
    add(&mut rules, libc::SYS_ioctl, requests);
    let number = |constant: i32| u64::try_from(constant).unwrap_or(0);
    let other_family = || one(0, SeccompCmpOp::Ne, number(libc::AF_UNIX));
    add(&mut rules, libc::SYS_socket, vec![other_family()?]);
    add(&mut rules, libc::SYS_socketpair, vec![other_family()?]);
    let flag = |flag| one(0, SeccompCmpOp::MaskedEq(number(flag)), number(flag));
    let flags = vec![flag(libc::CLONE_NEWUSER)?, flag(libc::CLONE_PARENT)?];
    add(&mut rules, libc::SYS_clone, flags);
    let command = |command| one(1, SeccompCmpOp::Eq, number(command));
    let commands = vec![command(libc::F_SETLEASE)?, command(libc::F_NOTIFY)?];
    add(&mut rules, libc::SYS_fcntl, commands);
    for call in NEVER {
        add(&mut rules, call, Vec::new());
    }
    Ok(rules)
}

/// Sets the filters for this process, for good, and for what it becomes.
///
/// # Errors
/// They cannot be set; nothing may be executed then.
pub(super) fn set() -> Result<(), FilterError> {
    for program in programs()? {
        seccompiler::apply_filter(&program)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    //! That the filters are made for this machine; what they refuse is judged by the kernel in
    //! [`jail`](super::super::jail)'s tests.

    use super::*;

    #[test]
    fn filters_are_made_and_no_longer_than_a_kernel_takes() {
        for program in programs().unwrap() {
            assert!((5..4096).contains(&program.len()), "{}", program.len());
        }
    }

    #[test]
    fn what_qemu_asks_of_its_tap_stays_open_and_what_changes_an_interface_does_not() {
        // TUNSETIFF, TUNSETPERSIST, TUNSETOWNER, TUNSETLINK, TUNSETQUEUE, TUNSETCARRIER.
        for changes in [202, 203, 204, 205, 217, 226] {
            assert!(!TUN_ALLOWED.contains(&changes));
        }
        assert!(TUN_ALLOWED.iter().all(|number| TUN_REQUESTS.contains(number)));
    }
}

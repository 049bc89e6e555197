//! Whether `/dev/kvm` really runs guests.
//!
//! That the file is there proves nothing: it opens and answers on machines that run no usual guest,
//! because their KVM emulates instruction by instruction (software "paravirtual" KVM inside another
//! VM). So a machine of one page and one processor is made; it counts to 200,000 in real mode,
//! counts bits, loads a floating-point number, adds two numbers and halts. Where the processor does
//! it, that takes a fraction of a millisecond; where it is emulated, it takes long, or ends at an
//! instruction that the emulator does not know (`popcnt` and `fld1` are none of Linux's). Asked by
//! the preflight of a start and by `doctor`.
#![expect(unsafe_code, reason = "there is no safe binding of KVM's ioctls")]

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::ptr::NonNull;
use std::time::{Duration, Instant};

use rustix::fs::{Mode, OFlags};

use crate::host::{HostError, HostErrorKind};

/// What does not work.
#[derive(Debug, thiserror::Error)]
pub(crate) enum KvmProblem {
    #[error("/dev/kvm cannot be opened")]
    Open(#[source] io::Error),
    #[error("/dev/kvm speaks version {0} of its interface, not 12")]
    Version(i32),
    #[error("{0} failed")]
    Step(&'static str, #[source] io::Error),
    #[error("a small guest ended with exit reason {0}, not with a halt")]
    Exit(u32),
    #[error("a small guest met an instruction that this KVM emulates and does not know")]
    Emulated,
    #[error("a small guest did not compute 2 + 2")]
    Wrong,
    #[error("a small guest took {0:?}: instructions are emulated, a usual guest would not boot")]
    Slow(Duration),
}

/// The error of a verb that needs KVM.
pub(crate) fn unavailable(problem: KvmProblem) -> HostError {
    HostError::new(HostErrorKind::KvmUnavailable, "use", "/dev/kvm").because(problem)
}

// linux/kvm.h
const KVM_GET_API_VERSION: u64 = 0xAE00;
const KVM_CREATE_VM: u64 = 0xAE01;
const KVM_GET_VCPU_MMAP_SIZE: u64 = 0xAE04;
#[cfg(target_arch = "x86_64")]
const KVM_CREATE_VCPU: u64 = 0xAE41;
#[cfg(target_arch = "x86_64")]
const KVM_RUN: u64 = 0xAE80;
const KVM_API_VERSION: i32 = 12;

/// What the small guest may take: 0.2 ms is usual, 300 ms emulated, 10 ms on emulated hardware.
const TIME_LIMIT: Duration = Duration::from_millis(100);

fn call(fd: &OwnedFd, request: u64, argument: u64) -> io::Result<i32> {
    // SAFETY: the descriptor is open, and every request passed here takes a plain number.
    let answer = unsafe { nix::libc::ioctl(fd.as_raw_fd(), request, argument) };
    if answer < 0 { Err(io::Error::last_os_error()) } else { Ok(answer) }
}

fn call_fd(fd: &OwnedFd, request: u64, argument: u64) -> io::Result<OwnedFd> {
    let new = call(fd, request, argument)?;
    // SAFETY: these requests answer with a new descriptor that nobody else owns.
    Ok(unsafe { OwnedFd::from_raw_fd(new) })
}

/// Opens `/dev/kvm`, makes a machine and runs it. Blocks for a second at most.
pub(crate) fn check() -> Result<(), KvmProblem> {
    match attempt()? {
        took if took <= TIME_LIMIT => Ok(()),
        // The machine may have been busy just then.
        _ => match attempt()? {
            took if took <= TIME_LIMIT => Ok(()),
            took => Err(KvmProblem::Slow(took)),
        },
    }
}

/// How long the guest took.
fn attempt() -> Result<Duration, KvmProblem> {
    let kvm = rustix::fs::open("/dev/kvm", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())
        .map_err(|error| KvmProblem::Open(error.into()))?;
    let step = |what| move |error| KvmProblem::Step(what, error);
    let version = call(&kvm, KVM_GET_API_VERSION, 0).map_err(step("asking for the version"))?;
    if version != KVM_API_VERSION {
        return Err(KvmProblem::Version(version));
    }
    let vm = call_fd(&kvm, KVM_CREATE_VM, 0).map_err(step("making a machine"))?;
    let run_size =
        call(&kvm, KVM_GET_VCPU_MMAP_SIZE, 0).map_err(step("asking for the size of kvm_run"))?;
    run_small_guest(&vm, usize::try_from(run_size).unwrap_or(0))
}

/// A mapping, unmapped when dropped.
struct Mapping {
    at: NonNull<u8>,
    length: usize,
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: `at` and `length` are of one mapping that this value owns.
        let _ = unsafe { nix::libc::munmap(self.at.as_ptr().cast(), self.length) };
    }
}

#[cfg(not(target_arch = "x86_64"))]
fn run_small_guest(_vm: &OwnedFd, _run_size: usize) -> Result<Duration, KvmProblem> {
    Ok(Duration::ZERO)
}

#[cfg(target_arch = "x86_64")]
fn run_small_guest(vm: &OwnedFd, run_size: usize) -> Result<Duration, KvmProblem> {
    let step = |what| move |error| KvmProblem::Step(what, error);
    let memory = map_anonymous(PAGE).map_err(step("mapping the guest's memory"))?;
    // mov ecx, 200000; again: dec ecx; jnz again; popcnt dx, bx; fld1; add al, bl; hlt
    let code = [
        0x66, 0xB9, 0x40, 0x0D, 0x03, 0x00, 0x66, 0x49, 0x75, 0xFC, 0xF3, 0x0F, 0xB8, 0xD3, 0xD9,
        0xE8, 0x00, 0xD8, 0xF4,
    ];
    // SAFETY: the mapping has a page, and nobody else refers to it.
    unsafe { std::ptr::copy_nonoverlapping(code.as_ptr(), memory.at.as_ptr(), code.len()) };
    let region = MemoryRegion {
        slot: 0,
        flags: 0,
        guest_address: GUEST_CODE,
        size: PAGE as u64,
        host_address: memory.at.as_ptr() as u64,
    };
    set(vm, KVM_SET_USER_MEMORY_REGION, &region).map_err(step("giving the guest memory"))?;
    let vcpu = call_fd(vm, KVM_CREATE_VCPU, 0).map_err(step("making a processor"))?;
    let run = map_fd(&vcpu, run_size).map_err(step("mapping kvm_run"))?;
    let mut special = SpecialRegisters([0; SPECIAL_SIZE]);
    get(&vcpu, KVM_GET_SREGS, &mut special).map_err(step("reading the registers"))?;
    // Real mode with a code segment that begins at 0: base at byte 0, selector at byte 12.
    special.0[..8].fill(0);
    special.0[12..14].fill(0);
    set(&vcpu, KVM_SET_SREGS, &special).map_err(step("setting the segments"))?;
    let mut registers = Registers { rax: 2, rbx: 2, rip: GUEST_CODE, rflags: 2, ..ZERO };
    set(&vcpu, KVM_SET_REGS, &registers).map_err(step("setting the registers"))?;
    let began = Instant::now();
    call(&vcpu, KVM_RUN, 0).map_err(step("running the guest"))?;
    let took = began.elapsed();
    // SAFETY: the kernel fills kvm_run, at least 2 KiB, of which bytes 8 to 11 are the reason of
    // the exit; the mapping is page-aligned.
    let reason = unsafe { run.at.as_ptr().add(8).cast::<u32>().read() };
    match reason {
        KVM_EXIT_HLT => {}
        KVM_EXIT_INTERNAL_ERROR => return Err(KvmProblem::Emulated),
        other => return Err(KvmProblem::Exit(other)),
    }
    get(&vcpu, KVM_GET_REGS, &mut registers).map_err(step("reading the registers"))?;
    // rax is 2 + 2, rdx how many bits 2 has.
    let [_, rdx, ..] = registers.others;
    if (registers.rax, rdx) == (4, 1) { Ok(took) } else { Err(KvmProblem::Wrong) }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    //! `struct`s and requests of `asm/kvm.h` on x86-64.

    pub(super) const PAGE: usize = 4096;
    pub(super) const GUEST_CODE: u64 = 0x1000;
    pub(super) const KVM_SET_USER_MEMORY_REGION: u64 = 0x4020_AE46;
    pub(super) const KVM_GET_REGS: u64 = 0x8090_AE81;
    pub(super) const KVM_SET_REGS: u64 = 0x4090_AE82;
    pub(super) const KVM_GET_SREGS: u64 = 0x8138_AE83;
    pub(super) const KVM_SET_SREGS: u64 = 0x4138_AE84;
    pub(super) const KVM_EXIT_HLT: u32 = 5;
    pub(super) const KVM_EXIT_INTERNAL_ERROR: u32 = 17;
    pub(super) const SPECIAL_SIZE: usize = 312;

    #[repr(C)]
    pub(super) struct MemoryRegion {
        pub(super) slot: u32,
        pub(super) flags: u32,
        pub(super) guest_address: u64,
        pub(super) size: u64,
        pub(super) host_address: u64,
    }

    #[repr(C)]
    pub(super) struct Registers {
        pub(super) rax: u64,
        pub(super) rbx: u64,
        pub(super) others: [u64; 14],
        pub(super) rip: u64,
        pub(super) rflags: u64,
    }

    pub(super) const ZERO: Registers =
        Registers { rax: 0, rbx: 0, others: [0; 14], rip: 0, rflags: 0 };

    /// `struct kvm_sregs`, of which we change the first member, the code segment.
    #[repr(C, align(8))]
    pub(super) struct SpecialRegisters(pub(super) [u8; SPECIAL_SIZE]);

    // The size is part of each request's number.
    const _: () = assert!(size_of::<MemoryRegion>() == 0x20);
    const _: () = assert!(size_of::<Registers>() == 0x90);
    const _: () = assert!(size_of::<SpecialRegisters>() == 0x138);
}
#[cfg(target_arch = "x86_64")]
use x86::*;

#[cfg(target_arch = "x86_64")]
fn set<T>(fd: &OwnedFd, request: u64, value: &T) -> io::Result<()> {
    // SAFETY: each request passed here reads one structure, whose size the request's number holds
    // and the assertions above compare with `T`.
    let answer = unsafe { nix::libc::ioctl(fd.as_raw_fd(), request, std::ptr::from_ref(value)) };
    if answer < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

#[cfg(target_arch = "x86_64")]
fn get<T>(fd: &OwnedFd, request: u64, value: &mut T) -> io::Result<()> {
    // SAFETY: as in `set`; every pattern of bits is a valid `T`.
    let answer = unsafe { nix::libc::ioctl(fd.as_raw_fd(), request, std::ptr::from_mut(value)) };
    if answer < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

#[cfg(target_arch = "x86_64")]
fn map_anonymous(length: usize) -> io::Result<Mapping> {
    map(length, nix::libc::MAP_PRIVATE | nix::libc::MAP_ANONYMOUS, -1)
}

#[cfg(target_arch = "x86_64")]
fn map_fd(fd: &OwnedFd, length: usize) -> io::Result<Mapping> {
    map(length, nix::libc::MAP_SHARED, fd.as_raw_fd())
}

#[cfg(target_arch = "x86_64")]
fn map(length: usize, flags: i32, fd: i32) -> io::Result<Mapping> {
    let protection = nix::libc::PROT_READ | nix::libc::PROT_WRITE;
    // SAFETY: a new mapping where the kernel chooses touches no memory of this process; the
    // descriptor, if any, is open for the length of the call, and the mapping holds what is behind
    // it.
    let at = unsafe { nix::libc::mmap(std::ptr::null_mut(), length, protection, flags, fd, 0) };
    if at == nix::libc::MAP_FAILED {
        return Err(io::Error::last_os_error());
    }
    NonNull::new(at.cast())
        .map(|at| Mapping { at, length })
        .ok_or(io::ErrorKind::AddrNotAvailable.into())
}

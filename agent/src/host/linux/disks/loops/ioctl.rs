//! The six requests of `linux/loop.h` that we use.
#![expect(unsafe_code, reason = "there is no safe binding of the loop device's ioctls")]

use std::os::fd::{AsRawFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::io::Errno;

use crate::host::FileId;

// linux/loop.h
const LOOP_CLR_FD: u16 = 0x4C01;
const LOOP_GET_STATUS64: u16 = 0x4C05;
const LOOP_SET_CAPACITY: u16 = 0x4C07;
const LOOP_CONFIGURE: u16 = 0x4C0A;
const LOOP_CTL_GET_FREE: u16 = 0x4C82;
const LO_FLAGS_READ_ONLY: u32 = 1;
const LO_FLAGS_DIRECT_IO: u32 = 16;

#[repr(C)]
#[derive(Clone, Copy)]
struct LoopInfo64 {
    device: u64,
    inode: u64,
    rdevice: u64,
    offset: u64,
    size_limit: u64,
    number: u32,
    encrypt_type: u32,
    encrypt_key_size: u32,
    flags: u32,
    file_name: [u8; 64],
    crypt_name: [u8; 64],
    encrypt_key: [u8; 32],
    init: [u64; 2],
}

impl LoopInfo64 {
    const ZERO: Self = Self {
        device: 0,
        inode: 0,
        rdevice: 0,
        offset: 0,
        size_limit: 0,
        number: 0,
        encrypt_type: 0,
        encrypt_key_size: 0,
        flags: 0,
        file_name: [0; 64],
        crypt_name: [0; 64],
        encrypt_key: [0; 32],
        init: [0; 2],
    };
}

#[repr(C)]
struct LoopConfig {
    fd: u32,
    block_size: u32,
    info: LoopInfo64,
    reserved: [u64; 8],
}

// linux/loop.h fixes these sizes for every architecture.
const _: () = assert!(size_of::<LoopInfo64>() == 232);
const _: () = assert!(size_of::<LoopConfig>() == 304);

/// What is behind a device.
pub(super) struct Status {
    pub(super) backing: FileId,
    pub(super) read_only: bool,
}

/// `ioctl(2)` with an argument that is a number or a pointer.
///
/// # Safety
/// `argument` is what the request takes: a pointer must be valid for what the kernel reads and
/// writes through it.
unsafe fn request(
    fd: BorrowedFd<'_>,
    request: u16,
    argument: *mut nix::libc::c_void,
) -> rustix::io::Result<u32> {
    // SAFETY: the descriptor is open for the length of the borrow; the argument is the caller's
    // promise.
    let answer = unsafe { nix::libc::ioctl(fd.as_raw_fd(), request.into(), argument) };
    u32::try_from(answer)
        .map_err(|_| Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::IO))
}

/// The number of a device that is free now.
pub(super) fn get_free(control: BorrowedFd<'_>) -> rustix::io::Result<u32> {
    // SAFETY: LOOP_CTL_GET_FREE takes no argument.
    unsafe { request(control, LOOP_CTL_GET_FREE, std::ptr::null_mut()) }
}

/// Attaches `backing` to `device`, in one step (Linux 5.8), so that nobody ever sees the device
/// writable that should not be.
pub(super) fn configure(
    device: BorrowedFd<'_>,
    backing: BorrowedFd<'_>,
    read_only: bool,
    name: &Path,
) -> rustix::io::Result<()> {
    let mut info = LoopInfo64::ZERO;
    // A shared image gains from the page cache; a store of its own would be cached twice. Where
    // the file system has no direct I/O the kernel goes on without.
    info.flags = if read_only { LO_FLAGS_READ_ONLY } else { LO_FLAGS_DIRECT_IO };
    // For people: `losetup` shows the path from sysfs. The last byte stays 0.
    for (to, from) in info.file_name[..63].iter_mut().zip(name.as_os_str().as_bytes()) {
        *to = *from;
    }
    let mut config = LoopConfig { fd: super::raw(backing), block_size: 0, info, reserved: [0; 8] };
    // SAFETY: LOOP_CONFIGURE reads one loop_config, which `config` is, and keeps no pointer.
    unsafe { request(device, LOOP_CONFIGURE, (&raw mut config).cast()) }.map(drop)
}

/// What is behind a device; `None` when nothing.
pub(super) fn status(device: BorrowedFd<'_>) -> rustix::io::Result<Option<Status>> {
    let mut info = LoopInfo64::ZERO;
    // SAFETY: LOOP_GET_STATUS64 writes one loop_info64, which `info` is.
    match unsafe { request(device, LOOP_GET_STATUS64, (&raw mut info).cast()) } {
        Ok(_) => Ok(Some(Status {
            backing: FileId { device: info.device, inode: info.inode },
            read_only: info.flags & LO_FLAGS_READ_ONLY != 0,
        })),
        Err(Errno::NXIO) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Detaches what is behind a device, now or when the last one closes it.
pub(super) fn clear(device: BorrowedFd<'_>) -> rustix::io::Result<()> {
    // SAFETY: LOOP_CLR_FD takes no argument.
    unsafe { request(device, LOOP_CLR_FD, std::ptr::null_mut()) }.map(drop)
}

/// Makes the device take its file's size.
pub(super) fn set_capacity(device: BorrowedFd<'_>) -> rustix::io::Result<()> {
    // SAFETY: LOOP_SET_CAPACITY takes no argument.
    unsafe { request(device, LOOP_SET_CAPACITY, std::ptr::null_mut()) }.map(drop)
}

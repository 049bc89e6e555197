//! The requests of `linux/if_tun.h` that we use.
#![expect(unsafe_code, reason = "there is no safe binding of the tun device's ioctls")]

use std::os::fd::{AsRawFd, OwnedFd};

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

// linux/if_tun.h: _IOW('T', n, int) on every architecture with the generic ioctl encoding.
const TUNSETIFF: u32 = 0x4004_54CA;
const TUNSETPERSIST: u32 = 0x4004_54CB;
const TUNSETOWNER: u32 = 0x4004_54CC;
const TUNSETGROUP: u32 = 0x4004_54CE;
#[cfg(test)]
const TUNSETLINK: u32 = 0x4004_54CD;
const IFF_TAP: u16 = 0x0002;
const IFF_NO_PI: u16 = 0x1000;
const IFF_VNET_HDR: u16 = 0x4000;

/// `struct ifreq` of netdevice(7), as TUNSETIFF uses it.
#[repr(C)]
struct InterfaceRequest {
    name: [u8; 16],
    flags: u16,
    rest: [u8; 22],
}

const _: () = assert!(size_of::<InterfaceRequest>() == size_of::<nix::libc::ifreq>());

fn check(answer: nix::libc::c_int) -> rustix::io::Result<()> {
    if answer < 0 {
        Err(Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::IO))
    } else {
        Ok(())
    }
}

fn set_number(tun: &OwnedFd, request: u32, value: u32) -> rustix::io::Result<()> {
    // SAFETY: the descriptor is open, and these requests take a plain number.
    check(unsafe {
        nix::libc::ioctl(tun.as_raw_fd(), request.into(), nix::libc::c_ulong::from(value))
    })
}

/// Opens a tap, which is made if it is not there and the kernel lets us.
pub(crate) fn open(name: &str) -> rustix::io::Result<OwnedFd> {
    let tun = device()?;
    attach(&tun, name)?;
    Ok(tun)
}

/// The tun device, not attached to an interface yet.
pub(in crate::host::linux) fn device() -> rustix::io::Result<OwnedFd> {
    rustix::fs::open("/dev/net/tun", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())
}

/// Attaches the device to a tap. Whoever may not make one may attach to one that it owns.
/// `IFF_VNET_HDR` as Firecracker and QEMU ask for.
pub(in crate::host::linux) fn attach(tun: &OwnedFd, name: &str) -> rustix::io::Result<()> {
    let mut ask = InterfaceRequest {
        name: [0; 16],
        flags: IFF_TAP | IFF_NO_PI | IFF_VNET_HDR,
        rest: [0; 22],
    };
    // A tap's name has at most 15 bytes, so that the last stays 0.
    for (to, from) in ask.name[..15].iter_mut().zip(name.bytes()) {
        *to = from;
    }
    // SAFETY: TUNSETIFF reads and writes one ifreq, which `ask` is as large as.
    check(unsafe { nix::libc::ioctl(tun.as_raw_fd(), TUNSETIFF.into(), &raw mut ask) })
}

/// Makes a tap, or takes one that nobody has open, gives it to `owner` and makes it stay when we
/// close it.
pub(in crate::host::linux) fn make_persistent(name: &str, owner: u32) -> rustix::io::Result<()> {
    let tun = open(name)?;
    set_number(&tun, TUNSETOWNER, owner)?;
    set_number(&tun, TUNSETGROUP, owner)?;
    set_number(&tun, TUNSETPERSIST, 1)
}

/// Has a tap that is down pass for an interface of another kind of `linux/if_arp.h`.
#[cfg(test)]
pub(in crate::host::linux) fn set_kind(tun: &OwnedFd, kind: u32) -> rustix::io::Result<()> {
    set_number(tun, TUNSETLINK, kind)
}

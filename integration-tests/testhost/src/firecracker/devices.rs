//! The host's side of the devices: disks, the tap and the vsock socket, opened for real.
//!
//! Driven by [`super::machine`] when a device is configured, which is when the real one opens them
//! too. What cannot be opened with the jailed user's rights is refused with the kernel's reason.

use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::net::UnixListener;
use std::time::Duration;

use nix::libc;

use super::config;
use crate::hostile::wire::{Wire, read_frame};

/// Bytes before every frame on the tap: a virtio-net header, as the real one sets it.
pub const VNET_HEADER: usize = 12;

/// A disk as the guest has it.
#[derive(Debug)]
pub struct Disk {
    /// As configured.
    pub config: config::Drive,
    /// Open, with or without the right to write.
    pub file: File,
}

/// Opens a disk.
///
/// # Errors
///
/// The sentence of the refusal.
pub fn open_disk(mut config: config::Drive) -> Result<Disk, String> {
    let refuse = |why: String| {
        format!("Drive config error: Unable to create the virtio block device: {why}")
    };
    let path = match (&config.path_on_host, &config.socket) {
        (Some(path), None) => path.clone(),
        (None, Some(_)) => return Err(refuse("the stand-in has no vhost-user disks".to_owned())),
        (None, None) | (Some(_), Some(_)) => {
            return Err(refuse("Invalid block config.".to_owned()));
        }
    };
    // Filled in as the real one shows them.
    let read_only = *config.is_read_only.get_or_insert(false);
    config.io_engine.get_or_insert(config::IoEngine::Sync);
    let file = OpenOptions::new().read(true).write(!read_only).open(&path).map_err(|error| {
        refuse(format!("Virtio backend error: Error manipulating the backing file: {error} {path}"))
    })?;
    Ok(Disk { config, file })
}

/// A tap, as what a hostile guest sends by.
#[derive(Debug)]
pub struct TapWire<'a>(pub &'a File);

impl Wire for TapWire<'_> {
    fn send(&self, frame: &[u8]) -> io::Result<()> {
        let bytes = [&[0; VNET_HEADER][..], frame].concat();
        let mut tap = self.0;
        tap.write_all(&bytes)
    }

    fn receive(&self, wait: Duration) -> io::Result<Option<Vec<u8>>> {
        read_frame(self.0, VNET_HEADER, wait)
    }
}

#[repr(C)]
struct InterfaceRequest {
    name: [u8; libc::IFNAMSIZ],
    flags: i16,
    padding: [u8; 22],
}

mod calls {
    use nix::libc;
    // <linux/if_tun.h>: both are _IOW('T', …, int), and both take a pointer.
    nix::ioctl_write_ptr_bad!(
        set_interface,
        nix::request_code_write!(b'T', 202, size_of::<libc::c_int>()),
        super::InterfaceRequest
    );
    nix::ioctl_write_ptr_bad!(
        set_header_size,
        nix::request_code_write!(b'T', 216, size_of::<libc::c_int>()),
        libc::c_int
    );
}

/// Opens an existing tap.
///
/// # Errors
///
/// The sentence of the refusal: no such tap for this user, or somebody else has it open.
pub fn open_tap(name: &str) -> Result<File, String> {
    let refuse = |why: String| {
        format!(
            "Network config error: Could not create the network device: Open tap device failed: \
             {why}"
        )
    };
    let tap = OpenOptions::new()
        .read(true)
        .write(true)
        .custom_flags(libc::O_NONBLOCK | libc::O_CLOEXEC)
        .open("/dev/net/tun")
        .map_err(|error| refuse(format!("Couldn't open /dev/net/tun: {error}")))?;
    if name.is_empty() || name.len() >= libc::IFNAMSIZ {
        return Err(refuse("Invalid interface name".to_owned()));
    }
    let mut request = InterfaceRequest {
        name: [0; libc::IFNAMSIZ],
        flags: (libc::IFF_TAP | libc::IFF_NO_PI | libc::IFF_VNET_HDR) as i16,
        padding: [0; 22],
    };
    request.name[..name.len()].copy_from_slice(name.as_bytes());
    attach(&tap, &request).map_err(|error| {
        refuse(format!(
            "Error while creating ifreq structure: {error}. Invalid TUN/TAP Backend provided by \
             {name}. Check our documentation on setting up the network devices."
        ))
    })?;
    Ok(tap)
}

#[expect(unsafe_code, reason = "a tap is attached by ioctl and nothing else")]
fn attach(tap: &File, request: &InterfaceRequest) -> io::Result<()> {
    let size = libc::c_int::try_from(VNET_HEADER).unwrap_or(libc::c_int::MAX);
    // SAFETY: the descriptor is an open /dev/net/tun, the first request has the layout and the
    // size (40 bytes) of the kernel's `struct ifreq`, the second is an int; both outlive the calls.
    unsafe {
        calls::set_interface(tap.as_raw_fd(), request)?;
        calls::set_header_size(tap.as_raw_fd(), &size)?;
    }
    Ok(())
}

/// Makes the vsock socket.
///
/// # Errors
///
/// The sentence of the refusal.
pub fn bind_vsock(path: &str) -> Result<UnixListener, String> {
    UnixListener::bind(path).map_err(|error| {
        format!(
            "Vsock config error: Cannot create backend for vsock device: Error binding to the \
             host-side Unix socket: {error}"
        )
    })
}

//! Where frames go and come from: a network card, by packet(7), or whatever else a guest has.
//!
//! What can go wrong: no right to it, no such interface; the kernel's error says so.

use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::time::Duration;

use nix::libc;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

/// Something that takes and gives frames.
pub trait Wire {
    /// Sends one.
    ///
    /// # Errors
    ///
    /// The kernel's.
    fn send(&self, frame: &[u8]) -> io::Result<()>;

    /// The next one, if any comes in this time.
    ///
    /// # Errors
    ///
    /// The kernel's.
    fn receive(&self, wait: Duration) -> io::Result<Option<Vec<u8>>>;
}

/// Waits for something to read.
fn readable(descriptor: impl AsFd, wait: Duration) -> io::Result<bool> {
    let wait = PollTimeout::try_from(wait).unwrap_or(PollTimeout::MAX);
    Ok(poll(&mut [PollFd::new(descriptor.as_fd(), PollFlags::POLLIN)], wait)? > 0)
}

/// Reads one frame, in front of which there are so many bytes that are not the frame's.
///
/// # Errors
///
/// The kernel's.
pub fn read_frame(mut file: &File, before: usize, wait: Duration) -> io::Result<Option<Vec<u8>>> {
    if !readable(file, wait)? {
        return Ok(None);
    }
    let mut bytes = vec![0; 65_536];
    match file.read(&mut bytes) {
        Ok(length) => Ok(Some(bytes.get(before..length).unwrap_or_default().to_vec())),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
        // A network card that is down for the moment.
        Err(error) if error.raw_os_error() == Some(libc::ENETDOWN) => Ok(None),
        Err(error) => Err(error),
    }
}

/// An interface, all of whose frames are seen.
#[derive(Debug)]
pub struct Card(File);

impl Card {
    /// What comes by it, or also what this machine sends by it. Needs root.
    ///
    /// # Errors
    ///
    /// The kernel's.
    pub fn open(interface: &str, with_own: bool) -> io::Result<Self> {
        let index = nix::net::if_::if_nametoindex(interface)?;
        let index = i32::try_from(index).map_err(io::Error::other)?;
        Ok(Self(File::from(packet_socket(index, with_own)?)))
    }
}

impl Wire for Card {
    fn send(&self, frame: &[u8]) -> io::Result<()> {
        let mut card = &self.0;
        card.write_all(frame)
    }

    fn receive(&self, wait: Duration) -> io::Result<Option<Vec<u8>>> {
        read_frame(&self.0, 0, wait)
    }
}

/// `linux/if_packet.h`; the libc crate does not have it.
const PACKET_IGNORE_OUTGOING: libc::c_int = 23;

#[expect(unsafe_code, reason = "no safe library binds a packet socket to an interface")]
fn packet_socket(index: i32, with_own: bool) -> io::Result<OwnedFd> {
    let every = u16::try_from(libc::ETH_P_ALL).unwrap_or(3).to_be();
    let kind = libc::SOCK_RAW | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
    // SAFETY: no memory is passed; what comes back is an error or a descriptor that is ours alone.
    let socket = unsafe {
        // Without a protocol nothing is received until it is bound.
        let raw = libc::socket(libc::AF_PACKET, kind, 0);
        if raw < 0 {
            return Err(io::Error::last_os_error());
        }
        OwnedFd::from_raw_fd(raw)
    };
    let place = libc::sockaddr_ll {
        sll_family: u16::try_from(libc::AF_PACKET).unwrap_or(17),
        sll_protocol: every,
        sll_ifindex: index,
        sll_hatype: 0,
        sll_pkttype: 0,
        sll_halen: 0,
        sll_addr: [0; 8],
    };
    let (ignore, integer) = (libc::c_int::from(!with_own), size_of::<libc::c_int>());
    // SAFETY: both calls read as many bytes as they are told from values that outlive them.
    unsafe {
        let set = libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_PACKET,
            PACKET_IGNORE_OUTGOING,
            (&raw const ignore).cast(),
            libc::socklen_t::try_from(integer).unwrap_or(4),
        );
        let length = libc::socklen_t::try_from(size_of_val(&place)).unwrap_or(20);
        if set != 0 || libc::bind(socket.as_raw_fd(), (&raw const place).cast(), length) != 0 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(socket)
}

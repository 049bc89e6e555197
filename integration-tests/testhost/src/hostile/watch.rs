//! The host's side: what arrives on its interfaces and at its sockets of what a guest tries.
//!
//! Driven by tests, in the network namespace that is to be watched. Frames are known by their mark;
//! a connection that is accepted has none, and is counted.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::{Ipv4Addr, SocketAddrV4, TcpListener, UdpSocket};
use std::os::fd::AsRawFd as _;
use std::sync::atomic::{AtomicBool, AtomicU16, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, SockaddrIn, sendto, socket,
};

use super::frames::icmp;
use super::wire::{Card, Wire as _};
use super::{PORT, marked};

/// Where a socket of UDP got something, beside the names of interfaces.
pub const BY_UDP: &str = "udp";
/// Where a connection was taken; they are counted from 0.
pub const BY_TCP: &str = "tcp";

/// How often a thread looks whether it is to end.
const TURN: Duration = Duration::from_millis(50);

/// Where something was seen, and of which attempt it is.
pub type Sight = (String, u16);

/// Looks until it is dropped.
#[derive(Debug)]
pub struct Watch {
    seen: Arc<Mutex<BTreeMap<Sight, u64>>>,
    ends: Arc<AtomicBool>,
    threads: Vec<JoinHandle<io::Result<()>>>,
}

impl Watch {
    /// Watches these interfaces, and [`PORT`] on every address, before it returns. Needs root.
    ///
    /// # Errors
    ///
    /// The kernel's: no such interface, a port that is taken.
    pub fn on(
        interfaces: &[&str],
        told: impl Fn(&str, u16) + Clone + Send + 'static,
    ) -> io::Result<Self> {
        let mut watch = Self { seen: Arc::default(), ends: Arc::default(), threads: Vec::new() };
        let seen = Arc::clone(&watch.seen);
        let see = move |place: &str, attempt: u16| {
            let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
            let times = seen.entry((place.to_owned(), attempt)).or_default();
            *times += 1;
            if *times == 1 {
                told(place, attempt);
            }
        };
        for interface in interfaces {
            let (card, place, see) =
                (Card::open(interface, true)?, interface.to_string(), see.clone());
            watch.spawn(move || {
                let frame = card.receive(TURN)?;
                frame.and_then(|frame| marked(&frame)).into_iter().for_each(|n| see(&place, n));
                Ok(())
            });
        }
        let udp = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, PORT))?;
        udp.set_read_timeout(Some(TURN))?;
        let by_udp = see.clone();
        watch.spawn(move || {
            let mut bytes = [0; 2048];
            if let Ok(length) = udp.recv(&mut bytes) {
                marked(&bytes[..length]).into_iter().for_each(|n| by_udp(BY_UDP, n));
            }
            Ok(())
        });
        let tcp = TcpListener::bind((Ipv4Addr::UNSPECIFIED, PORT))?;
        tcp.set_nonblocking(true)?;
        let taken = AtomicU16::new(0);
        watch.spawn(move || {
            match tcp.accept() {
                Ok(_) => see(BY_TCP, taken.fetch_add(1, Ordering::Relaxed)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => std::thread::sleep(TURN),
                Err(error) => return Err(error),
            }
            Ok(())
        });
        Ok(watch)
    }

    fn spawn(&mut self, turn: impl Fn() -> io::Result<()> + Send + 'static) {
        let ends = Arc::clone(&self.ends);
        self.threads.push(std::thread::spawn(move || {
            while !ends.load(Ordering::Relaxed) {
                turn()?;
            }
            Ok(())
        }));
    }

    /// What was seen until now.
    ///
    /// # Panics
    ///
    /// As [`Self::counted`].
    #[must_use]
    pub fn seen(&self) -> BTreeSet<Sight> {
        self.counted().into_keys().collect()
    }

    /// How many times each of it was.
    ///
    /// # Panics
    ///
    /// When one of its eyes is blind: nothing seen would prove nothing.
    #[must_use]
    pub fn counted(&self) -> BTreeMap<Sight, u64> {
        assert!(self.threads.iter().all(|thread| !thread.is_finished()), "a watch has ended");
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.ends.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

/// Whether an address answers a ping with this text in it. Needs root.
///
/// # Errors
///
/// The kernel's.
pub fn is_answered_by(address: Ipv4Addr, text: &[u8], limit: Duration) -> io::Result<bool> {
    let raw = SockType::Raw;
    let socket = socket(AddressFamily::Inet, raw, SockFlag::SOCK_CLOEXEC, SockProtocol::Icmp)?;
    let question = icmp([8, 0], [0x61, 0x6b, 0, 1], text);
    let to = SockaddrIn::from(SocketAddrV4::new(address, 0));
    sendto(socket.as_raw_fd(), &question, &to, MsgFlags::empty())?;
    // Raw sockets give the packet with its header.
    let answers = UdpSocket::from(socket);
    answers.set_read_timeout(Some(TURN))?;
    let begun = Instant::now();
    let mut bytes = [0; 2048];
    while begun.elapsed() < limit {
        let Ok(length) = answers.recv(&mut bytes) else { continue };
        let packet = &bytes[..length];
        let from = packet.get(12..16) == Some(&address.octets()[..]);
        if from && packet.get(20) == Some(&0) && packet.get(24..28) == Some(&[0x61, 0x6b, 0, 1]) {
            return Ok(true);
        }
    }
    Ok(false)
}

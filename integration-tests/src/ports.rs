//! Ports for programs that are told where to listen before they do.
//!
//! A port that the kernel gives for nothing is anybody's the moment it is let go, also for an
//! outgoing connection. So these lie below the range of such connections, and each is locked for
//! all other tests for as long as the test's process lives.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{self, UnixListener};

use parking_lot::Mutex;

/// Above what services have, below what outgoing connections get (`ip_local_port_range`, 32768 and
/// above if nobody changed it).
const RANGE: std::ops::Range<u16> = 20_000..32_000;

/// The locks of this process, which the kernel takes back at its end.
static LOCKS: Mutex<Vec<UnixListener>> = Mutex::new(Vec::new());

/// Addresses on loopback that nobody else gets while this process lives, all different.
///
/// # Panics
/// When none are left.
#[must_use]
pub fn free_addresses<const N: usize>() -> [SocketAddr; N] {
    let mut locks = LOCKS.lock();
    // Processes begin at different places, and a process goes on where it was.
    let begin = std::process::id() as usize * 61 + locks.len();
    let length = usize::from(RANGE.end - RANGE.start);
    let ports = (0..length).map(|n| RANGE.start + u16::try_from((begin + n) % length).unwrap_or(0));
    let mut free = ports.filter_map(|port| {
        let lock = lock(port).ok()?;
        // Somebody who is no test may have it.
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        drop(TcpListener::bind(address).ok()?);
        locks.push(lock);
        Some(address)
    });
    std::array::from_fn(|_| free.next().expect("loopback has free ports"))
}

/// Takes a name that one socket of a network namespace can have, as ports are (unix(7), abstract):
/// there is no file of it, and the kernel frees it however its process ends.
fn lock(port: u16) -> io::Result<UnixListener> {
    let name = format!("banger-test-port-{port}");
    UnixListener::bind_addr(&net::SocketAddr::from_abstract_name(name)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_is_nobody_elses_while_its_test_lives_and_no_outgoing_connection_takes_it() {
        let [one, two] = free_addresses();
        let [three] = free_addresses();
        assert!(one != two && two != three && one != three);
        for address in [one, two, three] {
            assert!(RANGE.contains(&address.port()), "{address}");
            assert!(lock(address.port()).is_err(), "{address} can be locked by another");
            drop(TcpListener::bind(address).expect("its program can listen there"));
        }
    }
}

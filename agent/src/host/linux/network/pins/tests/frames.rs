//! A guest as its VMM's end of the tap: frames as bytes, and what comes back. No program in a guest
//! can send anything that this cannot.

use std::net::Ipv4Addr;
use std::os::fd::OwnedFd;

use crate::host::Pin;
use crate::host::linux::network::taps::ioctl;
pub(super) use crate::host::linux::network::test_net::{ethernet, udp};

/// `struct virtio_net_hdr`, which goes before each frame; all zero: nothing special.
const HEADER: [u8; 10] = [0; 10];

pub(super) const BROADCAST: [u8; 6] = [0xff; 6];
/// The bridge's own: `02:fb:` and its address.
pub(super) const GATEWAY_MAC: [u8; 6] = [0x02, 0xfb, 10, 64, 0, 1];
pub(super) const GATEWAY: Ipv4Addr = Ipv4Addr::new(10, 64, 0, 1);

/// One end of a tap.
pub(super) struct Guest {
    pub(super) pin: Pin,
    tap: OwnedFd,
}

impl Guest {
    /// Waits until the bridge has seen that the tap is in use, which the kernel tells it later.
    pub(super) async fn on(pin: Pin) -> Self {
        let tap = ioctl::open(pin.tap.as_str()).expect("the tap is there");
        rustix::fs::fcntl_setfl(&tap, rustix::fs::OFlags::NONBLOCK).unwrap();
        let guest = Self { pin, tap };
        let answered = async {
            while !guest.is_answered() {
                tokio::task::yield_now().await;
            }
        };
        let limit = std::time::Duration::from_secs(20);
        if tokio::time::timeout(limit, answered).await.is_err() {
            panic!("the gateway does not answer {:?}", guest.pin);
        }
        guest.received();
        guest
    }

    /// The kernel is done with the frame when this returns.
    pub(super) fn send(&self, frame: &[u8]) {
        let mut bytes = HEADER.to_vec();
        bytes.extend_from_slice(frame);
        bytes.resize(bytes.len().max(HEADER.len() + 60), 0);
        rustix::io::write(&self.tap, &bytes).expect("the tap takes any frame");
    }

    /// All frames that came meanwhile.
    pub(super) fn received(&self) -> Vec<Vec<u8>> {
        let mut frames = Vec::new();
        let mut buffer = [0; 2048];
        while let Ok(length) = rustix::io::read(&self.tap, &mut buffer) {
            frames.push(buffer[HEADER.len()..length].to_vec());
        }
        frames
    }

    /// Whether the gateway answers it at all.
    pub(super) fn is_answered(&self) -> bool {
        self.received();
        let Pin { mac, address, .. } = &self.pin;
        self.send(&arp(BROADCAST, mac.0, 1, (mac.0, *address), ([0; 6], GATEWAY)));
        self.received().iter().any(|frame| frame[12..14] == [8, 6] && frame[21] == 2)
    }
}

/// An ARP message: 1 asks, 2 answers.
pub(super) fn arp(
    to: [u8; 6],
    from: [u8; 6],
    operation: u16,
    sender: ([u8; 6], Ipv4Addr),
    target: ([u8; 6], Ipv4Addr),
) -> Vec<u8> {
    let body = [
        &[0, 1, 8, 0, 6, 4][..],
        &operation.to_be_bytes(),
        &sender.0,
        &sender.1.octets(),
        &target.0,
        &target.1.octets(),
    ];
    ethernet(to, from, 0x0806, &body.concat())
}

//! What a guest without egress tries, and how far each attempt may come. A table, no I/O.
//!
//! Driven by [`super::guests::attack`]; tests tell by the numbers in it what arrived where. A new
//! idea is a line here, and is then tried in every place.

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use super::frames::{
    BEGINS, BROADCAST, ENDS, MacBytes, arp, echo, ethernet, icmp, icmpv6, ip_frame, ipv4,
    ipv4_with, tcp, udp,
};
use super::{PORT, mark};

/// Somebody on the guests' bridge.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Party {
    /// Their IPv4 address.
    pub address: Ipv4Addr,
    /// Their Ethernet address.
    pub mac: MacBytes,
}

/// Who is where.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Scene {
    /// The guest that acts.
    pub own: Party,
    /// The host, on the bridge.
    pub gateway: Party,
    /// The neighbour that it acts upon.
    pub victim: Party,
    /// The host's address on its uplink.
    pub uplink: Ipv4Addr,
    /// A machine beyond.
    pub outside: Ipv4Addr,
}

/// How far an attempt may come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reach {
    /// Refused where it leaves the guest's tap, and counted: it says to be somebody else.
    NotItsOwn,
    /// Refused there, and counted: nobody may go where it goes.
    Closed,
    /// No further than the bridge, which hands it to nobody, counted or not.
    Bridge,
    /// To the host, which is its router, and by it to nobody.
    Router,
}

/// One attempt.
#[derive(Debug, Clone)]
pub struct Attempt {
    /// What it is.
    pub name: &'static str,
    /// In the order in which they are sent.
    pub frames: Vec<Vec<u8>>,
    /// How far it may come.
    pub reach: Reach,
}

/// Metadata services of clouds: two of the link-local ones, and all of the list that the agent
/// closes, `banger_wire::metadata_services`. That is written out here, so that the program for
/// guests needs no gRPC; a test holds both together.
const METADATA: [[u8; 4]; 7] = [
    [169, 254, 169, 254],
    [169, 254, 170, 2],
    [100, 100, 100, 200],
    [168, 63, 129, 16],
    [192, 0, 0, 192],
    [100, 96, 0, 96],
    [100, 80, 80, 80],
];

/// The ports of banger: API, its metrics, agent, its metrics.
const BANGER: [u16; 4] = [7070, 7071, 7072, 7073];

/// All of them. The number of each is its place.
#[must_use]
pub fn attempts(scene: &Scene) -> Vec<Attempt> {
    type Make = fn(&Scene, &[u8]) -> Vec<Vec<u8>>;
    let table: [(&'static str, Reach, Make); 37] = [
        ("the victim's address as its own", Reach::NotItsOwn, |s, m| {
            let [to, from] = [s.gateway.mac, s.own.mac];
            let you = s.victim.address;
            let web = (s.outside, 80);
            [
                udp((you, 9), (s.gateway.address, PORT), m),
                udp((you, 9), (s.outside, PORT), m),
                echo(you, s.outside, 7, 7, m),
                tcp((you, 40_000), web, BEGINS, m),
                tcp((you, 40_000), web, ENDS, m),
            ]
            .map(|packet| ip_frame(to, from, &packet))
            .to_vec()
        }),
        ("ARP as the victim", Reach::NotItsOwn, |s, m| claims(s, s.victim.address, m)),
        ("ARP as the gateway", Reach::NotItsOwn, |s, m| claims(s, s.gateway.address, m)),
        ("ARP as the host's uplink", Reach::NotItsOwn, |s, m| claims(s, s.uplink, m)),
        ("ARP as nobody, to learn who is there", Reach::NotItsOwn, |s, m| {
            let ask = |who| {
                let nobody = (s.own.mac, Ipv4Addr::UNSPECIFIED);
                arp([BROADCAST, s.own.mac], 1, nobody, ([0; 6], who), m)
            };
            [s.victim.address, s.gateway.address, s.uplink].map(ask).to_vec()
        }),
        ("ARP answers as the gateway to the victim", Reach::NotItsOwn, |s, m| {
            let to = (s.victim.mac, s.victim.address);
            let answer =
                |from, hardware| arp([s.victim.mac, from], 2, (hardware, s.gateway.address), to, m);
            vec![
                answer(s.own.mac, s.own.mac),
                answer(s.gateway.mac, s.own.mac),
                answer(s.gateway.mac, s.gateway.mac),
            ]
        }),
        ("ARP whose sender is not the frame's", Reach::NotItsOwn, |s, m| {
            let to = (s.gateway.mac, s.gateway.address);
            let (me, you) = (s.own, s.victim);
            vec![
                arp([s.gateway.mac, me.mac], 2, (you.mac, me.address), to, m),
                arp([s.gateway.mac, you.mac], 2, (me.mac, me.address), to, m),
                arp([s.gateway.mac, me.mac], 2, (you.mac, you.address), to, m),
            ]
        }),
        ("the metadata service's address as its own", Reach::NotItsOwn, |s, m| {
            let from = (Ipv4Addr::from(METADATA[0]), 80);
            vec![
                ip_frame(s.gateway.mac, s.own.mac, &udp(from, (s.gateway.address, PORT), m)),
                ip_frame(s.victim.mac, s.own.mac, &udp(from, (s.victim.address, PORT), m)),
            ]
        }),
        ("an address of the world as its own", Reach::NotItsOwn, |s, m| {
            let from = (s.outside, 80);
            vec![
                ip_frame(s.gateway.mac, s.own.mac, &udp(from, (s.gateway.address, PORT), m)),
                ip_frame(s.gateway.mac, s.own.mac, &tcp(from, (s.victim.address, 9), ENDS, m)),
                ip_frame(s.victim.mac, s.own.mac, &tcp(from, (s.victim.address, 9), ENDS, m)),
            ]
        }),
        ("the host's addresses as its own", Reach::NotItsOwn, |s, m| {
            let from = [s.gateway.address, s.uplink, Ipv4Addr::LOCALHOST];
            let packet = |from| udp((from, 9), (s.gateway.address, PORT), m);
            from.map(|from| ip_frame(s.gateway.mac, s.own.mac, &packet(from))).to_vec()
        }),
        ("no address, and everybody's", Reach::NotItsOwn, |s, m| {
            let from = [Ipv4Addr::UNSPECIFIED, Ipv4Addr::BROADCAST, Ipv4Addr::new(224, 0, 0, 1)];
            let packet = |from| udp((from, 9), (s.gateway.address, PORT), m);
            from.map(|from| ip_frame(s.gateway.mac, s.own.mac, &packet(from))).to_vec()
        }),
        ("another MAC", Reach::NotItsOwn, |s, m| vec![as_mac(s, [2, 9, 9, 9, 9, 9], m)]),
        ("the victim's MAC", Reach::NotItsOwn, |s, m| {
            vec![
                as_mac(s, s.victim.mac, m),
                arp([BROADCAST, s.victim.mac], 1, tuple(s.victim), ([0; 6], s.gateway.address), m),
                ip_frame(
                    s.gateway.mac,
                    s.victim.mac,
                    &udp((s.victim.address, 9), (s.gateway.address, PORT), m),
                ),
                ethernet(BROADCAST, s.victim.mac, 0x88b5, m),
            ]
        }),
        ("the gateway's MAC", Reach::NotItsOwn, |s, m| {
            vec![as_mac(s, s.gateway.mac, m), ethernet(BROADCAST, s.gateway.mac, 0x88b5, m)]
        }),
        ("MACs without end", Reach::NotItsOwn, |s, m| {
            (0..64).map(|n| as_mac(s, [2, 7, 7, 7, 7, n], m)).collect()
        }),
        ("metadata services", Reach::Closed, |s, m| {
            let frames = METADATA.map(|to| {
                let packet = tcp((s.own.address, 40_001), (to.into(), 80), BEGINS, m);
                ip_frame(s.gateway.mac, s.own.mac, &packet)
            });
            frames.to_vec()
        }),
        ("answers of a DHCP server", Reach::NotItsOwn, |s, m| {
            let to = [(BROADCAST, Ipv4Addr::BROADCAST), tuple(s.victim), tuple(s.gateway)];
            let packet = |to| udp((s.own.address, 67), (to, 68), m);
            to.map(|(mac, to)| ip_frame(mac, s.own.mac, &packet(to))).to_vec()
        }),
        ("questions of a DHCP client", Reach::NotItsOwn, |s, m| {
            let packet = udp((Ipv4Addr::UNSPECIFIED, 68), (Ipv4Addr::BROADCAST, 67), m);
            vec![ip_frame(BROADCAST, s.own.mac, &packet)]
        }),
        ("router advertisements", Reach::NotItsOwn, |s, m| {
            // For half an hour, with its own Ethernet address as the router's.
            let rest = [&[64, 0, 7, 8][..], &[0; 8], &[1, 1], &s.own.mac, m].concat();
            vec![six(s, 134, &rest)]
        }),
        ("neighbours of IPv6", Reach::NotItsOwn, |s, m| {
            let about = [&[0x60, 0, 0, 0][..], &link_local(s.victim.mac).octets()];
            let asked = [&about.concat()[..], &[1, 1], &s.own.mac, m].concat();
            let said = [&about.concat()[..], &[2, 1], &s.own.mac, m].concat();
            vec![six(s, 135, &asked), six(s, 136, &said)]
        }),
        ("listeners and redirects of IPv6", Reach::NotItsOwn, |s, m| {
            let all: [u8; 16] = Ipv6Addr::from(0xff02_u128 << 112 | 2).octets();
            let joins = [&[0; 4][..], &all, m].concat();
            let report = [&[0, 0, 0, 1, 4, 0, 0, 0][..], &all, m].concat();
            vec![six(s, 131, &joins), six(s, 143, &report), six(s, 137, &joins), six(s, 133, m)]
        }),
        ("a ping of IPv6 to the victim", Reach::NotItsOwn, |s, m| {
            let to = link_local(s.victim.mac);
            let (_, packet) = icmpv6(link_local(s.own.mac), to, 128, &[&[0, 7, 0, 7], m].concat());
            vec![ethernet(s.victim.mac, s.own.mac, 0x86dd, &packet)]
        }),
        ("VLAN tags", Reach::NotItsOwn, |s, m| {
            let inner = udp((s.own.address, 9), (s.gateway.address, PORT), m);
            let theirs = udp((s.own.address, 9), (s.victim.address, PORT), m);
            let tagged = |to, kind, tags: &[u8], inner: &[u8]| {
                ethernet(to, s.own.mac, kind, &[tags, &[8, 0], inner].concat())
            };
            let to = s.gateway.mac;
            vec![
                tagged(to, 0x8100, &[0, 1], &inner),
                tagged(to, 0x8100, &[0, 5], &inner),
                tagged(to, 0x8100, &[0xe0, 0], &inner),
                tagged(to, 0x88a8, &[0, 5], &inner),
                tagged(to, 0x88a8, &[0, 5, 0x81, 0, 0, 6], &inner),
                tagged(s.victim.mac, 0x8100, &[0, 1], &theirs),
                tagged(s.victim.mac, 0x88a8, &[0, 0, 0x81, 0, 0, 0], &theirs),
            ]
        }),
        ("other protocols than IPv4 and ARP", Reach::NotItsOwn, |s, m| {
            // Experimental, PPPoE, MPLS, EAPOL, batman-adv.
            let kinds = [0x88b5, 0x8863, 0x8864, 0x8847, 0x888e, 0x4305];
            let to = [BROADCAST, s.victim.mac, s.gateway.mac];
            let frame = |(to, kind)| ethernet(to, s.own.mac, kind, m);
            kinds.into_iter().flat_map(|kind| to.map(|to| (to, kind))).map(frame).collect()
        }),
        ("what is for the bridge itself", Reach::Bridge, |s, m| {
            let packet = udp((s.own.address, 9), (s.gateway.address, PORT), m);
            let to = |last| [0x01, 0x80, 0xc2, 0, 0, last];
            // A bridge that says to be the root (IEEE 802.1D), LACP, LLDP, and IP past the bridge.
            let root = [&[0x42, 0x42, 3][..], &[0; 5], &[0; 27], m].concat();
            vec![
                ethernet(to(0), s.own.mac, 38, &root),
                ethernet(to(2), s.own.mac, 0x8809, m),
                ethernet(to(14), s.own.mac, 0x88cc, m),
                ip_frame(to(14), s.own.mac, &packet),
            ]
        }),
        ("straight to the victim", Reach::Bridge, |s, m| {
            let packets = [
                udp((s.own.address, 9), (s.victim.address, PORT), m),
                echo(s.own.address, s.victim.address, 8, 8, m),
                tcp((s.own.address, 40_002), (s.victim.address, 22), BEGINS, m),
            ];
            let question =
                arp([s.victim.mac, s.own.mac], 1, tuple(s.own), ([0; 6], s.victim.address), m);
            let frames = packets.map(|packet| ip_frame(s.victim.mac, s.own.mac, &packet));
            frames.into_iter().chain([question]).collect()
        }),
        ("asking all for the victim", Reach::Router, |s, m| {
            vec![arp([BROADCAST, s.own.mac], 1, tuple(s.own), ([0; 6], s.victim.address), m)]
        }),
        ("asking for the host's uplink", Reach::Router, |s, m| {
            vec![arp([BROADCAST, s.own.mac], 1, tuple(s.own), ([0; 6], s.uplink), m)]
        }),
        ("to all, for the victim", Reach::Router, |s, m| {
            let packet = udp((s.own.address, 9), (s.victim.address, PORT), m);
            vec![ip_frame(BROADCAST, s.own.mac, &packet)]
        }),
        ("to all", Reach::Router, |s, m| {
            let packet = udp((s.own.address, 9), (Ipv4Addr::BROADCAST, PORT), m);
            vec![ip_frame(BROADCAST, s.own.mac, &packet)]
        }),
        ("groups, and joining them", Reach::Router, |s, m| {
            let group = Ipv4Addr::new(224, 0, 0, 251);
            let to = [0x01, 0, 0x5e, 0, 0, 251];
            let joins = icmp([0x16, 0], group.octets(), m);
            let asks = icmp([0x11, 0], [0; 4], m);
            [ipv4(2, s.own.address, group, &joins), ipv4(2, s.own.address, group, &asks)]
                .into_iter()
                .chain([udp((s.own.address, 5353), (group, PORT), m)])
                .map(|packet| ip_frame(to, s.own.mac, &packet))
                .collect()
        }),
        ("the victim by the router", Reach::Router, |s, m| {
            by_router(
                s,
                &[
                    udp((s.own.address, 9), (s.victim.address, PORT), m),
                    echo(s.own.address, s.victim.address, 9, 9, m),
                    tcp((s.own.address, 40_003), (s.victim.address, 22), BEGINS, m),
                ],
            )
        }),
        ("the victim by a route of its own choice", Reach::Router, |s, m| {
            // Loose source route (RFC 791): to the gateway, and on to the victim.
            let [a, b, c, d] = s.victim.address.octets();
            let route = [131, 7, 4, a, b, c, d, 0];
            let body = udp((s.own.address, 9), (s.gateway.address, PORT), m).split_off(20);
            by_router(s, &[ipv4_with(&route, 17, s.own.address, s.gateway.address, &body)])
        }),
        ("packets in packets", Reach::Router, |s, m| {
            let inner = udp((s.victim.address, 9), (s.gateway.address, PORT), m);
            let generic = [&[0, 0, 8, 0][..], &inner].concat();
            let (own, to) = (s.own.address, s.gateway.address);
            by_router(
                s,
                &[ipv4(4, own, to, &inner), ipv4(41, own, to, &inner), ipv4(47, own, to, &generic)],
            )
        }),
        ("services of the host at the gateway's address", Reach::Router, |s, m| {
            services(s, s.gateway.address, m)
        }),
        ("services of the host at the uplink's address", Reach::Router, |s, m| {
            let mut frames = services(s, s.uplink, m);
            frames.extend(services(s, Ipv4Addr::LOCALHOST, m));
            frames
        }),
        ("the outside", Reach::Router, |s, m| {
            by_router(
                s,
                &[
                    udp((s.own.address, 9), (s.outside, PORT), m),
                    echo(s.own.address, s.outside, 10, 10, m),
                    tcp((s.own.address, 40_004), (s.outside, PORT), BEGINS, m),
                ],
            )
        }),
    ];
    let number = |at: usize| mark(u16::try_from(at).unwrap_or(u16::MAX));
    let made = table.into_iter().enumerate();
    made.map(|(at, (name, reach, make))| Attempt { name, frames: make(scene, &number(at)), reach })
        .collect()
}

fn tuple(party: Party) -> (MacBytes, Ipv4Addr) {
    (party.mac, party.address)
}

/// Everything by which ARP may be told that an address is the attacker's.
fn claims(s: &Scene, claimed: Ipv4Addr, m: &[u8]) -> Vec<Vec<u8>> {
    let me = (s.own.mac, claimed);
    vec![
        arp([BROADCAST, s.own.mac], 1, me, ([0; 6], claimed), m),
        arp([BROADCAST, s.own.mac], 2, me, (BROADCAST, claimed), m),
        arp([BROADCAST, s.own.mac], 1, me, ([0; 6], s.gateway.address), m),
        arp([s.gateway.mac, s.own.mac], 2, me, tuple(s.gateway), m),
        arp([s.victim.mac, s.own.mac], 2, me, tuple(s.victim), m),
    ]
}

fn as_mac(s: &Scene, mac: MacBytes, m: &[u8]) -> Vec<u8> {
    let packet = udp((s.own.address, 9), (s.gateway.address, PORT), m);
    ip_frame(s.gateway.mac, mac, &packet)
}

fn by_router(s: &Scene, packets: &[Vec<u8>]) -> Vec<Vec<u8>> {
    packets.iter().map(|packet| ip_frame(s.gateway.mac, s.own.mac, packet)).collect()
}

fn services(s: &Scene, at: Ipv4Addr, m: &[u8]) -> Vec<Vec<u8>> {
    let ports = BANGER.into_iter().chain([PORT, 22, 53]);
    let both = |port| {
        [
            udp((s.own.address, 9), (at, port), m),
            tcp((s.own.address, 40_005), (at, port), BEGINS, m),
        ]
    };
    by_router(s, &ports.flat_map(both).collect::<Vec<_>>())
}

/// The address that an interface with this Ethernet address gives itself (RFC 4291, appendix A).
fn link_local([a, b, c, d, e, f]: MacBytes) -> Ipv6Addr {
    let octets = [0xfe, 0x80, 0, 0, 0, 0, 0, 0, a ^ 2, b, c, 0xff, 0xfe, d, e, f];
    octets.into()
}

/// A message of ICMPv6 to all of the link.
fn six(s: &Scene, kind: u8, rest: &[u8]) -> Vec<u8> {
    let all = Ipv6Addr::from(0xff02_u128 << 112 | 1);
    let (to, packet) = icmpv6(link_local(s.own.mac), all, kind, rest);
    ethernet(to, s.own.mac, 0x86dd, &packet)
}

/// One word, as it is typed: `address-mac` of itself, gateway and victim, uplink, outside.
impl fmt::Display for Scene {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for Party { address, mac } in [self.own, self.gateway, self.victim] {
            write!(f, "{address}-")?;
            mac.iter().try_for_each(|byte| write!(f, "{byte:02x}"))?;
            f.write_str(",")?;
        }
        write!(f, "{},{}", self.uplink, self.outside)
    }
}

/// What is no scene.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("this is no scene: {0}")]
pub struct BadScene(String);

impl FromStr for Scene {
    type Err = BadScene;

    fn from_str(text: &str) -> Result<Self, BadScene> {
        let party = |text: &str| {
            let (address, mac) = text.split_once('-')?;
            let mac = u64::from_str_radix(mac, 16).ok().filter(|_| mac.len() == 12)?;
            let [_, _, mac @ ..] = mac.to_be_bytes();
            Some(Party { address: address.parse().ok()?, mac })
        };
        let read = || {
            let mut words = text.split(',');
            let mut next = || words.next();
            let scene = Self {
                own: party(next()?)?,
                gateway: party(next()?)?,
                victim: party(next()?)?,
                uplink: next()?.parse().ok()?,
                outside: next()?.parse().ok()?,
            };
            next().is_none().then_some(scene)
        };
        read().ok_or_else(|| BadScene(text.to_owned()))
    }
}

#[cfg(test)]
mod tests;

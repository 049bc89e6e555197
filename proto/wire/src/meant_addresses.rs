//! The IPv4 address that an IPv6 address stands for: whoever connects to the one reaches the other,
//! so it is that one which is judged.
//!
//! Asked, beside [`metadata_services`](super::metadata_services), wherever somebody else says which
//! address is to be reached. Pure.

use std::net::{IpAddr, Ipv4Addr};

/// Where an address leads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Meant {
    /// To this one.
    One(IpAddr),
    /// To whichever a tunnel or translator makes of it.
    Tunnel,
}

/// The IPv4 address that an IPv6 address stands for, if it does: mapped, compatible, translated
/// (RFC 6052, RFC 2765), 6to4, ISATAP. Teredo hides two of them, and what 64:ff9b:1::/48 stands for
/// is each network's own affair (RFC 8215).
#[must_use]
pub fn meant(address: IpAddr) -> Meant {
    let IpAddr::V6(v6) = address else { return Meant::One(address) };
    if v6.is_loopback() || v6.is_unspecified() {
        return Meant::One(address);
    }
    let [a, b, c, d, e, f, g, h] = v6.segments();
    let last = |high: u16, low: u16| {
        let ([a, b], [c, d]) = (high.to_be_bytes(), low.to_be_bytes());
        Ipv4Addr::new(a, b, c, d).into()
    };
    Meant::One(match (a, b, c, d, e, f) {
        (0, 0, 0, 0, 0, 0 | 0xffff)
        | (0, 0, 0, 0, 0xffff, 0)
        | (0x64, 0xff9b, 0, 0, 0, 0)
        | (_, _, _, _, 0 | 0x200, 0x5efe) => last(g, h),
        (0x2002, high, low, ..) => last(high, low),
        (0x64, 0xff9b, 1, ..) | (0x2001, 0, ..) => return Meant::Tunnel,
        _ => address,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stands_for_an_ipv4_address_is_that_address() {
        let read = |text: &str| text.parse::<IpAddr>().expect("an address");
        for stands in [
            "192.0.2.7",
            "::ffff:192.0.2.7",
            "::192.0.2.7",
            "::ffff:0:192.0.2.7",
            "64:ff9b::192.0.2.7",
            "2002:c000:207::1",
            "2001:db8::5efe:192.0.2.7",
            "fd12::200:5efe:192.0.2.7",
        ] {
            assert_eq!(meant(read(stands)), Meant::One(read("192.0.2.7")), "{stands}");
        }
        for itself in ["::1", "::", "2001:db8::7", "fd00:ec2::254", "64:ff9b:2::7"] {
            assert_eq!(meant(read(itself)), Meant::One(read(itself)), "{itself}");
        }
        for tunnel in ["64:ff9b:1::c000:207", "2001:0:102:304:0:0:80ff:fffe"] {
            assert_eq!(meant(read(tunnel)), Meant::Tunnel, "{tunnel}");
        }
    }
}

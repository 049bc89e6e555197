use super::*;
use crate::hostile::{mark, marked};

const US: Ipv4Addr = Ipv4Addr::new(10, 64, 0, 2);
const THEM: Ipv4Addr = Ipv4Addr::new(10, 64, 0, 1);

#[test]
fn what_is_sent_is_read_back_as_what_it_is() {
    let (to, from) = ([2; 6], [4; 6]);
    let asks = arp([to, from], 1, (from, US), ([0; 6], THEM), &mark(7));
    assert_eq!((asks.len(), read(&asks), marked(&asks)), (60, Read::Asked(THEM), Some(7)));
    let ping = ip_frame(to, from, &echo(US, THEM, 3, 4, &mark(12)));
    assert_eq!((read(&ping), marked(&ping)), (Read::Pinged(THEM), Some(12)));
    let answer = ipv4(1, THEM, US, &icmp([0, 0], [0, 3, 0, 4], b""));
    assert_eq!(read(&ip_frame(from, to, &answer)), Read::Answered(3, 4));
    let other = ip_frame(to, from, &udp((US, 1), (THEM, 2), b"hostile:x12"));
    assert_eq!((read(&other), marked(&other)), (Read::Other, None));
}

/// By RFC 1071 what is right sums up to all ones.
#[test]
fn checksums_are_those_that_a_kernel_takes() {
    let right = |bytes: &[u8]| checksum(sum(bytes)) == [0, 0];
    let packet = tcp((US, 9), (THEM, 80), BEGINS, b"odd");
    assert!(right(&packet[..20]));
    let pseudo = [&US.octets()[..], &THEM.octets(), &[0, 6, 0, 23]].concat();
    assert!(right(&[&pseudo[..], &packet[20..]].concat()));
    let ping = echo(US, THEM, 1, 2, b"abc");
    assert!(right(&ping[..20]) && right(&ping[20..]));
    let options = ipv4_with(&[131, 7, 4, 10, 64, 0, 1, 0], 17, US, THEM, b"");
    assert!(right(&options) && options[0] == 0x47);
}

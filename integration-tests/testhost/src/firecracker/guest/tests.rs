use super::*;

#[test]
fn boots_are_counted_in_the_last_block_and_nowhere_else() {
    let mut disk = tempfile::tempfile().expect("a file");
    disk.write_all(&vec![7; 3 * BLOCK]).expect("write");
    assert_eq!(count_boot(&mut disk, "aa").expect("first"), 1);
    assert_eq!(count_boot(&mut disk, "bb").expect("second"), 2);
    let mut bytes = Vec::new();
    disk.rewind().expect("rewind");
    disk.read_to_end(&mut bytes).expect("read");
    assert_eq!(bytes.len(), 3 * BLOCK);
    assert!(bytes[..2 * BLOCK].iter().all(|byte| *byte == 7));
    assert!(bytes[2 * BLOCK..].starts_with(b"boots 2 bb\n\0"));
}

#[test]
fn addresses_come_from_the_kernel_s_ip_argument() {
    let args = "console=ttyS0 ip=10.64.0.2::10.64.0.1:255.255.240.0::eth0:off panic=1";
    let (own, gateway) = addresses(args).expect("both");
    assert_eq!((own.to_string(), gateway.to_string()), ("10.64.0.2".into(), "10.64.0.1".into()));
    assert_eq!(addresses("console=ttyS0"), None);
    assert_eq!(addresses("ip=dhcp"), None);
}

#[test]
fn an_arp_answer_is_told_from_the_question() {
    let (own, gateway) = (Ipv4Addr::new(10, 0, 0, 2), Ipv4Addr::new(10, 0, 0, 1));
    let question = arp_request([2, 0, 0, 0, 0, 1], own, gateway);
    assert!(!is_arp_reply(&question, gateway));
    let mut answer = question;
    answer[21] = 2;
    answer[28..32].copy_from_slice(&gateway.octets());
    assert!(is_arp_reply(&answer, gateway));
    assert!(!is_arp_reply(&answer, own));
    assert!(!is_arp_reply(&[], gateway));
}

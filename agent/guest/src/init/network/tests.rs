use super::*;

#[test]
fn the_word_that_the_agent_gives_is_read() {
    let line =
        "console=ttyS0 reboot=k ip=10.64.0.2::10.64.0.1:255.255.240.0:web-1:eth0:off panic=1";
    let told = told(line).expect("it is there");
    assert_eq!(told.address, Ipv4Addr::new(10, 64, 0, 2));
    assert_eq!(told.gateway, Some(Ipv4Addr::new(10, 64, 0, 1)));
    assert_eq!((told.prefix, told.hostname.as_str(), told.device.as_str()), (20, "web-1", "eth0"));
    assert!(told.dns.is_empty());
}

#[test]
fn what_is_left_out_has_its_default_and_nonsense_is_none() {
    let with_dns = told("ip=10.0.0.2:::255.0.0.0::::9.9.9.9:").expect("it is enough");
    assert_eq!((with_dns.gateway, with_dns.device.as_str()), (None, "eth0"));
    assert_eq!(with_dns.dns, [Ipv4Addr::new(9, 9, 9, 9)]);
    for none in ["", "ip=", "ip=dhcp", "ip=10.0.0.2", "ip=10.0.0.2:::255.0.255.0::", "zip=1"] {
        assert_eq!(told(none), None, "{none}");
    }
}

#[test]
fn a_link_that_leads_nowhere_becomes_a_file_and_one_that_leads_somewhere_stays() {
    let dir = tempfile::tempdir().expect("a directory can be made");
    let at = |name: &str| dir.path().join(name).to_str().expect("text").to_owned();
    for (link, target) in [("stub", "nowhere/resolv.conf"), ("link", "file")] {
        std::os::unix::fs::symlink(target, at(link)).expect("a link can be made");
    }
    std::fs::write(at("file"), "old").expect("it can be written");
    for name in ["stub", "link", "new"] {
        write(&at(name), "text").expect("there is a way");
        assert_eq!(std::fs::read_to_string(at(name)).expect("it is there"), "text");
    }
    assert_eq!(std::fs::read_to_string(at("file")).expect("it is there"), "text");
    assert!(!std::fs::symlink_metadata(at("stub")).expect("it is there").is_symlink());
}

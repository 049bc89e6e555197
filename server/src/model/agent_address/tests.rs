use super::*;

#[test]
fn a_host_that_joins_from_elsewhere_is_not_the_servers_own_machine() {
    let peer = |text: &str| Some(text.parse().expect("an address"));
    for local in [
        "127.0.0.1:7072",
        "127.9.9.9:22",
        "[::1]:7072",
        "[::ffff:127.0.0.1]:1",
        "[64:ff9b::7f00:1]:7072",
        "[2002:7f00:1::1]:7072",
        "LocalHost:7072",
    ] {
        for from in [peer("192.0.2.7:40000"), peer("[2001:db8::7]:40000")] {
            assert!(check_joining(local, from).is_err(), "{local} {from:?}");
        }
        for from in [None, peer("127.0.0.1:40000"), peer("[::1]:1"), peer("[::ffff:127.0.0.1]:1")] {
            assert_eq!(check_joining(local, from), Ok(()), "{local} {from:?}");
        }
    }
    let from = peer("192.0.2.7:40000");
    assert_eq!(check_joining("192.0.2.8:7072", from), Ok(()));
    assert!(check_joining("169.254.169.254:80", from).is_err());
}

#[test]
fn an_agent_address_can_be_dialled() {
    for good in [
        "192.0.2.7:7072",
        "[2001:db8::7]:7072",
        "host:1",
        "host-1.example:65535",
        "127.0.0.1:7072",
        "[64:ff9b::c000:207]:7072",
        "[2002:c000:207::1]:7072",
        "0x.example:1",
        "7.example:1",
        "0xyz:1",
    ] {
        assert_eq!(check(good), Ok(()), "{good}");
    }
    for bad in [
        "",
        "host",
        "host:",
        ":7072",
        "host:0",
        "host:65536",
        "host:+1",
        "0.0.0.0:7072",
        "[::]:7072",
        "0.1.2.3:7072",
        "169.254.169.254:80",
        "[::ffff:169.254.169.254]:80",
        "[fe80::1]:7072",
        "100.100.100.200:80",
        "168.63.129.16:80",
        "192.0.0.192:80",
        "100.96.0.96:80",
        "100.80.80.80:80",
        "[::ffff:100.100.100.200]:80",
        "[64:ff9b::a9fe:a9fe]:80",
        "[64:ff9b::6464:64c8]:80",
        "[2002:a9fe:a9fe::1]:80",
        "[::169.254.169.254]:80",
        "[::ffff:0:169.254.169.254]:80",
        "[fd12::200:5efe:169.254.169.254]:80",
        "[64:ff9b:1::a9fe:a9fe]:80",
        "[2001:0:102:304:0:0:80ff:fffe]:80",
        "[64:ff9b::e000:1]:7072",
        "[fd00:ec2::254]:80",
        "[fd20:ce::254]:80",
        "[fd00:c1::a9fe:a9fe]:80",
        "224.0.0.1:7072",
        "255.255.255.255:7072",
        "[ff02::1]:7072",
        "256.1.1.1:1",
        "1.2.3:1",
        "0x7f.1:5432",
        "0x7f000001:5432",
        "0XA9FEA9FE:80",
        "169.0xfea9fe:80",
        "0177.1:1",
        "127.0.0.1.:1",
        "0x:1",
        "a b:1",
        "host/x:1",
        "user@host:1",
        "-a:1",
        "a..b:1",
        "http://host:1",
        "host:1\n",
        "2001:db8::7:7072",
        &format!("{}:1", "a".repeat(300)),
    ] {
        assert!(check(bad).is_err(), "{bad:?}");
    }
}

#[test]
fn a_name_is_dialled_only_where_it_stands_for_another_machine() {
    let found = |text: &str, ip: &str| check_found(text, ip.parse().expect("an address"));
    for name in ["host.example:7072", "ip6-localhost:7072", "localhost.example:7072"] {
        for good in ["192.0.2.7", "10.0.0.7", "2001:db8::7", "fd00::7"] {
            assert_eq!(found(name, good), Ok(()), "{name} {good}");
        }
        for bad in [
            "127.0.0.1",
            "127.0.1.1",
            "::1",
            "::ffff:127.0.0.1",
            "169.254.169.254",
            "::ffff:169.254.169.254",
            "fe80::1",
            "100.100.100.200",
            "::ffff:168.63.129.16",
            "fd00:ec2::254",
            "64:ff9b::7f00:1",
            "64:ff9b::a9fe:a9fe",
            "2002:a9fe:a9fe::1",
            "64:ff9b:1::a9fe:a9fe",
            "0.0.0.0",
            "::",
            "224.0.0.1",
            "255.255.255.255",
        ] {
            assert!(found(name, bad).is_err(), "{name} {bad}");
        }
    }
    // This one stands for the server's machine by its name, and no host from elsewhere has it.
    assert_eq!(found("LocalHost:7072", "127.0.0.1"), Ok(()));
    assert!(found("localhost:7072", "169.254.169.254").is_err());
    assert_eq!(found("127.0.0.1:7072", "127.0.0.1"), Ok(()));
}

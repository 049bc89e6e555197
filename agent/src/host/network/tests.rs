//! Which networks a guest subnet may not share addresses with.

use super::*;

fn used(text: &str, device: &str) -> UsedNetwork {
    let (network, prefix) = text.split_once('/').unwrap();
    UsedNetwork {
        network: network.parse().unwrap(),
        prefix: prefix.parse().unwrap(),
        device: device.to_owned(),
    }
}

#[test]
fn a_network_clashes_with_the_subnet_inside_it_around_it_and_the_same() {
    let subnet = Subnet::containing("10.64.0.1".parse().unwrap(), 20).unwrap();
    let bridge = LinkName::new("bgbr0").unwrap();
    for text in ["10.64.0.0/24", "10.64.8.7/32", "10.64.0.0/20", "10.64.0.0/12"] {
        let list = [used("192.0.2.0/24", "eth0"), used(text, "eth0")];
        assert_eq!(clash(subnet, &list, &bridge), Some(&list[1]), "{text}");
    }
    for text in ["10.64.16.0/20", "10.63.255.0/24", "192.0.2.0/24"] {
        assert_eq!(clash(subnet, &[used(text, "eth0")], &bridge), None, "{text}");
    }
    assert_eq!(clash(subnet, &[used("10.64.0.0/20", "bgbr0")], &bridge), None);
}

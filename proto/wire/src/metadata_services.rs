//! Where clouds tell their machines secrets: the addresses of metadata services, each with who says
//! so. The one list: of what guests do not reach, what is no registry, and what is no agent.
//!
//! Driven by the agent's configuration and by whatever of the server dials where others say. All
//! other clouds have theirs at link-local addresses, which are judged as such.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Those by IPv4 that are not link-local.
pub const IPV4: [Ipv4Addr; 5] = [
    // Alibaba: "Overview of ECS instance metadata", alibabacloud.com/help/en/ecs.
    Ipv4Addr::new(100, 100, 100, 200),
    // Azure, the VM agent's wire server: "What is IP address 168.63.129.16?", learn.microsoft.com.
    Ipv4Addr::new(168, 63, 129, 16),
    // Oracle, before Oracle Cloud Infrastructure ("Compute Classic"), by the lists of others: its
    // own pages of today name the link-local one alone.
    Ipv4Addr::new(192, 0, 0, 192),
    // Volcano Engine and BytePlus: "Viewing instance metadata", docs.byteplus.com/en/docs/ecs.
    Ipv4Addr::new(100, 96, 0, 96),
    // UCloud: docs.ucloud.cn/uhost/guide/metadata.
    Ipv4Addr::new(100, 80, 80, 80),
];

/// Those by IPv6 that are not link-local: AWS, Google, Oracle.
pub const IPV6: [Ipv6Addr; 3] = [
    Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254),
    Ipv6Addr::new(0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254),
    Ipv6Addr::new(0xfd00, 0xc1, 0, 0, 0, 0, 0xa9fe, 0xa9fe),
];

/// Whether an address is one of them. One that stands for another, as by a translator, is itself
/// here.
#[must_use]
pub fn is_one(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(v4) => IPV4.contains(&v4),
        IpAddr::V6(v6) => IPV6.contains(&v6),
    }
}

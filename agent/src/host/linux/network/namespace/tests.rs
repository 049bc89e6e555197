//! That changes of the network are heard, and which networks the machine uses. Needs root.

use std::collections::BTreeMap;
use std::time::Duration;

use super::*;
use crate::host::exec::{RealExec, Tool, ToolCall, run_ok, search_dirs};
use crate::host::linux::network::test_net::in_namespace;

async fn tool(tool: Tool, arguments: &str, stdin: &str) {
    let exec = RealExec::find(&BTreeMap::new(), &search_dirs(), Duration::from_secs(20));
    let call = ToolCall::new(tool, arguments.split_whitespace()).stdin(stdin);
    run_ok(&exec, "run", "a tool", &call).await.unwrap();
}

async fn ip(arguments: &str) {
    tool(Tool::Ip, arguments, "").await;
}

/// Waits until something was told, and drops what else was.
async fn heard(network: &LinuxNetwork, what: &str) {
    let limit = Duration::from_secs(20);
    let told = tokio::time::timeout(limit, network.changed()).await;
    told.unwrap_or_else(|_| panic!("nobody told of {what}")).unwrap();
}

#[test]
fn priv_changes_of_links_addresses_routes_and_rules_are_heard() {
    in_namespace(|| async {
        let network = LinuxNetwork::default();
        // Opens the sockets; nothing has changed yet.
        let first = tokio::time::timeout(Duration::from_millis(10), network.changed());
        assert!(first.await.is_err());
        for change in [
            "link add xx0 type bridge",
            "link set xx0 up",
            "address add 192.0.2.2/24 dev xx0",
            "route add 198.51.100.0/24 via 192.0.2.1 dev xx0 onlink",
            "rule add from 192.0.2.7 table 100",
            "link delete xx0",
        ] {
            ip(change).await;
            heard(&network, change).await;
        }
        tool(Tool::IptablesRestore, "--noflush", "*filter\n:XX-TEST - [0:0]\nCOMMIT\n").await;
        heard(&network, "a firewall rule").await;
    });
}

#[test]
fn priv_the_networks_of_addresses_and_routes_are_seen_and_wide_routes_are_not() {
    in_namespace(|| async {
        ip("link add xx0 type bridge").await;
        ip("link set xx0 up").await;
        ip("address add 192.0.2.2/24 dev xx0").await;
        ip("route add 10.80.0.0/16 via 192.0.2.1 dev xx0 onlink").await;
        ip("route add 10.0.0.0/8 via 192.0.2.1 dev xx0 onlink").await;
        ip("route add default via 192.0.2.1 dev xx0 onlink").await;
        ip("route add 10.90.0.0/16 dev xx0 table 100").await;
        let shown = |used: Vec<UsedNetwork>| -> Vec<String> {
            used.iter().map(ToString::to_string).collect()
        };
        let network = LinuxNetwork::default();
        assert_eq!(shown(network.addresses().await.unwrap()), ["192.0.2.0/24 on xx0"]);
        assert_eq!(
            shown(network.networks().await.unwrap()),
            ["10.80.0.0/16 on xx0", "10.90.0.0/16 on xx0", "192.0.2.0/24 on xx0"]
        );
    });
}

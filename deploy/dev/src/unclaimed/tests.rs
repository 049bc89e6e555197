use std::net::SocketAddr;

use banger_client::v1::HostStatus;

use super::super::ports;
use super::super::share::Share;
use super::*;

#[test]
fn unclaimed_vms_of_hosts_that_are_not_of_this_set_up_are_left_alone() {
    let server = ports::server(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
    let mut record = Record::new(false, String::new(), Share::of_a_simulation(), server);
    record.agents.push(ports::agent(&record.server, 0, true).unwrap());
    let host = |name: &str, id: &str| Host {
        name: name.to_owned(),
        status: Some(HostStatus { unclaimed_vm_ids: vec![id.to_owned()], ..Default::default() }),
        ..Host::default()
    };
    let mut hosts = [host("b0", "one"), host("theirs", "two"), Host::default()];
    assert_eq!(of(&record, &hosts), [("b0".to_owned(), "one".to_owned())]);
    assert_eq!(count_of(&record, &hosts), 1);
    // More than the server names.
    for host in &mut hosts[..2] {
        host.status.get_or_insert_default().unclaimed_vm_count = 300;
    }
    assert_eq!(count_of(&record, &hosts), 300);
}

//! Hosts and VMs in one order, over the API.

use banger_proto::v1::watch_service_client::WatchServiceClient;
use tonic_types::StatusExt as _;

use super::*;

/// What a client has put together.
#[derive(Debug, Default)]
struct Known {
    vms: std::collections::BTreeMap<String, v1::Vm>,
    hosts: std::collections::BTreeMap<String, v1::Host>,
    revision: u64,
}

impl Known {
    /// Applies responses until it is as is asked.
    async fn until(
        &mut self,
        stream: &mut Streaming<v1::WatchResponse>,
        check: impl Fn(&Self) -> bool,
    ) {
        let reading = async {
            while !check(self) {
                let said = stream.message().await.expect("it goes on").expect("it does not end");
                for event in said.events {
                    let removed = event.r#type() == v1::ChangeType::Removed;
                    match (event.vm, event.host) {
                        (Some(vm), None) if removed => drop(self.vms.remove(&vm.id)),
                        (Some(vm), None) => drop(self.vms.insert(vm.id.clone(), vm)),
                        (None, Some(host)) if removed => drop(self.hosts.remove(&host.id)),
                        (None, Some(host)) => drop(self.hosts.insert(host.id.clone(), host)),
                        other => panic!("of one thing: {other:?}"),
                    }
                }
                self.revision = said.revision;
            }
        };
        let in_time = timeout(PATIENCE, reading).await.is_ok();
        assert!(in_time, "{self:?}");
    }

    /// Whether each host books what its VMs do, as it must at every revision that a response ends.
    fn adds_up(&self) -> bool {
        let on = |host: &str| {
            let of_host = |vm: &&v1::Vm| vm.status.as_ref().is_some_and(|s| s.host_id == host);
            self.vms.values().filter(of_host).count()
        };
        self.hosts.values().all(|host| {
            let told = host.status.as_ref().map_or(0, |status| status.vm_count);
            usize::try_from(told).ok() == Some(on(&host.id))
        })
    }

    fn is_running(&self, name: &str) -> bool {
        let of_name = self.vms.values().find(|vm| vm.name == name);
        of_name.and_then(|vm| vm.status.as_ref()).map(v1::VmStatus::state)
            == Some(v1::VmState::Running)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_scheduler_has_capacity_and_vms_of_one_moment_and_goes_on_after_any_call() {
    let directory = tempfile::tempdir().expect("a directory");
    let server = started(&directory).await;
    let _host = join(channel(&server).await, "alpha").await;
    until_online(&server).await;
    // What is kept of its first words is news once.
    tokio::time::sleep(Duration::from_secs(2)).await;
    let mut vms = VmServiceClient::new(channel(&server).await);
    let mut hosts = HostServiceClient::new(channel(&server).await);
    let mut watches = WatchServiceClient::new(channel(&server).await);
    let begin = v1::WatchRequest::default();
    let mut stream = watches.watch(begin).await.expect("a stream").into_inner();
    let mut known = Known::default();
    known.until(&mut stream, |known| known.revision > 0).await;
    assert_eq!((known.hosts.len(), known.vms.len()), (1, 0));
    for name in ["one", "two"] {
        vms.create_vm(create(name)).await.expect("it is stored");
        known.until(&mut stream, |known| known.is_running(name) && known.adds_up()).await;
    }

    // A heartbeat comes every second at most, and is told to nobody.
    let end = tokio::time::Instant::now() + Duration::from_secs(3);
    while let Ok(said) = tokio::time::timeout_at(end, stream.message()).await {
        let said = said.expect("it goes on").expect("it does not end");
        assert!(said.events.is_empty(), "a bookmark at most: {said:?}");
    }

    // Lists of both kinds, and streams of one, go on from each other's revisions.
    let listed = hosts.list_hosts(v1::ListHostsRequest::default()).await.expect("listed");
    let listed = listed.into_inner();
    assert_eq!(listed.hosts[0].revision, known.hosts[&listed.hosts[0].id].revision);
    let after_revision = Some(listed.revision);
    let request = v1::WatchHostsRequest { after_revision, ..Default::default() };
    let mut of_hosts = hosts.watch_hosts(request).await.expect("a stream").into_inner();
    let cordon = v1::CordonHostRequest { host: "alpha".to_owned(), ..Default::default() };
    hosts.cordon_host(cordon).await.expect("it is stored");
    let said = timeout(PATIENCE, of_hosts.message()).await.expect("in time");
    let said = said.expect("it goes on").expect("it does not end");
    assert!(said.hosts.len() == 1 && said.hosts[0].cordoned, "{said:?}");
    assert!(said.revision > listed.revision && !said.initial_state_complete, "{said:?}");
    known.until(&mut stream, |known| known.hosts.values().all(|host| host.cordoned)).await;

    let offline =
        v1::HostFilter { states: vec![v1::HostState::Offline.into()], ..Default::default() };
    let request = v1::WatchHostsRequest { filter: Some(offline), after_revision: None };
    let mut none = hosts.watch_hosts(request).await.expect("a stream").into_inner();
    let said = none.message().await.expect("it goes on").expect("a state");
    assert!(said.hosts.is_empty() && said.initial_state_complete && said.revision > 0);

    let both = v1::WatchRequest {
        kinds: vec![v1::WatchKind::Vm.into()],
        hosts: Some(v1::HostFilter::default()),
        ..Default::default()
    };
    let refused = watches.watch(both).await.expect_err("a filter of what is not asked for");
    assert_eq!(refused.get_details_error_info().expect("has one").reason, "INVALID_FIELDS");
    server.shutdown().await;
}

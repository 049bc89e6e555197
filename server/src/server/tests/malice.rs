//! A host that was joined and means harm: its agent says what is huge, endless, forged, about
//! others, backwards or flapping, or that it is larger than it is; or it leaves a call without an
//! end. Nobody but that host may notice.
//!
//! Everything goes over the real link: mutual TLS, the decoder, the entrance, session, view, store.

use banger_proto::agent_v1 as wire;
use banger_proto::ids::VmId;

use super::agent::{Event, Said};
use super::*;

const AT: Option<prost_types::Timestamp> =
    Some(prost_types::Timestamp { seconds: 1_800_000_000, nanos: 0 });

/// What an honest agent would say of a VM that runs.
fn running(vm: &str) -> wire::ObservedVm {
    let version = Some(wire::Version { epoch: 1, generation: 1 });
    wire::ObservedVm {
        vm_id: vm.to_owned(),
        accepted: version,
        settled: version,
        phase: wire::Phase::Running.into(),
        observed_at: AT,
        phase_since: AT,
        ..wire::ObservedVm::default()
    }
}

fn numbered(events: impl Iterator<Item = Event> + Send + 'static) -> Said {
    Box::new(
        (1..)
            .zip(events)
            .map(|(sequence, event)| wire::ObserveResponse { sequence, event: Some(event) }),
    )
}

/// A server with an honest host that runs `good`, and a second host that is online and means harm.
struct Stage {
    directory: tempfile::TempDir,
    server: RunningServer,
    vms: VmServiceClient<Channel>,
    good: v1::Vm,
    honest: Host,
    malicious: Host,
}

impl Stage {
    async fn set() -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let server = started(&directory).await;
        let honest = join(channel(&server).await, "honest").await;
        until_online(&server).await;
        let vms = VmServiceClient::new(channel(&server).await);
        let malicious = join(channel(&server).await, "malicious").await;
        let mut stage = Self { directory, server, vms, good: v1::Vm::default(), honest, malicious };
        stage.until_host("online", |host| host.view.health.state.is_online()).await;
        stage.good = stage.create_on("good", "honest").await;
        stage
    }

    async fn create_on(&mut self, name: &str, host: &str) -> v1::Vm {
        let mut request = create(name);
        request.spec.get_or_insert_default().placement =
            Some(v1::Placement { host: host.to_owned(), ..v1::Placement::default() });
        self.vms.create_vm(request).await.expect("it is stored");
        let wait = v1::WaitVmRequest { vm: name.to_owned(), ..v1::WaitVmRequest::default() };
        let waited = self.vms.wait_vm(wait).await.expect("it answers").into_inner();
        assert_eq!(waited.outcome(), v1::WaitOutcome::Reached);
        waited.vm.expect("a VM")
    }

    /// Waits for what is known of the malicious host.
    async fn until_host(&self, what: &str, check: impl Fn(&crate::watch::HostSnapshot) -> bool) {
        self.until_named("malicious", what, check).await;
    }

    async fn until_named(
        &self,
        name: &str,
        what: &str,
        check: impl Fn(&crate::watch::HostSnapshot) -> bool,
    ) {
        let mut changed = self.server.view().hosts_changed();
        let find = || {
            let hosts = self.server.view().hosts();
            hosts.into_iter().find(|host| host.view.record.name == name)
        };
        let seen = async {
            while !find().is_some_and(|host| check(&host)) {
                changed.changed().await.expect("the view is there");
            }
        };
        if timeout(PATIENCE, seen).await.is_err() {
            panic!("the host is not {what}: {:?}", find());
        }
    }

    /// The status of the malicious host says what its agent did.
    async fn until_blamed(&self, word: &str) {
        self.until_host(&format!("blamed for {word}"), |host| {
            let health = &host.view.health;
            health.message.contains(word) && health.reason == "AGENT_BREAKS_PROTOCOL"
        })
        .await;
    }

    /// Others are served, and the honest VM is what it was.
    async fn unharmed(&mut self) {
        let get = v1::GetVmRequest { vm: "good".to_owned() };
        let good = self.vms.get_vm(get).await.expect("it is there").into_inner();
        assert_eq!(good.status.map(|status| status.state()), Some(v1::VmState::Running));
        assert_eq!(good.revision, self.good.revision, "nothing of it has changed");
        let mut stream = watched(&mut self.vms, v1::WatchVmsRequest::default()).await;
        loop {
            let response = timeout(PATIENCE, stream.message()).await.expect("it is served");
            let response = response.expect("no error").expect("it goes on");
            if response.initial_state_complete {
                return;
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn huge_words_of_a_host_are_clipped_and_break_nobodys_watch() {
    let mut stage = Stage::set().await;
    let mut stream = watched(&mut stage.vms, v1::WatchVmsRequest::default()).await;
    for name in ["one", "two", "three"] {
        stage.create_on(name, "malicious").await;
    }
    let bad = stage.server.view().snapshot();
    for record in bad.vms.values().filter(|record| record.intent.name != "good") {
        let mut lie = running(&record.id().to_string());
        lie.phase = wire::Phase::Failed.into();
        let message = "\x1b]52;c;aGFoYQ==\x07".repeat(150_000);
        let reason = "\x1b[2J".repeat(1_000);
        lie.fault = Some(wire::Fault { reason, message, ..Default::default() });
        stage.malicious.agent.say(Event::Vm(lie));
    }
    let mut failed = std::collections::BTreeSet::new();
    while failed.len() < 3 {
        let events = until_event(&mut stream, |event| state(event) == v1::VmState::Failed).await;
        for event in events.into_iter().filter(|event| state(event) == v1::VmState::Failed) {
            let vm = event.vm.expect("a VM");
            let status = vm.status.expect("a status");
            assert!(status.message.len() < 4096, "{}", status.message.len());
            assert!(status.reason.len() <= 64, "{}", status.reason.len());
            assert!(!status.message.contains('\x1b') && !status.message.contains('\x07'));
            failed.insert(vm.name);
        }
    }
    stage.unharmed().await;
    let events = v1::ListVmEventsRequest { vm: "one".to_owned(), ..Default::default() };
    let events = stage.vms.list_vm_events(events).await.expect("they are read").into_inner().events;
    assert!(events.iter().all(|event| event.message.len() < 4096));
    stage.server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_inventory_without_end_ends_the_session_and_the_status_says_why() {
    let mut stage = Stage::set().await;
    let facts = stage.malicious.agent.facts();
    stage.malicious.agent.lie(move || {
        let parts = (1_u128..).map(|part| {
            let ids =
                (0..1_000).map(move |n| VmId::from_uuid(uuid::Uuid::from_u128(part << 64 | n)));
            let vms = ids.map(|id| running(&id.to_string())).collect();
            Event::Inventory(wire::InventoryPart { vms, last: false })
        });
        numbered(std::iter::once(Event::Host(facts.clone())).chain(parts))
    });
    stage.until_blamed("more than 16384 VMs").await;
    stage.unharmed().await;
    stage.server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn forged_facts_and_impossible_numbers_end_the_session_and_are_not_believed() {
    type Forges = fn(&mut wire::HostFacts);
    let forged: [(&str, Forges); 3] = [
        ("it says that it is host", |facts| {
            facts.host_id = VmId::from_uuid(uuid::Uuid::max()).to_string()
        }),
        ("capacity", |facts| facts.memory_mib = u64::MAX),
        ("digest of an image", |facts| {
            facts.images = vec![wire::ImageFile { sha256: "x".to_owned(), ..Default::default() }];
        }),
    ];
    let mut stage = Stage::set().await;
    for (word, forge) in forged {
        let mut facts = stage.malicious.agent.facts();
        forge(&mut facts);
        let event = Event::Host(facts);
        stage.malicious.agent.lie(move || numbered(std::iter::once(event.clone())));
        stage.until_blamed(word).await;
    }
    let facts = stage.malicious.agent.facts();
    stage.malicious.agent.lie(move || {
        let mut vm = running(&VmId::from_uuid(uuid::Uuid::max()).to_string());
        vm.phase_since = Some(prost_types::Timestamp { seconds: i64::MIN, nanos: i32::MIN });
        let part = wire::InventoryPart { vms: vec![vm], last: true };
        numbered([Event::Host(facts.clone()), Event::Inventory(part)].into_iter())
    });
    stage.until_blamed("time").await;
    stage.unharmed().await;
    stage.server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_host_says_of_the_vms_of_another_changes_nothing_of_them() {
    let mut stage = Stage::set().await;
    let mut lie = running(&stage.good.id);
    lie.phase = wire::Phase::Failed.into();
    lie.accepted = Some(wire::Version { epoch: u64::MAX, generation: u64::MAX });
    stage.malicious.agent.say(Event::Vm(lie));
    stage.until_host("claiming it", |host| !host.unclaimed.is_empty()).await;
    stage.unharmed().await;
    let gone = wire::VmGone { vm_id: stage.good.id.clone(), version: None };
    stage.malicious.agent.say(Event::Gone(gone));
    stage.until_host("without it", |host| host.unclaimed.is_empty()).await;
    stage.unharmed().await;
    stage.server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sequence_that_goes_backwards_ends_the_session_and_the_status_says_why() {
    let mut stage = Stage::set().await;
    let facts = stage.malicious.agent.facts();
    stage.malicious.agent.lie(move || {
        let facts = Event::Host(facts.clone());
        let beat = || Event::Heartbeat(wire::Heartbeat::default());
        let said = [(1, facts), (2, beat()), (1, beat())];
        Box::new(
            said.into_iter()
                .map(|(sequence, event)| wire::ObserveResponse { sequence, event: Some(event) }),
        )
    });
    stage.until_blamed("message 1 came where 3 was due").await;
    stage.unharmed().await;
    stage.server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_vm_that_flaps_fills_no_history_and_its_host_goes_on() {
    let mut stage = Stage::set().await;
    let flapping = stage.create_on("flapping", "malicious").await;
    for n in 0..2_000_i64 {
        let mut vm = running(&flapping.id);
        vm.phase = if n % 2 == 0 { wire::Phase::Stopped } else { wire::Phase::Running }.into();
        vm.phase_since = Some(prost_types::Timestamp { seconds: 1_800_000_000 + n, nanos: 0 });
        stage.malicious.agent.say(Event::Vm(vm));
    }
    // The last of it has come in when the next is there.
    stage.malicious.agent.say(Event::Vm(running(&VmId::from_uuid(uuid::Uuid::max()).to_string())));
    stage.until_host("through", |host| !host.unclaimed.is_empty()).await;
    stage.unharmed().await;
    let left_out = async {
        loop {
            let events = v1::ListVmEventsRequest {
                vm: "flapping".to_owned(),
                page_size: 1000,
                ..v1::ListVmEventsRequest::default()
            };
            let events = stage.vms.list_vm_events(events).await.expect("they are read");
            let events = events.into_inner().events;
            if events.iter().any(|event| event.r#type == "LINES_LEFT_OUT") {
                return events;
            }
            tokio::task::yield_now().await;
        }
    };
    let events = timeout(PATIENCE, left_out).await.expect("it is said that lines are left out");
    assert!(events.len() < 140, "{} lines", events.len());
    stage.server.shutdown().await;
}

/// Joins again as the host of this id, with a new key, and serves at the same address or elsewhere.
async fn join_again(stage: &Stage, host_id: &str, listener: TcpListener) -> Host {
    let mut hosts = HostServiceClient::new(channel(&stage.server).await);
    let request =
        v1::CreateJoinTokenRequest { host_name: "malicious".to_owned(), ..Default::default() };
    let token = hosts.create_join_token(request).await.expect("a token").into_inner().token;
    let key = KeyPair::generate().expect("a key");
    let params = CertificateParams::new(Vec::<String>::new()).expect("parameters");
    let request = params.serialize_request(&key).expect("a request").pem().expect("as text");
    let request = v1::JoinHostRequest {
        token,
        name: "malicious".to_owned(),
        certificate_request_pem: request,
        agent_address: listener.local_addr().expect("it listens").to_string(),
        host_id: host_id.to_owned(),
        ..v1::JoinHostRequest::default()
    };
    let joined = hosts.join_host(request).await.expect("it joins").into_inner();
    let agent = FakeAgent::new(&joined.host_id);
    let key = key.serialize_pem();
    let (address, serving) =
        agent.serve(listener, &joined.certificate_pem, &key, &joined.ca_certificate_pem);
    Host { agent, address, _serving: serving }
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_join_with_a_new_key_the_old_key_is_refused_and_its_session_ended() {
    let mut stage = Stage::set().await;
    let id = stage.malicious.agent.host_id.clone();
    // The new agent is where nobody answers yet; the stolen key stays where it was.
    let elsewhere = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let old_address = stage.malicious.address;
    let honest = join_again(&stage, &id, elsewhere).await;
    stage
        .until_host("online by the new key", |host| {
            let record = &host.view.record;
            record.generation == 2 && host.view.health.state.is_online()
        })
        .await;
    let open = async {
        while stage.malicious.agent.is_observed() {
            tokio::task::yield_now().await;
        }
    };
    timeout(PATIENCE, open).await.expect("the session of the old key is ended");
    // Dialled at the old address again, the old key is not the host's any more.
    let mut hosts = HostServiceClient::new(channel(&stage.server).await);
    let update = v1::UpdateHostRequest {
        host: "malicious".to_owned(),
        agent_address: old_address.to_string(),
        ..v1::UpdateHostRequest::default()
    };
    hosts.update_host(update).await.expect("it is changed");
    stage.until_host("refused", |host| host.view.health.message.contains("another key")).await;
    assert!(!stage.malicious.agent.is_observed());
    drop(honest);
    stage.unharmed().await;
    stage.server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn deleting_a_host_closes_its_connection_and_dials_it_no_more() {
    let mut stage = Stage::set().await;
    assert!(stage.malicious.agent.is_observed());
    let mut hosts = HostServiceClient::new(channel(&stage.server).await);
    let delete = v1::DeleteHostRequest { host: "malicious".to_owned(), ..Default::default() };
    hosts.delete_host(delete).await.expect("it holds nothing");
    let open = async {
        while stage.malicious.agent.is_observed() {
            tokio::task::yield_now().await;
        }
    };
    timeout(PATIENCE, open).await.expect("the door is closed");
    stage.unharmed().await;
    stage.server.shutdown().await;
}

/// What the API says of the malicious host.
async fn shown(stage: &Stage) -> v1::Host {
    let mut hosts = HostServiceClient::new(channel(&stage.server).await);
    let get = v1::GetHostRequest { host: "malicious".to_owned() };
    hosts.get_host(get).await.expect("it is there").into_inner()
}

/// Waits until what it said first is stored.
async fn until_first_is_kept(stage: &Stage) {
    let kept = |host: &crate::watch::HostSnapshot| host.view.record.first_capacity.is_whole();
    stage.until_host("stored with what it said first", kept).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_grows_by_its_own_word_draws_no_vms_and_none_of_their_secrets() {
    let mut stage = Stage::set().await;
    until_first_is_kept(&stage).await;
    let mut facts = stage.malicious.agent.facts();
    (facts.vcpus, facts.memory_mib, facts.disk_mib) = (1 << 16, 1 << 26, 1 << 40);
    stage.malicious.agent.lie(move || {
        let inventory = Event::Inventory(wire::InventoryPart { vms: Vec::new(), last: true });
        numbered([Event::Host(facts.clone()), inventory].into_iter())
    });
    stage
        .until_host("online and huge", |host| {
            let facts = host.view.facts.as_ref();
            let is_huge = facts.is_some_and(|facts| facts.capacity.vcpus == 1 << 16);
            is_huge && host.view.health.state.is_online()
        })
        .await;
    // Beside `good` there are as many on each of the two.
    let mut drawn = 0;
    let host = shown(&stage).await;
    for number in 0..19 {
        let mut request = create(&format!("vm-{number}"));
        let metadata = prost_types::Struct {
            fields: [("secret".to_owned(), prost_types::Value::from("s3cret"))].into(),
        };
        request.spec.get_or_insert_default().metadata = Some(metadata);
        let vm = stage.vms.create_vm(request).await.expect("it is stored").into_inner();
        drawn += usize::from(vm.status.expect("a status").host_id == host.id);
    }
    assert_eq!(drawn, 10);
    // It is shown with what mends it, where an operator says that it is so.
    let status = host.status.expect("a status");
    let [condition] = &status.conditions[..] else { panic!("{:?}", status.conditions) };
    assert_eq!(condition.reason, "CAPACITY_NOT_ACCEPTED");
    assert!(condition.message.ends_with("banger host set malicious --accept-capacity"));
    assert_eq!(status.accepted_capacity.map(|accepted| accepted.vcpus), Some(64));
    assert_eq!(status.allocatable.map(|all| all.vcpus), Some(64 * 4));
    let mut hosts = HostServiceClient::new(channel(&stage.server).await);
    let accept = v1::UpdateHostRequest {
        host: "malicious".to_owned(),
        accepted_capacity: status.capacity,
        update_mask: Some(prost_types::FieldMask { paths: vec!["accepted_capacity".to_owned()] }),
        ..v1::UpdateHostRequest::default()
    };
    let accepted = hosts.update_host(accept).await.expect("accepted").into_inner();
    assert_eq!(accepted.accepted_capacity.map(|all| all.vcpus), Some(1 << 16));
    let status = shown(&stage).await.status.expect("a status");
    assert_eq!(status.conditions, []);
    assert_eq!(status.allocatable.map(|all| all.vcpus), Some((1 << 16) * 4));
    stage.unharmed().await;
    stage.server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_never_ends_a_removal_keeps_no_image_on_the_server_or_on_others() {
    use crate::model::image::{StoredKind, host_file};

    let mut stage = Stage::set().await;
    let unused = |number: u8| host_file(&hex::encode([number; 32]));
    stage.malicious.agent.never_end_removals();
    for number in 0..200 {
        stage.malicious.agent.has_image(&unused(number));
    }
    stage.honest.agent.has_image(&unused(1));
    for agent in [&stage.malicious.agent, &stage.honest.agent] {
        agent.cut_streams();
    }
    for (name, files) in [("malicious", 202), ("honest", 3)] {
        let has = |host: &crate::watch::HostSnapshot| {
            let facts = host.view.facts.as_ref();
            let all = facts.is_some_and(|facts| facts.images.len() == files);
            all && host.view.health.state.is_online()
        };
        stage.until_named(name, "online with its files", has).await;
    }
    // A content that goes over while the malicious host is being asked.
    let one = super::images::keep(
        &stage.server,
        &stage.directory,
        "kernel",
        StoredKind::Kernel,
        b"\x7fELF kernel",
    )
    .await;
    let mut images =
        v1::image_service_client::ImageServiceClient::new(channel(&stage.server).await);
    let delete = v1::DeleteImageRequest { name: "kernel".to_owned(), ..Default::default() };
    images.delete_image(delete).await.expect("it is deleted");
    let content = stage.directory.path().join("state/images/sha256").join(one);
    let gone = async {
        // Its calls are ended in their time, so that it is asked for another file.
        while content.exists()
            || !stage.honest.agent.images().0.is_empty()
            || stage.malicious.agent.unended() < 2
        {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    if timeout(2 * PATIENCE, gone).await.is_err() {
        let (honest, unended) = (stage.honest.agent.images(), stage.malicious.agent.unended());
        panic!("content {}: honest host {honest:?}, {unended} calls", content.exists());
    }
    stage.unharmed().await;
    stage.server.shutdown().await;
}

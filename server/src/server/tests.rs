use banger_proto::v1;
use banger_proto::v1::host_service_client::HostServiceClient;
use banger_proto::v1::vm_service_client::VmServiceClient;
use rcgen::{CertificateParams, KeyPair};
use tokio::net::TcpStream;
use tonic::transport::Channel;
use tonic::{Code, Streaming};

use super::*;

mod agent;
mod audit;
mod audit_streams;
mod certified;
mod clock;
mod credentials;
mod first_admin;
mod guests;
mod images;
mod malice;
mod objects;
mod parties;
mod projects;
mod renewal;
mod retention;
mod revocation;
mod roles;
mod secrets;
mod tokens;
mod tokens_of_the_web;
mod watch;

use self::agent::{FakeAgent, Serving};
use self::renewal::FakeCertificate;

const PATIENCE: Duration = Duration::from_secs(30);

fn config(directory: &tempfile::TempDir) -> ServerConfig {
    let any = SocketAddr::from(([127, 0, 0, 1], 0));
    ServerConfig {
        listen: any,
        metrics_listen: any,
        state_dir: directory.path().join("state"),
        ..ServerConfig::default()
    }
}

async fn started(directory: &tempfile::TempDir) -> RunningServer {
    Server::start(config(directory)).await.expect("it starts")
}

async fn channel(server: &RunningServer) -> Channel {
    let address = format!("http://{}", server.api_addr);
    Channel::from_shared(address).expect("an address").connect().await.expect("it listens")
}

struct Host {
    agent: FakeAgent,
    address: SocketAddr,
    _serving: Serving,
}

/// Joins as `banger-agent join` does and serves.
async fn join(channel: Channel, name: &str) -> Host {
    join_as(channel, name, |_| {}).await
}

/// The same with a certificate that is prepared before.
async fn join_as(channel: Channel, name: &str, prepare: impl FnOnce(&FakeCertificate)) -> Host {
    let mut hosts = HostServiceClient::new(channel);
    let token = hosts
        .create_join_token(v1::CreateJoinTokenRequest::default())
        .await
        .expect("a token")
        .into_inner()
        .token;
    let key = KeyPair::generate().expect("a key");
    let params = CertificateParams::new(Vec::<String>::new()).expect("parameters");
    let request = params.serialize_request(&key).expect("a request").pem().expect("as text");
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let joined = hosts
        .join_host(v1::JoinHostRequest {
            token,
            name: name.to_owned(),
            certificate_request_pem: request,
            agent_address: listener.local_addr().expect("it listens").to_string(),
            ..v1::JoinHostRequest::default()
        })
        .await
        .expect("it joins")
        .into_inner();
    let agent = FakeAgent::new(&joined.host_id);
    prepare(&agent.certificate);
    let (address, serving) = agent.serve(
        listener,
        &joined.certificate_pem,
        &key.serialize_pem(),
        &joined.ca_certificate_pem,
    );
    Host { agent, address, _serving: serving }
}

async fn until_online(server: &RunningServer) {
    let mut changed = server.view().hosts_changed();
    let online = async {
        while !server.view().hosts().iter().any(|host| host.view.health.state.is_online()) {
            changed.changed().await.expect("the view is there");
        }
    };
    if timeout(PATIENCE, online).await.is_err() {
        panic!("no host came online: {:?}", server.view().hosts());
    }
}

fn create(name: &str) -> v1::CreateVmRequest {
    let image = |name: &str| Some(v1::ImageRef { name: name.to_owned(), sha256: String::new() });
    v1::CreateVmRequest {
        name: name.to_owned(),
        spec: Some(v1::VmSpec {
            kernel: image("vmlinux"),
            root_image: image("root.ext4"),
            ..v1::VmSpec::default()
        }),
        ..v1::CreateVmRequest::default()
    }
}

async fn watched(
    vms: &mut VmServiceClient<Channel>,
    request: v1::WatchVmsRequest,
) -> Streaming<v1::WatchVmsResponse> {
    vms.watch_vms(request).await.expect("a stream").into_inner()
}

/// Reads a stream until an event is as asked, and answers all events read.
async fn until_event(
    stream: &mut Streaming<v1::WatchVmsResponse>,
    check: impl Fn(&v1::VmEvent) -> bool,
) -> Vec<v1::VmEvent> {
    let mut read = Vec::new();
    let reading = async {
        loop {
            let response = stream.message().await.expect("it goes on").expect("it does not end");
            read.extend(response.events);
            if read.iter().any(&check) {
                return;
            }
        }
    };
    if timeout(PATIENCE, reading).await.is_err() {
        panic!("the event did not come; read {read:?}");
    }
    read
}

fn state(event: &v1::VmEvent) -> v1::VmState {
    event
        .vm
        .as_ref()
        .and_then(|vm| vm.status.as_ref())
        .map_or(v1::VmState::Unspecified, v1::VmStatus::state)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_vm_goes_from_create_over_its_agent_to_running_and_back_to_nothing() {
    let directory = tempfile::tempdir().expect("a directory");
    let server = started(&directory).await;
    let host = join(channel(&server).await, "alpha").await;
    until_online(&server).await;
    let mut vms = VmServiceClient::new(channel(&server).await);
    let mut stream = watched(&mut vms, v1::WatchVmsRequest::default()).await;
    let first = stream.message().await.expect("it is open").expect("a response");
    assert!(first.initial_state_complete && first.events.is_empty(), "{first:?}");

    let vm = vms.create_vm(create("one")).await.expect("it is stored").into_inner();
    let events = until_event(&mut stream, |event| state(event) == v1::VmState::Running).await;
    assert_eq!(events[0].r#type(), v1::VmEventType::Added);
    assert!(events.iter().map(|event| event.revision).is_sorted(), "in order");
    assert_eq!(host.agent.commands(), ["create POWER_RUNNING"]);

    let waited = vms
        .wait_vm(v1::WaitVmRequest { vm: vm.id.clone(), ..v1::WaitVmRequest::default() })
        .await
        .expect("it answers")
        .into_inner();
    assert_eq!(waited.outcome(), v1::WaitOutcome::Reached);

    let stop = v1::StopVmRequest { vm: "one".to_owned(), ..v1::StopVmRequest::default() };
    vms.stop_vm(stop).await.expect("it is stored");
    until_event(&mut stream, |event| state(event) == v1::VmState::Stopped).await;
    let delete = v1::DeleteVmRequest { vm: vm.id.clone(), ..v1::DeleteVmRequest::default() };
    vms.delete_vm(delete).await.expect("it is stored");
    let events = until_event(&mut stream, |event| state(event) == v1::VmState::Deleted).await;
    let last = events.last().expect("the last");
    assert_eq!(last.r#type(), v1::VmEventType::Removed);
    let commands = host.agent.commands();
    assert_eq!(commands[1..], ["stop POWER_STOPPED", "delete POWER_ABSENT"]);

    // A stream that resumes after the first revision is told what came since, newest states first
    // or every step, and ends at the same table: nothing.
    let request = v1::WatchVmsRequest { after_revision: Some(first.revision), filter: None };
    let mut again = watched(&mut vms, request).await;
    until_event(&mut again, |event| event.r#type() == v1::VmEventType::Removed).await;
    server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_restart_every_vm_is_unknown_until_its_inventory_and_none_is_touched() {
    let directory = tempfile::tempdir().expect("a directory");
    let server = started(&directory).await;
    let host = join(channel(&server).await, "alpha").await;
    until_online(&server).await;
    let mut vms = VmServiceClient::new(channel(&server).await);
    vms.create_vm(create("one")).await.expect("it is stored");
    let wait = v1::WaitVmRequest { vm: "one".to_owned(), ..v1::WaitVmRequest::default() };
    vms.wait_vm(wait).await.expect("it runs");
    let before = server.view().revision();
    server.shutdown().await;

    let server = started(&directory).await;
    assert!(server.view().revision() > before, "revisions grow across restarts");
    let mut vms = VmServiceClient::new(channel(&server).await);
    let request = v1::WatchVmsRequest { after_revision: Some(before.0), filter: None };
    let mut stream = watched(&mut vms, request).await;
    until_event(&mut stream, |event| state(event) == v1::VmState::Running).await;
    assert_eq!(host.agent.commands(), ["create POWER_RUNNING"], "it was told nothing twice");
    server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn many_vms_are_sent_together_and_a_broken_stream_heals() {
    let directory = tempfile::tempdir().expect("a directory");
    let server = started(&directory).await;
    let mut vms = VmServiceClient::new(channel(&server).await);
    for number in 0..40 {
        let vm = vms.create_vm(create(&format!("vm-{number}"))).await.expect("stored").into_inner();
        let status = vm.status.expect("a status");
        assert_eq!((status.state(), status.reason.as_str()), (v1::VmState::Pending, "NO_HOST"));
    }
    let host = join(channel(&server).await, "alpha").await;
    for number in 0..40 {
        let vm = format!("vm-{number}");
        let wait = v1::WaitVmRequest { vm, ..v1::WaitVmRequest::default() };
        let waited = vms.wait_vm(wait).await.expect("it answers").into_inner();
        assert_eq!(waited.outcome(), v1::WaitOutcome::Reached);
    }
    let commands = host.agent.commands();
    assert_eq!(commands.len(), 40, "each once: {commands:?}");
    assert!(commands.iter().any(|command| command.starts_with("reconcile")), "{commands:?}");
    host.agent.cut_streams();
    vms.create_vm(create("late")).await.expect("stored");
    let wait = v1::WaitVmRequest { vm: "late".to_owned(), ..v1::WaitVmRequest::default() };
    let waited = vms.wait_vm(wait).await.expect("it answers").into_inner();
    assert_eq!(waited.outcome(), v1::WaitOutcome::Reached);
    server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn shutdown_ends_streams_and_waits_with_a_status_and_can_not_be_held_up() {
    let directory = tempfile::tempdir().expect("a directory");
    let server = started(&directory).await;
    let mut vms = VmServiceClient::new(channel(&server).await);
    vms.create_vm(create("one")).await.expect("stored");
    let mut stream = watched(&mut vms, v1::WatchVmsRequest::default()).await;
    stream.message().await.expect("it is open");
    let mut waiting = vms.clone();
    let wait = tokio::spawn(async move {
        let wait = v1::WaitVmRequest { vm: "one".to_owned(), ..v1::WaitVmRequest::default() };
        waiting.wait_vm(wait).await
    });
    // Says nothing and never leaves.
    let _silent = TcpStream::connect(server.api_addr).await.expect("it listens");
    let stopping = tokio::spawn(server.shutdown());
    let ended = timeout(PATIENCE, async {
        loop {
            if let Err(status) = stream.message().await {
                return status;
            }
        }
    });
    assert_eq!(ended.await.expect("it ends").code(), Code::Unavailable);
    timeout(PATIENCE, stopping).await.expect("it is not held up").expect("no panic");
    let waited = timeout(PATIENCE, wait).await.expect("it ends").expect("no panic");
    let status = waited.expect_err("it was not reached");
    assert!(matches!(status.code(), Code::Unavailable | Code::Unknown), "{status:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn metrics_and_health_have_a_listener_of_their_own() {
    let directory = tempfile::tempdir().expect("a directory");
    let server = started(&directory).await;
    let mut vms = VmServiceClient::new(channel(&server).await);
    vms.create_vm(create("one")).await.expect("stored");
    for (path, expected) in [
        ("/healthz", "ok"),
        ("/readyz", "ready"),
        ("/metrics", "banger_server_vms{state=\"PENDING\"} 1"),
        ("/metrics", "method=\"/banger.v1.VmService/CreateVm\",code=\"OK\"} 1"),
        ("/metrics", "banger_server_store_commits_total{result=\"committed\"}"),
    ] {
        let page = get(server.metrics_addr, path).await;
        assert!(page.contains(expected), "{expected} is missing from {path}: {page}");
    }
    server.shutdown().await;
}

async fn get(address: SocketAddr, path: &str) -> String {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let mut stream = TcpStream::connect(address).await.expect("it listens");
    let request = format!("GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.expect("it reads");
    let mut page = String::new();
    stream.read_to_string(&mut page).await.expect("it answers");
    page
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_server_on_the_same_state_is_refused() {
    let directory = tempfile::tempdir().expect("a directory");
    let server = started(&directory).await;
    let error = Server::start(config(&directory)).await.expect_err("it is in use");
    assert!(matches!(error, StartError::Store(_)), "{error:?}");
    server.shutdown().await;
    started(&directory).await.shutdown().await;
}

/// Posts to the API over HTTP/1.1, as a browser does.
async fn post(address: SocketAddr, path: &str, headers: &str, body: &[u8]) -> String {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let mut stream = TcpStream::connect(address).await.expect("it listens");
    let head = format!(
        "POST {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n{headers}content-length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).await.expect("it reads");
    stream.write_all(body).await.expect("it reads");
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.expect("it answers");
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_browser_reaches_the_same_port_and_foreign_pages_only_when_configured() {
    let directory = tempfile::tempdir().expect("a directory");
    let mut config = config(&directory);
    config.cors_origins = vec!["https://fleet.example.org".to_owned()];
    let server = Server::start(config).await.expect("it starts");
    let path = "/banger.v1.VmService/ListVms";
    // An empty message in gRPC's frame.
    let body = [0_u8; 5];
    let answer = |origin: &str| {
        let headers = format!("content-type: application/grpc-web+proto\r\norigin: {origin}\r\n");
        let address = server.api_addr;
        async move { post(address, path, &headers, &body).await.to_lowercase() }
    };
    let ours = answer("https://fleet.example.org").await;
    assert!(ours.contains("grpc-status:0"), "{ours}");
    assert!(ours.contains("access-control-allow-origin: https://fleet.example.org"), "{ours}");
    let foreign = answer("https://elsewhere.example.org").await;
    assert!(!foreign.contains("access-control-allow-origin"), "{foreign}");
    server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn reflection_of_both_versions_lists_what_is_served_and_knows_error_details() {
    use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
    use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
    use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;
    use tonic_reflection::pb::v1::{ServerReflectionRequest, ServerReflectionResponse};
    use tonic_reflection::pb::v1alpha;

    let directory = tempfile::tempdir().expect("a directory");
    let server = started(&directory).await;
    let ask = |request| {
        let request =
            ServerReflectionRequest { host: String::new(), message_request: Some(request) };
        tokio_stream::once(request)
    };
    let mut client = ServerReflectionClient::new(channel(&server).await);
    let mut answers: Vec<ServerReflectionResponse> = Vec::new();
    for request in [
        MessageRequest::ListServices(String::new()),
        MessageRequest::FileContainingSymbol("google.rpc.BadRequest".to_owned()),
        MessageRequest::FileContainingSymbol("banger.v1.VmService".to_owned()),
        MessageRequest::FileByFilename("google/protobuf/struct.proto".to_owned()),
    ] {
        let asked = format!("{request:?}");
        let mut stream =
            client.server_reflection_info(ask(request)).await.expect("a stream").into_inner();
        let answer = stream.message().await.unwrap_or_else(|e| panic!("{asked}: {e:?}"));
        answers.push(answer.expect("an answer"));
    }
    let Some(MessageResponse::ListServicesResponse(list)) = &answers[0].message_response else {
        panic!("{:?}", answers[0]);
    };
    let mut served: Vec<&str> = list.service.iter().map(|one| one.name.as_str()).collect();
    served.sort_unstable();
    assert_eq!(
        served,
        [
            "banger.v1.AuditService",
            "banger.v1.HostService",
            "banger.v1.ImageService",
            "banger.v1.ProjectService",
            "banger.v1.TokenService",
            "banger.v1.VmService",
            "banger.v1.WatchService",
            "grpc.health.v1.Health",
            "grpc.reflection.v1.ServerReflection",
            "grpc.reflection.v1alpha.ServerReflection",
        ]
    );
    for answer in &answers[1..] {
        let found = matches!(
            &answer.message_response,
            Some(MessageResponse::FileDescriptorResponse(files))
                if !files.file_descriptor_proto.is_empty()
        );
        assert!(found, "{answer:?}");
    }
    let mut old =
        v1alpha::server_reflection_client::ServerReflectionClient::new(channel(&server).await);
    let request = v1alpha::ServerReflectionRequest {
        host: String::new(),
        message_request: Some(v1alpha::server_reflection_request::MessageRequest::ListServices(
            String::new(),
        )),
    };
    let stream = old.server_reflection_info(tokio_stream::once(request)).await;
    let answer = stream.expect("a stream").into_inner().message().await.expect("it is open");
    assert!(answer.is_some());
    server.shutdown().await;
}

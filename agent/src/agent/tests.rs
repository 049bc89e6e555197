//! The wiring over a fake machine: who is let in, and what a shutdown leaves.

use banger_proto::agent_v1::agent_service_client::AgentServiceClient;
use banger_proto::agent_v1::observe_response::Event;
use banger_proto::agent_v1::{HostFacts, ObserveRequest};
use banger_proto::ids::HostId;
use banger_wire::tls::{SERVER_NAME, agent_name};
use rcgen::{BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair};
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint};

use super::*;
use crate::host::fakes::{self, FakeKernel, HostOptions};
use crate::join::identity::{FORMAT, IdentityRecord, KeyPem};

const HOST: &str = "0191e0a0-0000-7000-8000-000000000001";

fn host_id() -> HostId {
    HOST.parse().unwrap()
}

struct Ca {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

impl Ca {
    fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let pem = params.self_signed(&key).unwrap().pem();
        Self { pem, issuer: Issuer::new(params, key) }
    }

    fn sign(&self, name: String, usage: ExtendedKeyUsagePurpose, key: &KeyPair) -> String {
        let mut params = CertificateParams::new(vec![name]).unwrap();
        params.extended_key_usages = vec![usage];
        params.signed_by(key, &self.issuer).unwrap().pem()
    }

    /// A client's certificate and key.
    fn client(&self, name: String, usage: ExtendedKeyUsagePurpose) -> tonic::transport::Identity {
        let key = KeyPair::generate().unwrap();
        tonic::transport::Identity::from_pem(self.sign(name, usage, &key), key.serialize_pem())
    }
}

struct Fixture {
    ca: Ca,
    config: AgentConfig,
    kernel: FakeKernel,
    _temp: tempfile::TempDir,
}

fn fixture() -> Fixture {
    let temp = tempfile::tempdir().unwrap();
    let ca = Ca::new();
    let config = AgentConfig {
        listen: ([127, 0, 0, 1], 0).into(),
        metrics_listen: ([127, 0, 0, 1], 0).into(),
        state_dir: temp.path().join("state"),
        runtime_dir: temp.path().join("run"),
        ..AgentConfig::default()
    };
    let key = KeyPem::load_or_make(&config.identity_dir()).unwrap();
    let pair = KeyPair::from_pem(key.pem()).unwrap();
    let usage = ExtendedKeyUsagePurpose::ServerAuth;
    let identity = Identity {
        record: IdentityRecord {
            format: FORMAT,
            host_id: host_id(),
            name: "host-a".to_owned(),
            guest_subnet: "10.64.0.0/20".parse().unwrap(),
            server: "http://127.0.0.1:7070".to_owned(),
            fleet: None,
        },
        certificate_pem: ca.sign(agent_name(host_id()), usage, &pair),
        key_pem: key.pem().to_owned(),
        ca_pem: ca.pem.clone(),
    };
    identity.save(&config.identity_dir()).unwrap();
    Fixture { ca, config, kernel: FakeKernel::new(), _temp: temp }
}

impl Fixture {
    async fn start(&self) -> RunningAgent {
        let host = fakes::host(&self.kernel, HostOptions::default());
        Agent::start(self.config.clone(), host, Clock::system()).await.unwrap()
    }

    async fn connect(
        &self,
        agent: &RunningAgent,
        identity: Option<tonic::transport::Identity>,
    ) -> Result<AgentServiceClient<Channel>, tonic::transport::Error> {
        let mut tls = ClientTlsConfig::new()
            .ca_certificate(Certificate::from_pem(&self.ca.pem))
            .domain_name(agent_name(host_id()));
        if let Some(identity) = identity {
            tls = tls.identity(identity);
        }
        let endpoint = Endpoint::from_shared(format!("https://{}", agent.addr)).unwrap();
        endpoint.tls_config(tls)?.connect().await.map(AgentServiceClient::new)
    }

    fn server(&self) -> Option<tonic::transport::Identity> {
        let usage = ExtendedKeyUsagePurpose::ClientAuth;
        Some(self.ca.client(SERVER_NAME.to_owned(), usage))
    }
}

/// What a stream begins with.
async fn facts(client: &mut AgentServiceClient<Channel>) -> HostFacts {
    let mut stream = client.observe(ObserveRequest::default()).await.unwrap().into_inner();
    match stream.message().await.unwrap().unwrap().event {
        Some(Event::Host(facts)) => facts,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn the_server_is_let_in_and_told_the_hosts_facts() {
    let f = fixture();
    let agent = f.start().await;
    let mut client = f.connect(&agent, f.server()).await.unwrap();
    let host = facts(&mut client).await;
    assert_eq!((host.host_id.as_str(), host.simulated, host.agent_epoch), (HOST, true, 1));
    agent.shutdown().await;
    // The next life counts on.
    let agent = f.start().await;
    let mut client = f.connect(&agent, f.server()).await.unwrap();
    assert_eq!(facts(&mut client).await.agent_epoch, 2);
    agent.shutdown().await;
}

#[tokio::test]
async fn nobody_but_the_server_is_let_in() {
    let f = fixture();
    let agent = f.start().await;
    let stranger = Ca::new();
    let client_auth = || ExtendedKeyUsagePurpose::ClientAuth;
    let server_auth = ExtendedKeyUsagePurpose::ServerAuth;
    for (who, identity) in [
        ("no certificate", None),
        ("another CA", Some(stranger.client(SERVER_NAME.to_owned(), client_auth()))),
        ("an agent", Some(f.ca.client(agent_name(host_id()), client_auth()))),
        ("a server's that may not call", Some(f.ca.client(SERVER_NAME.to_owned(), server_auth))),
        ("another name", Some(f.ca.client("evil.banger.internal".to_owned(), client_auth()))),
    ] {
        // TLS 1.3 lets a client send before it learns that it was refused.
        let refused = match f.connect(&agent, identity).await {
            Err(_) => true,
            Ok(mut client) => client.observe(ObserveRequest::default()).await.is_err(),
        };
        assert!(refused, "{who} was let in");
    }
    agent.shutdown().await;
}

#[tokio::test]
async fn a_shutdown_ends_open_streams_and_does_not_hang() {
    let f = fixture();
    let agent = f.start().await;
    let mut client = f.connect(&agent, f.server()).await.unwrap();
    let mut stream = client.observe(ObserveRequest::default()).await.unwrap().into_inner();
    let first = stream.message().await.unwrap().unwrap();
    assert!(matches!(first.event, Some(Event::Host(_))), "{first:?}");
    // A connection that says nothing, and one that speaks no TLS.
    let _silent = tokio::net::TcpStream::connect(agent.addr).await.unwrap();
    let began = tokio::time::Instant::now();
    agent.shutdown().await;
    assert!(began.elapsed() < GRACE + TASKS_GRACE);
    while let Ok(Some(_)) = stream.message().await {}
}

#[tokio::test]
async fn metrics_are_on_a_port_of_their_own() {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let f = fixture();
    let agent = f.start().await;
    let mut stream = tokio::net::TcpStream::connect(agent.metrics_addr).await.unwrap();
    let ask = b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    stream.write_all(ask).await.unwrap();
    let mut page = String::new();
    stream.read_to_string(&mut page).await.unwrap();
    assert!(page.contains("banger_agent_epoch 1"), "{page}");
    agent.shutdown().await;
}

#[tokio::test]
async fn an_agent_that_has_not_joined_does_not_start_and_says_what_to_do() {
    let f = fixture();
    std::fs::remove_file(f.config.identity_dir().join("host.json")).unwrap();
    let host = fakes::host(&f.kernel, HostOptions::default());
    let started = Agent::start(f.config.clone(), host, Clock::system()).await;
    let Err(StartError::Identity(error)) = started else { panic!("it started") };
    assert!(error.to_string().contains("banger-agent join"), "{error}");
}

#[tokio::test]
async fn a_second_agent_on_the_same_address_is_refused_before_it_touches_anything() {
    let f = fixture();
    let agent = f.start().await;
    let config = AgentConfig { listen: agent.addr, ..f.config.clone() };
    let host = fakes::host(&f.kernel, HostOptions::default());
    let second = Agent::start(config, host, Clock::system()).await;
    assert!(matches!(second, Err(StartError::Listen { .. })));
    agent.shutdown().await;
}

#[test]
fn the_disks_of_an_empty_configuration_are_those_of_the_policy() {
    assert_eq!(disk_policy(&AgentConfig::default()), DiskPolicy::default());
}

#[tokio::test]
async fn a_check_refuses_what_a_start_does_and_says_where_a_host_has_not_joined() {
    use std::os::unix::fs::PermissionsExt as _;
    let Fixture { config, kernel, _temp, .. } = fixture();
    assert_eq!(check(&config).unwrap(), Vec::<String>::new());
    let host = || fakes::host(&kernel, HostOptions::default());
    let refused = async |config: &AgentConfig, what: &str| {
        let checked = check(config).expect_err(what).to_string();
        let started = Agent::start(config.clone(), host(), Clock::system()).await;
        assert_eq!(started.map(drop).expect_err(what).to_string(), checked, "{what}");
        checked
    };
    let mut filtered = config.clone();
    filtered.telemetry.log_filter = "info,what=ever".to_owned();
    assert!(refused(&filtered, "no filter").await.contains("[telemetry]"));
    let mut exported = config.clone();
    exported.telemetry.otlp_endpoint = Some("http://[".to_owned());
    assert!(refused(&exported, "no URL").await.contains("[telemetry]"));
    let key = config.identity_dir().join("agent.key");
    let mode = |mode| std::fs::set_permissions(&key, std::fs::Permissions::from_mode(mode));
    mode(0o644).unwrap();
    assert!(refused(&config, "others may read the key").await.contains("who it is"));
    mode(0o600).unwrap();
    std::fs::write(config.identity_dir().join("agent.crt"), "nothing").unwrap();
    assert!(refused(&config, "no certificate").await.contains("certificate"));
    // It is checked before it joins, too.
    std::fs::remove_dir_all(config.identity_dir()).unwrap();
    let said = check(&config).unwrap().join("");
    assert!(said.contains("does not start yet") && said.contains("banger-agent join"), "{said}");
}

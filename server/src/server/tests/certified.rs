//! Callers by certificates, whose end comes while their connection is open.

use jiff::SignedDuration;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, ExtendedKeyUsagePurpose, IsCa, KeyPair,
};
use tokio_stream::StreamExt as _;
use tonic::transport::{Certificate, ClientTlsConfig, Endpoint, Identity};

use super::*;
use crate::clock::{Clock as _, ManualClock};
use crate::config::auth::CertificateGrant;
use crate::config::{AuthConfig, ClientCertificatesConfig, TlsConfig};

const NAME: &str = "ci.example.org";

/// A CA of clients.
struct Ca(CertifiedIssuer<'static, KeyPair>);

impl Ca {
    fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key");
        Self(CertifiedIssuer::self_signed(params, key).expect("a CA"))
    }

    /// A certificate of a program that lasts for years.
    fn identity(&self) -> Identity {
        let mut params = CertificateParams::new(vec![NAME.to_owned()]).expect("a name");
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        params.not_after = rcgen::date_time_ymd(2090, 1, 1);
        let key = KeyPair::generate().expect("a key");
        let certificate = params.signed_by(&key, &self.0).expect("signed");
        Identity::from_pem(certificate.pem(), key.serialize_pem())
    }
}

struct Stage {
    server: RunningServer,
    clock: Arc<ManualClock>,
    trusted: String,
    ca_file: PathBuf,
    _directory: tempfile::TempDir,
}

async fn stage(ca: &Ca) -> Result<Stage, StartError> {
    let directory = tempfile::tempdir().expect("a directory");
    let path = |name: &str| directory.path().join(name);
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a pair");
    let files = TlsConfig { cert: path("server.crt"), key: path("server.key") };
    std::fs::write(&files.cert, made.cert.pem()).expect("there is room");
    std::fs::write(&files.key, made.signing_key.serialize_pem()).expect("there is room");
    let private = std::os::unix::fs::PermissionsExt::from_mode(0o600);
    std::fs::set_permissions(&files.key, private).expect("it is ours");
    let ca_file = path("clients.crt");
    std::fs::write(&ca_file, ca.0.pem()).expect("there is room");
    let grant =
        CertificateGrant { name: NAME.to_owned(), role: "operator".to_owned(), project: None };
    let clients = ClientCertificatesConfig { ca: ca_file.clone(), grants: vec![grant] };
    let config = ServerConfig {
        tls: Some(files),
        auth: AuthConfig { client_certificates: Some(clients), ..AuthConfig::default() },
        ..config(&directory)
    };
    let clock = Arc::new(ManualClock::at(SystemClock.now()));
    let server = Server::start_with(config, clock.clone(), None).await?;
    let trusted = made.cert.pem();
    Ok(Stage { server, clock, trusted, ca_file, _directory: directory })
}

impl Stage {
    async fn channel(
        &self,
        identity: Option<Identity>,
    ) -> Result<Channel, tonic::transport::Error> {
        let tls = ClientTlsConfig::new()
            .domain_name("localhost")
            .ca_certificate(Certificate::from_pem(&self.trusted));
        let tls = match identity {
            Some(identity) => tls.identity(identity),
            None => tls,
        };
        let url = format!("https://{}", self.server.api_addr);
        Endpoint::from_shared(url)?.tls_config(tls)?.connect().await
    }
}

async fn lists(channel: &Channel, token: Option<&str>) -> Code {
    let mut request = tonic::Request::new(v1::ListVmsRequest::default());
    if let Some(token) = token {
        let value = format!("Bearer {token}").parse().expect("plain characters");
        request.metadata_mut().insert("authorization", value);
    }
    let listed = VmServiceClient::new(channel.clone()).list_vms(request).await;
    listed.err().map_or(Code::Ok, |status| status.code())
}

/// How a watch ends that is open until then.
async fn ends(mut stream: tonic::Streaming<v1::WatchVmsResponse>) -> Code {
    let end = async {
        loop {
            match stream.next().await {
                Some(Ok(_)) => {}
                Some(Err(status)) => return status.code(),
                None => return Code::Ok,
            }
        }
    };
    timeout(PATIENCE, end).await.expect("it ends")
}

async fn watch(channel: &Channel) -> tonic::Streaming<v1::WatchVmsResponse> {
    let mut vms = VmServiceClient::new(channel.clone());
    let watch = vms.watch_vms(v1::WatchVmsRequest::default()).await;
    watch.expect("it is known").into_inner()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_that_expires_ends_what_goes_by_it_on_an_open_connection() {
    let ca = Ca::new();
    let stage = stage(&ca).await.expect("it starts");
    let channel = stage.channel(Some(ca.identity())).await.expect("it is trusted");
    assert_eq!(lists(&channel, None).await, Code::Ok);
    let stream = watch(&channel).await;
    stage.clock.advance(SignedDuration::from_hours(24 * 365 * 70));
    assert_eq!(ends(stream).await, Code::Unauthenticated);
    assert_eq!(lists(&channel, None).await, Code::Unauthenticated, "on the same connection");
    stage.server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_ca_ends_what_goes_by_the_old_one_on_a_reload_and_a_bad_one_changes_nothing() {
    let (ca, other) = (Ca::new(), Ca::new());
    let stage = stage(&ca).await.expect("it starts");
    let channel = stage.channel(Some(ca.identity())).await.expect("it is trusted");
    let stream = watch(&channel).await;
    std::fs::write(&stage.ca_file, "nothing").expect("there is room");
    stage.server.reload().expect_err("there is no CA in it");
    assert_eq!(lists(&channel, None).await, Code::Ok);
    std::fs::write(&stage.ca_file, other.0.pem()).expect("there is room");
    stage.server.reload().expect("it is a CA");
    assert_eq!(ends(stream).await, Code::Unauthenticated);
    assert_eq!(lists(&channel, None).await, Code::Unauthenticated, "on the same connection");
    let channel = stage.channel(Some(other.identity())).await.expect("it is trusted");
    assert_eq!(lists(&channel, None).await, Code::Ok);
    stage.server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_goes_before_a_certificate_whether_it_is_good_or_not() {
    let ca = Ca::new();
    let stage = stage(&ca).await.expect("it starts");
    let channel = stage.channel(Some(ca.identity())).await.expect("it is trusted");
    assert_eq!(lists(&channel, Some("no-such-token-at-all")).await, Code::Unauthenticated);
    assert_eq!(lists(&channel, Some("bgr_0123456789abcdef_0")).await, Code::Unauthenticated);
    assert_eq!(lists(&channel, None).await, Code::Ok);
    let without = stage.channel(None).await.expect("nobody has to have one");
    assert_eq!(lists(&without, None).await, Code::Unauthenticated);
    stage.server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_fleets_own_ca_is_none_of_callers() {
    let ca = Ca::new();
    let stage = stage(&ca).await.expect("it starts");
    let fleet = stage._directory.path().join("state/ca");
    let own = crate::pki::CertificateAuthority::look(&fleet).expect("it is there").expect("made");
    std::fs::write(&stage.ca_file, own.certificate_pem()).expect("there is room");
    let refused = stage.server.reload().expect_err("hosts would be callers");
    assert!(matches!(refused, CredentialsError::ClientsOfTheFleet), "{refused:?}");
    stage.server.shutdown().await;
}

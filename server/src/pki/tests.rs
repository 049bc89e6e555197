use std::os::unix::fs::PermissionsExt as _;
use std::sync::Arc;

use banger_wire::service::secrets::SecretError;
use banger_wire::tls::{PeerIdentity, agent_side, peer_identity};
use rcgen::{CertificateParams, ExtendedKeyUsagePurpose, KeyPair};
use rustls::pki_types::ServerName;
use rustls_pki_types::PrivateKeyDer;
use tempfile::TempDir;

use super::*;
use crate::model::fixtures::{at, host_id};

fn ca_in(directory: &TempDir) -> Result<CertificateAuthority, CaError> {
    CertificateAuthority::open_or_make(&directory.path().join("ca"), at(0))
}

fn ca() -> (CertificateAuthority, TempDir) {
    let directory = TempDir::new().expect("a directory");
    (ca_in(&directory).expect("made"), directory)
}

/// An agent's key and its request, which asks for much more than it gets.
fn request() -> (KeyPair, String) {
    let key = KeyPair::generate().expect("a key");
    let mut params =
        CertificateParams::new(vec!["server.banger.internal".to_owned()]).expect("names");
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let pem = params.serialize_request(&key).expect("signed").pem().expect("PEM");
    (key, pem)
}

fn sign(ca: &CertificateAuthority, pem: &str) -> String {
    let request = AgentRequest::read(pem).expect("a request");
    ca.sign_agent(&request, host_id(1), at(0), later(at(0), AGENT_VALIDITY)).expect("signed")
}

fn der(pem: &str) -> CertificateDer<'static> {
    CertificateDer::from_pem_slice(pem.as_bytes()).expect("PEM")
}

#[test]
fn the_ca_is_made_once_and_found_again() {
    let (first, directory) = ca();
    let second = ca_in(&directory).expect("found");
    assert_eq!(first.certificate_pem(), second.certificate_pem());
    assert_eq!(first.fingerprint(), second.fingerprint());
    assert_eq!(first.fingerprint(), <[u8; 32]>::from(Sha256::digest(der(first.certificate_pem()))));
}

#[test]
fn the_key_is_for_its_owner_only_and_one_that_is_open_is_refused() {
    let (_, directory) = ca();
    let mode = |path: &Path| fs::metadata(path).expect("there").permissions().mode() & 0o777;
    let key = directory.path().join("ca/ca.key");
    assert_eq!((mode(&key), mode(&directory.path().join("ca"))), (0o600, 0o700));
    fs::set_permissions(&key, fs::Permissions::from_mode(0o640)).expect("changed");
    let refused = ca_in(&directory);
    assert!(
        matches!(refused, Err(CaError::Key(SecretError::OpenToOthers { mode: 0o640, .. }))),
        "{refused:?}"
    );
}

#[test]
fn a_start_that_was_cut_off_is_finished_with_the_same_key() {
    let (first, directory) = ca();
    let path = |name: &str| directory.path().join("ca").join(name);
    let key = fs::read(path("ca.key")).expect("there");
    fs::remove_file(path("ca.crt")).expect("removed");
    fs::write(path("ca.new"), "half").expect("written");
    let second = ca_in(&directory).expect("finished");
    assert_eq!(fs::read(path("ca.key")).expect("there"), key);
    assert_ne!(first.fingerprint(), second.fingerprint());
}

#[test]
fn a_key_that_is_damaged_or_of_another_ca_is_refused_and_never_replaced() {
    let (_, directory) = ca();
    let key = directory.path().join("ca/ca.key");
    let (_, other) = ca();
    fs::copy(other.path().join("ca/ca.key"), &key).expect("copied");
    assert!(matches!(ca_in(&directory), Err(CaError::Mismatch { .. })));
    fs::write(&key, "garbage").expect("written");
    assert!(matches!(ca_in(&directory), Err(CaError::Unusable { .. })));
    assert_eq!(fs::read_to_string(&key).expect("there"), "garbage");
}

#[test]
fn of_a_request_only_the_key_is_taken() {
    let (ca, _directory) = ca();
    let (key, request) = request();
    let certificate = der(&sign(&ca, &request));
    assert_eq!(peer_identity(&certificate), Some(PeerIdentity::Agent(host_id(1))));
    let (_, parsed) = x509_parser::parse_x509_certificate(&certificate).expect("a certificate");
    assert!(!parsed.is_ca());
    assert_eq!(parsed.public_key().raw, key.subject_public_key_info());
    let usage = parsed.extended_key_usage().expect("readable").expect("there").value;
    assert!(usage.server_auth && !usage.client_auth && !usage.any);
    let names = parsed.subject_alternative_name().expect("readable").expect("there").value;
    assert_eq!(names.general_names.len(), 1);
    let expiry = later(at(0), AGENT_VALIDITY).as_second();
    assert_eq!(parsed.validity().not_after.timestamp(), expiry);
    assert_eq!(parsed.validity().not_before.timestamp(), at(-24 * 3600).as_second());
}

#[test]
fn serial_numbers_differ_even_for_one_key() {
    let (ca, _directory) = ca();
    let (_, request) = request();
    let serial = |pem: &str| {
        let der = der(pem);
        let (_, parsed) = x509_parser::parse_x509_certificate(&der).expect("a certificate");
        parsed.raw_serial().to_vec()
    };
    assert_ne!(serial(&sign(&ca, &request)), serial(&sign(&ca, &request)));
}

#[test]
fn requests_that_are_none_or_not_signed_by_their_key_are_refused() {
    let (_, good) = request();
    let mut lines: Vec<&str> = good.lines().collect();
    // The end of the base64 text is the end of the signature.
    let tampered = lines[lines.len() - 2].chars().rev().collect::<String>();
    let place = lines.len() - 2;
    lines[place] = &tampered;
    for bad in ["", "garbage", "-----BEGIN CERTIFICATE REQUEST-----", &lines.join("\n")] {
        assert!(AgentRequest::read(bad).is_err(), "{bad}");
    }
    assert!(matches!(AgentRequest::read(&"x".repeat(20_000)), Err(RequestError::TooLong(20_000))));
    let again = AgentRequest::read(&good).expect("good").key_sha256();
    assert_eq!(again, AgentRequest::read(&good).expect("good").key_sha256());
}

#[test]
fn a_join_token_round_trips_and_shows_no_secret_in_a_log() {
    let token = JoinTokenText::new([1; 8], [2; 32], [3; 32]);
    let text = token.reveal();
    assert_eq!(text, format!("bj1.{}.{}.{}", "01".repeat(8), "02".repeat(32), "03".repeat(32)));
    let parsed = JoinTokenText::parse(&text).expect("its own form");
    assert_eq!(parsed, token);
    assert!(!format!("{token:?}").contains("0202"));
    let other = JoinTokenText::new([1; 8], [4; 32], [3; 32]);
    assert_ne!(other.secret_sha256(), token.secret_sha256());
    for bad in [
        "",
        "bj1",
        "bj1.a.b.c",
        &text[1..],
        &format!("{text}.x"),
        &text.to_uppercase(),
        &format!("{text}\n"),
    ] {
        assert_eq!(JoinTokenText::parse(bad), Err(ParseTokenError), "{bad:?}");
    }
}

// === real handshakes ===

fn client_config(
    ca_pem: &str,
    certificate: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
) -> rustls::ClientConfig {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(der(ca_pem)).expect("a CA");
    rustls::ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_root_certificates(roots)
        .with_client_auth_cert(certificate, key)
        .expect("a certificate with its key")
}

async fn shake_hands(
    server: rustls::ServerConfig,
    client: rustls::ClientConfig,
    name: &str,
) -> bool {
    let (a, b) = tokio::io::duplex(16 * 1024);
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(server));
    let connector = tokio_rustls::TlsConnector::from(Arc::new(client));
    let name = ServerName::try_from(name.to_owned()).expect("a name");
    let (accepted, connected) = tokio::join!(acceptor.accept(a), connector.connect(name, b));
    accepted.is_ok() && connected.is_ok()
}

fn key_of(pem: &str) -> PrivateKeyDer<'static> {
    PrivateKeyDer::from_pem_slice(pem.as_bytes()).expect("a key")
}

#[tokio::test]
async fn server_and_agent_know_each_other_and_nobody_stands_in_for_them() {
    // The certificates must be good at the time of the machine that runs this.
    let now = later(Timestamp::UNIX_EPOCH, std::time::UNIX_EPOCH.elapsed().expect("after 1970"));
    let make = || {
        let directory = TempDir::new().expect("a directory");
        let ca = CertificateAuthority::open_or_make(directory.path(), now).expect("made");
        (ca, directory)
    };
    let ((ca, _d1), (foreign, _d2)) = (make(), make());
    let (key, csr) = request();
    let sign = |ca: &CertificateAuthority| {
        let request = AgentRequest::read(&csr).expect("a request");
        ca.sign_agent(&request, host_id(1), now, later(now, AGENT_VALIDITY)).expect("signed")
    };
    let agent_pem = sign(&ca);
    let agent = || {
        agent_side(
            agent_pem.as_bytes(),
            key.serialize_pem().as_bytes(),
            ca.certificate_pem().as_bytes(),
        )
        .expect("fits")
    };
    let client_of = |ca: &CertificateAuthority, trusted: &CertificateAuthority| {
        let own = ca.client_certificate(now).expect("made");
        let chain = vec![der(&own.certificate_pem)];
        client_config(trusted.certificate_pem(), chain, key_of(&own.key_pem))
    };
    let name = agent_name(host_id(1));
    assert!(shake_hands(agent(), client_of(&ca, &ca), &name).await, "the server and its agent");
    assert!(
        !shake_hands(agent(), client_of(&ca, &ca), &agent_name(host_id(2))).await,
        "another host's certificate"
    );
    assert!(!shake_hands(agent(), client_of(&foreign, &ca), &name).await, "another CA's server");
    let agent_as_client =
        client_config(ca.certificate_pem(), vec![der(&agent_pem)], key_of(&key.serialize_pem()));
    assert!(!shake_hands(agent(), agent_as_client, &name).await, "an agent that calls");
    let foreign_agent = agent_side(
        sign(&foreign).as_bytes(),
        key.serialize_pem().as_bytes(),
        ca.certificate_pem().as_bytes(),
    )
    .expect("fits");
    assert!(!shake_hands(foreign_agent, client_of(&ca, &ca), &name).await, "another CA's agent");
}

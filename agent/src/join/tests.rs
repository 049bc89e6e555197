//! Joining with an answer made here, and what is refused before anything is sent.

use std::os::unix::fs::PermissionsExt;

use banger_wire::tls::agent_name;
use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, ExtendedKeyUsagePurpose,
    IsCa, Issuer, KeyPair,
};

use super::*;

fn request() -> JoinRequest {
    JoinRequest {
        server: "http://127.0.0.1:7070".to_owned(),
        token: String::new(),
        name: "host-a".to_owned(),
        agent_address: None,
        agent_port: 7072,
        used_networks: Vec::new(),
        labels: BTreeMap::new(),
        api_ca: None,
        insecure_plaintext: false,
    }
}

struct Server {
    ca: Issuer<'static, KeyPair>,
    ca_pem: String,
    fingerprint: [u8; 32],
}

fn server() -> Server {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let certificate = params.self_signed(&key).unwrap();
    let fingerprint = Sha256::digest(certificate.der()).into();
    Server { ca_pem: certificate.pem(), fingerprint, ca: Issuer::new(params, key) }
}

const HOST: &str = "0191e0a0-0000-7000-8000-000000000001";

impl Server {
    fn answer(&self, key: &KeyPem, named: HostId) -> JoinHostResponse {
        let csr = key.certificate_request().unwrap();
        let csr = CertificateSigningRequestParams::from_pem(&csr).unwrap();
        let mut params = CertificateParams::new(vec![agent_name(named)]).unwrap();
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let certificate = params.signed_by(&csr.public_key, &self.ca).unwrap();
        JoinHostResponse {
            host_id: HOST.to_owned(),
            certificate_pem: certificate.pem(),
            ca_certificate_pem: self.ca_pem.clone(),
            guest_subnet: "10.64.0.0/20".to_owned(),
            ..JoinHostResponse::default()
        }
    }
}

#[test]
fn an_answer_that_fits_is_kept_and_read_back() {
    let dir = tempfile::tempdir().unwrap();
    let identity_dir = dir.path().join("identity");
    let server = server();
    assert_eq!(Identity::known_host(&identity_dir).unwrap(), None);
    let key = KeyPem::load_or_make(&identity_dir).unwrap();
    // The same key the next time: a lost answer can be asked for again.
    assert_eq!(KeyPem::load_or_make(&identity_dir).unwrap().pem(), key.pem());
    let mode = std::fs::metadata(identity_dir.join("agent.key")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let not_yet = Identity::load(&identity_dir).unwrap_err();
    assert!(matches!(not_yet, IdentityError::NotJoined { .. }));

    let answer = server.answer(&key, HOST.parse().unwrap());
    let identity = accept(&request(), answer, &key, server.fingerprint, None).unwrap();
    identity.save(&identity_dir).unwrap();
    assert_eq!(Identity::load(&identity_dir).unwrap(), identity);
    assert_eq!(Identity::known_host(&identity_dir).unwrap(), Some(HOST.parse().unwrap()));
}

#[test]
fn a_server_with_another_ca_than_the_tokens_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let key = KeyPem::load_or_make(dir.path()).unwrap();
    let (right, wrong) = (server(), server());
    let answer = wrong.answer(&key, HOST.parse().unwrap());
    let refused = accept(&request(), answer, &key, right.fingerprint, None).unwrap_err();
    assert!(matches!(refused, JoinError::WrongServer));
}

#[test]
fn a_subnet_that_the_machine_uses_is_refused_unless_it_is_the_hosts_already() {
    let dir = tempfile::tempdir().unwrap();
    let key = KeyPem::load_or_make(dir.path()).unwrap();
    let server = server();
    let host: HostId = HOST.parse().unwrap();
    let (network, device) = ("10.64.1.0".parse().unwrap(), "up0".to_owned());
    let used = UsedNetwork { network, prefix: 24, device };
    let request = JoinRequest { used_networks: vec![used], ..request() };
    let accept =
        |known| accept(&request, server.answer(&key, host), &key, server.fingerprint, known);
    let refused = accept(None).unwrap_err().to_string();
    assert!(refused.contains("10.64.0.0/20") && refused.contains("10.64.1.0/24"), "{refused}");
    assert_eq!(accept(Some(host)).unwrap().record.guest_subnet.to_string(), "10.64.0.0/20");
    // The server is told of it before.
    assert_eq!(told(&request.used_networks), ["10.64.1.0/24"]);
}

#[test]
fn a_certificate_for_another_host_or_another_key_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let key = KeyPem::load_or_make(dir.path()).unwrap();
    let server = server();
    let other: HostId = "0191e0a0-0000-7000-8000-000000000002".parse().unwrap();
    let refused = accept(&request(), server.answer(&key, other), &key, server.fingerprint, None);
    assert!(matches!(refused, Err(JoinError::Answer(_))));
    let elsewhere = tempfile::tempdir().unwrap();
    let another = KeyPem::load_or_make(elsewhere.path()).unwrap();
    let answer = server.answer(&another, HOST.parse().unwrap());
    let refused = accept(&request(), answer, &key, server.fingerprint, None);
    assert!(matches!(refused, Err(JoinError::Certificate(_))));
}

#[test]
fn a_token_has_the_fingerprint_of_the_ca_at_its_end() {
    let ca = "ab".repeat(32);
    let token = format!("bj1.{}.{}.{ca}", "0".repeat(16), "1".repeat(64));
    assert_eq!(ca_fingerprint(&token).unwrap(), [0xab; 32]);
    for bad in ["", "bj1", "bj1.a.b", "bj2.a.b.c", &format!("{token}.x"), "bj1.a.b.zz"] {
        assert!(ca_fingerprint(bad).is_err(), "{bad:?}");
    }
}

#[test]
fn plain_text_is_for_this_machine_only() {
    let at = |server: &str, insecure_plaintext| {
        endpoint(&JoinRequest { server: server.to_owned(), insecure_plaintext, ..request() })
    };
    for near in ["http://127.0.0.1:7070", "http://localhost:7070", "http://[::1]:7070"] {
        assert!(at(near, false).is_ok(), "{near}");
    }
    for far in ["http://192.0.2.1:7070", "http://server.example:7070", "http://localhost.example"] {
        assert!(matches!(at(far, false), Err(JoinError::Plaintext(_))), "{far}");
        assert!(at(far, true).is_ok(), "{far}");
    }
    for none in ["", "server", "ftp://server.example", "/path"] {
        assert!(matches!(at(none, true), Err(JoinError::Address(_))), "{none:?}");
    }
}

#[test]
fn the_hosts_own_address_is_the_one_towards_the_server() {
    let address = own_address(&Endpoint::from_static("http://127.0.0.1:7070"), 7072).unwrap();
    assert_eq!(address, "127.0.0.1:7072");
}

#[test]
fn a_garbled_or_newer_record_is_refused_by_name() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("host.json"), "{").unwrap();
    assert!(matches!(Identity::load(dir.path()), Err(IdentityError::Garbled { .. })));
    let newer = format!(
        r#"{{"format":2,"host_id":"{HOST}","name":"a","guest_subnet":"10.64.0.0/20","server":"x"}}"#
    );
    std::fs::write(dir.path().join("host.json"), newer).unwrap();
    assert!(matches!(Identity::load(dir.path()), Err(IdentityError::Format { format: 2, .. })));
}

#[test]
fn a_bad_field_is_told_once() {
    use tonic_types::{ErrorDetails, StatusExt as _};
    let mut details = ErrorDetails::new();
    details.add_bad_request_violation("name", "must not be empty");
    details.add_bad_request_violation("agent_address", "must be address:port");
    let said = "name must not be empty; and 1 more";
    let status = tonic::Status::with_error_details(tonic::Code::InvalidArgument, said, details);
    assert_eq!(words(&status), format!("{said}; agent_address must be address:port"));
}

#[test]
fn a_key_that_others_may_read_is_no_key_to_join_with() {
    let dir = tempfile::tempdir().unwrap();
    KeyPem::load_or_make(dir.path()).unwrap();
    let path = dir.path().join("agent.key");
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
    let Err(error) = KeyPem::load_or_make(dir.path()) else { panic!("it was taken") };
    assert!(matches!(error, IdentityError::Secret(_)), "{error:?}");
}

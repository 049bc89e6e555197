use std::time::Duration;

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    date_time_ymd,
};
use rustls_pki_types::ServerName;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio_rustls::TlsConnector;

use super::*;

const HOST: &str = "0192f0c1-2d3e-7a4b-8c5d-6e7f8091a2b3";

struct Ca(CertifiedIssuer<'static, KeyPair>);

impl Ca {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).expect("no names");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key");
        Self(CertifiedIssuer::self_signed(params, key).expect("self-signed"))
    }

    fn leaf(&self, name: &str, usage: ExtendedKeyUsagePurpose) -> (String, String) {
        self.leaf_between(name, usage, (1975, 4096))
    }

    /// Good from the first day of a year to that of another.
    fn leaf_between(
        &self,
        name: &str,
        usage: ExtendedKeyUsagePurpose,
        (from, to): (i32, i32),
    ) -> (String, String) {
        let mut params = CertificateParams::new(vec![name.to_owned()]).expect("a DNS name");
        params.extended_key_usages = vec![usage];
        params.not_before = date_time_ymd(from, 1, 1);
        params.not_after = date_time_ymd(to, 1, 1);
        let key = KeyPair::generate().expect("a key");
        let certificate = params.signed_by(&key, &self.0).expect("signed");
        (certificate.pem(), key.serialize_pem())
    }
}

/// Whether a client that shows this certificate gets an answer from an agent's listener.
async fn is_admitted(ca: &Ca, client: Option<(String, String)>) -> bool {
    let host: HostId = HOST.parse().expect("an id");
    let (certificate, key) = ca.leaf(&agent_name(host), ExtendedKeyUsagePurpose::ServerAuth);
    let config =
        agent_side(certificate.as_bytes(), key.as_bytes(), ca.0.pem().as_bytes()).expect("usable");
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let acceptor = TlsAcceptor::from(Arc::new(config));
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let admitted = handshake(acceptor.clone(), stream, Admit::OnlyTheServer).await;
            if let Ok(mut stream) = admitted {
                let _ = stream.write_all(b"hello").await;
            }
        }
    });
    let mut roots = RootCertStore::empty();
    roots.add(ca.0.der().clone()).expect("a CA");
    let builder = rustls::ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .expect("TLS 1.3")
        .with_root_certificates(roots);
    let mut config = match client {
        None => builder.with_no_client_auth(),
        Some((certificate, key)) => builder
            .with_client_auth_cert(
                certificates("test", certificate.as_bytes()).expect("PEM"),
                private_key(key.as_bytes()).expect("PEM"),
            )
            .expect("usable"),
    };
    config.alpn_protocols = vec![b"h2".to_vec()];
    let name = ServerName::try_from(agent_name(host)).expect("a name");
    let tcp = TcpStream::connect(address).await.expect("connects");
    let talk = async {
        let mut stream = TlsConnector::from(Arc::new(config)).connect(name, tcp).await?;
        let mut word = [0; 5];
        stream.read_exact(&mut word).await.map(|_| word)
    };
    let talk = tokio::time::timeout(Duration::from_secs(20), talk).await.expect("in time");
    matches!(talk, Ok(word) if &word == b"hello")
}

#[tokio::test]
async fn an_agent_admits_the_server() {
    let ca = Ca::new();
    let server = ca.leaf(SERVER_NAME, ExtendedKeyUsagePurpose::ClientAuth);
    assert!(is_admitted(&ca, Some(server)).await);
}

#[tokio::test]
async fn an_agent_refuses_whoever_is_not_the_server() {
    let ca = Ca::new();
    let other_host = "0192f0c1-2d3e-7a4b-8c5d-6e7f8091a2b4".parse().expect("an id");
    let cases = [
        ("nobody", None),
        (
            "another agent's own certificate",
            Some(ca.leaf(&agent_name(other_host), ExtendedKeyUsagePurpose::ServerAuth)),
        ),
        (
            "another agent with the right to call",
            Some(ca.leaf(&agent_name(other_host), ExtendedKeyUsagePurpose::ClientAuth)),
        ),
        (
            "the server's name for serving only",
            Some(ca.leaf(SERVER_NAME, ExtendedKeyUsagePurpose::ServerAuth)),
        ),
        (
            "a server of another CA",
            Some(Ca::new().leaf(SERVER_NAME, ExtendedKeyUsagePurpose::ClientAuth)),
        ),
        (
            "the server with a certificate that has expired",
            Some(ca.leaf_between(SERVER_NAME, ExtendedKeyUsagePurpose::ClientAuth, (1975, 2000))),
        ),
        (
            "the server with a certificate that is not good yet",
            Some(ca.leaf_between(SERVER_NAME, ExtendedKeyUsagePurpose::ClientAuth, (4000, 4096))),
        ),
    ];
    for (who, client) in cases {
        assert!(!is_admitted(&ca, client).await, "{who} was admitted");
    }
}

#[test]
fn a_certificate_names_an_agent_by_a_whole_id_only() {
    let ca = Ca::new();
    let named = |name: &str| {
        let (pem, _) = ca.leaf(name, ExtendedKeyUsagePurpose::ServerAuth);
        peer_identity(&certificates("test", pem.as_bytes()).expect("PEM")[0])
    };
    let host: HostId = HOST.parse().expect("an id");
    assert_eq!(named(&agent_name(host)), Some(PeerIdentity::Agent(host)));
    assert_eq!(named(SERVER_NAME), Some(PeerIdentity::Server));
    assert_eq!(named("x.agent.banger.internal"), None);
    assert_eq!(named("agent.banger.internal"), None);
    assert_eq!(named("server.banger.internal.example.com"), None);
}

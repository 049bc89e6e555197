use tokio_rustls::rustls::pki_types::CertificateDer;

use super::*;

#[test]
fn only_this_machine_itself_is_loopback() {
    for host in ["localhost", "LocalHost:5000", "127.0.0.1:80", "127.9.9.9", "[::1]:5000"] {
        assert!(is_loopback(host), "{host}");
    }
    for host in ["example.com", "10.0.0.1", "localhost.example.com", "127.0.0.1.nip.io", "[::2]"] {
        assert!(!is_loopback(host), "{host}");
    }
}

#[test]
fn a_redirect_leads_from_where_it_was_said() {
    let from: Uri = "https://a.example/v2/x?y".parse().expect("an address");
    let to = |location| redirected(&from, location).map(|uri| uri.to_string());
    assert_eq!(to("/other?z").as_deref(), Some("https://a.example/other?z"));
    assert_eq!(to("https://b.example/c").as_deref(), Some("https://b.example/c"));
    assert_eq!(to("c").as_deref(), Some("https://a.example/v2/c"));
    assert_eq!(to("../c?d").as_deref(), Some("https://a.example/c?d"));
    assert_eq!(to("//b.example:5/c").as_deref(), Some("https://b.example:5/c"));
    assert_eq!(to("/c#part").as_deref(), Some("https://a.example/c"));
    assert_eq!(to("https://me:secret@b.example/").as_deref(), Some("https://b.example/"));
    let spaces = "/c?filename=\"a b\"";
    assert_eq!(to(spaces).as_deref(), Some("https://a.example/c?filename=%22a%20b%22"));
    for nowhere in ["", "//", "mailto:me", "https://"] {
        assert_eq!(to(nowhere), None, "{nowhere}");
    }
}

/// A server with a certificate for `registry.example` of an authority of its own.
struct Registry {
    authority: CertificateDer<'static>,
    config: Arc<rustls::ServerConfig>,
}

impl Registry {
    fn new() -> Self {
        use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key");
        let authority = params.self_signed(&key).expect("a certificate").der().clone();
        let issuer = Issuer::new(params, key);
        let names = vec!["registry.example".to_owned()];
        let own = CertificateParams::new(names).expect("a name");
        let own_key = KeyPair::generate().expect("a key");
        let chain = vec![own.signed_by(&own_key, &issuer).expect("a certificate").der().clone()];
        let key = own_key.serialize_der().try_into().expect("a key");
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("ring has them")
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .expect("they fit");
        Self { authority, config: Arc::new(config) }
    }

    /// Speaks to it as to `host`, trusting `authority`, and reads what it says.
    async fn read(&self, host: &str, authority: &Self) -> Result<String, Cause> {
        use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
        let (near, far) = tokio::io::duplex(64 << 10);
        let acceptor = tokio_rustls::TlsAcceptor::from(self.config.clone());
        let says = async {
            let mut stream = acceptor.accept(far).await?;
            stream.write_all(b"good day").await?;
            stream.shutdown().await
        };
        let reads = async {
            let trusted = trusting(vec![authority.authority.clone()])?;
            let mut stream = encrypt(near, host, trusted).await?;
            let mut text = String::new();
            stream.read_to_string(&mut text).await?;
            Ok(text)
        };
        let (read, _) = tokio::join!(reads, says);
        read
    }
}

#[tokio::test]
async fn a_registry_is_believed_only_with_a_certificate_for_its_name_of_an_authority_we_have() {
    let (registry, other) = (Registry::new(), Registry::new());
    let said = registry.read("registry.example", &registry).await.expect("all is well");
    assert_eq!(said, "good day");
    let unknown = registry.read("registry.example", &other).await.expect_err("it is unknown");
    assert!(unknown.to_string().contains("invalid peer certificate"), "{unknown}");
    let named = registry.read("other.example", &registry).await.expect_err("it is another's");
    assert!(named.to_string().contains("not valid for name"), "{named}");
}

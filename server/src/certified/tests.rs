//! Certificates that name callers, and those that never do.

use banger_wire::tls::{client_verifier, peer_identity};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair, KeyUsagePurpose, SanType,
};

use super::*;
use crate::model::caller::{ProjectRole, Role};

const NOW: i64 = 1_800_000_000;

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(NOW + seconds).expect("in range")
}

struct Ca(CertifiedIssuer<'static, KeyPair>);

impl Ca {
    fn new(name: &str) -> Self {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        Self(
            CertifiedIssuer::self_signed(params, KeyPair::generate().expect("a key"))
                .expect("a CA"),
        )
    }

    fn pem(&self) -> String {
        self.0.pem()
    }

    /// A certificate as these lines make it, good for an hour from NOW on.
    fn signs(&self, change: impl Fn(&mut CertificateParams)) -> Vec<CertificateDer<'static>> {
        let mut params = CertificateParams::default();
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        let time =
            |seconds| rcgen::date_time_ymd(2027, 1, 15) + std::time::Duration::from_secs(seconds);
        (params.not_before, params.not_after) = (time(8 * 3600 - 60), time(9 * 3600));
        change(&mut params);
        let key = KeyPair::generate().expect("a key");
        vec![params.signed_by(&key, &self.0).expect("signed").der().clone()]
    }

    fn for_name(&self, name: &str) -> Vec<CertificateDer<'static>> {
        self.signs(|params| {
            params.subject_alt_names = vec![SanType::DnsName(name.try_into().expect("a name"))];
        })
    }
}

fn callers(ca: &Ca) -> CertifiedCallers {
    let config = toml::from_str(
        r#"
        ca = "/ca"
        [[grants]]
        name = "ci.example.org"
        role = "operator"
        [[grants]]
        name = "spiffe://example.org/shop"
        role = "developer"
        project = "shop"
        [[grants]]
        name = "ann"
        role = "viewer"
        "#,
    );
    let verifier = client_verifier(ca.pem().as_bytes()).expect("a CA");
    CertifiedCallers::new(&config.expect("a configuration"), verifier)
}

#[test]
fn a_name_that_has_a_grant_is_a_caller_until_the_certificate_ends() {
    let ca = Ca::new("clients");
    let callers = callers(&ca);
    let ci = callers.vouch(&ca.for_name("ci.example.org"), at(0)).expect("it is known");
    assert_eq!(&*ci.principal.name, "certificate#ci.example.org");
    assert_eq!(ci.principal.rights, Rights::Fleet(Role::Operator));
    assert_eq!(ci.expires_at, at(3600));
    let uri = ca.signs(|params| {
        let uri = "spiffe://example.org/shop".try_into().expect("a URI");
        params.subject_alt_names = vec![SanType::URI(uri)];
    });
    let shop = callers.vouch(&uri, at(0)).expect("it is known");
    assert!(matches!(shop.principal.rights, Rights::Project(_, ProjectRole::Developer)));
    let common = |more: &[&str]| {
        ca.signs(|params| {
            params.distinguished_name.push(DnType::CommonName, "ann");
            let names =
                more.iter().map(|name| SanType::DnsName((*name).try_into().expect("a name")));
            params.subject_alt_names = names.collect();
        })
    };
    assert!(callers.vouch(&common(&[]), at(0)).is_ok());
    assert_eq!(
        callers.vouch(&common(&["x.org"]), at(0)),
        Err(NotCertified::NoRole),
        "it has others"
    );
}

#[test]
fn what_is_not_good_now_or_signed_by_others_is_nobodys() {
    let (ca, other) = (Ca::new("clients"), Ca::new("clients"));
    let callers = callers(&ca);
    let good = ca.for_name("ci.example.org");
    for seconds in [-61, 3601, 10 * 365 * 86_400] {
        assert_eq!(callers.vouch(&good, at(seconds)), Err(NotCertified::Untrusted), "{seconds}");
    }
    let foreign = other.for_name("ci.example.org");
    assert_eq!(callers.vouch(&foreign, at(0)), Err(NotCertified::Untrusted));
    assert_eq!(callers.vouch(&[], at(0)), Err(NotCertified::Unreadable));
    // Another CA in its place.
    callers.trust(client_verifier(other.pem().as_bytes()).expect("a CA"));
    assert_eq!(callers.vouch(&good, at(0)), Err(NotCertified::Untrusted));
    assert!(callers.vouch(&foreign, at(0)).is_ok());
}

#[test]
fn no_certificate_of_the_fleet_is_a_callers_and_none_for_servers() {
    let ca = Ca::new("clients");
    let callers = callers(&ca);
    for name in ["server.banger.internal", "0198.agent.banger.internal", "X.BANGER.INTERNAL"] {
        assert_eq!(
            callers.vouch(&ca.for_name(name), at(0)),
            Err(NotCertified::OfTheFleet),
            "{name}"
        );
    }
    let both = ca.signs(|params| {
        let names = ["ci.example.org", "server.banger.internal"];
        params.subject_alt_names =
            names.map(|name| SanType::DnsName(name.try_into().expect("a name"))).to_vec();
    });
    assert_eq!(callers.vouch(&both, at(0)), Err(NotCertified::OfTheFleet));
    for usage in [vec![ExtendedKeyUsagePurpose::ServerAuth], vec![]] {
        let wrong = ca.signs(|params| {
            params.subject_alt_names =
                vec![SanType::DnsName("ci.example.org".try_into().expect("a name"))];
            params.extended_key_usages = usage.clone();
        });
        assert!(callers.vouch(&wrong, at(0)).is_err(), "{usage:?}");
    }
    // A caller's is no agent's and no server's, whatever it is granted.
    assert_eq!(peer_identity(&ca.for_name("ci.example.org")[0]), None);
}

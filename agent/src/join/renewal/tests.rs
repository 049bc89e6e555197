//! Exchanging the certificate: what is refused, and what a death at each step leaves.

use std::os::unix::fs::PermissionsExt as _;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

use banger_proto::ids::HostId;
use banger_wire::tls::agent_name;
use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, ExtendedKeyUsagePurpose,
    IsCa, Issuer, KeyPair,
};

use super::*;
use crate::join::identity::FORMAT;

const HOST: &str = "0191e0a0-0000-7000-8000-000000000001";
const ANOTHER: &str = "0191e0a0-0000-7000-8000-000000000002";

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

    /// As the server signs: names of its own for the key of the request.
    fn sign(&self, request: &str, host: &str) -> String {
        let request = CertificateSigningRequestParams::from_pem(request).unwrap();
        let host: HostId = host.parse().unwrap();
        let mut params = CertificateParams::new(vec![agent_name(host)]).unwrap();
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.signed_by(&request.public_key, &self.issuer).unwrap().pem()
    }
}

/// A host that has joined.
fn joined(dir: &Path, ca: &Ca) -> Identity {
    let key = KeyPem::load_or_make(dir).unwrap();
    let identity = Identity {
        record: IdentityRecord {
            format: FORMAT,
            host_id: HOST.parse().unwrap(),
            name: "host-a".to_owned(),
            guest_subnet: "10.64.0.0/20".parse().unwrap(),
            server: "http://127.0.0.1:7070".to_owned(),
            fleet: None,
        },
        certificate_pem: ca.sign(&key.certificate_request().unwrap(), HOST),
        key_pem: key.pem().to_owned(),
        ca_pem: ca.pem.clone(),
    };
    identity.save(dir).unwrap();
    identity
}

fn opened(dir: &Path) -> Credentials {
    let identity = Identity::load(dir).unwrap();
    Credentials::new(dir.to_owned(), identity, Clock::system()).expect("what is on disk fits")
}

fn in_use(credentials: &Credentials) -> Identity {
    credentials.identity.lock().clone()
}

fn names(dir: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(dir).unwrap();
    let mut names: Vec<String> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn a_certificate_of_a_new_key_is_taken_into_use_and_nothing_else_is_left() {
    let (temp, ca) = (tempfile::tempdir().unwrap(), Ca::new());
    let dir = temp.path().join("identity");
    let first = joined(&dir, &ca);
    let credentials = opened(&dir);
    let before = credentials.tls().load_full();
    let request = credentials.prepare().unwrap();
    assert_eq!(credentials.prepare().unwrap().len(), request.len(), "it can be asked for again");
    assert_eq!(Identity::load(&dir).unwrap(), first, "nothing is in use yet");
    let certificate = ca.sign(&request, HOST);
    credentials.install(&certificate, &ca.pem).unwrap();
    let second = in_use(&credentials);
    assert_eq!(second.certificate_pem, certificate);
    assert_ne!(second.key_pem, first.key_pem, "another key");
    assert_eq!(second.fleet(), first.fleet());
    assert!(!Arc::ptr_eq(&before, &credentials.tls().load_full()), "new connections see it");
    assert_eq!(Identity::load(&dir).unwrap(), second, "and the next life");
    assert_eq!(names(&dir), ["agent.crt", "agent.key", "ca.crt", "host.json"]);
    let mode = std::fs::metadata(dir.join("agent.key")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    // The answer was lost: the same again changes nothing.
    credentials.install(&certificate, &ca.pem).unwrap();
    assert_eq!(in_use(&credentials), second);
    let third = credentials.prepare().unwrap();
    credentials.install(&ca.sign(&third, HOST), &ca.pem).unwrap();
    assert_ne!(in_use(&credentials).key_pem, second.key_pem);
}

#[test]
fn what_does_not_fit_is_refused_and_changes_nothing() {
    let (temp, ca) = (tempfile::tempdir().unwrap(), Ca::new());
    let first = joined(temp.path(), &ca);
    let credentials = opened(temp.path());
    let request = credentials.prepare().unwrap();
    let good = ca.sign(&request, HOST);
    let elsewhere = KeyPem::load_or_make(&temp.path().join("elsewhere")).unwrap();
    let of_another_key = ca.sign(&elsewhere.certificate_request().unwrap(), HOST);
    let many = ca.pem.repeat(MAX_TRUSTED + 1);
    for (what, certificate, trusted) in [
        ("another host's", ca.sign(&request, ANOTHER).as_str(), ca.pem.as_str()),
        ("another key's", &of_another_key, &ca.pem),
        ("no certificate", "garbage", &ca.pem),
        ("no CA", &good, ""),
        ("too many CAs", &good, &many),
        (
            "a CA that is none",
            &good,
            "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
        ),
    ] {
        assert!(credentials.install(certificate, trusted).is_err(), "{what}");
        assert_eq!(in_use(&credentials), first, "{what}");
        assert_eq!(Identity::load(temp.path()).unwrap(), first, "{what}");
    }
    credentials.install(&good, &ca.pem).unwrap();
}

#[test]
fn further_cas_are_trusted_without_another_certificate_and_the_fleet_stays_what_it_was() {
    let (temp, ca, next) = (tempfile::tempdir().unwrap(), Ca::new(), Ca::new());
    let first = joined(temp.path(), &ca);
    let fleet = first.fleet();
    let credentials = opened(temp.path());
    let both = format!("{}{}", next.pem, ca.pem);
    credentials.install("", &both).unwrap();
    assert_eq!(credentials.shown().trusted.len(), 2);
    credentials.install("", &next.pem).unwrap();
    let now = Identity::load(temp.path()).unwrap();
    assert_eq!(
        (now.certificate_pem.as_str(), now.ca_pem.as_str()),
        (&*first.certificate_pem, &*next.pem)
    );
    assert_eq!(now.fleet(), fleet, "what the server has said holds under the new CA");
}

#[test]
fn a_death_at_each_step_leaves_a_pair_that_fits_and_the_renewal_goes_on() {
    let (ca, next) = (Ca::new(), Ca::new());
    let mut died_at = Vec::new();
    for step in 0.. {
        let temp = tempfile::tempdir().unwrap();
        let dir = temp.path();
        let first = joined(dir, &ca);
        let both = format!("{}{}", next.pem, ca.pem);
        let renew = |credentials: &Credentials| {
            let request = credentials.prepare().unwrap();
            credentials.install(&next.sign(&request, HOST), &both).unwrap();
        };
        let (count, name) = (AtomicUsize::new(0), Arc::new(Mutex::new("")));
        let named = Arc::clone(&name);
        let mortal = opened(dir).observed_by(move |at| {
            if count.fetch_add(1, Ordering::Relaxed) == step {
                *named.lock() = at;
                panic!("dies here");
            }
        });
        let died = catch_unwind(AssertUnwindSafe(|| renew(&mortal))).is_err();
        drop(mortal);
        // The next life: what it finds fits together, and is one of the two.
        let found = opened(dir);
        assert_eq!(in_use(&found).fleet(), first.fleet(), "{}", name.lock());
        let still = in_use(&found).certificate_pem == first.certificate_pem;
        found.end_renewal();
        let waits = names(dir).contains(&"next.key".to_owned());
        assert_eq!(waits, still, "{}: a key waits or is in use", name.lock());
        assert_eq!(Identity::load(dir).unwrap(), in_use(&found), "{}", name.lock());
        renew(&found);
        assert_eq!(
            names(dir),
            ["agent.crt", "agent.key", "ca.crt", "host.json"],
            "{}",
            name.lock()
        );
        let end = in_use(&opened(dir));
        assert_ne!(end.key_pem, first.key_pem);
        assert_eq!(end.ca_pem, both);
        if !died {
            break;
        }
        died_at.push((*name.lock(), still));
    }
    assert_eq!(
        died_at,
        [
            ("prepared", true),
            ("fleet kept", true),
            ("CAs written", true),
            ("certificate written", false),
            ("key named", false),
            ("in use", false),
        ],
        "the certificate that counts changes with one of the steps"
    );
}

#[test]
fn a_host_that_has_joined_again_is_taken_over_and_a_renewal_after_it_too() {
    let (temp, ca) = (tempfile::tempdir().unwrap(), Ca::new());
    let first = joined(temp.path(), &ca);
    let credentials = opened(temp.path());
    // A renewal is begun and never ended; somebody joins the host again with its key.
    credentials.prepare().unwrap();
    let again = joined(temp.path(), &ca);
    assert_eq!(again.key_pem, first.key_pem);
    credentials.look_again();
    assert_eq!(in_use(&credentials), again);
    let request = credentials.prepare().unwrap();
    credentials.install(&ca.sign(&request, HOST), &ca.pem).unwrap();
    assert_ne!(in_use(&credentials).key_pem, again.key_pem);
}

//! Certificates of agents are renewed over the connection that is there: by clocks that tests move.

use std::sync::Mutex;

use arc_swap::ArcSwap;
use banger_proto::agent_v1 as wire;
use banger_proto::ids::HostId;
use banger_wire::tls::{TimeProvider, agent_side_at};
use jiff::{SignedDuration, Timestamp};
use rustls_pki_types::UnixTime;
use sha2::{Digest as _, Sha256};
use tonic::{Request, Response, Status};

use super::*;
use crate::clock::{Clock as _, ManualClock};
use crate::model::host::{HostRecord, HostState};
use crate::pki::{AgentRequest, CertificateAuthority, later};

/// What becomes of the next calls about the certificate.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Fate {
    /// The agent does as it is told.
    #[default]
    Done,
    /// It knows no such call.
    Unknown,
    /// It dies before it makes a key: nothing is answered.
    DiesAsked,
    /// It dies when it is given the certificate, which it has not kept.
    DiesGiven,
    /// It dies when it has kept the certificate: the next life shows it.
    DiesWithIt,
    /// It says that it shows the new one, and does not.
    Lies,
}

/// The certificate of a fake agent.
#[derive(Debug, Default)]
pub(super) struct FakeCertificate {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    tls: Option<Arc<ArcSwap<rustls::ServerConfig>>>,
    time: Option<Arc<dyn TimeProvider>>,
    ca_pem: String,
    key_pem: String,
    prepared: Option<String>,
    fate: Fate,
    /// How often it was asked for a key.
    asked: usize,
}

/// The clock of a test, for TLS.
#[derive(Debug)]
struct TestTime(Arc<ManualClock>);

impl TimeProvider for TestTime {
    fn current_time(&self) -> Option<UnixTime> {
        let seconds = u64::try_from(self.0.now().as_second()).ok()?;
        Some(UnixTime::since_unix_epoch(Duration::from_secs(seconds)))
    }
}

fn digest_of(key_pem: &str) -> [u8; 32] {
    use rcgen::PublicKeyData as _;
    let key = KeyPair::from_pem(key_pem).expect("a key");
    Sha256::digest(key.subject_public_key_info()).into()
}

impl FakeCertificate {
    /// What connections are accepted with, from now on.
    pub(super) fn begin(
        &self,
        certificate: &str,
        key: &str,
        ca: &str,
    ) -> Arc<ArcSwap<rustls::ServerConfig>> {
        let mut state = self.state.lock().expect("no panic");
        (state.key_pem, state.ca_pem) = (key.to_owned(), ca.to_owned());
        let config = Arc::new(ArcSwap::from_pointee(state.config(certificate)));
        state.tls = Some(Arc::clone(&config));
        config
    }

    pub(super) fn prepare(&self) -> Result<Response<wire::PrepareCertificateResponse>, Status> {
        let mut state = self.state.lock().expect("no panic");
        state.asked += 1;
        match state.fate {
            Fate::Unknown => return Err(Status::unimplemented("what is that?")),
            Fate::DiesAsked => return Err(Status::unavailable("it died")),
            Fate::Done | Fate::DiesGiven | Fate::DiesWithIt | Fate::Lies => {}
        }
        let new = || KeyPair::generate().expect("a key").serialize_pem();
        let prepared = state.prepared.get_or_insert_with(new);
        let key = KeyPair::from_pem(prepared).expect("a key");
        let params = CertificateParams::new(Vec::<String>::new()).expect("parameters");
        let request = params.serialize_request(&key).expect("a request");
        let certificate_request_pem = request.pem().expect("as text");
        Ok(Response::new(wire::PrepareCertificateResponse { certificate_request_pem }))
    }

    pub(super) fn install(
        &self,
        request: Request<wire::InstallCertificateRequest>,
    ) -> Result<Response<wire::InstallCertificateResponse>, Status> {
        let request = request.into_inner();
        let mut state = self.state.lock().expect("no panic");
        state.ca_pem = request.trusted_ca_pem;
        match state.fate {
            Fate::DiesGiven => return Err(Status::unavailable("it died")),
            Fate::Lies => return Ok(Response::new(wire::InstallCertificateResponse {})),
            Fate::Done | Fate::Unknown | Fate::DiesAsked | Fate::DiesWithIt => {}
        }
        if let Some(key) = state.prepared.take() {
            state.key_pem = key;
        }
        let config = Arc::new(state.config(&request.certificate_pem));
        state.tls.as_ref().expect("it serves").store(config);
        if state.fate == Fate::DiesWithIt {
            return Err(Status::unavailable("it died"));
        }
        Ok(Response::new(wire::InstallCertificateResponse {}))
    }

    /// The key that it shows.
    pub(super) fn key(&self) -> KeyPair {
        KeyPair::from_pem(&self.state.lock().expect("no panic").key_pem).expect("a key")
    }

    /// Shows this from now on, whatever it is.
    pub(super) fn show(&self, certificate: &str, key: &str) {
        let mut state = self.state.lock().expect("no panic");
        state.key_pem = key.to_owned();
        let config = Arc::new(state.config(certificate));
        state.tls.as_ref().expect("it serves").store(config);
    }

    fn set(&self, fate: Fate) {
        self.state.lock().expect("no panic").fate = fate;
    }

    /// sha256 of the key that it shows, and how often it was asked for another.
    fn shows(&self) -> ([u8; 32], usize) {
        let state = self.state.lock().expect("no panic");
        (digest_of(&state.key_pem), state.asked)
    }
}

impl State {
    fn config(&self, certificate: &str) -> rustls::ServerConfig {
        let time: Arc<dyn TimeProvider> = match &self.time {
            Some(time) => Arc::clone(time),
            None => Arc::new(banger_wire::tls::DefaultTimeProvider),
        };
        let (key, ca) = (self.key_pem.as_bytes(), self.ca_pem.as_bytes());
        agent_side_at(certificate.as_bytes(), key, ca, time).expect("they fit together")
    }
}

/// A server and a host whose clocks the test moves.
struct Stage {
    directory: tempfile::TempDir,
    clock: Arc<ManualClock>,
    server: RunningServer,
    host: Host,
}

impl Stage {
    async fn set() -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let clock = Arc::new(ManualClock::at(SystemClock.now()));
        let server = started_at(&directory, &clock).await;
        let time: Arc<dyn TimeProvider> = Arc::new(TestTime(Arc::clone(&clock)));
        let of = |certificate: &FakeCertificate| {
            certificate.state.lock().expect("no panic").time = Some(time);
        };
        let host = join_as(channel(&server).await, "alpha", of).await;
        until_online(&server).await;
        Self { directory, clock, server, host }
    }

    fn days(&self, days: i64) {
        self.clock.advance(SignedDuration::from_hours(24 * days));
    }

    fn record(&self) -> Arc<HostRecord> {
        Arc::clone(&self.server.view().hosts()[0].view.record)
    }

    fn certificate(&self) -> &FakeCertificate {
        &self.host.agent.certificate
    }

    /// Waits until the view is as asked, and answers each state that the host was in meanwhile.
    async fn until(
        &self,
        what: &str,
        so: impl Fn(&crate::watch::HostSnapshot) -> bool,
    ) -> Vec<HostState> {
        let mut changed = self.server.view().hosts_changed();
        let mut states = Vec::new();
        let come = async {
            loop {
                let host = self.server.view().hosts().remove(0);
                states.push(host.view.health.state);
                if so(&host) {
                    return;
                }
                changed.changed().await.expect("the view is there");
            }
        };
        if timeout(PATIENCE, come).await.is_err() {
            panic!("{what}: {:#?}", self.server.view().hosts());
        }
        states
    }

    /// One key is on record, the agent shows it, and the host is served.
    async fn settled(&self, before: [u8; 32]) {
        self.until("one key, and the host is served", |host| {
            let record = &host.view.record;
            let (shown, _) = self.certificate().shows();
            record.renewal.next.is_none()
                && record.key_sha256 == Some(shown)
                && shown != before
                && host.view.health.state.is_online()
        })
        .await;
    }

    /// The server dies and starts again. What was under way is dropped where it is.
    async fn restarted(self) -> Self {
        let Self { directory, clock, server, host } = self;
        server.shutdown().await;
        let server = started_at(&directory, &clock).await;
        Self { directory, clock, server, host }
    }
}

async fn started_at(directory: &tempfile::TempDir, clock: &Arc<ManualClock>) -> RunningServer {
    Server::start_with(config(directory), clock.clone(), None).await.expect("it starts")
}

#[tokio::test(flavor = "multi_thread")]
async fn at_two_thirds_of_its_life_a_certificate_is_renewed_and_no_stream_breaks() {
    let stage = Stage::set().await;
    let (first, record) = (stage.certificate().shows().0, stage.record());
    assert_eq!(record.key_sha256, Some(first));
    stage.days(59);
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(stage.certificate().shows(), (first, 0), "not before");
    stage.days(1);
    let renewed = |host: &crate::watch::HostSnapshot| host.view.record.key_sha256 != Some(first);
    let states = stage.until("renewed", renewed).await;
    assert!(states.iter().all(|state| state.is_online()), "{states:?}");
    stage.settled(first).await;
    let after = stage.record();
    let life = after.certificate_expires_at.duration_since(stage.clock.now());
    assert_eq!(life.as_hours(), 90 * 24);
    assert_eq!(after.etag(), record.etag(), "nobody has changed the host");
    assert_eq!(stage.host.agent.observations(), 1, "the stream goes on");
    assert!(stage.host.agent.is_observed());
    let seen = stage.server.view().hosts()[0].certificate.clone().expect("it was seen");
    assert_eq!(seen.not_after.as_second(), after.certificate_expires_at.as_second());
    // The next connection is over the new one; the old key is nobody's any more.
    stage.host.agent.cut_streams();
    let again = |_: &crate::watch::HostSnapshot| stage.host.agent.observations() == 2;
    stage.until("connected again", again).await;
    assert!(!stage.record().accepts(first));
    // And the one after that, until somebody has lived for a year.
    for _ in 0..4 {
        let before = stage.certificate().shows().0;
        stage.days(61);
        stage.settled(before).await;
    }
    stage.server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn wherever_agent_and_server_die_the_host_is_served_with_one_key() {
    for fate in [Fate::DiesAsked, Fate::DiesGiven, Fate::DiesWithIt, Fate::Lies] {
        for server_dies in [false, true] {
            let mut stage = Stage::set().await;
            let before = stage.certificate().shows().0;
            stage.certificate().set(fate);
            stage.days(61);
            if fate == Fate::DiesWithIt {
                // Nothing is missing but an answer.
                stage.settled(before).await;
            } else {
                let failed = |host: &crate::watch::HostSnapshot| {
                    host.certificate.as_ref().is_some_and(|seen| seen.failure.is_some())
                };
                let states = stage.until("it is said that it failed", failed).await;
                assert!(states.iter().all(|state| state.is_online()), "{fate:?} {states:?}");
                let record = stage.record();
                assert!(record.accepts(before), "{fate:?}: what the agent has is good");
            }
            if server_dies {
                stage = stage.restarted().await;
            }
            stage.certificate().set(Fate::Done);
            stage.host.agent.cut_streams();
            stage.settled(before).await;
            stage.server.shutdown().await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_that_cannot_renew_shows_why_and_near_the_end_it_is_a_fault() {
    let stage = Stage::set().await;
    stage.certificate().set(Fate::Unknown);
    let mut hosts = HostServiceClient::new(channel(&stage.server).await);
    stage.days(61);
    stage
        .until("why", |host| {
            let seen = host.certificate.as_ref().and_then(|seen| seen.failure.as_ref());
            seen.is_some_and(|failure| {
                !failure.is_fault && failure.message.contains("Unimplemented")
            })
        })
        .await;
    let mut status = async || {
        let request = v1::GetHostRequest { host: "alpha".to_owned() };
        let host = hosts.get_host(request).await.expect("there").into_inner();
        host.status.expect("it has one")
    };
    let shown = status().await;
    assert_eq!(shown.reason, "", "there is time");
    assert!(shown.certificate.expect("seen").renewal_error.contains("is not renewed"));
    stage.days(20);
    stage
        .until("a fault", |host| {
            let seen = host.certificate.as_ref().and_then(|seen| seen.failure.as_ref());
            seen.is_some_and(|failure| failure.is_fault)
        })
        .await;
    let shown = status().await;
    assert_eq!(
        (shown.reason.as_str(), shown.state()),
        ("CERTIFICATE_NOT_RENEWED", v1::HostState::Online)
    );
    stage.server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_that_shows_what_is_not_its_hosts_is_refused_and_the_true_one_is_not() {
    let stage = Stage::set().await;
    // Nothing of what follows is to be renewed.
    stage.certificate().set(Fate::Unknown);
    let (host, now) = (stage.record().id, stage.clock.now());
    let ca = CertificateAuthority::look(&config(&stage.directory).ca_dir());
    let ca = ca.expect("readable").expect("the server has made one");
    let elsewhere = tempfile::tempdir().expect("a directory");
    let foreign = CertificateAuthority::open_or_make(elsewhere.path(), now).expect("made");
    let another = HostId::from_uuid(uuid::Uuid::max());
    let key = || KeyPair::generate().expect("a key");
    let signed = |ca: &CertificateAuthority, host: HostId, key: &KeyPair, end: Timestamp| {
        let params = CertificateParams::new(Vec::<String>::new()).expect("parameters");
        let request = params.serialize_request(key).expect("a request").pem().expect("as text");
        let request = AgentRequest::read(&request).expect("a request");
        ca.sign_agent(&request, host, now, end).expect("signed")
    };
    let end = later(now, Duration::from_secs(24 * 3600));
    let past = now.checked_sub(Duration::from_secs(3600)).expect("a time");
    // The key on record is the host's own: so that it is the certificate that is refused.
    let own = KeyPair::from_pem(&stage.certificate().state.lock().expect("no panic").key_pem);
    let own = own.expect("a key");
    let servers = ca.client_certificate(now).expect("made");
    let (stolen, own_pem) = (key(), own.serialize_pem());
    let stolen_pem = stolen.serialize_pem();
    let mut hosts = HostServiceClient::new(channel(&stage.server).await);
    let mut names = ["127.0.0.1", "localhost"];
    for (what, certificate, key, said) in [
        ("another host's certificate", signed(&ca, another, &own, end), &own_pem, "certificate"),
        ("one that has expired", signed(&ca, host, &own, past), &own_pem, "xpired"),
        ("one by a foreign CA", signed(&foreign, host, &own, end), &own_pem, "certificate"),
        ("the server's own", servers.certificate_pem, &servers.key_pem, "certificate"),
        (
            "its name with a key that is not its",
            signed(&ca, host, &stolen, end),
            &stolen_pem,
            "another key",
        ),
    ] {
        let before = stage.host.agent.observations();
        stage.certificate().show(&certificate, key);
        // At another name of the same address, so that the session is a new one.
        names.rotate_left(1);
        let update = v1::UpdateHostRequest {
            host: "alpha".to_owned(),
            agent_address: format!("{}:{}", names[0], stage.host.address.port()),
            ..v1::UpdateHostRequest::default()
        };
        hosts.update_host(update).await.expect("it is changed");
        stage.until(what, |host| host.view.health.message.contains(said)).await;
        assert_eq!(stage.host.agent.observations(), before, "{what}: nothing was asked of it");
        stage.certificate().show(&signed(&ca, host, &own, end), &own_pem);
        stage.until("the true one", |host| host.view.health.state.is_online()).await;
    }
    stage.server.shutdown().await;
}

//! Starts and stops the server: which part is given to which, in which order. Nothing is decided
//! here.
//!
//! Start: state directory, CA, store, view, listeners, sessions, drivers. The API is served only
//! when everything stored is loaded. Shutdown is the reverse and can't hang: streams and waits are
//! told to end, calls under way get a few seconds, then connections are cut, and the store finishes
//! what it has accepted.

mod check;
mod credentials;
mod first_admin;
mod identity;
mod library;
mod listeners;
mod pages;
mod refusals;
mod retention;
mod tokens;
mod upkeep;

use std::fs::DirBuilder;
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use banger_proto::ids::{Epoch, Revision};
use banger_wire::causes::with_causes;
use banger_wire::service::secrets::Owners;
use banger_wire::telemetry::TelemetryError;
use http::HeaderValue;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

pub use self::check::check;
use self::check::checked;
use self::credentials::Credentials;
pub use self::credentials::CredentialsError;
use self::identity::OwnCertificate;
use self::library::{image_library, image_settings};
use self::listeners::{ApiListener, Outside, bounds, serve_api, serve_metrics};
use crate::api::Api;
use crate::api::auth::identities::Identities;
use crate::api::auth::parties::Parties;
use crate::api::guests::streams::Streams;
use crate::api::page::Pages;
use crate::api::uses::Endings;
use crate::clock::{SharedClock, SystemClock};
use crate::config::{ConfigError, ServerConfig};
use crate::fleet::grpc::GrpcDialer;
use crate::fleet::link::Dialer;
use crate::fleet::liveness::LivenessLimits;
use crate::fleet::{Fleet, FleetParts};
use crate::images::Images;
use crate::images::importer::Converter;
use crate::metrics::Metrics;
use crate::oidc;
use crate::pki::{Authorities, CaError};
use crate::reconcile::objects::HostObjects;
use crate::reconcile::{self, CapacityFeed, ImageDelivery, Knowledge};
use crate::store::{CommitSink, OpenError, OpenStore, Store};
use crate::watch::{Limits, View};

/// How long calls under way may take once the server is told to stop.
const GRACE: Duration = Duration::from_secs(3);

/// How long the parts behind the API may take to end after that.
const PARTS_GRACE: Duration = Duration::from_secs(10);

/// The server can't start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The configuration can't be used.
    #[error("the configuration can't be used")]
    Config(#[source] ConfigError),
    /// Log or spans can't be set up.
    #[error("[telemetry] can't be used")]
    Telemetry(#[source] TelemetryError),
    /// The state directory can't be made.
    #[error("could not make the state directory {}", path.display())]
    StateDir {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    /// The directory of images can't be made or read.
    #[error("the directory of images {} can't be used", path.display())]
    Images {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    /// The CA can't be made or read.
    #[error("the server's CA can't be used")]
    Ca(#[source] CaError),
    /// The store can't be opened.
    #[error("the store can't be opened")]
    Store(#[source] OpenError),
    /// An address can't be listened on.
    #[error("could not listen on {address}")]
    Listen {
        address: SocketAddr,
        #[source]
        source: io::Error,
    },
    /// Certificate, key or tokens of the API can't be used.
    #[error("the API's credentials can't be used")]
    Credentials(#[source] CredentialsError),
    /// The file with passwords of registries can't be used.
    #[error("images.docker_config can't be used: {}", path.display())]
    DockerConfig {
        path: PathBuf,
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A check can't be made as the user that the server runs as.
    #[error("could not look as user {uid}, whose the state directory is")]
    AsUser {
        uid: u32,
        #[source]
        source: io::Error,
    },
    /// The key of page tokens can't be made.
    #[error("the system gives no randomness")]
    Randomness(#[source] getrandom::Error),
    /// The compiled-in descriptors can't be served: a defect.
    #[error("reflection can't be set up")]
    Reflection(#[source] tonic_reflection::server::Error),
}

#[derive(Debug)]
pub struct Server;

/// Makes the links to agents, once the epoch is known.
pub type MakeDialer = Box<dyn FnOnce(Epoch) -> Arc<dyn Dialer> + Send>;

/// A server that serves.
#[derive(Debug)]
pub struct RunningServer {
    /// Where the API listens.
    pub api_addr: SocketAddr,
    /// Where metrics, `/healthz` and `/readyz` are.
    pub metrics_addr: SocketAddr,
    view: Arc<View>,
    store: Store,
    credentials: Credentials,
    cas: Arc<ArcSwap<Authorities>>,
    ca_dir: PathBuf,
    stop_listening: CancellationToken,
    cut: CancellationToken,
    stop_parts: CancellationToken,
    api: JoinHandle<()>,
    endings: Endings,
    parts: Vec<JoinHandle<()>>,
}

impl Server {
    /// Starts with the clock of the machine and agents over mutual TLS.
    ///
    /// # Errors
    /// Nothing is left running then.
    pub async fn start(config: ServerConfig) -> Result<RunningServer, StartError> {
        Self::start_with(config, Arc::new(SystemClock), None).await
    }

    /// Starts with another clock, or other links to agents.
    ///
    /// # Errors
    /// Nothing is left running then.
    pub async fn start_with(
        config: ServerConfig,
        clock: SharedClock,
        dialer: Option<MakeDialer>,
    ) -> Result<RunningServer, StartError> {
        let (cors_origins, credentials) = checked(&config, &clock, Owners::Ours)?;
        for warning in config.warnings() {
            tracing::warn!("{warning}");
        }
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&config.state_dir)
            .map_err(|source| StartError::StateDir { path: config.state_dir.clone(), source })?;
        let (api_listener, api_addr) = bind(config.listen).await?;
        let (metrics_listener, metrics_addr) = bind(config.metrics_listen).await?;
        let cas =
            Authorities::open_or_make(&config.ca_dir(), clock.now()).map_err(StartError::Ca)?;
        let cas = Arc::new(ArcSwap::from_pointee(cas));

        let ledger = config.ledger().map_err(StartError::Config)?;
        let overcommit = ledger.overcommit;
        let stored =
            OpenStore::open(&config.database(), ledger).await.map_err(StartError::Store)?;
        let (epoch, revisions) = (stored.epoch(), stored.revisions());
        let (lines, history) = mpsc::channel(reconcile::recorder::QUEUE);
        let first = Revision(revisions.start);
        let view = View::new(epoch, first, Arc::clone(&clock), lines, Limits::default());
        view.load(stored.past(), stored.hosts(), stored.vms());
        let identities = credentials.auth().identities();
        identities.load(stored.tokens());
        let parties = credentials.auth().parties();
        parties.load(stored.projects());
        let metrics = Metrics::new();
        let commit_meter = metrics.clone();
        let store = stored.start(
            commit_sink(&view, &identities, parties),
            Arc::new(move |stats| commit_meter.commit(stats)),
        );
        tracing::info!(
            epoch = epoch.0,
            revision = view.revision().0,
            vms = view.snapshot().vms.len(),
            hosts = view.hosts().len(),
            "the store is loaded"
        );

        if config.asks_for_tokens() && config.auth.token_file.is_none() {
            match first_admin::ensure(&store, &config.state_dir, clock.now()).await {
                Ok(None) => {}
                Ok(Some(file)) => tracing::warn!(file = %file.display(),
                    "no admin had a token that is good: this file has one"),
                // Hosts and VMs need nobody who calls.
                Err(error) => tracing::error!(
                    error = with_causes(&error),
                    "no admin has a token that is good, and none could be made: until the next \
                     start nobody is let in who has none"
                ),
            }
        }
        let own =
            OwnCertificate::make(Arc::clone(&cas), Arc::clone(&clock)).map_err(StartError::Ca)?;
        let dialer = match dialer {
            Some(make) => make(epoch),
            None => {
                let dialer = GrpcDialer::new(own.in_use(), epoch, config.domain.clone());
                Arc::new(dialer.at(Arc::clone(&clock)))
            }
        };
        let certificates = reconcile::Certificates {
            cas: Arc::clone(&cas),
            validity: config.agents.certificate_validity(),
        };
        let (stop_parts, cut) = (CancellationToken::new(), CancellationToken::new());
        let library = image_library(&config)?;
        let projects = store.projects().iter().map(|project| project.name.clone()).collect();
        library.keep_blobs_of(&projects).map_err(|source| {
            let path = config.images_dir();
            StartError::Images { path, source }
        })?;
        let images = Arc::new(Images::new(
            store.clone(),
            Arc::clone(&library),
            Arc::new(Converter),
            Arc::clone(&clock),
            image_settings(&config),
        ));
        images.count_uploads().map_err(|source| {
            let path = config.images_dir();
            StartError::Images { path, source }
        })?;
        let transfers = config.images.max_transfers;
        let delivery =
            ImageDelivery::new(library, Arc::clone(&view), transfers, stop_parts.child_token());
        let stop_listening = CancellationToken::new();
        let feed = Arc::new(CapacityFeed::new(Arc::clone(&view), store.clone()));
        let fleet_parts = FleetParts {
            hosts: view.host_records(),
            dialer,
            sink: Arc::clone(&feed) as _,
            clock: Arc::clone(&clock),
            limits: LivenessLimits {
                offline_after: Duration::from_secs(config.agents.offline_after_secs),
                ..LivenessLimits::default()
            },
        };
        let pages = Arc::new(pages()?);
        let (fleet, sessions) = Fleet::start(fleet_parts, stop_parts.child_token());
        let knowledge = Knowledge::new(fleet.clone(), Arc::clone(&delivery), epoch);
        let objects =
            HostObjects::new(Arc::clone(&view), fleet.clone(), store.clone(), Arc::clone(&clock));
        let endings = Endings::default();
        let api = Api {
            store: store.clone(),
            view: Arc::clone(&view),
            clock: Arc::clone(&clock),
            cas: Arc::clone(&cas),
            certificate_validity: certificates.validity,
            domain: config.domain.as_str().into(),
            overcommit,
            pages: Arc::clone(&pages),
            objects,
            images: Arc::clone(&images),
            delivery: Arc::clone(&delivery),
            knowledge: knowledge.clone(),
            fleet: fleet.clone(),
            streams: Streams::default(),
            endings: endings.clone(),
        };
        let api = serve_api(ApiListener {
            listener: api_listener,
            tls: credentials.tls(),
            bounds: bounds(&config),
            outside: Outside { visitors: credentials.visitors(), origins: cors_origins },
            api,
            auth: credentials.auth(),
            metrics: metrics.clone(),
            stop: stop_listening.clone(),
            cut: cut.clone(),
        })
        .await
        .map_err(StartError::Reflection)?;
        let page = serve_metrics(
            metrics_listener,
            credentials.visitors(),
            metrics.clone(),
            Arc::clone(&view),
            stop_parts.child_token(),
        );
        let (tidy_clock, tidy_metrics) = (Arc::clone(&clock), metrics.clone());
        let token_upkeep = tokio::spawn(tokens::run(
            identities,
            credentials.provider(),
            store.clone(),
            Arc::clone(&clock),
            stop_parts.child_token(),
        ));
        if let Some(provider) = credentials.provider() {
            tokio::spawn(oidc::refresh::run(provider, stop_parts.child_token()));
        }
        let refused = tokio::spawn(refusals::run(
            credentials.auth().refusals(),
            store.clone(),
            Arc::clone(&clock),
            stop_parts.child_token(),
        ));
        let reconcile_parts = reconcile::Parts {
            view: Arc::clone(&view),
            fleet,
            store: store.clone(),
            clock,
            epoch,
            metrics,
            images,
            delivery,
            knowledge,
            certificates,
        };
        let own_certificate = tokio::spawn(own.keep(stop_parts.child_token()));
        let drivers = reconcile::start(reconcile_parts, feed, history, stop_parts.child_token());
        let upkeep = tokio::spawn(upkeep::run(
            Arc::clone(&view),
            store.clone(),
            pages,
            Revision(revisions.end),
            stop_parts.child_token(),
        ));
        let tidying = tokio::spawn(retention::run(
            store.clone(),
            tidy_clock,
            config.retention.retention(),
            tidy_metrics,
            stop_parts.child_token(),
        ));
        tracing::info!(api = %api_addr, metrics = %metrics_addr, "the server serves");
        Ok(RunningServer {
            api_addr,
            metrics_addr,
            view,
            store,
            stop_listening,
            credentials,
            cas,
            ca_dir: config.ca_dir(),
            cut,
            stop_parts,
            api,
            endings,
            parts: vec![
                sessions,
                drivers,
                page,
                upkeep,
                tidying,
                token_upkeep,
                refused,
                own_certificate,
            ],
        })
    }
}

impl RunningServer {
    /// The table that everybody reads, for tests and benchmarks in this process.
    pub fn view(&self) -> &Arc<View> {
        &self.view
    }

    /// The store, for tests and benchmarks in this process.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// Reads the fleet's CAs, and certificate, key and tokens of the API again: all of the second
    /// are good, or all of them stay as they were.
    ///
    /// # Errors
    /// Which file can't be used, and why.
    pub fn reload(&self) -> Result<(), CredentialsError> {
        let cas = Authorities::look(&self.ca_dir).map_err(CredentialsError::Ca)?;
        self.credentials.reload()?;
        if let Some(cas) = cas {
            self.cas.store(Arc::new(cas));
        }
        Ok(())
    }

    /// Ends streams, lets calls under way finish for a while, cuts what is left, and closes the
    /// store. Takes some seconds at most.
    pub async fn shutdown(self) {
        tracing::info!("the server shuts down");
        self.view.drain();
        self.stop_listening.cancel();
        let mut api = self.api;
        if timeout(GRACE, &mut api).await.is_err() {
            tracing::info!("connections are cut");
            self.cut.cancel();
            if timeout(GRACE, &mut api).await.is_err() {
                api.abort();
            }
        }
        self.cut.cancel();
        self.endings.written().await;
        self.stop_parts.cancel();
        for mut part in self.parts {
            if timeout(PARTS_GRACE, &mut part).await.is_err() {
                tracing::warn!("a part of the server did not end and is dropped");
                part.abort();
            }
        }
        self.store.close().await;
    }
}

// === parts ===

async fn bind(address: SocketAddr) -> Result<(TcpListener, SocketAddr), StartError> {
    let failed = |source| StartError::Listen { address, source };
    let listener = banger_wire::listeners::bind(address).await.map_err(failed)?;
    let bound = listener.local_addr().map_err(failed)?;
    Ok((listener, bound))
}

/// As they were checked, all of them are fit for a header.
fn origins(config: &ServerConfig) -> Vec<HeaderValue> {
    config.cors_origins.iter().filter_map(|origin| HeaderValue::from_str(origin).ok()).collect()
}

fn pages() -> Result<Pages, StartError> {
    let mut key = [0; 32];
    getrandom::fill(&mut key).map_err(StartError::Randomness)?;
    Ok(Pages::new(key))
}

/// What was committed goes to those who let callers in and count them, and to the view, from there
/// to streams and drivers.
fn commit_sink(view: &Arc<View>, identities: &Identities, parties: Parties) -> CommitSink {
    let (view, identities) = (Arc::clone(view), identities.clone());
    Arc::new(move |changes| {
        identities.committed(changes);
        parties.committed(changes);
        view.committed(changes)
    })
}

#[cfg(test)]
mod tests;

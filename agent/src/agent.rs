//! Wiring: which part is given to which. Nothing is decided here.
//!
//! Start: identity, epoch, supervisor (which takes over what is on the host), sweep, listeners. The
//! server is let in when every VM was looked at. Shutdown is the reverse, has a deadline, and touches
//! no guest: tasks of VMs end after the effect they are at, and the next life goes on from there.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use banger_proto::agent_v1::agent_service_server::AgentServiceServer;
use banger_proto::resets::ResetsAreErrors;
use banger_proto::service::calls::CallsLayer;
use banger_proto::wire::limits::{
    KEEPALIVE_INTERVAL, KEEPALIVE_TIMEOUT, MAX_CONCURRENT_STREAMS, MAX_MESSAGE_BYTES,
};
use banger_proto::wire::tls::{self, Accept, Admit, TlsConfigError};
use banger_proto::wire::trace::ServerTraceLayer;
use sha2::{Digest as _, Sha256};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tonic::transport::server::Connected;

use crate::clock::Clock;
use crate::config::{AgentConfig, ConfigError, DisksConfig};
use crate::host::{Host, HostError};
use crate::join::identity::{Identity, IdentityError};
use crate::metrics::{Metrics, listener};
use crate::rpc::AgentRpc;
use crate::supervisor::adoption::Parts;
use crate::supervisor::desk::{Desk, HostIdentity};
use crate::supervisor::life::{Life, LifeError};
use crate::supervisor::sweep::Seen;
use crate::supervisor::{self, Supervisor};
use crate::vm::fence::{self, Fence};
use crate::vm::shared::{EffectEvent, Settings};
use crate::vm::store::DiskPolicy;

mod upkeep;

/// How long calls under way may take once the agent is told to stop.
const GRACE: Duration = Duration::from_secs(3);

/// How long the tasks of VMs may take to come to the end of an effect.
const TASKS_GRACE: Duration = Duration::from_secs(10);

/// The agent can't start. Guests run on.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The configuration can't be used.
    #[error("the configuration can't be used")]
    Config(#[source] ConfigError),
    /// The host has not joined, or its identity can't be read.
    #[error("the agent does not know who it is")]
    Identity(#[source] IdentityError),
    /// The identity's certificate, key and CA do not fit.
    #[error("the agent's certificate can't be used")]
    Tls(#[source] TlsConfigError),
    /// The machine can't be read.
    #[error("the host can't be read")]
    Host(#[source] HostError),
    /// The count of starts can't be written.
    #[error("the agent's own record can't be kept")]
    Life(#[source] LifeError),
    /// What refuses old wishes can't be read or kept.
    #[error("the record of what is over can't be used")]
    Fence(#[source] fence::OpenError),
    /// What is on the host can't be taken over.
    #[error("what is on the host can't be taken over")]
    Supervisor(#[source] supervisor::StartError),
    /// A directory can't be made.
    #[error("could not make {}", path.display())]
    Directory {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// An address can't be listened on.
    #[error("could not listen on {address}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// Why.
        #[source]
        source: std::io::Error,
    },
}

/// The agent.
#[derive(Debug)]
pub struct Agent;

/// An agent that serves.
pub struct RunningAgent {
    /// Where the server reaches it.
    pub addr: SocketAddr,
    /// Where `/metrics` and `/healthz` are.
    pub metrics_addr: SocketAddr,
    supervisor: Supervisor,
    draining: CancellationToken,
    api: JoinHandle<()>,
    parts: Vec<JoinHandle<()>>,
}

impl Agent {
    /// Starts on a machine, real or fake.
    ///
    /// # Errors
    /// Nothing is left running then, and no guest was touched.
    pub async fn start(
        config: AgentConfig,
        host: Host,
        clock: Clock,
    ) -> Result<RunningAgent, StartError> {
        config.check().map_err(StartError::Config)?;
        // Before anything is taken over: two agents of one instance must not work side by side, and
        // the second one finds its address taken.
        let (listener, addr) = bind(config.listen).await?;
        Self::start_on(listener, addr, config, host, clock).await
    }

    /// Starts with connections from elsewhere than the kernel, such as a simulated network.
    ///
    /// # Errors
    /// As of [`Agent::start`].
    pub async fn start_on<A>(
        agent_listener: A,
        addr: SocketAddr,
        config: AgentConfig,
        host: Host,
        clock: Clock,
    ) -> Result<RunningAgent, StartError>
    where
        A: Accept<Io: Connected>,
    {
        config.check().map_err(StartError::Config)?;
        let identity = Identity::load(&config.identity_dir()).map_err(StartError::Identity)?;
        let tls = server_tls(&identity).map_err(StartError::Tls)?;
        make_directory(&config.state_dir)?;
        let (metrics_listener, metrics_addr) = bind(config.metrics_listen).await?;
        let boot_id = host.facts.boot_id().await.map_err(StartError::Host)?;
        let life =
            Life::begin(&config.state_dir, &boot_id, clock.now()).map_err(StartError::Life)?;
        let fleet = hex::encode(Sha256::digest(&identity.ca_pem));
        let fence = Fence::open(&config.state_dir.join(fence::FILE), &fleet, clock.now())
            .map_err(StartError::Fence)?;
        let metrics = Metrics::new();
        metrics.set_epoch(life.epoch);
        tracing::info!(host = %identity.record.host_id, name = identity.record.name,
            epoch = life.epoch, rebooted = life.rebooted, simulated = host.simulated,
            "the agent takes over the host");

        match host.images.remove_partials().await {
            Ok(0) => {}
            Ok(removed) => tracing::info!(removed, "parts of images of an earlier life removed"),
            Err(error) => {
                tracing::warn!(error = error.chain(), "the image directory is not tidied")
            }
        }
        let parts = Parts { fence, ..parts(&config, host.clone(), clock, &metrics) };
        let supervisor = Supervisor::start(parts).await.map_err(StartError::Supervisor)?;
        supervisor.spawn_sweep();
        let draining = CancellationToken::new();
        let desk = Arc::new(Desk::new(
            supervisor.clone(),
            HostIdentity {
                host: identity.record.host_id,
                agent_epoch: life.epoch,
                heartbeat_interval: Duration::from_secs(config.limits.heartbeat_secs),
            },
            draining.clone(),
        ));
        let tls = Arc::new(ArcSwap::from_pointee(tls));
        let api = tokio::spawn(serve(
            agent_listener,
            Arc::clone(&tls),
            desk,
            metrics.clone(),
            draining.clone(),
        ));
        let shown = metrics.clone();
        let page = tokio::spawn(listener::serve(
            metrics_listener,
            metrics,
            supervisor.reporter().clone(),
            draining.child_token(),
        ));
        let room = upkeep::room(host.clone(), shown, draining.child_token());
        let digests = tokio::spawn(upkeep::digests(host, draining.child_token()));
        let certificates = tokio::spawn(upkeep::certificates(
            config.identity_dir(),
            identity,
            tls,
            draining.child_token(),
        ));
        tracing::info!(%addr, metrics = %metrics_addr, "the agent serves");
        let parts = vec![page, tokio::spawn(room), digests, certificates];
        Ok(RunningAgent { addr, metrics_addr, supervisor, draining, api, parts })
    }
}

impl RunningAgent {
    /// The VMs, for tests in this process.
    #[must_use]
    pub fn supervisor(&self) -> &Supervisor {
        &self.supervisor
    }

    /// Ends streams, lets calls and effects under way finish for a while, and stops. Takes some
    /// seconds at most. Guests run on.
    pub async fn shutdown(self) {
        tracing::info!("the agent shuts down; guests run on");
        self.draining.cancel();
        let mut api = self.api;
        if timeout(GRACE, &mut api).await.is_err() {
            tracing::info!("connections are cut");
            api.abort();
        }
        self.supervisor.shutdown(TASKS_GRACE).await;
        for part in self.parts {
            part.abort();
        }
    }
}

fn parts(config: &AgentConfig, host: Host, clock: Clock, metrics: &Metrics) -> Parts {
    let (meter, sweeps) = (metrics.clone(), metrics.clone());
    #[cfg(debug_assertions)]
    let failpoint = crate::failpoint::Failpoint::from_environment();
    Parts {
        settings: Settings {
            uid_base: config.guests.uid_base,
            may_start_unasked: config.autonomous,
            vmm_ready_limit: Duration::from_secs(config.limits.vmm_ready_secs),
            disks: disk_policy(config),
            guest_dns: config.guests.dns.clone(),
        },
        on_effect: Some(Box::new(move |effect, event| match event {
            EffectEvent::Begins => {
                #[cfg(debug_assertions)]
                failpoint.iter().for_each(|failpoint| failpoint.before(effect));
            }
            EffectEvent::Ended { succeeded, took } => {
                #[cfg(debug_assertions)]
                failpoint.iter().for_each(|failpoint| failpoint.after(effect));
                meter.effect(effect, succeeded, took);
            }
        })),
        sweep: config.sweep(),
        on_sweep: Some(Box::new(move |seen| match seen {
            Seen::Looked { orphans, budget_per_hour, budget_left } => {
                let orphans = orphans.iter().map(|(kind, count)| (kind.as_str(), *count));
                sweeps.orphans(orphans, *budget_per_hour, *budget_left);
            }
            Seen::Removed { kind, succeeded } => sweeps.swept(kind.as_str(), *succeeded),
        })),
        ..Parts::new(host, config.naming(), clock)
    }
}

fn disk_policy(config: &AgentConfig) -> DiskPolicy {
    let bytes = |mib: u64| mib.saturating_mul(1 << 20);
    let DisksConfig { sparse, alarm_percent, grow_to_mib } = config.disks;
    DiskPolicy {
        sparse,
        alarm_percent,
        grow_to: (grow_to_mib > 0).then(|| bytes(grow_to_mib)),
        reserve: bytes(config.reserve.disk_mib),
    }
}

fn server_tls(identity: &Identity) -> Result<rustls::ServerConfig, TlsConfigError> {
    tls::agent_side(
        identity.certificate_pem.as_bytes(),
        identity.key_pem.as_bytes(),
        identity.ca_pem.as_bytes(),
    )
}

fn make_directory(path: &std::path::Path) -> Result<(), StartError> {
    use std::os::unix::fs::DirBuilderExt as _;
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(|source| StartError::Directory { path: path.to_owned(), source })
}

async fn bind(address: SocketAddr) -> Result<(TcpListener, SocketAddr), StartError> {
    let failed = |source| StartError::Listen { address, source };
    let listener = TcpListener::bind(address).await.map_err(failed)?;
    let bound = listener.local_addr().map_err(failed)?;
    Ok((listener, bound))
}

async fn serve<A: Accept<Io: Connected>>(
    listener: A,
    tls: Arc<ArcSwap<rustls::ServerConfig>>,
    desk: Arc<Desk>,
    metrics: Metrics,
    draining: CancellationToken,
) {
    let service = AgentServiceServer::new(AgentRpc::new(desk))
        .max_decoding_message_size(MAX_MESSAGE_BYTES)
        .max_encoding_message_size(MAX_MESSAGE_BYTES);
    let served = tonic::transport::Server::builder()
        .http2_keepalive_interval(Some(KEEPALIVE_INTERVAL))
        .http2_keepalive_timeout(Some(KEEPALIVE_TIMEOUT))
        .max_concurrent_streams(MAX_CONCURRENT_STREAMS)
        .layer(ResetsAreErrors)
        .layer(ServerTraceLayer)
        .layer(CallsLayer::new(metrics.calls()))
        .add_service(service)
        .serve_with_incoming_shutdown(
            tls::listen(listener, tls, Admit::OnlyTheServer),
            draining.cancelled_owned(),
        )
        .await;
    if let Err(error) = served {
        tracing::error!(error = %error, "the agent's listener failed");
    }
}

#[cfg(test)]
mod tests;

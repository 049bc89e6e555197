//! Starts and stops the agent: which part is given to which, in which order. Nothing is decided
//! here.
//!
//! Start: identity, epoch, supervisor (which takes over what is on the host), sweep, listeners. The
//! server is let in when every VM was looked at. Shutdown is the reverse, has a deadline, and
//! touches no guest: tasks of VMs end after the effect they are at, and the next life goes on from
//! there.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use banger_proto::agent_v1::agent_service_server::AgentServiceServer;
use banger_proto::bounds::MAX_MESSAGE_BYTES;
use banger_wire::listeners;
use banger_wire::resets::ResetsAreErrors;
use banger_wire::service::calls::CallsLayer;
use banger_wire::service::edge::bodies::{BodiesLayer, Most};
use banger_wire::service::edge::deadlines::DeadlinesLayer;
use banger_wire::service::edge::gate::{GateLayer, Serves};
use banger_wire::service::edge::places::Room;
use banger_wire::service::edge::reasons::ReasonsLayer;
use banger_wire::service::edge::serve::{self, Bounds, Listener, Tls};
use banger_wire::service::edge::visitors::Visitors;
use banger_wire::telemetry::TelemetryError;
use banger_wire::tls::{Accept, Admit, TlsConfigError};
use banger_wire::trace::ServerTraceLayer;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tower::ServiceBuilder;

use crate::clock::Clock;
use crate::config::{AgentConfig, ConfigError, DisksConfig};
use crate::host::linux::name_servers;
use crate::host::{Host, HostError};
use crate::instance;
use crate::join::identity::{Identity, IdentityError};
use crate::join::renewal::Credentials;
use crate::metrics::{Metrics, listener};
use crate::rpc::{AgentRpc, Certificates, of_the_edge};
use crate::supervisor::adoption::Parts;
use crate::supervisor::api::{HostIdentity, SupervisorApi};
use crate::supervisor::life::{Life, LifeError};
use crate::supervisor::sweep::SweepEvent;
use crate::supervisor::{self, Supervisor};
use crate::vm::cow::DiskPolicy;
use crate::vm::shared::{EffectEvent, Settings};
use crate::vm::stale::{self, StaleGuard};

use self::certificates::OwnCertificates;

mod certificates;
pub mod machine;
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
    /// Log or spans can't be set up.
    #[error("[telemetry] can't be used")]
    Telemetry(#[source] TelemetryError),
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
    /// What refuses old assignments can't be read or kept.
    #[error("the record of what is over can't be used")]
    StaleGuard(#[source] stale::OpenError),
    /// What is on the host can't be taken over.
    #[error("what is on the host can't be taken over")]
    Supervisor(#[source] supervisor::SupervisorError),
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
    serving: JoinHandle<()>,
    parts: Vec<JoinHandle<()>>,
}

/// Says what is wrong with a configuration and the host's identity, and starts nothing. Gives what
/// is to be said besides: a host that has not joined yet can't start, and is to be checked before
/// it does.
///
/// # Errors
/// As a start with it would; not what only the machine says (`banger-agent doctor`), or what only a
/// start finds out, such as an address that is taken.
pub fn check(config: &AgentConfig) -> Result<Vec<String>, StartError> {
    match checked(config, Clock::system()) {
        Ok(_) => Ok(Vec::new()),
        Err(StartError::Identity(why @ IdentityError::NotJoined { .. })) => {
            Ok(vec![format!("it does not start yet: {why}")])
        }
        Err(refused) => Err(refused),
    }
}

/// What a start refuses before it touches anything.
fn checked(config: &AgentConfig, clock: Clock) -> Result<(Identity, Credentials), StartError> {
    config.check().map_err(StartError::Config)?;
    config.telemetry.check().map_err(StartError::Telemetry)?;
    let dir = config.identity_dir();
    let identity = Identity::load(&dir).map_err(StartError::Identity)?;
    let credentials = Credentials::new(dir, identity.clone(), clock).map_err(StartError::Tls)?;
    Ok((identity, credentials))
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
        A: Accept,
    {
        let (identity, credentials) = checked(&config, clock.clone())?;
        make_directory(&config.state_dir)?;
        let (metrics_listener, metrics_addr) = bind(config.metrics_listen).await?;
        let boot_id = host.facts.boot_id().await.map_err(StartError::Host)?;
        let life =
            Life::begin(&config.state_dir, &boot_id, clock.now()).map_err(StartError::Life)?;
        credentials.end_renewal();
        let fleet = identity.fleet();
        let stale = StaleGuard::open(&config.state_dir.join(stale::FILE), &fleet, clock.now())
            .map_err(StartError::StaleGuard)?;
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
        let parts = Parts { stale, ..parts(&config, host.clone(), clock, &metrics) };
        let supervisor = Supervisor::start(parts).await.map_err(StartError::Supervisor)?;
        supervisor.spawn_sweep();
        let draining = CancellationToken::new();
        let credentials = Arc::new(certificates::watched(credentials));
        let certificates: Arc<dyn Certificates> =
            Arc::new(OwnCertificates(Arc::clone(&credentials)));
        let api = Arc::new(SupervisorApi::new(
            supervisor.clone(),
            HostIdentity {
                host: identity.record.host_id,
                agent_epoch: life.epoch,
                heartbeat_interval: Duration::from_secs(config.limits.heartbeat_secs),
                certificates: Some(certificates),
            },
            draining.clone(),
        ));
        let serving = serve(agent_listener, credentials.tls(), api, &metrics, draining.clone());
        let (shown, metrics_of_it) = (metrics.clone(), metrics.clone());
        let page = listener::serve(
            metrics_listener,
            Visitors::new(config.names.iter().cloned(), Vec::new()),
            of_the_edge,
            metrics,
            supervisor.reporter().clone(),
            draining.child_token(),
        );
        let room = upkeep::room(host.clone(), shown, draining.child_token());
        let digests = tokio::spawn(upkeep::digests(host, draining.child_token()));
        let looks = upkeep::certificates(credentials, metrics_of_it, draining.child_token());
        let certificates = tokio::spawn(looks);
        tracing::info!(%addr, metrics = %metrics_addr, "the agent serves");
        let parts = vec![page, tokio::spawn(room), digests, certificates];
        Ok(RunningAgent { addr, metrics_addr, supervisor, draining, serving, parts })
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
        let mut serving = self.serving;
        if timeout(GRACE, &mut serving).await.is_err() {
            tracing::info!("connections are cut");
            serving.abort();
        }
        self.supervisor.shutdown(TASKS_GRACE).await;
        for part in self.parts {
            part.abort();
        }
    }
}

fn parts(config: &AgentConfig, host: Host, clock: Clock, metrics: &Metrics) -> Parts {
    // A simulated host has no resolvers, whatever those of the machine it is simulated on.
    let simulated = host.simulated;
    let guest_dns =
        config.guests.dns.resolve(|| if simulated { Vec::new() } else { name_servers() });
    let (meter, sweeps, packets) = (metrics.clone(), metrics.clone(), metrics.clone());
    #[cfg(debug_assertions)]
    let failpoint = crate::failpoint::Failpoint::from_environment();
    Parts {
        settings: Settings {
            uid_base: config.guests.uid_base.unwrap_or(instance::FIRST_UID),
            may_start_unasked: config.autonomous,
            vmm_ready_limit: Duration::from_secs(config.limits.vmm_ready_secs),
            disks: disk_policy(config),
            guest_dns,
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
        on_refused: Some(Box::new(move |refused| packets.refused(refused))),
        sweep: config.sweep(),
        on_sweep: Some(Box::new(move |seen| match seen {
            SweepEvent::Looked { orphans, budget_per_hour, budget_left } => {
                let orphans = orphans.iter().map(|(kind, count)| (kind.as_str(), *count));
                sweeps.orphans(orphans, *budget_per_hour, *budget_left);
            }
            SweepEvent::Removed { kind, succeeded } => sweeps.swept(kind.as_str(), *succeeded),
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
    let listener = listeners::bind(address).await.map_err(failed)?;
    let bound = listener.local_addr().map_err(failed)?;
    Ok((listener, bound))
}

/// One server calls, over few connections; whoever else knocks has to give way to it quickly.
const ROOM: Room = Room { connections: 1024, per_address: 512, unproven: 32, per_party: 1024 };

const MOST: Most = Most { request: MAX_MESSAGE_BYTES, message: MAX_MESSAGE_BYTES };

/// The listener for the server. Its task ends when the listener is stopped and its calls are over;
/// aborted, all connections end with it.
fn serve<A: Accept>(
    accept: A,
    config: Arc<ArcSwap<rustls::ServerConfig>>,
    api: Arc<SupervisorApi>,
    metrics: &Metrics,
    draining: CancellationToken,
) -> JoinHandle<()> {
    let service = AgentServiceServer::new(AgentRpc::new(api))
        .max_decoding_message_size(MAX_MESSAGE_BYTES)
        .max_encoding_message_size(MAX_MESSAGE_BYTES);
    let methods = [banger_proto::FILE_DESCRIPTOR_SET];
    let gate = GateLayer {
        visitors: Arc::new(ArcSwap::from_pointee(Visitors::with_certificates())),
        serves: Serves::Calls,
        refuse: of_the_edge,
    };
    let service = ServiceBuilder::new()
        .layer(ResetsAreErrors)
        .layer(gate)
        .layer(ServerTraceLayer)
        .layer(CallsLayer::new(metrics.calls()))
        .layer(ReasonsLayer(of_the_edge))
        .layer(DeadlinesLayer(of_the_edge))
        .layer(BodiesLayer::everybody_is_known(&methods, MOST, of_the_edge))
        .service(service);
    let listener = Listener {
        accept,
        tls: Some(Tls { config, admit: Admit::OnlyTheServer }),
        bounds: Bounds { stream_window: 1 << 20, connection_window: 4 << 20, ..Bounds::of(ROOM) },
        stop: draining,
        cut: CancellationToken::new(),
    };
    serve::serve(listener, service)
}

#[cfg(test)]
mod tests;

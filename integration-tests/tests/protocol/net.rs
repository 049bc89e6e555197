//! Servers and hosts on the simulated network: made, started, crashed, restored.
//!
//! What a host is outlives its agent: the fake kernel and the agent's directory. What a server is
//! outlives its process: the directory with its database, on a file system in memory where there
//! is one, because simulated time does not wait for a disk.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use banger_agent::clock::Clock;
use banger_agent::host::fakes::{self, FakeKernel, HostOptions};
use banger_agent::join::identity::{FORMAT, Identity, IdentityRecord, KeyPem};
use banger_agent::{Agent, AgentConfig};
use banger_proto::ids::HostId;
use banger_server::clock::{Clock as _, SystemClock};
use banger_server::fleet::grpc::{ClientIdentity, GrpcDialer};
use banger_server::model::caller::Caller;
use banger_server::model::capacity::AcceptedCapacity;
use banger_server::model::host::HostRecord;
use banger_server::model::labels::Labels;
use banger_server::model::ledger::{CreateJoinToken, JoinHost, JoinToken};
use banger_server::pki::{AgentRequest, CertificateAuthority, later};
use banger_server::server::MakeDialer;
use banger_server::store::{OpenStore, Store};
use banger_server::watch::View;
use banger_server::{Server, ServerConfig};
use parking_lot::Mutex;
use rcgen::{CertificateParams, KeyPair};
use tempfile::TempDir;
use turmoil::Sim;

use super::chaos::{Chaos, ChaosDialer};
use super::wire::{Listener, connector};

/// Where agents listen.
const PORT: u16 = 7072;

/// One step of simulated time.
pub(super) const STEP: Duration = Duration::from_millis(5);

/// How long a step takes at least while it is waited for: SQLite's threads work in real time.
const PACE: Duration = Duration::from_micros(100);

/// A host: what outlives its agent.
pub(super) struct HostSeat {
    pub(super) name: String,
    pub(super) kernel: FakeKernel,
    pub(super) before: BTreeSet<String>,
    config: AgentConfig,
}

/// A server: what outlives its process, and the inside of the one that runs.
pub(super) struct ServerSeat {
    pub(super) name: String,
    pub(super) chaos: Arc<Chaos>,
    state_dir: Mutex<PathBuf>,
    up: Mutex<(u64, Option<Up>)>,
}

/// The inside of a running server.
#[derive(Clone)]
pub(super) struct Up {
    pub(super) store: Store,
    pub(super) view: Arc<View>,
    pub(super) runtime: tokio::runtime::Handle,
    /// Which life of the server this is.
    pub(super) life: u64,
}

/// Everything.
pub(super) struct Net {
    pub(super) sim: Sim<'static>,
    pub(super) hosts: Vec<Arc<HostSeat>>,
    pub(super) servers: Vec<Arc<ServerSeat>>,
    seed: u64,
    dir: TempDir,
}

/// The seed of this run: chance, or what is replayed.
pub(super) fn seed() -> u64 {
    let seed = match std::env::var("BANGER_PROTOCOL_SEED") {
        Ok(seed) => seed.parse().expect("BANGER_PROTOCOL_SEED is a number"),
        Err(_) => rand::random(),
    };
    println!("replay: BANGER_PROTOCOL_SEED={seed}");
    seed
}

impl Net {
    /// A server and hosts that have joined it; nothing runs yet but time.
    pub(super) fn new(seed: u64, hosts: usize) -> Self {
        let memory = Path::new("/dev/shm");
        let dir = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() };
        let dir = dir.expect("a directory");
        let state_dir = dir.path().join("server-0");
        let hosts = join_hosts(&state_dir, dir.path(), hosts);
        let sim = turmoil::Builder::new()
            .rng_seed(seed)
            .tick_duration(STEP)
            .simulation_duration(Duration::from_secs(24 * 3600))
            .min_message_latency(Duration::from_millis(1))
            .max_message_latency(Duration::from_millis(20))
            .tcp_capacity(1 << 16)
            .enable_random_order()
            // The pages of metrics are on real sockets; nobody asks for them.
            .enable_tokio_io()
            .build();
        let mut net = Self { sim, hosts: Vec::new(), servers: Vec::new(), seed, dir };
        for host in hosts {
            net.start_host(Arc::new(host));
        }
        net.start_server(state_dir);
        net
    }

    fn start_host(&mut self, seat: Arc<HostSeat>) {
        self.hosts.push(Arc::clone(&seat));
        self.sim.host(seat.name.clone(), move || {
            let seat = Arc::clone(&seat);
            async move {
                seat.kernel.new_agent();
                let host = fakes::host(&seat.kernel, HostOptions::default());
                let listener = Listener::bind(PORT).await?;
                let address = ([127, 0, 0, 1], PORT).into();
                let clock = Clock::system();
                let agent =
                    Agent::start_on(listener, address, seat.config.clone(), host, clock).await?;
                std::future::pending::<()>().await;
                drop(agent);
                Ok(())
            }
        });
    }

    /// Starts a further server on a directory. Answers its number.
    pub(super) fn start_server(&mut self, state_dir: PathBuf) -> usize {
        let n = self.servers.len();
        let salt = u64::try_from(n).expect("few servers") + 1;
        let seat = Arc::new(ServerSeat {
            name: format!("server-{n}"),
            chaos: Chaos::new(self.seed ^ salt),
            state_dir: Mutex::new(state_dir),
            up: Mutex::new((0, None)),
        });
        self.servers.push(Arc::clone(&seat));
        self.sim.host(seat.name.clone(), move || serve(Arc::clone(&seat)));
        n
    }

    /// Copies what a server has on disk, as a backup does: the database as one whole. The server
    /// must not run.
    pub(super) fn backup(&self, server: usize) -> PathBuf {
        let from = self.servers[server].state_dir.lock().clone();
        let to = self.dir.path().join(format!("backup-{}", self.sim.elapsed().as_millis()));
        until_still(&from);
        copy(&from, &to);
        to
    }

    pub(super) fn crash_server(&mut self, n: usize) {
        self.servers[n].up.lock().1 = None;
        let name = self.servers[n].name.clone();
        self.sim.crash(name);
    }

    /// Kills a server and starts it on a copy of a backup. With `new_epoch` as the operator's guide
    /// has it.
    pub(super) fn restore(&mut self, n: usize, backup: &Path, new_epoch: bool) {
        self.crash_server(n);
        let state_dir = backup.with_extension(format!("restored-{new_epoch}"));
        copy(backup, &state_dir);
        if new_epoch {
            raise_epoch(&state_dir);
        }
        *self.servers[n].state_dir.lock() = state_dir;
        let name = self.servers[n].name.clone();
        self.start_again(&name);
    }

    /// Kills what runs at a name, if anything does.
    pub(super) fn crash_host(&mut self, n: usize) {
        let name = self.hosts[n].name.clone();
        self.sim.crash(name);
    }

    /// Starts what was killed.
    pub(super) fn start_again(&mut self, name: &str) {
        self.sim.bounce(name);
    }

    /// The inside of a server, while it runs.
    pub(super) fn up(&self, server: usize) -> Option<Up> {
        self.servers[server].up.lock().1.clone()
    }

    /// One step of time for everybody.
    pub(super) fn step(&mut self) {
        if let Err(error) = self.sim.step() {
            panic!("a part ended by an error: {error}");
        }
        // Simulated time is much faster than the threads that SQLite works on.
        std::thread::sleep(PACE);
    }

    /// Steps until something is so.
    pub(super) fn until<T>(
        &mut self,
        what: &str,
        limit: Duration,
        mut so: impl FnMut(&mut Self) -> Result<T, String>,
    ) -> Result<T, String> {
        let end = self.sim.elapsed() + limit;
        loop {
            match so(self) {
                Ok(value) => return Ok(value),
                Err(last) if self.sim.elapsed() > end => {
                    return Err(format!("{what}: not within {limit:?}: {last}"));
                }
                Err(_) => self.step(),
            }
        }
    }
}

async fn serve(seat: Arc<ServerSeat>) -> turmoil::Result {
    let config = server_config(&seat.state_dir.lock());
    let ca = CertificateAuthority::open_or_make(&config.ca_dir(), SystemClock.now())?;
    let own = ca.client_certificate(SystemClock.now())?;
    let identity = Arc::new(ArcSwap::from_pointee(ClientIdentity {
        ca_pem: ca.certificate_pem().as_bytes().to_vec(),
        certificate_pem: own.certificate_pem.into_bytes(),
        key_pem: own.key_pem.into_bytes(),
    }));
    let (chaos, domain) = (Arc::clone(&seat.chaos), config.domain.clone());
    let dialer: MakeDialer = Box::new(move |epoch| {
        let inner = GrpcDialer::new(identity, epoch, domain).over(connector());
        Arc::new(ChaosDialer { inner, chaos })
    });
    let running = Server::start_with(config, Arc::new(SystemClock), Some(dialer)).await?;
    {
        let mut up = seat.up.lock();
        up.0 += 1;
        let (store, view) = (running.store().clone(), Arc::clone(running.view()));
        let runtime = tokio::runtime::Handle::current();
        up.1 = Some(Up { store, view, runtime, life: up.0 });
    }
    std::future::pending::<()>().await;
    drop(running);
    Ok(())
}

fn server_config(state_dir: &Path) -> ServerConfig {
    let any = ([127, 0, 0, 1], 0).into();
    let mut config = ServerConfig {
        listen: any,
        metrics_listen: any,
        state_dir: state_dir.to_owned(),
        ..ServerConfig::default()
    };
    config.agents.offline_after_secs = 5;
    config
}

/// Runs something to its end outside of the simulation.
fn outside<T>(work: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("a runtime").block_on(work)
}

pub(super) fn raise_epoch(state_dir: &Path) {
    let database = server_config(state_dir).database();
    outside(banger_server::store::raise_epoch(&database, SystemClock.now()))
        .expect("the epoch is raised");
}

/// Waits until SQLite's threads have come to the end of what a server that was killed had begun:
/// until two looks at the database and its log are the same.
fn until_still(state_dir: &Path) {
    let database = server_config(state_dir).database();
    let log = database.with_extension("db-wal");
    let look = || (std::fs::read(&database).ok(), std::fs::read(&log).ok());
    let mut last = look();
    loop {
        std::thread::sleep(Duration::from_millis(20));
        let now = look();
        if now == last {
            return;
        }
        last = now;
    }
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("a directory");
    for entry in std::fs::read_dir(from).expect("the state can be read") {
        let entry = entry.expect("the state can be read");
        // An index that SQLite makes anew, and a lock.
        if entry.path().extension().is_some_and(|kind| kind == "db-shm" || kind == "lock") {
            continue;
        }
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).expect("a copy");
        }
    }
}

/// Makes the server's state and those of hosts that it knows, as joining does.
fn join_hosts(state_dir: &Path, dir: &Path, hosts: usize) -> Vec<HostSeat> {
    std::fs::create_dir_all(state_dir).expect("a directory");
    let config = server_config(state_dir);
    let now = SystemClock.now();
    let expires_at = later(now, Duration::from_secs(3600 * 24 * 90));
    let ca = CertificateAuthority::open_or_make(&config.ca_dir(), now).expect("a CA");
    outside(async {
        let ledger = config.ledger().expect("a usable configuration");
        let open = OpenStore::open(&config.database(), ledger).await.expect("a store");
        let store = open.start(Arc::new(|_| Default::default()), Arc::new(|_| {}));
        let mut seats = Vec::new();
        for n in 0..hosts {
            let request = certificate_request(&agent_config(&format!("host-{n}"), dir));
            let join = JoinHost {
                token_id: format!("token-{n}"),
                secret_sha256: [1; 32],
                key_sha256: request.key_sha256(),
                ca_sha256: ca.fingerprint(),
                new_id: host_id(n),
                known_id: None,
                name: format!("host-{n}"),
                agent_address: format!("host-{n}:{PORT}"),
                used_networks: Vec::new(),
                certificate_expires_at: expires_at,
            };
            let token = JoinToken {
                id: join.token_id.clone(),
                secret_sha256: join.secret_sha256,
                labels: Labels::new(),
                host_name: None,
                capacity: AcceptedCapacity::default(),
                created_by_token: None,
                expires_at,
                used_for: None,
            };
            let kept = store.submit(Caller::server(now), CreateJoinToken(token)).await;
            kept.expect("a token");
            let joined = store.submit(Caller::server(now), join).await;
            let record = joined.expect("it joins");
            seats.push(host_seat(&record, &request, &ca, dir));
        }
        store.close().await;
        seats
    })
}

pub(super) fn host_id(n: usize) -> HostId {
    let n = u128::try_from(n).expect("few hosts");
    HostId::from_uuid(uuid::Uuid::from_u128(0x0191_0000_0000_7000_8000_0000_0000_0000 + n))
}

fn agent_config(name: &str, dir: &Path) -> AgentConfig {
    let any = ([127, 0, 0, 1], 0).into();
    let mut config = AgentConfig {
        listen: any,
        metrics_listen: any,
        state_dir: dir.join(format!("{name}.state")),
        runtime_dir: dir.join(format!("{name}.run")),
        ..AgentConfig::default()
    };
    config.limits.heartbeat_secs = 1;
    config.sweep.grace_secs = 1;
    config.sweep.interval_secs = 2;
    config
}

/// Of the agent's own key, which is made with it.
fn certificate_request(config: &AgentConfig) -> AgentRequest {
    let key = KeyPem::load_or_make(&config.identity_dir()).expect("a key");
    let pair = KeyPair::from_pem(key.pem()).expect("a key");
    let request = CertificateParams::default().serialize_request(&pair).expect("a request");
    AgentRequest::read(&request.pem().expect("as text")).expect("a request")
}

fn host_seat(
    record: &HostRecord,
    request: &AgentRequest,
    ca: &CertificateAuthority,
    dir: &Path,
) -> HostSeat {
    let config = agent_config(&record.name, dir);
    let identity_dir = config.identity_dir();
    let key = KeyPem::load_or_make(&identity_dir).expect("a key");
    let now = SystemClock.now();
    let certificate = ca.sign_agent(request, record.id, now, record.certificate_expires_at);
    let identity = Identity {
        record: IdentityRecord {
            format: FORMAT,
            host_id: record.id,
            name: record.name.clone(),
            guest_subnet: record.subnet.to_string().parse().expect("a subnet"),
            server: "http://127.0.0.1:7070".to_owned(),
            fleet: None,
        },
        certificate_pem: certificate.expect("a certificate"),
        key_pem: key.pem().to_owned(),
        ca_pem: ca.certificate_pem().to_owned(),
    };
    identity.save(&identity_dir).expect("it is kept");
    let kernel = FakeKernel::new();
    HostSeat { name: record.name.clone(), before: kernel.objects(), kernel, config }
}

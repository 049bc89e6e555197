//! A real server and real agents on simulated hosts, as processes over loopback.
//!
//! Every part can be killed, stopped and started again on the state it left. All state lies in one
//! temporary directory, gone with the value.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use banger_proto::v1;
use banger_proto::v1::host_service_client::HostServiceClient;
use banger_proto::v1::vm_service_client::VmServiceClient;
use nix::sys::signal::Signal;
use tempfile::TempDir;
use tonic::Status;
use tonic::transport::{Channel, Endpoint};

use crate::machine::Machine;
use crate::ports::free_addresses;
use crate::programs::{Running, command, ours};
use crate::wait::until;

/// A server and its agents.
#[derive(Debug)]
pub struct Fleet {
    server: Option<Running>,
    agents: Vec<AgentProcess>,
    api: SocketAddr,
    metrics: SocketAddr,
    server_arguments: Vec<String>,
    channel: Channel,
    dir: TempDir,
}

/// How a host is to be; what is left out is as usual.
#[derive(Debug, Clone, Default)]
pub struct HostOptions {
    /// `key=value` each.
    pub labels: Vec<String>,
    /// Text of the agent's configuration file.
    pub config: String,
    /// Where the agent listens; a free address when not given.
    pub listen: Option<SocketAddr>,
    /// Where the server is told to reach it: where it listens when not given.
    pub reached_at: Option<SocketAddr>,
    /// The simulated machine outlives a kill of the agent with all of its changes.
    pub durable: bool,
}

#[derive(Debug)]
struct AgentProcess {
    name: String,
    listen: SocketAddr,
    metrics: SocketAddr,
    running: Option<Running>,
    arguments: Vec<String>,
    environment: Vec<(String, String)>,
    log: PathBuf,
}

impl Fleet {
    /// Starts a server and waits until its API answers.
    pub async fn without_hosts() -> Self {
        Self::with_config("").await
    }

    /// The same, with text for the server's configuration file.
    ///
    /// # Panics
    /// When anything does not come up.
    pub async fn with_config(config: &str) -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory can be made");
        let [api, metrics] = free_addresses();
        let at = |name: &str| dir.path().join(name).display().to_string();
        std::fs::write(at("server.toml"), config).expect("a file can be written");
        let server_arguments = vec![
            format!("--config={}", at("server.toml")),
            format!("--listen={api}"),
            format!("--metrics-listen={metrics}"),
            format!("--state-dir={}", at("server")),
        ];
        let channel = Endpoint::from_shared(format!("http://{api}"))
            .expect("an address makes a URL")
            .connect_lazy();
        let mut fleet =
            Self { server: None, agents: Vec::new(), api, metrics, server_arguments, channel, dir };
        fleet.start_server().await;
        fleet
    }

    /// Starts a server and this many hosts named `host-0`, `host-1` and so on, and waits until all
    /// are online.
    pub async fn of(hosts: usize) -> Self {
        let mut fleet = Self::without_hosts().await;
        for n in 0..hosts {
            fleet.add_host(&format!("host-{n}"), &[]).await;
        }
        fleet
    }

    /// Joins a host with labels (`key=value`), starts its agent, and waits until it is online.
    /// Answers its number.
    ///
    /// # Panics
    /// When anything does not come up.
    pub async fn add_host(&mut self, name: &str, labels: &[&str]) -> usize {
        let labels = labels.iter().map(|label| (*label).to_owned()).collect();
        self.add_host_with(name, HostOptions { labels, ..HostOptions::default() }).await
    }

    /// The same, with more said about the host.
    ///
    /// # Panics
    /// When anything does not come up.
    pub async fn add_host_with(&mut self, name: &str, options: HostOptions) -> usize {
        let labels = options.labels.iter().filter_map(|label| label.split_once('='));
        let request = v1::CreateJoinTokenRequest {
            host_name: name.to_owned(),
            labels: labels.map(|(key, value)| (key.to_owned(), value.to_owned())).collect(),
            ..Default::default()
        };
        let token = self.hosts().create_join_token(request).await.expect("a token").into_inner();
        let [free, metrics] = free_addresses();
        let listen = options.listen.unwrap_or(free);
        let reached_at = options.reached_at.unwrap_or(listen).to_string();
        let n = self.agents.len();
        let at = |what: &str| self.dir.path().join(format!("{name}.{what}")).display().to_string();
        let joined = command(&ours("banger-agent"))
            .args(["join", "--server", &format!("http://{}", self.api)])
            .args(["--token", &token.token, "--name", name])
            .args(["--agent-address", &reached_at, "--state-dir", &at("state")])
            .output()
            .expect("banger-agent can be started");
        let said = String::from_utf8_lossy(&joined.stderr);
        assert!(joined.status.success(), "banger-agent join: {said}");
        let config = self.dir.path().join(format!("{name}.toml"));
        std::fs::write(&config, options.config).expect("a file can be written");
        let mut arguments = vec![
            "run".to_owned(),
            "--simulate".to_owned(),
            format!("--config={}", config.display()),
            format!("--state-dir={}", at("state")),
            format!("--runtime-dir={}", at("run")),
            format!("--listen={listen}"),
            format!("--metrics-listen={metrics}"),
            format!("--instance=t{n}"),
        ];
        arguments.extend(options.durable.then(|| "--durable".to_owned()));
        let log = self.dir.path().join(format!("{name}.log"));
        self.agents.push(AgentProcess {
            name: name.to_owned(),
            listen,
            metrics,
            running: None,
            arguments,
            environment: Vec::new(),
            log,
        });
        self.start_agent(n);
        self.until_host(name, v1::HostState::Online).await;
        n
    }

    /// A client for VMs.
    #[must_use]
    pub fn vms(&self) -> VmServiceClient<Channel> {
        VmServiceClient::new(self.channel.clone())
    }

    /// A client for hosts.
    #[must_use]
    pub fn hosts(&self) -> HostServiceClient<Channel> {
        HostServiceClient::new(self.channel.clone())
    }

    /// The connection that the clients share.
    #[must_use]
    pub fn channel(&self) -> Channel {
        self.channel.clone()
    }

    /// Where the API is.
    #[must_use]
    pub fn api(&self) -> SocketAddr {
        self.api
    }

    /// Where the metrics of the server are.
    #[must_use]
    pub fn metrics(&self) -> SocketAddr {
        self.metrics
    }

    /// Where an agent listens, and where its metrics are.
    #[must_use]
    pub fn agent_addresses(&self, n: usize) -> (SocketAddr, SocketAddr) {
        (self.agents[n].listen, self.agents[n].metrics)
    }

    /// The pid of an agent.
    ///
    /// # Panics
    /// When it does not run.
    #[must_use]
    pub fn agent_pid(&self, n: usize) -> u32 {
        self.agents[n].running.as_ref().expect("the agent runs").pid()
    }

    /// Where all state lies.
    #[must_use]
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Where the simulated machines of the hosts are saved.
    #[must_use]
    pub fn machines(&self) -> Vec<Machine> {
        let machine = |agent: &AgentProcess| {
            let state = self.dir.path().join(format!("{}.state", agent.name));
            Machine { host: agent.name.clone(), path: state.join("simulated-kernel.json") }
        };
        self.agents.iter().map(machine).collect()
    }

    /// Kills the server: SIGKILL.
    ///
    /// # Panics
    /// When it does not run.
    pub fn kill_server(&mut self) {
        self.take_server().kill();
    }

    /// Hands out the server, to be ended; it has to be started again.
    ///
    /// # Panics
    /// When it does not run.
    pub fn take_server(&mut self) -> Running {
        self.server.take().expect("the server runs")
    }

    /// The server and the agents that are to run and have ended, each with how and what it printed
    /// last.
    #[must_use]
    pub fn ended(&self) -> Vec<String> {
        let server = self.server.iter().map(|running| ("the server", running));
        let agents = self.agents.iter();
        let agents = agents.filter_map(|agent| Some((&*agent.name, agent.running.as_ref()?)));
        let told = |(name, running): (&str, &Running)| {
            let how = running.has_ended()?;
            Some(format!("{name} had ended by itself {how}: {}", running.last_words()))
        };
        server.chain(agents).filter_map(told).collect()
    }

    /// The pid of the server.
    ///
    /// # Panics
    /// When it does not run.
    #[must_use]
    pub fn server_pid(&self) -> u32 {
        self.server.as_ref().expect("the server runs").pid()
    }

    /// Stops the server in its tracks, or lets it go on.
    ///
    /// # Panics
    /// When it does not run.
    pub fn freeze_server(&self, frozen: bool) {
        let signal = if frozen { Signal::SIGSTOP } else { Signal::SIGCONT };
        self.server.as_ref().expect("the server runs").signal(signal);
    }

    /// Has the server read its files again, as `systemctl reload` does.
    ///
    /// # Panics
    /// When it does not run.
    pub fn reload_server(&self) {
        self.server.as_ref().expect("the server runs").signal(Signal::SIGHUP);
    }

    /// Asks the server to end, and waits until it has.
    ///
    /// # Panics
    /// When it does not run, or ends with an error.
    pub fn stop_server(&mut self) {
        let status = self.take_server().stop();
        assert!(status.success(), "the server ended with {status}");
    }

    /// Starts the server on the state it left, and waits until its API answers.
    ///
    /// # Panics
    /// When it ends instead.
    pub async fn start_server(&mut self) {
        self.spawn_server();
        until("the API answers", || async {
            self.hosts().list_hosts(v1::ListHostsRequest::default()).await.map(drop).or_else(
                |error| {
                    if error.code() == tonic::Code::Unauthenticated { Ok(()) } else { Err(error) }
                },
            )
        })
        .await;
    }

    /// Starts the server on the state it left, and does not wait.
    pub fn spawn_server(&mut self) {
        let log = self.dir.path().join("server.log");
        let server = Running::start(&ours("banger-server"), &self.server_arguments, log);
        self.server = Some(server);
    }

    /// Kills an agent: SIGKILL.
    ///
    /// # Panics
    /// When it does not run.
    pub fn kill_agent(&mut self, n: usize) {
        self.take_agent(n).kill();
    }

    /// Hands out an agent, to be ended; it has to be started again.
    ///
    /// # Panics
    /// When it does not run.
    pub fn take_agent(&mut self, n: usize) -> Running {
        self.agents[n].running.take().expect("the agent runs")
    }

    /// Asks an agent to end, and waits until it has.
    ///
    /// # Panics
    /// When it does not run, or ends with an error.
    pub fn stop_agent(&mut self, n: usize) {
        let status = self.take_agent(n).stop();
        assert!(status.success(), "the agent ended with {status}");
    }

    /// What an agent has in its environment from its next start on.
    pub fn set_agent_environment(&mut self, n: usize, name: &str, value: &str) {
        self.agents[n].environment.push((name.to_owned(), value.to_owned()));
    }

    /// Starts an agent on the state it left. Does not wait for it to be online.
    pub fn start_agent(&mut self, n: usize) {
        let agent = &mut self.agents[n];
        let program = ours("banger-agent");
        let (arguments, environment) = (&agent.arguments, &agent.environment);
        let running = Running::start_in(&program, arguments, environment, agent.log.clone());
        agent.running = Some(running);
    }

    /// Stops an agent in its tracks, or lets it go on.
    ///
    /// # Panics
    /// When it does not run.
    pub fn freeze_agent(&self, n: usize, frozen: bool) {
        let signal = if frozen { Signal::SIGSTOP } else { Signal::SIGCONT };
        self.agents[n].running.as_ref().expect("the agent runs").signal(signal);
    }

    /// One VM.
    ///
    /// # Errors
    /// As the API answers.
    pub async fn get(&self, vm: &str) -> Result<v1::Vm, Status> {
        let request = v1::GetVmRequest { vm: vm.to_owned() };
        Ok(self.vms().get_vm(request).await?.into_inner())
    }

    /// Creates a VM.
    ///
    /// # Panics
    /// When it is refused.
    pub async fn create(&self, request: v1::CreateVmRequest) -> v1::Vm {
        self.vms().create_vm(request).await.expect("created").into_inner()
    }

    /// Waits until a VM is seen in a state.
    pub async fn until_state(&self, vm: &str, state: v1::VmState) -> v1::Vm {
        self.until_vm(vm, state.as_str_name(), |vm| status(vm).state() == state).await
    }

    /// Waits until a VM is seen as asked.
    pub async fn until_vm(&self, vm: &str, what: &str, is: impl Fn(&v1::Vm) -> bool) -> v1::Vm {
        until(&format!("{vm} is {what}"), || async {
            let vm = self.get(vm).await.map_err(|error| format!("{error:?}"))?;
            if is(&vm) { Ok(vm) } else { Err(format!("{vm:#?}")) }
        })
        .await
    }

    /// Waits until nothing is known of a VM any more.
    pub async fn until_gone(&self, vm: &str) {
        until(&format!("{vm} is gone"), || async {
            match self.get(vm).await {
                Err(error) if error.code() == tonic::Code::NotFound => Ok(()),
                other => Err(format!("{other:#?}")),
            }
        })
        .await;
    }

    /// Waits until a host is in a state.
    pub async fn until_host(&self, host: &str, state: v1::HostState) -> v1::Host {
        until(&format!("{host} is {}", state.as_str_name()), || async {
            let request = v1::GetHostRequest { host: host.to_owned() };
            let host = self.hosts().get_host(request).await;
            let host = host.map_err(|error| format!("{error:?}"))?.into_inner();
            let is = host.status.as_ref().is_some_and(|status| status.state() == state);
            if is { Ok(host) } else { Err(format!("{host:#?}")) }
        })
        .await
    }
}

/// The status of a VM; one without is a defect.
///
/// # Panics
/// When there is none.
#[must_use]
pub fn status(vm: &v1::Vm) -> &v1::VmStatus {
    vm.status.as_ref().expect("a VM has a status")
}

/// The process of a VM: pid and start.
#[must_use]
pub fn process(vm: &v1::Vm) -> Option<(u32, u64)> {
    status(vm).process.as_ref().map(|process| (process.pid, process.start_ticks))
}

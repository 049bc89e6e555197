//! A server and agents of banger inside one test host, spoken to through the public API only.

use std::time::{Duration, Instant};

use banger_client::v1::{
    AttachConsoleRequest, CreateJoinTokenRequest, CreateVmRequest, DeleteVmRequest, Host,
    HostState, ImageRef, Vm, VmSpec, VmState,
};
use banger_client::{Client, Endpoint, WaitFor};
use banger_testhost::host::TestHost;

pub(crate) mod oracle;

/// How long a VM may take to change its state under emulation.
pub(crate) const LIMIT: Duration = Duration::from_secs(300);

/// One agent in the host: everything by which two on one machine differ.
#[derive(Debug, Clone)]
pub(crate) struct Agent {
    pub(crate) name: &'static str,
    pub(crate) state: &'static str,
    pub(crate) run: &'static str,
    pub(crate) instance: &'static str,
    /// Their VMMs run as users of their own.
    uid_base: u32,
    port: u16,
}

pub(crate) const FIRST: Agent = Agent {
    name: "first",
    state: "/data/agent",
    run: "/run/banger-agent",
    instance: "bg",
    uid_base: 200_000,
    port: 7072,
};

pub(crate) const SECOND: Agent = Agent {
    name: "second",
    state: "/data/second",
    run: "/run/banger-second",
    instance: "b2",
    uid_base: 300_000,
    port: 7172,
};

impl Agent {
    fn flags(&self) -> String {
        let Self { state, run, instance, port, .. } = self;
        let metrics = port + 1;
        format!(
            "--config {} --state-dir {state} --runtime-dir {run} --instance {instance} \
             --image-dir /data/agent/images --listen 127.0.0.1:{port} \
             --metrics-listen 127.0.0.1:{metrics} --firecracker /data/bin/firecracker \
             --jailer /data/bin/jailer",
            self.config()
        )
    }

    fn config(&self) -> String {
        format!("/run/testhost.{}.toml", self.name)
    }

    fn pidfile(&self) -> String {
        format!("/run/testhost.{}.pid", self.name)
    }

    fn log(&self) -> String {
        format!("/run/testhost.{}.log", self.name)
    }
}

pub(crate) struct Fleet {
    pub(crate) host: TestHost,
    pub(crate) client: Client,
}

impl Fleet {
    /// A host with a server and one agent that is ONLINE. Call it from the test's own thread.
    pub(crate) async fn start(name: &str) -> Self {
        Self::start_with(name, &[], "").await
    }

    /// The same with more programs in it, and with this in the server's configuration.
    pub(crate) async fn start_with(name: &str, programs: &[&str], config: &str) -> Self {
        let host = TestHost::start(name, &[&["banger-server", "banger-agent"], programs].concat())
            .unwrap_or_else(|why| panic!("no test host: {why}{}", causes(&why)));
        host.write("/run/testhost.server.toml", config.as_bytes()).expect("it can be written");
        host.spawn(
            "env NO_COLOR=1 banger-server --config /run/testhost.server.toml \
             --state-dir /var/lib/banger-server",
            "/run/testhost.server.log",
        )
        .expect("the server is started");
        let address = host.forward(7070).expect("a port");
        let endpoint = Endpoint::new(&format!("http://{address}")).expect("an address");
        let client = Client::connect_lazy(&endpoint).expect("a client");
        let fleet = Self { host, client };
        fleet.eventually("the server answers", async || fleet.hosts().await.map(drop)).await;
        fleet.join(&FIRST).await;
        fleet
    }

    async fn hosts(&self) -> Result<Vec<Host>, String> {
        self.client.hosts().list_all("").await.map_err(|why| why.to_string())
    }

    /// Joins and starts an agent, and waits until the server has its inventory.
    pub(crate) async fn join(&self, agent: &Agent) {
        let Agent { name, state, port, .. } = agent;
        let token = self
            .client
            .hosts()
            .create_join_token(CreateJoinTokenRequest::default())
            .await
            .expect("a token")
            .token;
        self.sh(&format!(
            "banger-agent join --server http://127.0.0.1:7070 --token '{token}' --name {name} \
             --agent-address 127.0.0.1:{port} --state-dir {state}"
        ));
        self.start_agent(agent);
        self.online(agent).await;
    }

    pub(crate) fn start_agent(&self, agent: &Agent) {
        self.start_agent_with(agent, "");
    }

    /// As [`Self::start_agent`], with more in its environment: `NAME=VALUE …`.
    pub(crate) fn start_agent_with(&self, agent: &Agent, environment: &str) {
        let config = format!("[guests]\nuid_base = {}\n", agent.uid_base);
        self.host.write(&agent.config(), config.as_bytes()).expect("it can be written");
        let flags = agent.flags();
        let command = format!("env NO_COLOR=1 {environment} banger-agent run {flags}");
        let pid = self.host.spawn(&command, &agent.log()).expect("the agent is started");
        self.sh(&format!("echo {pid} >{}", agent.pidfile()));
    }

    /// `kill -9`, and waits until the process is gone.
    pub(crate) fn kill_agent(&self, agent: &Agent) {
        let pidfile = agent.pidfile();
        self.sh(&format!(
            "kill -9 $(cat {pidfile}); while kill -0 $(cat {pidfile}) 2>/dev/null; do sleep 0.05; done"
        ));
    }

    /// Waits until an agent that kills itself is gone.
    pub(crate) async fn agent_dies(&self, agent: &Agent, what: &str) {
        let script = format!("kill -0 $(cat {}) 2>/dev/null && echo alive; true", agent.pidfile());
        self.eventually(&format!("{what}: the agent is dead"), async || {
            let seen = self.host.sh(&script).map_err(|why| why.to_string())?;
            if seen.is_empty() { Ok(()) } else { Err(seen) }
        })
        .await;
    }

    pub(crate) async fn online(&self, agent: &Agent) -> Host {
        let online = i32::from(HostState::Online);
        self.eventually("the host is ONLINE", async || {
            let hosts = self.hosts().await?;
            let host = hosts.into_iter().find(|host| host.name == agent.name);
            match host {
                Some(host) if host.status.as_ref().is_some_and(|s| s.state == online) => Ok(host),
                other => Err(format!("{other:#?}")),
            }
        })
        .await
    }

    /// Asks until the answer is good, or fails with the last one and the logs of banger.
    pub(crate) async fn eventually<T>(
        &self,
        what: &str,
        mut ask: impl AsyncFnMut() -> Result<T, String>,
    ) -> T {
        let begun = Instant::now();
        loop {
            match ask().await {
                Ok(answer) => return answer,
                Err(last) if begun.elapsed() > LIMIT => {
                    panic!("{what}: not within {LIMIT:?}; last: {last}\n{}", self.logs());
                }
                Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
            }
        }
    }

    /// Runs a script in the host that must succeed.
    pub(crate) fn sh(&self, script: &str) -> String {
        self.host.sh(script).unwrap_or_else(|why| panic!("{why}\n{}", self.logs()))
    }

    pub(crate) fn logs(&self) -> String {
        let script = "for log in /run/testhost.*.log; do echo \"== $log\"; tail -n 60 $log; done; \
                      for log in /data/*/vms/*/console.log /data/*/vms/*/firecracker.log; do \
                      [ -f $log ] && echo \"== $log\" && tail -n 15 $log; done; dmesg | tail -n 15";
        self.host.run(&["/bin/sh", "-c", script]).map_or_else(
            |why| why.to_string(),
            |output| String::from_utf8_lossy(&output.stdout).into_owned(),
        )
    }

    pub(crate) async fn create(&self, name: &str, spec: VmSpec) -> Vm {
        let request =
            CreateVmRequest { name: name.to_owned(), spec: Some(spec), ..Default::default() };
        self.client.vms().create(request).await.expect("is accepted")
    }

    pub(crate) async fn get(&self, vm: &Vm) -> Vm {
        self.client.vms().get(&vm.id).await.expect("is there")
    }

    /// Waits until a VM is seen in a state at its present generation; what is UNKNOWN has none.
    pub(crate) async fn reaches(&self, vm: &Vm, state: VmState) -> Vm {
        self.eventually(&format!("{} is {}", vm.name, state.as_str_name()), async || {
            let now = self.client.vms().get(&vm.id).await.map_err(|why| why.to_string())?;
            let status = now.status.clone().unwrap_or_default();
            let reached = state == VmState::Unknown || status.observed_generation >= vm.generation;
            if status.state == i32::from(state) && reached {
                return Ok(now);
            }
            Err(format!("{status:#?}"))
        })
        .await
    }

    /// Waits until the guest has printed a line that contains this, since the console was begun
    /// or since `after` lines.
    pub(crate) async fn console_has(&self, vm: &Vm, text: &str, times: usize) {
        let path = format!("/data/*/vms/{}/console.log", vm.id);
        self.eventually(
            &format!("the console of {} has '{text}' {times} times", vm.name),
            async || {
                let script = format!("cat {path} 2>/dev/null | tr -d '\\r'");
                let console = self.host.sh(&script).map_err(|why| why.to_string())?;
                let found = console.lines().filter(|line| line.contains(text)).count();
                if found >= times { Ok(()) } else { Err(console) }
            },
        )
        .await;
    }

    /// Types a line into the guest's console and reads until the answer is there.
    pub(crate) async fn types_and_sees(&self, vm: &Vm, typed: &str, answer: &str) {
        let attached = self
            .eventually("the console is there", async || {
                self.client.vms().attach_console(&vm.id, 0).await.map_err(|why| why.to_string())
            })
            .await;
        let (keys, mut screen) = attached;
        let data = format!("{typed}\n").into_bytes();
        assert!(keys.send(AttachConsoleRequest { data, ..Default::default() }).await);
        let mut text = String::new();
        let reading = async {
            while !text.contains(answer) {
                let message = screen.next().await.expect("it goes on").expect("it does not end");
                text.push_str(&String::from_utf8_lossy(&message.data));
            }
        };
        if tokio::time::timeout(LIMIT, reading).await.is_err() {
            panic!("no {answer:?} in {text:?}\n{}", self.logs());
        }
    }

    pub(crate) async fn delete(&self, vm: &Vm) {
        let request = DeleteVmRequest { vm: vm.id.clone(), ..Default::default() };
        self.client.vms().delete(request).await.expect("is accepted");
        self.gone(vm).await;
    }

    /// Waits until nothing of a VM that is deleted is left.
    pub(crate) async fn gone(&self, vm: &Vm) {
        let gone = self
            .client
            .vms()
            .wait(WaitFor::gone(&vm.id, LIMIT), |_| ())
            .await
            .expect("is waited for");
        let reached = banger_client::v1::WaitOutcome::Reached;
        assert_eq!(gone.outcome, reached, "{:#?}\n{}", gone.vm, self.logs());
    }
}

/// A small VM with the guest of this test host.
pub(crate) fn spec() -> VmSpec {
    VmSpec {
        vcpus: 1,
        memory_mib: 128,
        kernel: image("vmlinux"),
        initrd: image("initrd"),
        root_image: image("root.ext4"),
        root_disk_mib: 64,
        ..Default::default()
    }
}

pub(crate) fn image(name: &str) -> Option<ImageRef> {
    Some(ImageRef { name: name.to_owned(), sha256: String::new() })
}

pub(crate) fn causes(error: &dyn std::error::Error) -> String {
    let mut text = String::new();
    let mut next = error.source();
    while let Some(cause) = next {
        text.push_str(&format!(": {cause}"));
        next = cause.source();
    }
    text
}

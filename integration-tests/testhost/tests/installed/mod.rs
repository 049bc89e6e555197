//! A test host with systemd on which banger is installed as an operator does it: by
//! `banger system install`, in its usual places, run by its units.

mod given;

use std::time::{Duration, Instant};

use banger_client::v1::{
    CreateJoinTokenRequest, CreateVmRequest, DeleteVmRequest, Host, HostState, ImageRef, Vm,
    VmProcess, VmSpec, VmState, VmStatus,
};
use banger_client::{Client, Endpoint, WaitFor};
use banger_testhost::host::TestHost;
pub(crate) use given::{block, command, given, package};

/// How long anything may take under emulation.
pub(crate) const LIMIT: Duration = Duration::from_secs(180);

pub(crate) const UNITS: [&str; 2] = ["banger-server", "banger-agent"];

pub(crate) struct Installed {
    pub(crate) host: TestHost,
    pub(crate) client: Client,
    began: Instant,
}

/// What must not change whatever happens to banger.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Proof {
    pub(crate) process: VmProcess,
    /// Start in clock ticks since boot, by the kernel.
    start_ticks: u64,
    /// Where the process is counted.
    pub(crate) cgroup: String,
    /// What the guest wrote behind its root file system: how often it booted, and its boot id.
    pub(crate) disk: String,
    /// The boot id as the guest printed it, once for each boot.
    printed: String,
    restarts: u32,
}

pub(crate) fn status(vm: &Vm) -> VmStatus {
    vm.status.clone().expect("a status")
}

impl Installed {
    /// A host with nothing of banger but its programs in `/data/bin`. Call it from the test's own
    /// thread.
    pub(crate) fn boot(name: &str) -> Self {
        let began = Instant::now();
        let programs = ["banger", "banger-server", "banger-agent"];
        let host = TestHost::start_systemd(name, &programs)
            .unwrap_or_else(|why| panic!("no test host: {why:?}"));
        let address = host.forward(7070).expect("a port");
        let endpoint = Endpoint::new(&format!("http://{address}")).expect("an address");
        let client = Client::connect_lazy(&endpoint).expect("a client");
        let installed = Self { host, client, began };
        installed.note("the host is up");
        installed
    }

    /// For who watches: what was done by now, and how long that took in all.
    pub(crate) fn note(&self, what: &str) {
        println!("[{:>3} s] {what}", self.began.elapsed().as_secs());
    }

    /// Runs a script in the host that must succeed.
    pub(crate) fn sh(&self, script: &str) -> String {
        self.host.sh(script).unwrap_or_else(|why| panic!("{why}\n{}", self.logs()))
    }

    /// Runs a script; its exit code and everything it said.
    pub(crate) fn try_sh(&self, script: &str) -> (i32, String) {
        let output = self.host.run_for(&["/bin/sh", "-c", script], &[], LIMIT * 2).expect("runs");
        let said = [output.stdout, output.stderr].concat();
        (output.code, String::from_utf8_lossy(&said).into_owned())
    }

    /// The same, of which the code is known.
    pub(crate) fn ends(&self, code: i32, script: &str) -> String {
        let (ended, said) = self.try_sh(script);
        assert_eq!(ended, code, "{script}:\n{said}\n{}", self.logs());
        self.note(&format!("$ {script}\n{}", said.trim_end()));
        said
    }

    pub(crate) fn logs(&self) -> String {
        self.try_sh(
            "journalctl --no-pager -q -n 80 -o short-monotonic; systemctl --no-pager --failed",
        )
        .1
    }

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

    /// Makes the host one of the fleet, by hand as deploy/README.md says.
    pub(crate) async fn join(&self) {
        let token = self
            .eventually("a token is made", async || {
                let request = CreateJoinTokenRequest::default();
                let token = self.client.hosts().create_join_token(request).await;
                token.map(|token| token.token).map_err(|why| why.to_string())
            })
            .await;
        self.sh(&format!(
            "banger-agent join --server http://127.0.0.1:7070 --token '{token}' --name installed \
             --agent-address 127.0.0.1:7072"
        ));
        self.sh("systemctl start banger-agent");
        self.online(0).await;
    }

    /// Waits until the server hears an agent of a later start than that.
    pub(crate) async fn online(&self, epoch: u64) -> Host {
        self.eventually("the host is ONLINE", async || {
            let hosts = self.client.hosts().list_all("").await.map_err(|why| why.to_string())?;
            let good = |host: &&Host| {
                let status = host.status.clone().unwrap_or_default();
                status.state() == HostState::Online && status.agent_epoch > epoch
            };
            hosts.iter().find(good).cloned().ok_or_else(|| format!("{hosts:#?}"))
        })
        .await
    }

    pub(crate) async fn epoch(&self) -> u64 {
        self.online(0).await.status.unwrap_or_default().agent_epoch
    }

    /// Creates a VM and waits until its guest is ready.
    pub(crate) async fn create(&self, name: &str) -> Vm {
        let image = |name: &str| Some(ImageRef { name: name.to_owned(), sha256: String::new() });
        let spec = VmSpec {
            vcpus: 1,
            memory_mib: 128,
            kernel: image("vmlinux"),
            initrd: image("initrd"),
            root_image: image("root.ext4"),
            root_disk_mib: 64,
            ..VmSpec::default()
        };
        let request =
            CreateVmRequest { name: name.to_owned(), spec: Some(spec), ..Default::default() };
        // The host tells of images that were copied to it with its next heartbeat.
        let vm = self
            .eventually("it is accepted", async || {
                let vm = self.client.vms().create(request.clone()).await;
                vm.map_err(|why| why.to_string())
            })
            .await;
        let vm = self.running(&vm, 0).await;
        self.eventually("the guest is ready", async || {
            let console = self.console(&vm);
            if console.contains("guest: ready") { Ok(()) } else { Err(console) }
        })
        .await;
        vm
    }

    fn console(&self, vm: &Vm) -> String {
        self.sh(&format!("tr -d '\\r' </var/lib/banger-agent/vms/{}/console.log", vm.id))
    }

    /// Waits until the server says that the VM runs, heard from an agent of a later start.
    pub(crate) async fn running(&self, vm: &Vm, after_epoch: u64) -> Vm {
        self.eventually(&format!("{} is RUNNING", vm.name), async || {
            let now = self.client.vms().get(&vm.id).await.map_err(|why| why.to_string())?;
            let seen = now.status.clone().unwrap_or_default();
            if seen.state() == VmState::Running && seen.agent_epoch > after_epoch {
                return Ok(now);
            }
            Err(format!("{seen:#?}"))
        })
        .await
    }

    /// Everything that a VM must keep, from the API, the kernel and the guest.
    pub(crate) fn proof(&self, vm: &Vm) -> Proof {
        let seen = status(vm);
        let process = seen.process.expect("a process");
        let device = seen.devices.expect("devices").snapshot;
        let pid = process.pid;
        let ticks = self.sh(&format!("sed 's/.*) //' /proc/{pid}/stat | cut -d' ' -f20"));
        let ids = self.console(vm);
        let ids: Vec<_> = ids.lines().filter(|line| line.contains("guest: boot_id=")).collect();
        Proof {
            start_ticks: ticks.parse().expect("a number"),
            cgroup: self.sh(&format!("cat /proc/{pid}/cgroup")),
            disk: self.sh(&format!(
                "dmsetup mknodes {device}; blockdev --flushbufs /dev/mapper/{device}; \
                 tail -c 4096 /dev/mapper/{device} | tr -d '\\000'"
            )),
            printed: ids.join("\n"),
            process,
            restarts: seen.restart_count,
        }
    }

    /// The VM's history, oldest first: what happened and why.
    pub(crate) async fn history(&self, vm: &Vm) -> Vec<(String, String)> {
        let events = self.client.vms().events(&vm.id).await.expect("a history");
        events.into_iter().map(|event| (event.r#type, event.reason)).collect()
    }

    pub(crate) async fn delete(&self, vm: &Vm) {
        let request = DeleteVmRequest { vm: vm.id.clone(), ..Default::default() };
        self.client.vms().delete(request).await.expect("is accepted");
        let wait = WaitFor::gone(&vm.id, LIMIT);
        let gone = self.client.vms().wait(wait, |_| ()).await.expect("is waited for");
        let reached = banger_client::v1::WaitOutcome::Reached;
        assert_eq!(gone.outcome, reached, "{:#?}\n{}", gone.vm, self.logs());
    }
}

//! The certificates of agents are renewed by processes that die at each step of it.
//!
//! A certificate that is good for longer than the server makes them is renewed at once: so each
//! start of the server with fewer `agents.certificate_days` is a renewal, without a clock being
//! moved. What is asked after each: the host is served, with the certificate of the newest renewal
//! and one key, and its VM has not noticed.

use std::path::PathBuf;

use banger_integration_tests::fleet::{Fleet, process};
use banger_integration_tests::specs::create;
use banger_integration_tests::wait::until;
use banger_proto::v1;

const HOST: &str = "host-0";

/// Names the agent's failpoint.
const FAILPOINT: &str = "BANGER_FAILPOINT_FILE";

struct Renewed {
    fleet: Fleet,
    days: i64,
    process: Option<(u32, u64)>,
}

impl Renewed {
    async fn new() -> Self {
        let mut fleet = Fleet::of(1).await;
        fleet.create(create("web")).await;
        let web = fleet.until_state("web", v1::VmState::Running).await;
        let failpoint = fleet.dir().join("failpoint").display().to_string();
        fleet.stop_agent(0);
        fleet.set_agent_environment(0, FAILPOINT, &failpoint);
        fleet.start_agent(0);
        fleet.until_host(HOST, v1::HostState::Online).await;
        Self { fleet, days: 90, process: process(&web) }
    }

    fn identity(&self) -> PathBuf {
        self.fleet.dir().join("host-0.state/identity")
    }

    /// Has the agent die after so many steps of the next renewal.
    fn arm(&self, steps: usize) {
        let file = self.fleet.dir().join("failpoint.certificates");
        std::fs::write(file, format!("after {steps} step-{steps}\n")).expect("written");
    }

    /// Starts the server, so that it renews.
    async fn renew(&mut self) {
        self.days -= 6;
        let config = format!("[agents]\ncertificate_days = {}\n", self.days);
        std::fs::write(self.fleet.dir().join("server.toml"), config).expect("written");
        self.fleet.start_server().await;
    }

    /// One certificate, of the newest renewal, by one key, and nobody has noticed.
    async fn settled(&self, what: &str) {
        let now = std::time::UNIX_EPOCH.elapsed().expect("after 1970").as_secs();
        let now = i64::try_from(now).expect("not yet");
        let day = 24 * 3600;
        until(&format!("{what}: the host is served with the newest certificate"), || async {
            let request = v1::GetHostRequest { host: HOST.to_owned() };
            let host = self.fleet.hosts().get_host(request).await;
            let host = host.map_err(|error| format!("{error:?}"))?.into_inner();
            let status = host.status.clone().unwrap_or_default();
            let shown = status.certificate.clone().unwrap_or_default();
            let is_newest = |at: Option<prost_types::Timestamp>| {
                at.is_some_and(|at| (at.seconds - now - self.days * day).abs() < day)
            };
            let well = status.state() == v1::HostState::Online
                && is_newest(host.certificate_expire_time)
                && is_newest(shown.not_after)
                && shown.renewal_error.is_empty();
            if well { Ok(()) } else { Err(format!("{host:#?}")) }
        })
        .await;
        let entries = std::fs::read_dir(self.identity()).expect("it is there");
        let mut names: Vec<_> =
            entries.map(|entry| entry.expect("readable").file_name().into_string()).collect();
        names.sort();
        assert_eq!(names, ["agent.crt", "agent.key", "ca.crt", "host.json"].map(|n| Ok(n.into())));
        let web = self.fleet.until_state("web", v1::VmState::Running).await;
        assert_eq!(process(&web), self.process, "{what}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fault_an_agent_that_dies_at_each_step_of_a_renewal_is_served_with_one_key_afterwards() {
    let mut stage = Renewed::new().await;
    // Prepared, (the first time) fleet kept, CAs, certificate, key, in use.
    for steps in 1..=6 {
        stage.arm(steps);
        stage.fleet.stop_server();
        stage.renew().await;
        if steps < 6 {
            until("the agent has died", || async {
                let ended = stage.fleet.ended();
                if ended.is_empty() { Err("it runs") } else { Ok(()) }
            })
            .await;
            drop(stage.fleet.take_agent(0));
            stage.fleet.start_agent(0);
        }
        stage.settled(&format!("died after step {steps}")).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fault_a_server_that_dies_during_a_renewal_goes_on_with_it() {
    let mut stage = Renewed::new().await;
    let read = |path: PathBuf| std::fs::read(path).ok();
    let certificate = stage.identity().join("agent.crt");
    let next = stage.identity().join("next.key");
    for dies in ["when the agent has a key", "when the agent has the certificate"] {
        let before = read(certificate.clone());
        stage.fleet.stop_server();
        stage.renew().await;
        until(dies, || async {
            let come = next.exists() || read(certificate.clone()) != before;
            let come =
                if dies.ends_with("key") { come } else { read(certificate.clone()) != before };
            if come { Ok(()) } else { Err("not yet") }
        })
        .await;
        stage.fleet.kill_server();
        stage.fleet.start_server().await;
        stage.settled(dies).await;
    }
}

//! A host that has joined joins again, and one whose key was copied is shut out: by the commands of
//! docs/OPERATIONS.md and deploy/README.md, word for word.
//!
//! What differs is only where things are: the agent's directory stands for one of this test, and
//! what the page asks of systemd is done to this test's agent. What `banger host token` prints is
//! what is pasted.

use std::path::Path;

use banger_integration_tests::fleet::{Fleet, process};
use banger_integration_tests::pages::block;
use banger_integration_tests::programs::{command, ours, programs_dir};
use banger_integration_tests::specs::create;
use banger_integration_tests::wait::until;
use banger_proto::v1;

use super::backup::commands_of;

const HOST: &str = "host-0";

/// A fleet whose agent's directory is the page's.
struct Followed {
    fleet: Fleet,
    page: String,
    /// The line that `banger host token` printed to be pasted.
    to_paste: Option<String>,
}

impl Followed {
    async fn new() -> Self {
        let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/OPERATIONS.md");
        let page = std::fs::read_to_string(page).expect("the page is there");
        let fleet = Fleet::of(1).await;
        let bin = fleet.dir().join("bin");
        std::fs::create_dir(&bin).expect("made");
        // With its directory and its address where an installed one finds them by itself.
        let text = format!(
            "#!/bin/sh\nexec {} \"$@\" --state-dir {} --agent-address {}\n",
            ours("banger-agent").display(),
            fleet.dir().join("host-0.state").display(),
            fleet.agent_addresses(0).0
        );
        let agent = bin.join("banger-agent");
        std::fs::write(&agent, text).expect("written");
        let executable = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(&agent, executable).expect("made executable");
        Self { fleet, page, to_paste: None }
    }

    async fn follow(&mut self, section: &str) {
        for line in commands_of(&self.page, section) {
            self.type_in(&line).await;
        }
    }

    async fn type_in(&mut self, line: &str) {
        let line = line.split(" #").next().unwrap_or(line).trim_end();
        let line = line.replace("https://server.example:7070", "URL");
        let written = "echo TOKEN | banger-agent join --server URL --token-file - --name NAME";
        if line == "systemctl restart banger-agent" {
            self.fleet.stop_agent(0);
            self.fleet.start_agent(0);
        } else if line == written {
            let pasted = self.to_paste.take().expect("a token was made before");
            let words = |line: &str| line.split(' ').map(str::to_owned).collect::<Vec<_>>();
            let (pasted_words, mut words) = (words(&pasted), words(written));
            for (at, name) in words.clone().iter().enumerate() {
                if matches!(name.as_str(), "TOKEN" | "URL") {
                    words[at].clone_from(&pasted_words[at]);
                }
            }
            assert_eq!(pasted, words.join(" ").replace("NAME", HOST), "as the page shows it");
            self.run(&pasted);
        } else {
            let said = self.run(&line.replace("NAME", HOST));
            let join = said.lines().find(|line| line.contains("banger-agent join"));
            self.to_paste = join.map(str::to_owned).or(self.to_paste.take());
        }
    }

    /// Runs a line as a person would; what it printed.
    fn run(&self, line: &str) -> String {
        let state = self.fleet.dir().join("host-0.state").display().to_string();
        let here = line.replace("/var/lib/banger-agent", &state);
        assert!(!here.contains(" /var/") && !here.contains(" /etc/"), "unknown place: {line}");
        let bin = self.fleet.dir().join("bin");
        let path = [bin.as_path(), programs_dir().as_path(), Path::new("/usr/bin:/bin")]
            .map(|dir| dir.display().to_string());
        let output = command(Path::new("/bin/sh"))
            .args(["-c", &here])
            .env("PATH", path.join(":"))
            .env("HOME", self.fleet.dir())
            .env("BANGER_SERVER", format!("http://{}", self.fleet.api()))
            .output()
            .expect("a shell starts");
        let said = [output.stdout, output.stderr].concat();
        let said = String::from_utf8_lossy(&said).into_owned();
        assert!(output.status.success(), "{line}: {}\n{said}", output.status);
        said
    }

    async fn host(&self) -> v1::Host {
        let request = v1::GetHostRequest { host: HOST.to_owned() };
        self.fleet.hosts().get_host(request).await.expect("there").into_inner()
    }

    /// Waits until a later start of the agent is heard.
    async fn heard_again(&self, before: &v1::Host) -> v1::Host {
        let epoch = |host: &v1::Host| host.status.as_ref().map_or(0, |status| status.agent_epoch);
        until("its agent is heard again", || async {
            let host = self.host().await;
            let online = host.status.as_ref().is_some_and(|s| s.state() == v1::HostState::Online);
            if online && epoch(&host) > epoch(before) {
                Ok(host)
            } else {
                Err(format!("{host:#?}"))
            }
        })
        .await
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn converge_a_host_joins_again_and_gets_another_key_as_the_page_says_and_keeps_its_vms() {
    let mut followed = Followed::new().await;
    followed.fleet.create(create("web")).await;
    let before = followed.fleet.until_state("web", v1::VmState::Running).await;
    let key = followed.fleet.dir().join("host-0.state/identity/agent.key");
    let read = || std::fs::read(&key).expect("it has a key");
    let first = (followed.host().await, read());

    followed.follow("Certificates").await;
    let renewed = followed.heard_again(&first.0).await;
    assert_eq!((&renewed.id, &renewed.guest_subnet), (&first.0.id, &first.0.guest_subnet));
    assert_eq!(read(), first.1, "the key stays");
    assert!(renewed.certificate_expire_time.is_some_and(|until| {
        first.0.certificate_expire_time.is_some_and(|was| until.seconds >= was.seconds)
    }));

    // As the page on installing says it, too.
    followed.type_in("banger host token --name NAME").await;
    for line in block("deploy/README.md", "echo TOKEN | banger-agent join").lines() {
        followed.type_in(line).await;
    }
    let renewed = followed.heard_again(&renewed).await;

    followed.follow("Shutting out a host").await;
    let clean = followed.heard_again(&renewed).await;
    assert_eq!((&clean.id, clean.cordoned), (&first.0.id, true));
    assert_ne!(read(), first.1, "another key");
    let after = followed.fleet.until_state("web", v1::VmState::Running).await;
    assert_eq!(process(&after), process(&before), "its VM has not noticed");

    // Shut out with all that it holds, and let in again: with another key, made without being
    // asked.
    let second = read();
    for line in block("docs/OPERATIONS.md", "banger host revoke NAME").lines() {
        followed.type_in(line).await;
    }
    followed.fleet.until_host(HOST, v1::HostState::Revoked).await;
    followed.fleet.until_state("web", v1::VmState::Unknown).await;
    let revoked = followed.host().await;
    followed.follow("Certificates").await;
    followed.heard_again(&revoked).await;
    assert_ne!(read(), second, "another key");
    let after = followed.fleet.until_state("web", v1::VmState::Running).await;
    assert_eq!(process(&after), process(&before), "its VM has not noticed");
}

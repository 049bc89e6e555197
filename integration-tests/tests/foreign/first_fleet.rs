//! docs/FIRST-FLEET.md, followed from the server's certificate to a host that is online: TLS,
//! tokens and the line that is pasted, by the commands of the page.
//!
//! What differs is where things are: `/etc/banger` and `/root` are directories of this test,
//! nothing is given to the user `banger`, `one` is called `localhost` and listens on a port that is
//! free, and what the page asks of systemd is done by this test. The host is simulated.

use std::fs;
use std::path::{Path, PathBuf};

use banger_integration_tests::pages::{block, top};
use banger_integration_tests::ports::free_addresses;
use banger_integration_tests::programs::{Running, command, ours, programs_dir};
use banger_integration_tests::wait::until;

const PAGE: &str = "docs/FIRST-FLEET.md";

/// The machine `one`, and beside it `two`.
struct Machines {
    dir: tempfile::TempDir,
    port: u16,
}

impl Machines {
    fn new(port: u16) -> Self {
        let machines = Self { dir: tempfile::tempdir().expect("a directory"), port };
        for name in ["etc/banger", "root", "two", "bin", "certificates"] {
            fs::create_dir_all(machines.at(name)).expect("made");
        }
        machines
    }

    fn at(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// A block of the page as it is typed here.
    fn block(&self, begins: &str) -> String {
        let here = block(PAGE, begins)
            .replace(" -o banger -g banger", "")
            .replace("/etc/banger", &self.at("etc/banger").display().to_string())
            .replace("/root/", &format!("{}/", self.at("root").display()))
            .replace("0.0.0.0:7070", &format!("0.0.0.0:{}", self.port))
            .replace("//one:7070", &format!("//localhost:{}", self.port));
        assert!(!here.contains(" /etc/") && !here.contains(" /var/"), "unknown place: {here}");
        here
    }

    /// Types it in a directory; what was said, where it succeeds.
    fn types(&self, text: &str, directory: &str) -> Result<String, String> {
        let path = [self.at("bin"), programs_dir(), PathBuf::from("/usr/bin:/bin")];
        let output = command(Path::new("bash"))
            .args(["-euo", "pipefail", "-c", text])
            .env("PATH", path.map(|dir| dir.display().to_string()).join(":"))
            .env("HOME", self.dir.path())
            .current_dir(self.at(directory))
            .output()
            .expect("bash can be started");
        let said = [output.stdout, output.stderr].concat();
        let said = String::from_utf8_lossy(&said).into_owned();
        if output.status.success() { Ok(said) } else { Err(format!("{text}\n{said}")) }
    }

    fn typed(&self, text: &str, directory: &str) -> String {
        self.types(text, directory).unwrap_or_else(|said| panic!("{said}"))
    }
}

/// The operators' commands for a certificate, with the name and address of this machine.
fn certificate() -> String {
    let first = "NAME=server.example ADDRESS=192.0.2.1";
    block("docs/OPERATIONS.md", first).replace(first, "NAME=localhost ADDRESS=127.0.0.1")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn documents_the_first_fleet_is_followed_from_its_certificate_to_a_host_that_is_online() {
    let [api, metrics, agent, agent_metrics] = free_addresses();
    let one = Machines::new(api.port());
    // As it is laid down, but for what lies elsewhere here.
    let shipped = fs::read_to_string(top().join("deploy/config/server.toml")).expect("shipped");
    let state = one.at("server").display().to_string();
    let laid_down = shipped
        .replace("/var/lib/banger-server", &state)
        .replace("127.0.0.1:7071", &metrics.to_string());
    fs::write(one.at("etc/banger/server.toml"), laid_down).expect("written");

    one.typed(&certificate(), "certificates");
    let block = one.block("install -d -o banger");
    let start = " && systemctl start banger-server\n";
    let (before, after) = block.split_once(start).expect("it starts the server");
    one.typed(before, "certificates");
    let config = format!("--config={}", one.at("etc/banger/server.toml").display());
    let _server = Running::start(&ours("banger-server"), &[config], one.at("server.log"));
    until("the server listens", || async {
        std::net::TcpStream::connect(("127.0.0.1", one.port)).map_err(|error| error.to_string())
    })
    .await;
    let said = one.typed(after, "certificates");
    assert!(!said.contains("ONLINE"), "there are no hosts: {said}");

    // A host: what is printed is pasted, with the end that is said.
    let said = one.typed(&one.block("banger host token"), "certificates");
    let line = said.lines().find(|line| line.starts_with("echo ")).expect("a line to paste");
    assert!(said.contains("end the first line with --ca ca.crt"), "{said}");
    fs::copy(one.at("certificates/api-ca.crt"), one.at("two/ca.crt")).expect("copied");
    let wrapper = format!(
        "#!/bin/sh\nexec {} \"$@\" --state-dir {} --agent-address {agent}\n",
        ours("banger-agent").display(),
        one.at("two/state").display()
    );
    fs::write(one.at("bin/banger-agent"), wrapper).expect("written");
    let executable = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    fs::set_permissions(one.at("bin/banger-agent"), executable).expect("set");
    one.typed(&format!("{line} --ca ca.crt"), "two");
    fs::write(one.at("two/agent.toml"), "").expect("written");
    let arguments = [
        "run".to_owned(),
        "--simulate".to_owned(),
        format!("--config={}", one.at("two/agent.toml").display()),
        format!("--state-dir={}", one.at("two/state").display()),
        format!("--runtime-dir={}", one.at("two/run").display()),
        format!("--listen={agent}"),
        format!("--metrics-listen={agent_metrics}"),
        "--instance=ff".to_owned(),
    ];
    let _agent = Running::start(&ours("banger-agent"), &arguments, one.at("two/agent.log"));
    until("the host is online", || async {
        let hosts = one.types("banger host ls", "certificates")?;
        if hosts.contains("two") && hosts.contains("ONLINE") { Ok(()) } else { Err(hosts) }
    })
    .await;
    let shown = one.typed("banger host get two", "certificates");
    assert!(shown.contains(&agent.to_string()), "where the server reaches its agent: {shown}");
}

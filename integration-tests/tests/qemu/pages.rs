//! What the first pages say to type, word for word, on a host with real guests; and a join where
//! the machine uses what would be its guests' network.
//!
//! What differs: packages are not downloaded but copied from where they were fetched before, and
//! the guest agent lies beside the build.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use banger_integration_tests::pages::{block, top};
use banger_integration_tests::ports::free_addresses;
use banger_integration_tests::programs::{Running, command, ours, programs_dir, tool};

use super::stage::{self, Stage};

/// In place of apt's: the same words, answered from what was fetched.
const APT_GET: &str = "#!/bin/sh\n[ \"$1\" = download ] || exit 1\nshift\n\
                       for p; do cp \"$PACKAGES/${p}\"_*.deb . || exit 1; done\n";
const APT_CACHE: &str = "#!/bin/sh\n[ \"$*\" = \"depends linux-image-cloud-amd64\" ] || exit 1\n\
                         echo linux-image-cloud-amd64\n\
                         for p in \"$PACKAGES\"/linux-image-*.deb; do\n\
                         p=${p##*/}; echo \"  Depends: ${p%%_*}\"; done\n";

/// A person at a stage, with a home directory.
struct Person {
    home: PathBuf,
    packages: PathBuf,
    server: String,
}

impl Person {
    fn at(stage: &Stage, packages: &Path) -> Self {
        let home = stage.scratch("home");
        fs::create_dir(&home).expect("made");
        for (name, text) in [("apt-get", APT_GET), ("apt-cache", APT_CACHE)] {
            fs::write(home.join(name), text).expect("written");
            let executable = fs::Permissions::from_mode(0o755);
            fs::set_permissions(home.join(name), executable).expect("set");
        }
        Self { home, packages: packages.to_owned(), server: stage.server() }
    }

    /// Types lines; what was printed on standard output.
    fn types(&self, lines: &str) -> String {
        let path = [&self.home, &programs_dir(), Path::new("/usr/sbin:/usr/bin:/sbin:/bin")];
        let output = command(Path::new("bash"))
            .args(["-uo", "pipefail", "-c", lines])
            .env("PATH", path.map(|dir| dir.display().to_string()).join(":"))
            .env("HOME", &self.home)
            .env("PACKAGES", &self.packages)
            .env("BANGER_SERVER", &self.server)
            .current_dir(&self.home)
            .output()
            .expect("bash can be started");
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        let complaint = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{lines}\n{said}{complaint}");
        said
    }
}

/// Lines of which each must succeed; what never ends by itself is ended after a while.
fn each_succeeds(block: &str) -> String {
    let ended = |line: &str| match line.split_once(" #") {
        Some((line, _)) if line.trim_end() == "banger vm watch" => {
            "status=0; timeout 3 banger vm watch || status=$?; [ $status -eq 124 ]".to_owned()
        }
        _ => line.to_owned(),
    };
    format!("set -e\n{}", block.lines().map(ended).collect::<Vec<_>>().join("\n"))
}

#[test]
fn priv_what_the_first_pages_say_to_type_works_on_a_real_host() {
    let demo = stage::demo();
    let python = tool("python3");
    stage::in_network_of_its_own(move || {
        let stage = Stage::new("pages", None, "");
        stage.up_and_say();
        let person = Person::at(&stage, &demo.packages);
        let agent = demo.agent.to_str().expect("paths here are text");
        let made = block("docs/FIRST-FLEET.md", "mkdir demo");
        assert!(made.contains("/usr/lib/banger/banger-guest"), "{made}");
        person.types(&each_succeeds(&made.replace("/usr/lib/banger/banger-guest", agent)));
        // As `make up` makes it.
        stage.banger(&["vm", "create", "first", "--memory", "128M", "--wait=ready"]);

        // What the page shows is what is seen.
        let shown = block("README.md", "$ banger vm exec first");
        let mut seen = String::new();
        for line in shown.lines().filter_map(|line| line.strip_prefix("$ ")) {
            seen.push_str(&format!("$ {line}\n{}", person.types(line)));
        }
        assert_eq!(seen, shown);
        person.types(&each_succeeds(&block("README.md", "banger host ls ")));

        let program = person.home.join("readme.py");
        fs::write(&program, block("client/python/README.md", "import banger_client"))
            .expect("written");
        let said = person.types(&format!(
            "PYTHONDONTWRITEBYTECODE=1 PYTHONPATH={} {} {}",
            top().join("client/python/src").display(),
            python.display(),
            program.display()
        ));
        assert_eq!(said, "[]\nb'web\\n'\n");
        for vm in ["first", "web"] {
            stage.banger(&["vm", "rm", vm, "--yes", "--wait"]);
        }
        stage.down();
    });
}

#[test]
fn priv_a_host_joins_with_a_network_that_its_machine_does_not_use() {
    stage::in_network_of_its_own(|| {
        // In the first of the networks that a server gives its hosts.
        stage::tool("ip", &["addr", "add", "10.64.1.2/24", "dev", "up0"]);
        let dir = tempfile::tempdir().expect("a directory");
        let at = |name: &str| dir.path().join(name).display().to_string();
        let [api, metrics] = free_addresses();
        fs::write(at("server.toml"), "").expect("written");
        let arguments = [
            format!("--config={}", at("server.toml")),
            format!("--listen={api}"),
            format!("--metrics-listen={metrics}"),
            format!("--state-dir={}", at("server")),
        ];
        let _server = Running::start(&ours("banger-server"), &arguments, at("log").into());
        let server = format!("http://{api}");
        let says = |program: &str, words: &[&str]| {
            let mut command = command(&ours(program));
            command.args(words).env("BANGER_SERVER", &server).env("HOME", dir.path());
            let output = command.output().expect("it can be started");
            let said = [output.stdout, output.stderr].concat();
            let said = String::from_utf8_lossy(&said).into_owned();
            if output.status.success() { Ok(said) } else { Err(said) }
        };
        let token = stage::until("a token is made", || {
            says("banger", &["host", "token", "--name", "one", "-o", "json"])
        });
        let token: serde_json::Value = serde_json::from_str(&token).expect("JSON");
        let token = token["token"].as_str().expect("a token");
        fs::write(at("agent.toml"), "").expect("written");
        let state = at("agent");
        let join = ["join", "--server", &server, "--token", token, "--name", "one"];
        let said = says("banger-agent", &[&join[..], &["--state-dir", &state]].concat());
        let said = said.unwrap_or_else(|said| panic!("{said}"));
        assert!(said.contains("guest subnet: 10.64.16.0/20"), "{said}");
    });
}

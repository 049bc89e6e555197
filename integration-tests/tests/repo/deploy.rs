//! What is shipped to hosts: configuration that parses and is complete, units that systemd takes.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use banger_agent::AgentConfig;
use banger_integration_tests::programs::command;
use banger_server::ServerConfig;
use serde::de::DeserializeOwned;

use super::tree;

/// The file with every setting that is off turned on.
fn everything_on(text: &str) -> String {
    text.lines()
        .map(|line| match line.strip_prefix('#') {
            // "#key = …" and "#[section]" are settings; "# words" is prose.
            Some(setting) if !setting.starts_with(' ') => setting,
            _ => line,
        })
        .collect::<Vec<_>>()
        .join("\n")
}

/// The keys a configuration knows, in one of its sections ("" for the top), as its own error
/// about an unknown key lists them.
fn known_keys<C: DeserializeOwned>(section: &str) -> BTreeSet<String> {
    let text = match section {
        "" => "no_such_key = 1".to_owned(),
        section => format!("[{section}]\nno_such_key = 1"),
    };
    let Err(error) = toml::from_str::<C>(&text) else {
        panic!("an unknown key in [{section}] was accepted");
    };
    let message = error.message().to_owned();
    let listed = message.split_once("expected").map(|(_, rest)| rest).unwrap_or_default();
    let keys: BTreeSet<_> = listed.split('`').skip(1).step_by(2).map(str::to_owned).collect();
    assert!(!keys.is_empty(), "no keys in {message:?}");
    keys
}

/// Fails unless the file shows every key of `C`, and its values are the defaults.
fn assert_complete<C: DeserializeOwned + Default + PartialEq + std::fmt::Debug>(path: &str) {
    let text = tree::read(path);
    let shipped: C = toml::from_str(&text).unwrap_or_else(|error| panic!("{path}: {error}"));
    assert_eq!(shipped, C::default(), "{path} must show the defaults");

    let on = everything_on(&text);
    toml::from_str::<C>(&on).unwrap_or_else(|error| panic!("{path} with all settings on: {error}"));
    let shown: toml::Table = toml::from_str(&on).expect("it parsed a line above");
    let mut missing = Vec::new();
    for key in known_keys::<C>("") {
        match shown.get(&key) {
            None => missing.push(key),
            Some(toml::Value::Table(section)) if !is_map(&key) => missing.extend(
                known_keys::<C>(&key)
                    .into_iter()
                    .filter(|inner| !section.contains_key(inner))
                    .map(|inner| format!("{key}.{inner}")),
            ),
            Some(_) => {}
        }
    }
    assert!(missing.is_empty(), "{path} does not show {missing:?}");
}

/// Whether a section has keys of the operator's own.
fn is_map(section: &str) -> bool {
    section == "labels"
}

#[test]
fn the_servers_configuration_shows_every_key_with_its_default() {
    assert_complete::<ServerConfig>("deploy/config/server.toml");
}

#[test]
fn the_agents_configuration_shows_every_key_with_its_default() {
    assert_complete::<AgentConfig>("deploy/config/agent.toml");
}

#[test]
fn stopping_the_agents_unit_leaves_guests_running() {
    let unit = tree::read("deploy/systemd/banger-agent.service");
    for line in ["KillMode=process", "RuntimeDirectoryPreserve=yes", "OOMPolicy=continue"] {
        assert!(unit.lines().any(|l| l == line), "the agent's unit must have {line}");
    }
    let jails = "StateDirectory=banger-agent";
    assert!(unit.contains(jails), "jails lie in the state directory, not in the runtime directory");
}

#[test]
fn a_service_that_could_not_start_is_started_again_for_ever() {
    for unit in ["banger-server.service", "banger-agent.service"] {
        let text = tree::read(&format!("deploy/systemd/{unit}"));
        let (head, service) = text.split_once("\n[Service]\n").expect("it has a service");
        // systemd gives up after five starts in ten seconds unless this is 0, and reads it in
        // [Unit] alone.
        assert!(head.lines().any(|line| line == "StartLimitIntervalSec=0"), "{unit}");
        let value = |key: &str| service.lines().find_map(|line| line.strip_prefix(key));
        assert_eq!(value("Restart="), Some("always"), "{unit}");
        // Not so often that its refusals fill the journal, and before its host is suspected.
        let pause: u64 = value("RestartSec=").expect("it pauses").parse().expect("seconds");
        let suspected = 3 * AgentConfig::default().limits.heartbeat_secs;
        assert!((2..suspected).contains(&pause), "{unit}: {pause} s, {suspected} until suspected");
    }
}

/// The units in a directory of their own, with programs that exist.
fn units_with_programs() -> tempfile::TempDir {
    let dir = tempfile::tempdir().expect("a temporary directory can be made");
    for program in ["banger-server", "banger-agent"] {
        fs::copy("/bin/true", dir.path().join(program)).expect("/bin/true can be copied");
    }
    let programs = format!("{}/", dir.path().display());
    for file in tree::files(&["deploy/systemd"], |_| true) {
        let name = Path::new(&file.path).file_name().expect("a file has a name");
        fs::write(dir.path().join(name), file.text.replace("/usr/local/bin/", &programs))
            .expect("a temporary file can be written");
    }
    dir
}

fn systemd_analyze(dir: &Path, arguments: &[&str]) -> (bool, String) {
    let output = command(Path::new("systemd-analyze"))
        .args(arguments)
        .current_dir(dir)
        .output()
        .unwrap_or_else(|error| panic!("systemd-analyze (`make tools` installs it): {error}"));
    let text = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8_lossy(&text).into_owned())
}

#[test]
fn systemd_finds_nothing_wrong_with_the_units() {
    let dir = units_with_programs();
    let units = ["./banger-server.service", "./banger-agent.service", "./banger-guests.slice"];
    let (good, said) = systemd_analyze(dir.path(), &[&["verify", "--man=no"], &units[..]].concat());
    assert!(good && said.trim().is_empty(), "systemd-analyze verify: {said}");
}

#[test]
fn the_units_expose_no_more_than_they_need() {
    // In tenths: the server holds every intent and needs no right at all, the agent is root.
    let dir = units_with_programs();
    for (unit, most) in [("./banger-server.service", 15), ("./banger-agent.service", 45)] {
        let threshold = format!("--threshold={most}");
        let (good, said) = systemd_analyze(
            dir.path(),
            &["security", "--offline=true", "--no-pager", &threshold, unit],
        );
        let overall = said.lines().last().unwrap_or_default();
        assert!(good, "{unit} may be at most {most} tenths: {overall}");
    }
}

/// Runs the script with a `curl` that tells of itself, and answers how it ended, what it said, and
/// whether anything was downloaded.
fn get_firecracker(arguments: &[&str]) -> (Option<i32>, String, bool) {
    use std::os::unix::fs::PermissionsExt as _;
    let directory = tempfile::tempdir().expect("a directory");
    let curl = directory.path().join("curl");
    let asked = directory.path().join("asked");
    // What it brings is nothing that has the checksum.
    let text = format!(
        "#!/bin/sh\necho x >> {}\nwhile [ \"$1\" != -o ]; do shift; done\necho evil > \"$2\"\n",
        asked.display()
    );
    fs::write(&curl, text).expect("written");
    fs::set_permissions(&curl, fs::Permissions::from_mode(0o755)).expect("set");
    let into = directory.path().join("into");
    fs::create_dir(&into).expect("made");
    let mut script = command(Path::new("/bin/bash"));
    script.arg(tree::top().join("deploy/get-firecracker.sh")).args(arguments).arg(&into);
    script.env("PATH", format!("{}:/usr/bin:/bin", directory.path().display()));
    let output = script.output().expect("it runs");
    let said = [output.stdout, output.stderr].concat();
    assert_eq!(fs::read_dir(&into).expect("there").count(), 0, "nothing is installed");
    (output.status.code(), String::from_utf8_lossy(&said).into_owned(), asked.exists())
}

#[test]
fn firecracker_is_only_downloaded_with_a_checksum_from_elsewhere() {
    let (code, said, downloaded) = get_firecracker(&["--help"]);
    assert!(code == Some(0) && said.contains("--sha256") && !downloaded, "{code:?} {said}");
    for arguments in [&[][..], &["--sha256"], &["--sha256", "abc"], &["--unknown"]] {
        let (code, said, downloaded) = get_firecracker(arguments);
        assert!(code == Some(2) && said.contains("--help") && !downloaded, "{code:?} {said}");
    }
    let (code, said, downloaded) = get_firecracker(&["--sha256", &"0".repeat(64)]);
    assert!(code == Some(1) && said.contains("nothing was installed"), "{code:?} {said}");
    assert!(downloaded);
    // The server that the archive comes from is asked for nothing but the archive.
    let script = fs::read_to_string(tree::top().join("deploy/get-firecracker.sh")).expect("there");
    assert!(!script.contains("sha256.txt"));
}

#[test]
fn firecracker_of_the_checksum_that_was_given_is_installed_and_can_be_run() {
    use std::os::unix::fs::PermissionsExt as _;
    let directory = tempfile::tempdir().expect("a directory");
    let at = |name: &str| directory.path().join(name);
    let script = tree::read("deploy/get-firecracker.sh");
    let version =
        script.lines().find_map(|line| line.strip_prefix("VERSION=")).expect("it has one");
    // An archive as a release of Firecracker is one, and a curl that brings it.
    let made = command(Path::new("/bin/bash"))
        .args(["-euo", "pipefail", "-c"])
        .arg(
            "arch=$(uname -m); release=release-$VERSION-$arch; mkdir $release into
            for program in firecracker jailer; do
              printf '#!/bin/sh\necho \"this is %s $*\"\n' $program >$release/$program-$VERSION-$arch
            done
            tar -czf archive $release
            printf '#!/bin/sh\nwhile [ \"$1\" != -o ]; do shift; done\ncp archive \"$2\"\n' >curl
            chmod 755 curl
            sha256sum archive | cut -d' ' -f1 | tr a-f A-F",
        )
        .env("VERSION", version)
        .current_dir(directory.path())
        .output()
        .expect("it runs");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let sum = String::from_utf8_lossy(&made.stdout).trim().to_owned();
    let output = command(Path::new("/bin/bash"))
        .arg(tree::top().join("deploy/get-firecracker.sh"))
        // As others write it, too.
        .args(["--sha256", &sum])
        .arg(at("into"))
        .env("PATH", format!("{}:/usr/bin:/bin", directory.path().display()))
        .current_dir(directory.path())
        .output()
        .expect("it runs");
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    assert!(output.status.success() && said.contains("this is firecracker --version"), "{said}");
    for program in ["firecracker", "jailer"] {
        let facts = fs::metadata(at("into").join(program)).expect("it is installed");
        assert_eq!(facts.permissions().mode() & 0o7777, 0o755, "{program}");
    }
    assert_eq!(fs::read_dir(at("into")).expect("there").count(), 2, "and nothing else");
}

#[test]
fn the_package_brings_every_program_and_page_that_is_laid_down() {
    let manifest: toml::Table = tree::read("client/command/Cargo.toml").parse().expect("TOML");
    let assets = manifest["package"]["metadata"]["deb"]["assets"].as_array().expect("a list");
    let text = |asset: &toml::Value, at: usize| asset[at].as_str().expect("text").to_owned();
    let assets: Vec<_> = assets.iter().map(|asset| [0, 1, 2].map(|at| text(asset, at))).collect();
    for program in ["banger", "banger-server", "banger-agent", "banger-guest"] {
        let wanted = [&format!("target/release/{program}"), "usr/lib/banger/", "755"];
        assert!(assets.iter().any(|asset| *asset == wanted), "{program}: {assets:?}");
    }
    let manual = ["target/release/man/*.1", "usr/share/man/man1/", "644"];
    assert!(assets.iter().any(|asset| *asset == manual), "{assets:?}");
    // Where the server looks for the guest agent that it puts into images.
    let laid_down = tree::read("deploy/installer/src/laydown.rs");
    assert!(laid_down.contains("\"/usr/lib/banger/banger-guest\""));
    let makefile = tree::read("Makefile");
    for made in ["target/release/banger-guest\n", "target/release/banger man target/release/man\n"]
    {
        assert!(makefile.contains(made), "make deb does not make {made}");
    }
    for [source, ..] in assets.iter().filter(|[source, ..]| !source.starts_with("target/")) {
        assert!(tree::top().join("client/command").join(source).exists(), "{source}");
    }
}

/// A home directory with a cargo, as rustup leaves one, that tells when it is run.
fn home_with_cargo() -> tempfile::TempDir {
    use std::os::unix::fs::PermissionsExt as _;
    let home = tempfile::tempdir().expect("a directory");
    let bin = home.path().join(".cargo/bin");
    fs::create_dir_all(&bin).expect("made");
    fs::write(bin.join("cargo"), "#!/bin/sh\n: >\"$HOME/built\"\n").expect("written");
    let mode = fs::Permissions::from_mode(0o755);
    fs::set_permissions(bin.join("cargo"), mode).expect("set");
    home
}

/// Runs bash in a home without what a login shell would set.
fn bash(home: &Path, arguments: &[&str], listen: &str) -> (Option<i32>, String) {
    let mut bash = command(Path::new("/bin/bash"));
    bash.env_clear().env("PATH", "/usr/bin:/bin").env("HOME", home).env("LISTEN", listen);
    let output = bash.current_dir(tree::top()).args(arguments).output().expect("it runs");
    let said = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8_lossy(&said).into_owned())
}

#[test]
fn cargo_is_found_where_rustup_puts_it_without_a_login_shell() {
    let home = home_with_cargo();
    let (code, said) = bash(home.path(), &["-c", "source .ci/lib.sh && command -v cargo"], "");
    let has_own = Path::new("/usr/bin/cargo").exists() || Path::new("/bin/cargo").exists();
    let is_it = said.trim() == home.path().join(".cargo/bin/cargo").to_string_lossy();
    assert!(code == Some(0) && (is_it || has_own), "{code:?} {said}");
}

#[test]
fn make_up_says_that_an_address_is_taken_or_none_before_it_builds() {
    let home = home_with_cargo();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let taken = taken.local_addr().expect("it has one").to_string();
    for (listen, code, words) in [
        (&*taken, 1, "Another program listens on"),
        ("0.0.0.0:7070", 2, "of this machine's loopback"),
        ("127.0.0.1", 2, "of this machine's loopback"),
    ] {
        let (ended, said) = bash(home.path(), &["deploy/dev/up.sh"], listen);
        assert!(ended == Some(code) && said.contains(words), "{listen}: {ended:?} {said}");
        assert!(!home.path().join("built").exists(), "{listen}");
    }
}

/// A cargo that says how it was called and whether on a terminal, and builds until it is let go.
const SLOW_CARGO: &str = r#"#!/bin/sh
[ -t 2 ] && where=terminal || where=pipe
echo "   Compiling for $* on a $where" >&2
while [ -d "$HOME" ] && [ ! -e "$HOME/go" ]; do sleep 0.05; done
exit 7
"#;

#[test]
fn make_up_shows_how_cargo_gets_on_while_it_builds() {
    use std::io::{BufRead as _, BufReader};
    let home = home_with_cargo();
    let cargo = home.path().join(".cargo/bin");
    fs::write(cargo.join("cargo"), SLOW_CARGO).expect("written");
    let free = std::net::TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let listen = free.local_addr().expect("it has one").to_string();
    drop(free);
    // script(1) of util-linux gives it a terminal, on which cargo draws its bar.
    let mut script = command(Path::new("script"));
    script.env_clear().env("PATH", format!("{}:/usr/bin:/bin", cargo.display()));
    script.env("HOME", home.path()).env("LISTEN", listen).current_dir(tree::top());
    script.args(["-qec", "/bin/bash deploy/dev/up.sh", "/dev/null"]);
    let mut up = script.stdout(std::process::Stdio::piped()).spawn().expect("it runs");
    let mut lines = BufReader::new(up.stdout.take().expect("piped")).lines();
    let mut said = String::new();
    // While it builds, not after.
    while !said.contains("Compiling for build ") {
        let line = lines.next().unwrap_or_else(|| panic!("it ended: {said}")).expect("text");
        said.push_str(&line);
    }
    fs::write(home.path().join("go"), "").expect("written");
    assert!(said.contains("The first time this takes some minutes."), "{said}");
    assert!(said.contains("on a terminal") && !said.contains("quiet"), "{said}");
    assert!(!said.contains(" -q "), "{said}");
    let rest: Vec<_> = lines.map_while(Result::ok).collect();
    assert_eq!(up.wait().expect("it ends").code(), Some(7), "{said} {rest:?}");
}

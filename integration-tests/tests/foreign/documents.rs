//! The commands of the documents, run as they are written against simulated hosts.
//!
//! Every block with a command, or with a program, is run here, or by the test that `elsewhere.rs`
//! names, or is there with the reason why no test can.

use std::fs;
use std::path::Path;
use std::process::{Output, Stdio};

use banger_integration_tests::fleet::Fleet;
use banger_integration_tests::pages::{block, blocks, documents, top};
use banger_integration_tests::programs::{command, programs_dir};

use super::elsewhere;
use super::registry::Registry;
use super::tools::{demo, rest_of_demo};

/// Blocks that are run here, by how they begin.
const RUN: [(&str, &str); 10] = [
    ("README.md", "banger host ls "),
    ("README.md", "make tools"),
    ("docs/API.md", "PATH=$PWD/target/tools"),
    ("docs/FIRST-FLEET.md", "banger host ls -o name"),
    ("docs/IMAGES.md", "banger image import alpine alpine.tar"),
    ("docs/OPERATIONS.md", "banger host sweep HOST"),
    ("docs/OPERATIONS.md", "banger token create"),
    ("docs/OPERATIONS.md", "banger project create"),
    ("docs/OPERATIONS.md", "banger audit --since"),
    // The last: then no VM finds a host any more.
    ("docs/OPERATIONS.md", "banger host set HOST"),
];

/// The first token of an admin, which a server makes that asks for tokens and has none.
const FIRST_ADMIN: (&str, &str) = ("docs/OPERATIONS.md", "journalctl -u banger-server");

/// A package, made once and copied to the machines that are to be hosts.
const PACKAGE: (&str, &str) = ("docs/FIRST-FLEET.md", "make deb");

/// An image from a registry, which is one of this test.
const REGISTRY: (&str, &str) = ("docs/IMAGES.md", "banger image import alpine-3 --registry");

#[test]
fn documents_every_block_of_commands_is_run_by_somebody() {
    let mut wrong = Vec::new();
    for document in documents() {
        for block in blocks(&document) {
            let begins = |at: &str, with: &str| at == document && block.text.starts_with(with);
            let here = RUN
                .iter()
                .chain(&[FIRST_ADMIN, REGISTRY, PACKAGE])
                .any(|(at, with)| begins(at, with));
            let found = elsewhere::BY.iter().find(|(at, with, ..)| begins(at, with));
            let not_run = elsewhere::NOT_RUN.iter().any(|(at, with, _)| begins(at, with));
            if let Some((_, begins, file, function)) = found {
                wrong.extend(elsewhere::does_not_run(&document, &block, begins, file, function));
            } else if !here && !not_run {
                let first = block.text.lines().next().unwrap_or_default();
                wrong.push(format!("{document}: {first}: run by no test"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let listed = elsewhere::BY.iter().map(|(at, with, ..)| (*at, *with));
    let listed = listed.chain(elsewhere::NOT_RUN.iter().map(|(at, with, _)| (*at, *with)));
    for (document, begins) in listed {
        let _ = block(document, begins);
    }
}

/// What a person types, for a shell that ends at the first command that fails. What never ends by
/// itself, such as a watch, is ended after a while; all that it is asked for is that it runs. What
/// `make tools` installs is there already; that there is such a target is looked at.
fn script(block: &str, api: &str) -> String {
    let target = programs_dir().parent().expect("a profile's directory is in target").to_owned();
    let block = block
        .replace("127.0.0.1:7070", api)
        .replace("\n$ ", "\n")
        .replace("HOST", "host-0")
        .replace("$PWD/target", &target.display().to_string())
        .replace("make tools\n", &format!("make -n -C {} tools >/dev/null\n", top().display()));
    let endless = ["banger vm watch", "WatchVms", "banger audit --follow"];
    let mut out = "set -euo pipefail\n".to_owned();
    for line in block.lines() {
        if endless.iter().any(|word| line.contains(word)) {
            let line = line.split(" # ").next().unwrap_or(line).replace('\'', "'\\''");
            out.push_str(&format!(
                "status=0; timeout 3 bash -c 'S=\"$1\"; {line}' sh \"${{S:-}}\" || status=$?; [ $status -eq 124 ]\n"
            ));
        } else {
            out.push_str(line);
            out.push('\n');
        }
    }
    out
}

/// Files that the documents import: what passes for a kernel, and an archive to make a root file
/// system of.
fn to_import(directory: &Path) {
    // The header of a static x86-64 program with one segment, which is these headers.
    let mut kernel = vec![0; 64 + 56];
    kernel[..16].copy_from_slice(b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0");
    let entry = 0x0100_0000_u64.to_le_bytes();
    for (at, byte) in [(16, 2), (18, 62), (20, 1), (32, 64), (52, 64), (54, 56), (56, 1)] {
        kernel[at] = byte;
    }
    kernel[24..32].copy_from_slice(&entry);
    (kernel[64], kernel[68]) = (1, 5);
    kernel[80..88].copy_from_slice(&entry);
    kernel[88..96].copy_from_slice(&entry);
    let length = (kernel.len() as u64).to_le_bytes();
    kernel[96..104].copy_from_slice(&length);
    kernel[104..112].copy_from_slice(&length);
    fs::write(directory.join("vmlinux"), kernel).expect("there is room");
    let root = directory.join("alpine");
    fs::create_dir_all(root.join("etc")).expect("made");
    fs::write(root.join("etc/os-release"), "NAME=alpine\n").expect("there is room");
    let packed = command(Path::new("tar"))
        .args(["-C", "alpine", "-cf", "alpine.tar", "."])
        .current_dir(directory)
        .status();
    assert!(packed.expect("tar can be started").success());
}

/// Commands that ask a person before they do anything.
const ASK: [&str; 2] = ["token revoke ", "banger host sweep HOST   "];

/// The shell that is typed to, and what is answered where it is asked: then it has a terminal, by
/// script(1) of util-linux.
fn shell(typed: &Path, asks: bool) -> (Vec<String>, Stdio) {
    let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
    let typed = typed.to_str().expect("paths here are text");
    if !asks {
        return (words(&["bash", typed]), Stdio::null());
    }
    let answers = Path::new(typed).with_extension("answers");
    fs::write(&answers, "y\n").expect("a file");
    let answers = fs::File::open(answers).expect("it was written");
    (words(&["script", "-qec", &format!("bash {typed}"), "/dev/null"]), answers.into())
}

/// Where a system has its programs.
const SYSTEM: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Types a script in a home directory, where what it needs lies.
fn typed(fleet: &Fleet, home: &Path, script: &str, asks: bool) -> Output {
    // Of banger's tools a person has those alone that the page puts on the path.
    let path = format!("{}:{SYSTEM}", programs_dir().display());
    let file = home.join("typed.sh");
    fs::write(&file, script).expect("a file");
    let (program, answers) = shell(&file, asks);
    command(Path::new(&program[0]))
        .args(&program[1..])
        .stdin(answers)
        .env("PATH", path)
        .env("HOME", home)
        .env("BANGER_SERVER", format!("http://{}", fleet.api()))
        .current_dir(home)
        .output()
        .expect("bash can be started")
}

fn succeeded(document: &str, script: &str, output: &Output) -> String {
    let said = [&output.stdout[..], &output.stderr].concat();
    let said = String::from_utf8_lossy(&said).into_owned();
    assert!(output.status.success(), "{document}: {}\n{script}\n{said}", output.status);
    said
}

#[tokio::test]
async fn documents_what_they_say_to_type_works() {
    for (document, begins) in RUN {
        // A fleet for each block: each begins where a person begins.
        let fleet = Fleet::of(if document.contains("FLEET") { 3 } else { 1 }).await;
        demo(&fleet);
        let home = tempfile::tempdir().expect("a directory");
        if document.ends_with("IMAGES.md") {
            rest_of_demo(&fleet, home.path());
        } else {
            to_import(home.path());
        }
        let block = block(document, begins);
        let script = script(&block, &fleet.api().to_string());
        let asks = ASK.iter().any(|asking| block.contains(asking));
        let output = typed(&fleet, home.path(), &script, asks);
        succeeded(document, &script, &output);
    }
}

#[tokio::test]
async fn documents_the_first_admin_is_made_and_replaced_by_the_lines_to_type() {
    let fleet = Fleet::with_config("[auth]\nask_for_tokens = true\n").await;
    let (document, begins) = FIRST_ADMIN;
    let home = tempfile::tempdir().expect("a directory");
    let at = |name: &str| fleet.dir().join(name).display().to_string();
    // The journal is the server's log here.
    let block = block(document, begins)
        .replace(FIRST_ADMIN.1, &format!("cat {}", at("server.log")))
        .replace("/var/lib/banger-server", &at("server"));
    let file = fleet.dir().join("server/first-admin.token");
    let first = fs::read_to_string(&file).expect("the server has made it");
    let script = script(&block, "");
    let said = succeeded(document, &script, &typed(&fleet, home.path(), &script, true));
    assert!(said.contains("first-admin.token"), "the log names the file: {said}");
    assert!(!said.contains(first.trim()), "and the token nowhere");
    // Alice is an admin, and the first one is none any more.
    let alice = said.split_whitespace().find(|word| word.starts_with("bgr_"));
    let alice = alice.unwrap_or_else(|| panic!("her token is printed: {said}"));
    let ask = |token: &str| {
        let line = format!("BANGER_TOKEN={token} banger token ls\n");
        typed(&fleet, home.path(), &line, false)
    };
    let listed = succeeded(document, "token ls", &ask(alice));
    assert!(listed.contains("alice"), "{listed}");
    assert!(!ask(first.trim()).status.success(), "the first token is still good");
}

/// The build itself is a release's, which takes minutes: what it makes is put there.
#[test]
fn documents_the_package_is_copied_to_each_machine_with_what_brings_firecracker() {
    let tree = tempfile::tempdir().expect("a directory");
    let at = |name: &str| tree.path().join(name);
    for dir in ["bin", "deploy", "target/debian"] {
        fs::create_dir_all(at(dir)).expect("made");
    }
    let made = "target/debian/banger_0.1.0-1_amd64.deb";
    let brings = "deploy/get-firecracker.sh";
    fs::copy(top().join(brings), at(brings)).expect("it is shipped");
    let make = format!(
        "[ \"$*\" = deb ] && /usr/bin/make -n -C {} deb >/dev/null && : >{made}",
        top().display()
    );
    // What there is to copy is there; where it goes is not.
    let scp = "for word; do case $word in *:) ;; *) [ -f $word ] || exit 1 ;; esac
        echo $word; done >>copied";
    for (name, text) in [("make", &*make), ("scp", scp)] {
        let program = at("bin").join(name);
        fs::write(&program, format!("#!/bin/sh\n{text}\n")).expect("written");
        let executable = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        fs::set_permissions(&program, executable).expect("set");
    }
    let (document, begins) = PACKAGE;
    let lines = block(document, begins);
    let output = command(Path::new("bash"))
        .args(["-euo", "pipefail", "-c", &lines])
        .env("PATH", format!("{}:{SYSTEM}", at("bin").display()))
        .current_dir(tree.path())
        .output()
        .expect("bash can be started");
    succeeded(document, &lines, &output);
    let copied = fs::read_to_string(at("copied")).expect("something was copied");
    let each =
        ["one", "two", "three"].map(|machine| format!("{made}\n{brings}\nroot@{machine}:\n"));
    assert_eq!(copied, each.concat());
}

#[tokio::test]
async fn documents_an_image_comes_from_a_registry_by_the_line_to_type() {
    let scratch = tempfile::tempdir().expect("a directory");
    let registry = Registry::with("alpine", "3", scratch.path());
    let config = format!("[images]\nlocal_registries = [\"{}\"]\n", registry.address);
    let fleet = Fleet::with_config(&config).await;
    let home = tempfile::tempdir().expect("a directory");
    let (document, begins) = REGISTRY;
    let at = registry.address.to_string();
    let line = block(document, begins).replace("registry.example", &at);
    let script = script(&line, "");
    succeeded(document, &script, &typed(&fleet, home.path(), &script, false));
    let look = "banger -o json image get alpine-3\n";
    let image = succeeded(document, look, &typed(&fleet, home.path(), look, false));
    let images: serde_json::Value = serde_json::from_str(&image).expect("it is JSON");
    let image = &images["images"][0];
    let origin = image["origin"].as_str().expect("it says where it came from");
    assert!(origin.contains(&format!("{at}/alpine")), "{image}");
    assert!(origin.contains(&registry.manifest), "{image}");
    assert_eq!(image["kind"], "IMAGE_KIND_ROOT");
    // Without leave, the server asks nobody on its own machine.
    let other = Fleet::with_config("").await;
    let refused = typed(&other, home.path(), &script, false);
    let said = String::from_utf8_lossy(&refused.stderr);
    assert!(!refused.status.success() && said.contains("images.local_registries"), "{said}");
}

#[test]
fn documents_the_first_fleets_server_is_configured_by_the_lines_to_type() {
    let block = block("docs/FIRST-FLEET.md", "install -d -o banger");
    let command = block.split_once("sed -i ").expect("it changes the configuration").1;
    let end = "/etc/banger/server.toml";
    let command = command.split_once(end).expect("it names the file").0;
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("server.toml");
    fs::copy(top().join("deploy/config/server.toml"), &file).expect("it is shipped");
    let script = format!("sed -i {command}{}", file.display());
    let output = self::command(Path::new("bash")).args(["-ec", &script]).output().expect("bash");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = fs::read_to_string(&file).expect("it is there");
    let read: toml::Table = text.parse().expect("it is still TOML");
    let tls = read["tls"].as_table().expect("a table");
    assert_eq!(read["listen"].as_str(), Some("0.0.0.0:7070"));
    assert_eq!(tls["cert"].as_str(), Some("/etc/banger/tls/api.crt"));
    assert_eq!(tls["key"].as_str(), Some("/etc/banger/tls/api.key"));
    assert_eq!(read["auth"]["token_file"].as_str(), Some("/etc/banger/tokens"));
}

/// What `make` and `cargo` are asked for in a line: a target of the Makefile, a crate, a test.
fn asked_for(line: &str) -> Vec<(&'static str, String)> {
    let words: Vec<_> = line.split('#').next().unwrap_or_default().split_whitespace().collect();
    let pairs = words.windows(2);
    let kind = |word: &str| match word {
        "make" => Some("make"),
        "-p" => Some("-p"),
        "--test" => Some("--test"),
        _ => None,
    };
    pairs.filter_map(|pair| Some((kind(pair[0])?, pair[1].to_owned()))).collect()
}

#[test]
fn documents_what_make_and_cargo_are_asked_for_is_there() {
    let makefile = fs::read_to_string(top().join("Makefile")).expect("there is one");
    let metadata = command(Path::new(env!("CARGO")))
        .args(["metadata", "--no-deps", "--offline", "--format-version", "1"])
        .current_dir(top())
        .output()
        .expect("cargo can be started");
    let metadata: serde_json::Value = serde_json::from_slice(&metadata.stdout).expect("JSON");
    let packages = metadata["packages"].as_array().expect("a list");
    let targets =
        packages.iter().flat_map(|package| package["targets"].as_array().expect("a list"));
    let tests: Vec<_> = targets.map(|target| &target["name"]).collect();
    let (mut seen, mut missing) = (0, Vec::new());
    for document in documents() {
        for line in blocks(&document).iter().flat_map(|block| block.text.lines()) {
            for (kind, name) in asked_for(line) {
                seen += 1;
                let is = match kind {
                    "make" => makefile.contains(&format!("\n{name}: ")),
                    "-p" => packages.iter().any(|package| package["name"] == *name),
                    _ => tests.iter().any(|test| **test == *name),
                };
                if !is && !line.starts_with("mkdir") {
                    missing.push(format!("{document}: {line}: there is no {name}"));
                }
            }
        }
    }
    assert!(missing.is_empty(), "{}", missing.join("\n"));
    assert!(seen >= 8, "only {seen} were found");
}

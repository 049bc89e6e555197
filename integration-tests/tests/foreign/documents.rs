//! The commands of the documents, run as they are written.
//!
//! Every block with a command in README.md and `docs/` is either run here, against a simulated
//! host, or named below with the test that runs it. A block that is new and in neither list fails.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use banger_integration_tests::fleet::Fleet;
use banger_integration_tests::programs::{command, programs_dir};

use super::tools::{demo, tool};

/// Blocks that are run here, by how they begin.
const RUN: [(&str, &str); 6] = [
    ("README.md", "banger host ls "),
    ("README.md", "S=http://127.0.0.1:7070/"),
    ("docs/API.md", "buf curl "),
    ("docs/FIRST-FLEET.md", "banger host ls -o name"),
    ("docs/OPERATIONS.md", "banger token create"),
    ("docs/OPERATIONS.md", "banger audit --since"),
];

/// Blocks that need more than a simulated host, by how they begin, and what runs what they say; or
/// why nothing can.
const ELSEWHERE: [(&str, &str, &str); 18] = [
    ("README.md", "$ banger vm exec first", "integration-tests/tests/qemu.rs"),
    ("docs/FIRST-FLEET.md", "make deb", "client/command/Cargo.toml"),
    (
        "docs/FIRST-FLEET.md",
        "apt-get update && apt-get install -y ./banger_*.deb openssl",
        "integration-tests/testhost/tests/installed",
    ),
    (
        "docs/FIRST-FLEET.md",
        "install -d -o banger",
        "integration-tests/tests/foreign/first_fleet.rs",
    ),
    (
        "docs/FIRST-FLEET.md",
        "apt-get update && apt-get install -y ./banger_*.deb curl",
        "integration-tests/testhost/tests/installed",
    ),
    ("docs/FIRST-FLEET.md", "banger host token", "integration-tests/tests/foreign/first_fleet.rs"),
    ("docs/FIRST-FLEET.md", "mkdir demo", "integration-tests/tests/qemu/demo.rs"),
    ("docs/DASHBOARD.md", "make dashboard", ".ci/web.sh"),
    ("docs/DEVELOPING.md", "make up", "deploy/dev/up.sh"),
    ("docs/DEVELOPING.md", "cargo build --workspace", ".ci/check.sh"),
    ("docs/TESTING.md", "cargo nextest run", ".ci/check.sh"),
    ("docs/IMAGES.md", "banger image import alpine", "integration-tests/tests/simulated/images.rs"),
    (
        "docs/OPERATIONS.md",
        "banger host sweep HOST",
        "integration-tests/testhost/tests/sweep/mod.rs",
    ),
    ("docs/OPERATIONS.md", "banger host token", "integration-tests/tests/simulated/rejoin.rs"),
    ("docs/OPERATIONS.md", "banger-server backup", "integration-tests/tests/simulated/backup.rs"),
    (
        "docs/OPERATIONS.md",
        "banger host cordon NAME",
        "integration-tests/tests/simulated/rejoin.rs",
    ),
    (
        "docs/OPERATIONS.md",
        "journalctl -u banger-server | grep first-admin",
        "server/src/server/tests/first_admin.rs",
    ),
    ("docs/OPERATIONS.md", "systemctl ", "integration-tests/testhost/tests/testhost_upgrade.rs"),
];

pub(super) fn top() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("is below the top").to_owned()
}

/// The text between the fences of a document that has a command of banger, or of one of its clients.
pub(super) fn blocks(document: &str) -> Vec<String> {
    let text = fs::read_to_string(top().join(document)).expect("the document is there");
    let commands = ["banger ", "banger-", "buf curl ", "grpcurl ", "systemctl ", "make ", "cargo "];
    text.split("\n```")
        .skip(1)
        .step_by(2)
        .filter_map(|block| block.split_once('\n').map(|(_, lines)| lines.to_owned()))
        .filter(|block| {
            block.lines().any(|line| {
                commands.iter().any(|word| line.trim_start_matches("$ ").starts_with(word))
            })
        })
        .collect()
}

pub(super) fn documents() -> Vec<String> {
    let mut all = vec!["README.md".to_owned()];
    for entry in fs::read_dir(top().join("docs")).expect("there are documents") {
        let name = entry.expect("an entry").file_name().to_string_lossy().into_owned();
        if name.ends_with(".md") {
            all.push(format!("docs/{name}"));
        }
    }
    all.sort();
    all
}

#[test]
fn documents_every_block_of_commands_is_run_by_somebody() {
    let mut nobody = Vec::new();
    for document in documents() {
        for block in blocks(&document) {
            let begins = |at: &str, with: &str| at == document && block.starts_with(with);
            let here = RUN.iter().any(|(at, with)| begins(at, with));
            let elsewhere = ELSEWHERE.iter().any(|(at, with, _)| begins(at, with));
            if !here && !elsewhere {
                nobody.push(format!("{document}: {}", block.lines().next().unwrap_or_default()));
            }
        }
    }
    assert!(nobody.is_empty(), "run by no test:\n{}", nobody.join("\n"));
    for (_, _, by) in ELSEWHERE {
        assert!(top().join(by).exists(), "{by} is not there");
    }
}

/// What a person types, for a shell that ends at the first command that fails. What never ends by
/// itself, such as a watch, is ended after a while; all that it is asked for is that it runs.
fn script(block: &str, api: &str) -> String {
    let block = block.replace("127.0.0.1:7070", api).replace("\n$ ", "\n");
    let endless = ["banger vm watch", "WatchVms"];
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

/// A command that asks a person before it does anything.
const ASKS: &str = "token revoke ";

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

#[tokio::test]
async fn documents_what_readme_and_api_say_to_type_works() {
    for (document, begins) in RUN {
        // A fleet for each block: each begins where a person begins.
        let fleet = Fleet::of(if document.contains("FLEET") { 3 } else { 1 }).await;
        demo(&fleet);
        let block = blocks(document)
            .into_iter()
            .find(|block| block.starts_with(begins))
            .unwrap_or_else(|| panic!("{document} has no block that begins with {begins:?}"));
        let script = script(&block, &fleet.api().to_string());
        let grpcurl = tool("grpcurl");
        let path = [programs_dir().as_path(), grpcurl.parent().expect("is in a directory")]
            .map(|dir| dir.display().to_string())
            .join(":");
        let home = tempfile::tempdir().expect("a directory");
        let typed = home.path().join("typed.sh");
        fs::write(&typed, &script).expect("a file");
        let (program, answers) = shell(&typed, block.contains(ASKS));
        let output = command(Path::new(&program[0]))
            .args(&program[1..])
            .stdin(answers)
            .env("PATH", format!("{path}:{}", std::env::var("PATH").unwrap_or_default()))
            .env("HOME", home.path())
            .env("BANGER_SERVER", format!("http://{}", fleet.api()))
            .current_dir(home.path())
            .output()
            .expect("bash can be started");
        assert!(
            output.status.success(),
            "{document}: {}\n{script}\n{}{}",
            output.status,
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr),
        );
    }
}

#[test]
fn documents_the_first_fleets_server_is_configured_by_the_lines_to_type() {
    let page = "docs/FIRST-FLEET.md";
    let block = blocks(page).into_iter().find(|block| block.starts_with("install -d -o banger"));
    let block = block.expect("the block is there");
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

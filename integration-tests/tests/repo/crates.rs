//! The crates: each has its row in the map, and the client library is light.

use std::collections::BTreeSet;
use std::process::Command;

use super::tree;

/// The members of the workspace, as directories.
fn members() -> Vec<String> {
    let manifest = tree::read("Cargo.toml");
    let list = manifest.split("members = [").nth(1).and_then(|rest| rest.split(']').next());
    list.expect("the workspace lists its members")
        .lines()
        .filter_map(|line| line.trim().strip_prefix('"')?.strip_suffix("\",").map(str::to_owned))
        .collect()
}

#[test]
fn every_crate_has_a_row_in_the_map() {
    let map = tree::read("docs/ARCHITECTURE.md");
    let missing: Vec<_> = members()
        .into_iter()
        .filter(|member| {
            let rows = [format!("| `{member}` |"), format!("| `{member}/")];
            !rows.iter().any(|row| map.contains(row.as_str()))
        })
        // The two of the agent and the server have a row for each module.
        .filter(|member| !map.contains(&format!("`{member}/src/")))
        .collect();
    assert!(missing.is_empty(), "not in the map of docs/ARCHITECTURE.md: {missing:?}");
}

/// What a manifest depends on, tests left out.
fn dependencies(manifest: &str) -> BTreeSet<String> {
    let text = tree::read(manifest);
    let list = text.split("\n[dependencies]\n").nth(1).unwrap_or_default();
    list.lines()
        .take_while(|line| !line.starts_with('['))
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| line.split(['.', ' ']).next())
        .filter(|name| !name.is_empty())
        .map(str::to_owned)
        .collect()
}

/// What a manifest always depends on, and what it depends on with this feature.
fn dependencies_with(manifest: &str, feature: &str) -> BTreeSet<String> {
    let text = tree::read(manifest);
    let list = text.split(&format!("\n{feature} = [\n")).nth(1).unwrap_or_default();
    let asked: BTreeSet<_> = list
        .lines()
        .take_while(|line| *line != "]")
        .filter_map(|line| line.trim().strip_prefix("\"dep:")?.strip_suffix("\","))
        .collect();
    assert!(!asked.is_empty(), "{manifest} has no feature {feature}");
    let is_left_out =
        |name: &str| text.contains(&format!("\n{name} = {{ workspace = true, optional"));
    let all = dependencies(manifest);
    all.into_iter().filter(|name| asked.contains(name.as_str()) || !is_left_out(name)).collect()
}

#[test]
fn the_client_library_links_nothing_of_the_command_and_the_installer() {
    #[expect(clippy::disallowed_methods, reason = "a test that asks cargo")]
    let output = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
        .args(["tree", "--offline", "-p", "banger-client", "-e", "normal", "--prefix", "none"])
        .current_dir(tree::top())
        .output()
        .expect("cargo runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let linked = String::from_utf8_lossy(&output.stdout).into_owned();
    let linked: BTreeSet<_> = linked.lines().filter_map(|line| line.split(' ').next()).collect();
    assert!(linked.contains("tonic"), "{linked:?}");

    let of_the_wire = dependencies_with("proto/wire/Cargo.toml", "tls");
    let own: BTreeSet<_> = ["client", "proto"]
        .iter()
        .flat_map(|dir| dependencies(&format!("{dir}/Cargo.toml")))
        .chain(of_the_wire)
        // Of procedural macros, below tempfile, below tonic.
        .chain(["anyhow", "rustix", "tracing", "banger-client"].map(str::to_owned))
        .collect();
    let heavy: Vec<_> = ["client/command", "client/terminal", "deploy/dev", "deploy/installer"]
        .iter()
        .flat_map(|dir| dependencies(&format!("{dir}/Cargo.toml")))
        .filter(|name| linked.contains(name.as_str()) && !own.contains(name))
        .collect();
    assert!(heavy.is_empty(), "the client library links {heavy:?}, which only a command needs");
    for whole in [
        "banger-terminal",
        "banger-installer",
        "banger-images",
        "clap",
        "opentelemetry-otlp",
        // Of the feature `trace`, which whoever records spans asks for.
        "opentelemetry",
        "opentelemetry_sdk",
        "tracing-opentelemetry",
        "tracing-subscriber",
    ] {
        assert!(!linked.contains(whole), "the client library links {whole}");
    }
}

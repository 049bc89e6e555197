//! The arrows between modules: lower never imports upper.
//!
//! Each table names, for every module at the top of a crate, the modules of that crate it may
//! name. A module that is not in the table fails the test too, so that a new one gets its place.

use std::collections::BTreeMap;

use super::source::{crate_modules, without_comments, without_inline_tests};
use super::tree;

/// A module and what it may name.
type Arrows = &'static [(&'static str, &'static [&'static str])];

/// Knows everything: it wires the parts together.
const ANY: &[&str] = &["*"];

/// `api → reconcile → fleet → model`, `api → store → model`, `watch → fleet`. The store and the
/// fleet never meet: only `reconcile` joins them.
const SERVER: Arrows = &[
    ("clock", &[]),
    ("model", &[]),
    ("config", &["model"]),
    ("metrics", &["model", "store", "watch"]),
    ("commands", &["config", "model", "pki", "store"]),
    ("pki", &["clock", "model"]),
    ("oidc", &["config", "model"]),
    ("certified", &["config", "model"]),
    ("store", &["clock", "model"]),
    ("fleet", &["clock", "model", "pki"]),
    ("images", &["clock", "model", "store"]),
    ("watch", &["clock", "fleet", "model"]),
    ("reconcile", &["clock", "fleet", "images", "metrics", "model", "pki", "store", "watch"]),
    (
        "api",
        &[
            "certified",
            "clock",
            "config",
            "fleet",
            "images",
            "metrics",
            "model",
            "oidc",
            "pki",
            "reconcile",
            "store",
            "watch",
        ],
    ),
    ("server", ANY),
    ("lib", ANY),
    ("main", ANY),
];

/// `supervisor → vm → report → guests, jail → handles, naming → host`; the seams in `host` know no
/// VM. The edge says what it needs as a trait, which `supervisor` implements: so its arrow to
/// `rpc`.
const AGENT: Arrows = &[
    ("clock", &[]),
    ("host", &["clock"]),
    ("naming", &["host"]),
    ("assignment", &["host", "naming"]),
    ("config", &["host", "instance", "inventory", "naming"]),
    ("metrics", &["host", "report", "vm"]),
    ("handles", &["assignment", "clock", "host", "naming"]),
    ("jail", &["clock", "handles", "host", "naming"]),
    ("instance", &["host", "naming"]),
    ("inventory", &["clock", "host", "jail", "naming"]),
    ("guests", &["clock", "handles", "host"]),
    ("vm", &["assignment", "clock", "guests", "handles", "host", "jail", "naming", "report"]),
    ("report", &["assignment", "clock", "guests", "handles", "host"]),
    (
        "supervisor",
        &[
            "assignment",
            "clock",
            "guests",
            "handles",
            "host",
            "inventory",
            "jail",
            "metrics",
            "naming",
            "report",
            "rpc",
            "vm",
        ],
    ),
    (
        "rpc",
        &[
            "assignment",
            "clock",
            "guests",
            "handles",
            "host",
            "inventory",
            "metrics",
            "report",
            "vm",
        ],
    ),
    ("join", &["clock", "config", "host"]),
    ("doctor", &["clock", "config", "host", "instance"]),
    ("failpoint", &[]),
    ("agent", ANY),
    ("lib", ANY),
    ("main", ANY),
];

/// `make → demo, oci, registry → package, root → kernel, layer, guest, ext4 → tree, tarball →
/// blob`; what a caller sees knows nothing of how it is done.
const IMAGES: Arrows = &[
    ("error", &[]),
    ("options", &[]),
    ("made", &[]),
    ("platform", &[]),
    ("source", &[]),
    ("budget", &[]),
    ("blob", &["budget"]),
    ("unpack", &["budget"]),
    ("tarball", &["budget"]),
    ("tree", &[]),
    ("layer", &["budget", "tarball", "tree"]),
    ("directory", &["budget", "layer", "tarball", "tree"]),
    ("ext4", &["tree"]),
    ("output", &["blob", "budget", "ext4"]),
    ("kernel", &["blob", "budget", "output", "unpack"]),
    ("guest", &["tree"]),
    (
        "root",
        &[
            "blob",
            "budget",
            "directory",
            "ext4",
            "guest",
            "kernel",
            "layer",
            "output",
            "tarball",
            "tree",
            "unpack",
        ],
    ),
    ("deb", &["blob", "budget", "root", "tarball", "tree", "unpack"]),
    ("package", &["blob", "budget", "deb", "kernel", "output", "tarball", "unpack"]),
    ("demo", &["blob", "budget", "deb", "kernel", "output", "package", "root", "tree"]),
    (
        "oci",
        &[
            "blob",
            "budget",
            "directory",
            "kernel",
            "output",
            "platform",
            "root",
            "source",
            "tarball",
            "tree",
            "unpack",
        ],
    ),
    ("pace", &[]),
    ("pack", &["budget", "directory", "layer", "root", "tarball", "tree"]),
    ("registry", &["blob", "budget", "oci", "output", "pace", "source"]),
    ("make", ANY),
    ("lib", ANY),
];

fn broken_arrows(source_dir: &str, arrows: Arrows) -> Vec<String> {
    let arrows: BTreeMap<_, _> = arrows.iter().copied().collect();
    let mut broken = Vec::new();
    for file in tree::files(&[source_dir], |path| path.ends_with(".rs")) {
        if file.is_test() {
            continue;
        }
        let inside = &file.path[source_dir.len() + 1..];
        let module = inside.split(['/', '.']).next().unwrap_or_default();
        let Some(allowed) = arrows.get(module) else {
            broken.push(format!("{}: module {module:?} has no place in the table", file.path));
            continue;
        };
        if *allowed == ANY {
            continue;
        }
        for used in crate_modules(&without_comments(without_inline_tests(&file.text))) {
            // A name that is no module is an item at the top of the crate.
            if used != module
                && arrows.contains_key(used.as_str())
                && !allowed.contains(&used.as_str())
            {
                broken.push(format!("{}: {module} must not know {used}", file.path));
            }
        }
    }
    broken
}

#[test]
fn modules_of_the_server_know_only_what_lies_below_them() {
    let broken = broken_arrows("server/src", SERVER);
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

#[test]
fn modules_of_the_agent_know_only_what_lies_below_them() {
    let broken = broken_arrows("agent/src", AGENT);
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

#[test]
fn modules_of_the_images_know_only_what_lies_below_them() {
    let broken = broken_arrows("server/images/src", IMAGES);
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

/// A way from a module back to itself, along what each may name.
fn circle(arrows: Arrows) -> Option<Vec<&'static str>> {
    fn walk(way: &mut Vec<&'static str>, arrows: Arrows) -> bool {
        let last = way[way.len() - 1];
        let of = |module: &str| arrows.iter().find(|(name, _)| *name == module);
        let Some((_, below)) = of(last).filter(|(_, below)| *below != ANY) else { return false };
        below.iter().any(|next| {
            let closed = way.contains(next);
            way.push(next);
            if closed || walk(way, arrows) {
                return true;
            }
            way.pop();
            false
        })
    }
    arrows.iter().find_map(|(module, _)| {
        let mut way = vec![*module];
        walk(&mut way, arrows).then_some(way)
    })
}

#[test]
fn no_modules_know_each_other_in_a_circle() {
    for arrows in [SERVER, AGENT, IMAGES] {
        assert_eq!(circle(arrows), None);
    }
}

#[test]
fn the_agent_links_no_database_no_web_client_and_no_screen() {
    let manifest = tree::read("agent/Cargo.toml");
    for library in ["sqlx", "ratatui", "reqwest"] {
        assert!(
            !manifest.lines().any(|line| line.starts_with(library)),
            "the agent runs as root on every host: it must not link {library}"
        );
    }
}

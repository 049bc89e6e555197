//! Modules of one folder know each other in one direction.
//!
//! The tables of [`super::layering`] hold the arrows between the modules at the top of a crate;
//! here is every folder below them, and no table: whatever the arrows are, they make no circle.
//! What a folder's own `mod.rs` has is known to all in it; what it only passes on from one of its
//! modules (`use self::change::Change`) counts as that module's.

use std::collections::{BTreeMap, BTreeSet};

use super::source::{children_of, passed_on, without_comments, without_inline_tests};
use super::tree;

/// The crates that keep to it.
const CRATES: &[&str] = &[
    "agent/src",
    "agent/guest/src",
    "server/src",
    "server/images/src",
    "client/src",
    "client/command/src",
    "client/terminal/src",
    "deploy/installer/src",
    "integration-tests/src",
    "integration-tests/testhost/src",
    "deploy/dev/src",
    "proto/wire/src",
];

/// Which module of a folder names which others of it, by folder.
type Graphs = BTreeMap<String, BTreeMap<String, BTreeSet<String>>>;

/// The names that a folder's own module passes on, and of which module each is, by folder.
type PassedOn = BTreeMap<String, BTreeMap<String, String>>;

/// The module path of a file below the crate's source: `store/mod.rs` and `store.rs` are `store`.
fn module_path(inside: &str) -> Vec<&str> {
    let path = inside.strip_suffix(".rs").unwrap_or(inside);
    let path = path.strip_suffix("/mod").unwrap_or(path);
    path.split('/').filter(|part| !matches!(*part, "lib" | "main")).collect()
}

/// Adds what one file names: for each folder that it is in, the module it is of and those it names.
fn add(graphs: &mut Graphs, passed_on: &PassedOn, path: &[&str], code: &str) {
    for depth in 0..path.len() {
        let folder = &path[..depth];
        let absolute = folder.iter().fold("crate::".to_owned(), |to, part| to + part + "::");
        let relative = "super::".repeat(path.len() - depth);
        let mut named = children_of(code, &absolute);
        named.extend(children_of(code, &relative));
        if let Some(of) = passed_on.get(&folder.join("/")) {
            named = named.into_iter().map(|name| of.get(&name).cloned().unwrap_or(name)).collect();
        }
        let module = path[depth].to_owned();
        named.remove(&module);
        graphs.entry(folder.join("/")).or_default().entry(module).or_default().extend(named);
    }
}

/// A circle that begins and ends with one of these modules, if there is one.
fn circle(graph: &BTreeMap<String, BTreeSet<String>>) -> Option<Vec<String>> {
    fn visit(
        at: &str,
        graph: &BTreeMap<String, BTreeSet<String>>,
        way: &mut Vec<String>,
        done: &mut BTreeSet<String>,
    ) -> Option<Vec<String>> {
        if let Some(from) = way.iter().position(|module| module == at) {
            let mut circle = way[from..].to_vec();
            circle.push(at.to_owned());
            return Some(circle);
        }
        if !graph.contains_key(at) || !done.insert(at.to_owned()) {
            return None;
        }
        way.push(at.to_owned());
        let found = graph[at].iter().find_map(|next| visit(next, graph, way, done));
        way.pop();
        found
    }
    let mut done = BTreeSet::new();
    graph.keys().find_map(|module| visit(module, graph, &mut Vec::new(), &mut done))
}

#[test]
fn modules_of_a_folder_make_no_circle() {
    let mut circles = Vec::new();
    for dir in CRATES {
        let mut files = tree::files(&[dir], |path| path.ends_with(".rs"));
        files.retain(|file| !file.is_test());
        let files: Vec<(Vec<&str>, String)> = files
            .iter()
            .map(|file| {
                let code = without_comments(without_inline_tests(&file.text));
                (module_path(&file.path[dir.len() + 1..]), code)
            })
            .collect();
        let names = files.iter().map(|(path, code)| (path.join("/"), passed_on(code))).collect();
        let mut graphs = Graphs::new();
        for (path, code) in &files {
            add(&mut graphs, &names, path, code);
        }
        circles.extend(graphs.into_iter().filter_map(|(folder, graph)| {
            circle(&graph).map(|circle| format!("{dir}/{folder}: {}", circle.join(" → ")))
        }));
    }
    assert!(circles.is_empty(), "modules that know each other:\n{}", circles.join("\n"));
}

#[test]
fn a_circle_is_found_however_its_arrows_are_written() {
    let (mut graphs, none) = (Graphs::new(), PassedOn::new());
    add(&mut graphs, &none, &["watch", "view"], "use super::{ring::Ring, watcher};");
    add(&mut graphs, &none, &["watch", "watcher"], "use crate::watch::{ring, table::Table};");
    assert_eq!(circle(&graphs["watch"]), None);
    add(&mut graphs, &none, &["watch", "table", "hosts"], "use super::super::view::View;");
    let found = circle(&graphs["watch"]).expect("a circle");
    assert_eq!(found, ["table", "view", "watcher", "table"]);
    assert_eq!(circle(&graphs[""]), None, "all of it is one module at the top");
}

#[test]
fn a_name_that_a_folder_passes_on_is_its_modules() {
    let top = "mod change;\nmod mutation;\n\
               pub use self::mutation::{Mutation, Outcome as End};\npub use change::Change;";
    let names = PassedOn::from([("ledger".to_owned(), passed_on(top))]);
    let mut graphs = Graphs::new();
    add(&mut graphs, &names, &["ledger", "change"], "use super::End;");
    assert_eq!(circle(&graphs["ledger"]), None);
    add(
        &mut graphs,
        &names,
        &["ledger", "mutation"],
        "use crate::model::Vm;\nuse super::{Change};",
    );
    assert_eq!(circle(&graphs["ledger"]).expect("a circle"), ["change", "mutation", "change"]);
}

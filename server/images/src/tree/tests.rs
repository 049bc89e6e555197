use std::collections::HashMap;

use super::*;
use crate::budget::Budget;
use crate::layer::{LayerRules, LeftOut, put_layer};
use crate::tarball::Tarball;
use crate::testing::{TarMaker, limits, no_report};
use crate::{Devices, Step};

/// Layers with whiteouts on top of each other.
pub(crate) fn layered(layers: &[TarMaker]) -> Result<Tree, crate::ImportError> {
    let ((limits, cancel), report) = (limits(), no_report);
    let budget = Budget::new(limits, &cancel, &report, Step::Check, None);
    let mut tree = Tree::new();
    for (layer, maker) in (1..).zip(layers) {
        let rules = LayerRules { layer, whiteouts: true, devices: Devices::Keep };
        let bytes = maker.clone().finish();
        let mut archive = Tarball::new(&bytes[..], format!("layer {layer}"));
        put_layer(&mut archive, &rules, &mut tree, &mut LeftOut::default(), &budget)?;
    }
    Ok(tree)
}

/// Every path, directories with a slash, files with the layer they are of.
fn paths(tree: &Tree) -> Vec<String> {
    fn walk(tree: &Tree, ino: Ino, above: &str, all: &mut Vec<String>) {
        for (name, entry) in tree.entries(ino).into_iter().flatten() {
            let path = format!("{above}{}", String::from_utf8_lossy(name));
            match &tree.inode(entry.ino).body {
                Body::Directory(_) => {
                    all.push(format!("{path}/"));
                    walk(tree, entry.ino, &format!("{path}/"), all);
                }
                Body::File { contents: Contents::Layer { layer, .. }, .. } => {
                    all.push(format!("{path}={layer}"));
                }
                _ => all.push(path),
            }
        }
    }
    let mut all = Vec::new();
    walk(tree, ROOT, "", &mut all);
    all
}

fn good(layers: &[TarMaker]) -> Vec<String> {
    paths(&layered(layers).unwrap_or_else(|error| panic!("{error}")))
}

fn base() -> TarMaker {
    TarMaker::new().file("a/one", b"").file("a/two", b"").file("a/deep/three", b"").file("b", b"")
}

#[test]
fn a_later_layer_replaces_files_and_keeps_what_is_in_directories() {
    let upper = TarMaker::new().directory("a").file("a/one", b"new").file("c", b"");
    assert_eq!(
        good(&[base(), upper]),
        ["a/", "a/deep/", "a/deep/three=1", "a/one=2", "a/two=1", "b=1", "c=2"]
    );
    let file_over_directory = TarMaker::new().file("a", b"");
    assert_eq!(good(&[base(), file_over_directory]), ["a=2", "b=1"]);
    let directory_over_file = TarMaker::new().directory("b").file("b/x", b"");
    assert_eq!(good(&[base(), directory_over_file]).last().map(String::as_str), Some("b/x=2"));
}

#[test]
fn a_whiteout_hides_what_lies_below_and_nothing_of_its_own_layer() {
    let upper =
        TarMaker::new().file("a/.wh.one", b"").file(".wh.b", b"").file("a/.wh.nothing", b"");
    assert_eq!(good(&[base(), upper]), ["a/", "a/deep/", "a/deep/three=1", "a/two=1"]);
    let whole = TarMaker::new().file(".wh.a", b"");
    assert_eq!(good(&[base(), whole]), ["b=1"]);
    // Whichever comes first in the archive.
    for order in [true, false] {
        let upper = TarMaker::new();
        let upper = match order {
            true => upper.file(".wh.a", b"").file("a/new", b""),
            false => upper.file("a/new", b"").file(".wh.a", b""),
        };
        assert_eq!(good(&[base(), upper]), ["a/", "a/new=2", "b=1"], "{order}");
    }
}

#[test]
fn an_opaque_directory_hides_everything_below_wherever_it_says_so() {
    for order in [true, false] {
        let upper = TarMaker::new().directory("a");
        let upper = match order {
            true => upper.file("a/.wh..wh..opq", b"").file("a/deep/new", b""),
            false => upper.file("a/deep/new", b"").file("a/.wh..wh..opq", b""),
        };
        assert_eq!(good(&[base(), upper]), ["a/", "a/deep/", "a/deep/new=2", "b=1"], "{order}");
    }
}

#[test]
fn a_hard_link_reaches_into_lower_layers_and_outlives_its_target() {
    let upper = TarMaker::new().hard_link("link", "a/one").file("a/.wh.one", b"");
    let tree = layered(&[base(), upper]).unwrap_or_else(|error| panic!("{error}"));
    let names = paths(&tree);
    assert!(names.contains(&"link=1".to_owned()) && !names.contains(&"a/one=1".to_owned()));
}

#[test]
fn a_layer_that_goes_through_a_link_of_a_lower_one_stays_in_the_tree() {
    let lower = TarMaker::new().symlink("etc", "/somewhere/else").file("somewhere/else/old", b"");
    for (upper, left) in [
        (TarMaker::new().file("etc/passwd", b""), vec!["old=1", "passwd=2"]),
        (TarMaker::new().hard_link("etc/again", "etc/old"), vec!["again=1", "old=1"]),
        (TarMaker::new().file("etc/.wh.old", b""), vec![]),
        (TarMaker::new().file("etc/.wh..wh..opq", b"").file("etc/new", b""), vec!["new=2"]),
    ] {
        let all = good(&[lower.clone(), upper]);
        let expected = ["etc", "somewhere/", "somewhere/else/"].map(str::to_owned);
        let left = left.iter().map(|name| format!("somewhere/else/{name}"));
        assert_eq!(all, expected.into_iter().chain(left).collect::<Vec<_>>());
    }
    // But it may put a directory in its place.
    let upper = TarMaker::new().directory("etc").file("etc/passwd", b"good");
    let all = good(&[lower, upper]);
    assert_eq!(all[..2], ["etc/", "etc/passwd=2"]);
}

#[test]
fn a_link_that_leads_nowhere_gets_its_directory_when_something_comes_into_it() {
    let lower = TarMaker::new().symlink("sbin", "usr/sbin");
    let all = good(&[lower, TarMaker::new().file("sbin/init", b"")]);
    assert_eq!(all, ["sbin", "usr/", "usr/sbin/", "usr/sbin/init=2"]);
}

#[test]
fn whiteouts_of_nothing_are_refused() {
    for name in [".wh.", ".wh..", ".wh...", "a/.wh.", ".wh.a/b"] {
        let refused = layered(&[base(), TarMaker::new().file(name, b"")]);
        let error = refused.err().unwrap_or_else(|| panic!("{name} was taken"));
        assert!(error.to_string().contains("whiteout"), "{name}: {error}");
    }
}

#[test]
fn paths_are_followed_as_a_guest_would() {
    let tree = layered(&[TarMaker::new()
        .file("usr/sbin/init", b"")
        .symlink("sbin", "usr/sbin")
        .symlink("usr/sbin/alias", "/sbin/../sbin/init")
        .symlink("loop", "loop")])
    .unwrap_or_else(|error| panic!("{error}"));
    let init = tree.find(&[b"usr", b"sbin", b"init"]);
    let found: HashMap<_, _> = ["/usr/sbin/init", "/sbin/init", "/sbin/alias", "/../sbin//./init"]
        .into_iter()
        .map(|path| (path, tree.resolve(path.as_bytes())))
        .collect();
    assert!(init.is_some() && found.values().all(|ino| *ino == init), "{found:?}");
    assert_eq!(tree.resolve(b"/loop"), None);
    assert_eq!(tree.resolve(b"/usr/sbin/init/more"), None);
    assert_eq!(tree.resolve(b"/"), Some(ROOT));
}

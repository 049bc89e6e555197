//! What server and agent keep in their state directories, by name: a purge takes that and nothing
//! else.
//!
//! Whoever configured a directory that was there may have files of their own in it, before the
//! install and after it. What is in a place that only banger has a use for is banger's, with all
//! that is in it. A new file of server or agent needs its line here; one that is missing is left
//! behind and named.

use std::path::{Path, PathBuf};

use super::disk::Disk;
use super::payload::Part;

/// Places below the state directory; `*` at the end stands for anything.
const SERVER: [&str; 15] = [
    "banger.db",
    "banger.db-*",
    "banger.lock",
    "banger.restoring.db*",
    "before-restore-*",
    "first-admin.token",
    "first-admin.partial",
    "ca/ca.key",
    "ca/ca.crt",
    "ca/ca.new",
    "ca/ca-*",
    "ca/retired",
    "images/blobs",
    "images/incoming",
    "images/sha256",
];

/// Images that somebody has put there by hand are called otherwise.
const AGENT: [&str; 13] = [
    "agent.json",
    "agent.json.new",
    "fence.jsonl*",
    "simulated-kernel.json*",
    "identity/host.json*",
    "identity/agent.*",
    "identity/next.key*",
    "identity/ca.*",
    "vms/ballast",
    "jails/firecracker",
    "jails/qemu",
    "images/sha256-*",
    "images/.incoming-*",
];

/// What became of a state directory.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Purged {
    /// Whether anything was removed.
    pub(super) removed: bool,
    /// What is in it still, or in a directory of it that is not empty.
    pub(super) left: Vec<PathBuf>,
}

/// Removes what a service keeps in its directory, and the directory if nothing is left in it.
pub(super) fn purge(disk: &Disk, part: Part, dir: &Path) -> anyhow::Result<Purged> {
    let places: &[&str] = match part {
        Part::Server => &SERVER,
        Part::Agent => &AGENT,
    };
    let mut purged = Purged::default();
    let mut rooms = Vec::new();
    for place in places {
        let (room, pattern) = match place.split_once('/') {
            Some((room, pattern)) => (dir.join(room), pattern),
            None => (dir.to_owned(), *place),
        };
        // Whoever owns the directory may have put a link there, and what it leads to is not
        // banger's.
        if room != dir && disk.is_link(&room)? {
            continue;
        }
        for name in disk.names(&room)?.into_iter().filter(|name| is_called(name, pattern)) {
            purged.removed |= disk.remove_whole(&room.join(name))?;
        }
        if room != dir && !rooms.contains(&room) {
            rooms.push(room);
        }
    }
    for room in &rooms {
        purged.removed |= disk.remove_empty(room)?;
    }
    purged.removed |= disk.remove_empty(dir)?;
    for name in disk.names(dir)? {
        let path = dir.join(name);
        match disk.names(&path)? {
            inside if rooms.contains(&path) && !inside.is_empty() => {
                purged.left.extend(inside.into_iter().map(|name| path.join(name)));
            }
            _ => purged.left.push(path),
        }
    }
    Ok(purged)
}

fn is_called(name: &str, pattern: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(beginning) => name.starts_with(beginning),
        None => name == pattern,
    }
}

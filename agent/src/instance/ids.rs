//! Whose user and group ids are: accounts, and the subordinate ids by which an unprivileged user is
//! many others in a user namespace (subuid(5)).
//!
//! Read from files of `/etc`, as text, below a root directory. What another source of the name
//! service hands out (LDAP, SSSD) is not seen; `banger-agent doctor` says what was looked at.

use std::ops::Range;
use std::path::Path;

/// Ids that somebody has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Owned {
    /// Whose they are, for people.
    pub owner: String,
    /// The file that says so.
    pub file: &'static str,
    /// Which.
    pub ids: Range<u64>,
}

/// The files, and whether their lines are ranges (`name:first:count`) or accounts (`name:x:id`).
const FILES: [(&str, bool); 4] =
    [("/etc/passwd", false), ("/etc/group", false), ("/etc/subuid", true), ("/etc/subgid", true)];

/// All of a machine's. A file that is not there has none.
#[must_use]
pub fn read(root: &Path) -> Vec<Owned> {
    let mut all = Vec::new();
    for (file, ranges) in FILES {
        let path = root.join(file.trim_start_matches('/'));
        let Ok(bytes) = std::fs::read(path) else { continue };
        let text = String::from_utf8_lossy(&bytes);
        all.extend(text.lines().filter_map(|line| {
            let (owner, ids) = if ranges { range(line)? } else { account(line)? };
            Some(Owned { owner, file, ids })
        }));
    }
    all
}

/// A line of passwd(5) or group(5).
fn account(line: &str) -> Option<(String, Range<u64>)> {
    let mut fields = line.split(':');
    let name = fields.next()?.to_owned();
    let id: u64 = fields.nth(1)?.trim().parse().ok()?;
    Some((name, id..id.checked_add(1)?))
}

/// A line of subuid(5) or subgid(5).
fn range(line: &str) -> Option<(String, Range<u64>)> {
    let mut fields = line.split(':');
    let name = fields.next()?;
    let first: u64 = fields.next()?.trim().parse().ok()?;
    let count: u64 = fields.next()?.trim().parse().ok()?;
    let end = first.checked_add(count).filter(|end| *end > first)?;
    Some((format!("{name}'s subordinate ids"), first..end))
}

/// What to set, given the first id from which on enough are free.
#[must_use]
pub fn advice(free: Option<u32>) -> String {
    match free {
        Some(free) => format!("set `guests.uid_base` to {free}, or leave it out"),
        None => "set `guests.uid_base` to where nobody has an id".to_owned(),
    }
}

//! What one set-up of `banger dev` takes of this machine: a letter for the tags of its agents, a
//! pool of addresses, user ids. Nothing of it is anybody else's: another set-up's, the installed
//! agent's, or the machine's own.
//!
//! Driven by `up` when a set-up of real guests is made. Claims of agents are the files that
//! `banger-agent` keeps in `/run/banger-agents`. What can go wrong: everything is taken.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::net::Ipv4Addr;
use std::ops::Range;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::layout::lock_file;
use crate::args::HOSTS;
use banger_terminal::failure::Failure;

/// Where agents keep their claims.
const CLAIMS: &str = "/run/banger-agents";

/// Prefix of one host's guests, and user ids of one agent: one for each address.
const HOST_PREFIX: u8 = 20;
const UIDS_PER_AGENT: u32 = 1 << (32 - HOST_PREFIX);

/// Room for all [`HOSTS`].
const POOL_PREFIX: u8 = 16;
const UIDS: u32 = HOSTS as u32 * UIDS_PER_AGENT;
const _: () = assert!(UIDS <= 1 << (32 - POOL_PREFIX), "each host has a subnet of the pool");

/// The first user id that is tried, and how many blocks of [`UIDS`] after it.
const FIRST_UID: u32 = 200_000;
const UID_BLOCKS: u32 = 256;

/// A share of the machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Share {
    /// The first letter of the agents' tags.
    letter: char,
    /// Where guests' addresses come from.
    pub(super) pool: String,
    /// The first user id.
    first_uid: u32,
}

/// The tag of agent number `index`: a letter and one of 0-9 and a-f.
fn tag(letter: char, index: usize) -> String {
    let digit = u32::try_from(index).ok().and_then(|index| char::from_digit(index, 16));
    format!("{letter}{}", digit.unwrap_or('f'))
}

impl Share {
    /// On a machine that only pretends there is nobody else.
    pub(super) fn of_a_simulation() -> Self {
        Self { letter: 'b', pool: String::new(), first_uid: FIRST_UID }
    }

    pub(super) fn tag(&self, index: usize) -> String {
        tag(self.letter, index)
    }

    pub(super) fn first_uid(&self, index: usize) -> u32 {
        self.first_uid + u32::try_from(index).unwrap_or(0) * UIDS_PER_AGENT
    }

    /// The server's configuration file with the pool in it; what somebody has set stays.
    pub(super) fn server_config(&self, present: &str) -> String {
        if self.pool.is_empty() || sets(present, "guest_pool") {
            return present.to_owned();
        }
        // Before the first table, in which it would be something else.
        format!("{}{present}", self.server_lines())
    }

    /// What [`Self::server_config`] was given, of what it made; what was changed since stays.
    pub(super) fn without_server_config(&self, present: &str) -> String {
        present.strip_prefix(&*self.server_lines()).unwrap_or(present).to_owned()
    }

    fn server_lines(&self) -> String {
        format!("guest_pool = \"{}\"\nguest_prefix = {HOST_PREFIX}\n", self.pool)
    }

    /// What [`Self::agent_config`] was given; an empty table may stay.
    pub(super) fn without_agent_config(&self, index: usize, present: &str) -> String {
        let line = format!("[guests]\nuid_base = {}\n", self.first_uid(index));
        present.replacen(&line, "[guests]\n", 1)
    }

    /// The configuration file of agent number `index` with its user ids in it; as above.
    pub(super) fn agent_config(&self, index: usize, present: &str) -> String {
        if self.pool.is_empty() || sets(present, "uid_base") {
            return present.to_owned();
        }
        let table = format!("[guests]\nuid_base = {}\n", self.first_uid(index));
        let is_table = |line: &&str| line.trim_end() == "[guests]";
        match present.split_inclusive('\n').find(is_table) {
            Some(line) => present.replacen(line, &table, 1),
            None if present.is_empty() || present.ends_with('\n') => format!("{present}{table}"),
            None => format!("{present}\n{table}"),
        }
    }
}

/// Whether a line of a configuration sets a key.
fn sets(text: &str, key: &str) -> bool {
    text.lines().any(|line| {
        line.trim_start().strip_prefix(key).is_some_and(|rest| rest.trim_start().starts_with('='))
    })
}

/// What of the machine is somebody's.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Taken {
    tags: BTreeSet<String>,
    uids: Vec<Range<u64>>,
    networks: Vec<(u32, u8)>,
}

/// What an agent's claim says.
#[derive(Debug, Deserialize)]
struct Claim {
    tag: String,
    first_uid: u32,
    uids: u32,
    subnet: String,
}

/// Finds a share that nothing on the machine has, and the lock that keeps other `banger dev`
/// from finding the same one until the agents have claimed it: hold it until they run.
pub(super) fn find() -> Result<(Share, File), Failure> {
    let directory = Path::new(CLAIMS);
    let open = || -> std::io::Result<File> {
        use std::os::unix::fs::DirBuilderExt as _;
        fs::DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
        let turn = lock_file(&directory.join("dev.lock"))?;
        turn.lock()?;
        Ok(turn)
    };
    let turn = open().map_err(|error| Failure::io("take a turn in /run/banger-agents", error))?;
    Ok((choose(&observe(directory))?, turn))
}

fn mask(prefix: u8) -> u32 {
    u32::MAX.checked_shl(32 - u32::from(prefix)).unwrap_or(0)
}

fn overlap(a: (u32, u8), b: (u32, u8)) -> bool {
    let mask = mask(a.1.min(b.1));
    a.0 & mask == b.0 & mask
}

/// Chooses. Pure.
fn choose(taken: &Taken) -> Result<Share, Failure> {
    let none = |what: &str| Failure::Other(anyhow::anyhow!("no {what} is free on this machine"));
    let letter = ('b'..='z')
        .chain(['a'])
        .find(|letter| {
            (0..usize::from(HOSTS)).all(|index| !taken.tags.contains(&tag(*letter, index)))
        })
        .ok_or_else(|| none("instance tag"))?;
    let size = 1_u32 << (32 - POOL_PREFIX);
    let pools = |first: Ipv4Addr, count: u32| {
        let first = u32::from(first);
        (0..count).map(move |n| (first + n * size, POOL_PREFIX))
    };
    let (base, prefix) = pools(Ipv4Addr::new(10, 64, 0, 0), 64)
        .chain(pools(Ipv4Addr::new(172, 16, 0, 0), 16))
        .chain(pools(Ipv4Addr::new(10, 128, 0, 0), 128))
        .find(|pool| !taken.networks.iter().any(|used| overlap(*pool, *used)))
        .ok_or_else(|| none("address range"))?;
    let first_uid = (0..UID_BLOCKS)
        .map(|block| FIRST_UID + block * UIDS)
        .find(|first| {
            let (start, end) = (u64::from(*first), u64::from(*first) + u64::from(UIDS));
            !taken.uids.iter().any(|used| start < used.end && used.start < end)
        })
        .ok_or_else(|| none("range of user ids"))?;
    Ok(Share { letter, pool: format!("{}/{prefix}", Ipv4Addr::from(base)), first_uid })
}

/// Looks at claims, interfaces, routes and processes. What cannot be read is left out: the agents
/// and the kernel refuse what is taken all the same.
fn observe(claims: &Path) -> Taken {
    let mut taken = Taken::default();
    for path in entries(claims) {
        let Ok(text) = fs::read(&path) else { continue };
        if let Ok(claim) = serde_json::from_slice::<Claim>(&text) {
            let start = u64::from(claim.first_uid);
            taken.tags.insert(claim.tag);
            taken.uids.push(start..start + u64::from(claim.uids));
            taken.networks.extend(network(&claim.subnet));
        }
    }
    for path in entries(Path::new("/sys/class/net")) {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        taken.tags.extend(tag_of_link(&name).map(str::to_owned));
    }
    let routes = fs::read_to_string("/proc/net/route").unwrap_or_default();
    taken.networks.extend(routes.lines().filter_map(route));
    for path in entries(Path::new("/proc")) {
        let is_process = path.file_name().is_some_and(|n| n.as_encoded_bytes()[0].is_ascii_digit());
        if is_process {
            let status = fs::read_to_string(path.join("status")).unwrap_or_default();
            taken.uids.extend(users(&status).map(|uid| uid..uid + 1));
        }
    }
    for (file, ranges) in [("passwd", false), ("group", false), ("subuid", true), ("subgid", true)]
    {
        let text = fs::read(Path::new("/etc").join(file)).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        taken.uids.extend(text.lines().filter_map(|line| owned(line, ranges)));
    }
    taken
}

/// The users that a process runs as, of its `/proc/<pid>/status`: the owner of the directory is the
/// effective one alone.
fn users(status: &str) -> impl Iterator<Item = u64> + '_ {
    let line = status.lines().find_map(|line| line.strip_prefix("Uid:")).unwrap_or_default();
    line.split_ascii_whitespace().filter_map(|uid| uid.parse().ok())
}

/// The ids of an account (`name:x:id`), or those that a user can be beside its own (subuid(5):
/// `name:first:count`). The agent refuses them.
fn owned(line: &str, is_range: bool) -> Option<Range<u64>> {
    let mut fields = line.split(':').skip(1);
    let second: &str = fields.next()?;
    let third: u64 = fields.next()?.trim().parse().ok()?;
    let first = if is_range { second.trim().parse().ok()? } else { third };
    let count = if is_range { third } else { 1 };
    Some(first..first.checked_add(count)?)
}

fn entries(directory: &Path) -> Vec<std::path::PathBuf> {
    let read = fs::read_dir(directory).into_iter().flatten();
    read.filter_map(|entry| Some(entry.ok()?.path())).collect()
}

/// The tag of an agent's bridge ("b0br0") or tap ("b0-…").
fn tag_of_link(name: &str) -> Option<&str> {
    let (tag, rest) = name.split_at_checked(2)?;
    (rest == "br0" || rest.starts_with('-')).then_some(tag)
}

fn network(text: &str) -> Option<(u32, u8)> {
    let (base, prefix) = text.split_once('/')?;
    let prefix = prefix.parse().ok().filter(|prefix| *prefix <= 32)?;
    Some((u32::from(base.parse::<Ipv4Addr>().ok()?), prefix))
}

/// A line of `/proc/net/route`: interface, destination, gateway, flags, three counters, mask; the
/// addresses in hexadecimal, in the machine's byte order. Default routes and those of half the
/// world, as VPNs have them, are no networks of the machine's.
fn route(line: &str) -> Option<(u32, u8)> {
    let words: Vec<_> = line.split_whitespace().collect();
    let number = |at: usize| {
        let number = u32::from_str_radix(words.get(at)?, 16).ok()?;
        Some(u32::from_be_bytes(number.to_ne_bytes()))
    };
    let prefix = u8::try_from(number(7)?.count_ones()).ok()?;
    (prefix >= 8).then_some((number(1)?, prefix))
}

#[cfg(test)]
mod tests;

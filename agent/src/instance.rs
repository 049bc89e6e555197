//! This agent's share of the machine: its instance tag and its user ids, which no other agent has.
//!
//! Names of kernel objects begin with the tag, so that two agents with one tag would sweep each
//! other's living things; and two VMMs of one user id can reach into each other. A claim is a file
//! in a directory of root's, which an agent holds locked while it lives. It stays when the agent
//! ends, because guests run on without their agent: it counts for as long as a process runs as one
//! of its user ids. The directory lies in memory, and is empty after a boot as the machine is. A
//! claim is there whole or not at all; one that can't be understood is somebody's, whose share
//! nobody knows, and so keeps every agent from starting until a person has looked. So does a
//! machine on which it can't be read as whom processes run.
//!
//! Ids that an operator did not choose are chosen here, where nobody else has any: no other agent,
//! no account, and nobody's subordinate ids ([`ids`]), by which an unprivileged user can be any of
//! them and so signal and trace a VMM that runs as one.
//!
//! Driven by `main` before anything of the machine is touched. What can go wrong: another agent has
//! the tag, a directory or some of the ids; then this one does not start, and says what to set.

use std::fs::{self, DirBuilder, File, TryLockError};
use std::io;
use std::ops::Range;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::host::Subnet;

mod choice;
mod files;
pub mod ids;
mod now;

use choice::choose;
pub use choice::first_free;
use files::{SUFFIX, open_claim, take_turn};
use ids::Owned;
pub use now::MachineNow;

/// Where claims are.
pub const DIRECTORY: &str = "/run/banger-agents";

/// The first user id that is tried where an operator chose none.
pub const FIRST_UID: u32 = 200_000;

/// Above, 2^31 less the largest subnet, ids turn negative somewhere.
pub const LAST_FIRST_UID: u32 = 2_000_000_000;

/// What an agent has of the machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claim {
    /// Its instance tag.
    pub tag: String,
    /// Its state directory, which tells its lives from another agent.
    pub state_dir: PathBuf,
    /// The first user id of its guests.
    pub first_uid: u32,
    /// How many there are.
    pub uids: u32,
    /// Ranges that it had before, first id and number, in which guests of it still run.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub earlier: Vec<(u32, u32)>,
    /// The subnet of its guests.
    pub subnet: String,
    /// The directories that nobody else may use: state, jails, sockets.
    #[serde(default)]
    pub directories: Vec<PathBuf>,
    /// The process that wrote this.
    pub pid: u32,
}

/// What an agent asks for.
#[derive(Debug, Clone, Copy)]
pub struct Wish<'a> {
    /// Its instance tag.
    pub tag: &'a str,
    /// Its state directory.
    pub state_dir: &'a Path,
    /// Its other directories.
    pub directories: &'a [PathBuf],
    /// The first user id of its guests, where an operator chose it.
    pub first_uid: Option<u32>,
    /// The subnet of its guests: one for each address of it has a user id of its own.
    pub subnet: Subnet,
}

fn range(first: u32, count: u32) -> Range<u64> {
    u64::from(first)..u64::from(first) + u64::from(count)
}

fn overlap(a: &Range<u64>, b: &Range<u64>) -> bool {
    a.start < b.end && b.start < a.end
}

impl Claim {
    /// With the wish's user ids, or from [`FIRST_UID`] on where it names none.
    fn of(wish: &Wish<'_>) -> Self {
        let real = |path: &Path| path.canonicalize().unwrap_or_else(|_| path.to_owned());
        Self {
            tag: wish.tag.to_owned(),
            state_dir: wish.state_dir.to_owned(),
            first_uid: wish.first_uid.unwrap_or(FIRST_UID),
            uids: 1_u32.checked_shl(32 - u32::from(wish.subnet.prefix())).unwrap_or(u32::MAX),
            earlier: Vec::new(),
            subnet: wish.subnet.to_string(),
            directories: std::iter::once(wish.state_dir)
                .chain(wish.directories.iter().map(PathBuf::as_path))
                .map(real)
                .collect(),
            pid: std::process::id(),
        }
    }

    fn range(&self) -> Range<u64> {
        range(self.first_uid, self.uids)
    }

    /// All that it has, now and from before.
    fn ranges(&self) -> impl Iterator<Item = Range<u64>> + '_ {
        let earlier = self.earlier.iter().map(|(first, count)| range(*first, *count));
        std::iter::once(self.range()).chain(earlier)
    }

    /// A directory that both use, if there is one.
    fn shares_directory_with(&self, other: &Self) -> Option<&PathBuf> {
        let (ours, theirs) = (self.all_directories(), other.all_directories());
        ours.into_iter().find(|path| theirs.contains(path))
    }

    fn all_directories(&self) -> Vec<&PathBuf> {
        std::iter::once(&self.state_dir).chain(&self.directories).collect()
    }
}

/// A claim of another agent, or of an earlier life of this one, as it was found.
#[derive(Debug, Clone, PartialEq, Eq)]
struct FoundClaim {
    claim: Claim,
    /// An agent holds it now.
    held: bool,
    /// Its ranges in which a process runs.
    in_use: Vec<Range<u64>>,
}

impl FoundClaim {
    fn counts(&self) -> bool {
        self.held || !self.in_use.is_empty()
    }
}

/// Why this agent can't have its share.
#[derive(Debug, thiserror::Error)]
pub enum ClaimError {
    /// An agent with the tag runs.
    #[error(
        "instance {tag} is that of another agent on this machine (pid {pid}, state in {}); \
         give this one another `instance`", state_dir.display()
    )]
    TagTaken {
        /// The tag.
        tag: String,
        /// The other agent.
        pid: u32,
        /// Where it keeps its state.
        state_dir: PathBuf,
    },
    /// Guests of another agent with the tag run, though that does not.
    #[error(
        "guests of another agent with instance {tag} run on this machine (state in {}); \
         give this one another `instance`, or take those down first", state_dir.display()
    )]
    GuestsRun {
        /// The tag.
        tag: String,
        /// Where the other keeps its state.
        state_dir: PathBuf,
    },
    /// Another agent's guests run as user ids that this one's would.
    #[error(
        "user ids {first} to {last} are those of guests of instance {tag} (state in {}); \
         set another `guests.uid_base` for this one", state_dir.display()
    )]
    UidsTaken {
        /// The first.
        first: u64,
        /// The last.
        last: u64,
        /// The other's tag.
        tag: String,
        /// Where the other keeps its state.
        state_dir: PathBuf,
    },
    /// Another agent keeps its files in the same place.
    #[error(
        "{} is a directory of instance {tag} (pid {pid}) as well; give each agent of a machine a \
         state_dir, a runtime_dir and a jail_dir of its own", directory.display()
    )]
    DirectoryTaken {
        /// Which.
        directory: PathBuf,
        /// The other's tag.
        tag: String,
        /// The other agent.
        pid: u32,
    },
    /// Somebody else on the machine can be a user that a guest would run as.
    #[error(
        "user ids {first} to {last} belong to {owner} ({source_file}), who could end and trace guests that \
         run as them; {advice}"
    )]
    UidsOwned {
        /// The first that this agent would use.
        first: u64,
        /// The last.
        last: u64,
        /// Whose they are.
        owner: String,
        /// Where it says so.
        source_file: &'static str,
        /// What to set.
        advice: String,
    },
    /// Guests of this agent run in a range that the new one laps over.
    #[error(
        "guests of this agent still run with user ids {first} to {last}; set `guests.uid_base` to \
         {first}, or to where no id is one of those"
    )]
    UidsOfOwnGuests {
        /// The first of the earlier range.
        first: u64,
        /// The last.
        last: u64,
    },
    /// There is no range of the size in which nobody has an id.
    #[error("no {uids} user ids in a row are free on this machine; set `guests.uid_base`")]
    NoUids {
        /// How many there have to be.
        uids: u32,
    },
    /// A claim is there, and nobody knows on what.
    #[error(
        "the claim {} cannot be understood: {why}. Which user ids and directories of this machine are \
         another agent's is not known; look for the agent and the guests of that instance, and remove \
         the file only if there are none", path.display()
    )]
    Unclear {
        /// The claim.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// Nobody knows whose guests run.
    #[error(
        "as whom processes of this machine run, or its interfaces, cannot be read: no user ids are given \
         to guests before they can"
    )]
    Unread(#[source] io::Error),
    /// Files cannot be read or written.
    #[error("could not {verb} {}", path.display())]
    Io {
        /// What was tried.
        verb: &'static str,
        /// On what.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
}

/// Whether a share can be had beside what was found, but for the user ids. Pure.
fn judge(ours: &Claim, found: &[FoundClaim]) -> Result<(), ClaimError> {
    for other in found {
        let claim = &other.claim;
        let (tag, state_dir) = (claim.tag.clone(), claim.state_dir.clone());
        if claim.tag == ours.tag {
            if other.held {
                return Err(ClaimError::TagTaken { tag, pid: claim.pid, state_dir });
            }
            if other.counts() && claim.state_dir != ours.state_dir {
                return Err(ClaimError::GuestsRun { tag, state_dir });
            }
        } else if other.counts()
            && let Some(directory) = ours.shares_directory_with(claim)
        {
            let (directory, pid) = (directory.clone(), claim.pid);
            return Err(ClaimError::DirectoryTaken { directory, tag, pid });
        }
    }
    Ok(())
}

/// A claim for as long as it lives.
#[derive(Debug)]
pub struct Held {
    directory: PathBuf,
    path: PathBuf,
    first_uid: u32,
    users: Vec<Range<u64>>,
    _file: File,
}

impl Held {
    /// The first user id of its guests.
    #[must_use]
    pub const fn first_uid(&self) -> u32 {
        self.first_uid
    }

    /// The user ids that guests of it run as, now and from before.
    #[must_use]
    pub fn users(&self) -> &[Range<u64>] {
        &self.users
    }

    /// Gives the share back: nothing of the agent is left on the machine.
    ///
    /// # Errors
    /// The file cannot be removed.
    pub fn give_back(self) -> io::Result<()> {
        // In turn with those who claim: one that has opened the file, and would lock what is no
        // longer there by its name, finds it held instead.
        let _turn = take_turn(&self.directory)?;
        fs::remove_file(&self.path)
    }
}

fn failed(verb: &'static str, path: &Path) -> impl FnOnce(io::Error) -> ClaimError {
    let path = path.to_owned();
    move |source| ClaimError::Io { verb, path, source }
}

/// The claims that can't be understood, each with what is wrong with it: they keep every agent of
/// the machine from starting.
///
/// # Errors
/// Claims, or what is on the machine, can't be read; that does the same.
pub fn unclear(directory: &Path) -> io::Result<Vec<String>> {
    files::unclear(directory, &MachineNow::read()?)
}

/// Takes the agent's share of the machine. `now` reads what is on it, `owned` are the ids that are
/// other people's.
///
/// # Errors
/// Another agent or a user of the machine has a part of it; nothing was changed.
pub fn claim(
    directory: &Path,
    wish: &Wish<'_>,
    owned: &[Owned],
    now: impl FnOnce() -> io::Result<MachineNow>,
) -> Result<Held, ClaimError> {
    let ours = Claim::of(wish);
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(directory)
        .map_err(failed("make", directory))?;
    // One at a time: two that start together must see each other.
    let _turn = take_turn(directory).map_err(failed("take a turn in", directory))?;
    let now = now().map_err(ClaimError::Unread)?;
    let path = directory.join(format!("{}{SUFFIX}", ours.tag));
    // Of an earlier life, or of the agent that has the tag. Locked until ours lies in its place.
    let before = open_claim(&path).map_err(failed("open", &path))?;
    let held = match before.as_ref().map(File::try_lock) {
        None | Some(Ok(())) => false,
        Some(Err(TryLockError::WouldBlock)) => true,
        Some(Err(TryLockError::Error(source))) => return Err(failed("lock", &path)(source)),
    };
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).map_err(failed("list", directory))? {
        let other = entry.map_err(failed("list", directory))?.path();
        if !other.to_string_lossy().ends_with(SUFFIX) {
            continue;
        }
        let known = (other == path).then_some(held);
        let (claim, held) = match files::look(&other, known, &now) {
            Ok(Some(looked)) => looked,
            Ok(None) => continue,
            // Whatever it says, the tag is that of an agent that runs.
            Err(_) if held && other == path => continue,
            Err(why) => return Err(ClaimError::Unclear { path: other, why }),
        };
        let runs = |range: &Range<u64>| now.uids.iter().any(|uid| range.contains(&u64::from(*uid)));
        let in_use = claim.ranges().filter(runs).collect();
        found.push(FoundClaim { claim, held, in_use });
    }
    judge(&ours, &found)?;
    if held {
        // It cannot be understood, and is held all the same.
        let (tag, state_dir) = (ours.tag.clone(), PathBuf::new());
        return Err(ClaimError::TagTaken { tag, pid: 0, state_dir });
    }
    let ours = choose(ours, wish.first_uid, &found, owned)?;
    let mut text = serde_json::to_vec_pretty(&ours)
        .map_err(|error| failed("write", &path)(io::Error::other(error)))?;
    text.push(b'\n');
    let file = files::write(&path, &text).map_err(failed("write", &path))?;
    let (first_uid, users) = (ours.first_uid, ours.ranges().collect());
    Ok(Held { directory: directory.to_owned(), path, first_uid, users, _file: file })
}

#[cfg(test)]
mod tests;

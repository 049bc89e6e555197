//! Which processes of a name may be the agent's, without reading what strangers say.
//!
//! Anybody may start processes of any name, with any arguments, in any number. So the kernel's
//! words come first: as whom a process runs, and, if that is neither the agent's user nor a
//! guest's, whether its root directory is a jail. Of the others nothing is kept or read. A guest's
//! user may be a VMM that was taken over and forks without end: of each user the oldest processes
//! are kept, and so the VMM itself, and no user takes another's place.
//!
//! Driven by every reading of the process table. What can go wrong: `/proc` or the jails can't be
//! read; then there is no list.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::Range;
use std::os::fd::{AsFd as _, BorrowedFd};
use std::sync::Arc;

use rustix::io::Errno;

use super::{observe_in, open_proc, read_file, root_of, user};
use crate::host::{FileId, HostError, HostResult, Pid, ProcessFacts};

/// Of one user so many processes of a name are kept. One is usual.
const MOST_OF_A_USER: usize = 256;

/// Reads the roots of all jails.
pub(crate) type JailRoots = Arc<dyn Fn() -> HostResult<BTreeSet<FileId>> + Send + Sync>;

/// As whom, or where, the agent and its guests run.
#[derive(Clone, Default)]
pub(crate) struct Ours {
    /// The user ids of guests, now and from before. Root's and the agent's own are always ours.
    pub(crate) users: Vec<Range<u64>>,
    /// Whoever is in a jail was put there by us, as whomever he runs.
    pub(crate) jail_roots: Option<JailRoots>,
}

impl Ours {
    fn has_user(&self, user: u32) -> bool {
        user == 0
            || user == rustix::process::geteuid().as_raw()
            || self.users.iter().any(|ids| ids.contains(&u64::from(user)))
    }

    /// The processes of a name that run as one of our users, or in one of our jails.
    pub(super) fn list(&self, wanted: &str) -> HostResult<Vec<ProcessFacts>> {
        let failed = |error: Errno| HostError::io("list", "processes", error);
        let entries = std::fs::read_dir("/proc")
            .map_err(|error| HostError::io("list", "processes", error))?;
        let mut kept = Oldest::default();
        // Read when the first stranger shows up, and once.
        let mut roots = None;
        for entry in entries {
            let entry = entry.map_err(|error| HostError::io("list", "processes", error))?;
            let number = entry.file_name().to_str().and_then(|name| name.parse().ok());
            let Some(pid) = number.and_then(Pid::new) else { continue };
            // The cheap questions first: there are many processes and few VMMs.
            let Some(dir) = open_proc(pid).map_err(failed)? else { continue };
            let dir = dir.as_fd();
            let comm = read_file(dir, "comm").map_err(failed)?.unwrap_or_default();
            if comm.strip_suffix(b"\n").unwrap_or(&comm) != wanted.as_bytes()
                || !self.is_ours(dir, &mut roots)?
            {
                continue;
            }
            if let Some(facts) = observe_in(pid, dir).map_err(failed)?.filter(|f| f.comm == wanted)
            {
                kept.note(facts);
            }
        }
        Ok(kept.into_facts())
    }

    fn is_ours(
        &self,
        dir: BorrowedFd<'_>,
        roots: &mut Option<BTreeSet<FileId>>,
    ) -> HostResult<bool> {
        let failed = |error: Errno| HostError::io("list", "processes", error);
        let Some(status) = read_file(dir, "status").map_err(failed)? else { return Ok(false) };
        if user(&status).is_some_and(|user| self.has_user(user)) {
            return Ok(true);
        }
        let (Some(read), Some(root)) = (&self.jail_roots, root_of(dir)) else { return Ok(false) };
        let roots = match roots {
            Some(roots) => roots,
            none => none.insert(read()?),
        };
        Ok(roots.contains(&root))
    }
}

/// The oldest processes of each user.
#[derive(Default)]
struct Oldest(HashMap<Option<u32>, BTreeMap<(u64, Pid), ProcessFacts>>);

impl Oldest {
    fn note(&mut self, facts: ProcessFacts) {
        let of_user = self.0.entry(facts.user).or_default();
        of_user.insert((facts.start_ticks, facts.pid), facts);
        if of_user.len() > MOST_OF_A_USER {
            of_user.pop_last();
        }
    }

    fn into_facts(self) -> Vec<ProcessFacts> {
        self.0.into_values().flat_map(BTreeMap::into_values).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_forks_without_end_is_kept_by_its_oldest_and_pushes_nobody_out() {
        let of = |user: u32, n: u32, start_ticks: u64| ProcessFacts {
            pid: Pid::new(n).unwrap(),
            start_ticks,
            zombie: false,
            user: Some(user),
            program: None,
            comm: "firecracker".to_owned(),
            arguments: Vec::new(),
            root: None,
        };
        let mut kept = Oldest::default();
        let vmm = of(200_002, 1_000_000, 5);
        for n in 1..=10_000_u32 {
            kept.note(of(200_002, n, 10 + u64::from(n)));
        }
        // The oldest, by its start and not by its number, and the last that is seen.
        kept.note(vmm.clone());
        let neighbour = of(200_003, 20_000, 1_000_000);
        kept.note(neighbour.clone());
        let kept = kept.into_facts();
        assert_eq!(kept.len(), MOST_OF_A_USER + 1);
        assert!(kept.contains(&vmm) && kept.contains(&neighbour));
    }
}

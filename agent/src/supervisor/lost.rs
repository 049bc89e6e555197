//! Guests that may live and whose record is lost, or is of another user than they run as: the agent
//! asks the kernel as whom they run, so that no other guest gets their user, and with it their
//! address. Their pins say the same, and can be flushed.
//!
//! Looked at when the agent starts, before any assignment is heard, and then by the watch over the
//! network for as long as there are any. What can go wrong: their processes can't be read; then
//! nobody gets an address until they can.

use std::collections::{BTreeMap, BTreeSet};

use super::Supervisor;
use crate::host::{GuestKey, HostError, HostErrorKind, HostResult, JailId, Pid};
use crate::jail::process::{ProcessTable, is_our_jailer};
use crate::naming;

impl Supervisor {
    /// Notes as whom the guests run that no record tells of, before any assignment is heard.
    pub(super) async fn note_lost(&self, table: &ProcessTable) {
        self.note(table, WordOfRecords::Nothing).await;
    }

    async fn note(&self, table: &ProcessTable, word: WordOfRecords) {
        let seen = self.look_for_lost(table, word).await;
        if let Err(error) = &seen {
            tracing::warn!(
                error = error.chain(),
                "as whom guests without a record run can't be told: no guest gets an address"
            );
        }
        self.0.shared.addresses.note_lost(seen.map_err(|error| error.chain()));
    }

    /// As [`Self::note_lost`], where some were there at the last look, or it could not tell.
    pub(super) async fn note_lost_again(&self) {
        if !self.0.shared.addresses.has_lost() {
            return;
        }
        match ProcessTable::read(&*self.0.shared.host.processes).await {
            Ok(table) => self.note(&table, WordOfRecords::Future).await,
            Err(error) => tracing::warn!(error = error.chain(), "processes can't be listed"),
        }
    }

    async fn look_for_lost(
        &self,
        table: &ProcessTable,
        word: WordOfRecords,
    ) -> HostResult<BTreeMap<GuestKey, BTreeSet<u32>>> {
        let shared = &self.0.shared;
        let mut jails: BTreeSet<JailId> = shared.host.jails.list().await?.into_iter().collect();
        jails.extend(table.jails());
        let mut lost = BTreeMap::new();
        for jail in jails {
            let Some(vm) = naming::vm_of_jail(&jail) else { continue };
            let key = shared.naming.vm(vm).rules;
            let found = self.users_in(&jail, table).await?;
            // One that is to be absent may have a record again, and none that says its address.
            match found.beside(shared.addresses.user_of(&key), word) {
                Ok(users) if users.is_empty() => {}
                Ok(users) => drop(lost.insert(key, users)),
                Err(pid) => {
                    return Err(HostError::new(HostErrorKind::Busy, "tell the user of", &jail)
                        .detail(format!("process {pid} has none of its own yet")));
                }
            }
        }
        Ok(lost)
    }

    /// As whom the processes of a jail run.
    async fn users_in(&self, jail: &JailId, table: &ProcessTable) -> HostResult<UsersFound> {
        let host = &self.0.shared.host;
        let mut found = UsersFound::default();
        for (process, named) in table.claims() {
            if named == *jail {
                found.claim(process.pid, process.user, is_our_jailer(process));
            }
        }
        for pid in host.jails.members(jail).await? {
            let process = host.processes.observe(pid).await?;
            if let Some(process) = process.filter(|process| !process.zombie) {
                found.member(pid, process.user);
            }
        }
        Ok(found)
    }
}

/// How far the record of a guest says as whom its process is going to run that is root's still.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum WordOfRecords {
    /// Not at all: an earlier life of the agent started it, with what was written then.
    Nothing,
    /// This life started it, by the record.
    Future,
}

/// The users of a jail's processes.
#[derive(Debug, Default, PartialEq, Eq)]
struct UsersFound {
    /// Of those in its control group, which nobody enters but by root: it is theirs.
    members: BTreeSet<u32>,
    /// Of whoever says that it is of the jail. That is believed, because all that is at stake is
    /// its own user; but of the jail's guest it says nothing.
    claimed: BTreeSet<u32>,
    /// One that has no user of its own yet.
    untold: Option<Pid>,
}

impl UsersFound {
    fn member(&mut self, pid: Pid, user: Option<u32>) {
        match user.filter(|user| *user != 0) {
            Some(user) => drop(self.members.insert(user)),
            None => self.untold = Some(pid),
        }
    }

    /// `jailer`: a program of the agent's that root runs, which may not have come to the group yet.
    fn claim(&mut self, pid: Pid, user: Option<u32>, jailer: bool) {
        match user {
            Some(0) if jailer => self.untold = Some(pid),
            Some(0) | None => {}
            Some(user) => drop(self.claimed.insert(user)),
        }
    }

    /// Whose users are to be kept from others beside the one that is held for the guest: none where
    /// all run as that one.
    ///
    /// # Errors
    /// The process that it can't be told of. One member says it for all: nobody in a jail becomes
    /// another user.
    fn beside(&self, held: Option<u32>, word: WordOfRecords) -> Result<BTreeSet<u32>, Pid> {
        let is_told = !self.members.is_empty() || held.is_some() && word == WordOfRecords::Future;
        if let (Some(pid), false) = (self.untold, is_told) {
            return Err(pid);
        }
        let users = &self.members | &self.claimed;
        Ok(if users.iter().all(|user| Some(*user) == held) { BTreeSet::new() } else { users })
    }
}

#[cfg(test)]
mod tests;

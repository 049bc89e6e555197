//! Guests that may live and whose record is lost: as whom they run is asked of the kernel, so that no
//! other guest gets their user, and with it their address. Their pins say the same, and can be flushed.
//!
//! Looked at when the agent starts, before any assignment is heard, and then by the watch over the network
//! for as long as there are any. What can go wrong: their processes can't be read; then nobody gets an
//! address until they can.

use std::collections::{BTreeMap, BTreeSet};

use super::Supervisor;
use crate::host::{GuestKey, HostError, HostErrorKind, HostResult, JailId};
use crate::jail::process::ProcessTable;
use crate::naming;

impl Supervisor {
    /// Notes as whom the guests run that no record tells of.
    pub(super) async fn note_lost(&self, table: &ProcessTable) {
        let seen = self.look_for_lost(table).await;
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
            Ok(table) => self.note_lost(&table).await,
            Err(error) => tracing::warn!(error = error.chain(), "processes can't be listed"),
        }
    }

    async fn look_for_lost(
        &self,
        table: &ProcessTable,
    ) -> HostResult<BTreeMap<GuestKey, BTreeSet<u32>>> {
        let shared = &self.0.shared;
        let mut jails: BTreeSet<JailId> = shared.host.jails.list().await?.into_iter().collect();
        jails.extend(table.jails());
        let mut lost = BTreeMap::new();
        for jail in jails {
            let Some(vm) = naming::vm_of_jail(&jail) else { continue };
            let key = shared.naming.vm(vm).rules;
            // One that is to be absent may have a record again, and none that says its address.
            if shared.addresses.holds(&key) {
                continue;
            }
            let users = self.users_in(&jail, table).await?;
            if !users.is_empty() {
                lost.insert(key, users);
            }
        }
        Ok(lost)
    }

    /// As whom the processes of a jail run. One that is root's still is on the way to its user.
    async fn users_in(&self, jail: &JailId, table: &ProcessTable) -> HostResult<BTreeSet<u32>> {
        let host = &self.0.shared.host;
        // Whoever says that it is of the jail is believed: all that is at stake is its own user.
        let named = table.claims().filter(|(_, named)| named == jail);
        let mut users: BTreeSet<u32> =
            named.filter_map(|(process, _)| process.user.filter(|user| *user != 0)).collect();
        let mut untold = None;
        for pid in host.jails.members(jail).await? {
            let process = host.processes.observe(pid).await?.filter(|process| !process.zombie);
            match process.map(|process| process.user.filter(|user| *user != 0)) {
                Some(Some(user)) => drop(users.insert(user)),
                Some(None) => untold = Some(pid),
                None => {}
            }
        }
        // One says it for all: nobody in a jail becomes another user.
        match untold.filter(|_| users.is_empty()) {
            Some(pid) => Err(HostError::new(HostErrorKind::Busy, "tell the user of", jail)
                .detail(format!("process {pid} has none of its own yet"))),
            None => Ok(users),
        }
    }
}

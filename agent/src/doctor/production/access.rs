//! Who else may touch what is a VM's: paths that the jailer trusts, user ids that VMs run as; and
//! what a VM may touch that is its host's.

use super::finding;
use crate::doctor::Check;
use crate::doctor::production::seen::MachineSeen;
use crate::instance::{FIRST_UID, first_free, ids};

/// "Ensure that all paths provided to the jailer and their parent directories are not writable by
/// unprivileged users".
pub(super) fn program_paths(seen: &MachineSeen) -> Check {
    let found = match &seen.changeable[..] {
        [] => Ok("only root may change what the jailer is given".to_owned()),
        paths => {
            let paths = paths.join(" ");
            Err((
                format!("others than root may change what the jailer trusts: {paths}"),
                format!("chown root: {paths}; chmod go-w {paths}"),
            ))
        }
    };
    finding("program-paths", found)
}

/// "Create a dedicated non-privileged user": each VM has an id of its own, which nobody else may
/// have. Where an operator chose none, the agent takes ids that nobody has.
pub(super) fn vm_users(seen: &MachineSeen) -> Check {
    let Some((first, last)) = seen.vm_users else {
        let message = "the agent chooses user ids of VMs that are nobody else's".to_owned();
        return finding("vm-users", Ok(message));
    };
    let mut taken: Vec<_> = seen
        .owned
        .iter()
        .filter(|owned| owned.ids.start <= last && owned.ids.end > first)
        .map(|owned| owned.owner.as_str())
        .collect();
    taken.sort_unstable();
    taken.dedup();
    let found = if taken.is_empty() {
        Ok(format!("the user ids of VMs, {first} to {last}, are nobody else's"))
    } else {
        let ids: Vec<_> = seen.owned.iter().map(|owned| owned.ids.clone()).collect();
        let free = first_free(u64::from(FIRST_UID), last + 1 - first, &ids);
        Err((
            format!("user ids of VMs, {first} to {last}, also belong to {}", taken.join(", ")),
            format!("in /etc/banger/agent.toml, {}", ids::advice(free)),
        ))
    };
    finding("vm-users", found)
}

/// Where a cloud tells a machine its secrets, which are the host's. A list that somebody wrote down
/// does not have what became known later.
pub(super) fn metadata(seen: &MachineSeen) -> Check {
    let found = match &seen.open_metadata[..] {
        [] => Ok("no guest reaches a metadata service that is known".to_owned()),
        open => {
            let open = open.join(", ");
            Err((
                format!("guests with NAT reach metadata services of clouds: {open}"),
                format!("add {open} to guests.closed_addresses in /etc/banger/agent.toml"),
            ))
        }
    };
    finding("metadata", found)
}

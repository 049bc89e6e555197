//! Who else may touch what is a VM's: paths that the jailer trusts, user ids that VMs run as.

use super::finding;
use crate::doctor::Check;
use crate::doctor::production::seen::Seen;

/// "Ensure that all paths provided to the jailer and their parent directories are not writable by
/// unprivileged users".
pub(super) fn program_paths(seen: &Seen) -> Check {
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
/// have.
pub(super) fn vm_users(seen: &Seen) -> Check {
    let (first, last) = seen.vm_users;
    let mut taken = Vec::new();
    for (name, from, to) in users(seen.passwd.as_deref().unwrap_or_default())
        .into_iter()
        .chain(ranges(seen.subuid.as_deref().unwrap_or_default()))
    {
        if from <= last && to >= first {
            taken.push(name);
        }
    }
    taken.sort();
    taken.dedup();
    let found = if taken.is_empty() {
        Ok(format!("the user ids of VMs, {first} to {last}, are nobody else's"))
    } else {
        Err((
            format!("user ids of VMs, {first} to {last}, also belong to {}", taken.join(", ")),
            "set guests.uid_base in /etc/banger/agent.toml to where nobody is, while there are no \
             VMs"
            .to_owned(),
        ))
    };
    finding("vm-users", found)
}

/// Names and ids of `/etc/passwd` (passwd(5)).
pub(super) fn users(passwd: &str) -> Vec<(String, u64, u64)> {
    let user = |line: &str| {
        let mut fields = line.split(':');
        let name = fields.next()?.to_owned();
        let uid = fields.nth(1)?.parse().ok()?;
        Some((name, uid, uid))
    };
    passwd.lines().filter_map(user).collect()
}

/// Names and ranges of `/etc/subuid` (subuid(5)).
pub(super) fn ranges(subuid: &str) -> Vec<(String, u64, u64)> {
    let range = |line: &str| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        let from: u64 = fields.next()?.trim().parse().ok()?;
        let count: u64 = fields.next()?.trim().parse().ok()?;
        let to = from.checked_add(count.checked_sub(1)?)?;
        Some((format!("{name}'s subordinate ids"), from, to))
    };
    subuid.lines().filter_map(range).collect()
}

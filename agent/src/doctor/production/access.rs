//! Who else may touch what is a VM's: paths that the jailer trusts, user ids that VMs run as; and
//! what a VM may touch that is its host's.

use std::path::{Path, PathBuf};

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

/// What a guest has written is read by the host's blkid, LVM and udisks unless a rule of udev's
/// says otherwise, and they believe its labels.
pub(super) fn guest_disks(seen: &MachineSeen) -> Check {
    const LAY: &str = "banger system update, which lays 09-banger.rules down as configured";
    let found = match &seen.udev_rules {
        _ if !seen.udev => Ok("no udev looks into guests' disks".to_owned()),
        None => {
            let message = "udev and LVM look into guests' disks: no rule of banger's is there";
            Err((message.to_owned(), LAY.to_owned()))
        }
        Some(rules) => {
            let is_open = |directory: &&PathBuf| !is_kept_off(rules, directory);
            let open: Vec<_> = seen
                .disk_dirs
                .iter()
                .filter(is_open)
                .map(|dir| dir.display().to_string())
                .collect();
            if open.is_empty() {
                Ok("udev and LVM are kept off guests' disks".to_owned())
            } else {
                let message =
                    format!("udev and LVM look into files of guests' disks in {}", open.join(" "));
                Err((message, LAY.to_owned()))
            }
        }
    };
    finding("guest-disks", found)
}

/// Whether the rules name the files below a directory, as files of loop devices.
pub(super) fn is_kept_off(rules: &str, directory: &Path) -> bool {
    let file = format!("{}/vms/one/cow", directory.display());
    let lines = rules.lines().filter(|line| !line.trim_start().starts_with('#'));
    let patterns = lines.filter_map(|line| {
        let (_, rest) = line.split_once("ATTR{loop/backing_file}==\"")?;
        Some(rest.split_once('"')?.0)
    });
    patterns.flat_map(|patterns| patterns.split('|')).any(|pattern| matches(pattern, &file))
}

/// A pattern of udev's in which `*` is all that stands for something else.
fn matches(pattern: &str, text: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == text,
        Some((before, rest)) => text.strip_prefix(before).is_some_and(|text| {
            text.char_indices()
                .map(|(at, _)| at)
                .chain([text.len()])
                .any(|at| matches(rest, &text[at..]))
        }),
    }
}

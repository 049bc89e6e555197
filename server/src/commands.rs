//! What an operator runs beside the server, and the sentences it answers with: a backup and its
//! way back, and another CA ([`ca`]). docs/OPERATIONS.md says when; a test follows that page.

pub mod ca;

use std::fmt::Write as _;
use std::path::Path;

use banger_proto::words::counted;
use banger_terminal::progress::Progress;
use jiff::Timestamp;

use crate::config::ServerConfig;
use crate::pki::CaOnDisk;
use crate::store::{
    self, BackupError, BackupNote, HostShutOut, NamedToken, NamedVm, RestoreError, RestoreTerms,
    Restored, UnknownHost,
};

/// How many VMs or tokens are named; of more, their number is told.
const NAMED: usize = 20;

/// Copies the database of a server, which may run meanwhile, to a file that is not there yet.
///
/// # Errors
/// Nothing was made then.
pub async fn backup(
    config: &ServerConfig,
    to: &Path,
    now: Timestamp,
) -> Result<String, BackupError> {
    let note = BackupNote {
        made_at: now,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        ca_sha256: cas(config).pop().unwrap_or_default(),
    };
    let progress = Progress::start();
    let line = store::partial_of(to)
        .and_then(|partial| progress.growing("copying", &partial, length(&config.database())));
    let size = store::backup(&config.database(), to, &note).await?;
    drop(line);
    Ok(format!(
        "{}: {size} bytes, the database as it was at {now:.0}\n\
         Not in it, and to be kept beside it:\n  \
         {}  the CA: without it no agent listens to a restored server; it changes by\n      `banger-server ca` alone\n  \
         {}  the contents of images: they can be imported again, to the same digests\n",
        to.display(),
        config.ca_dir().display(),
        config.images_dir().join("sha256").display(),
    ))
}

/// Puts a backup in the place of the database of a server that is stopped, or only says what would
/// be.
///
/// # Errors
/// The database is as it was then.
pub async fn restore(
    config: &ServerConfig,
    from: &Path,
    now: Timestamp,
    terms: RestoreTerms,
) -> Result<String, RestoreError> {
    let progress = Progress::start();
    let copy = store::restoring(&config.state_dir);
    let line = progress.growing("copying and checking", &copy, length(from));
    let restored = store::restore(&config.database(), from, now, terms).await?;
    drop(line);
    Ok(told(config, from, &restored, terms))
}

/// As far as it can be told: what is asked for itself says what is wrong with the file.
fn length(file: &Path) -> u64 {
    file.metadata().map_or(0, |found| found.len())
}

/// The newest last; what can't be read is as good as none.
fn cas(config: &ServerConfig) -> Vec<String> {
    let all = CaOnDisk::all(&config.ca_dir()).unwrap_or_default();
    all.iter().map(|ca| hex::encode(ca.sha256)).collect()
}

fn told(config: &ServerConfig, from: &Path, restored: &Restored, terms: RestoreTerms) -> String {
    let RestoreTerms { dry_run, keep_shut_out } = terms;
    let mut text = String::new();
    // Writing to a String can't fail.
    let mut line = |sentence: String| {
        let _ = writeln!(text, "{sentence}");
    };
    let database = config.database();
    let made = match &restored.note {
        Some(note) => format!(", made at {:.0} by banger-server {}", note.made_at, note.version),
        None => String::new(),
    };
    let is = if dry_run { "would be" } else { "is" };
    let vms = counted(restored.vms as u64, "VM");
    line(format!("{} {is} {} with {vms}{made}", database.display(), from.display()));
    match &restored.kept {
        Some(kept) if dry_run => line(format!("the old one would be kept in {}", kept.display())),
        Some(kept) => line(format!("the old one is in {}", kept.display())),
        None => line("there was none before".to_owned()),
    }
    if dry_run {
        line("nothing was changed".to_owned());
    } else {
        line(format!("its epoch is {}, above every one that an agent has heard", restored.epoch));
    }
    if restored.kept.is_some() && !restored.compared {
        line(format!(
            "the old one can't be read, so that what became of VMs since the backup is not known: {}",
            restored.unread
        ));
    }
    list(
        &mut line,
        &restored.unclaimed,
        "VMs that the backup does not know; what their hosts hold of them will be unclaimed and \
         left alone",
    );
    list(
        &mut line,
        &restored.made_again,
        "VMs that were deleted since the backup; they will be made again, with empty disks",
    );
    hosts(&mut line, &restored.unknown_hosts);
    shut_out(&mut line, restored, keep_shut_out);
    let ca_directory = config.ca_dir();
    let here = cas(config);
    match (here.last(), restored.note.as_ref().map(|note| note.ca_sha256.as_str())) {
        (None, _) => line(format!(
            "WARNING: there is no CA in {}: put it back before the start, or no agent will listen",
            ca_directory.display()
        )),
        (Some(_), Some(then)) if !then.is_empty() && !here.iter().any(|ca| ca == then) => {
            line(format!(
                "WARNING: the CA in {} is not the one of the backup: hosts that joined under that one \
             will not listen until it is put back or they join again",
                ca_directory.display()
            ))
        }
        (Some(_), _) => {}
    }
    let contents = config.images_dir().join("sha256");
    let missing: Vec<&String> =
        restored.contents.iter().filter(|digest| !contents.join(digest).is_file()).collect();
    if !missing.is_empty() {
        let (is, again) = match missing.len() {
            1 => ("content of an image is", "it back, or import the image"),
            _ => ("contents of images are", "them back, or import the images"),
        };
        let (missing, contents) = (missing.len(), contents.display());
        line(format!("WARNING: {missing} {is} not in {contents}: put {again} again"));
    }
    text
}

fn hosts(line: &mut impl FnMut(String), hosts: &[UnknownHost]) {
    let (known, new): (Vec<_>, Vec<_>) = hosts.iter().partition(|host| host.earlier.is_some());
    if !new.is_empty() {
        line("hosts that the backup does not know, which have to join again:".to_owned());
    }
    for host in new {
        line(format!("  {}  {}", host.id, host.name));
    }
    if !known.is_empty() {
        line(
            "hosts that the backup knows by an earlier id, under which they will not answer; \
             `banger host rm NAME`, then have them join again:"
                .to_owned(),
        );
    }
    for host in known {
        let earlier = host.earlier.map(|id| format!("  (in the backup: {id})")).unwrap_or_default();
        line(format!("  {}  {}{earlier}", host.id, host.name));
    }
}

/// Who was shut out since, and what becomes of them.
fn shut_out(line: &mut impl FnMut(String), restored: &Restored, keep: bool) {
    if !restored.compared {
        line(format!(
            "WARNING: who was shut out since the backup is not known, and is let in again: it has \
             {} hosts and {} good tokens; look at `banger host ls` and `banger token ls`",
            restored.hosts, restored.tokens
        ));
        return;
    }
    let comes_back = |shut: &'static str| if keep { "come back as they were in it" } else { shut };
    for (how, what, then) in [
        (HostShutOut::Deleted, "were deleted", "; `banger host rm NAME` again those of nobody"),
        (HostShutOut::Revoked, "were revoked", " and revoked"),
        (HostShutOut::Rekeyed, "have another key", "; their agents have to join again"),
        (HostShutOut::Cordoned, "were cordoned", ""),
    ] {
        let hosts = || restored.shut_out.hosts.iter().filter(|host| host.how == how);
        if hosts().next().is_some() {
            let comes = comes_back("come back cordoned");
            line(format!("hosts that {what} since the backup, which {comes}{then}:"));
        }
        for host in hosts() {
            line(format!("  {}  {}", host.id, host.name));
        }
    }
    let comes = comes_back("are left out");
    let taken = format!("tokens that were taken back since the backup, which {comes}");
    tokens(line, &restored.shut_out.tokens, &taken);
    let unused: Vec<_> = (restored.shut_out.join_tokens.iter())
        .map(|id| NamedToken { id: id.clone(), name: String::new() })
        .collect();
    let used = format!("join tokens that were used or taken back since the backup, which {comes}");
    tokens(line, &unused, &used);
    for (names, what, shut) in [
        (&restored.shut_out.images, "images that are public no longer", "are not public"),
        (&restored.shut_out.quotas, "projects with a smaller quota", "keep the smaller"),
        (&restored.shut_out.smaller_hosts, "hosts of whose size less counts", "go on so"),
    ] {
        if !names.is_empty() {
            line(format!("{what} since the backup, which {}:", comes_back(shut)));
        }
        names.iter().for_each(|name| line(format!("  {name}")));
    }
    let made = "tokens that the backup does not know, which are good no longer";
    tokens(line, &restored.shut_out.unknown_tokens, made);
}

fn tokens(line: &mut impl FnMut(String), tokens: &[NamedToken], what: &str) {
    if tokens.is_empty() {
        return;
    }
    line(format!("{what}:"));
    for token in tokens.iter().take(NAMED) {
        line(format!("  {}  {}", token.id, token.name).trim_end().to_owned());
    }
    if tokens.len() > NAMED {
        line(format!("  and {} more", tokens.len() - NAMED));
    }
}

fn list(line: &mut impl FnMut(String), vms: &[NamedVm], what: &str) {
    if vms.is_empty() {
        return;
    }
    line(format!("{what}:"));
    for vm in vms.iter().take(NAMED) {
        let host = if vm.host.is_empty() { String::new() } else { format!("  on {}", vm.host) };
        line(format!("  {}  {}{host}", vm.id, vm.name));
    }
    if vms.len() > NAMED {
        line(format!("  and {} more", vms.len() - NAMED));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::fixtures::host_id;
    use crate::store::{ShutOut, ShutOutHost};

    fn told_of(compared: bool, keep: bool) -> String {
        let host =
            |number, how| ShutOutHost { name: format!("b{number}"), id: host_id(number), how };
        let token = |name: &str| NamedToken { id: format!("bgr_{name}"), name: name.to_owned() };
        let shut = ShutOut {
            hosts: vec![host(1, HostShutOut::Deleted), host(2, HostShutOut::Rekeyed)],
            tokens: vec![token("mallory")],
            join_tokens: (0..30).map(|number| format!("j{number}")).collect(),
            images: vec!["base".to_owned()],
            quotas: vec!["shop".to_owned()],
            smaller_hosts: vec!["b7".to_owned()],
            unknown_tokens: vec![token("later")],
        };
        let restored = Restored {
            note: None,
            epoch: banger_proto::ids::Epoch(1),
            kept: None,
            compared,
            unread: String::new(),
            unclaimed: Vec::new(),
            made_again: Vec::new(),
            unknown_hosts: Vec::new(),
            shut_out: if compared { shut } else { ShutOut::default() },
            vms: 0,
            hosts: 7,
            tokens: 5,
            contents: Default::default(),
        };
        let mut lines = Vec::new();
        shut_out(&mut |line| lines.push(line), &restored, keep);
        lines.join("\n")
    }

    #[test]
    fn whoever_was_shut_out_is_named_with_what_becomes_of_them() {
        let told = told_of(true, false);
        for said in [
            "hosts that were deleted since the backup, which come back cordoned; `banger host rm",
            "hosts that have another key since the backup, which come back cordoned; their agents",
            "  b2",
            "tokens that were taken back since the backup, which are left out:\n  bgr_mallory  mallory",
            "  j19\n  and 10 more",
            "public no longer since the backup, which are not public:\n  base",
            "a smaller quota since the backup, which keep the smaller:\n  shop",
            "hosts of whose size less counts since the backup, which go on so:\n  b7",
            "which are good no longer:\n  bgr_later  later",
        ] {
            assert!(told.contains(said), "{said}: {told}");
        }
        assert!(!told.contains("were cordoned"), "{told}");
        let told = told_of(true, true);
        assert!(told.contains("which come back as they were in it:\n  bgr_mallory"), "{told}");
        assert!(!told.contains("left out") && !told.contains("cordoned"), "{told}");
    }

    #[test]
    fn where_nobody_knows_who_was_shut_out_it_is_said_how_many_come_back() {
        let told = told_of(false, false);
        assert!(told.contains("7 hosts and 5 good tokens"), "{told}");
        assert!(told.contains("banger host ls") && told.contains("banger token ls"), "{told}");
    }
}

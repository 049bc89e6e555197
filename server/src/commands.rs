//! What an operator runs beside the server, and the sentences it answers with: a backup and its
//! way back. docs/OPERATIONS.md says when; a test follows that page.

use std::fmt::Write as _;
use std::path::Path;

use banger_proto::words::counted;
use jiff::Timestamp;

use crate::config::ServerConfig;
use crate::pki::CertificateAuthority;
use crate::store::{self, BackupError, BackupNote, NamedVm, RestoreError, Restored, UnknownHost};

/// How many VMs are named; of more, their number is told.
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
        ca_sha256: ca(config).unwrap_or_default(),
    };
    let size = store::backup(&config.database(), to, &note).await?;
    Ok(format!(
        "{}: {size} bytes, the database as it was at {now:.0}\n\
         Not in it, and to be kept beside it:\n  \
         {}  the CA: without it no agent listens to a restored server; it never changes\n  \
         {}  the contents of images: they can be imported again, to the same digests\n",
        to.display(),
        config.ca_dir().display(),
        config.images_dir().join("sha256").display(),
    ))
}

/// Puts a backup in the place of the database of a server that is stopped. With `dry_run` it only
/// says what would be.
///
/// # Errors
/// The database is as it was then.
pub async fn restore(
    config: &ServerConfig,
    from: &Path,
    now: Timestamp,
    dry_run: bool,
) -> Result<String, RestoreError> {
    let restored = store::restore(&config.database(), from, now, dry_run).await?;
    Ok(told(config, from, &restored, dry_run))
}

fn ca(config: &ServerConfig) -> Option<String> {
    CertificateAuthority::fingerprint_in(&config.ca_dir()).map(hex::encode)
}

fn told(config: &ServerConfig, from: &Path, restored: &Restored, dry_run: bool) -> String {
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
        line(
            "the old one can't be read, so that what became of VMs since the backup is not known"
                .to_owned(),
        );
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
    let ca_directory = config.ca_dir();
    match (ca(config), restored.note.as_ref().map(|note| note.ca_sha256.as_str())) {
        (None, _) => line(format!(
            "WARNING: there is no CA in {}: put it back before the start, or no agent will listen",
            ca_directory.display()
        )),
        (Some(here), Some(then)) if !then.is_empty() && here != then => line(format!(
            "WARNING: the CA in {} is not the one of the backup: hosts that joined under that one \
             will not listen until it is put back or they join again",
            ca_directory.display()
        )),
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

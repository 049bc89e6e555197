//! `banger-server ca`: another CA, who stands on which, and the end of the old one.
//!
//! Works on the files and reads the database, beside a server that runs or not; a server that runs
//! takes it over when it is told to reload.

use std::fmt::Write as _;

use jiff::Timestamp;

use super::NAMED;
use crate::config::ServerConfig;
use crate::model::host::HostRecord;
use crate::pki::{CaError, CaOnDisk, make_another};
use crate::store::{OpenError, hosts_in};

/// What keeps a CA from being made, looked at or retired.
#[derive(Debug, thiserror::Error)]
pub enum CaCommandError {
    #[error(transparent)]
    Ca(#[from] CaError),
    /// The database can't be read.
    #[error("the hosts can't be read")]
    Hosts(#[source] OpenError),
    /// There is one CA, and it is needed.
    #[error("there is one CA alone: make another with `banger-server ca new` first")]
    OnlyOne,
    /// Hosts stand on it.
    #[error("{0}")]
    InUse(String),
}

/// Makes another CA.
///
/// # Errors
/// Nothing has changed then.
pub fn new(config: &ServerConfig, now: Timestamp) -> Result<String, CaCommandError> {
    let made = make_another(&config.ca_dir(), now)?;
    Ok(format!(
        "CA {} is made. Once the server has reloaded (`systemctl reload banger-server`) it signs \
         the certificates of agents, and each host is told of it and renewed under it when its \
         agent is reached; until `banger-server ca retire` both are trusted.\n",
        short(made)
    ))
}

/// Says which CAs there are, and how many hosts stand on which.
///
/// # Errors
/// They can't be read.
pub async fn status(config: &ServerConfig) -> Result<String, CaCommandError> {
    let all = CaOnDisk::all(&config.ca_dir())?;
    let hosts = hosts_of(config).await?;
    let mut text = String::new();
    for (at, ca) in all.iter().enumerate() {
        let newest = at + 1 == all.len();
        let is = if newest { "signs" } else { "is trusted until it is retired" };
        let standing = standing_on(ca, &hosts);
        // Writing to a String can't fail.
        let _ = writeln!(text, "CA {} {is}: {}", short(ca.sha256), counted(standing.len()));
        if !newest {
            name(&mut text, &standing);
        }
    }
    let on_none: Vec<_> =
        hosts.iter().filter(|host| !all.iter().any(|ca| ca.has_signed(host.ca_sha256))).collect();
    if !on_none.is_empty() {
        let _ = writeln!(text, "on none of them, so that they have to join again:");
        name(&mut text, &on_none);
    }
    Ok(text)
}

/// Puts the oldest CA aside.
///
/// # Errors
/// Hosts stand on it, and nobody insists; it is the only one; or its files can't be moved.
pub async fn retire(config: &ServerConfig, force: bool) -> Result<String, CaCommandError> {
    let directory = config.ca_dir();
    let all = CaOnDisk::all(&directory)?;
    let [oldest, _, ..] = &all[..] else { return Err(CaCommandError::OnlyOne) };
    let hosts = hosts_of(config).await?;
    let standing = standing_on(oldest, &hosts);
    let mut text = String::new();
    if !standing.is_empty() {
        let old = short(oldest.sha256);
        let hosts = counted(standing.len());
        let _ = writeln!(text, "{hosts} still on CA {old}, which would have to join again:");
        name(&mut text, &standing);
        if !force {
            let _ = write!(text, "nothing was done; wait until they are renewed, or add --force");
            return Err(CaCommandError::InUse(text));
        }
    }
    let aside = oldest.retire(&directory)?;
    let _ = writeln!(
        text,
        "CA {} is retired: once the server has reloaded (`systemctl reload banger-server`) nothing \
         trusts it any more. Its files are in {}; whoever has that key can command agents that were \
         not reached since: remove it when every host was.",
        short(oldest.sha256),
        aside.display()
    );
    Ok(text)
}

/// Hosts that were shut out stand on none.
async fn hosts_of(config: &ServerConfig) -> Result<Vec<HostRecord>, CaCommandError> {
    let mut hosts = hosts_in(&config.database()).await.map_err(CaCommandError::Hosts)?;
    hosts.retain(|host| host.revoked.is_none());
    Ok(hosts)
}

fn standing_on<'a>(ca: &CaOnDisk, hosts: &'a [HostRecord]) -> Vec<&'a HostRecord> {
    hosts.iter().filter(|host| ca.has_signed(host.ca_sha256)).collect()
}

fn name(text: &mut String, hosts: &[&HostRecord]) {
    for host in hosts.iter().take(NAMED) {
        let _ = writeln!(text, "  {}  {}", host.id, host.name);
    }
    if hosts.len() > NAMED {
        let _ = writeln!(text, "  and {} more", hosts.len() - NAMED);
    }
}

fn counted(hosts: usize) -> String {
    banger_proto::words::counted(hosts as u64, "host")
}

fn short(sha256: [u8; 32]) -> String {
    hex::encode(&sha256[..8])
}

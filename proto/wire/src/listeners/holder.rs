//! Who has the port that a service was to have, for the sentence with which it does not start.
//!
//! Which process it is, is seen by root and by whoever runs as the same user: everybody's
//! descriptors are looked through, up to a bound. A socket that is bound and does not listen is in
//! no table.

use std::fmt;
use std::fs;
use std::net::SocketAddr;

use super::{table, user_text};

/// So many descriptors are looked at: somebody who has a port may have many.
const MOST_LOOKED_AT: usize = 200_000;

/// Somebody who listens where we would.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Holder {
    uid: u32,
    pid: Option<u32>,
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the address is in use by ")?;
        if let Some(pid) = self.pid {
            write!(f, "process {pid} of ")?;
        }
        f.write_str(&user_text(self.uid))
    }
}

impl std::error::Error for Holder {}

/// Who listens at an address, or at that port of another address where "any" was wanted.
pub(super) fn of(address: SocketAddr) -> Option<Holder> {
    let is_any = address.ip().is_unspecified();
    let rows = table::read(|row| {
        row.listens_at(address) || is_any && row.listens && row.local.port() == address.port()
    });
    let row = rows.first()?;
    Some(Holder { uid: row.uid, pid: process_with(row.inode) })
}

/// The process that has a socket open.
fn process_with(inode: u64) -> Option<u32> {
    let wanted = format!("socket:[{inode}]");
    let mut looked_at = 0;
    for process in fs::read_dir("/proc").ok()?.flatten() {
        let Some(pid) = process.file_name().to_str().and_then(|name| name.parse().ok()) else {
            continue;
        };
        // Another user's may be barred.
        for descriptor in fs::read_dir(process.path().join("fd")).into_iter().flatten().flatten() {
            looked_at += 1;
            if fs::read_link(descriptor.path()).is_ok_and(|to| to.as_os_str() == wanted.as_str()) {
                return Some(pid);
            }
            if looked_at == MOST_LOOKED_AT {
                return None;
            }
        }
    }
    None
}

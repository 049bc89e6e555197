//! Page tokens, and the snapshots that the pages of one list come from.
//!
//! A token is opaque, says where the next page begins, and is good for the query it was made for
//! and for this life of the server only: it carries a digest of the query and is authenticated with
//! a key made at start. The pages of a list of VMs all come from one snapshot, which is kept for a
//! minute after its last use; a token whose snapshot is gone is refused with a reason of its own,
//! and the caller lists again. How many are kept is bounded for each caller.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use banger_proto::ids::Revision;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use parking_lot::Mutex;
use prost::Message;
use sha2::{Digest, Sha256};
use tonic::Status;

use super::status;
use crate::model::caller::Caller;
use crate::watch::Snapshot;

/// Largest page that can be asked for.
pub const MAX_PAGE: u32 = 1000;

/// Size of a page when nothing was said.
pub const DEFAULT_PAGE: u32 = 100;

/// What a page may weigh, encoded, in bytes: a message less what gRPC and the page itself add.
pub const MAX_PAGE_BYTES: usize = banger_proto::bounds::MAX_MESSAGE_BYTES - 64 * 1024;

/// How long a snapshot is kept after its last use.
const SNAPSHOT_LIFE: Duration = Duration::from_secs(60);

/// Most snapshots kept for one caller; the one least recently used goes first. What they have in
/// common is in memory once.
const MAX_SNAPSHOTS_OF_ONE: usize = 256;

/// Most snapshots kept in all. Past it the caller with most of them loses one.
const MAX_SNAPSHOTS: usize = 4096;

/// The longest token with a key, in characters.
const MAX_KEY_TOKEN: usize = 2048;

const BODY_LEN: usize = 8 + 16 + 8 + 16;
const MAC_LEN: usize = 16;

/// Where the next page begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cursor {
    /// The revision of the list; zero for lists without one.
    pub revision: Revision,
    /// The key of the last thing shown.
    pub after: u128,
    /// How many things there are in all, found out for the first page.
    pub total: u64,
}

/// Snapshots by caller and revision, each with its last use.
type Kept = BTreeMap<(Arc<str>, Revision), (Instant, Snapshot)>;

/// Makes and reads page tokens, and keeps snapshots.
pub struct Pages {
    key: [u8; 32],
    /// By caller and revision, so that nobody's lists end because others began some.
    snapshots: Mutex<Kept>,
}

impl std::fmt::Debug for Pages {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Pages(..)")
    }
}

impl Pages {
    /// With a key made at start.
    pub fn new(key: [u8; 32]) -> Self {
        Self { key, snapshots: Mutex::new(BTreeMap::new()) }
    }

    /// The token for a cursor of this query.
    pub fn token(&self, query: &PageQuery, cursor: Cursor) -> String {
        let mut token = Vec::with_capacity(BODY_LEN + MAC_LEN);
        token.extend(cursor.revision.0.to_be_bytes());
        token.extend(cursor.after.to_be_bytes());
        token.extend(cursor.total.to_be_bytes());
        token.extend(query.0);
        token.extend(self.mac(&token));
        URL_SAFE_NO_PAD.encode(token)
    }

    /// The cursor of a token; `None` for the first page.
    ///
    /// # Errors
    /// When the token is not of this server, or belongs to another query.
    pub fn read(&self, query: &PageQuery, token: &str) -> Result<Option<Cursor>, Status> {
        if token.is_empty() {
            return Ok(None);
        }
        let foreign =
            || status::page_token_invalid("is not from this server, or from before its start");
        // 86 characters are all that a token has.
        let bytes = (token.len() <= 128).then(|| URL_SAFE_NO_PAD.decode(token).ok()).flatten();
        let bytes: [u8; BODY_LEN + MAC_LEN] =
            bytes.and_then(|bytes| bytes.try_into().ok()).ok_or_else(foreign)?;
        let (body, mac) = bytes.split_at(BODY_LEN);
        if !same(mac, &self.mac(body)) {
            return Err(foreign());
        }
        let (revision, rest) = body.split_at(8);
        let (after, rest) = rest.split_at(16);
        let (total, digest) = rest.split_at(8);
        if digest != query.0 {
            return Err(status::page_token_invalid("belongs to another query"));
        }
        Ok(Some(Cursor {
            revision: Revision(u64::from_be_bytes(revision.try_into().expect("8 bytes"))),
            after: u128::from_be_bytes(after.try_into().expect("16 bytes")),
            total: u64::from_be_bytes(total.try_into().expect("8 bytes")),
        }))
    }

    /// The token for a list without a revision, whose next page begins after the thing with this
    /// key.
    pub fn key_token(&self, query: &PageQuery, after: &str) -> String {
        let body = [&query.0, after.as_bytes()].concat();
        let mac = self.mac(&key_digest(&body));
        URL_SAFE_NO_PAD.encode([&body[..], &mac].concat())
    }

    /// The key of such a token; `None` for the first page.
    ///
    /// # Errors
    /// When the token is not of this server, or belongs to another query.
    pub fn read_key(&self, query: &PageQuery, token: &str) -> Result<Option<String>, Status> {
        if token.is_empty() {
            return Ok(None);
        }
        let foreign =
            || status::page_token_invalid("is not from this server, or from before its start");
        let bytes = (token.len() <= MAX_KEY_TOKEN).then(|| URL_SAFE_NO_PAD.decode(token).ok());
        let bytes = bytes.flatten().filter(|bytes| bytes.len() >= query.0.len() + MAC_LEN);
        let bytes = bytes.ok_or_else(foreign)?;
        let (body, mac) = bytes.split_at(bytes.len() - MAC_LEN);
        if !same(mac, &self.mac(&key_digest(body))) {
            return Err(foreign());
        }
        let (digest, key) = body.split_at(query.0.len());
        if digest != query.0 {
            return Err(status::page_token_invalid("belongs to another query"));
        }
        String::from_utf8(key.to_vec()).map(Some).map_err(|_| foreign())
    }

    /// Keeps a snapshot for the pages to come of this caller's list.
    pub fn keep(&self, caller: &Arc<str>, snapshot: &Snapshot, now: Instant) {
        let mut snapshots = self.snapshots.lock();
        snapshots.retain(|_, (used, _)| now.duration_since(*used) < SNAPSHOT_LIFE);
        snapshots.insert((Arc::clone(caller), snapshot.revision), (now, snapshot.clone()));
        drop_oldest(&mut snapshots, caller, MAX_SNAPSHOTS_OF_ONE);
        while snapshots.len() > MAX_SNAPSHOTS {
            let mut counts = BTreeMap::<Arc<str>, usize>::new();
            for (caller, _) in snapshots.keys() {
                *counts.entry(Arc::clone(caller)).or_default() += 1;
            }
            let Some((most, count)) = counts.into_iter().max_by_key(|(_, count)| *count) else {
                break;
            };
            drop_oldest(&mut snapshots, &most, count - 1);
        }
    }

    /// A snapshot that was kept.
    ///
    /// # Errors
    /// When it is gone.
    pub fn snapshot(
        &self,
        caller: &Arc<str>,
        revision: Revision,
        now: Instant,
    ) -> Result<Snapshot, Status> {
        let mut snapshots = self.snapshots.lock();
        let kept = snapshots
            .get_mut(&(Arc::clone(caller), revision))
            .filter(|(used, _)| now.duration_since(*used) < SNAPSHOT_LIFE);
        let (used, snapshot) = kept.ok_or_else(status::page_token_expired)?;
        *used = now;
        Ok(snapshot.clone())
    }

    /// Lets go of snapshots that nobody has asked for in a while. Called every few seconds.
    pub fn expire(&self, now: Instant) {
        self.snapshots.lock().retain(|_, (used, _)| now.duration_since(*used) < SNAPSHOT_LIFE);
    }

    /// Over texts of one length, so that nothing can be appended to one.
    fn mac(&self, body: &[u8]) -> [u8; MAC_LEN] {
        let digest = Sha256::new().chain_update(self.key).chain_update(body).finalize();
        let mut mac = [0; MAC_LEN];
        mac.copy_from_slice(&digest[..MAC_LEN]);
        mac
    }
}

/// Leaves this caller so many snapshots, those last used.
fn drop_oldest(snapshots: &mut Kept, caller: &Arc<str>, left: usize) {
    let range = (Arc::clone(caller), Revision(0))..=(Arc::clone(caller), Revision(u64::MAX));
    let mut own: Vec<_> =
        snapshots.range(range).map(|((_, revision), (used, _))| (*used, *revision)).collect();
    own.sort_unstable();
    let too_many = own.len().saturating_sub(left);
    for (_, revision) in own.into_iter().take(too_many) {
        snapshots.remove(&(Arc::clone(caller), revision));
    }
}

/// Of one length whatever the key's, and of no cursor's.
fn key_digest(body: &[u8]) -> [u8; 32] {
    Sha256::new().chain_update("key token").chain_update(body).finalize().into()
}

/// A digest of what is listed: method and all fields but the token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PageQuery([u8; 16]);

impl PageQuery {
    /// Of a request whose page token was taken out.
    pub fn of(method: &str, request: &impl Message) -> Self {
        let hash = Sha256::new().chain_update(method).chain_update([0]);
        Self::digest(hash.chain_update(request.encode_to_vec()))
    }
}

impl PageQuery {
    /// The same query by this caller: a token of who sees more is none of theirs, for it says how
    /// much there is.
    pub fn seen_by(self, caller: &Caller) -> Self {
        match caller.only() {
            None => self,
            Some(project) => {
                Self::digest(Sha256::new().chain_update(self.0).chain_update(project.as_str()))
            }
        }
    }

    fn digest(hash: Sha256) -> Self {
        let mut query = [0; 16];
        query.copy_from_slice(&hash.finalize()[..16]);
        Self(query)
    }
}

/// The size of a page: zero means the default.
///
/// # Errors
/// When it is too large.
pub fn page_size(asked: u32) -> Result<usize, Status> {
    match asked {
        0 => Ok(DEFAULT_PAGE as usize),
        1..=MAX_PAGE => Ok(asked as usize),
        _ => Err(status::invalid_field(
            "page_size",
            format!("is {asked}; must be at most {MAX_PAGE}"),
        )),
    }
}

/// Whether two texts of one length are the same, in a time that does not tell where they differ.
pub(super) fn same(a: &[u8], b: &[u8]) -> bool {
    a.len() == b.len() && a.iter().zip(b).fold(0, |difference, (a, b)| difference | (a ^ b)) == 0
}

#[cfg(test)]
mod tests;

//! The first admin's token: made at a start where every call needs a token and no admin has one
//! that is good, so that nobody is locked out of a new server, nor of one whose admins' tokens have
//! all expired.
//!
//! It is in a file that only the server's user can read; the log has the path and never the token.
//! The file is there before the token is good: a start that is cut off between the two makes
//! another.
//!
//! Which tokens are good goes by the clock, and a machine's clock may be wrong when it starts. So
//! this adds a token and takes nothing away: tokens that seem to have expired stay, and so does a
//! file with one of them. Where it comes to nothing the server serves all the same: VMs need nobody
//! who calls.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use jiff::Timestamp;

use crate::api::auth::identities::digest;
use crate::api::tokens::{DEFAULT_TTL, new_text};
use crate::model::caller::{CallOf, Caller, Rights, Role};
use crate::model::ledger::{AddToken, Refusal};
use crate::model::token::TokenRecord;
use crate::pki::later;
use crate::store::{MutateError, Store};

/// How many names are tried, of a file in the state directory and of a token: others may have them.
const NAMES: u32 = 100;

/// More than a file with a token has.
const MAX_FILE: u64 = 1024;

/// The first admin's token can't be made.
#[derive(Debug, thiserror::Error)]
pub(super) enum FirstAdminError {
    /// The file can't be written.
    #[error("could not write {}", path.display())]
    File {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    /// The system gives no randomness.
    #[error("{0}")]
    Randomness(String),
    /// The store does not take it.
    #[error("could not store it")]
    Store(#[source] MutateError),
}

/// Makes a token of an admin where none is good. Answers where it is.
pub(super) async fn ensure(
    store: &Store,
    state_dir: &Path,
    now: Timestamp,
) -> Result<Option<PathBuf>, FirstAdminError> {
    let known = store.tokens();
    let admin = Rights::Fleet(Role::Admin);
    let is_admin = |token: &Arc<TokenRecord>| token.rights == admin && token.is_good(now);
    if known.iter().any(is_admin) {
        return Ok(None);
    }
    let (id, text) =
        new_text().map_err(|status| FirstAdminError::Randomness(status.message().to_owned()))?;
    let path = free_file(state_dir, &known);
    let failed = |source| FirstAdminError::File { path: path.clone(), source };
    write_privately(state_dir, &path, &text).map_err(failed)?;
    let call = CallOf { method: "banger.v1.TokenService/CreateToken", peer: None };
    let caller = Caller { call: Some(call.into()), ..Caller::server(now) };
    for number in 1..=NAMES {
        let name = numbered("admin", number);
        let add = AddToken(Arc::new(TokenRecord {
            id: id.clone(),
            sha256: digest(&text),
            name,
            rights: admin.clone(),
            created_by: caller.actor.to_string(),
            created_by_token: None,
            goes_with: None,
            created_at: now,
            expires_at: later(now, DEFAULT_TTL),
            last_used_at: None,
        }));
        match store.submit(caller.clone(), add).await {
            Ok(_) => break,
            Err(MutateError::Refused(Refusal::TokenNameTaken { .. })) if number < NAMES => {}
            Err(error) => return Err(FirstAdminError::Store(error)),
        }
    }
    Ok(Some(path))
}

fn numbered(name: &str, number: u32) -> String {
    if number == 1 { name.to_owned() } else { format!("{name}-{number}") }
}

/// The first file that is not there, or that has no token which is stored, such as one of a start
/// that was cut off. Where all have one, the last.
fn free_file(state_dir: &Path, known: &[Arc<TokenRecord>]) -> PathBuf {
    let path = |number| state_dir.join(numbered("first-admin", number) + ".token");
    let is_free = |path: &PathBuf| match File::open(path) {
        Ok(file) => {
            let mut text = String::new();
            let read = file.take(MAX_FILE).read_to_string(&mut text);
            let sha256 = digest(text.trim());
            // What can't be read is somebody's.
            read.is_ok() && known.iter().all(|token| token.sha256 != sha256)
        }
        Err(error) => error.kind() == io::ErrorKind::NotFound,
    };
    (1..NAMES).map(path).find(is_free).unwrap_or_else(|| path(NAMES))
}

/// Puts a text into a file that only its owner can read, whole or not at all, in the place of what
/// was there.
fn write_privately(directory: &Path, path: &Path, text: &str) -> io::Result<()> {
    let partial = path.with_extension("partial");
    match fs::remove_file(&partial) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&partial)?;
    file.write_all(text.as_bytes())?;
    file.write_all(b"\n")?;
    file.sync_all()?;
    fs::rename(&partial, path)?;
    File::open(directory)?.sync_all()
}

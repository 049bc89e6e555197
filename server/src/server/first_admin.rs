//! The first admin's token: made at a start where every call needs a token and no admin has one, so
//! that nobody is locked out of a new server, nor of one whose admins' tokens have all expired.
//!
//! It is in a file that only the server's user can read; the log has the path and never the token.
//! The file is there before the token is good: a start that is cut off between the two makes another.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use jiff::Timestamp;

use crate::api::auth::identities::digest;
use crate::api::tokens::{DEFAULT_TTL, new_text};
use crate::model::caller::{CallOf, Caller, Role};
use crate::model::ledger::{CreateToken, Refusal};
use crate::model::token::TokenRecord;
use crate::pki::later;
use crate::store::{MutateError, Store};

/// The name of the file in the state directory.
const FILE: &str = "first-admin.token";

/// How many names are tried: others may hold tokens by them.
const NAMES: u32 = 100;

/// The first admin's token can't be made.
#[derive(Debug, thiserror::Error)]
pub enum FirstAdminError {
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
    let is_admin = |token: &Arc<TokenRecord>| token.role == Role::Admin && token.is_good(now);
    if store.tokens().iter().any(is_admin) {
        return Ok(None);
    }
    let (id, text) =
        new_text().map_err(|status| FirstAdminError::Randomness(status.message().to_owned()))?;
    let path = state_dir.join(FILE);
    let failed = |source| FirstAdminError::File { path: path.clone(), source };
    write_privately(state_dir, &path, &text).map_err(failed)?;
    let call = CallOf { method: "banger.v1.TokenService/CreateToken", peer: None };
    let caller = Caller { call: Some(call.into()), ..Caller::server(now) };
    for number in 1..=NAMES {
        let name = if number == 1 { "admin".to_owned() } else { format!("admin-{number}") };
        let create = CreateToken(Arc::new(TokenRecord {
            id: id.clone(),
            sha256: digest(&text),
            name,
            role: Role::Admin,
            created_by: caller.actor.to_string(),
            created_by_token: None,
            goes_with: None,
            created_at: now,
            expires_at: later(now, DEFAULT_TTL),
            last_used_at: None,
        }));
        match store.submit(caller.clone(), create).await {
            Ok(_) => break,
            Err(MutateError::Refused(Refusal::TokenNameTaken { .. })) if number < NAMES => {}
            Err(error) => return Err(FirstAdminError::Store(error)),
        }
    }
    Ok(Some(path))
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

//! What a login gave, in a file for each context beside the configuration: mode 0600, in a
//! directory that nobody else may look into. Never in the configuration itself, which may be shown
//! to others.
//!
//! A token is refreshed a minute before it expires. A lock beside the file lets one program do it
//! while others wait: a provider may take a refresh token once and no more, and take everything
//! back when it comes a second time.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, ErrorKind, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use banger_wire::secrets::{self, Owners, SecretError};
use banger_wire::web;
use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};

use super::{Given, Login, LoginError};

/// A token that is good for less is refreshed before it is used, in seconds.
const EARLY: u64 = 60;

/// How long another program may take to refresh.
const PATIENCE: Duration = Duration::from_secs(20);

/// Which of the tokens calls are made with.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// The one that says who somebody is.
    #[default]
    IdToken,
    /// The one that others are called with; of some providers nobody can read it.
    AccessToken,
}

/// A login as it is stored.
#[derive(Clone, Serialize, Deserialize)]
pub struct Stored {
    /// The provider.
    pub issuer: String,
    /// The client of it.
    pub client_id: String,
    kind: Kind,
    token: String,
    /// In seconds since 1970.
    expires_at: u64,
    refresh_token: Option<String>,
    token_endpoint: String,
    revocation_endpoint: Option<String>,
}

impl std::fmt::Debug for Stored {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Stored")
            .field("issuer", &self.issuer)
            .field("expires_at", &self.expires_at)
            .finish_non_exhaustive()
    }
}

#[derive(Deserialize)]
struct Expiry {
    exp: f64,
}

/// When a token says that it expires. Nothing else of it is gone by, so that nobody has to verify
/// it here.
fn expiry(token: &str) -> Option<u64> {
    use base64::Engine as _;
    let claims = token.split('.').nth(1)?;
    let claims = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(claims).ok()?;
    let exp = serde_json::from_slice::<Expiry>(&claims).ok()?.exp;
    Duration::try_from_secs_f64(exp).ok().map(|exp| exp.as_secs())
}

fn failed(verb: &'static str) -> impl Fn(Box<dyn std::error::Error + Send + Sync>) -> LoginError {
    move |source| LoginError::Store { verb, source }
}

impl Stored {
    /// Of what a provider has given.
    ///
    /// # Errors
    /// The token that calls are to be made with is not among it.
    pub fn of(
        login: &Login,
        at: &super::Described,
        kind: Kind,
        given: Given,
        now: u64,
    ) -> Result<Self, LoginError> {
        let stored = Self {
            issuer: login.issuer().to_owned(),
            client_id: login.client_id().to_owned(),
            kind,
            token: String::new(),
            expires_at: 0,
            refresh_token: None,
            token_endpoint: at.token.to_string(),
            revocation_endpoint: at.revocation.as_ref().map(ToString::to_string),
        };
        stored.with(given, now)
    }

    fn with(mut self, given: Given, now: u64) -> Result<Self, LoginError> {
        let token = match self.kind {
            Kind::IdToken => given.id_token,
            Kind::AccessToken => given.access_token,
        };
        let what = match self.kind {
            Kind::IdToken => "ID token (ask for the scope openid)",
            Kind::AccessToken => "access token",
        };
        let token = token.ok_or(LoginError::Answer { at: self.issuer.clone(), what })?;
        let lasts = given.expires_in.and_then(|lasts| Duration::try_from_secs_f64(lasts).ok());
        let lasts = lasts.unwrap_or(Duration::from_secs(300)).as_secs();
        self.expires_at = expiry(&token).unwrap_or(now.saturating_add(lasts));
        self.token = token;
        // A provider that gives no other means the same again.
        self.refresh_token = given.refresh_token.or(self.refresh_token);
        Ok(self)
    }

    /// When it is good no longer, in seconds since 1970.
    #[must_use]
    pub fn expires_at(&self) -> u64 {
        self.expires_at
    }

    /// Whether it can be refreshed.
    #[must_use]
    pub fn can_be_refreshed(&self) -> bool {
        self.refresh_token.is_some()
    }

    fn is_fresh(&self, now: u64) -> bool {
        now.saturating_add(EARLY) < self.expires_at
    }
}

/// Where the logins of contexts are.
#[derive(Debug, Clone)]
pub struct Logins(PathBuf);

impl Logins {
    /// Beside this configuration file.
    #[must_use]
    pub fn beside(config: &Path) -> Self {
        Self(config.with_file_name("login"))
    }

    /// The file of a context. Its name is the context's, and no other kind of path.
    fn file(&self, context: &str, ending: &str) -> Result<PathBuf, LoginError> {
        let fit = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
        if context.is_empty()
            || context.len() > 100
            || !context.bytes().all(fit)
            || context.starts_with('.')
        {
            let why = "the name of a context with a login has letters, digits, -, _ and . only";
            return Err(failed("stored")(why.into()));
        }
        Ok(self.0.join(format!("{context}.{ending}")))
    }

    /// What is stored of a context; none where nobody is logged in.
    ///
    /// # Errors
    /// It can't be read, or others may read it.
    pub fn read(&self, context: &str) -> Result<Option<Stored>, LoginError> {
        let path = self.file(context, "json")?;
        let bytes = match secrets::read_of(&path, Owners::AnyForRoot) {
            Ok(bytes) => bytes,
            Err(SecretError::Read { source, .. }) if source.kind() == ErrorKind::NotFound => {
                return Ok(None);
            }
            Err(error) => return Err(failed("read")(Box::new(error))),
        };
        serde_json::from_slice(&bytes).map(Some).map_err(|error| failed("read")(Box::new(error)))
    }

    /// Stores a login in the place of an earlier one.
    ///
    /// # Errors
    /// It can't be written.
    pub fn write(&self, context: &str, stored: &Stored) -> Result<(), LoginError> {
        let path = self.file(context, "json")?;
        let text =
            serde_json::to_vec(stored).map_err(|error| failed("written")(Box::new(error)))?;
        let write = || -> io::Result<()> {
            DirBuilder::new().recursive(true).mode(0o700).create(&self.0)?;
            // Mode 0600 from the beginning on.
            let mut file = tempfile::NamedTempFile::new_in(&self.0)?;
            file.write_all(&text)?;
            file.as_file().sync_all()?;
            file.persist(&path)?;
            Ok(())
        };
        write().map_err(|error| failed("written")(Box::new(error)))
    }

    /// Forgets a login, and says what it was.
    ///
    /// # Errors
    /// It can't be removed. What can't be read is removed all the same.
    pub async fn forget(&self, context: &str) -> Result<Option<Stored>, LoginError> {
        let _lock = self.lock(context).await?;
        let was = self.read(context).ok().flatten();
        self.remove(context)?;
        Ok(was)
    }

    /// Forgets a login of a context that goes, whoever refreshes it just now.
    ///
    /// # Errors
    /// It can't be removed.
    pub fn remove(&self, context: &str) -> Result<(), LoginError> {
        match std::fs::remove_file(self.file(context, "json")?) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                Err(failed("removed")(Box::new(error)))
            }
            Ok(()) | Err(_) => Ok(()),
        }
    }

    /// One program at a time, for as long as the file is open.
    async fn lock(&self, context: &str) -> Result<File, LoginError> {
        let path = self.file(context, "lock")?;
        let open = || -> io::Result<File> {
            DirBuilder::new().recursive(true).mode(0o700).create(&self.0)?;
            OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(&path)
        };
        let file = open().map_err(|error| failed("locked")(Box::new(error)))?;
        let begun = tokio::time::Instant::now();
        loop {
            match flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => return Ok(file),
                Err(rustix::io::Errno::WOULDBLOCK) if begun.elapsed() < PATIENCE => {
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
                Err(error) => return Err(failed("locked")(Box::new(io::Error::from(error)))),
            }
        }
    }

    /// The token to call with, refreshed where it is about to expire. `now` says the time, in
    /// seconds since 1970.
    ///
    /// # Errors
    /// Nobody is logged in, or not any more.
    pub async fn token(
        &self,
        context: &str,
        login: &Login,
        now: impl Fn() -> u64,
    ) -> Result<String, LoginError> {
        let logged_out = || LoginError::LoggedOut { issuer: login.issuer().to_owned() };
        let of_this = |stored: &Stored| {
            stored.issuer == login.issuer() && stored.client_id == login.client_id()
        };
        let stored = self.read(context)?.filter(of_this).ok_or_else(logged_out)?;
        if stored.is_fresh(now()) {
            return Ok(stored.token);
        }
        let _lock = self.lock(context).await?;
        // Another program may have refreshed it, or logged out, in the meantime.
        let stored = self.read(context)?.filter(of_this).ok_or_else(logged_out)?;
        if stored.is_fresh(now()) {
            return Ok(stored.token);
        }
        let refreshed = self.refreshed(context, login, stored.clone(), &now).await;
        match refreshed {
            Ok(refreshed) => Ok(refreshed.token),
            // What is left of it is used up first.
            Err(_) if now() < stored.expires_at => Ok(stored.token),
            Err(LoginError::Refused { .. }) => Err(logged_out()),
            Err(error) => Err(error),
        }
    }

    async fn refreshed(
        &self,
        context: &str,
        login: &Login,
        stored: Stored,
        now: &impl Fn() -> u64,
    ) -> Result<Stored, LoginError> {
        let Some(refresh_token) = stored.refresh_token.clone() else {
            return Err(LoginError::LoggedOut { issuer: stored.issuer });
        };
        let url = web::address(&stored.token_endpoint, true)?;
        let given = login.refresh(&url, &refresh_token).await?;
        let fresh = stored.with(given, now())?;
        self.write(context, &fresh)?;
        Ok(fresh)
    }
}

/// Takes back what the provider gave, where it has a place for that; whether it has one.
///
/// # Errors
/// It is away, or refuses.
pub async fn revoke(login: &Login, stored: &Stored) -> Result<bool, LoginError> {
    let Some(at) = &stored.revocation_endpoint else { return Ok(false) };
    let at = web::address(at, true)?;
    match &stored.refresh_token {
        Some(token) => login.revoke(&at, token, "refresh_token").await?,
        None if stored.kind == Kind::AccessToken => {
            login.revoke(&at, &stored.token, "access_token").await?;
        }
        None => return Ok(false),
    }
    Ok(true)
}

#[cfg(test)]
mod tests;

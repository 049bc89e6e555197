//! Which server is meant: contexts in a configuration file, under what flags and environment say.
//!
//! The file is `$XDG_CONFIG_HOME/banger/config.toml` (`~/.config/banger/config.toml`):
//!
//! ```toml
//! current = "lab"
//!
//! [contexts.lab]
//! server = "https://banger.lab.example:7070"
//! ca = "/etc/ssl/lab-ca.crt"
//! token_file = "/home/me/.config/banger/lab.token"
//! project = "shop"
//! ```
//!
//! A context that people log in with has the provider instead of a token, and what the provider
//! gives is in a file of its own ([`crate::login::stored`]):
//!
//! ```toml
//! [contexts.work]
//! server = "https://banger.example.org:7070"
//!
//! [contexts.work.login]
//! issuer = "https://login.example.org"
//! client_id = "banger-cli"
//! ```
//!
//! A server named by hand gets nothing from the current context: the token of one server is never
//! sent to another. Written by temporary file and rename, readable by its owner only; a file with a
//! token that others may read is refused, this one too.

use std::collections::BTreeMap;
use std::io::{ErrorKind, Write as _};
use std::path::{Path, PathBuf};

use banger_wire::secrets::{self, Owners, SecretError};
use serde::{Deserialize, Serialize};

use crate::Endpoint;
use crate::error::{EndpointError, Source};
use crate::login::stored::{Kind, Logins};
use crate::login::{Login, LoginError};

/// The server when nothing names one.
pub const DEFAULT_SERVER: &str = "http://127.0.0.1:7070";

/// The configuration file.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Contexts {
    /// The context in use.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub current: Option<String>,
    /// All of them by name.
    #[serde(default)]
    pub contexts: BTreeMap<String, Context>,
}

/// One server and how to speak to it.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Context {
    /// The address, as [`Endpoint::new`] reads it.
    pub server: String,
    /// PEM file of the CA that signed the server's certificate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca: Option<PathBuf>,
    /// PEM file of a certificate that is shown to the server.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_cert: Option<PathBuf>,
    /// PEM file of its key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_key: Option<PathBuf>,
    /// The bearer token itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<String>,
    /// A file that holds the bearer token. Wins over `token`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token_file: Option<PathBuf>,
    /// The project that is meant where a command names none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub project: Option<String>,
    /// Allow the token over plain http to another machine, and to whoever listens on this one.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub insecure_plaintext: bool,
    /// Whom people log in with where there is no token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub login: Option<LoginContext>,
}

/// A provider of identities, as people log in with it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LoginContext {
    /// The provider, as the server's configuration has it.
    pub issuer: String,
    /// What this program is called there.
    pub client_id: String,
    /// What is asked for, with spaces between.
    #[serde(default = "usual_scopes")]
    pub scopes: String,
    /// PEM file of the CA that signed the provider's certificate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca: Option<PathBuf>,
    /// Which token calls are made with.
    #[serde(default)]
    pub token: Kind,
}

impl LoginContext {
    /// The provider, which is asked for nothing by this.
    ///
    /// # Errors
    /// [`ContextError::Login`]: its address or its CA can't be used.
    pub fn provider(&self) -> Result<Login, ContextError> {
        let ca = self.ca.as_deref().map(secrets::read_public).transpose();
        let ca = ca.map_err(ContextError::Config)?;
        Login::with(&self.issuer, &self.client_id, ca.as_deref()).map_err(ContextError::Login)
    }
}

/// What is asked for where nothing is said: who somebody is, and that they stay logged in.
pub fn usual_scopes() -> String {
    "openid offline_access".to_owned()
}

impl std::fmt::Debug for Context {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Context")
            .field("server", &self.server)
            .field("ca", &self.ca)
            .field("token", &self.token.is_some())
            .field("token_file", &self.token_file)
            .field("project", &self.project)
            .field("login", &self.login)
            .finish_non_exhaustive()
    }
}

/// What flags and environment say; each wins over the context.
#[derive(Debug, Clone, Default)]
pub struct Chosen {
    /// Name of a context.
    pub context: Option<String>,
    /// Server address.
    pub server: Option<String>,
    /// CA file.
    pub ca: Option<PathBuf>,
    /// Client certificate. Without a key it is in the same file.
    pub client_cert: Option<PathBuf>,
    /// Its key.
    pub client_key: Option<PathBuf>,
    /// Token.
    pub token: Option<String>,
    /// File with the token. Wins over `token`.
    pub token_file: Option<PathBuf>,
    /// The project that is meant where a command names none.
    pub project: Option<String>,
    /// Allow the token in plain text.
    pub insecure_plaintext: bool,
}

/// Returned when the configuration can't be read, written or used.
#[derive(Debug, thiserror::Error)]
pub enum ContextError {
    /// Neither XDG_CONFIG_HOME nor HOME is set.
    #[error("there is no place for the configuration: set HOME or XDG_CONFIG_HOME")]
    NoHome,
    /// The file or its directory can't be read or written.
    #[error("cannot {verb} {path}")]
    File {
        /// What was tried: "read" or "write".
        verb: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The file with the token can't be used, or others may read it.
    #[error("the token can't be used")]
    Token(#[source] SecretError),
    /// The configuration is no file, or has tokens in it that others may read.
    #[error("the configuration can't be used")]
    Config(#[source] SecretError),
    /// The file is no valid configuration.
    #[error("{path} is not a valid configuration")]
    Parse {
        /// The file.
        path: PathBuf,
        /// Where and why.
        #[source]
        source: Source,
    },
    /// No context of this name.
    #[error("there is no context {name:?}{}", known(.contexts))]
    NoContext {
        /// As given.
        name: String,
        /// Those that are there.
        contexts: Vec<String>,
    },
    /// Nobody is logged in with the context's provider, or the login can't be used.
    #[error("the login of the context can't be used")]
    Login(#[source] LoginError),
    /// The endpoint that results can't be used.
    #[error(transparent)]
    Endpoint(#[from] EndpointError),
}

fn known(contexts: &[String]) -> String {
    match contexts {
        [] => "; there are none".to_owned(),
        names => format!("; there are: {}", names.join(", ")),
    }
}

/// A text without the mark that some editors put at the beginning of a file.
fn without_mark(text: &str) -> &str {
    text.strip_prefix('\u{feff}').unwrap_or(text)
}

impl Contexts {
    /// Where the file is, from the environment.
    ///
    /// # Errors
    /// [`ContextError::NoHome`].
    pub fn default_path() -> Result<PathBuf, ContextError> {
        let set = |name| std::env::var_os(name).filter(|v| !v.is_empty()).map(PathBuf::from);
        let base = set("XDG_CONFIG_HOME")
            .filter(|path| path.is_absolute())
            .or_else(|| Some(set("HOME")?.join(".config")))
            .ok_or(ContextError::NoHome)?;
        Ok(base.join("banger/config.toml"))
    }

    /// Reads the file; one that is not there is an empty configuration.
    ///
    /// # Errors
    /// The file can't be read, is not valid, or has a token in it and others may read it.
    pub fn load(path: &Path) -> Result<Self, ContextError> {
        let unread = |error| match error {
            SecretError::Read { path, source } => ContextError::File { verb: "read", path, source },
            SecretError::NotAFile { .. }
            | SecretError::OpenToOthers { .. }
            | SecretError::OfAnother { .. } => ContextError::Config(error),
        };
        let (bytes, shown) = match secrets::read_of(path, Owners::AnyForRoot) {
            Ok(bytes) => (bytes, None),
            Err(SecretError::Read { source, .. }) if source.kind() == ErrorKind::NotFound => {
                return Ok(Self::default());
            }
            // Whoever keeps tokens elsewhere may show it to everybody.
            Err(error @ (SecretError::OpenToOthers { .. } | SecretError::OfAnother { .. })) => {
                (secrets::read_public(path).map_err(unread)?, Some(error))
            }
            Err(error @ (SecretError::Read { .. } | SecretError::NotAFile { .. })) => {
                return Err(unread(error));
            }
        };
        let parse = |source| ContextError::Parse { path: path.to_owned(), source };
        let text = String::from_utf8(bytes).map_err(|error| parse(Box::new(error)))?;
        let read: Self =
            toml::from_str(without_mark(&text)).map_err(|error| parse(Box::new(error)))?;
        match shown {
            Some(error) if read.contexts.values().any(|context| context.token.is_some()) => {
                Err(ContextError::Config(error))
            }
            Some(_) | None => Ok(read),
        }
    }

    /// Replaces the file, mode 0600: it may hold tokens.
    ///
    /// # Errors
    /// The file or its directory can't be written.
    pub fn save(&self, path: &Path) -> Result<(), ContextError> {
        let text = toml::to_string_pretty(self).map_err(|source| ContextError::Parse {
            path: path.to_owned(),
            source: Box::new(source),
        })?;
        let write = || {
            let directory = path.parent().unwrap_or(Path::new("."));
            std::fs::create_dir_all(directory)?;
            let mut file = tempfile::NamedTempFile::new_in(directory)?;
            file.write_all(text.as_bytes())?;
            file.as_file().sync_all()?;
            file.persist(path)?;
            Ok(())
        };
        write().map_err(|source| ContextError::File {
            verb: "write",
            path: path.to_owned(),
            source,
        })
    }

    /// The context of this name.
    ///
    /// # Errors
    /// [`ContextError::NoContext`].
    pub fn get(&self, name: &str) -> Result<&Context, ContextError> {
        self.contexts.get(name).ok_or_else(|| ContextError::NoContext {
            name: name.to_owned(),
            contexts: self.contexts.keys().cloned().collect(),
        })
    }

    /// The context that is meant, where one is.
    ///
    /// # Errors
    /// [`ContextError::NoContext`].
    pub fn chosen<'a>(
        &'a self,
        chosen: &'a Chosen,
    ) -> Result<Option<(&'a str, &'a Context)>, ContextError> {
        let name = match (&chosen.context, &chosen.server, &self.current) {
            (Some(name), _, _) | (None, None, Some(name)) => name,
            (None, Some(_), _) | (None, None, None) => return Ok(None),
        };
        Ok(Some((name, self.get(name)?)))
    }

    /// Whom people log in with, and the context of it, where calls are made so: the context has no
    /// token, and none is given by hand.
    ///
    /// # Errors
    /// [`ContextError::NoContext`].
    pub fn login<'a>(
        &'a self,
        chosen: &'a Chosen,
    ) -> Result<Option<(&'a str, &'a LoginContext)>, ContextError> {
        let by_hand = chosen.token.is_some() || chosen.token_file.is_some();
        let Some((name, context)) = self.chosen(chosen)?.filter(|_| !by_hand) else {
            return Ok(None);
        };
        let has_token = context.token.is_some() || context.token_file.is_some();
        Ok(context.login.as_ref().filter(|_| !has_token).map(|login| (name, login)))
    }

    /// Works out which server is meant, and as whom to speak, also where people log in: a token
    /// that is about to expire is refreshed. `path` is this configuration's; `now` says the time,
    /// in seconds since 1970.
    ///
    /// # Errors
    /// As with [`Contexts::resolve`], or nobody is logged in.
    pub async fn sign_in(
        &self,
        path: &Path,
        chosen: &Chosen,
        now: impl Fn() -> u64 + Send + Sync,
    ) -> Result<Endpoint, ContextError> {
        let endpoint = self.resolve(chosen)?;
        let Some((context, login)) = self.login(chosen)? else { return Ok(endpoint) };
        let provider = login.provider()?;
        let token = Logins::beside(path).token(context, &provider, now).await;
        Ok(endpoint.token(&token.map_err(ContextError::Login)?)?)
    }

    /// Works out which server is meant. Where people log in ([`Contexts::login`]) it has no token
    /// yet.
    ///
    /// # Errors
    /// A context that is not there, or an endpoint that can't be used.
    pub fn resolve(&self, chosen: &Chosen) -> Result<Endpoint, ContextError> {
        let context = self.chosen(chosen)?.map(|(_, context)| context);
        let from = |pick: fn(&Context) -> Option<&PathBuf>| context.and_then(pick);
        let server = chosen
            .server
            .as_deref()
            .or(context.map(|c| c.server.as_str()))
            .unwrap_or(DEFAULT_SERVER);
        let mut endpoint = Endpoint::new(server)?;
        if let Some(ca) = chosen.ca.as_ref().or(from(|c| c.ca.as_ref())) {
            endpoint = endpoint.ca_file(ca)?;
        }
        let shown = match &chosen.client_cert {
            Some(cert) => Some((cert, chosen.client_key.as_ref())),
            None => {
                from(|c| c.client_cert.as_ref()).map(|cert| (cert, from(|c| c.client_key.as_ref())))
            }
        };
        if let Some((cert, key)) = shown {
            endpoint = endpoint.certificate_files(cert, key.unwrap_or(cert))?;
        }
        let by_hand = chosen.token.is_some() || chosen.token_file.is_some();
        let (token, token_file) = if by_hand {
            (chosen.token.as_ref(), chosen.token_file.as_ref())
        } else {
            (context.and_then(|c| c.token.as_ref()), from(|c| c.token_file.as_ref()))
        };
        if let Some(path) = token_file {
            let bytes = secrets::read_of(path, Owners::AnyForRoot).map_err(ContextError::Token)?;
            let token = String::from_utf8_lossy(&bytes);
            endpoint = endpoint.token(without_mark(&token))?;
        } else if let Some(token) = token {
            endpoint = endpoint.token(token)?;
        }
        let project = chosen.project.as_ref().or(context.and_then(|c| c.project.as_ref()));
        if let Some(project) = project {
            endpoint = endpoint.project(project)?;
        }
        let allowed = chosen.insecure_plaintext || context.is_some_and(|c| c.insecure_plaintext);
        Ok(endpoint.allow_plaintext_token(allowed))
    }
}

#[cfg(test)]
mod tests;

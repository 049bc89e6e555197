//! What the API shows of itself and whom it lets in: certificate, key and tokens.
//!
//! Read from their files at start, and again when an operator asks (SIGHUP): all of them are good,
//! or all stay as they were. New connections see the new certificate and new calls the new tokens;
//! connections and calls under way go on.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arc_swap::ArcSwap;
use banger_proto::wire::tls::{TlsConfigError, public_side};

use crate::api::auth::AuthLayer;
use crate::config::{ConfigError, ServerConfig, TlsConfig, read_token_file};

/// The files can't be used; nothing of them is.
#[derive(Debug, thiserror::Error)]
pub enum CredentialsError {
    /// The file with the tokens can't be used.
    #[error("the tokens can't be used")]
    Tokens(#[source] ConfigError),
    /// A file of the API's TLS can't be read.
    #[error("could not read {}", path.display())]
    TlsFile {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The API's TLS can't be set up.
    #[error("the certificate and key of [tls] can't be used")]
    Tls(#[source] TlsConfigError),
}

/// What is in use, and where it comes from.
#[derive(Debug)]
pub(super) struct Credentials {
    tls: Option<(TlsConfig, Arc<ArcSwap<rustls::ServerConfig>>)>,
    token_file: Option<PathBuf>,
    auth: AuthLayer,
}

impl Credentials {
    /// Reads everything.
    pub(super) fn read(config: &ServerConfig) -> Result<Self, CredentialsError> {
        let tls = match &config.tls {
            None => None,
            Some(files) => {
                Some((files.clone(), Arc::new(ArcSwap::from_pointee(public_tls(files)?))))
            }
        };
        let token_file = config.auth.token_file.clone();
        let auth = AuthLayer::new(config.listen.ip().is_loopback());
        if let Some(file) = &token_file {
            auth.admit(&tokens(file)?);
        }
        Ok(Self { tls, token_file, auth })
    }

    /// What connections are accepted with.
    pub(super) fn tls(&self) -> Option<Arc<ArcSwap<rustls::ServerConfig>>> {
        self.tls.as_ref().map(|(_, in_use)| Arc::clone(in_use))
    }

    /// Whom calls are let in by.
    pub(super) fn auth(&self) -> AuthLayer {
        self.auth.clone()
    }

    /// Reads all files again.
    pub(super) fn reload(&self) -> Result<(), CredentialsError> {
        let tokens = self.token_file.as_deref().map(tokens).transpose()?;
        if let Some((files, in_use)) = &self.tls {
            in_use.store(Arc::new(public_tls(files)?));
        }
        if let Some(tokens) = tokens {
            self.auth.admit(&tokens);
        }
        Ok(())
    }
}

fn tokens(file: &Path) -> Result<std::collections::BTreeMap<String, String>, CredentialsError> {
    read_token_file(file).map_err(CredentialsError::Tokens)
}

fn public_tls(files: &TlsConfig) -> Result<rustls::ServerConfig, CredentialsError> {
    let read = |path: &PathBuf| {
        let failed = |source| CredentialsError::TlsFile { path: path.clone(), source };
        std::fs::read(path).map_err(failed)
    };
    public_side(&read(&files.cert)?, &read(&files.key)?).map_err(CredentialsError::Tls)
}

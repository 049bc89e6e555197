//! What the API shows of itself and whom it lets in: certificate, key, tokens, and keys of a
//! provider of identities that are in a file.
//!
//! Read from their files at start, and again when an operator asks (SIGHUP): all of them are good,
//! or all stay as they were. New connections see the new certificate and new calls the new tokens;
//! connections go on, and so do calls under way, but for those whose token is gone or says
//! otherwise now.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arc_swap::ArcSwap;
use banger_wire::service::edge::visitors::Visitors;
use banger_wire::service::secrets::{self, Owners, SecretError};
use banger_wire::tls::{
    ClientVerifier, TlsConfigError, client_verifier, have_one_in_common, names_in, public_side,
};
use http::HeaderValue;

use crate::api::auth::AuthLayer;
use crate::certified::CertifiedCallers;
use crate::clock::SharedClock;
use crate::config::{ConfigError, OidcConfig, ServerConfig, TlsConfig, read_token_file};
use crate::model::caller::Principal;
use crate::oidc::{Provider, ProviderError};
use crate::pki::{Authorities, CaError};

/// The files can't be used; nothing of them is.
#[derive(Debug, thiserror::Error)]
pub enum CredentialsError {
    /// The fleet's CAs can't be read.
    #[error("the fleet's CAs can't be used")]
    Ca(#[source] CaError),
    /// The file with the tokens can't be used.
    #[error("the tokens can't be used")]
    Tokens(#[source] ConfigError),
    /// A file of the API's TLS can't be read, or others than its owner may read the key.
    #[error("a file of [tls] can't be used")]
    TlsFile(#[source] SecretError),
    /// The provider of identities can't be set up.
    #[error("[auth.oidc] can't be used")]
    Provider(#[source] ProviderError),
    /// A file of the provider of identities can't be read.
    #[error("a file of [auth.oidc] can't be used")]
    ProviderFile(#[source] SecretError),
    /// The file with the CAs of callers can't be read.
    #[error("the file of [auth.client_certificates] can't be used")]
    ClientsFile(#[source] SecretError),
    /// The CAs of callers can't be used.
    #[error("the CAs of [auth.client_certificates] can't be used")]
    Clients(#[source] TlsConfigError),
    /// Hosts would be callers.
    #[error(
        "auth.client_certificates.ca has the fleet's own CA, which knows hosts: callers need one of \
         their own"
    )]
    ClientsOfTheFleet,
    /// The API's TLS can't be set up.
    #[error("the certificate and key of [tls] can't be used")]
    Tls(#[source] TlsConfigError),
}

/// What is in use, and where it comes from.
#[derive(Debug)]
pub(super) struct Credentials {
    tls: Option<(TlsConfig, Arc<ArcSwap<rustls::ServerConfig>>)>,
    visitors: Arc<ArcSwap<Visitors>>,
    /// As configured: those of the certificate come with it.
    names: Vec<String>,
    origins: Vec<HeaderValue>,
    token_file: Option<PathBuf>,
    provider: Option<(OidcConfig, Arc<Provider>)>,
    clients: Option<(Clients, Arc<CertifiedCallers>)>,
    auth: AuthLayer,
}

/// The file with the CAs of callers, and the directory of the fleet's own, which is none.
#[derive(Debug)]
struct Clients {
    ca: PathBuf,
    fleet: PathBuf,
}

impl Clients {
    fn verifier(&self) -> Result<ClientVerifier, CredentialsError> {
        let pem = secrets::read_public(&self.ca).map_err(CredentialsError::ClientsFile)?;
        let fleet = Authorities::look(&self.fleet).map_err(CredentialsError::Ca)?;
        if fleet.is_some_and(|own| have_one_in_common(&pem, own.trusted_pem().as_bytes())) {
            return Err(CredentialsError::ClientsOfTheFleet);
        }
        client_verifier(&pem).map_err(CredentialsError::Clients)
    }
}

impl Credentials {
    pub(super) fn read(
        config: &ServerConfig,
        origins: Vec<HeaderValue>,
        clock: SharedClock,
        owners: Owners,
    ) -> Result<Self, CredentialsError> {
        let (mut tls, mut certified) = (None, Vec::new());
        let mut clients = None;
        if let Some(by) = &config.auth.client_certificates {
            let files = Clients { ca: by.ca.clone(), fleet: config.ca_dir() };
            let callers = Arc::new(CertifiedCallers::new(by, files.verifier()?));
            clients = Some((files, callers));
        }
        if let Some(files) = &config.tls {
            let public;
            let verifier = clients.as_ref().map(|(_, callers)| callers.verifier());
            (public, certified) = public_tls(files, owners, verifier)?;
            tls = Some((files.clone(), Arc::new(ArcSwap::from_pointee(public))));
        }
        let names = config.names.clone();
        let visitors = Visitors::new(names.iter().cloned().chain(certified), origins.clone());
        let visitors = Arc::new(ArcSwap::from_pointee(visitors));
        let token_file = config.auth.token_file.clone();
        let auth = AuthLayer::new(config.listen.ip().is_loopback(), clock);
        auth.bound_projects(config.limits.projects());
        if config.asks_for_tokens() {
            auth.ask_always();
        }
        if let Some(file) = &token_file {
            auth.admit(&tokens(file, owners)?);
        }
        if let Some((_, callers)) = &clients {
            auth.certify(Arc::clone(callers));
        }
        let mut provider = None;
        if let Some(oidc) = &config.auth.oidc {
            let made = Arc::new(provider_of(oidc)?);
            auth.believe(Arc::clone(&made));
            provider = Some((oidc.clone(), made));
        }
        Ok(Self { tls, visitors, names, origins, token_file, provider, clients, auth })
    }

    /// Who says who people are besides this server.
    pub(super) fn provider(&self) -> Option<Arc<Provider>> {
        self.provider.as_ref().map(|(_, provider)| Arc::clone(provider))
    }

    /// What connections are accepted with.
    pub(super) fn tls(&self) -> Option<Arc<ArcSwap<rustls::ServerConfig>>> {
        self.tls.as_ref().map(|(_, in_use)| Arc::clone(in_use))
    }

    /// By which names and from which pages requests may come.
    pub(super) fn visitors(&self) -> Arc<ArcSwap<Visitors>> {
        Arc::clone(&self.visitors)
    }

    /// Whom calls are let in by.
    pub(super) fn auth(&self) -> AuthLayer {
        self.auth.clone()
    }

    /// Reads all files again.
    pub(super) fn reload(&self) -> Result<(), CredentialsError> {
        let owners = Owners::Ours;
        let tokens = self.token_file.as_deref().map(|file| tokens(file, owners)).transpose()?;
        let mut keys = None;
        if let Some((config, provider)) = &self.provider
            && let Some(file) = &config.jwks_file
        {
            let read = provider.check_file(&public(file)?).map_err(CredentialsError::Provider)?;
            keys = Some((provider, read));
        }
        let clients = self.clients.as_ref().map(|(files, callers)| (files.verifier(), callers));
        let clients = match clients {
            Some((verifier, callers)) => Some((verifier?, callers)),
            None => None,
        };
        if let Some((files, in_use)) = &self.tls {
            let verifier = clients.as_ref().map(|(verifier, _)| Arc::clone(verifier));
            let (public, certified) = public_tls(files, owners, verifier)?;
            in_use.store(Arc::new(public));
            let names = self.names.iter().cloned().chain(certified);
            self.visitors.store(Arc::new(Visitors::new(names, self.origins.clone())));
        }
        if let Some(tokens) = tokens {
            self.auth.admit(&tokens);
        }
        if let Some((provider, keys)) = keys {
            provider.take_file(keys);
        }
        if let Some((verifier, callers)) = clients {
            callers.trust(verifier);
            // Whose certificate is good still is known again at their next call.
            self.auth.identities().end_certified();
        }
        Ok(())
    }
}

/// With what is in the files that it names. None of them is secret: keys of a provider are shown to
/// everybody.
fn provider_of(config: &OidcConfig) -> Result<Provider, CredentialsError> {
    let ca = config.ca.as_deref().map(public).transpose()?;
    let keys = config.jwks_file.as_deref().map(public).transpose()?;
    Provider::new(config, ca.as_deref(), keys.as_deref()).map_err(CredentialsError::Provider)
}

fn public(file: &Path) -> Result<Vec<u8>, CredentialsError> {
    secrets::read_public(file).map_err(CredentialsError::ProviderFile)
}

fn tokens(file: &Path, owners: Owners) -> Result<BTreeMap<String, Principal>, CredentialsError> {
    read_token_file(file, owners).map_err(CredentialsError::Tokens)
}

/// With the names in the certificate.
fn public_tls(
    files: &TlsConfig,
    owners: Owners,
    clients: Option<ClientVerifier>,
) -> Result<(rustls::ServerConfig, Vec<String>), CredentialsError> {
    let chain = secrets::read_public(&files.cert).map_err(CredentialsError::TlsFile)?;
    let key = secrets::read_of(&files.key, owners).map_err(CredentialsError::TlsFile)?;
    let public = public_side(&chain, &key, clients).map_err(CredentialsError::Tls)?;
    Ok((public, names_in(&chain)))
}

//! One GET after the other, each on a connection of its own: TLS, redirects and authentication.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION, HOST, LOCATION, USER_AGENT, WWW_AUTHENTICATE};
use http::{Request, Response, StatusCode, Uri};
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use serde::Deserialize;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{self, ClientConfig, RootCertStore};

use super::auth::{Challenge, basic};
use crate::{Credentials, ImportError, Reference};

/// For a connection, and for each piece of an answer after the one before.
const PATIENCE: Duration = Duration::from_secs(60);

const MOST_REDIRECTS: usize = 5;
const MOST_TOKEN_BYTES: usize = 256 << 10;

type Cause = Box<dyn std::error::Error + Send + Sync>;

/// Asks one registry about one repository.
pub(super) struct Client {
    registry: String,
    repository: String,
    /// Plain HTTP: the registry is on a loopback address.
    plain: bool,
    credentials: Option<Credentials>,
    /// The `Authorization` that the registry took last.
    authorization: Mutex<Option<String>>,
}

/// An answer whose body is still coming.
pub(super) struct Answer {
    response: Response<Incoming>,
    connection: JoinHandle<()>,
}

impl Drop for Answer {
    fn drop(&mut self) {
        self.connection.abort();
    }
}

trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<S: AsyncRead + AsyncWrite + Unpin + Send> Stream for S {}

impl Client {
    pub(super) fn new(reference: &Reference, credentials: Option<Credentials>) -> Self {
        let registry = match reference.registry() {
            // The name that people use is not the one of the registry.
            "docker.io" => "registry-1.docker.io".to_owned(),
            registry => registry.to_owned(),
        };
        Self {
            plain: is_loopback(&registry),
            registry,
            repository: reference.repository.clone(),
            credentials,
            authorization: Mutex::new(None),
        }
    }

    /// GET of `path` in the repository; anything but a good answer is an error.
    pub(super) async fn get(&self, path: &str, accept: &str) -> Result<Answer, ImportError> {
        let scheme = if self.plain { "http" } else { "https" };
        let uri = format!("{scheme}://{}/v2/{}/{path}", self.registry, self.repository);
        let known = self.authorization.lock().clone();
        let mut answer = self.follow(&uri, accept, known.as_deref(), path).await?;
        if answer.response.status() == StatusCode::UNAUTHORIZED {
            let authorization = self.authorize(&answer, path).await?;
            answer = self.follow(&uri, accept, Some(&authorization), path).await?;
            *self.authorization.lock() = Some(authorization);
        }
        match answer.response.status() {
            StatusCode::OK => Ok(answer),
            status => Err(self.failed(path, &format!("answered {status}"), Some(status), None)),
        }
    }

    /// The next bytes of an answer's body.
    pub(super) async fn next(
        &self,
        answer: &mut Answer,
        path: &str,
    ) -> Result<Option<Bytes>, ImportError> {
        loop {
            let frame = tokio::time::timeout(PATIENCE, answer.response.body_mut().frame()).await;
            let frame = frame
                .map_err(|late| self.failed(path, "stopped answering", None, Some(late.into())))?;
            match frame {
                None => return Ok(None),
                Some(Err(error)) => {
                    return Err(self.failed(path, "broke off", None, Some(error.into())));
                }
                // Trailers say nothing that we want.
                Some(Ok(frame)) => {
                    if let Ok(bytes) = frame.into_data() {
                        return Ok(Some(bytes));
                    }
                }
            }
        }
    }

    async fn follow(
        &self,
        uri: &str,
        accept: &str,
        authorization: Option<&str>,
        path: &str,
    ) -> Result<Answer, ImportError> {
        let unasked = |cause: Cause| self.failed(path, "could not be asked", None, Some(cause));
        let mut uri: Uri =
            uri.parse().map_err(|error: http::uri::InvalidUri| unasked(error.into()))?;
        let mut authorization = authorization;
        for _ in 0..=MOST_REDIRECTS {
            let asked = tokio::time::timeout(PATIENCE, self.ask(&uri, accept, authorization)).await;
            let answer = asked.map_err(|late| unasked(late.into()))?.map_err(unasked)?;
            if !answer.response.status().is_redirection() {
                return Ok(answer);
            }
            let location = answer.response.headers().get(LOCATION);
            let location = location.and_then(|location| location.to_str().ok()).unwrap_or_default();
            let next = redirected(&uri, location)
                .ok_or_else(|| self.failed(path, "led to no address", None, None))?;
            // What is for this registry is for nobody else.
            if next.authority() != uri.authority() {
                authorization = None;
            }
            uri = next;
        }
        Err(self.failed(path, "led in a circle", None, None))
    }

    /// One request. Plain HTTP goes to loopback addresses of a registry that is on one.
    async fn ask(
        &self,
        uri: &Uri,
        accept: &str,
        authorization: Option<&str>,
    ) -> Result<Answer, Cause> {
        let authority = uri.authority().ok_or("an address without a host")?;
        let plain = match uri.scheme_str() {
            Some("https") => false,
            Some("http") if self.plain && is_loopback(authority.as_str()) => true,
            _ => return Err(format!("{uri} is not encrypted").into()),
        };
        let host = authority.host().trim_matches(['[', ']']);
        let port = authority.port_u16().unwrap_or(if plain { 80 } else { 443 });
        let tcp = TcpStream::connect((host, port)).await?;
        let stream: Box<dyn Stream> = if plain {
            Box::new(tcp)
        } else {
            // The machine's own certificate authorities.
            Box::new(encrypt(tcp, host, rustls_native_certs::load_native_certs().certs).await?)
        };
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        // An error of the connection is one of the answer too.
        let connection = tokio::spawn(async move { drop(connection.await) });
        let target = uri.path_and_query().map_or("/", |target| target.as_str());
        let mut request = Request::get(target)
            .header(HOST, authority.as_str())
            .header(ACCEPT, accept)
            .header(USER_AGENT, concat!("banger/", env!("CARGO_PKG_VERSION")));
        if let Some(authorization) = authorization {
            request = request.header(AUTHORIZATION, authorization);
        }
        let response = sender.send_request(request.body(Empty::<Bytes>::new())?).await?;
        Ok(Answer { response, connection })
    }

    /// What to say to a registry that does not know us.
    async fn authorize(&self, refused: &Answer, path: &str) -> Result<String, ImportError> {
        let denied = |what: &str| self.failed(path, what, Some(StatusCode::UNAUTHORIZED), None);
        let headers = refused.response.headers().get_all(WWW_AUTHENTICATE).iter();
        let challenge = headers
            .filter_map(|header| header.to_str().ok())
            .find_map(Challenge::parse)
            .ok_or_else(|| denied("wants an authentication that is not known"))?;
        let (realm, service, scope) = match challenge {
            Challenge::Basic => {
                let credentials = self.credentials.as_ref();
                return Ok(basic(
                    credentials.ok_or_else(|| denied("wants a name and a password"))?,
                ));
            }
            Challenge::Bearer { realm, service, scope } => (realm, service, scope),
        };
        let scope = scope.unwrap_or_else(|| format!("repository:{}:pull", self.repository));
        let uri = Challenge::token_uri(&realm, service.as_deref(), &scope);
        let own = self.credentials.as_ref().map(basic);
        let mut answer = self.follow(&uri, "application/json", own.as_deref(), "token").await?;
        let status = answer.response.status();
        if status != StatusCode::OK {
            return Err(self.failed("token", &format!("answered {status}"), Some(status), None));
        }
        let mut all = Vec::new();
        while let Some(bytes) = self.next(&mut answer, "token").await? {
            all.extend_from_slice(&bytes);
            if all.len() > MOST_TOKEN_BYTES {
                return Err(denied("gives a token that is too long"));
            }
        }
        let token: Token = serde_json::from_slice(&all).map_err(|error| {
            self.failed("token", "is not as it should be", None, Some(error.into()))
        })?;
        let token = token.token.or(token.access_token);
        Ok(format!("Bearer {}", token.ok_or_else(|| denied("gives no token"))?))
    }

    fn failed(
        &self,
        path: &str,
        what: &str,
        status: Option<StatusCode>,
        source: Option<Cause>,
    ) -> ImportError {
        ImportError::Registry {
            registry: self.registry.clone(),
            what: format!("{path} of {} {what}", self.repository),
            status: status.map(|status| status.as_u16()),
            source,
        }
    }
}

#[derive(Deserialize)]
struct Token {
    token: Option<String>,
    access_token: Option<String>,
}

/// Whether the host of `authority` is this machine itself, by address or as "localhost".
fn is_loopback(authority: &str) -> bool {
    let Ok(authority) = authority.parse::<http::uri::Authority>() else { return false };
    let host = authority.host().trim_matches(['[', ']']);
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// Where a `Location` leads to from `uri`.
fn redirected(uri: &Uri, location: &str) -> Option<Uri> {
    if !location.starts_with('/') || location.starts_with("//") {
        return location.parse().ok().filter(|next: &Uri| next.scheme().is_some());
    }
    let mut parts = uri.clone().into_parts();
    parts.path_and_query = Some(location.parse().ok()?);
    Uri::from_parts(parts).ok()
}

/// TLS over `stream`, to whoever one of `authorities` says is `host`.
async fn encrypt<S: Stream>(
    stream: S,
    host: &str,
    authorities: Vec<CertificateDer<'static>>,
) -> Result<TlsStream<S>, Cause> {
    let name = ServerName::try_from(host.to_owned())?;
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(authorities);
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(TlsConnector::from(Arc::new(config)).connect(name, stream).await?)
}

#[cfg(test)]
mod tests;

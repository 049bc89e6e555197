//! One GET after the other, each on a connection of its own: TLS, redirects and authentication.
//!
//! Driven by [`super::Pull`]. Where a connection may lead is for [`super::reach`]. What is for one
//! registry, its password and its token, is sent to no other. What can go wrong: it can't be
//! reached, refuses, is too slow, or leads somewhere that is not asked.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{
    ACCEPT, AUTHORIZATION, HOST, LOCATION, RETRY_AFTER, USER_AGENT, WWW_AUTHENTICATE,
};
use http::{Request, Response, StatusCode, Uri};
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper_util::client::proxy::matcher::Matcher;
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use serde::Deserialize;
use tokio::task::JoinHandle;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_rustls::rustls::{self, ClientConfig, RootCertStore};

use super::auth::{Challenge, basic};
use super::reach::{self, May, Refused};
use super::{Cause, Stream};
use crate::pace::{Pace, TooSlow};
use crate::{Credentials, ImportError, Reference, Registries};

const MOST_REDIRECTS: usize = 5;
const MOST_TOKEN_BYTES: usize = 256 << 10;

/// The longest that a registry may ask us to wait before the next try.
const MOST_WAITING: Duration = Duration::from_secs(15);

/// Asks one registry about one repository.
pub(super) struct Client {
    registry: String,
    repository: String,
    /// Plain HTTP: the registry is on a loopback address, and named by the operator.
    plain: bool,
    settings: Registries,
    proxies: Matcher,
    tls: Result<Arc<ClientConfig>, String>,
    credentials: Option<Credentials>,
    /// The `Authorization` that the registry took last.
    authorization: Mutex<Option<String>>,
    /// How long it asked us to wait.
    retry_after: Mutex<Duration>,
}

/// An answer whose body is still coming.
pub(super) struct Answer {
    response: Response<Incoming>,
    /// The registry itself answered, not somebody it has led to.
    own: bool,
    connection: JoinHandle<()>,
    pace: Pace,
}

impl Drop for Answer {
    fn drop(&mut self) {
        self.connection.abort();
    }
}

impl Client {
    pub(super) fn new(
        reference: &Reference,
        credentials: Option<Credentials>,
        settings: &Registries,
    ) -> Self {
        let registry = match reference.registry() {
            // The name that people use is not the one of the registry.
            "docker.io" => "registry-1.docker.io".to_owned(),
            registry => registry.to_owned(),
        };
        let proxies = match &settings.proxy {
            Some(proxy) => Matcher::builder().all(proxy.clone()).build(),
            None => Matcher::from_env(),
        };
        Self {
            plain: is_loopback(&registry) && reach::is_named(&settings.local, &registry),
            registry,
            repository: reference.repository.clone(),
            settings: settings.clone(),
            proxies,
            // The machine's own certificate authorities, read once for all requests.
            tls: trusting(rustls_native_certs::load_native_certs().certs)
                .map_err(|error| error.to_string()),
            credentials,
            authorization: Mutex::new(None),
            retry_after: Mutex::new(Duration::ZERO),
        }
    }

    /// How long to wait before the try of this number, from 1 on.
    pub(super) fn back_off(&self, tries: u32) -> Duration {
        let asked = std::mem::take(&mut *self.retry_after.lock());
        (self.settings.back_off * tries * tries).max(asked)
    }

    /// GET of `path` in the repository; anything but a good answer is an error.
    pub(super) async fn get(&self, path: &str, accept: &str) -> Result<Answer, ImportError> {
        let scheme = if self.plain { "http" } else { "https" };
        let uri = format!("{scheme}://{}/v2/{}/{path}", self.registry, self.repository);
        let known = self.authorization.lock().clone();
        let mut answer = self.follow(&uri, accept, known.as_deref(), path).await?;
        // Whoever the registry leads to is shown no password, whatever it asks for.
        if answer.response.status() == StatusCode::UNAUTHORIZED && answer.own {
            let authorization = self.authorize(&answer, path).await?;
            answer = self.follow(&uri, accept, Some(&authorization), path).await?;
            *self.authorization.lock() = Some(authorization);
        }
        match answer.response.status() {
            // Some answer so though nobody asked for a part; lengths and digests tell.
            StatusCode::OK | StatusCode::PARTIAL_CONTENT => Ok(answer),
            status => {
                let headers = answer.response.headers();
                let seconds = headers.get(RETRY_AFTER).and_then(|said| said.to_str().ok());
                let seconds = seconds.and_then(|said| said.parse().ok()).unwrap_or(0);
                *self.retry_after.lock() = Duration::from_secs(seconds).min(MOST_WAITING);
                Err(self.failed(path, &format!("answered {status}"), Some(status), None))
            }
        }
    }

    /// The next bytes of an answer's body.
    pub(super) async fn next(
        &self,
        answer: &mut Answer,
        path: &str,
    ) -> Result<Option<Bytes>, ImportError> {
        loop {
            let piece = answer.response.body_mut().frame();
            let bytes_of = |frame: &Option<Result<http_body::Frame<Bytes>, _>>| {
                let bytes = frame.as_ref().and_then(|frame| frame.as_ref().ok()?.data_ref());
                bytes.map_or(0, |bytes| bytes.len() as u64)
            };
            let frame = answer.pace.next(piece, bytes_of).await;
            let frame =
                frame.map_err(|slow| self.failed(path, "is too slow", None, Some(slow.into())))?;
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
        let unasked = |cause: Cause| match cause.downcast_ref::<Refused>() {
            // The same words whether anybody listens there or not.
            Some(refused) => {
                let from = format!("{}/{}", self.registry, self.repository);
                ImportError::NotUsable { from, what: refused.to_string() }
            }
            None => self.failed(path, "could not be asked", None, Some(cause)),
        };
        let mut uri: Uri =
            uri.parse().map_err(|error: http::uri::InvalidUri| unasked(error.into()))?;
        let mut authorization = authorization;
        let mut own = true;
        let idle = self.settings.patience.idle;
        for _ in 0..=MOST_REDIRECTS {
            let asked = tokio::time::timeout(idle, self.ask(&uri, accept, authorization)).await;
            let asked = asked.map_err(|_| unasked(TooSlow::Idle(idle).into()))?;
            let mut answer = asked.map_err(unasked)?;
            answer.own = own;
            if !matches!(answer.response.status().as_u16(), 301 | 302 | 303 | 307 | 308) {
                return Ok(answer);
            }
            let location = answer.response.headers().get(LOCATION);
            let location = location.map(|location| String::from_utf8_lossy(location.as_bytes()));
            let next = redirected(&uri, &location.unwrap_or_default())
                .ok_or_else(|| self.failed(path, "led to no address", None, None))?;
            // What is for this registry is for nobody else.
            if next.authority() != uri.authority() || next.scheme() != uri.scheme() {
                authorization = None;
                own = false;
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
        let local = is_loopback(authority.as_str());
        let plain = match uri.scheme_str() {
            Some("https") => false,
            Some("http") if self.plain && local => true,
            // Whoever is refused anyhow is told why.
            Some("http") => {
                reach::check_literal(authority, May::of(&self.settings, authority.as_str()))?;
                return Err(format!("{uri} is not encrypted").into());
            }
            _ => return Err(format!("{uri} is not encrypted").into()),
        };
        let host = authority.host().trim_matches(['[', ']']);
        let port = authority.port_u16().unwrap_or(if plain { 80 } else { 443 });
        let none = Matcher::builder().build();
        // As everywhere, this machine itself is asked without a proxy.
        let proxies = if local { &none } else { &self.proxies };
        let tcp = reach::connect(uri, port, &self.settings, proxies).await?;
        let stream: Box<dyn Stream> = if plain {
            tcp
        } else {
            let tls = self.tls.clone()?;
            Box::new(encrypt(tcp, host, tls).await?)
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
        let pace = Pace::new(self.settings.patience);
        Ok(Answer { response, own: true, connection, pace })
    }

    /// What to say to a registry that does not know us.
    async fn authorize(&self, refused: &Answer, path: &str) -> Result<String, ImportError> {
        let denied = |what: &str| self.failed(path, what, Some(StatusCode::UNAUTHORIZED), None);
        let headers = refused.response.headers().get_all(WWW_AUTHENTICATE).iter();
        let challenge = Challenge::best(headers.filter_map(|header| header.to_str().ok()))
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
    host.eq_ignore_ascii_case("localhost")
        || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// Where a `Location` leads to from `uri` (RFC 9110 §10.2.2): any reference, with or without what
/// it would begin with.
fn redirected(uri: &Uri, location: &str) -> Option<Uri> {
    if location.is_empty() {
        return None;
    }
    let mut next = url::Url::parse(&uri.to_string()).ok()?.join(location).ok()?;
    next.set_fragment(None);
    // Nobody's name and password but ours are sent, and those in a header.
    next.set_username("").ok()?;
    next.set_password(None).ok()?;
    next.as_str().parse().ok().filter(|uri: &Uri| uri.authority().is_some())
}

/// Whether a failure may be over at the next try.
pub(super) fn may_pass(error: &ImportError) -> bool {
    let ImportError::Registry { status, source, .. } = error else { return false };
    match (status, source) {
        (Some(408 | 429 | 500..=599), _) => true,
        // What was waited for once is not waited for again: slots are few.
        (None, Some(source)) => source.downcast_ref::<TooSlow>().is_none(),
        (_, _) => false,
    }
}

/// TLS that trusts these authorities.
fn trusting(
    authorities: Vec<rustls::pki_types::CertificateDer<'static>>,
) -> Result<Arc<ClientConfig>, rustls::Error> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(authorities);
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(Arc::new(config))
}

/// TLS over `stream`, to whoever one of the authorities says is `host`.
async fn encrypt<S: Stream>(
    stream: S,
    host: &str,
    config: Arc<ClientConfig>,
) -> Result<TlsStream<S>, Cause> {
    let name = ServerName::try_from(host.to_owned())?;
    Ok(TlsConnector::from(config).connect(name, stream).await?)
}

#[cfg(test)]
mod tests;

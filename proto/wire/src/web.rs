//! A request to a provider of identities, over HTTPS: bounded in where it may go, how long it
//! takes, and how much comes back.
//!
//! Driven by the server, which reads a provider's keys, and by clients that log in. Each request
//! has a connection of its own. Plain HTTP goes to loopback addresses, and there only where whoever
//! asks has named one themselves; what a provider says leads from HTTPS to HTTP nowhere. What can
//! go wrong: nobody answers, or too slowly, or with too much; none of it holds anybody for longer
//! than [`LIMIT`], or more memory than [`MOST_BYTES`].

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_TYPE, HOST, LOCATION, USER_AGENT};
use http::{HeaderValue, Method, Request, Response};
use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, ServerName};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use url::{Host, Url};

/// How long a request may take, with all that it is led to.
pub const LIMIT: Duration = Duration::from_secs(10);

/// The most bytes of an answer.
pub const MOST_BYTES: usize = 256 << 10;

/// The most bytes of the head of an answer.
const MOST_HEAD: usize = 32 << 10;

/// How often an answer may lead elsewhere.
const MOST_REDIRECTS: usize = 3;

/// Nothing was read.
#[derive(Debug, thiserror::Error)]
pub enum WebError {
    /// It is not an address that is asked.
    #[error("{what} {why}")]
    Address {
        /// The address, as it was given.
        what: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// The file of CAs has none, or the machine has none.
    #[error("there is no CA to trust")]
    NoRoots,
    /// Nobody could be asked.
    #[error("{what} could not be asked")]
    Unreached {
        /// The address.
        what: String,
        /// Why.
        #[source]
        source: Box<dyn Error + Send + Sync>,
    },
    /// No whole answer came in time.
    #[error("{what} did not answer within {} s", LIMIT.as_secs())]
    Slow {
        /// The address.
        what: String,
    },
    /// The answer is too large.
    #[error("{what} answers with more than {MOST_BYTES} bytes")]
    TooLarge {
        /// The address.
        what: String,
    },
    /// It led elsewhere too often.
    #[error("{what} leads elsewhere more than {MOST_REDIRECTS} times")]
    Led {
        /// The address.
        what: String,
    },
}

/// A whole answer.
#[derive(Debug)]
pub struct Answer {
    /// Its HTTP status.
    pub status: u16,
    /// Its body.
    pub body: Vec<u8>,
}

/// Asks providers. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Web {
    tls: Arc<ClientConfig>,
}

/// Reads an address that may be asked: `https`, or `http` to a loopback address where that is
/// allowed; without a user name and without a fragment.
///
/// # Errors
/// What is wrong with it.
pub fn address(text: &str, plain: bool) -> Result<Url, WebError> {
    let wrong = |why| WebError::Address { what: shown(text), why };
    let url = Url::parse(text).map_err(|_| wrong("is no URL"))?;
    match url.scheme() {
        "https" => {}
        "http" if plain && is_loopback(&url) => {}
        "http" => return Err(wrong("is not encrypted: https is needed")),
        _ => return Err(wrong("is no https URL")),
    }
    if url.host().is_none() {
        return Err(wrong("names no host"));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(wrong("has a user name in it"));
    }
    if url.fragment().is_some() {
        return Err(wrong("has a fragment"));
    }
    Ok(url)
}

/// Whether this is plain HTTP to this machine itself.
#[must_use]
pub fn is_plain(url: &Url) -> bool {
    url.scheme() == "http" && is_loopback(url)
}

fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        Some(Host::Domain(name)) => name == "localhost",
        None => false,
    }
}

/// An address that others chose, short and fit to show.
fn shown(text: &str) -> String {
    banger_proto::words::clean(text.to_owned(), 256)
}

impl Web {
    /// Trusts the CAs in this PEM text, and no others; without one those that the machine trusts.
    ///
    /// # Errors
    /// [`WebError::NoRoots`].
    pub fn new(ca_pem: Option<&[u8]>) -> Result<Self, WebError> {
        let mut roots = RootCertStore::empty();
        match ca_pem {
            Some(pem) => {
                for ca in CertificateDer::pem_slice_iter(pem) {
                    let ca = ca.map_err(|_| WebError::NoRoots)?;
                    roots.add(ca).map_err(|_| WebError::NoRoots)?;
                }
                if roots.is_empty() {
                    return Err(WebError::NoRoots);
                }
            }
            // A machine without any still speaks plain HTTP to itself.
            None => {
                roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
            }
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let tls = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|_| WebError::NoRoots)?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(Self { tls: Arc::new(tls) })
    }

    /// Reads what is at an address, wherever it leads.
    ///
    /// # Errors
    /// See [`WebError`]. An answer that is an error of HTTP is none here.
    pub async fn get(&self, url: &Url) -> Result<Answer, WebError> {
        let what = shown(url.as_str());
        let follow = async {
            let mut at = url.clone();
            for _ in 0..=MOST_REDIRECTS {
                let response = self.ask(&at, Method::GET, None).await?;
                let led = matches!(response.status().as_u16(), 301 | 302 | 303 | 307 | 308);
                let Some(next) = response.headers().get(LOCATION).filter(|_| led) else {
                    return whole(&at, response).await;
                };
                let next = next.to_str().ok().and_then(|next| at.join(next).ok());
                let next = next.ok_or_else(|| WebError::Led { what: shown(at.as_str()) })?;
                at = address(next.as_str(), is_plain(&at))?;
            }
            Err(WebError::Led { what: what.clone() })
        };
        timeout(LIMIT, follow).await.unwrap_or_else(|_| Err(WebError::Slow { what: what.clone() }))
    }

    /// Sends a form, and is led nowhere: what is in it is for this address alone.
    ///
    /// # Errors
    /// See [`WebError`]. An answer that is an error of HTTP is none here.
    pub async fn post(&self, url: &Url, form: &[(&str, &str)]) -> Result<Answer, WebError> {
        let what = shown(url.as_str());
        let body = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(form).finish();
        let send = async { whole(url, self.ask(url, Method::POST, Some(body)).await?).await };
        timeout(LIMIT, send).await.unwrap_or(Err(WebError::Slow { what }))
    }

    async fn ask(
        &self,
        url: &Url,
        method: Method,
        form: Option<String>,
    ) -> Result<Response<Incoming>, WebError> {
        let asked = self.try_to_ask(url, method, form).await;
        asked.map_err(|source| WebError::Unreached { what: shown(url.as_str()), source })
    }

    async fn try_to_ask(
        &self,
        url: &Url,
        method: Method,
        form: Option<String>,
    ) -> Result<Response<Incoming>, Box<dyn Error + Send + Sync>> {
        let host = url.host_str().ok_or("an address without a host")?;
        let port = url.port_or_known_default().ok_or("an address without a port")?;
        let bare = host.trim_matches(['[', ']']);
        let tcp = TcpStream::connect((bare, port)).await?;
        let stream: Box<dyn Stream> = match url.scheme() {
            "https" => {
                let name = ServerName::try_from(bare.to_owned())?;
                Box::new(TlsConnector::from(Arc::clone(&self.tls)).connect(name, tcp).await?)
            }
            _ => Box::new(tcp),
        };
        let (mut sender, connection) = hyper::client::conn::http1::Builder::new()
            .max_buf_size(MOST_HEAD)
            .handshake(TokioIo::new(stream))
            .await?;
        // It ends with the answer, whose error it is, too.
        tokio::spawn(async move { drop(connection.await) });
        let authority = match url.port() {
            Some(port) => format!("{host}:{port}"),
            None => host.to_owned(),
        };
        let target = match url.query() {
            Some(query) => format!("{}?{query}", url.path()),
            None => url.path().to_owned(),
        };
        let mut request = Request::builder()
            .method(method)
            .uri(target)
            .header(HOST, authority)
            .header(ACCEPT, "application/json")
            .header(USER_AGENT, concat!("banger/", env!("CARGO_PKG_VERSION")));
        if form.is_some() {
            let kind = HeaderValue::from_static("application/x-www-form-urlencoded");
            request = request.header(CONTENT_TYPE, kind);
        }
        let body = Full::new(Bytes::from(form.unwrap_or_default()));
        Ok(sender.send_request(request.body(body)?).await?)
    }
}

async fn whole(url: &Url, response: Response<Incoming>) -> Result<Answer, WebError> {
    let what = || shown(url.as_str());
    let status = response.status().as_u16();
    match Limited::new(response.into_body(), MOST_BYTES).collect().await {
        Ok(body) => Ok(Answer { status, body: body.to_bytes().to_vec() }),
        Err(error) if error.is::<LengthLimitError>() => Err(WebError::TooLarge { what: what() }),
        Err(source) => Err(WebError::Unreached { what: what(), source }),
    }
}

/// What HTTP is spoken over.
trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

#[cfg(test)]
mod tests;

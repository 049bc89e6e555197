//! Reaches a server: address, CA, token, keepalive, deadlines, trace context.
//!
//! An [`Endpoint`] is checked when it is made, so that a bad address or CA file is an error before
//! anything is sent. A [`Client`] is cheap to clone; its connection is made anew by itself when it
//! breaks, and a call that was under way then fails with [`ClientError::Interrupted`]. A token goes
//! in plain text to this machine only, and there to nobody but root, the caller and the server's
//! own user, unless more is allowed in so many words.

use std::fmt;
use std::future::Future;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use banger_wire::limits;
use banger_wire::listeners::near;
use banger_wire::secrets::{self, Owners};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tonic::metadata::{Ascii, MetadataValue};
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Identity};
use tonic::{Request, Response, Status};

use crate::error::{Call, ClientError, EndpointError, reach_problem};

mod address;

/// How long a call may take when nothing else was said.
pub const DEFAULT_DEADLINE: Duration = Duration::from_secs(30);

/// Largest answer that is read. A page of 1000 VMs that all have the largest metadata is about
/// 34 MiB.
pub(crate) const MAX_ANSWER_BYTES: usize = 64 * 1024 * 1024;

/// Which server, how it is trusted, and as whom to speak.
#[derive(Clone)]
pub struct Endpoint {
    server: String,
    tls: bool,
    loopback: bool,
    ca_pem: Option<Vec<u8>>,
    identity: Option<Identity>,
    token: Option<MetadataValue<Ascii>>,
    plaintext_token: bool,
    project: Option<Arc<str>>,
    deadline: Duration,
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The token is a secret; that there is one is not.
        f.debug_struct("Endpoint")
            .field("server", &self.server)
            .field("own_ca", &self.ca_pem.is_some())
            .field("certificate", &self.identity.is_some())
            .field("token", &self.token.is_some())
            .finish_non_exhaustive()
    }
}

impl Endpoint {
    /// `http://host:port` or `https://host:port`. Without a scheme it is http for this machine
    /// itself and https for any other; without a port it is 7070.
    ///
    /// # Errors
    /// [`EndpointError::Server`] for anything else.
    pub fn new(server: &str) -> Result<Self, EndpointError> {
        let address = address::parse(server)?;
        Ok(Self {
            server: address.url,
            tls: address.tls,
            loopback: address.loopback,
            ca_pem: None,
            identity: None,
            token: None,
            plaintext_token: false,
            project: None,
            deadline: DEFAULT_DEADLINE,
        })
    }

    /// Trusts the CA certificates in this PEM file, and no others.
    ///
    /// # Errors
    /// The file can't be read or has no certificate.
    pub fn ca_file(self, path: &Path) -> Result<Self, EndpointError> {
        let pem = secrets::read_public(path).map_err(EndpointError::ReadCa)?;
        self.ca_pem(&pem).map_err(|_| EndpointError::NoCertificate { path: Some(path.to_owned()) })
    }

    /// Trusts the CA certificates in this PEM text, and no others.
    ///
    /// # Errors
    /// The text has no certificate.
    pub fn ca_pem(mut self, pem: &[u8]) -> Result<Self, EndpointError> {
        // Tonic passes over what it can't parse; a CA that is silently ignored would show as
        // "not trusted" much later.
        if !CertificateDer::pem_slice_iter(pem).any(|found| found.is_ok()) {
            return Err(EndpointError::NoCertificate { path: None });
        }
        self.ca_pem = Some(pem.to_owned());
        Ok(self)
    }

    /// Shows this certificate in the handshake, for servers that know callers by theirs. A token,
    /// if there is one too, says who calls all the same.
    ///
    /// # Errors
    /// A file can't be read, others may read the key, or there is no certificate or no key in them.
    pub fn certificate_files(self, certificate: &Path, key: &Path) -> Result<Self, EndpointError> {
        let certificate_pem = secrets::read_public(certificate);
        let certificate_pem = certificate_pem.map_err(EndpointError::ReadCertificate)?;
        let key_pem = secrets::read_of(key, Owners::AnyForRoot);
        let key_pem = key_pem.map_err(EndpointError::ReadCertificate)?;
        self.certificate_pem(&certificate_pem, &key_pem)
    }

    /// The same, of PEM texts.
    ///
    /// # Errors
    /// There is no certificate or no key in them, or the connection has no TLS to show it in.
    pub fn certificate_pem(
        mut self,
        certificate: &[u8],
        key: &[u8],
    ) -> Result<Self, EndpointError> {
        if !self.tls {
            return Err(EndpointError::CertificateWithoutTls { server: self.server });
        }
        if !CertificateDer::pem_slice_iter(certificate).any(|found| found.is_ok()) {
            return Err(EndpointError::NoClientCertificate { what: "certificate" });
        }
        if PrivateKeyDer::from_pem_slice(key).is_err() {
            return Err(EndpointError::NoClientCertificate { what: "key" });
        }
        self.identity = Some(Identity::from_pem(certificate, key));
        Ok(self)
    }

    /// Sends `authorization: Bearer <token>` with every call.
    ///
    /// # Errors
    /// The token has characters that a header can't carry.
    pub fn token(mut self, token: &str) -> Result<Self, EndpointError> {
        let token = token.trim();
        if token.is_empty() || !token.bytes().all(|b| b.is_ascii_graphic()) {
            return Err(EndpointError::Token);
        }
        let mut value: MetadataValue<Ascii> =
            format!("Bearer {token}").parse().map_err(|_| EndpointError::Token)?;
        value.set_sensitive(true);
        self.token = Some(value);
        Ok(self)
    }

    /// Allows the token over plain http to another machine, where anyone on the way can read it,
    /// and on this machine to whoever listens there.
    #[must_use]
    pub fn allow_plaintext_token(mut self, allow: bool) -> Self {
        self.plaintext_token = allow;
        self
    }

    /// The project that is meant where a call names none: names of VMs, images and tokens are in
    /// it, lists and watches show it alone, and what is made is made in it.
    ///
    /// # Errors
    /// What can be no name of a project.
    pub fn project(mut self, project: &str) -> Result<Self, EndpointError> {
        let label = |b: u8| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'-');
        if project.is_empty() || project.len() > 63 || !project.bytes().all(label) {
            return Err(EndpointError::Project { text: project.to_owned() });
        }
        self.project = Some(project.into());
        Ok(self)
    }

    /// How long each call may take. Streams and waits have none or their own.
    #[must_use]
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    /// The address, as a URL.
    #[must_use]
    pub fn server(&self) -> &str {
        &self.server
    }

    /// Whether it trusts a CA that was named, and not those that the machine trusts.
    #[must_use]
    pub fn has_own_ca(&self) -> bool {
        self.ca_pem.is_some()
    }

    fn transport(&self) -> Result<tonic::transport::Endpoint, EndpointError> {
        if self.token.is_some() && !self.tls && !self.loopback && !self.plaintext_token {
            return Err(EndpointError::PlaintextToken { server: self.server.clone() });
        }
        let transport = tonic::transport::Endpoint::from_shared(self.server.clone())
            .map_err(|_| EndpointError::Server {
                text: self.server.clone(),
                why: "it does not parse as a URL",
            })?
            .connect_timeout(limits::CONNECT_TIMEOUT)
            .http2_keep_alive_interval(limits::KEEPALIVE_INTERVAL)
            .keep_alive_timeout(limits::KEEPALIVE_TIMEOUT)
            .keep_alive_while_idle(true)
            .tcp_nodelay(true);
        if !self.tls {
            return Ok(transport);
        }
        let tls = match &self.ca_pem {
            Some(pem) => ClientTlsConfig::new().ca_certificate(Certificate::from_pem(pem)),
            None => ClientTlsConfig::new().trust_anchors(self.machine_roots()?),
        };
        let tls = match &self.identity {
            Some(identity) => tls.identity(identity.clone()),
            None => tls,
        };
        transport.tls_config(tls.timeout(limits::CONNECT_TIMEOUT)).map_err(|source| {
            EndpointError::Tls { server: self.server.clone(), source: Box::new(source) }
        })
    }

    /// Whether a token goes to this machine in plain text: then it matters who listens, because
    /// anybody may who is first.
    fn shows_token_nearby(&self) -> bool {
        self.token.is_some() && !self.tls && self.loopback && !self.plaintext_token
    }

    /// The CAs that this machine trusts.
    fn machine_roots(&self) -> Result<Vec<rustls::pki_types::TrustAnchor<'static>>, EndpointError> {
        let mut store = rustls::RootCertStore::empty();
        store.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        if store.is_empty() {
            return Err(EndpointError::NoRoots { server: self.server.clone() });
        }
        Ok(store.roots)
    }
}

/// Adds the token to every request, and with the feature `trace` the trace context.
#[derive(Clone, Debug)]
pub(crate) struct Credentials {
    token: Option<MetadataValue<Ascii>>,
}

impl tonic::service::Interceptor for Credentials {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        #[cfg(feature = "trace")]
        banger_wire::trace::inject(request.metadata_mut());
        if let Some(token) = &self.token {
            request.metadata_mut().insert("authorization", token.clone());
        }
        Ok(request)
    }
}

/// What the generated clients stand on.
pub(crate) type Transport = InterceptedService<Channel, Credentials>;

/// The part that every service of one client shares.
#[derive(Clone, Debug)]
pub(crate) struct Link {
    pub(crate) transport: Transport,
    server: Arc<str>,
    project: Option<Arc<str>>,
    deadline: Duration,
}

impl Link {
    /// A name as the server is to understand it: of the project that is meant, unless it is an id
    /// or says another.
    pub(crate) fn named(&self, name: &str) -> String {
        let is_id = name.parse::<banger_proto::ids::VmId>().is_ok() || name.starts_with("bgr_");
        match &self.project {
            Some(project) if !name.is_empty() && !name.contains('/') && !is_id => {
                format!("{project}/{name}")
            }
            Some(_) | None => name.to_owned(),
        }
    }

    /// The project that is meant where `asked` is empty; empty: the caller's own.
    pub(crate) fn project(&self, asked: &str) -> String {
        match &self.project {
            Some(project) if asked.is_empty() => project.to_string(),
            Some(_) | None => asked.to_owned(),
        }
    }

    /// Makes one call with the client's deadline.
    pub(crate) async fn unary<Req, Resp, F, Fut>(
        &self,
        call: Call,
        message: Req,
        send: F,
    ) -> Result<Resp, ClientError>
    where
        F: FnOnce(Request<Req>) -> Fut,
        Fut: Future<Output = Result<Response<Resp>, Status>>,
    {
        self.unary_within(self.deadline, call, message, send).await
    }

    /// Makes one call with a deadline of its own.
    pub(crate) async fn unary_within<Req, Resp, F, Fut>(
        &self,
        deadline: Duration,
        call: Call,
        message: Req,
        send: F,
    ) -> Result<Resp, ClientError>
    where
        F: FnOnce(Request<Req>) -> Fut,
        Fut: Future<Output = Result<Response<Resp>, Status>>,
    {
        let mut request = Request::new(message);
        // Travels as `grpc-timeout` and is kept on this side too.
        request.set_timeout(deadline);
        match send(request).await {
            Ok(response) => Ok(response.into_inner()),
            Err(status) => Err(self.error(call, Some(deadline), status)),
        }
    }

    pub(crate) fn error(
        &self,
        call: Call,
        deadline: Option<Duration>,
        status: Status,
    ) -> ClientError {
        ClientError::from_status(&self.server, call, deadline, status)
    }
}

/// A connection to one server.
#[derive(Clone, Debug)]
pub struct Client {
    pub(crate) link: Link,
}

impl Client {
    /// Connects now, so that a server that is not there shows at once.
    ///
    /// # Errors
    /// [`ClientError::Unreachable`] or [`ClientError::Endpoint`].
    pub async fn connect(endpoint: &Endpoint) -> Result<Self, ClientError> {
        let transport = endpoint.transport()?;
        let connected = if endpoint.shows_token_nearby() {
            near::connect(&transport).await
        } else {
            transport.connect().await
        };
        let channel = connected.map_err(|source| {
            let problem = reach_problem(&source);
            let server = endpoint.server.clone();
            ClientError::Unreachable { server, problem, source: Box::new(source) }
        })?;
        Ok(Self::over(channel, endpoint))
    }

    /// Connects at the first call, and anew whenever the connection breaks. For programs that
    /// start together with their server. Must be called inside a tokio runtime.
    ///
    /// # Errors
    /// [`ClientError::Endpoint`].
    pub fn connect_lazy(endpoint: &Endpoint) -> Result<Self, ClientError> {
        let transport = endpoint.transport()?;
        let channel = if endpoint.shows_token_nearby() {
            near::connect_lazy(&transport)
        } else {
            transport.connect_lazy()
        };
        Ok(Self::over(channel, endpoint))
    }

    fn over(channel: Channel, endpoint: &Endpoint) -> Self {
        let credentials = Credentials { token: endpoint.token.clone() };
        let transport = InterceptedService::new(channel, credentials);
        let server = endpoint.server.as_str().into();
        let (project, deadline) = (endpoint.project.clone(), endpoint.deadline);
        Self { link: Link { transport, server, project, deadline } }
    }

    /// The address, as a URL.
    #[must_use]
    pub fn server(&self) -> &str {
        &self.link.server
    }
}

#[cfg(test)]
mod tests;

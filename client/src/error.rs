//! What can go wrong between a client and a server.
//!
//! Four classes, because a caller does something else in each: the server was never reached
//! (nothing happened), the connection broke or the deadline passed in the middle (what happened is
//! not known), the server answered with a refusal ([`Refusal`], nothing was changed), or the
//! endpoint itself makes no sense ([`EndpointError`]). Every message is one line;
//! [`ClientError::advice`] says what a person can do.

use std::time::Duration;

use tonic::Code;

mod reach;
mod refusal;

pub use reach::ReachProblem;
pub(crate) use reach::connecting as reach_problem;
pub use refusal::{FieldProblem, Refusal};

/// Any error, to be kept as a source.
pub type Source = Box<dyn std::error::Error + Send + Sync + 'static>;

/// One call of the API, as errors speak of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Call {
    /// As in the `.proto` files, such as "CreateVm".
    pub name: &'static str,
    /// Whether it changes anything: then a broken connection leaves its outcome unknown.
    pub changes: bool,
}

impl Call {
    pub(crate) const fn read(name: &'static str) -> Self {
        Self { name, changes: false }
    }

    pub(crate) const fn change(name: &'static str) -> Self {
        Self { name, changes: true }
    }

    fn unknown_outcome(self) -> &'static str {
        if self.changes { "; whether it took effect is not known" } else { "" }
    }
}

/// Returned by every call of the client.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// No connection came about: the server has not seen the request.
    #[error("cannot reach the server at {server}: {problem}")]
    Unreachable {
        /// The endpoint, as a URL.
        server: String,
        /// Why, as far as it can be told.
        problem: ReachProblem,
        /// The transport's own error.
        #[source]
        source: Source,
    },
    /// The connection broke while the call was under way.
    #[error(
        "the connection to {server} broke during {}: {problem}{}",
        call.name, call.unknown_outcome()
    )]
    Interrupted {
        /// The endpoint, as a URL.
        server: String,
        /// Which call.
        call: Call,
        /// Why, as far as it can be told.
        problem: ReachProblem,
        /// The transport's own error.
        #[source]
        source: Source,
    },
    /// The deadline passed before an answer came.
    #[error(
        "no answer from {server} to {} within {}{}",
        call.name, humantime::format_duration(*after), call.unknown_outcome()
    )]
    NoAnswer {
        /// The endpoint, as a URL.
        server: String,
        /// Which call.
        call: Call,
        /// The deadline.
        after: Duration,
    },
    /// Something answered, but not a banger server.
    #[error("what answers at {server} is not a banger server: {message}")]
    NotBanger {
        /// The endpoint, as a URL.
        server: String,
        /// What the transport says of the answer.
        message: String,
    },
    /// The server refused the call.
    #[error("{0}")]
    Refused(Box<Refusal>),
    /// The endpoint cannot be used.
    #[error(transparent)]
    Endpoint(#[from] EndpointError),
}

/// The endpoint cannot be used; nothing was sent.
#[derive(Debug, thiserror::Error)]
pub enum EndpointError {
    /// Not a URL of the form `http://host:port` or `https://host:port`.
    #[error("{text:?} is no server address: {why}; write it like http://127.0.0.1:7070")]
    Server {
        /// As given.
        text: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// The CA file can't be read, or is none.
    #[error("the CA certificate can't be used")]
    ReadCa(#[source] banger_wire::secrets::SecretError),
    /// The file of the client certificate or of its key can't be read, or others may read the key.
    #[error("the client certificate can't be used")]
    ReadCertificate(#[source] banger_wire::secrets::SecretError),
    /// There is none.
    #[error("there is no PEM {what} in the file of the client certificate")]
    NoClientCertificate {
        /// What was to be there.
        what: &'static str,
    },
    /// A certificate is shown in the handshake of TLS.
    #[error("a client certificate is for https, and {server} is not")]
    CertificateWithoutTls {
        /// The server.
        server: String,
    },
    /// The CA text holds no certificate.
    #[error("the given CA has no PEM certificate{}", path.as_ref().map(|p| format!(" ({})", p.display())).unwrap_or_default())]
    NoCertificate {
        /// The file, if it came from one.
        path: Option<std::path::PathBuf>,
    },
    /// The machine has no trusted CAs, and none was given.
    #[error(
        "this machine has no trusted CA certificates and none was given for {server}; name one with --ca"
    )]
    NoRoots {
        /// The endpoint, as a URL.
        server: String,
    },
    /// The token can't be a header value.
    #[error("the token has characters that no token has (spaces, control characters or non-ASCII)")]
    Token,
    /// What can be no name of a project.
    #[error("{text:?} is no name of a project: those have a-z, 0-9 and '-', at most 63")]
    Project {
        /// As it was given.
        text: String,
    },
    /// A token would go over the network in plain text.
    #[error(
        "refusing to send the token in plain text to {server}; use https, or allow it with --insecure-plaintext"
    )]
    PlaintextToken {
        /// The endpoint, as a URL.
        server: String,
    },
    /// TLS cannot be set up.
    #[error("cannot set up TLS for {server}")]
    Tls {
        /// The endpoint, as a URL.
        server: String,
        /// Why.
        #[source]
        source: Source,
    },
}

impl ClientError {
    /// Turns a status of tonic into an error. A status with a source was made on this side.
    pub(crate) fn from_status(
        server: &str,
        call: Call,
        deadline: Option<Duration>,
        status: tonic::Status,
    ) -> Self {
        let server = server.to_owned();
        let found = std::error::Error::source(&status).map(reach::classify);
        match found {
            Some(reach::Found::Timeout) => {
                let after = deadline.unwrap_or_default();
                Self::NoAnswer { server, call, after }
            }
            Some(reach::Found::NeverConnected(problem)) => {
                Self::Unreachable { server, problem, source: Box::new(status) }
            }
            Some(reach::Found::Broken(ReachProblem::NotHttp2)) => {
                Self::NotBanger { server, message: ReachProblem::NotHttp2.to_string() }
            }
            Some(reach::Found::Broken(problem)) => {
                Self::Interrupted { server, call, problem, source: Box::new(status) }
            }
            None if reach::is_foreign(&status) => {
                Self::NotBanger { server, message: status.message().to_owned() }
            }
            None => Self::Refused(Box::new(Refusal::from_status(&server, call, &status))),
        }
    }

    /// The gRPC code: the server's own for a refusal, else the nearest one.
    #[must_use]
    pub fn code(&self) -> Code {
        match self {
            Self::Unreachable { .. } | Self::Interrupted { .. } => Code::Unavailable,
            Self::NoAnswer { .. } => Code::DeadlineExceeded,
            Self::NotBanger { .. } => Code::Unavailable,
            Self::Refused(refusal) => refusal.code,
            Self::Endpoint(_) => Code::InvalidArgument,
        }
    }

    /// The server's refusal, if it is one.
    #[must_use]
    pub fn refusal(&self) -> Option<&Refusal> {
        match self {
            Self::Refused(refusal) => Some(refusal),
            Self::Unreachable { .. }
            | Self::Interrupted { .. }
            | Self::NoAnswer { .. }
            | Self::NotBanger { .. }
            | Self::Endpoint(_) => None,
        }
    }

    /// Whether the same call may go well later with nothing else changed.
    #[must_use]
    pub fn is_passing(&self) -> bool {
        match self {
            Self::Unreachable { .. } | Self::Interrupted { .. } | Self::NoAnswer { .. } => true,
            Self::Refused(refusal) => matches!(
                refusal.code,
                Code::Unavailable
                    | Code::Aborted
                    | Code::Cancelled
                    | Code::DeadlineExceeded
                    | Code::ResourceExhausted
                    | Code::Internal
                    | Code::Unknown
            ),
            Self::NotBanger { .. } | Self::Endpoint(_) => false,
        }
    }

    /// What a person can do about it, as a sentence; empty where there is nothing to say.
    #[must_use]
    pub fn advice(&self) -> String {
        match self {
            Self::Unreachable { problem, .. } => problem.advice().to_owned(),
            Self::Interrupted { call, .. } | Self::NoAnswer { call, .. } if call.changes => {
                "Look at the current state before you try again.".to_owned()
            }
            Self::Interrupted { problem, .. } => problem.advice().to_owned(),
            Self::NoAnswer { .. } => String::new(),
            Self::NotBanger { .. } => "Is it the right address and port, and http or https as the \
                 server has it? Name another server with --server."
                .to_owned(),
            Self::Refused(refusal) => refusal.advice().to_owned(),
            Self::Endpoint(_) => String::new(),
        }
    }
}

#[cfg(test)]
mod tests;

//! Why a server could not be reached, found by walking the transport's chain of errors.
//!
//! The transport wraps the cause three to six times, each layer with a sentence of its own
//! ("transport error", "tcp connect error"). Only the innermost says something a person can act
//! on, so it is looked for by type.

use std::error::Error;
use std::fmt;
use std::io;

use banger_wire::listeners::Stranger;

/// Why no connection came about, or why it broke.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ReachProblem {
    /// Nobody listens there.
    Refused,
    /// No answer to the attempt to connect.
    TimedOut,
    /// The name of the server does not resolve.
    UnknownName,
    /// There is no route to the address.
    Unroutable,
    /// On this machine somebody listens who is not to have the token: who, in a sentence.
    Stranger(String),
    /// The peer closed the connection.
    Closed,
    /// The certificate of the server is not signed by a CA that is trusted here.
    UntrustedCertificate,
    /// The certificate of the server is for other names.
    WrongCertificateName,
    /// The server shows the certificate of a CA, not one that a CA has signed for it.
    CaAsServer,
    /// The certificate of the server has expired.
    ExpiredCertificate,
    /// The certificate of the server is not good yet.
    EarlyCertificate,
    /// TLS was spoken and plain text came back.
    NotTls,
    /// Some other trouble with TLS.
    Tls(String),
    /// The peer does not speak HTTP/2.
    NotHttp2,
    /// Anything else, in the transport's words.
    Other(String),
}

impl fmt::Display for ReachProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Refused => "connection refused",
            Self::TimedOut => "no answer",
            Self::UnknownName => "the name does not resolve",
            Self::Unroutable => "no route to it",
            Self::Closed => "the connection was closed",
            Self::UntrustedCertificate => "its certificate is not signed by a trusted CA",
            Self::WrongCertificateName => "its certificate is for another name",
            Self::CaAsServer => "it shows the certificate of a CA as its own",
            Self::ExpiredCertificate => "its certificate has expired",
            Self::EarlyCertificate => "its certificate is not valid yet",
            Self::NotTls => "it does not speak TLS",
            Self::Tls(text) => return write!(f, "TLS: {text}"),
            Self::NotHttp2 => "it does not speak HTTP/2",
            Self::Stranger(text) | Self::Other(text) => text,
        })
    }
}

impl ReachProblem {
    pub(super) fn advice(&self) -> &'static str {
        match self {
            Self::Refused => {
                "Is it running? Start one with `banger dev`, or name another with --server."
            }
            Self::TimedOut | Self::Unroutable => {
                "Is the address right, and does a firewall let it through? \
                 Name another with --server."
            }
            Self::UnknownName => "Check the name, or name another server with --server.",
            Self::Closed | Self::NotHttp2 => {
                "Is the server still running, and does it speak http or https?"
            }
            Self::UntrustedCertificate => {
                "Name the CA that signed it with --ca FILE, or in the context."
            }
            Self::WrongCertificateName => {
                "Use a name that is in the certificate as the server address, or make one for this \
                 name: docs/OPERATIONS.md, \"TLS\"."
            }
            Self::CaAsServer => {
                "Make a certificate for the server that the CA signs: docs/OPERATIONS.md, \"TLS\"."
            }
            Self::ExpiredCertificate => {
                "Make a new one on the server: docs/OPERATIONS.md, \"TLS\". If it was made anew, \
                 the server reads it on SIGHUP."
            }
            Self::EarlyCertificate => "Is the clock right, here and on the server?",
            Self::Stranger(_) => {
                "If that is your server, allow it with --insecure-plaintext, or \
                 insecure_plaintext = true in the context."
            }
            Self::NotTls => "Write the address with http:// if the server has no TLS.",
            Self::Tls(_) | Self::Other(_) => "",
        }
    }
}

/// What a chain of errors comes down to.
pub(super) enum Found {
    /// The deadline of the call.
    Timeout,
    /// There was no connection.
    NeverConnected(ReachProblem),
    /// There was one.
    Broken(ReachProblem),
}

/// Whether a status was made up by tonic for an answer that is not gRPC.
pub(super) fn is_foreign(status: &tonic::Status) -> bool {
    status.message().starts_with("grpc-status header missing")
}

/// Walks the chain and names the innermost cause that is known.
pub(super) fn classify(error: &(dyn Error + 'static)) -> Found {
    let mut connecting = false;
    let mut problem = None;
    let mut last = error.to_string();
    let mut next = Some(error);
    while let Some(error) = next {
        if error.is::<tonic::TimeoutExpired>() {
            return Found::Timeout;
        }
        connecting |= error.is::<tonic::ConnectError>();
        if let Some(found) = one(error) {
            problem = Some(found);
        }
        last = error.to_string();
        next = error.source();
    }
    let problem = problem.unwrap_or_else(|| by_words(&last));
    if connecting { Found::NeverConnected(problem) } else { Found::Broken(problem) }
}

/// Why connecting failed.
pub(crate) fn connecting(error: &(dyn Error + 'static)) -> ReachProblem {
    match classify(error) {
        Found::Timeout => ReachProblem::TimedOut,
        Found::NeverConnected(problem) | Found::Broken(problem) => problem,
    }
}

fn one(error: &(dyn Error + 'static)) -> Option<ReachProblem> {
    if let Some(stranger) = error.downcast_ref::<Stranger>() {
        return Some(ReachProblem::Stranger(stranger.to_string()));
    }
    if let Some(tls) = error.downcast_ref::<rustls::Error>() {
        return Some(of_tls(tls));
    }
    let io = error.downcast_ref::<io::Error>()?;
    // An `io::Error` made from another error does not show it as its source, but inside.
    if let Some(inner) = io.get_ref() {
        if let Some(tls) = inner.downcast_ref::<rustls::Error>() {
            return Some(of_tls(tls));
        }
        if let Some(found) = one(inner) {
            return Some(found);
        }
    }
    match io.kind() {
        io::ErrorKind::ConnectionRefused => Some(ReachProblem::Refused),
        io::ErrorKind::TimedOut => Some(ReachProblem::TimedOut),
        io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable => {
            Some(ReachProblem::Unroutable)
        }
        io::ErrorKind::ConnectionReset
        | io::ErrorKind::ConnectionAborted
        | io::ErrorKind::BrokenPipe
        | io::ErrorKind::UnexpectedEof => Some(ReachProblem::Closed),
        _ if io.to_string().contains("failed to lookup address") => Some(ReachProblem::UnknownName),
        _ => None,
    }
}

fn of_tls(error: &rustls::Error) -> ReachProblem {
    use rustls::{CertificateError, Error as Tls};
    match error {
        // A bad signature is a CA of the same name with another key: made anew, most likely.
        Tls::InvalidCertificate(
            CertificateError::UnknownIssuer | CertificateError::BadSignature,
        ) => ReachProblem::UntrustedCertificate,
        Tls::InvalidCertificate(
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
        ) => ReachProblem::WrongCertificateName,
        Tls::InvalidCertificate(
            CertificateError::Expired | CertificateError::ExpiredContext { .. },
        ) => ReachProblem::ExpiredCertificate,
        Tls::InvalidCertificate(
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. },
        ) => ReachProblem::EarlyCertificate,
        // The verifier's own error is of a crate that is private to rustls.
        Tls::InvalidCertificate(CertificateError::Other(other))
            if format!("{other:?}").contains("CaUsedAsEndEntity") =>
        {
            ReachProblem::CaAsServer
        }
        Tls::InvalidMessage(rustls::InvalidMessage::InvalidContentType) => ReachProblem::NotTls,
        other => ReachProblem::Tls(other.to_string()),
    }
}

/// HTTP/2 errors have no type that is public to us; their words are stable enough for a hint.
fn by_words(text: &str) -> ReachProblem {
    if text.contains("frame with invalid size") || text.contains("invalid preface") {
        ReachProblem::NotHttp2
    } else if text.contains("connection closed")
        || text.contains("connection error")
        || text.contains("stream closed because of a broken pipe")
        || text.contains("keep-alive timed out")
    {
        ReachProblem::Closed
    } else if text.contains("deadline has elapsed") {
        ReachProblem::TimedOut
    } else {
        ReachProblem::Other(text.to_owned())
    }
}

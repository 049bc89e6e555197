//! Why a request is turned away before it reaches a service.

use std::time::Duration;

use tonic::{Code, Status};

use banger_proto::v1::ErrorReason;

/// Builds the status of an error: code, reason, sentence. Each service has one builder.
pub type Refuse = fn(Code, ErrorReason, String) -> Status;

/// Why a request is turned away.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The name by which it was reached is not the service's: somebody else's page, perhaps.
    #[error(
        "the host {given:?} is none of this service; reach it by an address or as localhost{advice}",
        advice = name_in(given).map(advice).unwrap_or_default()
    )]
    Host {
        /// As given.
        given: String,
    },
    /// No host was named.
    #[error("the request names no host")]
    NoHost,
    /// It comes from a page that may not call.
    #[error(
        "pages of {given:?} may not call this service; cors_origins of its configuration lists those \
         that may"
    )]
    Origin {
        /// As given.
        given: String,
    },
    /// A page of others loads it, and names no origin.
    #[error(
        "a page of another site ({given:?}) may not load what is here; open it in a window of its own"
    )]
    Site {
        /// How the browser says the page is related to us.
        given: String,
    },
    /// Neither a call nor a page.
    #[error("{given} is not used here; calls are POST, pages are GET")]
    Method {
        /// As given.
        given: String,
    },
    /// Not gRPC.
    #[error("the content type {given:?} is not of gRPC or gRPC-Web with Protobuf")]
    ContentType {
        /// As given.
        given: String,
    },
    /// A message is too large.
    #[error("a message of the request has {found} bytes; the limit is {limit}")]
    TooLarge {
        /// What it announced.
        found: usize,
        /// What it may have.
        limit: usize,
    },
    /// All messages together are too large.
    #[error("the messages of the request have more than {limit} bytes together")]
    TooMuch {
        /// What they may have.
        limit: usize,
    },
    /// Compressed where that is not taken.
    #[error("a call without a token may not be compressed")]
    Compressed,
    /// The request does not come.
    #[error("the request did not come within {} s", within.as_secs())]
    Slow {
        /// What it may take.
        within: Duration,
    },
    /// Too many calls without an identity.
    #[error("the limit of {limit} calls at a time without a token on one connection is reached")]
    OpenCalls {
        /// How many there may be.
        limit: usize,
    },
    /// Too many calls without an identity, of all connections.
    #[error("the limit of {limit} calls at a time without a token is reached; try again")]
    OpenCallsInAll {
        /// How many there may be.
        limit: usize,
    },
    /// Too many streams without an identity.
    #[error("the limit of {limit} streams without a token is reached")]
    OpenStreams {
        /// How many there may be.
        limit: usize,
    },
    /// Too many requests are on their way.
    #[error("requests of {limit} bytes are on their way already; send fewer at a time")]
    Held {
        /// What they may have.
        limit: usize,
    },
    /// Too many answers are unread.
    #[error("answers of {limit} bytes are unread already; read them first")]
    Unread {
        /// What they may have.
        limit: usize,
    },
    /// The same, found when the call was done.
    #[error(
        "the call was made, and there is no room for its answer: {limit} bytes of others are unread; \
         read them, and repeat it with the same request_id"
    )]
    Unanswered {
        /// What they may have.
        limit: usize,
    },
    /// Nothing of the answer was read.
    #[error("nothing of the answer was read for {} s", within.as_secs())]
    LeftUnread {
        /// What that may take.
        within: Duration,
    },
    /// Too many calls.
    #[error("{limit} calls are under way already; begin fewer at a time")]
    Calls {
        /// How many there may be.
        limit: usize,
    },
    /// The call's own deadline has passed.
    #[error("the deadline of the call has passed")]
    Deadline,
}

impl Refusal {
    /// How programs are told.
    #[must_use]
    pub const fn reason(&self) -> (Code, ErrorReason) {
        match self {
            Self::Host { .. } | Self::NoHost | Self::Origin { .. } | Self::Site { .. } => {
                (Code::PermissionDenied, ErrorReason::OriginNotAllowed)
            }
            Self::Method { .. } | Self::ContentType { .. } | Self::Compressed => {
                (Code::InvalidArgument, ErrorReason::RequestMalformed)
            }
            Self::TooLarge { .. }
            | Self::TooMuch { .. }
            | Self::OpenCalls { .. }
            | Self::OpenCallsInAll { .. }
            | Self::OpenStreams { .. }
            | Self::Held { .. }
            | Self::Unread { .. }
            | Self::Unanswered { .. }
            | Self::Calls { .. } => (Code::ResourceExhausted, ErrorReason::LimitReached),
            Self::Slow { .. } | Self::LeftUnread { .. } | Self::Deadline => {
                (Code::DeadlineExceeded, ErrorReason::DeadlineExceeded)
            }
        }
    }

    /// How a browser is told.
    #[must_use]
    pub const fn http(&self) -> http::StatusCode {
        match self {
            Self::Host { .. } => http::StatusCode::MISDIRECTED_REQUEST,
            Self::NoHost => http::StatusCode::BAD_REQUEST,
            Self::Origin { .. } | Self::Site { .. } => http::StatusCode::FORBIDDEN,
            Self::Method { .. } => http::StatusCode::METHOD_NOT_ALLOWED,
            Self::ContentType { .. } | Self::Compressed => http::StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::TooLarge { .. } | Self::TooMuch { .. } => http::StatusCode::PAYLOAD_TOO_LARGE,
            Self::Slow { .. } | Self::LeftUnread { .. } | Self::Deadline => {
                http::StatusCode::REQUEST_TIMEOUT
            }
            Self::OpenCalls { .. }
            | Self::OpenCallsInAll { .. }
            | Self::OpenStreams { .. }
            | Self::Held { .. }
            | Self::Unread { .. }
            | Self::Unanswered { .. }
            | Self::Calls { .. } => http::StatusCode::TOO_MANY_REQUESTS,
        }
    }

    /// As a status.
    #[must_use]
    pub fn status(&self, refuse: Refuse) -> Status {
        let (code, reason) = self.reason();
        refuse(code, reason, self.to_string())
    }
}

/// The name in an authority, if it is one that an operator could mean: no number, no other port's.
fn name_in(authority: &str) -> Option<&str> {
    let name = authority.split(':').next()?.trim_end_matches('.');
    let is_label = |label: &str| {
        let fits = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
        (1..=63).contains(&label.len())
            && label.bytes().all(fits)
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    let last = name.rsplit('.').next().unwrap_or_default();
    let is_number = last.bytes().all(|byte| byte.is_ascii_digit()) || last.starts_with("0x");
    (name.split('.').all(is_label) && !is_number).then_some(name)
}

fn advice(name: &str) -> String {
    let name = name.to_ascii_lowercase();
    format!(", or add names = [{name:?}] to its configuration")
}

/// What a caller sent, short and printable: it goes into sentences and logs.
#[must_use]
pub fn shown(bytes: &[u8]) -> String {
    bytes
        .iter()
        .take(100)
        .map(|byte| if byte.is_ascii_graphic() { char::from(*byte) } else { '?' })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_that_nobody_could_mean_is_not_advised() {
        let said = |given: &str| Refusal::Host { given: given.to_owned() }.to_string();
        for (given, name) in [
            ("Fleet.Example.org:7070", "fleet.example.org"),
            ("fleet.", "fleet"),
            ("a-1:7070", "a-1"),
        ] {
            assert!(said(given).ends_with(&format!("names = [{name:?}] to its configuration")));
        }
        for given in ["", ":7070", "[::1].evil", "user@host", "127.1", "0x7f.0x1", "1.2.3", "a..b"]
        {
            assert!(!said(given).contains("names ="), "{}", said(given));
        }
    }
}

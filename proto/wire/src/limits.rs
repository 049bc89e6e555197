//! Sizes and times of connections, stated once for server, agent and client. What a message may
//! hold is in `banger_proto::bounds`.

use std::time::Duration;

/// Largest message of a call without an identity, in bytes: a join, health, reflection.
pub const MAX_OPEN_MESSAGE_BYTES: usize = 16 * 1024;

/// Most bytes of all messages of one call without an identity.
pub const MAX_OPEN_CALL_BYTES: usize = 64 * 1024;

/// Largest head of a request over HTTP/2, in bytes as HTTP counts them.
pub const MAX_HEADER_BYTES: u32 = 16 * 1024;

/// How often HTTP/2 pings are sent on an idle connection, both ways. A peer that is gone without
/// a word is noticed after this and [`KEEPALIVE_TIMEOUT`].
pub const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);

/// How long the answer to an HTTP/2 ping may take.
pub const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a connection and its TLS handshake may take.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Streams one client may have open on one connection.
pub const MAX_CONCURRENT_STREAMS: u32 = 2048;

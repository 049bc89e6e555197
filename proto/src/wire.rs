//! What both ends of a connection must agree on.
//!
//! - [`cancel`]: calls with a stream of requests that end when their caller lets go.
//! - [`limits`]: sizes and keepalive times; past a limit is an error, never a crash.
//! - [`tls`]: names in certificates, and a TLS acceptor whose certificates can be changed.
//! - [`trace`]: W3C trace context over gRPC metadata.
//! - [`telemetry`]: where a process sends its log and its spans.

pub mod cancel;
pub mod limits;
pub mod telemetry;
pub mod tls;
pub mod trace;

//! The wire: what both ends of a connection have in common besides the messages.
//!
//! - [`guest_link`]: how the bytes between a host and a guest agent are carried, so that a new
//!   connection begins cleanly whatever became of the one before.
//! - [`resets`]: for servers: requests that were broken off, told apart from those that ended.
//! - [`causes`]: an error and its causes in one line.
//! - [`meant_addresses`]: the IPv4 addresses that IPv6 addresses stand for.
//! - [`metadata_services`]: the addresses at which clouds tell machines their secrets.
//! - [`old_addresses`]: names that some readers take for addresses.
//! - [`real_paths`]: what the kernel calls a path whose end is yet to be made.
//! - [`announced`]: files that are packed for the other side, with the length their header says.
//!
//! With the feature `tls`, which whatever lives in a guest does without:
//!
//! - `limits`: sizes and times of connections; past a limit is an error, never a crash.
//! - `tls`: names in certificates, and a TLS acceptor whose certificates can be changed.
//! - `cancel`: calls with a stream of requests that end when their caller lets go.
//!
//! With the feature `secrets`: `secrets`, files that hold one, refused where others may read them.
//!
//! With the feature `listeners`: `listeners`, who listens at an address of this machine.
//!
//! With the feature `trace`, for programs that record spans: `trace`, W3C trace context over gRPC
//! metadata.
//!
//! With the feature `telemetry`, for programs: `telemetry`, where a process sends its log and its
//! spans.
//!
//! With the feature `web`: `web`, a bounded request over HTTPS to a provider of identities.
//!
//! With the feature `service`, which clients do without: `service`, what server and agent are alike
//! in as services of a machine.

#![warn(missing_docs)]

pub mod announced;
#[cfg(feature = "tls")]
pub mod cancel;
pub mod causes;
pub mod guest_link;
#[cfg(feature = "tls")]
pub mod limits;
#[cfg(feature = "listeners")]
pub mod listeners;
pub mod meant_addresses;
pub mod metadata_services;
pub mod old_addresses;
pub mod real_paths;
pub mod resets;
#[cfg(feature = "secrets")]
pub mod secrets;
#[cfg(feature = "service")]
pub mod service;
#[cfg(feature = "telemetry")]
pub mod telemetry;
#[cfg(feature = "tls")]
pub mod tls;
#[cfg(feature = "trace")]
pub mod trace;
#[cfg(feature = "web")]
pub mod web;

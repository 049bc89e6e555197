//! banger's server: it keeps what is wanted, watches what is, and closes the gap.
//!
//! SQLite holds what is wanted and what happened; memory holds what is. The modules, read in this
//! order, are the path of one request:
//!
//! ```text
//! client ── CreateVm ─▶ api ─▶ model: VmSpecDraft → VmSpec (all problems at once)
//!                        │ store: intent + event in one transaction      ← committed before anything moves
//!                        │ watch: one revision, wakes the host's driver  ← a wake-up carries no data
//!                        ▼
//!      reconcile: snapshot(intents, observed) ─▶ plan (pure) ─▶ commands
//!                        ▼
//!      fleet link ══ gRPC, mutual TLS ══▶ agent
//!                                           │
//!      watch ◀─ fleet session ◀══ Observe ══┘
//!        │
//! client ◀── WatchVms
//! ```
//!
//! 1. [`config`]: what an operator may set. [`server`] wires everything below and makes no
//!    decision.
//! 2. [`api`]: one thin gRPC service per file: parse, call, convert. The only builder of statuses.
//! 3. [`model`]: pure: specs, intents, the ledger that decides every mutation, computed status.
//! 4. [`store`]: the only SQL. One writer that commits in groups and publishes after the commit.
//! 5. [`reconcile`]: what to tell which host. A pure plan, a driver for each host, an apply that
//!    makes no choice.
//! 6. [`fleet`]: agents as seen from here: the link to each, its session, whether it is alive.
//! 7. [`watch`]: joins intent and observation into the one table that everybody reads, and hands
//!    out its changes in order.
//! 8. [`pki`]: the CA that lets server and agents know each other. [`oidc`]: whose a token is that
//!    a provider of identities has signed, and [`certified`]: whose a client certificate is.
//! 9. [`images`]: kernels and root file systems: imported, kept by digest, removed when unused.
//! 10. [`clock`], [`metrics`], [`commands`]: the time, what an operator can see, and what one runs
//!     beside the server.
//!
//! Dependencies point one way: `fleet` and `store` do not know each other. `reconcile` joins them,
//! and `api` where a call reaches a guest.

pub mod api;
pub mod certified;
pub mod clock;
pub mod commands;
pub mod config;
pub mod fleet;
pub mod images;
pub mod metrics;
pub mod model;
pub mod oidc;
pub mod pki;
pub mod reconcile;
pub mod server;
pub mod store;
#[cfg(test)]
mod testing;
pub mod watch;

pub use config::ServerConfig;
pub use server::{RunningServer, Server, StartError};

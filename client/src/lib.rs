//! The client of banger: talks to one server over gRPC.
//!
//! Read in this order: [`contexts`] says which server is meant, [`connect`] reaches it, [`vms`],
//! [`hosts`], [`images`], [`tokens`] and [`audit`] are its calls one to one, [`guests`] those that
//! reach into a guest.
//! [`watch`] and [`wait`] are more than a call:
//! they survive broken connections, restarts of the server and revisions that are too old.
//! A change that has a `request_id` is sent again when its connection breaks, and is done once all
//! the same. [`error`] says what can go wrong: never reached, broken in the middle (outcome
//! unknown), or answered with a refusal.
//!
//! ```no_run
//! # async fn example() -> Result<(), banger_client::ClientError> {
//! use banger_client::{Client, Endpoint};
//!
//! let endpoint = Endpoint::new("http://127.0.0.1:7070")?;
//! let client = Client::connect(&endpoint).await?;
//! for vm in client.vms().list_all(Default::default()).await?.vms {
//!     println!("{} {}", vm.id, vm.name);
//! }
//! # Ok(())
//! # }
//! ```

// Others build on it: elsewhere a comment that repeats a name is worse than none.
#![warn(missing_docs)]

pub mod audit;
pub mod backoff;
pub mod connect;
pub mod contexts;
pub mod error;
pub mod guests;
pub mod hosts;
pub mod images;
pub mod login;
pub mod projects;
mod repeat;
mod services;
pub mod tokens;
pub mod vms;
pub mod wait;
pub mod watch;

pub use audit::{Audit, AuditStream, AuditUpdate};
pub use banger_proto::v1;
pub use connect::{Client, Endpoint};
pub use error::{ClientError, EndpointError, FieldProblem, ReachProblem, Refusal};
pub use guests::{GuestInput, GuestStream};
pub use hosts::Hosts;
pub use images::Images;
pub use projects::Projects;
pub use tokens::Tokens;
pub use vms::{VmList, Vms};
pub use wait::{WaitFor, Waited};
pub use watch::{Change, ChangeKind, FleetStream, FleetUpdate, HostChange, Update, WatchStream};

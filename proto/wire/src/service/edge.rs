//! Where strangers knock: how a listener takes connections and calls, whoever they come from.
//!
//! Every listener of server and agent is served from here, so that none is weaker than another.
//! In the order in which something from outside meets it:
//!
//! - [`places`]: how many connections there may be, in all and of one address. Those that have
//!   shown nothing yet share a small part of them, and the oldest of these gives way.
//! - [`serve`]: accepts, shakes hands, speaks HTTP; ends what says nothing.
//! - [`connection`]: what is known of one connection; every request carries it.
//! - [`gate`]: hosts, origins and content types of requests ([`visitors`]): pages of others stay
//!   out.
//! - [`deadlines`]: calls end when their callers no longer wait.
//! - [`bodies`]: how much a request may hold ([`held`]) and how long it may take ([`measured`]);
//!   what
//!   an answer holds that nobody reads, and for how long ([`answers`]).
//! - [`until_sent`]: what an answer has taken is held until it is sent.
//! - [`reasons`]: what leaves as an error says its reason, whoever made it.
//!
//! What is refused is a [`refusal::Refusal`]; the service that listens turns it into a status,
//! since it alone builds those.

pub mod answers;
pub mod bodies;
pub mod connection;
pub mod deadlines;
pub mod gate;
pub mod held;
pub mod measured;
pub mod places;
pub mod reasons;
pub mod refusal;
pub mod serve;
pub mod until_sent;
pub mod visitors;

//! What server and agent are alike in, as services of a machine.
//!
//! - [`calls`]: counts the calls they answer, for Prometheus.
//! - [`edge`]: how their listeners take connections and calls, whoever they come from.
//! - [`settings`]: reads the file with what an operator has set.
//! - [`secrets`]: reads keys and tokens, and refuses those that others may read.
//! - [`life`]: tells the service manager how it goes and hears when to stop.

pub mod calls;
pub mod edge;
pub mod life;
pub mod settings;

pub use crate::secrets;

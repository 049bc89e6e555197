//! What server and agent are alike in, as services of a machine.
//!
//! - [`calls`]: counts the calls they answer, for Prometheus.
//! - [`settings`]: reads the file with what an operator has set.
//! - [`life`]: tells the service manager how it goes and hears when to stop.

pub mod calls;
pub mod life;
pub mod settings;

//! Finding the process of a jailed VM and knowing it for what it is.
//!
//! - [`layout`]: from the API socket's symlink to the chroot.
//! - [`pidfile`]: what the jailer wrote, or why it says nothing.
//! - [`process`]: the whole identity of a process; [`process::vm_alive`], the one question of
//!   liveness.
//!
//! All reading of the machine goes through [`crate::host::Processes`] and [`crate::host::Jails`].

pub mod layout;
pub mod pidfile;
pub mod process;

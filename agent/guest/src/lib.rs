//! The guest agent: what a guest does for the agent of its host.
//!
//! A small static program that lies in every image. It is the server of
//! `banger.guest.v1.GuestService` on the links of [`links`]: vsock where there is one, and a
//! virtio-serial port. In an image without an init it is the init as well ([`init`]).
//!
//! - [`service`]: the calls. [`exec`]: running programs. [`copy`]: tar streams in and out.
//!   [`forward`]: connections to the guest's loopback. [`power`]: shutting down, and the clock.
//! - [`memory`]: what is ended when the guest has none left, and what is not.
//! - [`status`]: the only builder of `tonic::Status` here.
//!
//! Whoever reaches it is root in this guest: it takes connections from the host only. What it
//! reads of files and streams is bounded, so that a guest with little memory keeps it.
//!
//! What can go wrong: no link comes up, which is said on standard error and tried again.

pub mod copy;
pub mod exec;
pub mod forward;
pub mod grow;
mod image_config;
pub mod init;
pub mod links;
pub mod memory;
pub mod power;
pub mod service;
pub mod status;

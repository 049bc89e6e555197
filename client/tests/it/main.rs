//! The client against a small server of its own (`fake`): the library over real connections
//! (`library`, `watching`), and the command as a process with its output and exit codes
//! (`command`, `guests`, `dev`, `help`, `images`, `system`).

#![expect(clippy::unwrap_used, reason = "a test whose footing is missing has failed")]

mod command;
mod dev;
mod fake;
mod guests;
mod help;
mod images;
mod library;
mod proxy;
mod system;
mod watching;

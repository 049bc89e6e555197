//! The command as a process with its output and exit codes, against a small server
//! (`banger-fake-server`).

#![expect(clippy::unwrap_used, reason = "a test whose footing is missing has failed")]

mod audit;
mod command;
mod dev;
mod guests;
mod help;
mod images;
mod projects;
mod screen;
mod system;
mod tokens;

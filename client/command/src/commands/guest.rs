//! What reaches into a guest: [`console`], [`program`] (exec and run), [`copy`], [`forward`] and
//! [`ssh`]. [`terminal`] is this side's keyboard and screen, [`ready`] waits for a guest agent,
//! [`ends`] says when a signal ends the command.

pub(super) mod console;
pub(super) mod copy;
mod ends;
pub(super) mod forward;
pub(super) mod program;
mod ready;
pub(super) mod run;
mod screen;
pub(super) mod ssh;
mod terminal;

//! What reaches into a guest: [`console`], [`program`] (exec and run), [`copy`], [`forward`] and
//! [`ssh`]. [`terminal`] is this side's keyboard and screen.

pub(super) mod console;
pub(super) mod copy;
pub(super) mod forward;
pub(super) mod program;
pub(super) mod run;
pub(super) mod ssh;
mod terminal;

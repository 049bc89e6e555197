//! Who is ended when the guest's memory is full: anybody else first.
//!
//! A guest whose memory is full is one that its operator wants to look into. The kernel ends the
//! process with the highest score (proc_pid_oom_score_adj(5)); unless it is told otherwise, that
//! may be the guest agent, and with it every program that was started through it. So the agent
//! takes the lowest score, and gives each program that it starts the usual one.
//!
//! Driven by the program at its start, and between fork and exec of every program. What can go
//! wrong: the agent is not root; then it keeps the score that it has, and so do its programs.

use std::ffi::CStr;

use rustix::fs::{CWD, Mode, OFlags};

const SCORE: &CStr = c"/proc/self/oom_score_adj";

/// This process is ended last of all: it is not ended at all while there is another.
///
/// # Errors
/// It may not; only root may lower a score.
pub fn be_spared() -> std::io::Result<()> {
    write(b"-1000")
}

/// This process is ended as any other. Makes two system calls and no allocation, so that it may
/// stand between fork and exec.
///
/// # Errors
/// There is no `/proc`.
pub fn be_as_others() -> std::io::Result<()> {
    write(b"0")
}

fn write(score: &[u8]) -> std::io::Result<()> {
    let file = rustix::fs::openat(CWD, SCORE, OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty())?;
    rustix::io::write(&file, score)?;
    Ok(())
}

//! The versions of Firecracker and QEMU, asked of each program and read from its answer.
//!
//! Driven by the facts, by the choice of a VMM and by `doctor`. What can go wrong: a program that
//! is none of them answers, or none answers.

use crate::host::exec::{Exec, Tool, ToolCall, run_ok};
use crate::host::{HostError, HostErrorKind, HostResult};

/// The stand-in of the tests calls itself so; it needs no KVM.
pub(crate) const STAND_IN: &str = "stand-in";

/// Reads the first line of `firecracker --version`: `Firecracker v1.16.1`.
#[must_use]
pub fn vmm_from_version(text: &str) -> Option<String> {
    if text.contains(STAND_IN) {
        return Some(STAND_IN.to_owned());
    }
    let version = text.lines().next()?.trim().strip_prefix("Firecracker v")?;
    let fits = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-');
    (!version.is_empty() && version.len() <= 40 && version.bytes().all(fits))
        .then(|| format!("firecracker {version}"))
}

/// QEMU's version from `qemu-system-x86_64 --version`: `QEMU emulator version 7.2.22 (Debian …)`.
fn qemu_version(text: &str) -> Option<String> {
    let version = text.strip_prefix("QEMU emulator version ")?.split_whitespace().next()?;
    let fits = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-');
    (version.len() <= 40 && version.bytes().all(fits)).then(|| version.to_owned())
}

/// What Firecracker calls itself.
pub(crate) async fn ask_firecracker(exec: &dyn Exec) -> HostResult<String> {
    let text = ask_version(exec, Tool::Firecracker).await?;
    vmm_from_version(&text).ok_or_else(|| unreadable(&text))
}

/// The version of QEMU.
pub(crate) async fn ask_qemu(exec: &dyn Exec) -> HostResult<String> {
    let text = ask_version(exec, Tool::Qemu).await?;
    qemu_version(&text).ok_or_else(|| unreadable(&text))
}

async fn ask_version(exec: &dyn Exec, tool: Tool) -> HostResult<String> {
    run_ok(exec, "ask", "the VMM's version", &ToolCall::new(tool, ["--version"])).await
}

fn unreadable(text: &str) -> HostError {
    HostError::new(HostErrorKind::Other, "read", "the VMM's version")
        .detail(format!("it says {:?}", text.lines().next().unwrap_or_default()))
}

#[cfg(test)]
mod tests;

//! Waiting for a descriptor to become readable.
#![expect(unsafe_code, reason = "tokio offers the registration of a descriptor only as unsafe")]

use std::io;
use std::os::fd::OwnedFd;

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// Registers a descriptor with the runtime, which must be running.
pub(super) fn readable(fd: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: an `OwnedFd` is open, stays open until it is dropped, and is moved into the `AsyncFd`,
    // which gives nobody a way to close or replace it.
    unsafe { AsyncFd::register_with_interest(fd, Interest::READABLE) }.map_err(io::Error::from)
}

//! A disposable host in QEMU for banger's tests, and the small programs that run inside it.
//!
//! Driven by `integration-tests/testhost/tests/testhost*.rs`. Apart from the rest of the
//! integration tests because it needs neither the server nor the agent to compile, and because its
//! programs must be linked statically (a jail holds no libraries).
//!
//! - [`host`]: the driver. Builds and caches image and kernel, starts QEMU, runs commands in it.
//! - [`control`]: the wire between the driver and the host, and both its ends.
//! - [`firecracker`]: a stand-in that serves Firecracker's API on Firecracker's socket, opens the
//!   disks and the tap it is given, and refuses what the real one refuses. It runs no guest.
//! - [`jailer`]: a stand-in with the real jailer's arguments, layout, pidfile and exit codes. It
//!   really changes root, makes the device nodes and drops to the given user.
//! - [`hostile`]: a guest that tries to be somebody else, and who looks whether any of it arrives.
//! - [`oci`]: an OCI image archive that tests boot.
//!
//! What can go wrong is said at each; README.md beside this package has facts and timings.

pub mod arguments;
pub mod control;
pub mod firecracker;
pub mod host;
pub mod hostile;
pub mod jailer;
pub mod oci;

/// The version of Firecracker whose behaviour the stand-ins follow.
pub const FOLLOWED_VERSION: &str = "1.16.1";

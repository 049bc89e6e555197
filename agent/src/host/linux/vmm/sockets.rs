//! Connecting to the sockets that VMMs make in their jails.
//!
//! Driven by the APIs of the VMMs and by the collector of consoles. A socket lies in a directory
//! that the VMM owns, so it is not connected to by path: a VMM that was taken over could put a
//! symlink there and have the agent, as root, talk to another socket. It is opened beneath the
//! jail's root and connected to through `/proc/self/fd`, which also keeps the address within the
//! 108 bytes of `sun_path`. What can go wrong: there is no socket, or nobody listens, both of
//! which are [`HostErrorKind::NotFound`].

use std::os::fd::AsRawFd as _;
use std::sync::Arc;

use rustix::fs::{FileType, OFlags};
use rustix::io::Errno;
use tokio::net::UnixStream;

use crate::host::linux::blocking;
use crate::host::linux::files::beneath;
use crate::host::linux::jails::JailTree;
use crate::host::{HostError, HostErrorKind, HostResult, JailId};

/// Connects to a socket in a jail; `path` is as the VMM sees it.
pub(super) async fn connect_in(
    tree: &Arc<JailTree>,
    id: &JailId,
    path: &'static str,
    verb: &'static str,
) -> HostResult<UnixStream> {
    let (tree, jail) = (tree.clone(), id.clone());
    let socket = blocking(move || {
        let failed = |error: Errno| HostError::io(verb, &jail, error);
        let nobody = |why: &str| {
            HostError::new(HostErrorKind::NotFound, verb, &jail).detail(format!("{why} {path}"))
        };
        let found = tree.open_in(&jail, path, OFlags::PATH);
        let socket = found.map_err(failed)?.ok_or_else(|| nobody("there is no API socket"))?;
        if !beneath::is_a(&socket, FileType::Socket).map_err(failed)? {
            return Err(nobody("there is something else than a socket at"));
        }
        Ok(socket)
    })
    .await?;
    let path = format!("/proc/self/fd/{}", socket.as_raw_fd());
    UnixStream::connect(&path).await.map_err(|error| {
        let refused = error.kind() == std::io::ErrorKind::ConnectionRefused;
        let mut error = HostError::io(verb, id, error).detail("nobody answers at the API socket");
        if refused {
            error.kind = HostErrorKind::NotFound;
        }
        error
    })
}

//! Streams to guest agents: Firecracker's vsock socket, and a virtio-serial port of QEMU's.
//!
//! Firecracker serves vsock on a Unix socket in the jail: whoever connects says `CONNECT <port>`
//! and is answered `OK <number>` once the guest has taken the connection (its `docs/vsock.md`);
//! when nobody listens in the guest the connection is closed. QEMU has a socket in the jail that is
//! the port itself. What can go wrong: there is no such socket, as in a VM that was started before
//! there were guest agents.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use banger_wire::guest_link::VSOCK_PORT;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;

use super::sockets::connect_in;
use crate::host::guests::{GuestStream, Guests};
use crate::host::linux::blocking;
use crate::host::linux::jails::JailTree;
use crate::host::{HostError, HostErrorKind, HostResult, JailId, VmmKind, in_jail};

const VERB: &str = "reach the guest agent of";

/// How long the VMM may take to say that the guest has taken the connection.
const LIMIT: Duration = Duration::from_secs(5);

/// The longest answer: "OK 4294967295" and its end.
const LONGEST_ANSWER: usize = 32;

/// The guests of this machine.
pub(crate) struct LinuxGuests {
    tree: Arc<JailTree>,
}

impl LinuxGuests {
    pub(crate) fn new(tree: Arc<JailTree>) -> Self {
        Self { tree }
    }
}

/// Has Firecracker connect a stream to a port of the guest.
async fn through_vsock(mut stream: UnixStream, id: &JailId) -> HostResult<UnixStream> {
    let failed = |error| HostError::io(VERB, id, error);
    stream.write_all(format!("CONNECT {VSOCK_PORT}\n").as_bytes()).await.map_err(failed)?;
    let mut answer = Vec::with_capacity(LONGEST_ANSWER);
    // A byte at a time: what comes behind the line is the guest's.
    while answer.len() < LONGEST_ANSWER && answer.last() != Some(&b'\n') {
        match stream.read_u8().await {
            Ok(byte) => answer.push(byte),
            Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => {
                return Err(HostError::new(HostErrorKind::NotFound, VERB, id)
                    .detail("nobody listens in the guest"));
            }
            Err(error) => return Err(failed(error)),
        }
    }
    if answer.starts_with(b"OK ") {
        return Ok(stream);
    }
    let said = String::from_utf8_lossy(&answer).trim().to_owned();
    Err(HostError::new(HostErrorKind::Other, VERB, id).detail(format!("the VMM said {said:?}")))
}

#[async_trait]
impl Guests for LinuxGuests {
    async fn connect(&self, id: &JailId) -> HostResult<GuestStream> {
        let (tree, jail) = (self.tree.clone(), id.clone());
        let vmm = blocking(move || tree.vmm_of(&jail)).await?.ok_or_else(|| {
            HostError::new(HostErrorKind::NotFound, VERB, id).detail("it has no jail")
        })?;
        let connecting = async {
            match vmm {
                VmmKind::Firecracker => {
                    let stream = connect_in(&self.tree, id, in_jail::VSOCK, VERB).await?;
                    through_vsock(stream, id).await.map(|stream| (stream, "vsock"))
                }
                VmmKind::Qemu => {
                    let stream = connect_in(&self.tree, id, in_jail::GUEST_SOCKET, VERB).await?;
                    Ok((stream, "virtio-serial"))
                }
            }
        };
        let (stream, transport) =
            tokio::time::timeout(LIMIT, connecting).await.unwrap_or_else(|_| {
                Err(HostError::new(HostErrorKind::TimedOut, VERB, id)
                    .detail(format!("no answer within {LIMIT:?}")))
            })?;
        Ok(GuestStream { io: Box::new(stream), transport })
    }
}

#[cfg(test)]
mod tests;

//! The links to the host: vsock connections, and the virtio-serial port.
//!
//! Driven by the program. Each is looked for until it is there, since drivers may be loaded after
//! the agent was started. What can go wrong: neither ever comes, or a link fails; then it is opened
//! anew.

use std::os::unix::fs::FileTypeExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use banger_wire::guest_link::session::{Link, serve};
use banger_wire::guest_link::{SERIAL_PORT, VSOCK_PORT};
use tokio::io::DuplexStream;
use tokio::sync::mpsc;
use tokio_vsock::{VMADDR_CID_ANY, VMADDR_CID_HOST, VsockAddr, VsockListener};

/// The pause between two attempts to open what is not there yet.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// The pause between two readings of a port that no host has open: its reads end at once then
/// (`port_fops_read` in `drivers/char/virtio_console.c`).
const NOBODY_THERE: Duration = Duration::from_millis(50);

/// Takes connections of the host on vsock. Comes back when nobody takes sessions any more.
pub async fn vsock(sessions: mpsc::Sender<DuplexStream>) {
    let mut said = false;
    while !sessions.is_closed() {
        match VsockListener::bind(VsockAddr::new(VMADDR_CID_ANY, VSOCK_PORT)) {
            Ok(listener) => accept(listener, &sessions).await,
            Err(error) if !said => {
                eprintln!("banger-guest: no vsock yet: {error}");
                said = true;
            }
            Err(_) => {}
        }
        tokio::time::sleep(LOOK_AGAIN).await;
    }
}

async fn accept(listener: VsockListener, sessions: &mpsc::Sender<DuplexStream>) {
    loop {
        match listener.accept().await {
            // Others than the host: programs in this guest, through the loopback of vsock.
            Ok((_, from)) if from.cid() != VMADDR_CID_HOST => {
                eprintln!("banger-guest: a connection from {from} was refused");
            }
            Ok((stream, _)) => {
                let (reader, writer) = tokio::io::split(stream);
                tokio::spawn(serve(Link::new(reader, writer), None, sessions.clone()));
            }
            Err(error) => {
                eprintln!("banger-guest: vsock failed: {error}");
                return;
            }
        }
    }
}

/// The device of the port of this name: by the name that udev gave it, or where there is no udev by
/// what the kernel says of its ports.
#[must_use]
pub fn find_port(root: &Path, name: &str) -> Option<PathBuf> {
    let named = root.join("dev/virtio-ports").join(name);
    if named.exists() {
        return Some(named);
    }
    let ports = std::fs::read_dir(root.join("sys/class/virtio-ports")).ok()?;
    ports.flatten().find_map(|port| {
        let said = std::fs::read_to_string(port.path().join("name")).ok()?;
        let device = root.join("dev").join(port.file_name());
        (said.trim_end() == name && device.exists()).then_some(device)
    })
}

/// Takes sessions of the host on the virtio-serial port. Comes back when nobody takes them any
/// more.
pub async fn serial(sessions: mpsc::Sender<DuplexStream>) {
    let mut said = false;
    while !sessions.is_closed() {
        if let Some(port) = find_port(Path::new("/"), SERIAL_PORT) {
            match serial_at(&port, sessions.clone()).await {
                Ok(()) => return,
                Err(error) if !said => {
                    eprintln!("banger-guest: {} failed: {error}", port.display());
                    said = true;
                }
                Err(_) => {}
            }
        }
        tokio::time::sleep(LOOK_AGAIN).await;
    }
}

async fn serial_at(port: &Path, sessions: mpsc::Sender<DuplexStream>) -> std::io::Result<()> {
    let file = std::fs::OpenOptions::new().read(true).write(true).open(port)?;
    if !file.metadata()?.file_type().is_char_device() {
        return Err(std::io::Error::other("it is no character device"));
    }
    // One for each direction: the operations of one wait for each other. Reading and writing is
    // done by threads, because the port says that its end is reached whenever no host has it open,
    // which epoll, and tokio, take for the end for good.
    let writer = tokio::fs::File::from_std(file.try_clone()?);
    let link = Link::new(tokio::fs::File::from_std(file), writer);
    serve(link, Some(NOBODY_THERE), sessions).await
}

#[cfg(test)]
mod tests;

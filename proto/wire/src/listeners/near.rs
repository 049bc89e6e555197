//! A connection to this machine's own loopback, made only to somebody who may be shown a secret.
//!
//! Driven by clients that send a token in plain text. Looked at is the very connection, once it is
//! made: whose the other end of it is, or, while it waits to be accepted, whose the listener is. To
//! look for a listener first and to connect then would be a race that a stranger wins. Every
//! connection is looked at, also one that is made anew after the server was restarted.
//!
//! Root, the caller, and the user that the server's unit runs as may have the token. What can go
//! wrong: somebody else listens ([`Stranger`]). Where the other end is not in the kernel's table
//! (it is in another network namespace, or the system has no such table) nobody can say, and the
//! connection is taken.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use hyper_util::rt::TokioIo;
use rustix::process::{geteuid, getuid};
use tokio::net::TcpStream;
use tonic::transport::{Channel, Endpoint};

use super::table::{self, Row};
use super::{uid_of, user_text};

/// The user that the server's systemd unit runs as.
pub const SERVICE_USER: &str = "banger";

/// How often, and after which pause, a connection is looked at that nobody has.
const LOOKS: u32 = 20;
const PAUSE: Duration = Duration::from_millis(5);

/// How often it is looked at again that is not in the table.
const UNSEEN: u32 = 3;

/// Somebody listens on this machine who is not to have a secret of the caller.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stranger {
    /// As this process' user namespace counts.
    pub uid: u32,
}

impl fmt::Display for Stranger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let user = user_text(self.uid);
        write!(
            f,
            "{user} listens there, who is neither root, nor you, nor {SERVICE_USER}: the token was \
             not sent"
        )
    }
}

impl std::error::Error for Stranger {}

/// Whose the other end of a connection is.
#[derive(Debug, PartialEq, Eq)]
enum OtherEnd {
    Of(u32),
    /// It has no process yet, and nobody listens any more.
    Nobodys,
    /// The kernel does not say.
    Unknown,
}

/// Connects now.
///
/// # Errors
/// No connection comes about, or [`Stranger`] is among the causes.
pub async fn connect(endpoint: &Endpoint) -> Result<Channel, tonic::transport::Error> {
    endpoint.connect_with_connector(tower::service_fn(to)).await
}

/// Connects at the first call.
#[must_use]
pub fn connect_lazy(endpoint: &Endpoint) -> Channel {
    endpoint.connect_with_connector_lazy(tower::service_fn(to))
}

async fn to(uri: http::Uri) -> io::Result<TokioIo<TcpStream>> {
    let host = uri.host().unwrap_or_default().trim_start_matches('[').trim_end_matches(']');
    let stream = TcpStream::connect((host, uri.port_u16().unwrap_or(80))).await?;
    stream.set_nodelay(true)?;
    let (here, there) = (stream.local_addr()?, stream.peer_addr()?);
    if !there.ip().to_canonical().is_loopback() {
        let text = format!("{host} stands for {}, which is not this machine", there.ip());
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, text));
    }
    let mut unseen = 0;
    for _ in 0..LOOKS {
        let look =
            tokio::task::spawn_blocking(move || other_end(&rows(here, there), there, may_have_it));
        match look.await.map_err(io::Error::other)? {
            OtherEnd::Of(uid) if !may_have_it(uid) => {
                return Err(io::Error::new(io::ErrorKind::PermissionDenied, Stranger { uid }));
            }
            OtherEnd::Of(_) => return Ok(TokioIo::new(stream)),
            // The table is not read at one moment: what it lacks once it may have had all the time.
            OtherEnd::Unknown if unseen == UNSEEN => return Ok(TokioIo::new(stream)),
            OtherEnd::Unknown => {
                unseen += 1;
                tokio::time::sleep(PAUSE).await;
            }
            OtherEnd::Nobodys => tokio::time::sleep(PAUSE).await,
        }
    }
    Err(io::ErrorKind::ConnectionAborted.into())
}

/// The other end of a connection, and who listens there.
fn rows(here: SocketAddr, there: SocketAddr) -> Vec<Row> {
    let plain = |address: SocketAddr| SocketAddr::new(address.ip().to_canonical(), address.port());
    let (here, there) = (plain(here), plain(there));
    table::read(|row| row.local == there && row.remote == here || row.listens_at(there))
}

/// Whose it is, for whom `may_have_it` says who may have the secret. Pure.
fn other_end(rows: &[Row], there: SocketAddr, may_have_it: impl Fn(u32) -> bool) -> OtherEnd {
    let end = rows.iter().find(|row| !row.listens);
    let held = end.filter(|end| end.inode != 0);
    // Who listens at this very address has its connections, before who listens everywhere.
    let at = |row: &&Row| row.listens && row.local.ip() == there.ip().to_canonical();
    let listener = rows.iter().find(at).or_else(|| rows.iter().find(|row| row.listens));
    // Both, where both are there: for some kinds of sockets it is the kernel that takes
    // connections, as root, for whoever listens.
    match (held, listener, end) {
        (Some(held), Some(listener), _) if may_have_it(held.uid) => OtherEnd::Of(listener.uid),
        (Some(held), _, _) => OtherEnd::Of(held.uid),
        (None, Some(listener), _) => OtherEnd::Of(listener.uid),
        (None, None, Some(_)) => OtherEnd::Nobodys,
        (None, None, None) => OtherEnd::Unknown,
    }
}

fn may_have_it(uid: u32) -> bool {
    let own = [geteuid().as_raw(), getuid().as_raw()];
    uid == 0 || own.contains(&uid) || {
        let accounts = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
        uid_of(&accounts, SERVICE_USER) == Some(uid)
    }
}

#[cfg(test)]
mod tests;

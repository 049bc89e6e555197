//! Who listens at an address of this machine: asked before a secret goes there, and when one cannot
//! listen there oneself.
//!
//! A port of loopback belongs to whoever binds it first, any user of the machine. The kernel says
//! whose a socket is ([`table`]). [`near`] connects for callers that are about to send a token in
//! plain text; [`holder`] names who has the port that a service was to have. Where the kernel does
//! not say (another system, another network namespace), nothing is known, and that is no error.

use std::io;
use std::net::SocketAddr;

use tokio::net::TcpListener;

mod holder;
pub mod near;
mod table;

pub use near::{SERVICE_USER, Stranger};

/// Listens at an address. Where somebody else does, the error names the user and the process, as
/// far as they can be seen.
///
/// # Errors
/// Those of binding.
pub async fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    match TcpListener::bind(address).await {
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
            let look = tokio::task::spawn_blocking(move || holder::of(address));
            match look.await {
                Ok(Some(holder)) => Err(io::Error::new(io::ErrorKind::AddrInUse, holder)),
                Ok(None) | Err(_) => Err(error),
            }
        }
        bound => bound,
    }
}

/// How a user is shown: by name and number, or by the number alone.
pub(crate) fn user_text(uid: u32) -> String {
    let names = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    match name_of(&names, uid) {
        Some(name) => format!("user {name} (uid {uid})"),
        None => format!("uid {uid}"),
    }
}

/// The name of a user in the text of passwd(5).
fn name_of(passwd: &str, uid: u32) -> Option<&str> {
    accounts(passwd).find(|(_, its)| *its == uid).map(|(name, _)| name)
}

/// The number of a user in the text of passwd(5).
pub(crate) fn uid_of(passwd: &str, name: &str) -> Option<u32> {
    accounts(passwd).find(|(its, _)| *its == name).map(|(_, uid)| uid)
}

fn accounts(passwd: &str) -> impl Iterator<Item = (&str, u32)> {
    passwd.lines().filter_map(|line| {
        let mut fields = line.split(':');
        Some((fields.next()?, fields.nth(1)?.parse().ok()?))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_are_found_by_name_and_number() {
        let passwd = "root:x:0:0::/:/bin/sh\nbad\nbanger:x:998:998::/:/sbin/nologin\n";
        assert_eq!(uid_of(passwd, "banger"), Some(998));
        assert_eq!(uid_of(passwd, "ban"), None);
        assert_eq!(name_of(passwd, 0), Some("root"));
        assert_eq!(name_of(passwd, 1), None);
    }

    #[tokio::test]
    async fn whoever_finds_a_port_taken_is_told_by_whom() {
        let first = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let error = bind(first.local_addr().unwrap()).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
        let said = error.to_string();
        let uid = rustix::process::geteuid().as_raw();
        assert!(said.contains(&format!("process {}", std::process::id())), "{said}");
        assert!(said.contains(&format!("uid {uid}")), "{said}");
    }
}

//! Rows that were made up, and strangers who listen on this machine.

use std::error::Error as _;
use std::io::{BufRead as _, BufReader};
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, Stdio};

use super::*;

const STRANGER: u32 = 65_534;

/// Listens, and then does by word what somebody who wants a secret might.
const LISTEN: &str = r#"
import socket, sys, time
listener = socket.create_server(("127.0.0.1", 0))
print(listener.getsockname()[1], flush=True)
if sys.argv[1] != "leave":
    connection, _ = listener.accept()
if sys.argv[1] == "hide":
    listener.close()
while True:
    time.sleep(600)
"#;

/// Ended also when the test fails.
struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Somebody who listens, and at which port.
#[expect(clippy::disallowed_methods, reason = "somebody who listens")]
fn listen(how: &str, user: u32) -> (Ended, u16) {
    let mut command = Command::new("python3");
    command.args(["-c", LISTEN, how]).uid(user).gid(user).current_dir("/");
    command.stdin(Stdio::null()).stdout(Stdio::piped());
    let mut started = Ended(command.spawn().unwrap());
    let mut said = String::new();
    BufReader::new(started.0.stdout.take().unwrap()).read_line(&mut said).unwrap();
    (started, said.trim().parse().unwrap())
}

fn uri(host: &str, port: u16) -> http::Uri {
    format!("http://{host}:{port}").parse().unwrap()
}

#[tokio::test]
async fn priv_no_secret_goes_to_a_stranger_who_listens_whatever_he_does_with_the_connection() {
    // He takes it, leaves it waiting, or listens no more once he has it.
    for how in ["take", "leave", "hide"] {
        let (_stranger, port) = listen(how, STRANGER);
        let error = to(uri("127.0.0.1", port)).await.unwrap_err();
        let why = error.get_ref().and_then(|why| why.downcast_ref::<Stranger>());
        assert_eq!(why, Some(&Stranger { uid: STRANGER }), "{how}: {error}");
        let endpoint = Endpoint::from(uri("localhost", port));
        let error = connect(&endpoint).await.unwrap_err();
        if how != "hide" {
            let mut causes = std::iter::successors(error.source(), |error| (**error).source());
            assert!(
                causes.any(|cause| cause.to_string().contains("uid 65534")),
                "{how}: {error:?}"
            );
        }
    }
    for how in ["take", "leave", "hide"] {
        let (_root, port) = listen(how, 0);
        to(uri("127.0.0.1", port)).await.unwrap();
    }
}

#[tokio::test]
async fn whoever_calls_a_listener_of_its_own_is_let_through() {
    for address in ["127.0.0.1:0", "[::1]:0"] {
        // A machine without IPv6 has one of them.
        let Ok(listener) = tokio::net::TcpListener::bind(address).await else { continue };
        let port = listener.local_addr().unwrap().port();
        let host = address.rsplit_once(':').unwrap().0;
        to(uri(host, port)).await.unwrap();
    }
}

fn row(local: &str, remote: &str, uid: u32, inode: u64) -> Row {
    let listens = remote == "0.0.0.0:0";
    Row { local: local.parse().unwrap(), remote: remote.parse().unwrap(), listens, uid, inode }
}

#[test]
fn the_other_end_of_the_connection_says_more_than_who_listens() {
    let there = "127.0.0.1:7070";
    let of = |rows: &[Row]| other_end(rows, there.parse().unwrap(), |uid| uid == 0);
    let listener = |uid| row(there, "0.0.0.0:0", uid, 7);
    let end = |uid, inode| row(there, "127.0.0.1:50000", uid, inode);
    assert_eq!(of(&[]), OtherEnd::Unknown);
    assert_eq!(of(&[listener(1000)]), OtherEnd::Of(1000));
    // One that waits to be accepted is shown as root's.
    assert_eq!(of(&[end(0, 0), listener(1000)]), OtherEnd::Of(1000));
    assert_eq!(of(&[end(0, 0)]), OtherEnd::Nobodys);
    assert_eq!(of(&[end(1000, 8)]), OtherEnd::Of(1000));
    assert_eq!(of(&[listener(0), end(1000, 8)]), OtherEnd::Of(1000));
    // Nor is one believed that the kernel has taken for somebody who listens.
    assert_eq!(of(&[listener(1000), end(0, 8)]), OtherEnd::Of(1000));
    assert_eq!(of(&[listener(0), end(0, 8)]), OtherEnd::Of(0));
    assert_eq!(of(&[end(0, 8)]), OtherEnd::Of(0));
    let everywhere = row("0.0.0.0:7070", "0.0.0.0:0", 0, 9);
    assert_eq!(of(&[everywhere, listener(1000), end(0, 0)]), OtherEnd::Of(1000));
}

#[test]
fn the_user_of_the_service_is_the_one_that_its_unit_names() {
    let unit = concat!(env!("CARGO_MANIFEST_DIR"), "/../../deploy/systemd/banger-server.service");
    let unit = std::fs::read_to_string(unit).unwrap();
    assert!(unit.lines().any(|line| line == format!("User={SERVICE_USER}")));
}

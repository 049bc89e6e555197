//! A new server that asks for tokens and has none: who comes in, and how.

use std::os::unix::fs::PermissionsExt as _;

use jiff::SignedDuration;
use tonic::Request;

use super::*;
use crate::clock::{Clock as _, ManualClock};
use crate::config::AuthConfig;

/// On loopback, where it has to be asked for.
fn asking(directory: &tempfile::TempDir) -> ServerConfig {
    let auth = AuthConfig { ask_for_tokens: true, ..AuthConfig::default() };
    ServerConfig { auth, ..config(directory) }
}

fn file(directory: &tempfile::TempDir) -> PathBuf {
    directory.path().join("state/first-admin.token")
}

async fn lists(server: &RunningServer, token: Option<&str>) -> Code {
    let mut request = Request::new(v1::ListVmsRequest::default());
    if let Some(token) = token {
        let value = format!("Bearer {token}").parse().expect("plain characters");
        request.metadata_mut().insert("authorization", value);
    }
    let listed = VmServiceClient::new(channel(server).await).list_vms(request).await;
    listed.err().map_or(Code::Ok, |status| status.code())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_server_has_one_admin_whose_token_only_its_user_can_read() {
    let directory = tempfile::tempdir().expect("a directory");
    let clock = Arc::new(ManualClock::at(SystemClock.now()));
    let start = || Server::start_with(asking(&directory), clock.clone(), None);
    let server = start().await.expect("it starts");
    let mode = std::fs::metadata(file(&directory)).expect("it is there").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let token = std::fs::read_to_string(file(&directory)).expect("readable");
    let token = token.trim();
    assert_eq!(lists(&server, None).await, Code::Unauthenticated, "nobody else");
    assert_eq!(lists(&server, Some(token)).await, Code::Ok);
    let stored = server.store().tokens();
    assert_eq!((&*stored[0].name, &*stored[0].created_by), ("admin", "banger-server"));
    server.shutdown().await;
    // Once: the next start leaves it as it is, also when somebody has put the file away.
    std::fs::remove_file(file(&directory)).expect("it is there");
    let server = start().await.expect("it starts");
    assert!(!file(&directory).exists());
    assert_eq!(lists(&server, Some(token)).await, Code::Ok);
    server.shutdown().await;
    // Nobody is locked out when it has expired.
    clock.advance(SignedDuration::from_hours(24 * 91));
    let server = start().await.expect("it starts");
    let another = std::fs::read_to_string(file(&directory)).expect("there is another");
    assert_eq!(lists(&server, Some(token)).await, Code::Unauthenticated);
    assert_eq!(lists(&server, Some(another.trim())).await, Code::Ok);
    server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn where_nothing_asks_for_tokens_or_a_file_has_some_none_is_made() {
    let directory = tempfile::tempdir().expect("a directory");
    let server = started(&directory).await;
    assert!(!file(&directory).exists() && server.store().tokens().is_empty());
    server.shutdown().await;
    let tokens = directory.path().join("tokens");
    std::fs::write(&tokens, "root root-0123456789abcdef\n").expect("there is room");
    let private = std::fs::Permissions::from_mode(0o600);
    std::fs::set_permissions(&tokens, private).expect("it is ours");
    let mut config = asking(&directory);
    config.auth.token_file = Some(tokens);
    let server = Server::start(config).await.expect("it starts");
    assert!(!file(&directory).exists() && server.store().tokens().is_empty());
    server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_is_wrong_at_a_start_takes_nobodys_token_and_no_file() {
    let directory = tempfile::tempdir().expect("a directory");
    let clock = Arc::new(ManualClock::at(SystemClock.now()));
    let start = || Server::start_with(asking(&directory), clock.clone(), None);
    let server = start().await.expect("it starts");
    let token = std::fs::read_to_string(file(&directory)).expect("readable");
    server.shutdown().await;
    // As if the battery of the machine's clock had been changed.
    clock.advance(SignedDuration::from_hours(24 * 91));
    let server = start().await.expect("it starts");
    let another = file(&directory).with_file_name("first-admin-2.token");
    let another = std::fs::read_to_string(another).expect("there is another");
    assert_eq!(lists(&server, Some(another.trim())).await, Code::Ok);
    assert_eq!(lists(&server, Some(token.trim())).await, Code::Unauthenticated);
    let names: Vec<String> = server.store().tokens().iter().map(|t| t.name.clone()).collect();
    assert_eq!((names.len(), names.contains(&"admin-2".to_owned())), (2, true), "{names:?}");
    server.shutdown().await;
    clock.advance(SignedDuration::from_hours(-24 * 91));
    let server = start().await.expect("it starts");
    let now = std::fs::read_to_string(file(&directory)).expect("readable");
    assert_eq!(now, token, "it is as it was");
    assert_eq!(lists(&server, Some(token.trim())).await, Code::Ok);
    server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_can_not_write_the_token_down_serves_and_lets_nobody_in() {
    let directory = tempfile::tempdir().expect("a directory");
    let in_the_way = file(&directory).with_extension("partial");
    std::fs::create_dir_all(&in_the_way).expect("there is room");
    let server = Server::start(asking(&directory)).await.expect("it starts");
    assert_eq!(lists(&server, None).await, Code::Unauthenticated);
    assert!(server.store().tokens().is_empty(), "none is good that nobody has");
    server.shutdown().await;
    std::fs::remove_dir(&in_the_way).expect("it is there");
    let server = Server::start(asking(&directory)).await.expect("it starts");
    let token = std::fs::read_to_string(file(&directory)).expect("there is one now");
    assert_eq!(lists(&server, Some(token.trim())).await, Code::Ok);
    server.shutdown().await;
}

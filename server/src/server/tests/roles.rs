//! What callers of each role get of a server that asks for tokens, streams included.

use std::os::unix::fs::PermissionsExt as _;

use tonic::{Request, Status};
use tonic_types::StatusExt as _;

use super::*;
use crate::config::AuthConfig;

const ADMIN: &str = "admin-0123456789abcdef";
const OPERATOR: &str = "operator-0123456789abcdef";
const VIEWER: &str = "viewer-0123456789abcdef";

struct Stage {
    server: RunningServer,
    vms: VmServiceClient<Channel>,
    _directory: tempfile::TempDir,
}

async fn stage() -> Stage {
    let directory = tempfile::tempdir().expect("a directory");
    let tokens = directory.path().join("tokens");
    let lines = format!("root {ADMIN}\nolga {OPERATOR} operator\nvic {VIEWER} viewer\n");
    std::fs::write(&tokens, lines).expect("there is room");
    let private = std::fs::Permissions::from_mode(0o600);
    std::fs::set_permissions(&tokens, private).expect("it is ours");
    let config = ServerConfig {
        auth: AuthConfig { token_file: Some(tokens), ..AuthConfig::default() },
        ..config(&directory)
    };
    let server = Server::start(config).await.expect("it starts");
    let vms = VmServiceClient::new(channel(&server).await);
    Stage { server, vms, _directory: directory }
}

fn by<T>(token: &str, message: T) -> Request<T> {
    let mut request = Request::new(message);
    let value = format!("Bearer {token}").parse().expect("plain characters");
    request.metadata_mut().insert("authorization", value);
    request
}

/// A VM whose metadata is a secret.
fn secretive(name: &str) -> v1::CreateVmRequest {
    let mut request = create(name);
    let secret = prost_types::Value {
        kind: Some(prost_types::value::Kind::StringValue("hunter2".to_owned())),
    };
    let metadata = prost_types::Struct { fields: [("password".to_owned(), secret)].into() };
    request.spec.as_mut().expect("given").metadata = Some(metadata);
    request
}

fn has_metadata(vm: Option<&v1::Vm>) -> bool {
    let spec = vm.and_then(|vm| vm.spec.as_ref()).expect("a VM with a spec");
    spec.metadata.is_some()
}

/// The role that a refusal asks for.
fn role_asked(refusal: &Status) -> String {
    let info = refusal.get_details_error_info().expect("a reason");
    assert_eq!((refusal.code(), &*info.reason), (Code::PermissionDenied, "NOT_PERMITTED"));
    info.metadata.get("role").cloned().unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_viewer_sees_every_vm_and_no_metadata_in_any_answer_or_stream() {
    let Stage { server, mut vms, _directory } = stage().await;
    vms.create_vm(by(OPERATOR, secretive("first"))).await.expect("an operator may");
    for (token, sees) in [(ADMIN, true), (OPERATOR, true), (VIEWER, false)] {
        let get = v1::GetVmRequest { vm: "first".to_owned() };
        let vm = vms.get_vm(by(token, get)).await.expect("read").into_inner();
        assert_eq!(has_metadata(Some(&vm)), sees, "GetVm of {token}");
        let list = v1::ListVmsRequest::default();
        let page = vms.list_vms(by(token, list)).await.expect("read").into_inner();
        assert_eq!(has_metadata(page.vms.first()), sees, "ListVms of {token}");
        let explain = v1::ExplainVmRequest { vm: "first".to_owned() };
        let explained = vms.explain_vm(by(token, explain)).await.expect("read").into_inner();
        assert_eq!(has_metadata(explained.vm.as_ref()), sees, "ExplainVm of {token}");
        let wait = v1::WaitVmRequest {
            vm: "first".to_owned(),
            timeout: Some(prost_types::Duration { seconds: 0, nanos: 1_000_000 }),
            ..v1::WaitVmRequest::default()
        };
        let waited = vms.wait_vm(by(token, wait)).await.expect("waited").into_inner();
        assert_eq!(has_metadata(waited.vm.as_ref()), sees, "WaitVm of {token}");
    }
    // Both kinds of stream at once, so that each would take the other's bytes if they were shared:
    // what is there at the start, and what changes later.
    let mut streams = Vec::new();
    for (token, sees) in [(VIEWER, false), (OPERATOR, true), (VIEWER, false)] {
        let watch = by(token, v1::WatchVmsRequest::default());
        let stream = vms.watch_vms(watch).await.expect("a stream").into_inner();
        streams.push((stream, sees));
    }
    for (stream, sees) in &mut streams {
        let read = until_event(stream, |_| true).await;
        assert!(read.iter().all(|event| has_metadata(event.vm.as_ref()) == *sees));
    }
    vms.create_vm(by(OPERATOR, secretive("second"))).await.expect("an operator may");
    let second = |event: &v1::VmEvent| event.vm.as_ref().is_some_and(|vm| vm.name == "second");
    for (stream, sees) in &mut streams {
        let read = until_event(stream, second).await;
        assert!(read.iter().all(|event| has_metadata(event.vm.as_ref()) == *sees));
    }
    drop(streams);
    server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_viewer_changes_nothing_and_opens_no_guest_and_is_told_which_role_would_do() {
    let Stage { server, mut vms, _directory } = stage().await;
    vms.create_vm(by(OPERATOR, create("web"))).await.expect("an operator may");
    let vm = "web".to_owned();
    let refused = [
        vms.create_vm(by(VIEWER, create("other"))).await.map(drop),
        vms.delete_vm(by(VIEWER, v1::DeleteVmRequest { vm: vm.clone(), ..Default::default() }))
            .await
            .map(drop),
        vms.read_console(by(
            VIEWER,
            v1::ReadConsoleRequest { vm: vm.clone(), ..Default::default() },
        ))
        .await
        .map(drop),
        vms.exec_vm(by(VIEWER, tokio_stream::empty())).await.map(drop),
        vms.copy_to_vm(by(VIEWER, tokio_stream::empty())).await.map(drop),
        vms.copy_from_vm(by(VIEWER, v1::CopyFromVmRequest { vm, path: "/etc".to_owned() }))
            .await
            .map(drop),
        vms.forward_vm(by(VIEWER, tokio_stream::empty())).await.map(drop),
        vms.attach_console(by(VIEWER, tokio_stream::empty())).await.map(drop),
    ];
    for (number, outcome) in refused.into_iter().enumerate() {
        let refusal = outcome.expect_err("refused");
        assert_eq!(role_asked(&refusal), "operator", "{number}: {refusal:?}");
        assert!(refusal.message().contains("vic is viewer"), "{refusal:?}");
    }
    assert_eq!(server.view().snapshot().vms.len(), 1, "nothing was made or removed");
    server.shutdown().await;
}

//! Who did what, over the wire: changes, opened guests, sweeps, refused calls; and never a secret.

use banger_proto::v1::audit_service_client::AuditServiceClient;
use banger_proto::v1::exec_input::Input;
use banger_proto::v1::token_service_client::TokenServiceClient;
use tokio_stream::StreamExt as _;
use tonic::Request;

use super::*;
use crate::config::AuthConfig;
use crate::store::AuditLook;

const ROOT: &str = "root-0123456789abcdef";
const EVE: &str = "eve--0123456789abcdef";

fn by<T>(token: &str, message: T) -> Request<T> {
    let mut request = Request::new(message);
    let value = format!("Bearer {token}").parse().expect("plain characters");
    request.metadata_mut().insert("authorization", value);
    request
}

/// A server, an agent, a VM that runs, and nobody but those of the file.
struct Stage {
    server: RunningServer,
    channel: Channel,
    vms: VmServiceClient<Channel>,
    host: Host,
    directory: tempfile::TempDir,
}

async fn stage() -> Stage {
    let directory = tempfile::tempdir().expect("a directory");
    let server = started(&directory).await;
    let host = join(channel(&server).await, "alpha").await;
    until_online(&server).await;
    let channel = channel(&server).await;
    let mut vms = VmServiceClient::new(channel.clone());
    vms.create_vm(create("one")).await.expect("it is stored");
    let wait = v1::WaitVmRequest { vm: "one".to_owned(), ..v1::WaitVmRequest::default() };
    vms.wait_vm(wait).await.expect("it runs");
    Stage { server, channel, vms, host, directory }
}

impl Stage {
    async fn list(&self, request: v1::ListAuditRequest) -> v1::ListAuditResponse {
        let mut audit = AuditServiceClient::new(self.channel.clone());
        audit.list_audit(request).await.expect("listed").into_inner()
    }

    /// Oldest first: step, the method's last part, kind and name of the object, code.
    async fn lines(&self) -> Vec<String> {
        lines(self.list(v1::ListAuditRequest::default()).await.records)
    }

    /// The same once there is one that begins so.
    async fn lines_with(&self, begins: &str) -> Vec<String> {
        let looking = async {
            loop {
                let lines = self.lines().await;
                if lines.iter().any(|line| line.starts_with(begins)) {
                    return lines;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        match timeout(PATIENCE, looking).await {
            Ok(lines) => lines,
            Err(_) => panic!("no {begins} in {:?}", self.lines().await),
        }
    }
}

fn lines(records: Vec<v1::AuditRecord>) -> Vec<String> {
    let line = |record: &v1::AuditRecord| {
        let step = record.step().as_str_name().trim_start_matches("AUDIT_STEP_");
        let method = record.method.rsplit('/').next().unwrap_or_default();
        let object = record.object.clone().unwrap_or_default();
        let line = format!("{step} {method} {} {} {}", object.kind, object.name, record.code);
        line.split_whitespace().collect::<Vec<_>>().join(" ")
    };
    records.iter().rev().map(line).collect()
}

fn exec(command: &str) -> v1::ExecVmRequest {
    let start = v1::ExecStart { command: vec![command.to_owned()], ..Default::default() };
    let input = Some(v1::ExecInput { input: Some(Input::Start(start)) });
    v1::ExecVmRequest { vm: "one".to_owned(), input }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_change_has_one_record_with_who_where_from_and_what() {
    let mut stage = stage().await;
    let id = "0192f0c1-2d3e-7a4b-8c5d-6e7f8091a2b3".to_owned();
    let stop = |request_id| v1::StopVmRequest {
        vm: "one".to_owned(),
        request_id,
        ..v1::StopVmRequest::default()
    };
    stage.vms.stop_vm(stop(id.clone())).await.expect("stopped");
    // Neither a repetition nor what is so already changes anything.
    stage.vms.stop_vm(stop(id.clone())).await.expect("as it stands");
    stage.vms.stop_vm(stop(String::new())).await.expect("it is");
    stage
        .vms
        .stop_vm(v1::StopVmRequest { vm: "two".to_owned(), ..stop(String::new()) })
        .await
        .expect_err("there is none");
    stage.vms.get_vm(v1::GetVmRequest { vm: "one".to_owned() }).await.expect("it is there");
    assert_eq!(
        stage.lines().await,
        [
            "DONE CreateJoinToken join-token OK",
            "DONE JoinHost host alpha OK",
            "DONE CreateVm vm one OK",
            "DONE StopVm vm one OK",
        ]
    );
    let page = stage.list(v1::ListAuditRequest { page_size: 1, ..Default::default() }).await;
    let [stopped] = &page.records[..] else { panic!("one") };
    assert_eq!((&*stopped.principal, &*stopped.request_id), ("local", &*id));
    assert!(stopped.peer.starts_with("127.0.0.1:"), "{stopped:?}");
    assert_eq!(stopped.method, "banger.v1.VmService/StopVm");
    // The pages go on below it, and what is new is above.
    let next = v1::ListAuditRequest {
        page_size: 1,
        page_token: page.next_page_token,
        ..Default::default()
    };
    let [created] = &stage.list(next).await.records[..] else { panic!("one") };
    assert!(created.id < stopped.id);
    let after = v1::ListAuditRequest { after_id: created.id, ..Default::default() };
    assert_eq!(lines(stage.list(after).await.records), ["DONE StopVm vm one OK"]);
    let filters = [
        (v1::ListAuditRequest { method: "StopVm".to_owned(), ..Default::default() }, 1),
        (v1::ListAuditRequest { object: "one".to_owned(), ..Default::default() }, 2),
        (v1::ListAuditRequest { principal: "nobody".to_owned(), ..Default::default() }, 0),
        (v1::ListAuditRequest { end_time: Some(Default::default()), ..Default::default() }, 0),
    ];
    for (filter, count) in filters {
        assert_eq!(stage.list(filter.clone()).await.records.len(), count, "{filter:?}");
    }
    let mut audit = AuditServiceClient::new(stage.channel.clone());
    let bad = v1::ListAuditRequest { method: "StopVms".to_owned(), ..Default::default() };
    let refused = audit.list_audit(bad).await.expect_err("no method");
    assert_eq!(refused.code(), Code::InvalidArgument);
    stage.server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_guest_is_opened_after_its_record_and_its_end_has_one_however_it_ends() {
    let mut stage = stage().await;
    // To its end.
    let console = v1::ReadConsoleRequest { vm: "one".to_owned(), ..Default::default() };
    let mut console = stage.vms.read_console(console).await.expect("it opens").into_inner();
    while console.message().await.expect("it ends well").is_some() {}
    stage.lines_with("ENDED ReadConsole vm one OK").await;
    let copy = v1::CopyFromVmRequest { vm: "one".to_owned(), path: "/etc".to_owned() };
    let mut copy = stage.vms.copy_from_vm(copy).await.expect("it opens").into_inner();
    while copy.message().await.expect("it ends well").is_some() {}
    stage.lines_with("ENDED CopyFromVm vm one OK").await;
    let part = |directory: &str| v1::CopyToVmRequest {
        vm: "one".to_owned(),
        directory: directory.to_owned(),
        ..Default::default()
    };
    let into = stage.vms.copy_to_vm(tokio_stream::iter([part("/srv")])).await;
    into.expect("it is copied");
    stage.lines_with("ENDED CopyToVm vm one OK").await;
    // With an error of the guest's.
    let full = stage.vms.copy_to_vm(tokio_stream::iter([part("/full")])).await;
    full.expect_err("it is full");
    stage.lines_with("ENDED CopyToVm vm one RESOURCE_EXHAUSTED").await;
    // Broken off by its caller.
    let attach = v1::AttachConsoleRequest { vm: "one".to_owned(), ..Default::default() };
    let typed = tokio_stream::once(attach).chain(tokio_stream::pending());
    let _attached = stage.vms.attach_console(typed).await.expect("it opens");
    assert!(stage.lines().await.contains(&"BEGAN AttachConsole vm one".to_owned()));
    let follow =
        v1::ReadConsoleRequest { vm: "one".to_owned(), follow: true, ..Default::default() };
    drop(stage.vms.read_console(follow).await.expect("it opens"));
    stage.lines_with("ENDED ReadConsole vm one CANCELLED").await;
    // By the end of the server.
    let forward = v1::ForwardVmRequest { vm: "one".to_owned(), port: 22, ..Default::default() };
    let sent = tokio_stream::once(forward).chain(tokio_stream::pending());
    let _forward = stage.vms.forward_vm(sent).await.expect("it opens");
    let running = tokio_stream::once(exec("sleep")).chain(tokio_stream::pending());
    let _exec = stage.vms.exec_vm(running).await.expect("it runs");
    let Stage { server, host, directory, .. } = stage;
    server.shutdown().await;
    let server = started(&directory).await;
    let audit = server.store().audit(&AuditLook { limit: 1000, ..AuditLook::default() }).await;
    let records = audit.expect("readable").records;
    for method in ["AttachConsole", "ForwardVm", "ExecVm"] {
        let of_it: Vec<_> = records.iter().filter(|r| r.record.method.ends_with(method)).collect();
        let [ended, began] = &of_it[..] else { panic!("{method}: {of_it:?}") };
        assert_eq!(began.record.call_id, ended.record.call_id, "they belong together");
        assert_eq!(ended.record.outcome.reason, "SHUTTING_DOWN", "{method}");
    }
    let text = format!("{records:?}");
    assert!(!text.contains("sleep"), "what was run is in the history and not here");
    server.shutdown().await;
    drop(host);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sweep_is_told_before_and_after_and_a_dry_run_is_not() {
    let stage = stage().await;
    let mut hosts = HostServiceClient::new(stage.channel.clone());
    let sweep =
        |dry_run| v1::SweepHostRequest { host: "alpha".to_owned(), dry_run, ..Default::default() };
    hosts.sweep_host(sweep(true)).await.expect("it answers");
    hosts.sweep_host(sweep(false)).await.expect("it answers");
    stage.lines_with("ENDED SweepHost host alpha OK").await;
    stage.host.agent.fail_sweeps(Code::Internal);
    hosts.sweep_host(sweep(false)).await.expect_err("it fails");
    let lines = stage.lines_with("ENDED SweepHost host alpha UN").await;
    let sweeps = lines.iter().filter(|line| line.contains("SweepHost")).count();
    assert_eq!(sweeps, 4, "{lines:?}");
    stage.server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn refused_calls_are_recorded_with_a_bound_and_only_an_admin_reads_it_all() {
    use std::os::unix::fs::PermissionsExt as _;
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("tokens");
    std::fs::write(&file, format!("root {ROOT}\neve {EVE} viewer\n")).expect("there is room");
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).expect("it is ours");
    let auth = AuthConfig { token_file: Some(file), ..AuthConfig::default() };
    let config = ServerConfig { auth, ..config(&directory) };
    let server = Server::start(config).await.expect("it starts");
    let channel = channel(&server).await;
    let mut vms = VmServiceClient::new(channel.clone());
    let mut audit = AuditServiceClient::new(channel.clone());
    let mut hosts = HostServiceClient::new(channel.clone());
    // A connection on which nobody is known ends after some refusals.
    vms.list_vms(by(ROOT, v1::ListVmsRequest::default())).await.expect("an admin");
    vms.delete_vm(by(EVE, v1::DeleteVmRequest::default())).await.expect_err("a viewer");
    let refused = audit.list_audit(by(EVE, v1::ListAuditRequest::default())).await;
    assert_eq!(refused.expect_err("a viewer").code(), Code::PermissionDenied);
    let join = v1::JoinHostRequest { token: "nonsense".to_owned(), ..Default::default() };
    hosts.join_host(join).await.expect_err("no join token");
    for _ in 0..100 {
        let secret = by("guessed-guessed-guessed", v1::ListVmsRequest::default());
        let refused = vms.list_vms(secret).await.expect_err("a stranger");
        assert_eq!(refused.code(), Code::Unauthenticated, "{refused:?}");
    }
    let list = || by(ROOT, v1::ListAuditRequest { page_size: 1000, ..Default::default() });
    let looking = async {
        loop {
            let records = audit.list_audit(list()).await.expect("an admin").into_inner().records;
            if records.len() >= 12 {
                return records;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let records = timeout(PATIENCE, looking).await.expect("they are written within seconds");
    let said = lines(records.clone());
    let count = |line: &str| said.iter().filter(|said| *said == line).count();
    assert_eq!(count("REFUSED DeleteVm PERMISSION_DENIED"), 1, "{said:?}");
    assert_eq!(count("REFUSED ListAudit PERMISSION_DENIED"), 1, "{said:?}");
    assert_eq!(count("REFUSED JoinHost UNAUTHENTICATED"), 1, "{said:?}");
    assert_eq!(count("REFUSED ListVms UNAUTHENTICATED"), 9, "ten of one peer: {said:?}");
    assert!(records.iter().any(|r| r.principal == "eve" && r.reason == "NOT_PERMITTED"));
    let text = format!("{records:?}");
    for secret in [EVE, ROOT, "guessed", "nonsense"] {
        assert!(!text.contains(secret), "{secret} is in {text}");
    }
    // At the end the rest is a number.
    server.shutdown().await;
    let server = started(&directory).await;
    let look = AuditLook { limit: 1, ..AuditLook::default() };
    let newest = server.store().audit(&look).await.expect("readable").records;
    assert_eq!(newest[0].record.step.left_out(), 91, "{newest:?}");
    server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_marked_secret_of_any_call_is_nowhere_in_the_audit() {
    let mut stage = stage().await;
    let marked = "MARKED-7f3a";
    let mut request = create("two");
    if let Some(spec) = &mut request.spec {
        spec.boot_args = format!("x={marked}");
        let value = prost_types::value::Kind::StringValue(marked.to_owned());
        let value = prost_types::Value { kind: Some(value) };
        let fields = [("password".to_owned(), value)].into();
        spec.metadata = Some(prost_types::Struct { fields });
    }
    stage.vms.create_vm(request).await.expect("it is stored");
    let mut ran = stage.vms.exec_vm(tokio_stream::once(exec(marked))).await.expect("it runs");
    while ran.get_mut().message().await.expect("it ends well").is_some() {}
    stage.lines_with("ENDED ExecVm vm one OK").await;
    let mut tokens = TokenServiceClient::new(stage.channel.clone());
    let token = v1::CreateTokenRequest {
        name: "ci".to_owned(),
        role: v1::Role::Viewer.into(),
        ..Default::default()
    };
    let made = tokens.create_token(token).await.expect("made").into_inner();
    let by_it = VmServiceClient::new(stage.channel.clone())
        .stop_vm(by(&made.secret, v1::StopVmRequest { vm: "one".to_owned(), ..Default::default() }))
        .await;
    by_it.expect_err("a viewer");
    stage.lines_with("REFUSED StopVm").await;
    let page = stage.list(v1::ListAuditRequest { page_size: 1000, ..Default::default() }).await;
    let text = format!("{page:?}");
    let secret = made.secret.rsplit('_').next().expect("a part");
    assert!(!text.contains(marked) && !text.contains(secret), "{text}");
    let id = made.token.expect("it is shown").id;
    let refused = page.records.iter().find(|r| r.step() == v1::AuditStep::Refused);
    let refused = refused.expect("it is there");
    assert_eq!((&*refused.token_id, &*refused.principal), (&*id, "ci"), "the id is no secret");
    stage.server.shutdown().await;
}

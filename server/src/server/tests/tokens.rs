//! Tokens that are made and taken back by calls, over the wire.

use std::os::unix::fs::PermissionsExt as _;

use banger_proto::v1::audit_service_client::AuditServiceClient;
use banger_proto::v1::token_service_client::TokenServiceClient;
use http::uri::PathAndQuery;
use jiff::SignedDuration;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio_stream::StreamExt as _;
use tonic::client::Grpc;
use tonic::{Request, Status};
use tonic_prost::ProstCodec;
use tonic_types::StatusExt as _;

use super::*;
use crate::clock::{Clock as _, ManualClock};
use crate::config::AuthConfig;

const ROOT: &str = "root-0123456789abcdef";

struct Stage {
    server: RunningServer,
    clock: Arc<ManualClock>,
    channel: Channel,
    tokens: TokenServiceClient<Channel>,
    vms: VmServiceClient<Channel>,
    directory: tempfile::TempDir,
}

/// A server that asks for tokens, and has one of an admin in its file.
async fn stage() -> Stage {
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("tokens");
    std::fs::write(&file, format!("root {ROOT}\n")).expect("there is room");
    let private = std::fs::Permissions::from_mode(0o600);
    std::fs::set_permissions(&file, private).expect("it is ours");
    on(directory, Some(file)).await
}

async fn on(directory: tempfile::TempDir, token_file: Option<PathBuf>) -> Stage {
    let clock = Arc::new(ManualClock::at(SystemClock.now()));
    let config = ServerConfig {
        auth: AuthConfig { token_file, ..AuthConfig::default() },
        ..config(&directory)
    };
    let server = Server::start_with(config, clock.clone(), None).await.expect("it starts");
    let channel = channel(&server).await;
    let tokens = TokenServiceClient::new(channel.clone());
    let vms = VmServiceClient::new(channel.clone());
    Stage { server, clock, channel, tokens, vms, directory }
}

fn by<T>(token: &str, message: T) -> Request<T> {
    let mut request = Request::new(message);
    let value = format!("Bearer {token}").parse().expect("plain characters");
    request.metadata_mut().insert("authorization", value);
    request
}

fn reason(status: &Status) -> (Code, String) {
    (status.code(), status.get_details_error_info().map(|info| info.reason).unwrap_or_default())
}

fn wanted(name: &str, role: v1::Role) -> v1::CreateTokenRequest {
    v1::CreateTokenRequest { name: name.to_owned(), role: role.into(), ..Default::default() }
}

impl Stage {
    async fn make(&mut self, name: &str, role: v1::Role) -> String {
        let made = self.tokens.create_token(by(ROOT, wanted(name, role))).await.expect("made");
        made.into_inner().secret
    }

    async fn lists(&mut self, token: &str) -> Code {
        let listed = self.vms.list_vms(by(token, v1::ListVmsRequest::default())).await;
        listed.err().map_or(Code::Ok, |status| status.code())
    }

    async fn revoke(&mut self, as_whom: &str, token: &str) -> Result<v1::Token, Status> {
        let revoke = v1::RevokeTokenRequest { token: token.to_owned(), ..Default::default() };
        self.tokens.revoke_token(by(as_whom, revoke)).await.map(tonic::Response::into_inner)
    }

    async fn listed(&mut self) -> Vec<v1::Token> {
        let list = by(ROOT, v1::ListTokensRequest::default());
        self.tokens.list_tokens(list).await.expect("listed").into_inner().tokens
    }

    /// Begins a call and keeps its message back; done when the server has let it in.
    async fn hold<M, A>(&mut self, token: &str, path: &'static str, message: M) -> Held<A>
    where
        M: prost::Message + 'static,
        A: prost::Message + Default + 'static,
    {
        self.clock.advance(SignedDuration::from_secs(1));
        let now = self.clock.now().as_second();
        let (send, sent) = oneshot::channel::<()>();
        let message = futures_util::stream::once(async move {
            let _ = sent.await;
            message
        });
        let (request, mut grpc) = (by(token, message), Grpc::new(self.channel.clone()));
        let call = tokio::spawn(async move {
            grpc.ready().await.expect("a connection");
            let path = PathAndQuery::from_static(path);
            let answer = grpc.client_streaming(request, path, ProstCodec::<M, A>::default()).await;
            answer.map(tonic::Response::into_inner)
        });
        let let_in = async {
            while !self.listed().await.iter().any(|known| {
                let used = known.last_use_time.is_some_and(|used| used.seconds == now);
                token.starts_with(&known.id) && used
            }) {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        timeout(PATIENCE, let_in).await.expect("the headers come");
        Held { send, call }
    }
}

/// A call whose headers are at the server, and whose message is not.
struct Held<A> {
    send: oneshot::Sender<()>,
    call: JoinHandle<Result<A, Status>>,
}

impl<A: std::fmt::Debug> Held<A> {
    /// Sends the message after all, and says with which reason it was refused.
    async fn refused(self) -> (Code, String) {
        // The call may be over already, and nobody may take the message.
        let _ = self.send.send(());
        let answer = timeout(PATIENCE, self.call).await.expect("it ends").expect("it runs");
        reason(&answer.expect_err("it is refused"))
    }
}

/// Reads a stream to its end, which has to come within a second.
async fn end_of(stream: &mut Streaming<v1::WatchVmsResponse>) -> Status {
    let end = async {
        loop {
            match stream.message().await {
                Ok(Some(_)) => {}
                Ok(None) => panic!("it ended without an error"),
                Err(status) => return status,
            }
        }
    };
    timeout(Duration::from_secs(1), end).await.expect("it ends within a second")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_is_shown_once_and_is_good_for_its_role_until_it_is_taken_back() {
    let mut stage = stage().await;
    let made = stage.tokens.create_token(by(ROOT, wanted("ci", v1::Role::Operator))).await;
    let v1::CreateTokenResponse { token, secret } = made.expect("made").into_inner();
    let token = token.expect("given");
    assert!(secret.starts_with(&token.id) && token.id.starts_with("bgr_"), "{token:?}");
    assert_eq!(
        (&*token.name, token.role(), &*token.created_by),
        ("ci", v1::Role::Operator, "root")
    );
    // 256 bits in hexadecimal digits behind the part that is shown.
    assert_eq!(secret.len() - token.id.len(), 1 + 64);

    stage.vms.create_vm(by(&secret, create("web"))).await.expect("an operator may");
    let events = v1::ListVmEventsRequest { vm: "web".to_owned(), ..Default::default() };
    let events = stage.vms.list_vm_events(by(&secret, events)).await.expect("read").into_inner();
    assert!(events.events.iter().all(|event| event.actor == "ci"), "{events:?}");
    let list = by(&secret, v1::ListTokensRequest::default());
    let refused = stage.tokens.list_tokens(list).await.expect_err("only an admin may");
    assert_eq!(reason(&refused), (Code::PermissionDenied, "NOT_PERMITTED".to_owned()));

    let list = by(ROOT, v1::ListTokensRequest::default());
    let listed = stage.tokens.list_tokens(list).await.expect("listed").into_inner();
    assert!(!format!("{listed:?}").contains(&secret[token.id.len()..]), "never shown again");
    assert!(listed.tokens[0].last_use_time.is_some(), "{listed:?}");
    // Nowhere on the disk either, in whichever file.
    stage.server.shutdown().await;
    let state = stage.directory.path().join("state");
    for entry in std::fs::read_dir(&state).expect("there").flatten() {
        let bytes = std::fs::read(entry.path()).unwrap_or_default();
        let hidden = &secret.as_bytes()[token.id.len() + 1..];
        let found = bytes.windows(hidden.len()).any(|part| part == hidden);
        assert!(!found, "{:?}", entry.path());
    }

    // It outlives the server, with when it was used.
    let file = stage.directory.path().join("tokens");
    let mut stage = on(stage.directory, Some(file)).await;
    assert_eq!(stage.lists(&secret).await, Code::Ok);
    let gone = stage.revoke(ROOT, "ci").await.expect("it is there");
    assert_eq!(gone.id, token.id);
    assert!(gone.last_use_time.is_some());
    assert_eq!(stage.lists(&secret).await, Code::Unauthenticated);
    let again = stage.revoke(ROOT, "ci").await.expect_err("gone");
    assert_eq!(reason(&again), (Code::NotFound, "TOKEN_NOT_FOUND".to_owned()));
    stage.server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn taking_a_token_back_ends_its_streams_and_waits_within_a_second_and_nobody_elses() {
    let mut stage = stage().await;
    let (mine, other) =
        (stage.make("mine", v1::Role::Viewer).await, stage.make("other", v1::Role::Viewer).await);
    stage.vms.create_vm(by(ROOT, create("web"))).await.expect("created");
    let watch = |token: &str| by(token, v1::WatchVmsRequest::default());
    let mut ends = stage.vms.watch_vms(watch(&mine)).await.expect("a stream").into_inner();
    let mut stays = stage.vms.watch_vms(watch(&other)).await.expect("a stream").into_inner();
    for stream in [&mut ends, &mut stays] {
        until_event(stream, |_| true).await;
    }
    // A call that has not been answered, too: nobody hosts the VM, so it never runs.
    let wait = v1::WaitVmRequest {
        vm: "web".to_owned(),
        state: v1::VmState::Running.into(),
        timeout: Some(prost_types::Duration { seconds: 60, nanos: 0 }),
        ..Default::default()
    };
    let mut waiting = stage.vms.clone();
    let wait = by(&mine, wait);
    let waiting = tokio::spawn(async move { waiting.wait_vm(wait).await });
    tokio::task::yield_now().await;

    stage.revoke(ROOT, "mine").await.expect("it is there");
    let end = end_of(&mut ends).await;
    assert_eq!(reason(&end), (Code::Unauthenticated, "TOKEN_INVALID".to_owned()));
    let waited = timeout(Duration::from_secs(1), waiting).await.expect("within a second");
    let refused = waited.expect("it runs").expect_err("it ended");
    assert_eq!(refused.code(), Code::Unauthenticated);

    stage.vms.create_vm(by(ROOT, create("later"))).await.expect("created");
    let later = |event: &v1::VmEvent| event.vm.as_ref().is_some_and(|vm| vm.name == "later");
    until_event(&mut stays, later).await;
    drop(stays);
    stage.server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_on_one_connection_are_each_their_own_callers() {
    let mut stage = stage().await;
    let (viewer, bot) =
        (stage.make("vic", v1::Role::Viewer).await, stage.make("bot", v1::Role::Operator).await);
    stage.vms.create_vm(by(ROOT, create("first"))).await.expect("created");
    // A stream of one is open while others call, and lends its token to none of them.
    let watch = by(&bot, v1::WatchVmsRequest::default());
    let mut stream = stage.vms.watch_vms(watch).await.expect("a stream").into_inner();
    until_event(&mut stream, |_| true).await;
    let mut creates = Vec::new();
    for (token, name) in [(Some(&*viewer), "a"), (None, "b"), (Some(&*bot), "c"), (Some(ROOT), "d")]
    {
        let request = match token {
            Some(token) => by(token, create(name)),
            None => Request::new(create(name)),
        };
        let created = stage.vms.create_vm(request).await;
        creates.push(created.err().map_or(Code::Ok, |status| status.code()));
    }
    assert_eq!(creates, [Code::PermissionDenied, Code::Unauthenticated, Code::Ok, Code::Ok]);
    let mut audit = AuditServiceClient::new(stage.channel.clone());
    let created = v1::ListAuditRequest { method: "CreateVm".to_owned(), ..Default::default() };
    let records = audit.list_audit(by(ROOT, created)).await.expect("listed").into_inner().records;
    let done = records.iter().filter(|record| record.step() == v1::AuditStep::Done);
    let done: Vec<&str> = done.map(|record| &*record.principal).collect();
    assert_eq!(done, ["root", "bot", "root"]);
    // Whoever is shut out takes nobody else's calls along, and gets nothing by theirs.
    stage.revoke(ROOT, "bot").await.expect("it is there");
    assert_eq!(end_of(&mut stream).await.code(), Code::Unauthenticated);
    assert_eq!(stage.lists(&bot).await, Code::Unauthenticated);
    assert_eq!(stage.lists(&viewer).await, Code::Ok);
    stage.server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn taking_a_token_back_ends_what_runs_in_a_guest_by_it_though_nobody_reads() {
    let directory = tempfile::tempdir().expect("a directory");
    let mut stage = on(directory, None).await;
    let host = join(channel(&stage.server).await, "alpha").await;
    until_online(&stage.server).await;
    stage.vms.create_vm(create("one")).await.expect("created");
    let wait = v1::WaitVmRequest { vm: "one".to_owned(), ..Default::default() };
    stage.vms.wait_vm(wait).await.expect("it runs");
    let made = stage.tokens.create_token(wanted("ci", v1::Role::Operator)).await.expect("made");
    let start = v1::ExecStart { command: vec!["/bin/cat".to_owned()], ..Default::default() };
    let start = v1::ExecVmRequest {
        vm: "one".to_owned(),
        input: Some(v1::ExecInput { input: Some(v1::exec_input::Input::Start(start)) }),
    };
    // The client's side stays open, and the answer is not looked at.
    let inputs = tokio_stream::iter([start]).chain(tokio_stream::pending());
    let running = stage.vms.exec_vm(by(&made.into_inner().secret, inputs)).await.expect("it runs");
    let revoke = v1::RevokeTokenRequest { token: "ci".to_owned(), ..Default::default() };
    stage.tokens.revoke_token(revoke).await.expect("it is there");
    timeout(Duration::from_secs(1), host.agent.guest.until_ended(1)).await.expect("in a second");
    drop(running);
    stage.server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_expires_ends_its_streams_and_is_not_listed() {
    let mut stage = stage().await;
    let mut short = wanted("short", v1::Role::Viewer);
    short.ttl = Some(prost_types::Duration { seconds: 60, nanos: 0 });
    let made = stage.tokens.create_token(by(ROOT, short)).await.expect("made").into_inner();
    let watch = by(&made.secret, v1::WatchVmsRequest::default());
    let mut stream = stage.vms.watch_vms(watch).await.expect("a stream").into_inner();
    stage.clock.advance(SignedDuration::from_secs(59));
    assert_eq!(stage.lists(&made.secret).await, Code::Ok);
    stage.clock.advance(SignedDuration::from_secs(1));
    assert_eq!(stage.lists(&made.secret).await, Code::Unauthenticated);
    assert_eq!(end_of(&mut stream).await.code(), Code::Unauthenticated);
    let list = by(ROOT, v1::ListTokensRequest::default());
    let listed = stage.tokens.list_tokens(list).await.expect("listed").into_inner();
    assert_eq!(listed.tokens, []);
    stage.server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_takes_back_the_token_they_call_with_hears_that_it_is_done() {
    let mut stage = stage().await;
    for round in 0..5 {
        let name = format!("self-{round}");
        let own = stage.make(&name, v1::Role::Admin).await;
        let gone = stage.revoke(&own, &name).await.expect("the answer comes");
        assert_eq!(gone.name, name);
        assert_eq!(stage.lists(&own).await, Code::Unauthenticated);
    }
    stage.server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_whose_message_is_held_back_until_its_token_is_taken_back_does_nothing() {
    let mut stage = stage().await;
    stage.vms.create_vm(by(ROOT, create("web"))).await.expect("created");
    let mine = stage.make("mine", v1::Role::Admin).await;
    stage.make("other", v1::Role::Viewer).await;
    let revoke = v1::RevokeTokenRequest { token: "other".to_owned(), ..Default::default() };
    let delete = v1::DeleteVmRequest { vm: "web".to_owned(), ..Default::default() };
    let door = wanted("door", v1::Role::Admin);
    let revoke: Held<v1::Token> =
        stage.hold(&mine, "/banger.v1.TokenService/RevokeToken", revoke).await;
    let create: Held<v1::CreateTokenResponse> =
        stage.hold(&mine, "/banger.v1.TokenService/CreateToken", door).await;
    let delete: Held<v1::Vm> = stage.hold(&mine, "/banger.v1.VmService/DeleteVm", delete).await;
    stage.revoke(ROOT, "mine").await.expect("it is there");
    let invalid = (Code::Unauthenticated, "TOKEN_INVALID".to_owned());
    // A revocation may go on for a moment, and comes to nothing all the same.
    assert_eq!(revoke.refused().await, invalid);
    assert_eq!(create.refused().await, invalid);
    assert_eq!(delete.refused().await, invalid);
    let names: Vec<_> = stage.listed().await.into_iter().map(|token| token.name).collect();
    assert_eq!(names, ["other"]);
    let get = v1::GetVmRequest { vm: "web".to_owned() };
    let vm = stage.vms.get_vm(by(ROOT, get)).await.expect("it is there").into_inner();
    assert_eq!(vm.desired_state(), v1::DesiredState::Running);
    stage.server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_whose_message_comes_when_its_token_has_expired_does_nothing() {
    let mut stage = stage().await;
    let mut short = wanted("short", v1::Role::Admin);
    short.ttl = Some(prost_types::Duration { seconds: 60, nanos: 0 });
    let made = stage.tokens.create_token(by(ROOT, short)).await.expect("made").into_inner();
    stage.make("other", v1::Role::Viewer).await;
    let revoke = v1::RevokeTokenRequest { token: "other".to_owned(), ..Default::default() };
    let held: Held<v1::Token> =
        stage.hold(&made.secret, "/banger.v1.TokenService/RevokeToken", revoke).await;
    stage.clock.advance(SignedDuration::from_secs(60));
    assert_eq!(held.refused().await, (Code::Unauthenticated, "TOKEN_INVALID".to_owned()));
    assert_eq!(stage.listed().await.len(), 1, "the other is there");
    stage.server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_that_is_named_when_the_token_has_expired_is_not_asked_to_run() {
    let directory = tempfile::tempdir().expect("a directory");
    let mut stage = on(directory, None).await;
    let _host = join(channel(&stage.server).await, "alpha").await;
    until_online(&stage.server).await;
    stage.vms.create_vm(create("one")).await.expect("created");
    let wait = v1::WaitVmRequest { vm: "one".to_owned(), ..Default::default() };
    stage.vms.wait_vm(wait).await.expect("it runs");
    let mut short = wanted("short", v1::Role::Operator);
    short.ttl = Some(prost_types::Duration { seconds: 60, nanos: 0 });
    let made = stage.tokens.create_token(short).await.expect("made").into_inner();
    let start = v1::ExecStart { command: vec!["/bin/cat".to_owned()], ..Default::default() };
    let start = v1::ExecVmRequest {
        vm: "one".to_owned(),
        input: Some(v1::ExecInput { input: Some(v1::exec_input::Input::Start(start)) }),
    };
    let held: Held<v1::ExecVmResponse> =
        stage.hold(&made.secret, "/banger.v1.VmService/ExecVm", start).await;
    stage.clock.advance(SignedDuration::from_secs(60));
    assert_eq!(held.refused().await, (Code::Unauthenticated, "TOKEN_INVALID".to_owned()));
    let events = v1::ListVmEventsRequest { vm: "one".to_owned(), ..Default::default() };
    let events = stage.vms.list_vm_events(events).await.expect("read").into_inner().events;
    assert!(events.iter().all(|event| event.r#type != "EXEC"), "{events:?}");
    stage.server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_that_a_token_has_made_go_with_it_and_their_streams_end() {
    let mut stage = stage().await;
    let own = stage.make("mallory", v1::Role::Admin).await;
    let made = stage.tokens.create_token(by(&own, wanted("backup", v1::Role::Admin))).await;
    let backup = made.expect("an admin may").into_inner();
    let token = backup.token.expect("given");
    assert!(own.starts_with(&token.created_by_token), "{token:?}");
    assert_eq!((&*token.created_by, token.created_by_token.len()), ("mallory", 20));
    let watch = by(&backup.secret, v1::WatchVmsRequest::default());
    let mut stream = stage.vms.watch_vms(watch).await.expect("a stream").into_inner();

    let gone = stage.revoke(ROOT, "mallory").await.expect("it is there");
    assert_eq!((&*gone.made[0].id, gone.made_count), (&*token.id, 1));
    let end = end_of(&mut stream).await;
    assert_eq!(reason(&end), (Code::Unauthenticated, "TOKEN_INVALID".to_owned()));
    assert_eq!(stage.lists(&backup.secret).await, Code::Unauthenticated);
    assert_eq!(stage.listed().await, []);
    let mut audit = AuditServiceClient::new(stage.channel.clone());
    let of_both = v1::ListAuditRequest { object: "mallory".to_owned(), ..Default::default() };
    let records = audit.list_audit(by(ROOT, of_both)).await.expect("listed").into_inner().records;
    let [along, gone, ..] = &records[..] else { panic!("{records:?}") };
    assert_eq!(
        (along.object.as_ref(), along.cause.as_ref()),
        (
            Some(&v1::AuditObject {
                kind: "token".to_owned(),
                id: token.id,
                name: "backup".to_owned()
            }),
            gone.object.as_ref()
        )
    );
    assert_eq!(
        (along.effect(), gone.effect()),
        (v1::AuditEffect::WentAlong, v1::AuditEffect::Unspecified)
    );

    // Whoever leaves in peace leaves what they made, but for whoever leaves by themselves.
    let own = stage.make("alice", v1::Role::Admin).await;
    let made = stage.tokens.create_token(by(&own, wanted("ci", v1::Role::Operator))).await;
    let ci = made.expect("an admin may").into_inner().secret;
    let keep_made = true;
    let revoke =
        v1::RevokeTokenRequest { token: "alice".to_owned(), keep_made, ..Default::default() };
    let refused = stage.tokens.revoke_token(by(&own, revoke.clone())).await.expect_err("her own");
    assert_eq!(reason(&refused), (Code::PermissionDenied, "NOT_PERMITTED".to_owned()));
    let gone = stage.tokens.revoke_token(by(ROOT, revoke)).await.expect("there").into_inner();
    assert_eq!(gone.made[0].name, "ci");
    assert_eq!(stage.lists(&ci).await, Code::Ok);
    assert_eq!(stage.lists(&own).await, Code::Unauthenticated);
    stage.server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_join_token_goes_with_the_token_it_was_made_with() {
    let mut stage = stage().await;
    let mut hosts = HostServiceClient::new(stage.channel.clone());
    let own = stage.make("ci", v1::Role::Operator).await;
    let key = KeyPair::generate().expect("a key");
    let params = CertificateParams::new(Vec::<String>::new()).expect("parameters");
    let request = params.serialize_request(&key).expect("a request").pem().expect("as text");
    let mut joins = Vec::new();
    for (name, maker) in [("alpha", &*own), ("beta", ROOT)] {
        let asked = by(maker, v1::CreateJoinTokenRequest::default());
        let made = hosts.create_join_token(asked).await.expect("an operator may").into_inner();
        joins.push(v1::JoinHostRequest {
            token: made.token,
            name: name.to_owned(),
            certificate_request_pem: request.clone(),
            agent_address: "192.0.2.7:7072".to_owned(),
            ..v1::JoinHostRequest::default()
        });
    }
    stage.revoke(ROOT, "ci").await.expect("it is there");
    let refused = hosts.join_host(joins.remove(0)).await.expect_err("whoever made it is gone");
    assert_eq!(reason(&refused), (Code::Unauthenticated, "JOIN_TOKEN_INVALID".to_owned()));
    hosts.join_host(joins.remove(0)).await.expect("root is there");
    stage.server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_line_taken_out_of_the_token_file_ends_its_streams_on_a_reload() {
    let mut stage = stage().await;
    let keeps = stage.make("keeps", v1::Role::Viewer).await;
    let watch = |token: &str| by(token, v1::WatchVmsRequest::default());
    let mut ends = stage.vms.watch_vms(watch(ROOT)).await.expect("a stream").into_inner();
    let new = "other-0123456789abcdef";
    std::fs::write(stage.directory.path().join("tokens"), format!("other {new}\n"))
        .expect("there is room");
    stage.server.reload().expect("it is good");
    assert_eq!(end_of(&mut ends).await.code(), Code::Unauthenticated);
    for (token, code) in [(ROOT, Code::Unauthenticated), (new, Code::Ok), (&keeps, Code::Ok)] {
        assert_eq!(stage.lists(token).await, code, "{token}");
    }
    stage.server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sweep_that_is_held_until_its_line_leaves_the_token_file_removes_nothing() {
    let directory = tempfile::tempdir().expect("a directory");
    let stage = on(directory, None).await;
    let host = join(channel(&stage.server).await, "alpha").await;
    stage.server.shutdown().await;
    let file = stage.directory.path().join("tokens");
    let ops = "ops-0123456789abcdef";
    let write = |text: String| std::fs::write(&file, text).expect("there is room");
    write(format!("root {ROOT}\nops {ops} operator\n"));
    let private = std::fs::Permissions::from_mode(0o600);
    std::fs::set_permissions(&file, private).expect("it is ours");
    let stage = on(stage.directory, Some(file.clone())).await;
    until_online(&stage.server).await;
    let mut hosts = HostServiceClient::new(stage.channel.clone());
    let sweep =
        || v1::SweepHostRequest { host: "alpha".to_owned(), dry_run: false, ..Default::default() };

    let look = host.agent.hold_look();
    let (mut asking, request) = (hosts.clone(), by(ops, sweep()));
    let asked = tokio::spawn(async move { asking.sweep_host(request).await });
    timeout(PATIENCE, look.asked.notified()).await.expect("the host is looked at");
    write(format!("root {ROOT}\n"));
    stage.server.reload().expect("it is good");
    let refused = asked.await.expect("it runs").expect_err("the line is gone");
    assert_eq!(reason(&refused), (Code::Unauthenticated, "TOKEN_INVALID".to_owned()));
    look.go_on.notify_one();

    // What goes on without its caller has one step to go, and this one all of them.
    hosts.sweep_host(by(ROOT, sweep())).await.expect("root is there");
    let actors: Vec<String> = host.agent.sweeps().into_iter().map(|sweep| sweep.actor).collect();
    assert_eq!(actors, ["root"]);
    let inventory = v1::GetHostInventoryRequest { host: "alpha".to_owned(), ..Default::default() };
    let seen = hosts.get_host_inventory(by(ROOT, inventory)).await.expect("seen").into_inner();
    let actors: Vec<String> = seen.recent_sweeps.into_iter().map(|sweep| sweep.actor).collect();
    assert_eq!(actors, ["root"]);
    stage.server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_whose_message_comes_when_its_join_token_has_expired_does_not_join() {
    let mut stage = stage().await;
    let own = stage.make("ci", v1::Role::Operator).await;
    let mut hosts = HostServiceClient::new(stage.channel.clone());
    let ttl = Some(prost_types::Duration { seconds: 60, nanos: 0 });
    let wish = by(ROOT, v1::CreateJoinTokenRequest { ttl, ..Default::default() });
    let made = hosts.create_join_token(wish).await.expect("made").into_inner();
    let key = KeyPair::generate().expect("a key");
    let params = CertificateParams::new(Vec::<String>::new()).expect("parameters");
    let request = params.serialize_request(&key).expect("a request").pem().expect("as text");
    let join = v1::JoinHostRequest {
        token: made.token,
        name: "alpha".to_owned(),
        certificate_request_pem: request,
        agent_address: "192.0.2.7:7072".to_owned(),
        ..v1::JoinHostRequest::default()
    };
    let held: Held<v1::JoinHostResponse> =
        stage.hold(&own, "/banger.v1.HostService/JoinHost", join).await;
    stage.clock.advance(SignedDuration::from_secs(60));
    assert_eq!(held.refused().await, (Code::Unauthenticated, "JOIN_TOKEN_INVALID".to_owned()));
    stage.server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn where_no_token_is_asked_for_one_says_who_calls_and_a_bad_one_is_refused() {
    let directory = tempfile::tempdir().expect("a directory");
    let mut stage = on(directory, None).await;
    let made = stage.tokens.create_token(wanted("vic", v1::Role::Viewer)).await;
    let made = made.expect("whoever reaches loopback is an admin").into_inner();
    let refused = stage.vms.create_vm(by(&made.secret, create("web"))).await;
    let refused = refused.expect_err("a viewer changes nothing");
    assert!(refused.message().contains("vic is viewer"), "{refused:?}");
    stage.vms.create_vm(create("web")).await.expect("without a token as before");
    stage.vms.create_vm(by("of-something-else", create("db"))).await.expect("as before");
    let revoke = v1::RevokeTokenRequest { token: "vic".to_owned(), ..Default::default() };
    stage.tokens.revoke_token(revoke).await.expect("it is there");
    // Not taken for no token at all, which would make an admin of whoever was shut out.
    assert_eq!(stage.lists(&made.secret).await, Code::Unauthenticated);
    stage.server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn all_that_is_wrong_with_a_token_is_said_at_once_and_a_repetition_makes_no_second() {
    let mut stage = stage().await;
    let bad = v1::CreateTokenRequest {
        name: "local".to_owned(),
        role: 99,
        ttl: Some(prost_types::Duration { seconds: 1, nanos: 0 }),
        ..Default::default()
    };
    let refused = stage.tokens.create_token(by(ROOT, bad)).await.expect_err("nothing is right");
    let violations = refused.get_details_bad_request().expect("listed").field_violations;
    let fields: Vec<_> = violations.iter().map(|violation| &*violation.field).collect();
    assert_eq!(fields, ["name", "role", "ttl"]);

    let mut named = wanted("ci", v1::Role::Viewer);
    named.request_id = "0192a000-0000-7000-8000-000000000001".to_owned();
    let mut make = async |request: &v1::CreateTokenRequest| {
        let made = stage.tokens.create_token(by(ROOT, request.clone())).await;
        made.map(tonic::Response::into_inner)
    };
    let first = make(&named).await.expect("made");
    let second = make(&named).await.expect("answered");
    assert_eq!((second.token, &*second.secret), (first.token, ""));
    let other = v1::CreateTokenRequest { role: v1::Role::Admin.into(), ..named.clone() };
    let refused = make(&other).await.expect_err("another request");
    assert_eq!(reason(&refused), (Code::AlreadyExists, "REQUEST_ID_TAKEN".to_owned()));
    for name in ["ci", "root"] {
        let refused = make(&wanted(name, v1::Role::Viewer)).await.expect_err("the name is taken");
        assert_eq!(
            reason(&refused),
            (Code::AlreadyExists, "TOKEN_NAME_TAKEN".to_owned()),
            "{name}"
        );
    }

    for name in ["a", "b", "c"] {
        make(&wanted(name, v1::Role::Viewer)).await.expect("made");
    }
    let (mut names, mut page_token) = (Vec::new(), String::new());
    loop {
        let list = v1::ListTokensRequest { page_size: 3, page_token, ..Default::default() };
        let page = stage.tokens.list_tokens(by(ROOT, list)).await.expect("a page").into_inner();
        names.extend(page.tokens.into_iter().map(|token| token.name));
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    names.sort();
    assert_eq!(names, ["a", "b", "c", "ci"]);
    stage.server.shutdown().await;
}

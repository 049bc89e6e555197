//! Secrets are sent through every call, and looked for wherever somebody reads who may not have
//! them: logs and traces, histories, the audit, and what viewers get.

use std::fmt::{Debug, Write as _};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use banger_proto::v1::audit_service_client::AuditServiceClient;
use banger_proto::v1::exec_input::Input;
use banger_proto::v1::image_service_client::ImageServiceClient;
use banger_proto::v1::token_service_client::TokenServiceClient;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tonic::client::Grpc;
use tonic::codec::CompressionEncoding;
use tonic_prost::ProstCodec;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};

use super::guests::{exec_of, stage};
use super::projects::by;
use super::*;
use crate::api::auth::METHODS;

/// What every secret has in it that is chosen by a client.
const MARK: &str = "marked-0f7a";

/// All that the server tells a subscriber, as one text.
#[derive(Debug, Clone, Default)]
struct Heard {
    text: Arc<Mutex<String>>,
    spans: Arc<AtomicU64>,
}

impl Heard {
    fn text(&self) -> String {
        self.text.lock().expect("no panic").clone()
    }
}

impl Visit for &Heard {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        let mut text = self.text.lock().expect("no panic");
        writeln!(text, "{field}={value:?}").expect("it is memory");
    }
}

impl Subscriber for Heard {
    /// The libraries below print whole requests, where somebody asks them to.
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target().starts_with("banger")
    }

    fn new_span(&self, span: &Attributes<'_>) -> Id {
        span.record(&mut &*self);
        Id::from_u64(self.spans.fetch_add(1, Ordering::Relaxed) + 1)
    }

    fn record(&self, _: &Id, values: &Record<'_>) {
        values.record(&mut &*self);
    }

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        event.record(&mut &*self);
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

fn metadata(what: &str) -> Option<prost_types::Struct> {
    let kind = Some(prost_types::value::Kind::StringValue(format!("{MARK}-{what}")));
    let fields = [("user-data".to_owned(), prost_types::Value { kind })].into();
    Some(prost_types::Struct { fields })
}

/// A create, and what replaces its spec.
fn with_metadata(name: &str, what: &str) -> v1::CreateVmRequest {
    let mut request = create(name);
    request.spec.as_mut().expect("given").metadata = metadata(what);
    request
}

async fn made(tokens: &mut TokenServiceClient<Channel>, name: &str, role: v1::Role) -> String {
    let request =
        v1::CreateTokenRequest { name: name.to_owned(), role: role.into(), ..Default::default() };
    tokens.create_token(request).await.expect("made").into_inner().secret
}

/// Each method there is, with nothing in its message and this token.
async fn call_each(channel: &Channel, token: &str) {
    for (path, _, _) in METHODS {
        let mut grpc = Grpc::new(channel.clone()).accept_compressed(CompressionEncoding::Gzip);
        grpc.ready().await.expect("it is there");
        let path = http::uri::PathAndQuery::from_static(path);
        let codec = ProstCodec::<(), ()>::default();
        let called = grpc.server_streaming(by(token, ()), path, codec);
        // What is a stream goes on; what comes back is for whoever has the token.
        drop(timeout(Duration::from_millis(500), called).await);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn secrets_are_in_no_log_no_trace_no_history_no_audit_and_nothing_that_viewers_get() {
    let heard = Heard::default();
    tracing::subscriber::set_global_default(heard.clone()).expect("a process of its own");
    let mut stage = stage().await;
    let channel = channel(&stage.server).await;
    let mut tokens = TokenServiceClient::new(channel.clone());
    let admin = made(&mut tokens, "boss", v1::Role::Admin).await;
    let viewer = made(&mut tokens, "wall", v1::Role::Viewer).await;
    let joining = HostServiceClient::new(channel.clone())
        .create_join_token(by(&admin, v1::CreateJoinTokenRequest::default()))
        .await
        .expect("made")
        .into_inner()
        .token;

    // Through every call, and in every field that may hold one.
    call_each(&channel, &admin).await;
    for wrong in [format!("bgr_0123456789abcdef_{MARK}"), format!("{MARK}-is-long-enough")] {
        call_each(&channel, &wrong).await;
    }
    let vms = &mut stage.vms;
    vms.create_vm(by(&admin, with_metadata("two", "created"))).await.expect("created");
    let update = v1::UpdateVmRequest {
        vm: "one".to_owned(),
        spec: with_metadata("", "updated").spec,
        ..Default::default()
    };
    vms.update_vm(by(&admin, update)).await.expect("changed");
    let start = v1::ExecStart {
        command: ["/bin/sh", "-c", MARK].map(str::to_owned).into(),
        environment: [("TOKEN".to_owned(), MARK.to_owned())].into(),
        ..Default::default()
    };
    let first = v1::ExecVmRequest { vm: "one".to_owned(), ..exec_of(Input::Start(start)) };
    let inputs = [first, exec_of(Input::Stdin(MARK.into())), {
        exec_of(Input::StdinClosed(v1::ExecStdinClosed {}))
    }];
    let mut output = vms.exec_vm(by(&admin, tokio_stream::iter(inputs))).await.expect("it runs");
    while let Ok(Some(_)) = output.get_mut().message().await {}
    let one = || "one".to_owned();
    let typed = v1::AttachConsoleRequest { vm: one(), data: MARK.into(), ..Default::default() };
    drop(vms.attach_console(by(&admin, tokio_stream::iter([typed]))).await);
    let sent = v1::ForwardVmRequest { vm: one(), port: 80, data: MARK.into() };
    drop(vms.forward_vm(by(&admin, tokio_stream::iter([sent]))).await);
    let copied = v1::CopyToVmRequest {
        vm: one(),
        directory: "/srv".to_owned(),
        data: MARK.into(),
        ..Default::default()
    };
    drop(vms.copy_to_vm(by(&admin, tokio_stream::iter([copied]))).await);
    let mut images = ImageServiceClient::new(channel.clone());
    let part = v1::UploadBlobRequest { data: MARK.into(), ..Default::default() };
    let kept = images.upload_blob(by(&admin, tokio_stream::iter([part]))).await.expect("kept");
    let import = v1::ImportImageRequest {
        name: "made".to_owned(),
        blob_sha256: kept.into_inner().sha256,
        ..Default::default()
    };
    drop(images.import_image(by(&admin, import)).await);
    let mut hosts = HostServiceClient::new(channel.clone());
    for token in [joining.clone(), format!("{MARK}-join")] {
        let join = v1::JoinHostRequest { token, name: "beta".to_owned(), ..Default::default() };
        drop(hosts.join_host(join).await);
    }
    let revoke = v1::RevokeTokenRequest { token: "wall".to_owned(), ..Default::default() };
    let spare = made(&mut tokens, "spare", v1::Role::Viewer).await;
    drop(tokens.revoke_token(by(&spare, revoke)).await);

    // They went where they were to go.
    let secret = format!("{MARK}-updated");
    let get = || v1::GetVmRequest { vm: one() };
    let shown = format!("{:?}", vms.get_vm(by(&admin, get())).await.expect("there"));
    assert!(shown.contains(&secret), "{shown}");
    assert!(
        format!("{:?}", stage.host.agent.guest.started.lock().expect("no panic")).contains(MARK)
    );

    // Where they are not to be.
    let history = || v1::ListVmEventsRequest { vm: one(), page_size: 1000, ..Default::default() };
    let explain = v1::ExplainVmRequest { vm: one() };
    let mut watching = vms.watch_vms(by(&viewer, v1::WatchVmsRequest::default())).await;
    let watching = watching.as_mut().expect("a stream").get_mut();
    let list = v1::ListVmsRequest::default();
    let mut metrics = TcpStream::connect(stage.server.metrics_addr).await.expect("it listens");
    let ask = "GET /metrics HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";
    metrics.write_all(ask.as_bytes()).await.expect("sent");
    let mut page = String::new();
    metrics.read_to_string(&mut page).await.expect("read");
    let look = v1::ListAuditRequest { page_size: 1000, ..Default::default() };
    let audit = AuditServiceClient::new(channel.clone()).list_audit(by(&admin, look)).await;
    let audit = audit.expect("readable").into_inner().records;
    assert!(audit.len() > 20, "{audit:?}");
    let places = [
        ("logs and traces", heard.text()),
        ("the history", format!("{:?}", vms.list_vm_events(by(&admin, history())).await)),
        ("a viewer's history", format!("{:?}", vms.list_vm_events(by(&viewer, history())).await)),
        ("the audit", format!("{audit:?}")),
        ("a viewer's VM", format!("{:?}", vms.get_vm(by(&viewer, get())).await)),
        ("a viewer's list", format!("{:?}", vms.list_vms(by(&viewer, list)).await)),
        ("a viewer's watch", format!("{:?}", watching.message().await)),
        ("a viewer's explanation", format!("{:?}", vms.explain_vm(by(&viewer, explain)).await)),
        ("metrics", page),
    ];
    // The id of a token, with which its text begins, is no secret.
    let secret_of = |token: &str| token.rsplit('_').next().expect("a text").to_owned();
    let secrets = [MARK.to_owned(), secret_of(&admin), secret_of(&viewer), secret_of(&joining)];
    for (place, text) in &places {
        assert!(text.len() > 100, "{place}: {text}");
        assert!(!text.starts_with("Err"), "{place}: {text}");
        for secret in &secrets {
            let at = text.find(secret.as_str());
            assert!(at.is_none(), "{place}: …{}", around(text, at.unwrap_or(0)));
        }
    }
    assert!(places[0].1.contains("a token was made"), "the log is heard");
    stage.server.shutdown().await;
}

/// What is around this place of a text.
fn around(text: &str, at: usize) -> &str {
    let from = text.floor_char_boundary(at.saturating_sub(300));
    let to = text.floor_char_boundary((at + 100).min(text.len()));
    &text[from..to]
}

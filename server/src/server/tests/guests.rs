//! Streams to a guest through the whole server, to an agent whose guest answers by a small script:
//! its console speaks in capitals, its programs repeat their input, its ports too.

use std::pin::Pin;
use std::sync::{Arc, Mutex};

use banger_proto::agent_v1 as wire;
use banger_proto::v1;
use banger_proto::v1::exec_input::Input;
use banger_proto::v1::exec_output::Output;
use banger_proto::v1::vm_service_client::VmServiceClient;
use tokio::sync::{mpsc, watch};
use tokio_stream::wrappers::UnboundedReceiverStream;
use tokio_stream::{Stream, StreamExt as _};
use tonic::transport::Channel;
use tonic::{Code, Request, Status, Streaming};
use tonic_types::{ErrorDetails, StatusExt as _};

use super::agent::PutFate;
use super::*;
use crate::model::image::StoredKind;

pub(super) type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// A guest that is cut off when it is told so.
#[derive(Debug, Clone, Default)]
pub(super) struct FakeGuest {
    cut: watch::Sender<bool>,
    /// Its agent is not reached.
    away: watch::Sender<bool>,
    pub(super) started: Arc<Mutex<Vec<v1::ExecStart>>>,
    /// How many inputs of programs came to their end.
    whole: watch::Sender<usize>,
    /// Calls that the server has ended.
    ended: watch::Sender<usize>,
}

struct Ended(watch::Sender<usize>);

impl Drop for Ended {
    fn drop(&mut self) {
        self.0.send_modify(|ended| *ended += 1);
    }
}

impl FakeGuest {
    /// What an agent says that does not reach its guest.
    pub(super) fn check_reached(&self) -> Result<(), Status> {
        if !*self.away.borrow() {
            return Ok(());
        }
        let nothing = std::collections::HashMap::<String, String>::new();
        let details = ErrorDetails::with_error_info("GUEST_AGENT_UNREACHABLE", "banger", nothing);
        Err(Status::with_error_details(Code::FailedPrecondition, "nobody answers", details))
    }

    /// Ends with an error when the guest is cut off, as a broken connection does.
    fn until_cut<T: Send + 'static>(
        &self,
        answers: impl Stream<Item = Result<T, Status>> + Send + 'static,
    ) -> Answers<T> {
        let mut cut = self.cut.subscribe();
        let ended = Ended(self.ended.clone());
        Box::pin(async_stream(move |send| async move {
            let _ended = ended;
            let mut answers = std::pin::pin!(answers);
            loop {
                tokio::select! {
                    answer = answers.next() => match answer {
                        Some(answer) => if send.send(answer).is_err() { return },
                        None => return,
                    },
                    _ = cut.wait_for(|cut| *cut) => {
                        let _ = send.send(Err(Status::unavailable("the line went dead")));
                        return;
                    }
                    () = send.closed() => return,
                }
            }
        }))
    }

    pub(super) fn read_console(
        &self,
        asked: wire::ReadConsoleRequest,
    ) -> Answers<wire::ReadConsoleResponse> {
        let data = format!("past {}", asked.tail_bytes).into_bytes();
        let past = tokio_stream::once(Ok(wire::ReadConsoleResponse { data }));
        if asked.follow {
            self.until_cut(past.chain(tokio_stream::pending()))
        } else {
            Box::pin(past)
        }
    }

    pub(super) fn attach_console(
        &self,
        typed: Streaming<wire::AttachConsoleRequest>,
    ) -> Answers<wire::AttachConsoleResponse> {
        self.until_cut(typed.map(|typed| {
            typed.map(|typed| wire::AttachConsoleResponse { data: typed.data.to_ascii_uppercase() })
        }))
    }

    pub(super) fn exec(&self, inputs: Streaming<wire::ExecRequest>) -> Answers<wire::ExecResponse> {
        let (started, whole) = (Arc::clone(&self.started), self.whole.clone());
        let mut broken = false;
        let inputs = inputs.map(Some).chain(tokio_stream::once(None)).filter_map(move |input| {
            match &input {
                Some(input) => broken |= input.is_err(),
                None if broken => {}
                None => whole.send_modify(|whole| *whole += 1),
            }
            input
        });
        self.until_cut(inputs.map(move |input| {
            let exited = |code, signal| Output::Exited(v1::ExecExited { code, signal });
            let output = match input?.input.and_then(|input| input.input).expect("it has one") {
                Input::Start(start) => {
                    started.lock().expect("no panic").push(start);
                    Output::Started(v1::ExecStarted { pid: 7 })
                }
                Input::Stdin(bytes) => Output::Stdout(bytes),
                Input::StdinClosed(_) => exited(Some(3), None),
                Input::Resize(size) => Output::Stderr(format!("{} rows", size.rows).into_bytes()),
                Input::Signal(number) => exited(None, i32::try_from(number).ok()),
            };
            Ok(wire::ExecResponse { output: Some(v1::ExecOutput { output: Some(output) }) })
        }))
    }

    pub(super) async fn copy_in(
        &self,
        mut parts: Streaming<wire::CopyInRequest>,
    ) -> Result<wire::CopyInResponse, Status> {
        let _ended = Ended(self.ended.clone());
        let mut answer = wire::CopyInResponse::default();
        while let Some(part) = parts.message().await? {
            if part.directory == "/full" {
                let details = ErrorDetails::with_error_info(
                    "OF_A_NEWER_AGENT",
                    "banger",
                    std::collections::HashMap::new(),
                );
                let words = "the guest's disk is full";
                return Err(Status::with_error_details(Code::ResourceExhausted, words, details));
            }
            answer.entries += 1;
            answer.bytes += part.data.len() as u64;
        }
        Ok(answer)
    }

    pub(super) fn copy_out(&self, asked: wire::CopyOutRequest) -> Answers<wire::CopyOutResponse> {
        Box::pin(tokio_stream::once(Ok(wire::CopyOutResponse { data: asked.path.into_bytes() })))
    }

    pub(super) fn forward(
        &self,
        data: Streaming<wire::ForwardRequest>,
    ) -> Answers<wire::ForwardResponse> {
        let port = Arc::new(Mutex::new(0));
        self.until_cut(data.map(move |data| {
            let data = data?;
            let mut port = port.lock().expect("no panic");
            if data.port > 0 {
                *port = data.port;
                return Ok(wire::ForwardResponse { data: port.to_string().into_bytes() });
            }
            Ok(wire::ForwardResponse { data: data.data })
        }))
    }

    /// Until the server has ended this many calls.
    pub(super) async fn until_ended(&self, calls: usize) {
        let mut ended = self.ended.subscribe();
        let waited = timeout(PATIENCE, ended.wait_for(|ended| *ended >= calls)).await;
        assert!(waited.is_ok(), "{} of {calls} calls have ended", *self.ended.borrow());
    }
}

/// A stream of what a task sends.
fn async_stream<T: Send + 'static, F>(
    task: impl FnOnce(mpsc::UnboundedSender<T>) -> F,
) -> UnboundedReceiverStream<T>
where
    F: Future<Output = ()> + Send + 'static,
{
    let (send, receive) = mpsc::unbounded_channel();
    tokio::spawn(task(send));
    UnboundedReceiverStream::new(receive)
}

/// A server, an agent and a VM that runs.
pub(super) struct Stage {
    pub(super) server: RunningServer,
    pub(super) host: Host,
    pub(super) vms: VmServiceClient<Channel>,
    _directory: tempfile::TempDir,
}

pub(super) async fn stage() -> Stage {
    let directory = tempfile::tempdir().expect("a directory");
    let server = started(&directory).await;
    let host = join(channel(&server).await, "alpha").await;
    until_online(&server).await;
    let mut vms = VmServiceClient::new(channel(&server).await);
    vms.create_vm(create("one")).await.expect("it is stored");
    let wait = v1::WaitVmRequest { vm: "one".to_owned(), ..v1::WaitVmRequest::default() };
    vms.wait_vm(wait).await.expect("it runs");
    Stage { server, host, vms, _directory: directory }
}

fn reason(status: &Status) -> String {
    status.get_details_error_info().map(|info| info.reason).unwrap_or_default()
}

/// A channel to send on, and the stream of what is sent.
fn input<T: Send + 'static>(first: T) -> (mpsc::UnboundedSender<T>, UnboundedReceiverStream<T>) {
    let (send, receive) = mpsc::unbounded_channel();
    send.send(first).unwrap_or_else(|_| panic!("it is open"));
    (send, UnboundedReceiverStream::new(receive))
}

async fn next<T>(stream: &mut Streaming<T>) -> Result<Option<T>, Status> {
    timeout(PATIENCE, stream.message()).await.expect("something comes")
}

pub(super) fn exec_of(input: Input) -> v1::ExecVmRequest {
    v1::ExecVmRequest { vm: String::new(), input: Some(v1::ExecInput { input: Some(input) }) }
}

fn start(command: &[&str]) -> v1::ExecVmRequest {
    let start = v1::ExecStart {
        command: command.iter().map(ToString::to_string).collect(),
        environment: [("SECRET".to_owned(), "hunter2".to_owned())].into(),
        ..v1::ExecStart::default()
    };
    v1::ExecVmRequest { vm: "one".to_owned(), ..exec_of(Input::Start(start)) }
}

fn follow() -> v1::ReadConsoleRequest {
    v1::ReadConsoleRequest { vm: "one".to_owned(), follow: true, tail_bytes: 9 }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_console_goes_through_both_ways() {
    let mut stage = stage().await;
    let first = v1::AttachConsoleRequest { vm: "one".to_owned(), ..Default::default() };
    let (typist, typed) = input(first);
    let mut screen = stage.vms.attach_console(typed).await.expect("attached").into_inner();
    assert_eq!(next(&mut screen).await.expect("no error").expect("a message").data, b"");
    typist.send(v1::AttachConsoleRequest { data: b"ls".to_vec(), ..Default::default() }).unwrap();
    assert_eq!(next(&mut screen).await.expect("no error").expect("a message").data, b"LS");
    let mut reader = stage.vms.read_console(follow()).await.expect("it opens").into_inner();
    assert_eq!(next(&mut reader).await.expect("no error").expect("a message").data, b"past 9");
    // Who leaves ends the call at the agent.
    drop((typist, screen, reader));
    stage.host.agent.guest.until_ended(2).await;
    stage.server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_gets_its_input_and_the_history_its_name_only() {
    let mut stage = stage().await;
    let (send, inputs) = input(start(&["/bin/cat", "--password=hunter3"]));
    let mut outputs = stage.vms.exec_vm(inputs).await.expect("it runs").into_inner();
    let mut said =
        async || next(&mut outputs).await.expect("no error").and_then(|m| m.output?.output);
    assert_eq!(said().await, Some(Output::Started(v1::ExecStarted { pid: 7 })));
    send.send(exec_of(Input::Stdin(b"hello".to_vec()))).unwrap();
    assert_eq!(said().await, Some(Output::Stdout(b"hello".to_vec())));
    send.send(exec_of(Input::Resize(v1::TerminalSize { rows: 50, columns: 80 }))).unwrap();
    assert_eq!(said().await, Some(Output::Stderr(b"50 rows".to_vec())));
    send.send(exec_of(Input::StdinClosed(v1::ExecStdinClosed {}))).unwrap();
    assert_eq!(said().await, Some(Output::Exited(v1::ExecExited { code: Some(3), signal: None })));
    let started = stage.host.agent.guest.started.lock().unwrap().clone();
    assert_eq!(started[0].environment["SECRET"], "hunter2");
    let asked = v1::ListVmEventsRequest { vm: "one".to_owned(), ..Default::default() };
    let events = stage.vms.list_vm_events(asked).await.expect("a history").into_inner().events;
    let event = events.iter().find(|event| event.r#type == "EXEC").expect("it was written down");
    assert_eq!((event.message.as_str(), event.actor.as_str()), ("asked to run \"cat\"", "local"));
    assert!(!format!("{events:?}").contains("hunter"), "{events:?}");
    stage.server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_guest_is_not_opened_where_that_can_not_be_written_down() {
    let mut stage = stage().await;
    stage.server.store().close().await;
    let refused = stage.vms.exec_vm(tokio_stream::once(start(&["/bin/ls"]))).await;
    assert_eq!(refused.expect_err("no record").code(), Code::Unavailable);
    let refused = stage.vms.read_console(follow()).await.expect_err("no record");
    assert_eq!(refused.code(), Code::Unavailable);
    let part = v1::CopyToVmRequest { vm: "one".to_owned(), ..Default::default() };
    let part = v1::CopyToVmRequest { directory: "/srv".to_owned(), ..part };
    let refused = stage.vms.copy_to_vm(tokio_stream::once(part)).await.expect_err("no record");
    assert_eq!(refused.code(), Code::Unavailable);
    let guest = &stage.host.agent.guest;
    assert!(guest.started.lock().expect("no panic").is_empty(), "nothing has run");
    assert_eq!(*guest.ended.borrow(), 0, "nothing was begun");
    stage.server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_that_was_refused_is_told_as_refused() {
    let mut stage = stage().await;
    stage.host.agent.guest.away.send_replace(true);
    let (_send, inputs) = input(start(&["/bin/ls"]));
    let refused = stage.vms.exec_vm(inputs).await.expect_err("nobody runs it");
    assert_eq!(reason(&refused), "GUEST_AGENT_UNREACHABLE");
    let sentence = "nobody answers (host alpha is simulated: no guest runs there)";
    assert_eq!(refused.message(), sentence, "whoever asked hears it");
    let asked = v1::ListVmEventsRequest { vm: "one".to_owned(), ..Default::default() };
    let events = stage.vms.list_vm_events(asked).await.expect("a history").into_inner().events;
    let told = events.iter().filter(|event| event.r#type == "EXEC");
    let mut told: Vec<_> = told.map(|e| (e.reason.as_str(), e.message.as_str())).collect();
    told.sort_unstable();
    // The words of a guest may be anything, and viewers read the history.
    let failed = ("GUEST_AGENT_UNREACHABLE", "running \"ls\" failed");
    assert_eq!(told, [("", "asked to run \"ls\""), failed]);
    stage.server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_input_that_its_client_breaks_off_has_no_end_at_the_agent() {
    let mut stage = stage().await;
    // A client that does not know what is here does so: a reset with CANCEL, which tonic takes for
    // an end. More than once, because that would be a race.
    for round in 1..=8 {
        let (send, inputs) = input(start(&["cat"]));
        let mut request = Request::new(inputs);
        let cancel = request.cancellation_handle();
        let mut outputs = stage.vms.exec_vm(request).await.expect("it runs").into_inner();
        next(&mut outputs).await.expect("it started");
        send.send(exec_of(Input::Stdin(b"half".to_vec()))).unwrap();
        next(&mut outputs).await.expect("it came");
        cancel.cancel();
        stage.host.agent.guest.until_ended(round).await;
        assert_eq!(*stage.host.agent.guest.whole.borrow(), 0, "half was taken for all");
        drop(send);
    }
    // And one that has an end, with an answer after it.
    let (send, inputs) = input(start(&["cat"]));
    let mut outputs = stage.vms.exec_vm(inputs).await.expect("it runs").into_inner();
    next(&mut outputs).await.expect("it started");
    drop(send);
    assert_eq!(next(&mut outputs).await.expect("no error"), None);
    assert_eq!(*stage.host.agent.guest.whole.borrow(), 1);
    stage.server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn files_and_connections_go_through() {
    let mut stage = stage().await;
    let part = |directory: &str, data: &[u8]| v1::CopyToVmRequest {
        vm: if directory.is_empty() { "" } else { "one" }.to_owned(),
        directory: directory.to_owned(),
        data: data.to_vec(),
        own_name: String::new(),
    };
    let parts = tokio_stream::iter([part("/srv", b"ab"), part("", b""), part("", b"cde")]);
    let copied = stage.vms.copy_to_vm(parts).await.expect("it copies").into_inner();
    // One message more: the agent's first has no data.
    assert_eq!((copied.entries, copied.bytes), (3, 5));
    let asked = v1::CopyFromVmRequest { vm: "one".to_owned(), path: "/etc/motd".to_owned() };
    let mut parts = stage.vms.copy_from_vm(asked).await.expect("it copies").into_inner();
    assert_eq!(next(&mut parts).await.expect("no error").expect("a part").data, b"/etc/motd");
    assert_eq!(next(&mut parts).await.expect("no error"), None);
    let first = v1::ForwardVmRequest { vm: "one".to_owned(), port: 22, data: Vec::new() };
    let (send, data) = input(first);
    let mut answers = stage.vms.forward_vm(data).await.expect("it connects").into_inner();
    assert_eq!(next(&mut answers).await.expect("no error").expect("data").data, b"22");
    send.send(v1::ForwardVmRequest { data: b"ping".to_vec(), ..Default::default() }).unwrap();
    assert_eq!(next(&mut answers).await.expect("no error").expect("data").data, b"ping");
    // Half of it closes, then the other half.
    drop(send);
    assert_eq!(next(&mut answers).await.expect("no error"), None);
    // What an agent says is said on, also what this server does not know.
    let parts = tokio_stream::iter([part("/full", b"ab")]);
    let status = stage.vms.copy_to_vm(parts).await.expect_err("it is full");
    assert_eq!((status.code(), &*reason(&status)), (Code::ResourceExhausted, "OF_A_NEWER_AGENT"));
    stage.server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_is_cut_in_the_middle_says_that_the_host_is_lost() {
    let mut stage = stage().await;
    let mut reader = stage.vms.read_console(follow()).await.expect("it opens").into_inner();
    next(&mut reader).await.expect("the past");
    stage.host.agent.guest.cut.send_replace(true);
    let status = next(&mut reader).await.expect_err("it was cut");
    assert_eq!((status.code(), &*reason(&status)), (Code::Unavailable, "HOST_UNREACHABLE"));
    assert!(status.message().contains("host alpha of VM one"), "{status}");
    stage.server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_is_away_and_a_vm_without_one_are_said_at_once() {
    let mut stage = stage().await;
    stage.host._serving.0.abort();
    stage.host.agent.cut_streams();
    let mut changed = stage.server.view().hosts_changed();
    let away = async {
        loop {
            match stage.vms.read_console(follow()).await {
                Err(status) => return status,
                Ok(_) => changed.changed().await.expect("the view is there"),
            }
        }
    };
    let status = timeout(PATIENCE, away).await.expect("the host goes away");
    assert_eq!((status.code(), &*reason(&status)), (Code::Unavailable, "HOST_UNREACHABLE"));
    let placement = v1::Placement {
        host_labels: [("no".to_owned(), "where".to_owned())].into(),
        ..Default::default()
    };
    let mut nowhere = create("nowhere");
    nowhere.spec.as_mut().expect("it has one").placement = Some(placement);
    stage.vms.create_vm(nowhere).await.expect("it is stored");
    let asked = v1::ReadConsoleRequest { vm: "nowhere".to_owned(), ..follow() };
    let exec = |vm: &str| v1::ExecVmRequest { vm: vm.to_owned(), ..start(&["cat"]) };
    let copy = |vm: &str| v1::CopyToVmRequest {
        vm: vm.to_owned(),
        directory: "/".to_owned(),
        ..Default::default()
    };
    let from = v1::CopyFromVmRequest { vm: "nowhere".to_owned(), path: "/etc".to_owned() };
    let port = v1::ForwardVmRequest { vm: "nowhere".to_owned(), port: 22, data: Vec::new() };
    let refusals = [
        stage.vms.read_console(asked).await.map(drop),
        stage.vms.exec_vm(tokio_stream::once(exec("nowhere"))).await.map(drop),
        stage.vms.copy_to_vm(tokio_stream::once(copy("nowhere"))).await.map(drop),
        stage.vms.copy_from_vm(from).await.map(drop),
        stage.vms.forward_vm(tokio_stream::once(port)).await.map(drop),
    ];
    for refused in refusals {
        let status = refused.expect_err("it has no host");
        assert_eq!((status.code(), &*reason(&status)), (Code::FailedPrecondition, "VM_NOT_PLACED"));
    }
    let asked = v1::ReadConsoleRequest { vm: "nobody".to_owned(), ..follow() };
    let status = stage.vms.read_console(asked).await.expect_err("there is none");
    assert_eq!(reason(&status), "VM_NOT_FOUND");
    stage.server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_ends_with_its_vm_its_deadline_and_its_server() {
    let mut stage = stage().await;
    let mut of_vm = stage.vms.read_console(follow()).await.expect("it opens").into_inner();
    next(&mut of_vm).await.expect("the past");
    let mut request = Request::new(follow());
    request.metadata_mut().insert("grpc-timeout", "300m".parse().expect("a value"));
    let mut in_time = stage.vms.read_console(request).await.expect("it opens").into_inner();
    next(&mut in_time).await.expect("the past");
    let status = next(&mut in_time).await.expect_err("its time is over");
    assert_eq!(status.code(), Code::DeadlineExceeded);
    let delete = v1::DeleteVmRequest { vm: "one".to_owned(), ..Default::default() };
    stage.vms.delete_vm(delete).await.expect("it is stored");
    let status = next(&mut of_vm).await.expect_err("its VM is gone");
    assert_eq!(reason(&status), "VM_NOT_FOUND");
    stage.vms.create_vm(create("one")).await.expect("it is stored");
    let wait = v1::WaitVmRequest { vm: "one".to_owned(), ..v1::WaitVmRequest::default() };
    stage.vms.wait_vm(wait).await.expect("it runs");
    let mut to_the_end = stage.vms.read_console(follow()).await.expect("it opens").into_inner();
    next(&mut to_the_end).await.expect("the past");
    let stopping = tokio::spawn(stage.server.shutdown());
    let status = next(&mut to_the_end).await.expect_err("the server is gone");
    assert_eq!(status.code(), Code::Unavailable);
    stopping.await.expect("no panic");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_makes_no_sense_is_refused_with_its_field_before_and_within_a_stream() {
    let mut stage = stage().await;
    let (_send, inputs) = input(start(&[]));
    let status = stage.vms.exec_vm(inputs).await.expect_err("nothing to run");
    let fields = status.get_details_bad_request().expect("its fields").field_violations;
    assert_eq!(fields[0].field, "input.start.command");
    let (_send, data) =
        input(v1::ForwardVmRequest { vm: "one".to_owned(), port: 70_000, data: vec![] });
    let status = stage.vms.forward_vm(data).await.expect_err("no port");
    assert_eq!(reason(&status), "INVALID_FIELDS");
    let asked = v1::CopyFromVmRequest { vm: "one".to_owned(), path: "etc".to_owned() };
    let status = stage.vms.copy_from_vm(asked).await.expect_err("not absolute");
    assert_eq!(reason(&status), "INVALID_FIELDS");
    let (send, inputs) = input(start(&["cat"]));
    let mut outputs = stage.vms.exec_vm(inputs).await.expect("it runs").into_inner();
    next(&mut outputs).await.expect("it started");
    send.send(exec_of(Input::Signal(99))).unwrap();
    let status = next(&mut outputs).await.expect_err("no such signal");
    assert_eq!(reason(&status), "INVALID_FIELDS");
    // A client that breaks off in the middle of a copy does not look like its end: the call at the
    // agent is ended, not answered.
    stage.host.agent.guest.until_ended(1).await;
    stage.server.shutdown().await;
}

/// How each call that reaches a guest or its console is answered, by the call's name: with what it
/// refused, if it did.
async fn each_call(
    vms: &mut VmServiceClient<Channel>,
    vm: &str,
) -> Vec<(&'static str, Result<(), Status>)> {
    let named = || vm.to_owned();
    let exec = v1::ExecVmRequest { vm: named(), ..start(&["cat"]) };
    let copy = v1::CopyToVmRequest { vm: named(), directory: "/".to_owned(), ..Default::default() };
    let from = v1::CopyFromVmRequest { vm: named(), path: "/etc".to_owned() };
    let port = v1::ForwardVmRequest { vm: named(), port: 22, data: Vec::new() };
    let console = v1::ReadConsoleRequest { vm: named(), ..follow() };
    let attach = v1::AttachConsoleRequest { vm: named(), ..Default::default() };
    vec![
        ("exec", vms.exec_vm(tokio_stream::once(exec)).await.map(drop)),
        ("cp to it", vms.copy_to_vm(tokio_stream::once(copy)).await.map(drop)),
        ("cp from it", vms.copy_from_vm(from).await.map(drop)),
        ("forward", vms.forward_vm(tokio_stream::once(port)).await.map(drop)),
        ("console", vms.read_console(console).await.map(drop)),
        ("console with a keyboard", vms.attach_console(input(attach).1).await.map(drop)),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn a_vm_that_does_not_run_is_said_so_at_once_by_its_state() {
    let mut stage = stage().await;
    let wait = |vm: &str, state: v1::VmState| v1::WaitVmRequest {
        vm: vm.to_owned(),
        state: state.into(),
        ..v1::WaitVmRequest::default()
    };
    let vms = &mut stage.vms;
    for (vm, state) in [("paused", v1::VmState::Paused), ("stopped", v1::VmState::Stopped)] {
        vms.create_vm(create(vm)).await.expect("it is stored");
        vms.wait_vm(wait(vm, v1::VmState::Running)).await.expect("it runs");
        let vm = vm.to_owned();
        if state == v1::VmState::Paused {
            let pause = v1::PauseVmRequest { vm: vm.clone(), ..Default::default() };
            vms.pause_vm(pause).await.expect("it is stored");
        } else {
            let stop = v1::StopVmRequest { vm: vm.clone(), ..Default::default() };
            vms.stop_vm(stop).await.expect("it is stored");
        }
        vms.wait_vm(wait(&vm, state)).await.expect("it is so");
    }
    // Its image is on its way, and never comes.
    stage.host.agent.expect_puts([PutFate::Hang]);
    images::keep(&stage.server, &stage._directory, "slow", StoredKind::Root, b"an image").await;
    vms.create_vm(images::using("preparing", "slow")).await.expect("it is stored");
    vms.wait_vm(wait("preparing", v1::VmState::Preparing)).await.expect("it is so");
    let mut nowhere = create("pending");
    let host_labels = [("no-such-label".to_owned(), String::new())].into();
    let placement = v1::Placement { host_labels, ..v1::Placement::default() };
    nowhere.spec.as_mut().expect("given").placement = Some(placement);
    vms.create_vm(nowhere).await.expect("it is stored");
    for (vm, reason_of_guest, has_console) in [
        ("pending", "VM_NOT_PLACED", false),
        ("preparing", "VM_NOT_RUNNING", false),
        ("paused", "VM_NOT_RUNNING", true),
        ("stopped", "VM_NOT_RUNNING", true),
    ] {
        for (call, answer) in each_call(vms, vm).await {
            // The console is the host's: it is shown whatever the guest does.
            if has_console && call.starts_with("console") {
                answer.unwrap_or_else(|refused| panic!("{vm}, {call}: {refused}"));
                continue;
            }
            let Err(refused) = answer else { panic!("{vm}, {call}: it does not run") };
            let found = (refused.code(), &*reason(&refused));
            assert_eq!(found, (Code::FailedPrecondition, reason_of_guest), "{vm}, {call}");
            assert!(refused.message().contains(&format!("VM {vm} ")), "{call}: {refused}");
            if reason_of_guest == "VM_NOT_RUNNING" {
                let state = vm.to_uppercase();
                let says = format!("VM {vm} is {state}");
                assert!(refused.message().contains(&says), "{call}: {refused}");
                let info = refused.get_details_error_info().expect("given");
                assert_eq!(info.metadata["state"], state, "{call}");
            }
            if vm == "preparing" {
                assert!(refused.message().contains("image slow"), "{call}: {refused}");
            }
        }
    }
    // Nothing of it came to the agent's guest, and nothing was written down.
    assert!(stage.host.agent.guest.started.lock().unwrap().is_empty());
    stage.server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_history_of_a_vm_that_is_gone_is_read_by_its_name() {
    let mut stage = stage().await;
    let delete = v1::DeleteVmRequest { vm: "one".to_owned(), ..Default::default() };
    let id = stage.vms.delete_vm(delete).await.expect("it is stored").into_inner().id;
    let wait = v1::WaitVmRequest {
        vm: id,
        state: v1::VmState::Deleted.into(),
        ..v1::WaitVmRequest::default()
    };
    // Gone already is gone too.
    let _ = stage.vms.wait_vm(wait).await;
    let asked = |vm: &str| v1::ListVmEventsRequest { vm: vm.to_owned(), ..Default::default() };
    let events = stage.vms.list_vm_events(asked("one")).await.expect("a history").into_inner();
    assert!(events.events.iter().any(|event| event.r#type == "CREATED"), "{events:?}");
    let unknown = stage.vms.list_vm_events(asked("two")).await.expect_err("it never was");
    assert_eq!(reason(&unknown), "VM_NOT_FOUND");
    stage.server.shutdown().await;
}

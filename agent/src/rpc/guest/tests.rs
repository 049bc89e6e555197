//! The calls over gRPC, as a server makes them, down to a guest of the fake machine.

use banger_proto::agent_v1::agent_service_client::AgentServiceClient;
use banger_proto::agent_v1::agent_service_server::AgentServiceServer;
use banger_proto::ids::HostId;
use banger_proto::v1::exec_output::Output;
use banger_proto::v1::{ExecStart, ExecStdinClosed};
use banger_wire::cancel::Cancellable;
use banger_wire::resets::ResetsAreErrors;
use hyper_util::rt::TokioIo;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::Code;
use tonic::transport::{Channel, Endpoint};
use tonic_types::StatusExt as _;

use super::*;
use crate::assignment::Power;
use crate::host::fakes::FakeKernel;
use crate::naming::part;
use crate::rpc::AgentRpc;
use crate::supervisor::Supervisor;
use crate::supervisor::api::{HostIdentity, SupervisorApi};
use crate::supervisor::harness;
use crate::supervisor::harness::names;
use crate::vm::fixtures::{assignment_of, vm_id, wait_for};

type Client = AgentServiceClient<Cancellable<Channel>>;

/// An agent on a machine, and a client of it.
async fn agent(kernel: &FakeKernel) -> (Supervisor, Client) {
    let supervisor = harness::start(kernel).await;
    let identity = HostIdentity {
        host: HostId::from_uuid(uuid::Uuid::from_u128(7)),
        agent_epoch: 1,
        heartbeat_interval: Duration::from_secs(1),
        certificates: None,
    };
    let api = SupervisorApi::new(supervisor.clone(), identity, CancellationToken::new());
    let service = AgentServiceServer::new(AgentRpc::new(std::sync::Arc::new(api)));
    let (ours, theirs) = tokio::io::duplex(64 * 1024);
    let incoming = tokio_stream::iter([Ok::<_, std::io::Error>(theirs)]);
    tokio::spawn(
        tonic::transport::Server::builder()
            .layer(ResetsAreErrors)
            .add_service(service)
            .serve_with_incoming(incoming),
    );
    let mut stream = Some(TokioIo::new(ours));
    let channel = Endpoint::from_static("http://agent")
        .connect_with_connector(tower::service_fn(move |_| {
            std::future::ready(
                stream.take().ok_or_else(|| std::io::Error::from(std::io::ErrorKind::BrokenPipe)),
            )
        }))
        .await
        .expect("HTTP/2 begins");
    (supervisor, AgentServiceClient::new(Cancellable(channel)))
}

/// A VM that runs, heard by its guest agent or without one.
async fn running(answers: bool) -> (Supervisor, Client) {
    running_on(&FakeKernel::new(), answers).await
}

async fn running_on(kernel: &FakeKernel, answers: bool) -> (Supervisor, Client) {
    kernel.let_guests_answer(answers);
    let (supervisor, client) = agent(kernel).await;
    supervisor.accept(assignment_of(1, 1, 1, Power::Running)).await.expect("it is held");
    let seen = supervisor.reporter().wait_for(vm_id(1), |report| {
        report.is_some_and(|r| r.phase == crate::report::phase::Phase::Running)
            && (!answers || report.is_some_and(|r| r.guest.is_some()))
    });
    tokio::time::timeout(Duration::from_secs(60), seen).await.expect("it runs");
    (supervisor, client)
}

fn start(vm: u32, command: &[&str]) -> wire::ExecRequest {
    let command = command.iter().map(ToString::to_string).collect();
    let start = Input::Start(ExecStart { command, ..Default::default() });
    wire::ExecRequest {
        vm_id: vm_id(vm).to_string(),
        input: Some(ExecInput { input: Some(start) }),
    }
}

fn more(input: Input) -> wire::ExecRequest {
    wire::ExecRequest { vm_id: String::new(), input: Some(ExecInput { input: Some(input) }) }
}

fn reason(status: &Status) -> String {
    status.get_details_error_info().expect("it has a reason").reason
}

#[tokio::test]
async fn a_program_is_run_in_the_guest_with_its_input_output_and_code() {
    let (_supervisor, mut client) = running(true).await;
    // More than a guest takes at once.
    let data = vec![b'd'; 150_000];
    let inputs = [
        start(1, &["cat"]),
        more(Input::Stdin(data.clone())),
        more(Input::StdinClosed(ExecStdinClosed {})),
    ];
    let answer = client.exec(tokio_stream::iter(inputs)).await.expect("it runs");
    let (mut outputs, mut printed, mut code) = (answer.into_inner(), Vec::new(), None);
    while let Some(message) = outputs.message().await.expect("it goes on") {
        match message.output.and_then(|output| output.output).expect("it says something") {
            Output::Stdout(data) => printed.extend(data),
            Output::Exited(exited) => code = exited.code,
            Output::Started(_) | Output::Stderr(_) => {}
        }
    }
    assert!(printed == data, "{} bytes came back", printed.len());
    assert_eq!(code, Some(0));
}

/// How a server lets go of a call.
#[derive(Debug, Clone, Copy)]
enum LetGo {
    /// As tonic's own cancellation does: a reset with CANCEL, which tonic takes for an end.
    Cancel,
    /// As ours does: with the answers.
    Drop,
}

#[tokio::test]
async fn requests_that_the_server_breaks_off_have_no_end_in_the_guest() {
    for how in [LetGo::Cancel, LetGo::Drop] {
        let kernel = FakeKernel::new();
        let (_supervisor, mut client) = running_on(&kernel, true).await;
        let (sender, messages) = mpsc::channel(4);
        let mut request = Request::new(ReceiverStream::new(messages));
        let (cancel, guard) = (request.cancellation_handle(), cancel_on_drop(&mut request));
        for message in [start(1, &["cat"]), more(Input::Stdin(b"half".to_vec()))] {
            sender.send(message).await.expect("it is read");
        }
        let mut outputs = client.exec(request).await.expect("it runs").into_inner();
        loop {
            let message = outputs.message().await.expect("it goes on").expect("it goes on");
            if let Some(Output::Stdout(data)) = message.output.and_then(|o| o.output) {
                assert_eq!(data, b"half");
                break;
            }
        }
        match how {
            LetGo::Cancel => cancel.cancel(),
            LetGo::Drop => drop((outputs, guard)),
        }
        let told = || {
            let console = kernel.file(&names(1).dir, &part("console.log")).unwrap_or_default();
            String::from_utf8_lossy(&console).into_owned()
        };
        wait_for("the guest is told", || async {
            let console = told();
            if console.contains("the input of cat") { Ok(()) } else { Err(console) }
        })
        .await;
        assert!(told().contains("the input of cat broke off"), "{how:?}: {}", told());
        drop(sender);
    }
}

#[tokio::test]
async fn what_the_guest_refuses_has_its_code_and_its_words() {
    let (_supervisor, mut client) = running(true).await;
    let refused = client.exec(tokio_stream::iter([start(1, &["nothing"])])).await;
    let refused = refused.expect_err("there is no such program");
    assert_eq!((refused.code(), reason(&refused).as_str()), (Code::NotFound, "GUEST_REFUSED"));
    assert!(refused.message().contains("no such program"), "{refused:?}");
    let copy = wire::CopyOutRequest { vm_id: vm_id(1).to_string(), path: "/".to_owned() };
    let refused = client.copy_out(copy).await.expect_err("it has no files");
    assert_eq!(refused.code(), Code::Unimplemented);
}

#[tokio::test]
async fn a_guest_that_cannot_be_asked_is_told_apart_from_a_vm_that_is_not_there() {
    let (_supervisor, mut client) = running(false).await;
    let refused = client.exec(tokio_stream::iter([start(1, &["true"])])).await;
    let refused = refused.expect_err("it has no guest agent");
    assert_eq!(refused.code(), Code::FailedPrecondition);
    assert_eq!(reason(&refused), "GUEST_AGENT_UNREACHABLE");
    let refused = client.exec(tokio_stream::iter([start(2, &["true"])])).await;
    let refused = refused.expect_err("there is no such VM");
    assert_eq!(
        (refused.code(), reason(&refused).as_str()),
        (Code::NotFound, "ASSIGNMENT_NOT_FOUND")
    );
    let nonsense = wire::ForwardRequest { vm_id: "x".to_owned(), ..Default::default() };
    let refused = client.forward(tokio_stream::iter([nonsense])).await;
    assert_eq!(refused.expect_err("it is no id").code(), Code::InvalidArgument);
    let refused = client.copy_in(tokio_stream::iter(Vec::<wire::CopyInRequest>::new())).await;
    assert_eq!(refused.expect_err("nothing was said").code(), Code::InvalidArgument);
}

#[test]
fn only_some_codes_of_a_guest_are_passed_on_and_its_words_are_cut() {
    let said = Status::new(Code::Unauthenticated, "give me your token");
    assert_eq!(reason(&status::of_guest(vm_id(1), &said)), "GUEST_AGENT_LOST");
    let said = Status::new(Code::NotFound, "\u{1b}[2J".to_owned() + &"x".repeat(10_000));
    let passed = status::of_guest(vm_id(1), &said);
    assert_eq!(passed.code(), Code::NotFound);
    assert!(passed.message().len() < 700 && !passed.message().contains('\u{1b}'), "{passed:?}");
}

#[tokio::test(start_paused = true)]
async fn a_guest_that_takes_a_program_and_never_says_so_is_given_up() {
    let (_supervisor, mut client) = running(true).await;
    let began = tokio::time::Instant::now();
    let asked = client.exec(tokio_stream::iter([start(1, &["hostile-silence"])]));
    let refused = timeout(BEGIN * 2, asked).await.expect("it comes to an end");
    let refused = refused.expect_err("nothing was said");
    assert_eq!(reason(&refused), "GUEST_AGENT_LOST", "{refused:?}");
    assert!(began.elapsed() >= BEGIN);
    // Its guest is asked on.
    let mut outputs = client.exec(tokio_stream::iter([start(1, &["true"])])).await.unwrap();
    assert!(outputs.get_mut().message().await.unwrap().is_some());
}

#[tokio::test(start_paused = true)]
async fn small_answers_of_a_guest_have_a_price_however_many_are_in_a_frame_and_data_has_none() {
    let (_supervisor, mut client) = running(true).await;
    for (size, answers, least) in [(1, 100_000, 3), (65_536, 2_000, 0)] {
        let began = tokio::time::Instant::now();
        let asked = start(1, &["hostile-flood", &size.to_string()]);
        let mut outputs = client.exec(tokio_stream::iter([asked])).await.unwrap().into_inner();
        for _ in 0..answers {
            outputs.message().await.expect("it goes on").expect("it goes on");
        }
        let took = began.elapsed().as_secs();
        assert!((least..least + 2).contains(&took), "{answers} of {size} bytes: {took} s");
    }
}

//! Guest agents of the fake machine: the `Guests` seam of `host/guests.rs`.
//!
//! Off unless a test turns them on ([`crate::host::fakes::FakeKernel::let_guests_answer`]): a guest
//! without a guest agent never answers, and costs nothing. Where they are on, the link and HTTP/2
//! over it are the real ones; behind them is a guest that knows a handful of words, so that no
//! program of the machine that pretends is ever run. What can go wrong: the guest does not run.

use async_trait::async_trait;
use banger_proto::guest_v1 as wire;
use banger_proto::guest_v1::guest_service_server::{GuestService, GuestServiceServer};
use banger_proto::v1::exec_input::Input;
use banger_proto::v1::exec_output::Output;
use banger_proto::v1::{ExecExited, ExecOutput, ExecStarted};
use banger_wire::guest_link::session::{Link, serve};
use banger_wire::resets::ResetsAreErrors;
use futures_util::StreamExt as _;
use futures_util::stream::BoxStream;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Request, Response, Status, Streaming};

use crate::host::fakes::kernel::FakeKernel;
use crate::host::fakes::kernel::gate::Seam;
use crate::host::fakes::kernel::process::SavedVmmState;
use crate::host::fakes::kernel::state::{State, refuse};
use crate::host::guests::{GuestStream, Guests};
use crate::host::{HostErrorKind, HostResult, JailId, Pid};

impl FakeKernel {
    /// Whether guests of this machine have a guest agent, from now on.
    pub fn let_guests_answer(&self, answer: bool) {
        self.with(|state| state.guests_answer = answer);
    }
}

/// What a fake guest knows of itself.
struct FakeGuest {
    kernel: FakeKernel,
    jail: JailId,
    pid: Pid,
    /// Of its process, so that it is another one after a restart.
    boot_id: String,
}

impl State {
    /// The process of a guest that runs.
    fn running_guest(&self, id: &JailId) -> HostResult<(Pid, u64)> {
        let missing =
            || refuse(HostErrorKind::NotFound, "reach the guest agent of", id, "no guest runs");
        let pid = self.pid_of(id).ok_or_else(missing)?;
        let process = self.processes.get(&pid).ok_or_else(missing)?;
        let running = process.vmm.as_ref().is_some_and(|m| m.state == SavedVmmState::Running);
        if running { Ok((pid, process.start_ticks)) } else { Err(missing()) }
    }
}

#[async_trait]
impl Guests for Seam {
    async fn connect(&self, id: &JailId) -> HostResult<GuestStream> {
        // No fault is staged here: what becomes of a guest agent changes nothing of its VM.
        let found = self.kernel.peek(|state| state.guests_answer.then(|| state.running_guest(id)));
        let Some(found) = found else { return std::future::pending().await };
        let (pid, ticks) = found?;
        let guest = FakeGuest {
            kernel: self.kernel.clone(),
            jail: id.clone(),
            pid,
            boot_id: format!("00000000-0000-4000-8000-{:012x}", u64::from(pid.get()) << 20 ^ ticks),
        };
        let (ours, theirs) = tokio::io::duplex(64 * 1024);
        let (sender, sessions) = mpsc::channel(1);
        let (reader, writer) = tokio::io::split(theirs);
        tokio::spawn(serve(Link::new(reader, writer), None, sender));
        tokio::spawn(
            tonic::transport::Server::builder()
                .layer(ResetsAreErrors)
                .add_service(GuestServiceServer::new(guest))
                .serve_with_incoming(ReceiverStream::new(sessions).map(Ok::<_, std::io::Error>)),
        );
        Ok(GuestStream { io: Box::new(ours), transport: "virtio-serial" })
    }
}

fn say(output: Output) -> Result<wire::ExecResponse, Status> {
    Ok(wire::ExecResponse { output: Some(ExecOutput { output: Some(output) }) })
}

/// The words that a fake guest knows: what they print, and their exit code.
fn run(command: &[&str]) -> Option<(Vec<u8>, i32)> {
    match command {
        ["true"] => Some((Vec::new(), 0)),
        ["false"] => Some((Vec::new(), 1)),
        ["exit", code] => Some((Vec::new(), code.parse().unwrap_or(2))),
        ["echo", words @ ..] => Some((format!("{}\n", words.join(" ")).into_bytes(), 0)),
        ["hostname"] | ["cat", "/etc/hostname"] => Some((b"fake\n".to_vec(), 0)),
        _ => None,
    }
}

/// What a guest agent that was taken over does: takes a program and says nothing of it, or answers
/// in pieces of this size without end.
fn hostile(command: &[String]) -> Option<Stream<wire::ExecResponse>> {
    let [word, rest @ ..] = command else { return None };
    match word.as_str() {
        "hostile-silence" => Some(futures_util::stream::pending().boxed()),
        "hostile-flood" => {
            let size = rest.first().and_then(|size| size.parse().ok()).unwrap_or(1);
            let answer = move || say(Output::Stdout(vec![b'x'; size]));
            Some(futures_util::stream::repeat_with(answer).boxed())
        }
        _ => None,
    }
}

type Stream<T> = BoxStream<'static, Result<T, Status>>;

fn not_here<T>() -> Result<T, Status> {
    Err(Status::new(Code::Unimplemented, "a simulated guest has no files and no network"))
}

impl FakeGuest {
    /// Copies its input, and says on the console how that came to its end.
    fn cat(&self, mut inputs: Streaming<wire::ExecRequest>) -> Stream<wire::ExecResponse> {
        let (kernel, jail) = (self.kernel.clone(), self.jail.clone());
        let (said, outputs) = mpsc::channel(4);
        tokio::spawn(async move {
            // Who does not listen has gone, which the input will say.
            let _ = said.send(say(Output::Started(ExecStarted { pid: 2 }))).await;
            let how = loop {
                let input = match inputs.message().await {
                    Ok(message) => message.and_then(|m| m.input).and_then(|m| m.input),
                    Err(_) => break "broke off",
                };
                match input {
                    Some(Input::Stdin(data)) => {
                        let _ = said.send(say(Output::Stdout(data))).await;
                    }
                    Some(Input::StdinClosed(_)) | None => break "ended",
                    Some(_) => {}
                }
            };
            let told = format!("simulated guest: the input of cat {how}\n");
            kernel.with(|state| state.console(&jail, &told));
            let exited = ExecExited { code: Some(0), signal: None };
            let _ = said.send(say(Output::Exited(exited))).await;
        });
        ReceiverStream::new(outputs).boxed()
    }
}

#[tonic::async_trait]
impl GuestService for FakeGuest {
    async fn hello(
        &self,
        _request: Request<wire::HelloRequest>,
    ) -> Result<Response<wire::HelloResponse>, Status> {
        Ok(Response::new(wire::HelloResponse {
            agent_version: "simulated".to_owned(),
            boot_id: self.boot_id.clone(),
            hostname: "fake".to_owned(),
        }))
    }

    type ExecStream = Stream<wire::ExecResponse>;

    async fn exec(
        &self,
        request: Request<Streaming<wire::ExecRequest>>,
    ) -> Result<Response<Self::ExecStream>, Status> {
        let mut inputs = request.into_inner();
        let first = inputs.message().await?.and_then(|m| m.input).and_then(|m| m.input);
        let Some(Input::Start(start)) = first else {
            return Err(Status::new(Code::InvalidArgument, "the first message must start"));
        };
        if start.command == ["cat"] {
            return Ok(Response::new(self.cat(inputs)));
        }
        if let Some(outputs) = hostile(&start.command) {
            return Ok(Response::new(outputs));
        }
        let words: Vec<&str> = start.command.iter().map(String::as_str).collect();
        let Some((printed, code)) = run(&words) else {
            return Err(Status::new(Code::NotFound, "a simulated guest has no such program"));
        };
        let exited = ExecExited { code: Some(code), signal: None };
        let outputs = [
            Output::Started(ExecStarted { pid: 2 }),
            Output::Stdout(printed),
            Output::Exited(exited),
        ];
        Ok(Response::new(futures_util::stream::iter(outputs.map(say)).boxed()))
    }

    async fn copy_in(
        &self,
        _request: Request<Streaming<wire::CopyInRequest>>,
    ) -> Result<Response<wire::CopyInResponse>, Status> {
        not_here()
    }

    type CopyOutStream = Stream<wire::CopyOutResponse>;

    async fn copy_out(
        &self,
        _request: Request<wire::CopyOutRequest>,
    ) -> Result<Response<Self::CopyOutStream>, Status> {
        not_here()
    }

    type ForwardStream = Stream<wire::ForwardResponse>;

    async fn forward(
        &self,
        _request: Request<Streaming<wire::ForwardRequest>>,
    ) -> Result<Response<Self::ForwardStream>, Status> {
        not_here()
    }

    async fn shutdown(
        &self,
        _request: Request<wire::ShutdownRequest>,
    ) -> Result<Response<wire::ShutdownResponse>, Status> {
        self.kernel.with(|state| {
            if state.pid_of(&self.jail) == Some(self.pid) {
                state.console(&self.jail, "simulated guest: asked by its host to shut down\n");
                state.guest_shuts_down(&self.jail);
            }
        });
        Ok(Response::new(wire::ShutdownResponse {}))
    }

    async fn set_time(
        &self,
        _request: Request<wire::SetTimeRequest>,
    ) -> Result<Response<wire::SetTimeResponse>, Status> {
        self.kernel.with(|state| state.console(&self.jail, "simulated guest: clock set\n"));
        Ok(Response::new(wire::SetTimeResponse {}))
    }
}

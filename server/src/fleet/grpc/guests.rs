//! Streams to the guests of a host, over the connection of the newest observation.
//!
//! The agent answers with the head of a stream as soon as it knows whether it can; that has a time
//! limit, the stream itself has none but what HTTP/2 pings give. What an agent says with a reason
//! goes on as it is; what breaks without one is a lost host.

use std::time::Duration;

use async_trait::async_trait;
use banger_proto::agent_v1 as wire;
use banger_proto::agent_v1::agent_service_client::AgentServiceClient;
use banger_proto::bounds;
use banger_proto::ids::VmId;
use banger_proto::v1;
use banger_proto::words;
use banger_wire::cancel::{Cancellable, cancel_on_drop};
use futures_util::{StreamExt as _, stream};
use tokio_util::sync::DropGuard;
use tonic::transport::Channel;
use tonic::{Code, Request, Response, Status, Streaming};
use tonic_types::StatusExt as _;

use super::GrpcLink;
use crate::fleet::guests::{GuestError, GuestLink, Input, Output};
use crate::fleet::link::LinkError;
use crate::model::guest::{Copied, CopyTo, ExecIn, ExecOut, TerminalSize};

/// How long an agent may take to answer with the head of a stream. It may have to reach a guest
/// that is busy.
const HEAD: Duration = Duration::from_secs(15);

/// What a status means for a stream to a guest.
fn said(address: &str, status: &Status) -> GuestError {
    let info = status.get_details_error_info();
    if let Some(info) = info.filter(|info| info.domain == "banger") {
        return GuestError::Said {
            code: status.code(),
            reason: words::word(info.reason),
            message: words::sentence(status.message().to_owned()),
        };
    }
    if status.code() == Code::Unimplemented {
        // An agent of the version before, which does not know the call.
        return GuestError::Said {
            code: Code::Unimplemented,
            reason: "NOT_IMPLEMENTED".to_owned(),
            message: "the agent of the VM's host is too old for this".to_owned(),
        };
    }
    GuestError::Link(LinkError::OutcomeUnknown {
        address: address.to_owned(),
        message: words::sentence(format!("{:?}: {}", status.code(), status.message())),
    })
}

impl GrpcLink {
    /// A client whose calls end when their output is dropped, whatever their input does.
    fn guest_client(&self) -> Result<AgentServiceClient<Cancellable<Channel>>, GuestError> {
        let channel = self.channel.lock().clone();
        let channel = channel.ok_or_else(|| LinkError::Unreachable {
            address: self.address.clone(),
            message: "there is no connection".to_owned(),
        })?;
        Ok(AgentServiceClient::new(Cancellable(channel))
            .max_decoding_message_size(bounds::MAX_MESSAGE_BYTES)
            .max_encoding_message_size(bounds::MAX_MESSAGE_BYTES))
    }

    /// The head of a stream, in time, and what comes after it.
    async fn stream<M, T>(
        &self,
        call: impl Future<Output = Result<Response<Streaming<M>>, Status>> + Send,
        guard: Option<DropGuard>,
        read: fn(M) -> Option<T>,
    ) -> Result<Output<T>, GuestError>
    where
        M: Send + 'static,
        T: Send + 'static,
    {
        // What an agent can say without its guest it says at once, and one that is lost is seen by
        // its own heartbeat.
        let head = tokio::time::timeout(HEAD, call)
            .await
            .map_err(|_| GuestError::Silent { after: HEAD })?;
        let messages = head.map_err(|status| said(&self.address, &status))?.into_inner();
        let address = self.address.clone();
        Ok(messages
            .filter_map(move |message| {
                // Held as long as the output: with it, the call ends.
                let _held = &guard;
                let item = match message {
                    Ok(message) => read(message).map(Ok),
                    Err(status) => Some(Err(said(&address, &status))),
                };
                std::future::ready(item)
            })
            .boxed())
    }
}

/// A message that has what is only in the first, then those of the input.
fn first_then<M: Send + 'static, T: 'static>(
    first: M,
    input: Input<T>,
    message: fn(T) -> M,
) -> impl futures_util::Stream<Item = M> + Send + 'static {
    stream::once(std::future::ready(first)).chain(input.map(message))
}

/// A request that is broken off when its guard is dropped.
fn held<S>(input: S) -> (Request<S>, DropGuard) {
    let mut request = Request::new(input);
    let guard = cancel_on_drop(&mut request);
    (request, guard)
}

#[async_trait]
impl GuestLink for GrpcLink {
    async fn read_console(
        &self,
        vm: VmId,
        past: u64,
        follow: bool,
    ) -> Result<Output<Vec<u8>>, GuestError> {
        let mut client = self.guest_client()?;
        let asked = wire::ReadConsoleRequest { vm_id: vm.to_string(), follow, tail_bytes: past };
        self.stream(client.read_console(asked), None, |message| Some(message.data)).await
    }

    async fn attach_console(
        &self,
        vm: VmId,
        past: u64,
        input: Input<Vec<u8>>,
    ) -> Result<Output<Vec<u8>>, GuestError> {
        let mut client = self.guest_client()?;
        let first = wire::AttachConsoleRequest {
            vm_id: vm.to_string(),
            tail_bytes: past,
            data: Vec::new(),
        };
        let input = first_then(first, input, |data| wire::AttachConsoleRequest {
            data,
            ..Default::default()
        });
        let (request, guard) = held(input);
        self.stream(client.attach_console(request), Some(guard), |message| Some(message.data)).await
    }

    async fn exec(
        &self,
        vm: VmId,
        mut input: Input<ExecIn>,
    ) -> Result<Output<ExecOut>, GuestError> {
        let mut client = self.guest_client()?;
        // The start, which is there already.
        let start = input.next().await.map(exec_in);
        let first = wire::ExecRequest { vm_id: vm.to_string(), input: start };
        let input = first_then(first, input, |input| wire::ExecRequest {
            input: Some(exec_in(input)),
            ..Default::default()
        });
        let (request, guard) = held(input);
        self.stream(client.exec(request), Some(guard), |message| message.output.and_then(exec_out))
            .await
    }

    async fn copy_in(
        &self,
        vm: VmId,
        to: CopyTo,
        input: Input<Vec<u8>>,
    ) -> Result<Copied, GuestError> {
        let mut client = self.guest_client()?;
        let CopyTo { directory, own_name } = to;
        let vm_id = vm.to_string();
        let first = wire::CopyInRequest { vm_id, directory, own_name, data: Vec::new() };
        let input =
            first_then(first, input, |data| wire::CopyInRequest { data, ..Default::default() });
        // As long as the copy takes: what comes slowly is the client's.
        let (request, _guard) = held(input);
        let answer =
            client.copy_in(request).await.map_err(|status| said(&self.address, &status))?;
        let wire::CopyInResponse { entries, bytes } = answer.into_inner();
        Ok(Copied { entries, bytes })
    }

    async fn copy_out(&self, vm: VmId, path: String) -> Result<Output<Vec<u8>>, GuestError> {
        let mut client = self.guest_client()?;
        let asked = wire::CopyOutRequest { vm_id: vm.to_string(), path };
        self.stream(client.copy_out(asked), None, |message| Some(message.data)).await
    }

    async fn forward(
        &self,
        vm: VmId,
        port: u16,
        input: Input<Vec<u8>>,
    ) -> Result<Output<Vec<u8>>, GuestError> {
        let mut client = self.guest_client()?;
        let first =
            wire::ForwardRequest { vm_id: vm.to_string(), port: port.into(), data: Vec::new() };
        let input =
            first_then(first, input, |data| wire::ForwardRequest { data, ..Default::default() });
        let (request, guard) = held(input);
        self.stream(client.forward(request), Some(guard), |message| Some(message.data)).await
    }
}

fn size(size: TerminalSize) -> v1::TerminalSize {
    v1::TerminalSize { rows: size.rows, columns: size.columns }
}

fn exec_in(input: ExecIn) -> v1::ExecInput {
    use v1::exec_input::Input as Wire;
    let input = match input {
        ExecIn::Start(start) => Wire::Start(v1::ExecStart {
            command: start.command,
            environment: start.environment.into_iter().collect(),
            directory: start.directory,
            user: start.user,
            terminal: start.terminal.map(size),
        }),
        ExecIn::Stdin(bytes) => Wire::Stdin(bytes),
        ExecIn::StdinClosed => Wire::StdinClosed(v1::ExecStdinClosed {}),
        ExecIn::Resize(to) => Wire::Resize(size(to)),
        ExecIn::Signal(number) => Wire::Signal(number),
    };
    v1::ExecInput { input: Some(input) }
}

/// `None` for what a newer agent says and this server does not know.
fn exec_out(output: v1::ExecOutput) -> Option<ExecOut> {
    use v1::exec_output::Output as Wire;
    match output.output? {
        Wire::Started(started) => Some(ExecOut::Started { pid: started.pid }),
        Wire::Stdout(bytes) => Some(ExecOut::Stdout(bytes)),
        Wire::Stderr(bytes) => Some(ExecOut::Stderr(bytes)),
        Wire::Exited(exited) => match (exited.code, exited.signal) {
            (Some(code), _) => Some(ExecOut::Exited(code)),
            (None, Some(signal)) => Some(ExecOut::Killed(signal)),
            (None, None) => None,
        },
    }
}

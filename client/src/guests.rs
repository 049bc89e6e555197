//! Calls that reach a guest: its console, programs, files, connections.
//!
//! Each is a stream, most both ways. An input is sent through a [`GuestInput`], which waits while
//! the other end does not read; dropping it ends the input. Dropping the [`GuestStream`] ends the
//! call. Nothing is repeated when a connection breaks: what a program did by then is not known.

use banger_proto::v1::exec_input::Input;
use banger_proto::v1::vm_service_client::VmServiceClient;
use banger_proto::v1::{
    AttachConsoleRequest, AttachConsoleResponse, CopyFromVmRequest, CopyFromVmResponse,
    CopyToVmRequest, CopyToVmResponse, ExecInput, ExecStart, ExecVmRequest, ExecVmResponse,
    ForwardVmRequest, ForwardVmResponse,
};
use banger_wire::cancel::{Cancellable, cancel_on_drop};
use futures_util::stream::{self, Stream, StreamExt as _};
use tokio::sync::mpsc;
use tokio_util::sync::DropGuard;

use crate::connect::{Link, Transport};
use crate::error::{Call, ClientError};
use crate::vms::Vms;

/// Most bytes of data in one message.
pub use banger_proto::bounds::MAX_STREAM_DATA_BYTES;

/// Messages on their way to the connection; more wait at the sender.
const QUEUE: usize = 4;

/// The input of a stream.
#[derive(Debug, Clone)]
pub struct GuestInput<M>(mpsc::Sender<M>);

impl<M> GuestInput<M> {
    fn open(first: M) -> (Self, impl Stream<Item = M> + Send + 'static)
    where
        M: Send + 'static,
    {
        let (send, rest) = mpsc::channel(QUEUE);
        let rest = stream::unfold(rest, |mut rest: mpsc::Receiver<M>| async move {
            rest.recv().await.map(|message| (message, rest))
        });
        (Self(send), stream::once(std::future::ready(first)).chain(rest))
    }

    /// Sends, once there is room. `false`: the stream is over; how, its output says.
    pub async fn send(&self, message: M) -> bool {
        self.0.send(message).await.is_ok()
    }

    /// Sends if there is room right now.
    pub fn try_send(&self, message: M) -> bool {
        self.0.try_send(message).is_ok()
    }
}

/// The output of a stream.
#[derive(Debug)]
pub struct GuestStream<M> {
    link: Link,
    call: Call,
    messages: tonic::Streaming<M>,
    /// With it the call ends, whatever its input does.
    _held: Option<DropGuard>,
}

impl<M> GuestStream<M> {
    /// The next message; `None` at the end. Cancel-safe.
    ///
    /// # Errors
    /// The connection broke or the stream was ended with an error.
    pub async fn next(&mut self) -> Result<Option<M>, ClientError> {
        self.messages.message().await.map_err(|status| self.link.error(self.call, None, status))
    }
}

/// A message for a program.
#[must_use]
pub fn exec_input(input: Input) -> ExecVmRequest {
    ExecVmRequest { vm: String::new(), input: Some(ExecInput { input: Some(input) }) }
}

impl Vms {
    fn guest_rpc(&self) -> VmServiceClient<Cancellable<Transport>> {
        VmServiceClient::new(Cancellable(self.link.transport.clone()))
    }

    fn opened<M>(
        &self,
        call: Call,
        held: Option<DropGuard>,
        answer: Result<tonic::Response<tonic::Streaming<M>>, tonic::Status>,
    ) -> Result<GuestStream<M>, ClientError> {
        let messages = answer.map_err(|status| self.link.error(call, None, status))?.into_inner();
        Ok(GuestStream { link: self.link.clone(), call, messages, _held: held })
    }

    /// Attaches to the serial console, from `past` bytes ago on.
    ///
    /// # Errors
    /// `VM_NOT_FOUND`, `VM_NOT_PLACED`, `HOST_UNREACHABLE`, `CONSOLE_UNAVAILABLE`.
    pub async fn attach_console(
        &self,
        vm: &str,
        past: u64,
    ) -> Result<(GuestInput<AttachConsoleRequest>, GuestStream<AttachConsoleResponse>), ClientError>
    {
        let first =
            AttachConsoleRequest { vm: self.link.named(vm), tail_bytes: past, data: Vec::new() };
        let (input, messages) = GuestInput::open(first);
        let mut request = tonic::Request::new(messages);
        let held = cancel_on_drop(&mut request);
        let answer = self.guest_rpc().attach_console(request).await;
        Ok((input, self.opened(Call::change("AttachConsole"), Some(held), answer)?))
    }

    /// Runs a program in the guest. The input takes what [`exec_input`] makes.
    ///
    /// # Errors
    /// `VM_NOT_FOUND`, `VM_NOT_PLACED`, `HOST_UNREACHABLE`, fields that are wrong, and what the
    /// guest's agent says.
    pub async fn exec(
        &self,
        vm: &str,
        start: ExecStart,
    ) -> Result<(GuestInput<ExecVmRequest>, GuestStream<ExecVmResponse>), ClientError> {
        let first = ExecVmRequest { vm: self.link.named(vm), ..exec_input(Input::Start(start)) };
        let (input, messages) = GuestInput::open(first);
        let mut request = tonic::Request::new(messages);
        let held = cancel_on_drop(&mut request);
        let answer = self.guest_rpc().exec_vm(request).await;
        Ok((input, self.opened(Call::change("ExecVm"), Some(held), answer)?))
    }

    /// Unpacks a tar stream in a directory of the guest, which must be there. All entries have one
    /// first name; where the guest has a directory by that name, they go into it and that name
    /// becomes `own_name`, as `cp` has it, unless `own_name` is empty. To break off, drop the call:
    /// the end of `parts` is the end of the archive.
    ///
    /// # Errors
    /// As of [`Vms::exec`].
    pub async fn copy_to(
        &self,
        vm: &str,
        directory: &str,
        own_name: &str,
        parts: impl Stream<Item = Vec<u8>> + Send + 'static,
    ) -> Result<CopyToVmResponse, ClientError> {
        let first = CopyToVmRequest {
            vm: self.link.named(vm),
            directory: directory.to_owned(),
            own_name: own_name.to_owned(),
            data: Vec::new(),
        };
        let parts = parts.map(|data| CopyToVmRequest { data, ..CopyToVmRequest::default() });
        let messages = stream::once(std::future::ready(first)).chain(parts);
        let mut request = tonic::Request::new(messages);
        let _held = cancel_on_drop(&mut request);
        let answer = self.guest_rpc().copy_to_vm(request).await;
        let failed = |status| self.link.error(Call::change("CopyToVm"), None, status);
        Ok(answer.map_err(failed)?.into_inner())
    }

    /// Packs a file or directory of the guest into a tar stream. What comes is the guest's word:
    /// do not unpack it without care.
    ///
    /// # Errors
    /// As of [`Vms::exec`].
    pub async fn copy_from(
        &self,
        vm: &str,
        path: &str,
    ) -> Result<GuestStream<CopyFromVmResponse>, ClientError> {
        let request = CopyFromVmRequest { vm: self.link.named(vm), path: path.to_owned() };
        let answer = self.rpc.clone().copy_from_vm(request).await;
        self.opened(Call::read("CopyFromVm"), None, answer)
    }

    /// A connection to a TCP port of the guest's loopback. Dropping the input closes it in that
    /// direction.
    ///
    /// # Errors
    /// As of [`Vms::exec`].
    pub async fn forward(
        &self,
        vm: &str,
        port: u16,
    ) -> Result<(GuestInput<ForwardVmRequest>, GuestStream<ForwardVmResponse>), ClientError> {
        let first =
            ForwardVmRequest { vm: self.link.named(vm), port: port.into(), data: Vec::new() };
        let (input, messages) = GuestInput::open(first);
        let mut request = tonic::Request::new(messages);
        let held = cancel_on_drop(&mut request);
        let answer = self.guest_rpc().forward_vm(request).await;
        Ok((input, self.opened(Call::change("ForwardVm"), Some(held), answer)?))
    }
}

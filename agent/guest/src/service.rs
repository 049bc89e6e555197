//! The calls of `banger.guest.v1.GuestService`: read the first message, hand it on, answer.
//!
//! Driven by [`serve`], one HTTP/2 connection for each session of a link. Every call has the
//! lifetime of its stream: when the host lets go of it, its program is ended.

use std::path::PathBuf;
use std::sync::Arc;

use banger_proto::guest_v1::guest_service_server::{GuestService, GuestServiceServer};
use banger_proto::guest_v1::{
    CopyInRequest, CopyInResponse, CopyOutRequest, CopyOutResponse, ExecRequest, ExecResponse,
    ForwardRequest, ForwardResponse, HelloRequest, HelloResponse, SetTimeRequest, SetTimeResponse,
    ShutdownRequest, ShutdownResponse,
};
use banger_proto::v1::exec_input::Input;
use banger_wire::guest_link::MAX_MESSAGE;
use banger_wire::resets::ResetsAreErrors;
use tokio::io::DuplexStream;
use tokio::sync::{Semaphore, mpsc};
use tokio_stream::StreamExt as _;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

use crate::exec::users::Users;
use crate::{copy, exec, forward, power, status};

/// Calls with a stream that may be under way at once.
const MOST_STREAMS: usize = 64;

/// Messages of one stream that wait to be sent, each at most 64 KiB.
const WAITING: usize = 2;

/// The service.
#[derive(Debug, Clone)]
pub struct Guest {
    users: Users,
    streams: Arc<Semaphore>,
}

impl Guest {
    /// With the users of the files of `etc`, such as `/etc`.
    #[must_use]
    pub fn new(etc: PathBuf) -> Self {
        Self { users: Users::of(etc), streams: Arc::new(Semaphore::new(MOST_STREAMS)) }
    }

    fn permit(&self) -> Result<tokio::sync::OwnedSemaphorePermit, Status> {
        let permit = Arc::clone(&self.streams).try_acquire_owned();
        permit.map_err(|_| status::exhausted(format!("{MOST_STREAMS} streams are open already")))
    }
}

/// Serves sessions as they come, until no more can.
///
/// # Errors
/// The server could not be set up.
pub async fn serve(
    guest: Guest,
    sessions: mpsc::Receiver<DuplexStream>,
) -> Result<(), tonic::transport::Error> {
    let service = GuestServiceServer::new(guest)
        .max_decoding_message_size(MAX_MESSAGE)
        .max_encoding_message_size(MAX_MESSAGE);
    tonic::transport::Server::builder()
        .initial_stream_window_size(Some(256 * 1024))
        .initial_connection_window_size(Some(1024 * 1024))
        .layer(ResetsAreErrors)
        .add_service(service)
        .serve_with_incoming(ReceiverStream::new(sessions).map(Ok::<_, std::io::Error>))
        .await
}

/// A line of a small file of the kernel.
fn line_of(path: &str) -> Result<String, Status> {
    let text = std::fs::read_to_string(path);
    let text = text.map_err(|error| status::io(&format!("read {path}"), &error))?;
    Ok(text.trim().to_owned())
}

#[tonic::async_trait]
impl GuestService for Guest {
    async fn hello(
        &self,
        _request: Request<HelloRequest>,
    ) -> Result<Response<HelloResponse>, Status> {
        Ok(Response::new(HelloResponse {
            agent_version: env!("CARGO_PKG_VERSION").to_owned(),
            boot_id: line_of("/proc/sys/kernel/random/boot_id")?,
            hostname: line_of("/proc/sys/kernel/hostname")?,
        }))
    }

    type ExecStream = ReceiverStream<Result<ExecResponse, Status>>;

    async fn exec(
        &self,
        request: Request<Streaming<ExecRequest>>,
    ) -> Result<Response<Self::ExecStream>, Status> {
        let permit = self.permit()?;
        let mut inputs = request.into_inner();
        let first = inputs.message().await?.and_then(|first| first.input);
        let Some(Input::Start(start)) = first.and_then(|first| first.input) else {
            return Err(status::invalid("the first message must start a program"));
        };
        let running = exec::start(&self.users, start)?;
        let (outputs, stream) = mpsc::channel(WAITING);
        tokio::spawn(async move {
            running.attend(inputs, outputs).await;
            drop(permit);
        });
        Ok(Response::new(ReceiverStream::new(stream)))
    }

    async fn copy_in(
        &self,
        request: Request<Streaming<CopyInRequest>>,
    ) -> Result<Response<CopyInResponse>, Status> {
        let _permit = self.permit()?;
        let mut chunks = request.into_inner();
        let first = chunks.message().await?;
        let first = first.ok_or_else(|| status::invalid("there is no message"))?;
        copy::copy_in(first, chunks).await.map(Response::new)
    }

    type CopyOutStream = ReceiverStream<Result<CopyOutResponse, Status>>;

    async fn copy_out(
        &self,
        request: Request<CopyOutRequest>,
    ) -> Result<Response<Self::CopyOutStream>, Status> {
        let permit = self.permit()?;
        let (chunks, stream) = mpsc::channel(WAITING);
        copy::copy_out(&request.into_inner().path, chunks, permit)?;
        Ok(Response::new(ReceiverStream::new(stream)))
    }

    type ForwardStream = ReceiverStream<Result<ForwardResponse, Status>>;

    async fn forward(
        &self,
        request: Request<Streaming<ForwardRequest>>,
    ) -> Result<Response<Self::ForwardStream>, Status> {
        let permit = self.permit()?;
        let mut chunks = request.into_inner();
        let first = chunks.message().await?;
        let first = first.ok_or_else(|| status::invalid("there is no message"))?;
        let connection = forward::connect(first.port).await?;
        let (outputs, stream) = mpsc::channel(WAITING);
        tokio::spawn(async move {
            forward::carry(connection, first.data, chunks, outputs).await;
            drop(permit);
        });
        Ok(Response::new(ReceiverStream::new(stream)))
    }

    async fn shutdown(
        &self,
        request: Request<ShutdownRequest>,
    ) -> Result<Response<ShutdownResponse>, Status> {
        // First: whoever is asked may end this process at once.
        eprintln!("banger-guest: the host asked for a shutdown");
        power::shut_down(request.into_inner().reboot)?;
        Ok(Response::new(ShutdownResponse {}))
    }

    async fn set_time(
        &self,
        request: Request<SetTimeRequest>,
    ) -> Result<Response<SetTimeResponse>, Status> {
        let time = request.into_inner().time;
        power::set_time(time.ok_or_else(|| status::invalid("time is missing"))?)?;
        Ok(Response::new(SetTimeResponse {}))
    }
}

#[cfg(test)]
mod tests;

//! Streams of a VM's console: `ReadConsole`, and `AttachConsole` both ways.
//!
//! What is printed is pulled by the reader: one that does not read holds up nothing but itself, and
//! is told in the stream what it lost. What is typed is pulled by the guest. A stream ends with its
//! VM; with the agent it ends UNAVAILABLE. What can go wrong: nobody knows the VM here, or its
//! console has no input.

use std::collections::VecDeque;
use std::sync::Arc;

use banger_proto::agent_v1 as wire;
use banger_proto::bounds::MAX_STREAM_DATA_BYTES;
use banger_proto::ids::VmId;
use banger_proto::words::counted;
use futures_util::stream::{self, BoxStream, Stream, StreamExt as _};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;
use tonic::Status;

use super::convert::{self, WireError};
use super::{AgentApi, VmConsole, status};
use crate::host::{Feed, Heard};

type Messages<T> = BoxStream<'static, Result<T, Status>>;

/// What is kept and, when it is to be followed, what comes.
pub(super) async fn read<A: AgentApi>(
    api: Arc<A>,
    request: wire::ReadConsoleRequest,
) -> Result<Messages<wire::ReadConsoleResponse>, Status> {
    let vm = vm_of(&request.vm_id)?;
    let opened = open(&*api, vm, request.tail_bytes).await?;
    let printed = printed(opened, request.follow, api.draining(), None);
    Ok(printed.map(|data| data.map(|data| wire::ReadConsoleResponse { data })).boxed())
}

/// What is kept and what comes, while what the other side sends is typed.
pub(super) async fn attach<A: AgentApi, S>(
    api: Arc<A>,
    mut typed: S,
) -> Result<Messages<wire::AttachConsoleResponse>, Status>
where
    S: Stream<Item = Result<wire::AttachConsoleRequest, Status>> + Send + Unpin + 'static,
{
    let Some(first) = typed.next().await.transpose()? else {
        return Err(invalid("vm_id", "the stream ended before its first message"));
    };
    let vm = vm_of(&first.vm_id)?;
    check_size(&first.data)?;
    let opened = open(&*api, vm, first.tail_bytes).await?;
    // Says at once whether there is anything to type into.
    api.type_in(vm, &[]).await.map_err(|error| status::no_console(vm, &error))?;
    let draining = api.draining();
    let typing = AbortOnDropHandle::new(tokio::spawn(type_all(api, vm, first.data, typed)));
    let printed = printed(opened, true, draining, Some(typing));
    Ok(printed.map(|data| data.map(|data| wire::AttachConsoleResponse { data })).boxed())
}

/// Types until the other side has no more, which is no error.
async fn type_all<A: AgentApi>(
    api: Arc<A>,
    vm: VmId,
    mut data: Vec<u8>,
    mut typed: impl Stream<Item = Result<wire::AttachConsoleRequest, Status>> + Unpin,
) -> Result<(), Status> {
    loop {
        check_size(&data)?;
        if !data.is_empty() {
            let typing = api.type_in(vm, &data).await;
            typing.map_err(|error| status::no_console(vm, &error))?;
        }
        match typed.next().await.transpose()? {
            Some(next) => data = next.data,
            None => return Ok(()),
        }
    }
}

fn vm_of(text: &str) -> Result<VmId, Status> {
    convert::vm_id("vm_id", text).map_err(|error| status::invalid(&error))
}

fn invalid(field: &str, problem: impl Into<String>) -> Status {
    status::invalid(&WireError { field: field.to_owned(), problem: problem.into() })
}

fn check_size(data: &[u8]) -> Result<(), Status> {
    if data.len() <= MAX_STREAM_DATA_BYTES {
        return Ok(());
    }
    Err(invalid("data", format!("is more than {MAX_STREAM_DATA_BYTES} bytes")))
}

async fn open<A: AgentApi>(api: &A, vm: VmId, past: u64) -> Result<VmConsole, Status> {
    let opened = api.console(vm, past).await;
    opened.map_err(|error| status::no_console(vm, &error))?.ok_or_else(|| status::not_held(vm))
}

/// A reader's place.
struct Reader {
    past: VecDeque<u8>,
    live: Option<Feed>,
    gone: CancellationToken,
    draining: CancellationToken,
    /// Ends with an error when something could not be typed.
    typing: Option<AbortOnDropHandle<Result<(), Status>>>,
}

fn printed(
    VmConsole { console, gone }: VmConsole,
    follow: bool,
    draining: CancellationToken,
    typing: Option<AbortOnDropHandle<Result<(), Status>>>,
) -> impl Stream<Item = Result<Vec<u8>, Status>> + Send {
    let live = follow.then_some(console.live);
    let reader = Reader { past: console.past.into(), live, gone, draining, typing };
    stream::unfold(Some(reader), |reader| async {
        let mut reader = reader?;
        match reader.next().await? {
            Ok(data) => Some((Ok(data), Some(reader))),
            Err(status) => Some((Err(status), None)),
        }
    })
}

impl Reader {
    async fn next(&mut self) -> Option<Result<Vec<u8>, Status>> {
        if !self.past.is_empty() {
            let part = self.past.len().min(MAX_STREAM_DATA_BYTES);
            return Some(Ok(self.past.drain(..part).collect()));
        }
        let live = self.live.as_mut()?;
        // Cancel-safe: of the feed, and a task that ended is only looked at once. What was printed
        // goes before the end of its VM: a guest's last words. A guest that prints without end
        // keeps no agent from stopping.
        tokio::select! {
            biased;
            () = self.draining.cancelled() => Some(Err(status::shutting_down())),
            heard = live.next() => heard.map(|heard| Ok(words(heard))),
            failed = failure(&mut self.typing) => Some(Err(failed)),
            () = self.gone.cancelled() => None,
        }
    }
}

fn words(heard: Heard) -> Vec<u8> {
    match heard {
        Heard::Bytes(bytes) => bytes.to_vec(),
        Heard::Lost(bytes) => {
            let bytes = counted(bytes, "byte");
            format!("\r\n[banger: {bytes} of the console came too fast, and nobody has them]\r\n")
                .into_bytes()
        }
    }
}

/// Until something could not be typed; never when all was typed.
async fn failure(typing: &mut Option<AbortOnDropHandle<Result<(), Status>>>) -> Status {
    if let Some(task) = typing {
        let ended = task.await;
        *typing = None;
        // Else no more comes, or it ended by a defect that was logged: the reader reads on.
        if let Ok(Err(status)) = ended {
            return status;
        }
    }
    std::future::pending().await
}

#[cfg(test)]
mod tests;

//! The calls that end in a guest: read the first message, find the guest agent, hand on.
//!
//! Driven by the service. A stream of the server's becomes a stream to the guest, with the flow
//! control of both: whoever is slow holds up the other end and nothing is gathered between. Where
//! the server ends its requests the guest's end; where it breaks them off, or lets go of the call,
//! they never end, which would look whole to the guest, but its stream is reset. This is also the
//! one edge where answers of a guest come in, and each has its price here, however many a guest
//! packs together. What can go wrong: the guest agent is not reached, refuses, or is lost in the
//! middle; whatever it says of that is shortened.

use std::sync::Arc;
use std::time::Duration;

use banger_proto::agent_v1 as wire;
use banger_proto::guest_v1 as guest;
use banger_proto::ids::VmId;
use banger_proto::v1::ExecInput;
use banger_proto::v1::exec_input::Input;
use banger_proto::v1::exec_output::Output;
use banger_wire::cancel::cancel_on_drop;
use banger_wire::guest_link::MAX_CHUNK;
use banger_wire::guest_link::pace::Answers;
use futures_util::StreamExt as _;
use futures_util::stream::{self, BoxStream, Stream};
use tokio::sync::oneshot;
use tokio::time::timeout;
use tokio_util::sync::DropGuard;
use tonic::{Request, Response, Status, Streaming};

use super::convert::{self, WireError};
use super::{AgentApi, status};
use crate::guests::GuestClient;

/// How long the first message of a stream may take.
const FIRST: Duration = Duration::from_secs(10);

/// How long the guest may take to begin: an emulated one is slow.
const BEGIN: Duration = Duration::from_secs(60);

/// What a call with a stream of answers gives.
pub(super) type AnswerStream<T> = BoxStream<'static, Result<T, Status>>;

async fn first<T>(messages: &mut Streaming<T>) -> Result<T, Status> {
    let nothing = || {
        status::invalid(&WireError {
            field: "the first message".to_owned(),
            problem: format!("did not come within {} s", FIRST.as_secs()),
        })
    };
    timeout(FIRST, messages.message()).await.map_err(|_| nothing())??.ok_or_else(nothing)
}

fn guest_of(api: &impl AgentApi, vm: &str) -> Result<(VmId, GuestClient), Status> {
    let vm = convert::vm_id("vm_id", vm).map_err(|error| status::invalid(&error))?;
    match api.guest(vm) {
        Some(Ok(guest)) => Ok((vm, guest)),
        Some(Err(why)) => Err(status::no_guest(vm, why)),
        None => Err(status::no_assignment(vm)),
    }
}

/// Where it is told that the server has broken off its requests.
type BreaksOff = oneshot::Receiver<Status>;

/// The requests of a stream of the server's. Where they are broken off they never end.
fn requests<T: Send + 'static>(
    messages: Streaming<T>,
) -> (impl Stream<Item = T> + Send + 'static, BreaksOff) {
    let (tell, broken) = oneshot::channel();
    let requests = stream::unfold((messages, tell), |(mut messages, tell)| async {
        match messages.message().await {
            Ok(message) => message.map(|message| (message, (messages, tell))),
            Err(status) => {
                // Nobody listens when the call is over already.
                let _ = tell.send(status);
                std::future::pending().await
            }
        }
    });
    (requests, broken)
}

/// Until it is told that the requests were broken off; never when they ended.
async fn told(broken: &mut Option<BreaksOff>) -> Status {
    if let Some(told) = broken {
        let status = told.await;
        *broken = None;
        if let Ok(status) = status {
            return status;
        }
    }
    std::future::pending().await
}

/// A call to a guest that is reset when its guard is dropped, whatever its requests do.
fn held<S>(requests: S) -> (Request<S>, DropGuard) {
    let mut request = Request::new(requests);
    let guard = cancel_on_drop(&mut request);
    (request, guard)
}

/// Data in pieces that a guest takes.
fn pieces(data: Vec<u8>) -> Vec<Vec<u8>> {
    if data.len() <= MAX_CHUNK {
        return vec![data];
    }
    data.chunks(MAX_CHUNK).map(<[u8]>::to_vec).collect()
}

/// One input as messages for the guest.
fn inputs(input: Option<ExecInput>) -> Vec<guest::ExecRequest> {
    match input.and_then(|input| input.input) {
        Some(Input::Stdin(data)) => pieces(data)
            .into_iter()
            .map(|piece| guest::ExecRequest {
                input: Some(ExecInput { input: Some(Input::Stdin(piece)) }),
            })
            .collect(),
        input => vec![guest::ExecRequest { input: Some(ExecInput { input }) }],
    }
}

/// When a guest has begun to answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Begins {
    /// When it says that it is going to.
    Head,
    /// When it has said something. A program that has begun is told of at once, and until then
    /// nothing runs that could be waited for.
    Word,
}

/// What is held as long as a stream of answers.
struct Call<H> {
    /// Where it is told that its requests broke off.
    broken: Option<BreaksOff>,
    /// How fast its answers are taken.
    pace: Arc<Answers>,
    /// Its place among the calls, and what resets it.
    _held: H,
}

/// An answer of a guest, as it goes on.
trait GuestAnswer {
    type To: Send + 'static;

    /// How much data is in it.
    fn data(&self) -> usize;

    fn into_wire(self) -> Self::To;
}

/// Waits for a guest to begin its answer, and hands that on.
async fn begun<T, H>(
    vm: VmId,
    guest: impl Future<Output = Result<Response<Streaming<T>>, Status>>,
    begins: Begins,
    call: Call<H>,
) -> Result<Response<AnswerStream<T::To>>, Status>
where
    T: GuestAnswer + Send + 'static,
    H: Send + 'static,
{
    let beginning = async {
        let refused = |why| status::of_guest(vm, &why);
        let mut answers = guest.await.map_err(refused)?.into_inner();
        let (first, rest) = match begins {
            Begins::Head => (None, Some(answers)),
            Begins::Word => match answers.message().await.map_err(refused)? {
                Some(first) => (Some(first), Some(answers)),
                None => (None, None),
            },
        };
        Ok::<_, Status>(stream::iter(first).map(Ok).chain(stream::iter(rest).flatten()))
    };
    let answers = timeout(BEGIN, beginning).await.map_err(|_| status::guest_lost(vm))??;
    let state = Some((Box::pin(answers), call));
    let answers = stream::unfold(state, move |state| async move {
        let (mut answers, mut call) = state?;
        // Cancel-safe: an answer is taken only where it is handed out.
        let answer = tokio::select! {
            biased;
            answer = answers.next() => answer?.map_err(|why| status::of_guest(vm, &why)),
            why = told(&mut call.broken) => Err(why),
        };
        if let Ok(answer) = &answer {
            call.pace.pay(answer.data()).await;
        }
        let rest = answer.is_ok().then_some((answers, call));
        Some((answer.map(T::into_wire), rest))
    });
    Ok(Response::new(answers.boxed()))
}

impl GuestAnswer for guest::ExecResponse {
    type To = wire::ExecResponse;

    fn data(&self) -> usize {
        match self.output.as_ref().and_then(|output| output.output.as_ref()) {
            Some(Output::Stdout(data) | Output::Stderr(data)) => data.len(),
            Some(Output::Started(_) | Output::Exited(_)) | None => 0,
        }
    }

    fn into_wire(self) -> Self::To {
        wire::ExecResponse { output: self.output }
    }
}

impl GuestAnswer for guest::CopyOutResponse {
    type To = wire::CopyOutResponse;

    fn data(&self) -> usize {
        self.data.len()
    }

    fn into_wire(self) -> Self::To {
        wire::CopyOutResponse { data: self.data }
    }
}

impl GuestAnswer for guest::ForwardResponse {
    type To = wire::ForwardResponse;

    fn data(&self) -> usize {
        self.data.len()
    }

    fn into_wire(self) -> Self::To {
        wire::ForwardResponse { data: self.data }
    }
}

pub(super) async fn exec(
    api: &impl AgentApi,
    mut messages: Streaming<wire::ExecRequest>,
) -> Result<Response<AnswerStream<wire::ExecResponse>>, Status> {
    let first = first(&mut messages).await?;
    let (vm, GuestClient { mut client, place, answers: pace }) = guest_of(api, &first.vm_id)?;
    let (rest, broken) = requests(messages);
    let rest = rest.flat_map(|message| stream::iter(inputs(message.input)));
    let (request, guard) = held(stream::iter(inputs(first.input)).chain(rest));
    let call = Call { broken: Some(broken), pace, _held: (place, guard) };
    begun(vm, client.exec(request), Begins::Word, call).await
}

pub(super) async fn copy_in(
    api: &impl AgentApi,
    mut messages: Streaming<wire::CopyInRequest>,
) -> Result<Response<wire::CopyInResponse>, Status> {
    let first = first(&mut messages).await?;
    let (vm, GuestClient { mut client, place, .. }) = guest_of(api, &first.vm_id)?;
    let of = |data: Vec<u8>| {
        stream::iter(pieces(data))
            .map(|data| guest::CopyInRequest { data, ..guest::CopyInRequest::default() })
    };
    let head = guest::CopyInRequest {
        directory: first.directory,
        own_name: first.own_name,
        data: Vec::new(),
    };
    let (rest, broken) = requests(messages);
    let rest = rest.flat_map(move |message| of(message.data));
    let (request, guard) = held(stream::iter([head]).chain(of(first.data)).chain(rest));
    let mut broken = Some(broken);
    // Cancel-safe: what is dropped is the call, which resets it.
    let answer = tokio::select! {
        biased;
        answer = client.copy_in(request) => answer.map_err(|why| status::of_guest(vm, &why))?,
        why = told(&mut broken) => return Err(why),
    };
    drop((place, guard));
    let guest::CopyInResponse { entries, bytes } = answer.into_inner();
    Ok(Response::new(wire::CopyInResponse { entries, bytes }))
}

pub(super) async fn copy_out(
    api: &impl AgentApi,
    request: wire::CopyOutRequest,
) -> Result<Response<AnswerStream<wire::CopyOutResponse>>, Status> {
    let (vm, GuestClient { mut client, place, answers: pace }) = guest_of(api, &request.vm_id)?;
    let asked = client.copy_out(guest::CopyOutRequest { path: request.path });
    begun(vm, asked, Begins::Head, Call { broken: None, pace, _held: place }).await
}

pub(super) async fn forward(
    api: &impl AgentApi,
    mut messages: Streaming<wire::ForwardRequest>,
) -> Result<Response<AnswerStream<wire::ForwardResponse>>, Status> {
    let first = first(&mut messages).await?;
    let (vm, GuestClient { mut client, place, answers: pace }) = guest_of(api, &first.vm_id)?;
    let of = |data: Vec<u8>| {
        stream::iter(pieces(data)).map(|data| guest::ForwardRequest { port: 0, data })
    };
    let head = guest::ForwardRequest { port: first.port, data: Vec::new() };
    let (rest, broken) = requests(messages);
    let rest = rest.flat_map(move |message| of(message.data));
    let (request, guard) = held(stream::iter([head]).chain(of(first.data)).chain(rest));
    let call = Call { broken: Some(broken), pace, _held: (place, guard) };
    begun(vm, client.forward(request), Begins::Head, call).await
}

#[cfg(test)]
mod tests;

//! How many streams to guests are open, what goes into one, and what ends it.
//!
//! A [`Permit`] is held as long as its stream. [`Inputs`] turns what a client sends into what a
//! link takes: where the client breaks off or sends what makes no sense, the input does not end,
//! which would look whole to the guest, but the stream does, with an error. A [`Guard`] watches for
//! the ends that neither side says.

use std::collections::HashMap;
use std::fmt;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use banger_proto::ids::VmId;
use futures_util::{FutureExt as _, Stream, StreamExt as _, stream};
use parking_lot::Mutex;
use tokio::sync::oneshot;
use tokio::time::Instant;
use tonic::Status;
use tonic::metadata::MetadataMap;

use crate::api::uses::Use;
use crate::api::{ResponseStream, status};
use crate::fleet::guests::{GuestError, Input, Output};
use crate::model::status::VmState;
use crate::watch::{View, VmWait};

/// Streams that may be open to one VM.
pub const MAX_STREAMS_PER_VM: usize = 64;

/// The streams that are open to each VM. How many a party has is for the layer that every call
/// passes ([`crate::api::auth::parties`]). Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Streams(Arc<Mutex<HashMap<VmId, usize>>>);

/// Room for one stream, given back when it is dropped.
pub struct Permit {
    streams: Streams,
    vm: VmId,
}

impl fmt::Debug for Permit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Permit").field("vm", &self.vm).finish_non_exhaustive()
    }
}

impl Streams {
    /// Takes room for one more.
    ///
    /// # Errors
    /// `LIMIT_REACHED`, with the limit.
    pub fn admit(&self, vm: VmId) -> Result<Permit, Status> {
        let mut open = self.0.lock();
        let count = open.entry(vm).or_default();
        if *count >= MAX_STREAMS_PER_VM {
            return Err(status::limit_reached(MAX_STREAMS_PER_VM, "open streams to one VM"));
        }
        *count += 1;
        Ok(Permit { streams: self.clone(), vm })
    }

    /// How many are open.
    pub fn open(&self) -> usize {
        self.0.lock().values().sum()
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let mut open = self.streams.0.lock();
        if let Some(count) = open.get_mut(&self.vm) {
            *count -= 1;
            if *count == 0 {
                open.remove(&self.vm);
            }
        }
    }
}

/// Where it is told that the input can't go on.
pub(super) type Faults = oneshot::Receiver<Status>;

/// What a client sends.
pub(super) struct Inputs;

impl Inputs {
    /// From its first message, which was read, and the rest.
    pub(super) fn of<M, T, S>(
        first: Option<T>,
        rest: S,
        read: fn(M) -> Result<Option<T>, Status>,
    ) -> (Input<T>, Faults)
    where
        S: Stream<Item = Result<M, Status>> + Send + Unpin + 'static,
        M: Send + 'static,
        T: Send + 'static,
    {
        let (fault, faults) = oneshot::channel();
        let rest = stream::unfold((rest, Some(fault)), move |(mut rest, mut fault)| async move {
            loop {
                let message = rest.next().await?.and_then(read);
                match message {
                    Ok(Some(item)) => return Some((item, (rest, fault))),
                    Ok(None) => {}
                    Err(status) => {
                        if let Some(fault) = fault.take() {
                            // Nobody listens when the stream is over already.
                            let _ = fault.send(status);
                        }
                        std::future::pending::<()>().await;
                    }
                }
            }
        });
        (stream::iter(first).chain(rest).boxed(), faults)
    }
}

/// The deadline that came with a call, as `grpc-timeout` of the gRPC protocol: up to eight digits
/// and a unit.
pub(super) fn deadline(metadata: &MetadataMap) -> Option<Instant> {
    let text = metadata.get("grpc-timeout")?.to_str().ok()?;
    let (number, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let number: u64 = number.parse().ok().filter(|_| number.len() <= 8)?;
    let timeout = match unit {
        "H" => Duration::from_secs(number * 3600),
        "M" => Duration::from_secs(number * 60),
        "S" => Duration::from_secs(number),
        "m" => Duration::from_millis(number),
        "u" => Duration::from_micros(number),
        "n" => Duration::from_nanos(number),
        _ => return None,
    };
    Instant::now().checked_add(timeout)
}

/// Until the input can't go on; never when it ended as it should. Cancel-safe.
async fn fault(faults: &mut Option<Faults>) -> Status {
    if let Some(told) = faults {
        let told = told.await;
        // A receiver that has answered must not be asked again.
        *faults = None;
        if let Ok(status) = told {
            return status;
        }
    }
    std::future::pending().await
}

/// How many messages go before anything else that ends their stream is looked at.
const PATIENCE: u32 = 64;

/// What comes next of a stream.
enum Next<T> {
    Item(Result<T, GuestError>),
    /// It has ended by itself.
    Over,
    /// Something else has ended it.
    Ended(Status),
}

/// What is there goes first, so that nobody loses the last words of a program; but not for ever: a
/// guest that never stops talking is heard no longer than one that says nothing. `turn` counts what
/// was handed out. Cancel-safe: a message is taken only where it is handed out.
async fn next_of<T>(
    output: &mut Output<T>,
    ended: impl Future<Output = Status>,
    turn: u32,
) -> Next<T> {
    let mut ended = pin!(ended);
    if turn % PATIENCE == PATIENCE - 1
        && let Some(status) = ended.as_mut().now_or_never()
    {
        return Next::Ended(status);
    }
    tokio::select! {
        biased;
        item = output.next() => item.map_or(Next::Over, Next::Item),
        status = ended => Next::Ended(status),
    }
}

/// What ends a stream besides its two ends.
pub(super) struct Guard {
    view: Arc<View>,
    wait: VmWait,
    deadline: Option<Instant>,
    faults: Option<Faults>,
    _permit: Permit,
}

impl Guard {
    pub(super) fn new(
        view: &Arc<View>,
        vm: VmId,
        deadline: Option<Instant>,
        faults: Option<Faults>,
        permit: Permit,
    ) -> Self {
        Self { view: Arc::clone(view), wait: view.wait(vm), deadline, faults, _permit: permit }
    }

    /// Until something else ends the stream. Cancel-safe: it only looks.
    async fn ended(&mut self) -> Status {
        let gone = self.wait.until(|record| match record {
            Some(record) if record.status.state != VmState::Deleted => None,
            Some(_) | None => Some(()),
        });
        let late = async {
            match self.deadline {
                Some(deadline) => tokio::time::sleep_until(deadline).await,
                None => std::future::pending().await,
            }
        };
        let ended = tokio::select! {
            status = fault(&mut self.faults) => status,
            () = gone => status::vm_gone(),
            () = late => status::deadline_exceeded("the deadline of the call has passed"),
            () = self.view.draining() => status::shutting_down(),
        };
        ended
    }

    /// Does something whole, unless the stream ends first.
    pub(super) async fn until<T>(mut self, work: impl Future<Output = T>) -> Result<T, Status> {
        tokio::select! {
            biased;
            done = work => Ok(done),
            status = self.ended() => Err(status),
        }
    }

    /// Hands out what comes until it, or the guard, ends the stream, and tells how it ended.
    pub(super) fn around<T: Send + 'static, M: Send + 'static>(
        self,
        output: Output<T>,
        message: fn(T) -> M,
        using: Use,
        failed: impl Fn(&GuestError) -> Status + Send + 'static,
    ) -> ResponseStream<M> {
        let state = Some((self, output, using, failed, 0));
        Box::pin(stream::unfold(state, move |state| async move {
            let (mut guard, mut output, mut using, failed, turn) = state?;
            let next = match next_of(&mut output, guard.ended(), turn).await {
                Next::Item(Ok(item)) => Ok(message(item)),
                Next::Item(Err(failure)) => Err(failed(&failure)),
                Next::Over => {
                    using.end(Ok(()));
                    return None;
                }
                Next::Ended(status) => Err(status),
            };
            Some(match next {
                Ok(message) => {
                    (Ok(message), Some((guard, output, using, failed, turn.wrapping_add(1))))
                }
                Err(status) => {
                    using.end::<()>(Err(&status));
                    (Err(status), None)
                }
            })
        }))
    }
}

#[cfg(test)]
mod tests;

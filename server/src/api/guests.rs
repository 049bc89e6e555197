//! Calls that reach a guest: its console, programs, files, connections.
//!
//! A proxy. The first message of a client says what is wanted of which VM; it is checked here, and
//! the stream is joined with one of the agent of the VM's host ([`GuestLink`]). From there on both
//! directions are pulled, so that a slow end slows the other and nothing is kept here. A stream ends
//! with what the agent says, with its VM, with the call's own deadline, and with the server. What
//! can go wrong besides: the VM has no host, the host can't be reached, too many streams are open.
//!
//! [`streams`] counts them and ends them, [`convert`] is messages to the model and back.

mod convert;
pub mod streams;

use std::sync::Arc;
use std::time::Duration;

use banger_proto::v1;
use futures_util::Stream;
use tonic::{Request, Status};

use self::streams::{Guard, Inputs, Permit};
use super::auth::Principal;
use super::vms::Vms;
use super::{ResponseStream, status};
use crate::fleet::guests::{GuestError, GuestLink};
use crate::model::guest::{ExecIn, check_path};
use crate::model::history::{EventKind, HistoryEvent};
use crate::model::ledger::{Mutation, Submission};
use crate::model::spec::SpecProblem;
use crate::watch::VmRecord;

/// How long a client may take to say what it wants.
const FIRST_MESSAGE: Duration = Duration::from_secs(15);

/// A guest that can be asked.
struct Reached {
    record: Arc<VmRecord>,
    link: Arc<dyn GuestLink>,
    permit: Permit,
}

/// What is known of a call before its first message.
struct Caller {
    principal: Arc<str>,
    submission: Submission,
    deadline: Option<tokio::time::Instant>,
}

impl Vms {
    fn caller<T>(&self, request: &Request<T>) -> Caller {
        let nothing_yet = Mutation::Record { events: Vec::new() };
        let submission = self.api.submission(request, nothing_yet);
        let principal = request.extensions().get::<Principal>();
        let principal = principal.map_or("unknown", Principal::name).into();
        Caller { principal, submission, deadline: streams::deadline(request.metadata()) }
    }

    /// Finds the VM's host, and room for one more stream.
    fn reach(&self, vm: &str, caller: &Caller) -> Result<Reached, Status> {
        let record = self.find(vm)?;
        let name = &record.intent.name;
        let Some(host) = record.intent.host else { return Err(status::vm_not_placed(name)) };
        let permit = self.api.streams.admit(record.id(), &caller.principal)?;
        let link = self.api.fleet.ready_link(host).and_then(|link| link.guests());
        let Some(link) = link else {
            let host = self.api.view.host(host).map(|host| host.view.record.name.clone());
            let host = host.unwrap_or_default();
            return Err(status::guest_lost(name, &host, "the server has no contact to it"));
        };
        Ok(Reached { record, link, permit })
    }

    fn failed(&self, record: &VmRecord, failure: &GuestError) -> Status {
        let host = record.intent.host.and_then(|host| self.api.view.host(host));
        let host = host.map(|host| host.view.record.name.clone()).unwrap_or_default();
        status::guest_failed(&record.intent.name, &host, failure)
    }

    /// Joins what an agent sends with everything else that ends the stream.
    fn joined<T: Send + 'static, M: Send + 'static>(
        &self,
        reached: Reached,
        caller: &Caller,
        output: crate::fleet::guests::Output<T>,
        faults: Option<streams::Faults>,
        message: fn(T) -> M,
    ) -> ResponseStream<M> {
        let Reached { record, permit, .. } = reached;
        let guard = Guard::new(&self.api.view, record.id(), caller.deadline, faults, permit);
        let this = self.clone();
        guard.around(output, message, move |failure| this.failed(&record, failure))
    }

    pub(super) async fn console_read(
        &self,
        request: Request<v1::ReadConsoleRequest>,
    ) -> Result<ResponseStream<v1::ReadConsoleResponse>, Status> {
        let caller = self.caller(&request);
        let v1::ReadConsoleRequest { vm, follow, tail_bytes } = request.into_inner();
        let reached = self.reach(&vm, &caller)?;
        let output = reached.link.read_console(reached.record.id(), tail_bytes, follow).await;
        let output = output.map_err(|failure| self.failed(&reached.record, &failure))?;
        Ok(self.joined(reached, &caller, output, None, |data| v1::ReadConsoleResponse { data }))
    }

    pub(super) async fn console_attach<S>(
        &self,
        request: Request<S>,
    ) -> Result<ResponseStream<v1::AttachConsoleResponse>, Status>
    where
        S: Stream<Item = Result<v1::AttachConsoleRequest, Status>> + Send + Unpin + 'static,
    {
        let caller = self.caller(&request);
        let (first, rest) = first_of(request.into_inner()).await?;
        let v1::AttachConsoleRequest { vm, tail_bytes, data } = first;
        let (input, faults) =
            Inputs::of(convert::data(data)?, rest, |message| convert::data(message.data));
        let reached = self.reach(&vm, &caller)?;
        let vm = reached.record.id();
        let output = reached.link.attach_console(vm, tail_bytes, input).await;
        let output = output.map_err(|failure| self.failed(&reached.record, &failure))?;
        Ok(self.joined(reached, &caller, output, Some(faults), |data| v1::AttachConsoleResponse {
            data,
        }))
    }

    pub(super) async fn exec<S>(
        &self,
        request: Request<S>,
    ) -> Result<ResponseStream<v1::ExecVmResponse>, Status>
    where
        S: Stream<Item = Result<v1::ExecVmRequest, Status>> + Send + Unpin + 'static,
    {
        let mut caller = self.caller(&request);
        let (first, rest) = first_of(request.into_inner()).await?;
        let start = convert::exec_start(first.input)?;
        let shown = start.shown();
        let reached = self.reach(&first.vm, &caller)?;
        // First in the history, then in the guest: what can't be told is not done.
        let event = executed(&reached.record, &caller.submission, &shown);
        caller.submission.mutation = Mutation::Record { events: vec![event] };
        let recorded = self.api.store.submit(caller.submission.clone()).await;
        recorded.map_err(status::mutation_failed)?;
        let (input, faults) = Inputs::of(Some(ExecIn::Start(start)), rest, |message| {
            convert::exec_in(message.input).map(Some)
        });
        let output = reached.link.exec(reached.record.id(), input).await;
        let output = output.map_err(|failure| self.failed(&reached.record, &failure))?;
        Ok(self.joined(reached, &caller, output, Some(faults), |output| v1::ExecVmResponse {
            output: Some(convert::exec_out(output)),
        }))
    }

    pub(super) async fn copy_in<S>(
        &self,
        request: Request<S>,
    ) -> Result<v1::CopyToVmResponse, Status>
    where
        S: Stream<Item = Result<v1::CopyToVmRequest, Status>> + Send + Unpin + 'static,
    {
        let caller = self.caller(&request);
        let (first, rest) = first_of(request.into_inner()).await?;
        let v1::CopyToVmRequest { vm, directory, data } = first;
        check_path(&directory).map_err(|why| status::invalid_field("directory", why))?;
        let (input, faults) =
            Inputs::of(convert::data(data)?, rest, |message| convert::data(message.data));
        let Reached { record, link, permit } = self.reach(&vm, &caller)?;
        let copying = link.copy_in(record.id(), directory, input);
        let guard = Guard::new(&self.api.view, record.id(), caller.deadline, Some(faults), permit);
        let copied = guard.until(copying).await?;
        let copied = copied.map_err(|failure| self.failed(&record, &failure))?;
        Ok(v1::CopyToVmResponse { entries: copied.entries, bytes: copied.bytes })
    }

    pub(super) async fn copy_out(
        &self,
        request: Request<v1::CopyFromVmRequest>,
    ) -> Result<ResponseStream<v1::CopyFromVmResponse>, Status> {
        let caller = self.caller(&request);
        let v1::CopyFromVmRequest { vm, path } = request.into_inner();
        check_path(&path).map_err(|why| status::invalid_field("path", why))?;
        let reached = self.reach(&vm, &caller)?;
        let output = reached.link.copy_out(reached.record.id(), path).await;
        let output = output.map_err(|failure| self.failed(&reached.record, &failure))?;
        Ok(self.joined(reached, &caller, output, None, |data| v1::CopyFromVmResponse { data }))
    }

    pub(super) async fn forward<S>(
        &self,
        request: Request<S>,
    ) -> Result<ResponseStream<v1::ForwardVmResponse>, Status>
    where
        S: Stream<Item = Result<v1::ForwardVmRequest, Status>> + Send + Unpin + 'static,
    {
        let caller = self.caller(&request);
        let (first, rest) = first_of(request.into_inner()).await?;
        let v1::ForwardVmRequest { vm, port, data } = first;
        let port = u16::try_from(port).ok().filter(|port| *port > 0);
        let port = port.ok_or_else(|| status::invalid_field("port", "must be 1 to 65535"))?;
        let (input, faults) =
            Inputs::of(convert::data(data)?, rest, |message| convert::data(message.data));
        let reached = self.reach(&vm, &caller)?;
        let output = reached.link.forward(reached.record.id(), port, input).await;
        let output = output.map_err(|failure| self.failed(&reached.record, &failure))?;
        Ok(self
            .joined(reached, &caller, output, Some(faults), |data| v1::ForwardVmResponse { data }))
    }
}

/// The line of the history: who ran what, never with what.
fn executed(record: &VmRecord, submission: &Submission, shown: &str) -> HistoryEvent {
    HistoryEvent {
        vm: record.id(),
        generation: record.intent.generation,
        kind: EventKind::Exec,
        reason: String::new(),
        message: format!("ran {shown:?}"),
        actor: submission.actor.clone(),
        at: submission.at,
    }
}

/// The first message of a client, in time, and the rest.
async fn first_of<M, S>(mut messages: S) -> Result<(M, S), Status>
where
    S: Stream<Item = Result<M, Status>> + Unpin,
{
    use futures_util::StreamExt as _;
    match tokio::time::timeout(FIRST_MESSAGE, messages.next()).await {
        Ok(Some(first)) => Ok((first?, messages)),
        Ok(None) => Err(status::invalid_fields(vec![SpecProblem::new(
            "vm",
            "the stream ended before its first message",
        )])),
        Err(_) => Err(status::deadline_exceeded("the first message of the stream did not come")),
    }
}

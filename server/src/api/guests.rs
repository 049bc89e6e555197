//! Calls that reach a guest: its console, programs, files, connections.
//!
//! A proxy. The first message of a client says what is wanted of which VM; it is checked here, and
//! the stream is joined with one of the agent of the VM's host ([`GuestLink`]). From there on both
//! directions are pulled, so that a slow end slows the other and nothing is kept here. A stream
//! ends with what the agent says, with its VM, with the call's own deadline, and with the server.
//! What can go wrong besides: the VM has no host, the host can't be reached, too many streams are
//! open.
//!
//! That a guest is opened is in the audit before it is, and its end after it ([`super::uses`]):
//! what can't be told is not done. [`streams`] counts them and ends them, [`convert`] is messages
//! to the model and back.

mod convert;
pub mod streams;

use std::sync::Arc;
use std::time::Duration;

use banger_proto::v1;
use futures_util::Stream;
use tonic::{Request, Status};
use tonic_types::StatusExt as _;

use self::streams::{Guard, Inputs, Permit};
use super::auth::LetIn;
use super::uses::Use;
use super::vms::Vms;
use super::{ResponseStream, status};
use crate::fleet::guests::{GuestError, GuestLink};
use crate::model::audience::Audience;
use crate::model::audit::{AuditObject, AuditedKind};
use crate::model::caller::Caller;
use crate::model::guest::{CopyTo, ExecIn, check_own_name, check_path};
use crate::model::history::{EventKind, HistoryEvent};
use crate::model::ledger::Record;
use crate::model::observed::Observation;
use crate::model::spec::SpecProblem;
use crate::model::status::VmState;
use crate::watch::VmRecord;

/// How long a client may take to say what it wants.
const FIRST_MESSAGE: Duration = Duration::from_secs(15);

/// A guest that can be asked.
struct Reached {
    record: Arc<VmRecord>,
    link: Arc<dyn GuestLink>,
    permit: Permit,
    /// Who is told how it fails.
    to: Audience,
}

/// What is known of a call before its first message.
struct Call {
    caller: Caller,
    let_in: LetIn,
    deadline: Option<tokio::time::Instant>,
}

fn not_running(record: &VmRecord, call: &Call) -> Status {
    let (name, state) = (&record.intent.name, convert::state(record.state()));
    let shown = &record.status;
    let message = Audience::of(&call.caller).told(&shown.reason, &shown.message);
    status::vm_not_running(name, state, &message)
}

impl Vms {
    fn call<T>(&self, request: &Request<T>) -> Result<Call, Status> {
        let deadline = streams::deadline(request.metadata());
        Ok(Call { caller: self.api.caller(request)?, let_in: LetIn::of(request), deadline })
    }

    /// The first message of a client, in time, and the rest. Whoever may no longer call when it
    /// comes is refused.
    async fn first_of<M, S>(&self, call: &Call, messages: S) -> Result<(M, S), Status>
    where
        S: Stream<Item = Result<M, Status>> + Unpin,
    {
        let first = first_of(messages).await?;
        call.let_in.check(self.api.clock.now())?;
        Ok(first)
    }

    /// Finds the VM's host, and room for one more stream.
    fn reach(&self, vm: &str, call: &Call) -> Result<Reached, Status> {
        let record = self.find(vm, &call.caller)?;
        let to = Audience::of(&call.caller);
        let name = &record.intent.name;
        let Some(host) = record.intent.host else { return Err(status::vm_not_placed(name)) };
        let permit = self.api.streams.admit(record.id())?;
        let link = self.api.fleet.ready_link(host).and_then(|link| link.guests());
        let Some(link) = link else {
            let host = self.api.view.host(host).map(|host| host.view.record.name.clone());
            let host = host.unwrap_or_default();
            let why = "the server has no contact with it";
            return Err(status::guest_lost(name, &host, Some(why)));
        };
        Ok(Reached { record, link, permit, to })
    }

    /// The same, for what a guest must run for.
    fn reach_running(&self, vm: &str, call: &Call) -> Result<Reached, Status> {
        let record = self.find(vm, &call.caller)?;
        match record.state() {
            // Of these the agent knows best, and where it is not reached that is said.
            VmState::Running | VmState::Starting | VmState::Unknown => self.reach(vm, call),
            // Has no host as yet, which is said so.
            VmState::Pending if record.intent.host.is_none() => self.reach(vm, call),
            _ => Err(not_running(&record, call)),
        }
    }

    /// The same, for its console, which its host keeps whatever the guest does; where its host
    /// holds nothing of the VM, as while an image is brought there, there is none.
    fn reach_console(&self, vm: &str, call: &Call) -> Result<Reached, Status> {
        let record = self.find(vm, &call.caller)?;
        match record.observation {
            Observation::Absent if record.intent.host.is_some() => Err(not_running(&record, call)),
            Observation::Absent | Observation::Unknown { .. } | Observation::Present(_) => {
                self.reach(vm, call)
            }
        }
    }

    fn failed(&self, record: &VmRecord, failure: &GuestError, to: Audience) -> Status {
        let host = record.intent.host.and_then(|host| self.api.view.host(host));
        let view = host.as_ref().map(|host| &host.view);
        let guest = status::GuestOf {
            vm: &record.intent.name,
            id: record.id(),
            host: view.map_or("", |view| &view.record.name),
            simulated: view.is_some_and(|view| view.facts.as_ref().is_some_and(|f| f.simulated)),
            to,
        };
        status::guest_failed(&guest, failure)
    }

    /// Writes down that the guest is opened, with what its history says of it.
    async fn open(
        &self,
        reached: &Reached,
        call: &Call,
        events: Vec<HistoryEvent>,
    ) -> Result<Use, Status> {
        let (id, named) = (reached.record.id(), reached.record.intent.named());
        let object = AuditObject::new(AuditedKind::Vm, id, &named.text());
        Use::begin(&self.api, &call.caller, &call.let_in, object, events).await
    }

    /// Opens the guest. Where that fails, it has ended.
    async fn opened<T>(
        &self,
        reached: &Reached,
        using: &mut Use,
        opening: impl Future<Output = Result<T, GuestError>>,
    ) -> Result<T, Status> {
        opening.await.map_err(|failure| {
            let status = self.failed(&reached.record, &failure, reached.to);
            using.end::<()>(Err(&status));
            status
        })
    }

    /// Joins what an agent sends with everything else that ends the stream.
    fn joined<T: Send + 'static, M: Send + 'static>(
        &self,
        reached: Reached,
        using: Use,
        call: &Call,
        output: crate::fleet::guests::Output<T>,
        faults: Option<streams::Faults>,
        message: fn(T) -> M,
    ) -> ResponseStream<M> {
        let Reached { record, permit, to, .. } = reached;
        let guard = Guard::new(&self.api.view, record.id(), call.deadline, faults, permit);
        let this = self.clone();
        guard.around(output, message, using, move |failure| this.failed(&record, failure, to))
    }

    pub(super) async fn console_read(
        &self,
        request: Request<v1::ReadConsoleRequest>,
    ) -> Result<ResponseStream<v1::ReadConsoleResponse>, Status> {
        let call = self.call(&request)?;
        let v1::ReadConsoleRequest { vm, follow, tail_bytes } = request.into_inner();
        let reached = self.reach_console(&vm, &call)?;
        let mut using = self.open(&reached, &call, Vec::new()).await?;
        let reading = reached.link.read_console(reached.record.id(), tail_bytes, follow);
        let output = self.opened(&reached, &mut using, reading).await?;
        Ok(self
            .joined(reached, using, &call, output, None, |data| v1::ReadConsoleResponse { data }))
    }

    pub(super) async fn console_attach<S>(
        &self,
        request: Request<S>,
    ) -> Result<ResponseStream<v1::AttachConsoleResponse>, Status>
    where
        S: Stream<Item = Result<v1::AttachConsoleRequest, Status>> + Send + Unpin + 'static,
    {
        let call = self.call(&request)?;
        let (first, rest) = self.first_of(&call, request.into_inner()).await?;
        let v1::AttachConsoleRequest { vm, tail_bytes, data } = first;
        let (input, faults) =
            Inputs::of(convert::data(data)?, rest, |message| convert::data(message.data));
        let reached = self.reach_console(&vm, &call)?;
        let vm = reached.record.id();
        let mut using = self.open(&reached, &call, Vec::new()).await?;
        let attaching = reached.link.attach_console(vm, tail_bytes, input);
        let output = self.opened(&reached, &mut using, attaching).await?;
        let shown = |data| v1::AttachConsoleResponse { data };
        Ok(self.joined(reached, using, &call, output, Some(faults), shown))
    }

    pub(super) async fn exec<S>(
        &self,
        request: Request<S>,
    ) -> Result<ResponseStream<v1::ExecVmResponse>, Status>
    where
        S: Stream<Item = Result<v1::ExecVmRequest, Status>> + Send + Unpin + 'static,
    {
        let call = self.call(&request)?;
        let (first, rest) = self.first_of(&call, request.into_inner()).await?;
        let start = convert::exec_start(first.input)?;
        let shown = start.shown();
        let reached = self.reach_running(&first.vm, &call)?;
        let asked = executed(&reached.record, &call.caller, format!("asked to run {shown:?}"));
        let mut using = self.open(&reached, &call, vec![asked]).await?;
        let (input, faults) = Inputs::of(Some(ExecIn::Start(start)), rest, |message| {
            convert::exec_in(message.input).map(Some)
        });
        let output = match reached.link.exec(reached.record.id(), input).await {
            Ok(output) => output,
            Err(failure) => {
                let failed = self.failed(&reached.record, &failure, reached.to);
                using.end::<()>(Err(&failed));
                let reason = failed.get_details_error_info().map(|info| info.reason);
                // The sentence may have more of the command in it, and what the guest says: it is
                // for whoever asked, and the history for viewers too.
                let message = format!("running {shown:?} failed");
                let refused = HistoryEvent {
                    reason: reason.unwrap_or_default(),
                    ..executed(&reached.record, &call.caller, message)
                };
                let told = Record { events: vec![refused] };
                // Whoever asked hears of it in any case.
                if let Err(lost) = self.api.store.submit(call.caller.for_the_record(), told).await {
                    tracing::warn!(vm.id = %reached.record.id(), error = %lost,
                        "the history does not say that a program did not run");
                }
                return Err(failed);
            }
        };
        let shown = |output| v1::ExecVmResponse { output: Some(convert::exec_out(output)) };
        Ok(self.joined(reached, using, &call, output, Some(faults), shown))
    }

    pub(super) async fn copy_in<S>(
        &self,
        request: Request<S>,
    ) -> Result<v1::CopyToVmResponse, Status>
    where
        S: Stream<Item = Result<v1::CopyToVmRequest, Status>> + Send + Unpin + 'static,
    {
        let call = self.call(&request)?;
        let (first, rest) = self.first_of(&call, request.into_inner()).await?;
        let v1::CopyToVmRequest { vm, directory, data, own_name } = first;
        check_path(&directory).map_err(|why| status::invalid_field("directory", why))?;
        check_own_name(&own_name).map_err(|why| status::invalid_field("own_name", why))?;
        let to = CopyTo { directory, own_name };
        let (input, faults) =
            Inputs::of(convert::data(data)?, rest, |message| convert::data(message.data));
        let reached = self.reach_running(&vm, &call)?;
        let mut using = self.open(&reached, &call, Vec::new()).await?;
        let Reached { record, link, permit, to: audience } = reached;
        let copying = link.copy_in(record.id(), to, input);
        let guard = Guard::new(&self.api.view, record.id(), call.deadline, Some(faults), permit);
        let copied = guard.until(copying).await;
        let copied =
            copied.and_then(|copied| copied.map_err(|why| self.failed(&record, &why, audience)));
        using.end(copied.as_ref());
        let copied = copied?;
        Ok(v1::CopyToVmResponse { entries: copied.entries, bytes: copied.bytes })
    }

    pub(super) async fn copy_out(
        &self,
        request: Request<v1::CopyFromVmRequest>,
    ) -> Result<ResponseStream<v1::CopyFromVmResponse>, Status> {
        let call = self.call(&request)?;
        let v1::CopyFromVmRequest { vm, path } = request.into_inner();
        check_path(&path).map_err(|why| status::invalid_field("path", why))?;
        let reached = self.reach_running(&vm, &call)?;
        let mut using = self.open(&reached, &call, Vec::new()).await?;
        let copying = reached.link.copy_out(reached.record.id(), path);
        let output = self.opened(&reached, &mut using, copying).await?;
        Ok(self.joined(reached, using, &call, output, None, |data| v1::CopyFromVmResponse { data }))
    }

    pub(super) async fn forward<S>(
        &self,
        request: Request<S>,
    ) -> Result<ResponseStream<v1::ForwardVmResponse>, Status>
    where
        S: Stream<Item = Result<v1::ForwardVmRequest, Status>> + Send + Unpin + 'static,
    {
        let call = self.call(&request)?;
        let (first, rest) = self.first_of(&call, request.into_inner()).await?;
        let v1::ForwardVmRequest { vm, port, data } = first;
        let port = u16::try_from(port).ok().filter(|port| *port > 0);
        let port = port.ok_or_else(|| status::invalid_field("port", "must be 1 to 65535"))?;
        let (input, faults) =
            Inputs::of(convert::data(data)?, rest, |message| convert::data(message.data));
        let reached = self.reach_running(&vm, &call)?;
        let mut using = self.open(&reached, &call, Vec::new()).await?;
        let forwarding = reached.link.forward(reached.record.id(), port, input);
        let output = self.opened(&reached, &mut using, forwarding).await?;
        let shown = |data| v1::ForwardVmResponse { data };
        Ok(self.joined(reached, using, &call, output, Some(faults), shown))
    }
}

/// The line of the history: who wanted what run, never with what.
fn executed(record: &VmRecord, caller: &Caller, message: String) -> HistoryEvent {
    HistoryEvent {
        vm: record.id(),
        generation: record.intent.generation,
        kind: EventKind::Exec,
        reason: String::new(),
        message,
        actor: caller.actor.to_string(),
        at: caller.at,
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

//! Calls that change or read one VM: create, update, delete, power, get.
//!
//! Mutations answer at commit with the VM as the view shows it then. WatchVms and WaitVm are in
//! [`super::watch`] and [`super::wait`], lists and history in `reads`, streams to guests in
//! [`super::guests`].

mod reads;

use std::sync::Arc;

use banger_proto::bounds::MAX_STOP_GRACE;
use banger_proto::ids::{Generation, VmId};
use banger_proto::v1;
use banger_proto::v1::vm_service_server::VmService;
use tonic::{Request, Response, Status};

use super::convert::{self, incoming};
use super::once::{self, Repeatable};
use super::wait::{WaitTarget, Waited};
use super::{
    Api, ResponseStream, all_or_problems, if_match, new_uuid, parse_host, parse_id, parse_vm,
    status, wait,
};
use crate::model::audience::Audience;
use crate::model::caller::Caller;
use crate::model::intent::{DEFAULT_STOP_GRACE, VmIntent};
use crate::model::ledger::{
    BindVm, CreateVm, DeleteVm, Mutation, NewSpec, Power, Refusal, SetPower, UpdateVm, VmAnswer,
};
use crate::model::names;
use crate::model::observed::Observation;
use crate::model::request::{self, RequestKey};
use crate::model::spec::{SpecMask, SpecProblem, SpecRefusal};
use crate::model::status::{StatusContext, VmState, VmStatus};
use crate::store::MutateError;
use crate::watch::VmRecord;

/// The VM service.
#[derive(Debug, Clone)]
pub struct Vms {
    pub(super) api: Api,
}

impl Vms {
    /// Over the server's parts.
    pub fn new(api: Api) -> Self {
        Self { api }
    }

    async fn submit<T, M>(
        &self,
        request: &Request<T>,
        key: Option<RequestKey>,
        mutation: M,
    ) -> Result<Response<v1::Vm>, Status>
    where
        M: Mutation<Answer = VmAnswer>,
    {
        let caller = self.api.caller(request)?;
        let to = Audience::of(&caller);
        let answer = self.api.store.submit_once(caller, key, mutation).await;
        self.answered(answer, to).map(Response::new)
    }

    fn answered(
        &self,
        answer: Result<VmAnswer, MutateError>,
        to: Audience,
    ) -> Result<v1::Vm, Status> {
        match answer {
            Ok(answer) => Ok(self.shown(&answer.intent, to)),
            Err(MutateError::Refused(Refusal::DoneAndGone {
                what: request::RequestTarget::Vm(id),
            })) => {
                let status =
                    v1::VmStatus { state: v1::VmState::Deleted.into(), ..Default::default() };
                Ok(v1::Vm { id: id.to_string(), status: Some(status), ..v1::Vm::default() })
            }
            Err(failure) => Err(status::mutation_failed(failure)),
        }
    }

    /// The VM after a mutation.
    fn shown(&self, intent: &VmIntent, to: Audience) -> v1::Vm {
        match self.api.view.get(intent.id) {
            Some(record) => convert::vm(&record, &self.api.domain, to),
            None => self.gone(intent, to),
        }
    }

    /// A VM for who asks how it is now.
    pub(super) fn now(&self, record: &VmRecord, to: Audience) -> v1::Vm {
        convert::vm_now(record, &self.api.view, &self.api.domain, to)
    }

    /// A VM that the view does not show any more.
    fn gone(&self, last: &VmIntent, to: Audience) -> v1::Vm {
        let gone = VmStatus::deleted(last, self.api.clock.now());
        let revision = self.api.view.revision();
        let domain = &self.api.domain;
        convert::vm_of(last, &Observation::Absent, &gone, None, revision, domain, to)
    }

    /// A VM that was not stored. Which host it would have, and with which address, tells how full
    /// hosts are, which a project is told for VMs alone that it has.
    fn imagined(&self, intent: &VmIntent, to: Audience) -> v1::Vm {
        let intent = &match to.sees_hosts {
            true => intent.clone(),
            false => VmIntent { host: None, net: None, ..intent.clone() },
        };
        let host = intent.host.and_then(|host| self.api.view.host(host)).map(|host| host.view);
        let context = StatusContext {
            epoch: self.api.store.epoch(),
            host: host.as_deref(),
            trouble: None,
            last_settled: None,
        };
        let shown = VmStatus::of(intent, &Observation::Absent, context);
        let revision = banger_proto::ids::Revision(0);
        let (host, domain) = (host.as_deref(), &self.api.domain);
        convert::vm_of(intent, &Observation::Absent, &shown, host, revision, domain, to)
    }

    pub(super) fn find(&self, text: &str, caller: &Caller) -> Result<Arc<VmRecord>, Status> {
        let mut problems = Vec::new();
        let vm = parse_vm(text, "vm", &mut problems, caller);
        let vm = all_or_problems(vm, problems)?;
        self.api.seen(&vm, caller).ok_or_else(|| status::vm_not_found(&vm))
    }

    async fn power<T: Repeatable>(
        &self,
        request: Request<T>,
        fields: impl FnOnce(&T) -> (&str, &str),
        power: Power,
    ) -> Result<Response<v1::Vm>, Status> {
        let key = once::key(request.get_ref())?;
        let caller = self.api.caller(&request)?;
        let (vm, etag) = fields(request.get_ref());
        let mut problems = Vec::new();
        let parsed = parse_vm(vm, "vm", &mut problems, &caller);
        let vm = all_or_problems(parsed, problems)?;
        let etag = if_match(etag);
        self.submit(&request, key, SetPower { vm, etag, power }).await
    }

    /// Whether the VM is wanted running, and has ended by itself or failed at just that: then
    /// starting it means a new process. A start that is on its way shows as another state, so that
    /// a repetition changes nothing.
    fn has_ended(&self, vm: &str, caller: &Caller) -> bool {
        let Some(vm) = parse_vm(vm, "vm", &mut Vec::new(), caller) else { return false };
        self.api.seen(&vm, caller).is_some_and(|record| {
            let ended = match record.status.state {
                VmState::Crashed | VmState::Stopped | VmState::Failed => true,
                VmState::Pending
                | VmState::Preparing
                | VmState::Starting
                | VmState::Running
                | VmState::Paused
                | VmState::Stopping
                | VmState::Deleting
                | VmState::Unknown
                | VmState::Deleted => false,
            };
            ended && record.status.observed_generation >= record.intent.generation
        })
    }

    fn create(&self, message: v1::CreateVmRequest, caller: &Caller) -> Result<CreateVm, Status> {
        let mut problems = Vec::new();
        let given = parse_id(&message.id, "id", &mut problems);
        let request_id = parse_id(&message.request_id, "request_id", &mut problems);
        if !message.name.is_empty()
            && let Err(why) = names::check_name(&message.name)
        {
            problems.push(SpecProblem::new("name", why));
        }
        let desired = incoming::initial_power(message.desired_state, &mut problems);
        let spec = match incoming::spec_draft(message.spec).check() {
            Ok(spec) => spec,
            Err(SpecRefusal::Invalid(more)) => {
                problems.extend(more);
                return Err(status::invalid_fields(problems));
            }
            Err(refusal @ SpecRefusal::NotImplemented(_)) if problems.is_empty() => {
                return Err(status::spec_refused(refusal));
            }
            Err(SpecRefusal::NotImplemented(_)) => return Err(status::invalid_fields(problems)),
        };
        if !problems.is_empty() {
            return Err(status::invalid_fields(problems));
        }
        let project = self.api.project(&message.project, caller)?;
        let chosen = given.or(request_id);
        let id = match chosen {
            Some(id) => id,
            None => VmId::from_uuid(new_uuid(self.api.clock.now())?),
        };
        Ok(CreateVm {
            id,
            id_is_given: chosen.is_some(),
            request_id: request_id.filter(|request| *request != id),
            name: message.name,
            project,
            spec: Arc::new(spec),
            desired,
        })
    }

    async fn wait(
        &self,
        message: v1::WaitVmRequest,
        caller: &Caller,
    ) -> Result<v1::WaitVmResponse, Status> {
        let mut problems = Vec::new();
        let vm = parse_vm(&message.vm, "vm", &mut problems, caller);
        let state = incoming::vm_state(message.state).unwrap_or_else(|problem| {
            problems.push(problem);
            None
        });
        let patience = message.timeout.map_or(Ok(wait::DEFAULT_TIMEOUT), |timeout| {
            convert::duration(timeout, wait::MAX_TIMEOUT)
        });
        let patience = patience.unwrap_or_else(|why| {
            problems.push(SpecProblem::new("timeout", why));
            wait::DEFAULT_TIMEOUT
        });
        if message.guest_ready && !matches!(state, None | Some(VmState::Running)) {
            let why = "a guest is ready only in state RUNNING";
            problems.push(SpecProblem::new("guest_ready", why));
        }
        let vm = all_or_problems(vm, problems)?;
        let record = self.api.seen(&vm, caller).ok_or_else(|| status::vm_not_found(&vm))?;
        let generation = (message.generation != 0).then_some(Generation(message.generation));
        let target = WaitTarget::of(&record, state, generation).ready(message.guest_ready);
        let (record, ended) = wait::wait_vm(&self.api.view, record, target, patience)
            .await
            .ok_or_else(status::shutting_down)?;
        let outcome = match ended {
            Waited::Reached => v1::WaitOutcome::Reached,
            Waited::Failed => v1::WaitOutcome::Failed,
            Waited::Superseded => v1::WaitOutcome::Superseded,
            Waited::Timeout => v1::WaitOutcome::Timeout,
        };
        let vm = Some(self.now(&record, Audience::of(caller)));
        Ok(v1::WaitVmResponse { vm, outcome: outcome.into() })
    }
}

/// What a spec is to become: the whole of it, or what the mask names.
fn new_spec(
    spec: Option<v1::VmSpec>,
    mask: Option<prost_types::FieldMask>,
) -> Result<NewSpec, SpecRefusal> {
    let draft = incoming::spec_draft(spec);
    match mask.map(|mask| mask.paths).filter(|paths| !paths.is_empty()) {
        None => draft.check().map(|spec| NewSpec::Whole(Arc::new(spec))),
        Some(paths) => {
            let mask = SpecMask::parse(&paths).map_err(SpecRefusal::Invalid)?;
            Ok(NewSpec::Parts(Box::new(draft), mask))
        }
    }
}

/// A grace period; not said means the default.
fn grace(given: Option<prost_types::Duration>) -> Result<std::time::Duration, Status> {
    given.map_or(Ok(DEFAULT_STOP_GRACE), |given| {
        convert::duration(given, MAX_STOP_GRACE)
            .map_err(|why| status::invalid_field("grace_period", why))
    })
}

#[tonic::async_trait]
impl VmService for Vms {
    type WatchVmsStream = ResponseStream<v1::WatchVmsResponse>;
    type ReadConsoleStream = ResponseStream<v1::ReadConsoleResponse>;

    async fn create_vm(
        &self,
        mut request: Request<v1::CreateVmRequest>,
    ) -> Result<Response<v1::Vm>, Status> {
        let message = std::mem::take(request.get_mut());
        let validate_only = message.validate_only;
        let caller = self.api.caller(&request)?;
        let create = self.create(message, &caller)?;
        if !validate_only {
            return self.submit(&request, None, create).await;
        }
        let to = Audience::of(&caller);
        let answer = self.api.store.check(&caller, create).await;
        let (VmAnswer { intent, changed }, found) = answer.map_err(status::mutation_failed)?;
        if !changed {
            return Ok(Response::new(self.shown(&intent, to)));
        }
        let mut vm = self.imagined(&intent, to);
        vm.placement_evaluation = found.map(|found| convert::evaluation(&found, to));
        Ok(Response::new(vm))
    }

    async fn get_vm(&self, request: Request<v1::GetVmRequest>) -> Result<Response<v1::Vm>, Status> {
        let caller = self.api.caller(&request)?;
        let record = self.find(&request.get_ref().vm, &caller)?;
        let to = Audience::of(&caller);
        Ok(Response::new(self.now(&record, to)))
    }

    async fn list_vms(
        &self,
        request: Request<v1::ListVmsRequest>,
    ) -> Result<Response<v1::ListVmsResponse>, Status> {
        let caller = self.api.caller(&request)?;
        self.list(&caller, request.into_inner()).map(Response::new)
    }

    async fn update_vm(
        &self,
        mut request: Request<v1::UpdateVmRequest>,
    ) -> Result<Response<v1::Vm>, Status> {
        let key = once::key(request.get_ref())?;
        let caller = self.api.caller(&request)?;
        let message = std::mem::take(request.get_mut());
        let mut problems = Vec::new();
        let vm = parse_vm(&message.vm, "vm", &mut problems, &caller);
        let spec = match new_spec(message.spec, message.update_mask) {
            Ok(spec) => spec,
            Err(SpecRefusal::Invalid(more)) => {
                problems.extend(more);
                return Err(status::invalid_fields(problems));
            }
            Err(refusal) if problems.is_empty() => return Err(status::spec_refused(refusal)),
            Err(_) => return Err(status::invalid_fields(problems)),
        };
        let update = UpdateVm {
            vm: all_or_problems(vm, problems)?,
            etag: if_match(&message.etag),
            spec,
            allow_restart: message.allow_restart,
        };
        self.submit(&request, key, update).await
    }

    async fn delete_vm(
        &self,
        request: Request<v1::DeleteVmRequest>,
    ) -> Result<Response<v1::Vm>, Status> {
        let message = request.get_ref();
        let key = once::key(message)?;
        let caller = self.api.caller(&request)?;
        let mut problems = Vec::new();
        let vm = parse_vm(&message.vm, "vm", &mut problems, &caller);
        let vm = all_or_problems(vm, problems)?;
        let delete = DeleteVm { vm, etag: if_match(&message.etag) };
        let to = Audience::of(&caller);
        match self.api.store.submit_once(caller, key, delete).await {
            Err(MutateError::Refused(Refusal::VmNotFound(_))) if message.allow_missing => {
                Ok(Response::new(v1::Vm::default()))
            }
            answer => self.answered(answer, to).map(Response::new),
        }
    }

    async fn start_vm(
        &self,
        request: Request<v1::StartVmRequest>,
    ) -> Result<Response<v1::Vm>, Status> {
        let caller = self.api.caller(&request)?;
        let again = self.has_ended(&request.get_ref().vm, &caller);
        self.power(request, |message| (&message.vm, &message.etag), Power::Start { again }).await
    }

    async fn stop_vm(
        &self,
        request: Request<v1::StopVmRequest>,
    ) -> Result<Response<v1::Vm>, Status> {
        let grace = grace(request.get_ref().grace_period)?;
        self.power(request, |message| (&message.vm, &message.etag), Power::Stop { grace }).await
    }

    async fn reboot_vm(
        &self,
        request: Request<v1::RebootVmRequest>,
    ) -> Result<Response<v1::Vm>, Status> {
        let grace = grace(request.get_ref().grace_period)?;
        let reset_root_disk = request.get_ref().reset_root_disk;
        let power = Power::Reboot { grace, reset_root_disk };
        self.power(request, |message| (&message.vm, &message.etag), power).await
    }

    async fn pause_vm(
        &self,
        request: Request<v1::PauseVmRequest>,
    ) -> Result<Response<v1::Vm>, Status> {
        self.power(request, |message| (&message.vm, &message.etag), Power::Pause).await
    }

    async fn resume_vm(
        &self,
        request: Request<v1::ResumeVmRequest>,
    ) -> Result<Response<v1::Vm>, Status> {
        self.power(request, |message| (&message.vm, &message.etag), Power::Resume).await
    }

    async fn bind_vm(
        &self,
        request: Request<v1::BindVmRequest>,
    ) -> Result<Response<v1::Vm>, Status> {
        let message = request.get_ref();
        let key = once::key(message)?;
        let caller = self.api.caller(&request)?;
        let mut problems = Vec::new();
        let vm = parse_vm(&message.vm, "vm", &mut problems, &caller);
        let host = parse_host(&message.host, "host", &mut problems);
        let (vm, host) = all_or_problems(vm.zip(host), problems)?;
        let etag = if_match(&message.etag);
        self.submit(&request, key, BindVm { vm, host, etag }).await
    }

    async fn wait_vm(
        &self,
        request: Request<v1::WaitVmRequest>,
    ) -> Result<Response<v1::WaitVmResponse>, Status> {
        let caller = self.api.caller(&request)?;
        self.wait(request.into_inner(), &caller).await.map(Response::new)
    }

    async fn watch_vms(
        &self,
        _request: Request<v1::WatchVmsRequest>,
    ) -> Result<Response<Self::WatchVmsStream>, Status> {
        // Answered before it comes here, by `WithWatch`.
        Err(status::internal("WatchVms was not wired to its stream"))
    }

    async fn list_vm_events(
        &self,
        request: Request<v1::ListVmEventsRequest>,
    ) -> Result<Response<v1::ListVmEventsResponse>, Status> {
        let caller = self.api.caller(&request)?;
        self.events(request.into_inner(), &caller).await.map(Response::new)
    }

    async fn explain_vm(
        &self,
        request: Request<v1::ExplainVmRequest>,
    ) -> Result<Response<v1::ExplainVmResponse>, Status> {
        let caller = self.api.caller(&request)?;
        self.explained(&request.get_ref().vm, &caller).await.map(Response::new)
    }

    async fn read_console(
        &self,
        request: Request<v1::ReadConsoleRequest>,
    ) -> Result<Response<Self::ReadConsoleStream>, Status> {
        self.console_read(request).await.map(Response::new)
    }

    type AttachConsoleStream = ResponseStream<v1::AttachConsoleResponse>;

    async fn attach_console(
        &self,
        request: Request<tonic::Streaming<v1::AttachConsoleRequest>>,
    ) -> Result<Response<Self::AttachConsoleStream>, Status> {
        self.console_attach(request).await.map(Response::new)
    }

    type ExecVmStream = ResponseStream<v1::ExecVmResponse>;

    async fn exec_vm(
        &self,
        request: Request<tonic::Streaming<v1::ExecVmRequest>>,
    ) -> Result<Response<Self::ExecVmStream>, Status> {
        self.exec(request).await.map(Response::new)
    }

    async fn copy_to_vm(
        &self,
        request: Request<tonic::Streaming<v1::CopyToVmRequest>>,
    ) -> Result<Response<v1::CopyToVmResponse>, Status> {
        self.copy_in(request).await.map(Response::new)
    }

    type CopyFromVmStream = ResponseStream<v1::CopyFromVmResponse>;

    async fn copy_from_vm(
        &self,
        request: Request<v1::CopyFromVmRequest>,
    ) -> Result<Response<Self::CopyFromVmStream>, Status> {
        self.copy_out(request).await.map(Response::new)
    }

    type ForwardVmStream = ResponseStream<v1::ForwardVmResponse>;

    async fn forward_vm(
        &self,
        request: Request<tonic::Streaming<v1::ForwardVmRequest>>,
    ) -> Result<Response<Self::ForwardVmStream>, Status> {
        self.forward(request).await.map(Response::new)
    }
}

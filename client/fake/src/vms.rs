//! VMs of the fake server: their wishes, the watches that a test scripted, and their histories.

use std::collections::BTreeMap;
use std::time::Duration;

use banger_proto::v1::vm_service_server::VmService;
use banger_proto::v1::*;
use tonic::{Code, Request, Response, Status};
use tonic_types::{ErrorDetails, StatusExt as _};

use super::guests::HOSTILE;
use super::{EIGHT, Fake, Step, Stream, masked, refusal};

#[tonic::async_trait]
impl VmService for Fake {
    async fn create_vm(&self, request: Request<CreateVmRequest>) -> Result<Response<Vm>, Status> {
        let request = self.enter("CreateVm", request)?;
        let spec = request.spec.unwrap_or_default();
        let mut details = ErrorDetails::new();
        let carried = spec.root_image.as_ref().is_some_and(|root| {
            self.state().images.get(&root.name).is_some_and(|image| image.boot.is_some())
        });
        if spec.kernel.is_none() && !carried {
            details.add_bad_request_violation("spec.kernel.name", "is required");
        }
        if spec.vcpus > 32 {
            details.add_bad_request_violation("spec.vcpus", "must be 1 to 32");
        }
        if let Some(bad) = details.bad_request() {
            let text = format!("{} fields are wrong", bad.field_violations.len());
            details.set_error_info(
                "INVALID_FIELDS",
                "banger",
                BTreeMap::new().into_iter().collect::<std::collections::HashMap<_, _>>(),
            );
            return Err(Status::with_error_details(Code::InvalidArgument, text, details));
        }
        let (vm, swallow) = {
            let mut state = self.state();
            let key = [&request.id, &request.request_id].into_iter().find(|k| !k.is_empty());
            if let Some(vm) = state.vms.values().find(|vm| key == Some(&vm.id)) {
                return Ok(Response::new(vm.clone()));
            }
            if state.vms.contains_key(&request.name) {
                let text = format!("the name {:?} is taken", request.name);
                return Err(refusal(Code::AlreadyExists, "VM_NAME_TAKEN", &text));
            }
            state.revision += 1;
            let wanted = match request.desired_state {
                0 => DesiredState::Running,
                number => DesiredState::try_from(number).unwrap(),
            };
            let reached = match wanted {
                DesiredState::Running => state.new_state.unwrap_or(VmState::Running),
                _ => VmState::Stopped,
            };
            let failed = reached == VmState::Failed;
            let vm = Vm {
                id: key.cloned().unwrap_or_default(),
                name: request.name,
                project: match &*request.project {
                    "" => "default".to_owned(),
                    project => project.to_owned(),
                },
                spec: Some(spec),
                desired_state: wanted.into(),
                status: Some(VmStatus {
                    state: reached.into(),
                    reason: match reached {
                        VmState::Failed => "KERNEL_IMAGE_MISSING",
                        VmState::Preparing => "IMAGE_TRANSFER",
                        _ => "",
                    }
                    .to_owned(),
                    message: if failed { "b0 has no image \"k\"" } else { "" }.to_owned(),
                    host_name: "b0".to_owned(),
                    simulated: true,
                    guest_address: "10.64.0.2".to_owned(),
                    observed_generation: 1,
                    ..VmStatus::default()
                }),
                generation: 1,
                etag: "1".to_owned(),
                revision: state.revision,
                create_time: Some(prost_types::Timestamp { seconds: EIGHT, nanos: 0 }),
                update_time: None,
                placement_evaluation: None,
            };
            if !request.validate_only {
                state.vms.insert(vm.name.clone(), vm.clone());
            }
            (vm, std::mem::take(&mut state.swallow_next_create))
        };
        if swallow {
            std::future::pending::<()>().await;
        }
        Ok(Response::new(vm))
    }

    async fn get_vm(&self, request: Request<GetVmRequest>) -> Result<Response<Vm>, Status> {
        let request = self.enter("GetVm", request)?;
        Ok(Response::new(self.find(&request.vm)?))
    }

    async fn list_vms(
        &self,
        request: Request<ListVmsRequest>,
    ) -> Result<Response<ListVmsResponse>, Status> {
        let request = self.enter("ListVms", request)?;
        let state = self.state();
        // Pages of two, so that paging is seen to work.
        let from: usize = request.page_token.parse().unwrap_or(0);
        let vms: Vec<_> = state.vms.values().skip(from).take(2).cloned().collect();
        let to = from + vms.len();
        let more = to < state.vms.len();
        Ok(Response::new(ListVmsResponse {
            vms,
            next_page_token: if more { to.to_string() } else { String::new() },
            revision: state.revision,
            total_size: state.vms.len() as u64,
        }))
    }

    async fn update_vm(&self, request: Request<UpdateVmRequest>) -> Result<Response<Vm>, Status> {
        let request = self.enter("UpdateVm", request)?;
        self.state().update_ids.push(request.request_id.clone());
        let mut vm = self.find(&request.vm)?;
        if self.state().overtaken > 0 {
            self.state().overtaken -= 1;
            let spec = vm.spec.get_or_insert_default();
            let others = spec.labels.len();
            spec.labels.insert(format!("other-{others}"), String::new());
            vm.etag += "x";
            self.state().vms.insert(vm.name.clone(), vm.clone());
        }
        if !request.etag.is_empty() && request.etag != vm.etag {
            return Err(refusal(Code::Aborted, "ETAG_MISMATCH", "the VM was changed meanwhile"));
        }
        let swallow = {
            let mut state = self.state();
            state.revision += 1;
            vm.spec = match request.update_mask {
                None => request.spec,
                Some(mask) => Some(masked(vm.spec.clone(), request.spec, &mask.paths)),
            };
            vm.generation += 1;
            vm.etag = vm.generation.to_string();
            vm.revision = state.revision;
            state.vms.insert(vm.name.clone(), vm.clone());
            std::mem::take(&mut state.swallow_next_update)
        };
        if swallow {
            std::future::pending::<()>().await;
        }
        Ok(Response::new(vm))
    }

    async fn delete_vm(&self, request: Request<DeleteVmRequest>) -> Result<Response<Vm>, Status> {
        let request = self.enter("DeleteVm", request)?;
        let vm = match self.find(&request.vm) {
            Ok(vm) => vm,
            Err(_) if request.allow_missing => return Ok(Response::new(Vm::default())),
            Err(status) => return Err(status),
        };
        let answer = self.change(&vm.id, DesiredState::Absent, VmState::Deleting);
        self.state().vms.remove(&vm.name);
        answer
    }

    async fn start_vm(&self, request: Request<StartVmRequest>) -> Result<Response<Vm>, Status> {
        let request = self.enter("StartVm", request)?;
        self.change(&request.vm, DesiredState::Running, VmState::Running)
    }

    async fn stop_vm(&self, request: Request<StopVmRequest>) -> Result<Response<Vm>, Status> {
        let request = self.enter("StopVm", request)?;
        self.change(&request.vm, DesiredState::Stopped, VmState::Stopped)
    }

    async fn reboot_vm(&self, request: Request<RebootVmRequest>) -> Result<Response<Vm>, Status> {
        let request = self.enter("RebootVm", request)?;
        self.change(&request.vm, DesiredState::Running, VmState::Running)
    }

    async fn pause_vm(&self, request: Request<PauseVmRequest>) -> Result<Response<Vm>, Status> {
        let request = self.enter("PauseVm", request)?;
        self.change(&request.vm, DesiredState::Paused, VmState::Paused)
    }

    async fn resume_vm(&self, request: Request<ResumeVmRequest>) -> Result<Response<Vm>, Status> {
        let request = self.enter("ResumeVm", request)?;
        self.change(&request.vm, DesiredState::Running, VmState::Running)
    }

    async fn bind_vm(&self, request: Request<BindVmRequest>) -> Result<Response<Vm>, Status> {
        let request = self.enter("BindVm", request)?;
        Ok(Response::new(self.find(&request.vm)?))
    }

    async fn wait_vm(
        &self,
        request: Request<WaitVmRequest>,
    ) -> Result<Response<WaitVmResponse>, Status> {
        let request = self.enter("WaitVm", request)?;
        self.state().waited_ready.push(request.guest_ready);
        self.state().guest_boots &= !request.guest_ready;
        let failure = self.state().wait_failures.pop_front();
        if let Some(status) = failure {
            return Err(status);
        }
        let vm = self.find(&request.vm)?;
        let seen = vm.status.as_ref().unwrap().state();
        let wanted = match request.state() {
            VmState::Unspecified => match vm.desired_state() {
                DesiredState::Paused => VmState::Paused,
                DesiredState::Stopped => VmState::Stopped,
                _ => VmState::Running,
            },
            state => state,
        };
        let outcome = if seen == wanted {
            WaitOutcome::Reached
        } else if matches!(seen, VmState::Failed | VmState::Crashed) {
            WaitOutcome::Failed
        } else {
            let timeout = request.timeout.and_then(|t| Duration::try_from(t).ok());
            tokio::time::sleep(timeout.unwrap_or_default()).await;
            WaitOutcome::Timeout
        };
        Ok(Response::new(WaitVmResponse { vm: Some(vm), outcome: outcome.into() }))
    }

    type WatchVmsStream = Stream<WatchVmsResponse>;

    async fn watch_vms(
        &self,
        request: Request<WatchVmsRequest>,
    ) -> Result<Response<Self::WatchVmsStream>, Status> {
        let request = self.enter("WatchVms", request)?;
        let steps = {
            let mut state = self.state();
            state.watched_after.push(request.after_revision);
            state.watches.pop_front().unwrap_or_else(|| vec![Step::Stay])
        };
        // A refusal at once is the answer to the call itself.
        if let [Step::Fail(status)] = &steps[..] {
            return Err(status.clone());
        }
        Ok(Response::new(Box::pin(async_stream::stream! {
            for step in steps {
                match step {
                    Step::Say(response) => yield Ok(response),
                    Step::Fail(status) => {
                        yield Err(status);
                        return;
                    }
                    Step::Stay => std::future::pending::<()>().await,
                }
            }
        })))
    }

    async fn list_vm_events(
        &self,
        request: Request<ListVmEventsRequest>,
    ) -> Result<Response<ListVmEventsResponse>, Status> {
        let request = self.enter("ListVmEvents", request)?;
        self.find(&request.vm)?;
        let events = vec![VmHistoryEvent {
            time: Some(prost_types::Timestamp { seconds: EIGHT, nanos: 0 }),
            generation: 1,
            r#type: "CREATED".to_owned(),
            actor: "local".to_owned(),
            ..VmHistoryEvent::default()
        }];
        Ok(Response::new(ListVmEventsResponse { events, next_page_token: String::new() }))
    }

    async fn explain_vm(
        &self,
        request: Request<ExplainVmRequest>,
    ) -> Result<Response<ExplainVmResponse>, Status> {
        let request = self.enter("ExplainVm", request)?;
        Ok(Response::new(ExplainVmResponse {
            vm: Some(self.find(&request.vm)?),
            decision: "IN_SYNC".to_owned(),
            reason: String::new(),
            explanation: vec!["The host has what is wanted.".to_owned()],
            placement: None,
        }))
    }

    type ReadConsoleStream = Stream<ReadConsoleResponse>;

    async fn read_console(
        &self,
        request: Request<ReadConsoleRequest>,
    ) -> Result<Response<Self::ReadConsoleStream>, Status> {
        let request = self.enter("ReadConsole", request)?;
        self.find(&request.vm)?;
        let data = match &*request.vm {
            "evil" => HOSTILE.to_vec(),
            _ => format!("the last {}\n", request.tail_bytes).into_bytes(),
        };
        Ok(Response::new(Box::pin(tokio_stream::once(Ok(ReadConsoleResponse { data })))))
    }

    type AttachConsoleStream = Stream<AttachConsoleResponse>;

    async fn attach_console(
        &self,
        request: Request<tonic::Streaming<AttachConsoleRequest>>,
    ) -> Result<Response<Self::AttachConsoleStream>, Status> {
        Ok(Response::new(super::guests::console(self.enter("AttachConsole", request)?)))
    }

    type ExecVmStream = Stream<ExecVmResponse>;

    async fn exec_vm(
        &self,
        request: Request<tonic::Streaming<ExecVmRequest>>,
    ) -> Result<Response<Self::ExecVmStream>, Status> {
        let mut inputs = self.enter("ExecVm", request)?;
        let first = inputs.message().await?.unwrap();
        self.find(&first.vm)?;
        if self.state().guest_boots {
            let text = "no guest agent was heard from yet; the image may have none";
            let code = Code::FailedPrecondition;
            return Err(refusal(code, "GUEST_AGENT_UNREACHABLE", text));
        }
        let Some(exec_input::Input::Start(start)) = first.input.unwrap().input else { panic!() };
        if start.command == ["never"] {
            // A guest that never says that it has begun.
            self.state().never_begun += 1;
            std::future::pending::<()>().await;
        }
        Ok(Response::new(super::guests::program(start, inputs)))
    }

    async fn copy_to_vm(
        &self,
        request: Request<tonic::Streaming<CopyToVmRequest>>,
    ) -> Result<Response<CopyToVmResponse>, Status> {
        self.keep_files(self.enter("CopyToVm", request)?).await.map(Response::new)
    }

    type CopyFromVmStream = Stream<CopyFromVmResponse>;

    async fn copy_from_vm(
        &self,
        request: Request<CopyFromVmRequest>,
    ) -> Result<Response<Self::CopyFromVmStream>, Status> {
        self.enter("CopyFromVm", request)?;
        Ok(Response::new(self.give_files()))
    }

    type ForwardVmStream = Stream<ForwardVmResponse>;

    async fn forward_vm(
        &self,
        request: Request<tonic::Streaming<ForwardVmRequest>>,
    ) -> Result<Response<Self::ForwardVmStream>, Status> {
        Ok(Response::new(super::guests::port(self.enter("ForwardVm", request)?)))
    }
}

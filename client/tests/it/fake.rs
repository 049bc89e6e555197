//! A server that keeps VMs and hosts in memory: enough of the API for the client to stand on.
//!
//! It has state and can fail. What a test wants different it sets in [`State`]; streams play what
//! [`State::watches`] holds, one entry for each time a watch is opened.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use banger_client::v1::host_service_server::HostServiceServer;
use banger_client::v1::image_service_server::ImageServiceServer;
use banger_client::v1::vm_service_server::{VmService, VmServiceServer};
use banger_client::v1::*;
use banger_proto::resets::ResetsAreErrors;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::transport::ServerTlsConfig;
use tonic::{Code, Request, Response, Status};
use tonic_types::{ErrorDetails, StatusExt as _};

mod guests;
mod hosts;
mod images;

/// One step of a scripted watch.
#[derive(Clone)]
pub(crate) enum Step {
    Say(WatchVmsResponse),
    Fail(Status),
    /// Say nothing more and stay open.
    Stay,
}

#[derive(Default)]
pub(crate) struct State {
    pub(crate) vms: BTreeMap<String, Vm>,
    pub(crate) hosts: BTreeMap<String, Host>,
    pub(crate) images: BTreeMap<String, Image>,
    /// Uploads that came to their end: file name and content.
    pub(crate) uploads: Vec<(String, Vec<u8>)>,
    pub(crate) revision: u64,
    /// Every call that came: name and `authorization`.
    pub(crate) calls: Vec<(&'static str, Option<String>)>,
    /// `after_revision` of each watch that was opened.
    pub(crate) watched_after: Vec<Option<u64>>,
    pub(crate) watches: VecDeque<Vec<Step>>,
    /// Every call is answered with this instead.
    pub(crate) refuse: Option<Status>,
    /// The next create is stored, but its answer never comes.
    pub(crate) swallow_next_create: bool,
    /// The state that new VMs reach; RUNNING when unset.
    pub(crate) new_state: Option<VmState>,
    /// Answers of WaitVm, before it looks at the VM.
    pub(crate) wait_failures: VecDeque<Status>,
    /// Whether each WaitVm waited for the guest, too.
    pub(crate) waited_ready: Vec<bool>,
    /// What was copied into a guest: where to with the names, and the tar stream.
    pub(crate) files: (String, Vec<u8>),
}

#[derive(Clone, Default)]
pub(crate) struct Fake(Arc<Mutex<State>>);

pub(crate) struct Running {
    pub(crate) address: SocketAddr,
    pub(crate) fake: Fake,
    stop: Option<tokio::sync::oneshot::Sender<()>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Running {
    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.fake.0.lock().unwrap()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Starts a server on a thread of its own, so that blocking tests can use it too.
pub(crate) fn start() -> Running {
    start_with(None)
}

/// The same, with TLS if there is a certificate for it.
pub(crate) fn start_with(tls: Option<ServerTlsConfig>) -> Running {
    let fake = Fake::default();
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let (send_address, address) = std::sync::mpsc::channel();
    let serving = fake.clone();
    let thread = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async move {
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
            send_address.send(listener.local_addr().unwrap()).unwrap();
            let mut builder = tonic::transport::Server::builder();
            if let Some(tls) = tls {
                builder = builder.tls_config(tls).unwrap();
            }
            let serve = builder
                .layer(ResetsAreErrors)
                .add_service(VmServiceServer::new(serving.clone()))
                .add_service(HostServiceServer::new(serving.clone()))
                .add_service(ImageServiceServer::new(serving))
                .serve_with_incoming(TcpListenerStream::new(listener));
            tokio::select! {
                served = serve => served.unwrap(),
                _ = stopped => {}
            }
        });
        runtime.shutdown_background();
    });
    let address = address.recv().unwrap();
    Running { address, fake, stop: Some(stop), thread: Some(thread) }
}

pub(crate) fn refusal(code: Code, reason: &str, message: &str) -> Status {
    let mut details = ErrorDetails::new();
    details.set_error_info(reason, "banger", [("of".to_owned(), "a test".to_owned())]);
    Status::with_error_details(code, message, details)
}

/// A point in time that tests agree on: 2026-11-22T08:00:00Z.
pub(crate) const EIGHT: i64 = 1_795_334_400;

pub(crate) fn host(name: &str, state: HostState) -> Host {
    Host {
        id: "0192f0c1-0000-7000-8000-00000000b0b0".to_owned(),
        name: name.to_owned(),
        agent_address: "127.0.0.1:7072".to_owned(),
        guest_subnet: "10.64.0.0/20".to_owned(),
        create_time: Some(prost_types::Timestamp { seconds: EIGHT, nanos: 0 }),
        etag: "h1".to_owned(),
        status: Some(HostStatus {
            state: state.into(),
            simulated: true,
            vmm: "simulated".to_owned(),
            capacity: Some(HostResources { vcpus: 8, memory_mib: 16384, disk_mib: 102_400 }),
            booked: Some(HostResources { vcpus: 1, memory_mib: 256, disk_mib: 1024 }),
            vm_count: 1,
            ..HostStatus::default()
        }),
        ..Host::default()
    }
}

impl Fake {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    fn enter<T>(&self, name: &'static str, request: Request<T>) -> Result<T, Status> {
        let mut state = self.state();
        let token = request.metadata().get("authorization");
        let token = token.map(|value| value.to_str().unwrap().to_owned());
        state.calls.push((name, token));
        match &state.refuse {
            Some(status) => {
                let details = status.get_error_details();
                Err(Status::with_error_details(status.code(), status.message(), details))
            }
            None => Ok(request.into_inner()),
        }
    }

    fn find(&self, vm: &str) -> Result<Vm, Status> {
        let state = self.state();
        let found = state.vms.values().find(|v| v.id == vm || v.name == vm).cloned();
        found.ok_or_else(|| {
            refusal(Code::NotFound, "VM_NOT_FOUND", &format!("there is no VM {vm:?}"))
        })
    }

    /// Changes a VM's wanted state, and its seen one with it.
    fn change(
        &self,
        vm: &str,
        wanted: DesiredState,
        seen: VmState,
    ) -> Result<Response<Vm>, Status> {
        let mut vm = self.find(vm)?;
        let mut state = self.state();
        state.revision += 1;
        vm.set_desired_state(wanted);
        vm.generation += 1;
        vm.revision = state.revision;
        vm.etag = vm.generation.to_string();
        vm.status.get_or_insert_default().set_state(seen);
        state.vms.insert(vm.name.clone(), vm.clone());
        Ok(Response::new(vm))
    }

    fn find_host(&self, host: &str) -> Result<Host, Status> {
        let found = self.state().hosts.values().find(|h| h.id == host || h.name == host).cloned();
        found.ok_or_else(|| {
            refusal(Code::NotFound, "HOST_NOT_FOUND", &format!("there is no host {host:?}"))
        })
    }
}

type Stream<T> = Pin<Box<dyn tokio_stream::Stream<Item = Result<T, Status>> + Send>>;

#[tonic::async_trait]
impl VmService for Fake {
    async fn create_vm(&self, request: Request<CreateVmRequest>) -> Result<Response<Vm>, Status> {
        let request = self.enter("CreateVm", request)?;
        let spec = request.spec.unwrap_or_default();
        let mut details = ErrorDetails::new();
        if spec.kernel.is_none() {
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
                spec: Some(spec),
                desired_state: wanted.into(),
                status: Some(VmStatus {
                    state: reached.into(),
                    reason: if failed { "KERNEL_IMAGE_MISSING" } else { "" }.to_owned(),
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
        let mut vm = self.find(&request.vm)?;
        if !request.etag.is_empty() && request.etag != vm.etag {
            return Err(refusal(Code::Aborted, "ETAG_MISMATCH", "the VM was changed meanwhile"));
        }
        let mut state = self.state();
        state.revision += 1;
        vm.spec = request.spec;
        vm.generation += 1;
        vm.etag = vm.generation.to_string();
        vm.revision = state.revision;
        state.vms.insert(vm.name.clone(), vm.clone());
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

    async fn wait_vm(
        &self,
        request: Request<WaitVmRequest>,
    ) -> Result<Response<WaitVmResponse>, Status> {
        let request = self.enter("WaitVm", request)?;
        self.state().waited_ready.push(request.guest_ready);
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
        }))
    }

    type ReadConsoleStream = Stream<ReadConsoleResponse>;

    async fn read_console(
        &self,
        request: Request<ReadConsoleRequest>,
    ) -> Result<Response<Self::ReadConsoleStream>, Status> {
        let request = self.enter("ReadConsole", request)?;
        self.find(&request.vm)?;
        let data = format!("the last {}\n", request.tail_bytes).into_bytes();
        Ok(Response::new(Box::pin(tokio_stream::once(Ok(ReadConsoleResponse { data })))))
    }

    type AttachConsoleStream = Stream<AttachConsoleResponse>;

    async fn attach_console(
        &self,
        request: Request<tonic::Streaming<AttachConsoleRequest>>,
    ) -> Result<Response<Self::AttachConsoleStream>, Status> {
        Ok(Response::new(guests::console(self.enter("AttachConsole", request)?)))
    }

    type ExecVmStream = Stream<ExecVmResponse>;

    async fn exec_vm(
        &self,
        request: Request<tonic::Streaming<ExecVmRequest>>,
    ) -> Result<Response<Self::ExecVmStream>, Status> {
        let mut inputs = self.enter("ExecVm", request)?;
        let first = inputs.message().await?.unwrap();
        self.find(&first.vm)?;
        let Some(exec_input::Input::Start(start)) = first.input.unwrap().input else { panic!() };
        Ok(Response::new(guests::program(start, inputs)))
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
        Ok(Response::new(guests::port(self.enter("ForwardVm", request)?)))
    }
}

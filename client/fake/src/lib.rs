//! A server that keeps VMs and hosts in memory: enough of the API for the client to stand on.
//!
//! It has state and can fail. What a test wants different it sets in [`State`]; streams play what
//! [`State::watches`] holds, one entry for each time a watch is opened.

#![expect(clippy::unwrap_used, reason = "a fake whose footing is missing has failed")]

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use banger_proto::v1::audit_service_server::AuditServiceServer;
use banger_proto::v1::host_service_server::HostServiceServer;
use banger_proto::v1::image_service_server::ImageServiceServer;
use banger_proto::v1::token_service_server::TokenServiceServer;
use banger_proto::v1::vm_service_server::VmServiceServer;
use banger_proto::v1::*;
use banger_wire::resets::ResetsAreErrors;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::transport::ServerTlsConfig;
use tonic::{Code, Request, Response, Status};
use tonic_types::{ErrorDetails, StatusExt as _};

mod audit;
mod guests;
pub use guests::HOSTILE;
mod hosts;
mod images;
mod tokens;
mod vms;

/// One step of a scripted watch.
#[derive(Clone)]
pub enum Step {
    Say(WatchVmsResponse),
    Fail(Status),
    /// Say nothing more and stay open.
    Stay,
}

/// A spec with the named parts of another, as far as tests name any.
fn masked(old: Option<VmSpec>, new: Option<VmSpec>, paths: &[String]) -> VmSpec {
    let (mut spec, new) = (old.unwrap_or_default(), new.unwrap_or_default());
    for path in paths {
        match path.as_str() {
            "spec.vcpus" => spec.vcpus = new.vcpus,
            "spec.memory_mib" => spec.memory_mib = new.memory_mib,
            path => put_label("spec.labels", path, &mut spec.labels, &new.labels),
        }
    }
    spec
}

pub(crate) type Labels = BTreeMap<String, String>;

/// Takes over one label by its path in a mask.
pub(crate) fn put_label(field: &str, path: &str, labels: &mut Labels, new: &Labels) {
    let key = path.strip_prefix(field).and_then(|rest| rest.strip_prefix(".`")?.strip_suffix('`'));
    let key = key.unwrap_or_else(|| panic!("the fake knows no {path}"));
    match new.get(key) {
        Some(value) => labels.insert(key.to_owned(), value.clone()),
        None => labels.remove(key),
    };
}

/// What a slow call takes over each message.
const PACE: Duration = Duration::from_millis(40);

#[derive(Default)]
pub struct State {
    pub vms: BTreeMap<String, Vm>,
    pub hosts: BTreeMap<String, Host>,
    pub images: BTreeMap<String, Image>,
    pub tokens: BTreeMap<String, Token>,
    /// Oldest first.
    pub audit: Vec<AuditRecord>,
    /// The next watch of the audit breaks off after one record.
    pub break_next_audit: bool,
    /// The answer to the next CreateToken has no secret.
    pub swallow_next_secret: bool,
    /// Uploads that came to their end: file name and content.
    pub uploads: Vec<(String, Vec<u8>)>,
    /// The size that each was announced with, before any of it came; 0 where it was not known.
    pub announced: Vec<u64>,
    pub revision: u64,
    /// Every call that came: name and `authorization`.
    pub calls: Vec<(&'static str, Option<String>)>,
    /// `after_revision`, or `after_id`, of each watch that was opened.
    pub watched_after: Vec<Option<u64>>,
    pub watches: VecDeque<Vec<Step>>,
    /// Every call is answered with this instead.
    pub refuse: Option<Status>,
    /// The next create is stored, but its answer never comes.
    pub swallow_next_create: bool,
    /// The `request_id` of each update.
    pub update_ids: Vec<String>,
    /// The next update is made, but its answer never comes.
    pub swallow_next_update: bool,
    /// The state that new VMs reach; RUNNING when unset.
    pub new_state: Option<VmState>,
    /// Answers of WaitVm, before it looks at the VM.
    pub wait_failures: VecDeque<Status>,
    /// Others change the VM just before so many of the next updates.
    pub overtaken: u32,
    /// The guest agent is not heard before somebody has waited for it.
    pub guest_boots: bool,
    /// How many programs were asked for that never begin.
    pub never_begun: u32,
    /// Whether each WaitVm waited for the guest, too.
    pub waited_ready: Vec<bool>,
    /// What was copied into a guest: where to with the names, and the tar stream.
    pub files: (String, Vec<u8>),
    /// The name that its source had by itself.
    pub own_name: String,
    /// Calls that take their time over each message, for as long as they are named here.
    pub slow: BTreeSet<&'static str>,
    /// How often one of them has.
    pub waited: u64,
}

#[derive(Clone, Default)]
pub struct Fake(Arc<Mutex<State>>);

pub struct Running {
    pub address: SocketAddr,
    pub fake: Fake,
    stop: Option<tokio::sync::oneshot::Sender<()>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Running {
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub fn state(&self) -> MutexGuard<'_, State> {
        self.fake.0.lock().unwrap()
    }

    /// Waits until calls that are [`State::slow`] have taken their time over so many messages more.
    ///
    /// # Panics
    /// When they do not within a minute.
    pub fn until_waited_for(&self, more: u64) {
        let (before, end) = (self.state().waited, Instant::now() + Duration::from_secs(60));
        while self.state().waited < before + more {
            let state = self.state();
            assert!(Instant::now() < end, "{} of {more}: {:?}", state.waited - before, state.calls);
            drop(state);
            std::thread::sleep(PACE);
        }
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
pub fn start() -> Running {
    start_with(None)
}

/// The same, with TLS if there is a certificate for it.
pub fn start_with(tls: Option<ServerTlsConfig>) -> Running {
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
                .add_service(ImageServiceServer::new(serving.clone()))
                .add_service(TokenServiceServer::new(serving.clone()))
                .add_service(AuditServiceServer::new(serving))
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

pub fn refusal(code: Code, reason: &str, message: &str) -> Status {
    let mut details = ErrorDetails::new();
    details.set_error_info(reason, "banger", [("of".to_owned(), "a test".to_owned())]);
    Status::with_error_details(code, message, details)
}

/// A point in time that tests agree on: 2026-11-22T08:00:00Z.
pub const EIGHT: i64 = 1_795_334_400;

pub fn host(name: &str, state: HostState) -> Host {
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
            capacity: Some(HostResources {
                vcpus: 8,
                memory_mib: 16384,
                disk_mib: 102_400,
                guests: 1023,
            }),
            booked: Some(HostResources { vcpus: 1, memory_mib: 256, disk_mib: 1024, guests: 1 }),
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

    /// Takes the time that a slow call takes over a message.
    async fn pace(&self, call: &str) -> bool {
        let slow = {
            let mut state = self.state();
            let slow = state.slow.contains(call);
            state.waited += u64::from(slow);
            slow
        };
        if slow {
            tokio::time::sleep(PACE).await;
        }
        slow
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

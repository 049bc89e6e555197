//! An agent for tests of the server: speaks the real protocol over real TLS and holds nothing but
//! what it is told. Every VM it is given runs at once.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use banger_proto::agent_v1 as wire;
use banger_proto::agent_v1::agent_service_server::{AgentService, AgentServiceServer};
use banger_wire::resets::ResetsAreErrors;
use banger_wire::service::edge::places::Room;
use banger_wire::service::edge::serve::{Bounds, Listener, Tls, serve};
use banger_wire::tls::Admit;
use sha2::{Digest as _, Sha256};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_stream::wrappers::UnboundedReceiverStream;
use tokio_stream::{Stream, StreamExt as _};
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status};

use super::guests::{Answers, FakeGuest};
use super::renewal::FakeCertificate;

pub(super) type Event = wire::observe_response::Event;

/// What is said on each observation in place of the truth, from its first message on.
#[derive(Clone)]
struct Script(Arc<dyn Fn() -> Said + Send + Sync>);

/// Messages of one observation.
pub(super) type Said = Box<dyn Iterator<Item = wire::ObserveResponse> + Send>;

impl std::fmt::Debug for Script {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Script(..)")
    }
}

#[derive(Debug, Default)]
struct Held {
    vms: BTreeMap<String, wire::ObservedVm>,
    commands: Vec<String>,
    observers: Vec<mpsc::UnboundedSender<Event>>,
    observations: usize,
    objects: Vec<wire::HostObject>,
    sweeps: Vec<wire::SweepRequest>,
    objects_fail: Option<tonic::Code>,
    look: Option<Arc<Look>>,
    images: BTreeMap<String, Vec<u8>>,
    fates: VecDeque<PutFate>,
    puts: usize,
    in_use: bool,
    script: Option<Script>,
    /// Removals of images are answered with the head of an answer and nothing after it.
    removals_never_end: bool,
    /// Paths of calls that were answered so.
    unended: Vec<String>,
}

/// A look at the host's objects that is held: that it was asked for, and that it may go on.
#[derive(Debug, Default)]
pub(super) struct Look {
    pub(super) asked: tokio::sync::Notify,
    pub(super) go_on: tokio::sync::Notify,
}

/// Files that somebody has put into the host's image directory, and their sizes.
const OWN_IMAGES: [(&str, u64); 2] = [("vmlinux", 1 << 20), ("root.ext4", 4 << 20)];

/// What becomes of an image that is brought.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PutFate {
    /// The call breaks off after so many bytes.
    CutAfter(usize),
    /// The host's disk is full.
    DiskFull,
    /// Nothing is taken, and nothing is answered, until the fate is changed.
    Hang,
}

/// What the agent holds; shared with the test.
#[derive(Debug, Clone, Default)]
pub(super) struct FakeAgent {
    held: Arc<Mutex<Held>>,
    pub(super) host_id: String,
    /// What its one guest does.
    pub(super) guest: FakeGuest,
    /// What it shows.
    pub(super) certificate: Arc<FakeCertificate>,
}

/// A fake agent that listens. Stops when dropped.
#[derive(Debug)]
pub(super) struct Serving(pub(super) tokio::task::JoinHandle<()>);

impl Drop for Serving {
    fn drop(&mut self) {
        self.0.abort();
    }
}

fn now() -> Option<prost_types::Timestamp> {
    Some(prost_types::Timestamp { seconds: 1_800_000_000, nanos: 0 })
}

fn policy() -> Option<wire::SweepPolicy> {
    let grace = Some(prost_types::Duration { seconds: 60, nanos: 0 });
    Some(wire::SweepPolicy { grace, budget_per_hour: 200, budget_left: 150, automatic: true })
}

impl FakeAgent {
    pub(super) fn new(host_id: &str) -> Self {
        Self { host_id: host_id.to_owned(), ..Self::default() }
    }

    pub(super) fn serve(
        &self,
        listener: TcpListener,
        certificate: &str,
        key: &str,
        ca: &str,
    ) -> (SocketAddr, Serving) {
        let address = listener.local_addr().expect("it listens");
        let config = self.certificate.begin(certificate, key, ca);
        let listener = Listener {
            accept: listener,
            tls: Some(Tls { config, admit: Admit::OnlyTheServer }),
            bounds: Bounds::of(Room {
                connections: 64,
                per_address: 64,
                unproven: 64,
                per_party: 64,
            }),
            stop: CancellationToken::new(),
            cut: CancellationToken::new(),
        };
        let service = AgentServiceServer::new(self.clone());
        let service = Unending { agent: self.clone(), service };
        let service = tower::ServiceBuilder::new().layer(ResetsAreErrors).service(service);
        (address, Serving(serve(listener, service)))
    }

    /// Drops all streams, as a network that breaks would.
    pub(super) fn cut_streams(&self) {
        self.held.lock().expect("no panic").observers.clear();
    }

    /// Says this, whatever it holds, on the observation that is open.
    pub(super) fn say(&self, event: Event) {
        let mut held = self.held.lock().expect("no panic");
        held.observers.retain(|observer| observer.send(event.clone()).is_ok());
    }

    /// From now on answers removals of images with the head of an answer and nothing after it.
    pub(super) fn never_end_removals(&self) {
        self.held.lock().expect("no panic").removals_never_end = true;
    }

    /// How many calls it has left without an end.
    pub(super) fn unended(&self) -> usize {
        self.held.lock().expect("no panic").unended.len()
    }

    /// Says from the next observation on that it has this file, as if it had been brought.
    pub(super) fn has_image(&self, name: &str) {
        self.held.lock().expect("no panic").images.insert(name.to_owned(), Vec::new());
    }

    /// Whether the server reads what it says.
    pub(super) fn is_observed(&self) -> bool {
        let mut held = self.held.lock().expect("no panic");
        held.observers.retain(|observer| !observer.is_closed());
        !held.observers.is_empty()
    }

    /// How often the server has begun to read what it says.
    pub(super) fn observations(&self) -> usize {
        self.held.lock().expect("no panic").observations
    }

    /// Lies on every observation from the next on: it says this and then nothing more.
    pub(super) fn lie(&self, script: impl Fn() -> Said + Send + Sync + 'static) {
        self.held.lock().expect("no panic").script = Some(Script(Arc::new(script)));
        self.cut_streams();
    }

    /// What it would truly say of itself.
    pub(super) fn facts(&self) -> wire::HostFacts {
        self.facts_of(&self.held.lock().expect("no panic"))
    }

    fn facts_of(&self, held: &Held) -> wire::HostFacts {
        wire::HostFacts {
            boot_id: "boot".to_owned(),
            agent_epoch: 1,
            agent_version: "test".to_owned(),
            simulated: true,
            vmm: "simulated".to_owned(),
            vcpus: 64,
            memory_mib: 65_536,
            disk_mib: 1_000_000,
            heartbeat_interval: Some(prost_types::Duration { seconds: 60, nanos: 0 }),
            host_id: self.host_id.clone(),
            images: held
                .images
                .iter()
                .map(|(name, content)| (name.as_str(), content.len() as u64))
                .chain(OWN_IMAGES)
                .map(|(name, size_bytes)| wire::ImageFile {
                    name: name.to_owned(),
                    size_bytes,
                    ..wire::ImageFile::default()
                })
                .collect(),
            ..wire::HostFacts::default()
        }
    }

    /// Has these on its host.
    pub(super) fn set_objects(&self, objects: Vec<wire::HostObject>) {
        self.held.lock().expect("no panic").objects = objects;
    }

    /// Holds the next look at its objects.
    pub(super) fn hold_look(&self) -> Arc<Look> {
        let look = Arc::new(Look::default());
        self.held.lock().expect("no panic").look = Some(Arc::clone(&look));
        look
    }

    /// Answers sweeps with this code.
    pub(super) fn fail_sweeps(&self, code: tonic::Code) {
        self.held.lock().expect("no panic").objects_fail = Some(code);
    }

    /// The sweeps asked of it.
    pub(super) fn sweeps(&self) -> Vec<wire::SweepRequest> {
        self.held.lock().expect("no panic").sweeps.clone()
    }

    /// What is to become of the next images that are brought, in order; the others are taken.
    pub(super) fn expect_puts(&self, fates: impl IntoIterator<Item = PutFate>) {
        self.held.lock().expect("no panic").fates = fates.into_iter().collect();
    }

    /// Names of the images held, and how often one was brought or begun.
    pub(super) fn images(&self) -> (Vec<String>, usize) {
        let held = self.held.lock().expect("no panic");
        (held.images.keys().cloned().collect(), held.puts)
    }

    /// Whether images are refused to be taken away.
    pub(super) fn use_images(&self, in_use: bool) {
        self.held.lock().expect("no panic").in_use = in_use;
    }

    pub(super) fn commands(&self) -> Vec<String> {
        self.held.lock().expect("no panic").commands.clone()
    }

    fn accept(&self, call: &str, assignment: &wire::Assignment) -> wire::AssignmentResult {
        let mut held = self.held.lock().expect("no panic");
        let power = assignment.desired();
        held.commands.push(format!("{call} {}", power.as_str_name()));
        let mut result = wire::AssignmentResult {
            vm_id: assignment.vm_id.clone(),
            accepted: assignment.version,
            ..wire::AssignmentResult::default()
        };
        let event = if power == wire::Power::Absent {
            result.absent = held.vms.remove(&assignment.vm_id).is_none();
            let vm_id = assignment.vm_id.clone();
            Event::Gone(wire::VmGone { vm_id, version: assignment.version })
        } else {
            let phase = match power {
                wire::Power::Stopped => wire::Phase::Stopped,
                wire::Power::Paused => wire::Phase::Paused,
                wire::Power::Running | wire::Power::Absent | wire::Power::Unspecified => {
                    wire::Phase::Running
                }
            };
            let vm = wire::ObservedVm {
                vm_id: assignment.vm_id.clone(),
                accepted: assignment.version,
                settled: assignment.version,
                phase: phase.into(),
                observed_at: now(),
                phase_since: now(),
                ..wire::ObservedVm::default()
            };
            held.vms.insert(vm.vm_id.clone(), vm.clone());
            Event::Vm(vm)
        };
        held.observers.retain(|observer| observer.send(event.clone()).is_ok());
        result
    }
}

fn of(assignment: Option<wire::Assignment>) -> Result<wire::Assignment, Status> {
    assignment.ok_or_else(|| Status::invalid_argument("no assignment"))
}

#[tonic::async_trait]
impl AgentService for FakeAgent {
    async fn create_vm(
        &self,
        request: Request<wire::CreateVmRequest>,
    ) -> Result<Response<wire::CreateVmResponse>, Status> {
        let accepted = self.accept("create", &of(request.into_inner().assignment)?).accepted;
        Ok(Response::new(wire::CreateVmResponse { accepted }))
    }

    async fn stop_vm(
        &self,
        request: Request<wire::StopVmRequest>,
    ) -> Result<Response<wire::StopVmResponse>, Status> {
        let accepted = self.accept("stop", &of(request.into_inner().assignment)?).accepted;
        Ok(Response::new(wire::StopVmResponse { accepted }))
    }

    async fn delete_vm(
        &self,
        request: Request<wire::DeleteVmRequest>,
    ) -> Result<Response<wire::DeleteVmResponse>, Status> {
        let request = request.into_inner();
        let result = self.accept(
            "delete",
            &wire::Assignment {
                vm_id: request.vm_id,
                version: request.version,
                desired: wire::Power::Absent.into(),
                ..wire::Assignment::default()
            },
        );
        let (accepted, absent) = (result.accepted, result.absent);
        Ok(Response::new(wire::DeleteVmResponse { accepted, absent }))
    }

    async fn reconcile(
        &self,
        request: Request<wire::ReconcileRequest>,
    ) -> Result<Response<wire::ReconcileResponse>, Status> {
        let assignments = request.into_inner().assignments;
        let results = assignments.iter().map(|one| self.accept("reconcile", one)).collect();
        Ok(Response::new(wire::ReconcileResponse { results }))
    }

    async fn sweep(
        &self,
        request: Request<wire::SweepRequest>,
    ) -> Result<Response<wire::SweepResponse>, Status> {
        let mut held = self.held.lock().expect("no panic");
        if let Some(code) = held.objects_fail {
            return Err(Status::new(code, "as it was told"));
        }
        let request = request.into_inner();
        held.sweeps.push(request.clone());
        let mut answer = wire::SweepResponse { policy: policy(), ..Default::default() };
        for object in &held.objects {
            let orphan = object.state() == wire::ObjectState::Orphan;
            if orphan && request.claimed_vm_ids.contains(&object.vm_id) {
                answer.kept.push(wire::KeptObject {
                    object: Some(object.clone()),
                    reason: wire::KeptReason::Claimed.into(),
                    message: "the server knows its VM".to_owned(),
                });
            } else if orphan {
                answer.removed.push(object.clone());
            }
        }
        Ok(Response::new(answer))
    }

    type ListObjectsStream =
        Pin<Box<dyn Stream<Item = Result<wire::ListObjectsResponse, Status>> + Send>>;

    async fn list_objects(
        &self,
        _request: Request<wire::ListObjectsRequest>,
    ) -> Result<Response<Self::ListObjectsStream>, Status> {
        let look = self.held.lock().expect("no panic").look.take();
        if let Some(look) = look {
            look.asked.notify_one();
            look.go_on.notified().await;
        }
        let objects = self.held.lock().expect("no panic").objects.clone();
        let mut parts: Vec<_> = objects
            .chunks(500)
            .map(|part| wire::ListObjectsResponse { objects: part.to_vec(), policy: None })
            .collect();
        parts.push(wire::ListObjectsResponse { objects: Vec::new(), policy: policy() });
        Ok(Response::new(Box::pin(tokio_stream::iter(parts.into_iter().map(Ok)))))
    }

    type ReadConsoleStream = Answers<wire::ReadConsoleResponse>;

    async fn read_console(
        &self,
        request: Request<wire::ReadConsoleRequest>,
    ) -> Result<Response<Self::ReadConsoleStream>, Status> {
        Ok(Response::new(self.guest.read_console(request.into_inner())))
    }

    type AttachConsoleStream = Answers<wire::AttachConsoleResponse>;

    async fn attach_console(
        &self,
        request: Request<tonic::Streaming<wire::AttachConsoleRequest>>,
    ) -> Result<Response<Self::AttachConsoleStream>, Status> {
        Ok(Response::new(self.guest.attach_console(request.into_inner())))
    }

    type ExecStream = Answers<wire::ExecResponse>;

    async fn exec(
        &self,
        request: Request<tonic::Streaming<wire::ExecRequest>>,
    ) -> Result<Response<Self::ExecStream>, Status> {
        self.guest.check_reached()?;
        Ok(Response::new(self.guest.exec(request.into_inner())))
    }

    async fn copy_in(
        &self,
        request: Request<tonic::Streaming<wire::CopyInRequest>>,
    ) -> Result<Response<wire::CopyInResponse>, Status> {
        self.guest.copy_in(request.into_inner()).await.map(Response::new)
    }

    type CopyOutStream = Answers<wire::CopyOutResponse>;

    async fn copy_out(
        &self,
        request: Request<wire::CopyOutRequest>,
    ) -> Result<Response<Self::CopyOutStream>, Status> {
        Ok(Response::new(self.guest.copy_out(request.into_inner())))
    }

    type ForwardStream = Answers<wire::ForwardResponse>;

    async fn forward(
        &self,
        request: Request<tonic::Streaming<wire::ForwardRequest>>,
    ) -> Result<Response<Self::ForwardStream>, Status> {
        Ok(Response::new(self.guest.forward(request.into_inner())))
    }

    async fn put_image(
        &self,
        request: Request<tonic::Streaming<wire::PutImageRequest>>,
    ) -> Result<Response<wire::PutImageResponse>, Status> {
        let mut stream = request.into_inner();
        let first = stream.message().await?.and_then(|first| first.image);
        let first = first.ok_or_else(|| Status::invalid_argument("no image"))?;
        let fate = {
            let mut held = self.held.lock().expect("no panic");
            held.puts += 1;
            held.fates.pop_front()
        };
        let cut = match fate {
            Some(PutFate::DiskFull) => return Err(Status::resource_exhausted("the disk is full")),
            Some(PutFate::Hang) => return std::future::pending().await,
            Some(PutFate::CutAfter(bytes)) => bytes,
            None => usize::MAX,
        };
        let mut content = Vec::new();
        while let Some(message) = stream.message().await? {
            content.extend(message.data);
            if content.len() > cut {
                return Err(Status::unavailable("cut"));
            }
        }
        assert_eq!(content.len() as u64, first.size_bytes, "all of it comes");
        assert_eq!(hex::encode(Sha256::digest(&content)), first.sha256, "and as it was announced");
        self.held.lock().expect("no panic").images.insert(first.name, content);
        Ok(Response::new(wire::PutImageResponse::default()))
    }

    async fn remove_image(
        &self,
        request: Request<wire::RemoveImageRequest>,
    ) -> Result<Response<wire::RemoveImageResponse>, Status> {
        let mut held = self.held.lock().expect("no panic");
        if held.in_use {
            return Err(Status::failed_precondition("in use"));
        }
        held.images.remove(&request.into_inner().name);
        Ok(Response::new(wire::RemoveImageResponse {}))
    }

    async fn prepare_certificate(
        &self,
        _request: Request<wire::PrepareCertificateRequest>,
    ) -> Result<Response<wire::PrepareCertificateResponse>, Status> {
        self.certificate.prepare()
    }

    async fn install_certificate(
        &self,
        request: Request<wire::InstallCertificateRequest>,
    ) -> Result<Response<wire::InstallCertificateResponse>, Status> {
        self.certificate.install(request)
    }

    type ObserveStream = Pin<Box<dyn Stream<Item = Result<wire::ObserveResponse, Status>> + Send>>;

    async fn observe(
        &self,
        _request: Request<wire::ObserveRequest>,
    ) -> Result<Response<Self::ObserveStream>, Status> {
        let (observer, events) = mpsc::unbounded_channel();
        let mut held = self.held.lock().expect("no panic");
        if let Some(Script(script)) = held.script.clone() {
            let lies = tokio_stream::iter(script().map(Ok));
            return Ok(Response::new(Box::pin(lies.chain(tokio_stream::pending()))));
        }
        let facts = self.facts_of(&held);
        let inventory =
            wire::InventoryPart { vms: held.vms.values().cloned().collect(), last: true };
        observer.send(Event::Host(facts)).expect("it is open");
        observer.send(Event::Inventory(inventory)).expect("it is open");
        held.observers.push(observer);
        held.observations += 1;
        let mut sequence = 0;
        let stream = UnboundedReceiverStream::new(events).map(move |event| {
            sequence += 1;
            Ok(wire::ObserveResponse { sequence, event: Some(event) })
        });
        Ok(Response::new(Box::pin(stream)))
    }
}

/// An agent that does not end what it was asked not to.
#[derive(Debug, Clone)]
struct Unending<S> {
    agent: FakeAgent,
    service: S,
}

impl<S, B> tower::Service<http::Request<B>> for Unending<S>
where
    S: tower::Service<http::Request<B>, Response = http::Response<tonic::body::Body>>,
    S::Future: Send + 'static,
    S::Error: Send + 'static,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<S::Response, S::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.service.poll_ready(context)
    }

    fn call(&mut self, request: http::Request<B>) -> Self::Future {
        let path = request.uri().path();
        let mut held = self.agent.held.lock().expect("no panic");
        if !(held.removals_never_end && path.ends_with("/RemoveImage")) {
            return Box::pin(self.service.call(request));
        }
        held.unended.push(path.to_owned());
        let head = http::Response::builder().header("content-type", "application/grpc");
        let answer = head.body(tonic::body::Body::new(Silence)).expect("a head");
        Box::pin(std::future::ready(Ok(answer)))
    }
}

/// A body of which nothing ever comes.
struct Silence;

impl http_body::Body for Silence {
    type Data = bytes::Bytes;
    type Error = Status;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<http_body::Frame<Self::Data>, Self::Error>>> {
        Poll::Pending
    }
}

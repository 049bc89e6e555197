//! One VM at a time, asked for one thing after the other, whatever happens to the server meanwhile.
//!
//! Driven by a task for each slot. A wish is asked again until its outcome is known: an answer that
//! did not come says nothing. Every wish is idempotent by the API's word, so that asking again is
//! what a client does. What was acknowledged is kept beside, for the oracle.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use banger_proto::v1;
use banger_proto::v1::DesiredState;
use banger_proto::v1::vm_service_client::VmServiceClient;
use parking_lot::Mutex;
use tokio::time::Instant;
use tonic::transport::Channel;
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use super::schedule::Wish;
use crate::specs::create;

/// How long an answer may take before it counts as lost.
const ANSWER: Duration = Duration::from_secs(3);

/// How long a wish may go unanswered, faults and all.
const PATIENCE: Duration = Duration::from_secs(120);

/// The label that updates change.
const LABEL: &str = "told";

/// What was acknowledged of the VM in a slot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Acknowledged {
    /// Which.
    pub id: String,
    /// What is wanted of it.
    pub desired: DesiredState,
    /// At least this generation.
    pub generation: u64,
    /// The value of the label.
    pub told: String,
}

/// What the slots know together.
#[derive(Debug, Default)]
pub struct Book {
    /// By slot: what lives.
    pub living: BTreeMap<usize, Acknowledged>,
    /// Acknowledged deletes.
    pub deleted: Vec<String>,
    /// A wish of this slot is under way: what is seen may be newer than what is acknowledged.
    pub asking: BTreeMap<usize, Asking>,
    /// Answers that did not come.
    pub unanswered: u64,
    /// Wishes that were acknowledged.
    pub acknowledged: u64,
    /// What must not be.
    pub broken: Vec<String>,
}

/// The kinds of wishes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asking {
    /// Have one.
    Create,
    /// Run it.
    Start,
    /// Stop it.
    Stop,
    /// Stop its vCPUs.
    Pause,
    /// Let them run again.
    Resume,
    /// Stop and start it once.
    Reboot,
    /// Change a label.
    Update,
    /// Have it no more.
    Delete,
}

impl Asking {
    /// Those that make sense for a VM.
    fn of(living: Option<&Acknowledged>, choice: u32) -> Self {
        let sensible: &[Self] = match living.map(|vm| vm.desired) {
            None => &[Self::Create],
            Some(DesiredState::Stopped) => &[Self::Start, Self::Start, Self::Update, Self::Delete],
            Some(DesiredState::Paused) => {
                &[Self::Resume, Self::Resume, Self::Stop, Self::Update, Self::Delete]
            }
            Some(_) => {
                &[Self::Stop, Self::Pause, Self::Reboot, Self::Update, Self::Delete, Self::Delete]
            }
        };
        sensible[choice as usize % sensible.len()]
    }

    fn desired(self, before: DesiredState) -> DesiredState {
        match self {
            Self::Create | Self::Start | Self::Resume | Self::Reboot => DesiredState::Running,
            Self::Stop => DesiredState::Stopped,
            Self::Pause => DesiredState::Paused,
            Self::Update => before,
            Self::Delete => DesiredState::Absent,
        }
    }
}

/// Asks for everything in turn.
pub async fn live(
    slot: usize,
    wishes: Vec<Wish>,
    start: Instant,
    vms: VmServiceClient<Channel>,
    book: Arc<Mutex<Book>>,
) {
    for (nth, wish) in wishes.into_iter().enumerate() {
        tokio::time::sleep_until(start + wish.at).await;
        let living = book.lock().living.get(&slot).cloned();
        let asking = Asking::of(living.as_ref(), wish.choice);
        book.lock().asking.insert(slot, asking);
        let request = Request { slot, nth, asking, wish, living };
        match request.until_known(&vms, &book).await {
            Ok(vm) => request.acknowledged(vm, &mut book.lock()),
            Err(broken) => {
                book.lock().broken.push(format!("slot {slot}, wish {nth}, {asking:?}: {broken}"));
                return;
            }
        }
    }
}

struct Request {
    slot: usize,
    nth: usize,
    asking: Asking,
    wish: Wish,
    living: Option<Acknowledged>,
}

impl Request {
    async fn until_known(
        &self,
        vms: &VmServiceClient<Channel>,
        book: &Mutex<Book>,
    ) -> Result<v1::Vm, String> {
        let begun = Instant::now();
        let mut unsure = false;
        loop {
            let last = match tokio::time::timeout(ANSWER, self.ask(vms)).await {
                Ok(Ok(vm)) => return Ok(vm),
                Ok(Err(status)) => {
                    if let Some(refused) = refusal(&status) {
                        // What was asked before, and not answered, may be what is in the way.
                        return match (unsure, self.seen(vms).await) {
                            (true, Some(vm)) if self.is_so(&vm) => Ok(vm),
                            _ => Err(refused),
                        };
                    }
                    format!("{status:?}")
                }
                Err(_) => format!("no answer within {ANSWER:?}"),
            };
            unsure = true;
            book.lock().unanswered += 1;
            if begun.elapsed() > PATIENCE {
                return Err(format!("not known after {PATIENCE:?}; last: {last}"));
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    async fn ask(&self, vms: &VmServiceClient<Channel>) -> Result<v1::Vm, Status> {
        let mut vms = vms.clone();
        let vm = self.living.as_ref().map(|vm| vm.id.clone()).unwrap_or_default();
        let etag = String::new();
        // A guest of a simulated host shuts down at once; one that is paused has to be ended.
        let grace_period = Some(prost_types::Duration { seconds: 1, nanos: 0 });
        let answer = match self.asking {
            Asking::Create => vms.create_vm(self.creation()).await,
            Asking::Start => {
                vms.start_vm(v1::StartVmRequest { vm, etag, ..Default::default() }).await
            }
            Asking::Stop => {
                vms.stop_vm(v1::StopVmRequest { vm, etag, grace_period, ..Default::default() })
                    .await
            }
            Asking::Pause => {
                vms.pause_vm(v1::PauseVmRequest { vm, etag, ..Default::default() }).await
            }
            Asking::Resume => {
                vms.resume_vm(v1::ResumeVmRequest { vm, etag, ..Default::default() }).await
            }
            Asking::Reboot => {
                let reset_root_disk = self.wish.choice.is_multiple_of(7);
                let request = v1::RebootVmRequest {
                    vm,
                    etag,
                    grace_period,
                    reset_root_disk,
                    ..Default::default()
                };
                vms.reboot_vm(request).await
            }
            Asking::Update => {
                let held = vms.get_vm(v1::GetVmRequest { vm: vm.clone() }).await?.into_inner();
                let mut spec = held.spec.unwrap_or_default();
                spec.labels.insert(LABEL.to_owned(), self.told());
                let spec = Some(spec);
                vms.update_vm(v1::UpdateVmRequest { vm, spec, ..Default::default() }).await
            }
            Asking::Delete => {
                vms.delete_vm(v1::DeleteVmRequest {
                    vm,
                    etag,
                    allow_missing: true,
                    ..Default::default()
                })
                .await
            }
        };
        answer.map(tonic::Response::into_inner)
    }

    fn creation(&self) -> v1::CreateVmRequest {
        let id = uuid::Builder::from_u128(self.wish.id)
            .with_version(uuid::Version::SortRand)
            .with_variant(uuid::Variant::RFC4122)
            .into_uuid();
        let mut request = create(&format!("slot-{}-{}", self.slot, self.nth));
        request.id = id.to_string();
        let spec = request.spec.get_or_insert_default();
        spec.labels.insert(LABEL.to_owned(), self.told());
        spec.set_restart_policy(match self.wish.choice % 3 {
            0 => v1::RestartPolicy::Never,
            1 => v1::RestartPolicy::OnFailure,
            _ => v1::RestartPolicy::Always,
        });
        request
    }

    fn told(&self) -> String {
        format!("{}-{}", self.slot, self.nth)
    }

    async fn seen(&self, vms: &VmServiceClient<Channel>) -> Option<v1::Vm> {
        let vm = self.living.as_ref()?.id.clone();
        let mut vms = vms.clone();
        let got = vms.get_vm(v1::GetVmRequest { vm });
        tokio::time::timeout(ANSWER, got).await.ok()?.ok().map(tonic::Response::into_inner)
    }

    /// Whether a VM is what was asked for.
    fn is_so(&self, vm: &v1::Vm) -> bool {
        let Some(before) = &self.living else { return false };
        vm.generation > before.generation
            && vm.desired_state() == self.asking.desired(before.desired)
    }

    fn acknowledged(&self, vm: v1::Vm, book: &mut Book) {
        book.acknowledged += 1;
        book.asking.remove(&self.slot);
        if self.asking == Asking::Delete {
            if let Some(gone) = book.living.remove(&self.slot) {
                book.deleted.push(gone.id);
            }
            return;
        }
        let before = self.living.as_ref();
        let wanted = self.asking.desired(before.map_or(DesiredState::Running, |vm| vm.desired));
        let told = match (self.asking, before) {
            (Asking::Create | Asking::Update, _) | (_, None) => self.told(),
            (_, Some(before)) => before.told.clone(),
        };
        if vm.desired_state() != wanted || label(&vm) != told {
            let asking = self.asking;
            book.broken.push(format!("I1 {asking:?} was answered with {vm:#?}"));
        }
        let older = before.is_some_and(|before| vm.generation < before.generation);
        if older {
            book.broken.push(format!("I1 after {before:?} came {vm:#?}"));
        }
        let generation = vm.generation;
        let held = Acknowledged { id: vm.id, desired: wanted, generation, told };
        book.living.insert(self.slot, held);
    }
}

/// The label that updates change.
#[must_use]
pub fn label(vm: &v1::Vm) -> String {
    let labels = vm.spec.as_ref().map(|spec| &spec.labels);
    labels.and_then(|labels| labels.get(LABEL)).cloned().unwrap_or_default()
}

/// The server's own word that it won't; `None`: it, or the way to it, is not there now.
fn refusal(status: &Status) -> Option<String> {
    match (status.code(), status.get_details_error_info()) {
        (Code::Unavailable | Code::Cancelled | Code::DeadlineExceeded, _) => None,
        // Of the transport, which has no reasons.
        (Code::Unknown | Code::Internal, None) => None,
        (_, Some(info)) => Some(format!("refused: {} {}", info.reason, status.message())),
        (_, None) => Some(format!("I7 a refusal without a reason: {status:?}")),
    }
}

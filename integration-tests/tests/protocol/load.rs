//! VMs that are asked for one thing after the other while time goes on.
//!
//! Driven between the steps of the simulation. A wish is a mutation of the store, as the API makes
//! it, and is asked again until its outcome is known. What was acknowledged is kept for the oracle.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use banger_integration_tests::soak::schedule::Wish;
use banger_proto::ids::{Generation, VmId};
use banger_server::clock::{Clock as _, SystemClock};
use banger_server::model::caller::Caller;
use banger_server::model::intent::{Desired, VmIntent};
use banger_server::model::ledger::{
    AnyMutation, CreateVm, DeleteVm, NewSpec, Outcome, Power, Refusal, SetPower, UpdateVm, VmRef,
};
use banger_server::model::spec::{ImageDraft, VmSpec, VmSpecDraft};
use banger_server::store::MutateError;
use parking_lot::Mutex;

use super::net::Up;

const GRACE: Duration = Duration::from_secs(1);

/// What was acknowledged of a VM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Acknowledged {
    pub(super) vm: VmId,
    pub(super) desired: Desired,
    pub(super) generation: Generation,
}

type Answer = Arc<Mutex<Option<Result<Outcome, MutateError>>>>;

struct Asked {
    mutation: AnyMutation,
    answer: Answer,
    /// The life of the server that was asked.
    life: u64,
    /// It was asked before, and the answer did not come.
    unsure: bool,
}

struct Slot {
    host: String,
    wishes: VecDeque<Wish>,
    asked: Option<Asked>,
    living: Option<Acknowledged>,
    made: usize,
}

/// All of them.
pub(super) struct Load {
    slots: Vec<Slot>,
    pub(super) deleted: Vec<VmId>,
    pub(super) acknowledged: usize,
    pub(super) broken: Vec<String>,
}

/// A small VM on a host.
pub(super) fn spec(host: &str, told: usize) -> Arc<VmSpec> {
    let image = |name: &str| Some(ImageDraft { name: name.to_owned(), sha256: String::new() });
    let draft = VmSpecDraft {
        kernel: image("demo-kernel"),
        root_image: image("demo-root"),
        memory_mib: 128,
        root_disk_mib: 64,
        placement_host: host.to_owned(),
        labels: BTreeMap::from([("told".to_owned(), told.to_string())]).into_iter().collect(),
        ..VmSpecDraft::default()
    };
    Arc::new(draft.check().expect("a valid spec"))
}

pub(super) fn creation(id: VmId, name: &str, host: &str) -> AnyMutation {
    AnyMutation::CreateVm(CreateVm {
        project: Default::default(),
        id,
        id_is_given: true,
        request_id: None,
        name: name.to_owned(),
        spec: spec(host, 0),
        desired: Desired::Running,
    })
}

/// Asks a server, whose runtime goes on with the next steps.
pub(super) fn ask(up: &Up, mutation: AnyMutation) -> Answer {
    let answer = Answer::default();
    let (put, store) = (Arc::clone(&answer), up.store.clone());
    up.runtime.spawn(async move {
        let outcome = store.submit(Caller::server(SystemClock.now()), mutation).await;
        *put.lock() = Some(outcome);
    });
    answer
}

pub(super) fn vm_id(id: u128) -> VmId {
    let version = uuid::Version::SortRand;
    let id =
        uuid::Builder::from_u128(id).with_version(version).with_variant(uuid::Variant::RFC4122);
    VmId::from_uuid(id.into_uuid())
}

impl Load {
    pub(super) fn new(wishes: Vec<Vec<Wish>>, hosts: usize) -> Self {
        let slot = |(n, wishes): (usize, Vec<Wish>)| Slot {
            host: format!("host-{}", n % hosts),
            wishes: wishes.into(),
            asked: None,
            living: None,
            made: 0,
        };
        let slots = wishes.into_iter().enumerate().map(slot).collect();
        Self { slots, deleted: Vec::new(), acknowledged: 0, broken: Vec::new() }
    }

    /// What is acknowledged and lives.
    pub(super) fn living(&self) -> impl Iterator<Item = &Acknowledged> {
        self.slots.iter().filter_map(|slot| slot.living.as_ref())
    }

    /// Whether every wish is answered for.
    pub(super) fn is_done(&self) -> bool {
        self.slots.iter().all(|slot| slot.wishes.is_empty() && slot.asked.is_none())
    }

    /// Asks what is due, and takes answers.
    pub(super) fn go_on(&mut self, now: Duration, up: Option<&Up>) {
        for (n, slot) in self.slots.iter_mut().enumerate() {
            let Some(up) = up else { continue };
            let outcome = match &slot.asked {
                None => {
                    if slot.wishes.front().is_some_and(|wish| wish.at <= now)
                        && let Some(wish) = slot.wishes.pop_front()
                    {
                        let mutation = slot.mutation(n, wish);
                        let answer = ask(up, mutation.clone());
                        let life = up.life;
                        slot.asked = Some(Asked { mutation, answer, life, unsure: false });
                    }
                    continue;
                }
                Some(asked) => asked.answer.lock().take(),
            };
            let Some(asked) = slot.asked.take() else { continue };
            match outcome {
                None if asked.life == up.life => slot.asked = Some(asked),
                // Its server is gone, or could not say: nobody knows what came of it.
                None
                | Some(Err(
                    MutateError::Unavailable { .. }
                    | MutateError::Closed
                    // A host that was not seen since the server started takes no VM by its name.
                    | MutateError::Refused(Refusal::HostUnsuitable { .. }),
                )) => {
                    let answer = ask(up, asked.mutation.clone());
                    slot.asked = Some(Asked { answer, life: up.life, unsure: true, ..asked });
                }
                Some(Ok(Outcome::Vm { intent, .. } | Outcome::VmGone(intent))) => {
                    self.acknowledged += 1;
                    self.deleted.extend(slot.acknowledged(&intent));
                }
                Some(Err(MutateError::Refused(Refusal::VmNotFound(_)))) if asked.unsure => {
                    self.acknowledged += 1;
                    self.deleted.extend(slot.living.take().map(|vm| vm.vm));
                }
                Some(other) => {
                    self.broken.push(format!("slot {n}: {:?} came to {other:?}", asked.mutation));
                }
            }
        }
    }
}

impl Slot {
    fn mutation(&mut self, n: usize, wish: Wish) -> AnyMutation {
        self.made += 1;
        let Some(living) = &self.living else {
            return creation(vm_id(wish.id), &format!("slot-{n}-{}", self.made), &self.host);
        };
        let vm = VmRef::Id(living.vm);
        let (etag, choice) = (None, wish.choice);
        let power = |power| AnyMutation::SetPower(SetPower { vm: vm.clone(), etag: None, power });
        let update = || {
            AnyMutation::UpdateVm(UpdateVm {
                vm: vm.clone(),
                etag: None,
                spec: NewSpec::Whole(spec(&self.host, self.made)),
                allow_restart: false,
            })
        };
        match (living.desired, choice % 6) {
            (_, 0) => AnyMutation::DeleteVm(DeleteVm { vm, etag }),
            (_, 1) => update(),
            (Desired::Stopped, _) => power(Power::Start { again: false }),
            (Desired::Paused, 2) => power(Power::Stop { grace: GRACE }),
            (Desired::Paused, _) => power(Power::Resume),
            (Desired::Running | Desired::Absent, 2) => power(Power::Pause),
            (Desired::Running | Desired::Absent, 3) => {
                power(Power::Reboot { grace: GRACE, reset_root_disk: choice.is_multiple_of(7) })
            }
            (Desired::Running | Desired::Absent, _) => power(Power::Stop { grace: GRACE }),
        }
    }

    /// Takes an answer; `Some` when the VM is deleted by it.
    fn acknowledged(&mut self, intent: &VmIntent) -> Option<VmId> {
        if intent.desired == Desired::Absent {
            self.living = None;
            return Some(intent.id);
        }
        let (vm, desired, generation) = (intent.id, intent.desired, intent.generation);
        self.living = Some(Acknowledged { vm, desired, generation });
        None
    }
}

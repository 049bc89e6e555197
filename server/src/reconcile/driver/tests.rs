//! What `ExplainVm` says is what the next pass does, whatever is wanted, seen, tried and brought.

use std::collections::BTreeMap;

use async_trait::async_trait;
use futures_util::stream;
use proptest::prelude::*;
use proptest::test_runner::TestCaseError;
use tempfile::TempDir;
use tokio::sync::mpsc;

use super::*;
use crate::clock::SystemClock;
use crate::fleet::link::{
    Delivery, Dialer, ImageContent, ImageToPut, LinkError, Message, Observations, Report,
};
use crate::fleet::liveness::LivenessLimits;
use crate::fleet::{Fleet, FleetParts};
use crate::images::library::Library;
use crate::images::{ImageSettings, Images};
use crate::metrics::Metrics;
use crate::model::fixtures::{caller, create, join, token};
use crate::model::host::{HostFacts, HostRecord, HostState, ImageFile, ImageKind};
use crate::model::image::host_file;
use crate::model::intent::VmIntent;
use crate::model::ledger::{Change, CreateJoinToken, CreateVm, LedgerConfig, VmRef};
use crate::model::observed::{Observation, Phase};
use crate::pki::Authorities;
use crate::reconcile::explain::explain_at;
use crate::reconcile::{
    CapacityFeed, Certificates, Explanation, ImageDelivery, Knowledge, placement,
};
use crate::store::OpenStore;
use crate::testing::{
    CopyImporter, EPOCH, at, facts, health, host_id, host_record, intent, seen, spec_of_root,
    version,
};
use crate::watch::{Limits, View};

/// An agent that takes every command, never an image, and holds nothing.
#[derive(Debug, Default)]
struct Taker {
    sent: Mutex<Vec<VmId>>,
}

#[async_trait]
impl AgentLink for Taker {
    async fn send(&self, commands: &[Command]) -> Result<Vec<(VmId, Delivery)>, LinkError> {
        self.sent.lock().extend(commands.iter().map(Command::vm));
        Ok(commands.iter().map(|command| (command.vm(), Delivery::Accepted)).collect())
    }

    async fn observe(&self) -> Result<Observations, LinkError> {
        let reports = [
            Report::Host(Box::new(host_facts())),
            Report::Inventory { vms: Vec::new(), last: true },
        ];
        let messages = (1..).zip(reports);
        let messages = messages.map(|(sequence, report)| Ok(Message { sequence, report }));
        Ok(stream::iter(messages).chain(stream::pending()).boxed())
    }

    async fn put_image(&self, _: &ImageToPut, _: ImageContent) -> Result<(), LinkError> {
        std::future::pending().await
    }

    async fn remove_image(&self, _: &str) -> Result<(), LinkError> {
        Ok(())
    }
}

#[derive(Debug)]
struct Always(Arc<Taker>);

impl Dialer for Always {
    fn link(&self, _: &HostRecord) -> Result<Arc<dyn AgentLink>, LinkError> {
        Ok(Arc::clone(&self.0) as _)
    }
}

/// How the root image of a VM stands on its host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Root {
    OfTheHost,
    Here,
    Missing,
    Coming,
    /// Its last try failed, and the next is not due.
    Failed,
}

impl Root {
    fn digest(self) -> String {
        format!("{:064x}", 1 + self as u8)
    }
}

/// What was tried for a VM before.
#[derive(Debug, Clone, Copy)]
enum Past {
    Nothing,
    UnderWay,
    Accepted,
    Failed,
    Confirmed,
    ConfirmedAndNotForgotten,
}

#[derive(Debug, Clone)]
struct Case {
    desired: Desired,
    generation: u64,
    observation: Observation,
    root: Root,
    past: Past,
}

fn host_facts() -> HostFacts {
    let mut facts = facts();
    // So that its silence means nothing however long a test takes.
    facts.heartbeat_interval = Duration::from_secs(3600);
    facts.images.push(ImageFile {
        name: host_file(&Root::Here.digest()),
        size_bytes: 4,
        sha256: Root::Here.digest(),
        kind: ImageKind::Root,
    });
    facts
}

struct Fixture {
    driver: Driver,
    taker: Arc<Taker>,
    view: Arc<View>,
    _history: mpsc::Receiver<crate::model::history::HistoryEvent>,
    directory: TempDir,
    _cancel: tokio_util::sync::DropGuard,
}

async fn fixture() -> Fixture {
    let directory = TempDir::new().expect("a directory");
    let clock: crate::clock::SharedClock = Arc::new(SystemClock);
    let (lines, history) = mpsc::channel(1024);
    let view = View::new(
        EPOCH,
        banger_proto::ids::Revision(1),
        Arc::clone(&clock),
        lines,
        Limits::default(),
    );
    let open = OpenStore::open(&directory.path().join("banger.db"), LedgerConfig::default()).await;
    let published = Arc::clone(&view);
    let publish = Arc::new(move |changes: &[Change]| published.committed(changes));
    let store = open.expect("opened").start(publish, Arc::new(|_| {}));
    let library = Library::open(directory.path().join("images"), 1 << 20, 0).expect("made");
    let library = Arc::new(library);
    let images = Images::new(
        store.clone(),
        Arc::clone(&library),
        Arc::new(CopyImporter),
        Arc::clone(&clock),
        ImageSettings::default(),
    );
    let cancel = CancellationToken::new();
    let delivery = ImageDelivery::new(library, Arc::clone(&view), 1, cancel.clone());
    let taker = Arc::new(Taker::default());
    view.committed(&[Change::put(host_record(1))]);
    let parts = FleetParts {
        hosts: view.host_records(),
        dialer: Arc::new(Always(Arc::clone(&taker))),
        sink: Arc::clone(&view) as _,
        clock: Arc::clone(&clock),
        limits: LivenessLimits::default(),
    };
    let (fleet, _sessions) = Fleet::start(parts, cancel.clone());
    let mut hosts = view.hosts_changed();
    while fleet.ready_link(host_id(1)).is_none() {
        // The view hears of the inventory before the link is ready for it.
        let _ = tokio::time::timeout(Duration::from_millis(5), hosts.changed()).await;
    }
    let knowledge = Knowledge::new(fleet.clone(), Arc::clone(&delivery), EPOCH);
    let cas = Authorities::open_or_make(&directory.path().join("ca"), clock.now());
    let cas = Arc::new(arc_swap::ArcSwap::from_pointee(cas.expect("made")));
    let parts = Parts {
        certificates: Certificates { cas, validity: crate::pki::AGENT_VALIDITY },
        view: Arc::clone(&view),
        fleet,
        store,
        clock,
        epoch: EPOCH,
        knowledge,
        metrics: Metrics::new(),
        images: Arc::new(images),
        delivery,
    };
    let mut driver = Driver::new(Arc::new(parts), host_id(1));
    // The first pass of a session forgets what was tried before it.
    driver.pass(true, Instant::now());
    Fixture { driver, taker, view, _history: history, directory, _cancel: cancel.drop_guard() }
}

impl Fixture {
    fn set_up(&mut self, number: u32, case: &Case) -> VmId {
        let wanted = VmIntent {
            desired: case.desired,
            generation: Generation(case.generation),
            spec: match case.root {
                Root::OfTheHost => intent(number).spec,
                kept => spec_of_root(&kept.digest()),
            },
            ..intent(number)
        };
        let vm = wanted.id;
        self.view.committed(&[Change::put(Arc::new(wanted))]);
        if let Observation::Present(seen) = &case.observation {
            self.view.observed(host_id(1), vec![Sighting::Vm(vm, seen.clone())]);
        }
        let (now, generation) = (Instant::now(), Generation(case.generation));
        let mut attempts = self.driver.attempts.lock();
        match case.past {
            Past::Nothing => {}
            Past::UnderWay => attempts.begin([vm]),
            Past::Accepted => attempts.accepted(vm, generation, Step::Send, now),
            Past::Failed => {
                attempts.failed(vm, generation, Step::Send, now);
            }
            Past::Confirmed => attempts.confirm_gone(vm),
            Past::ConfirmedAndNotForgotten => {
                attempts.confirm_gone(vm);
                attempts.failed(vm, generation, Step::Forget, now);
            }
        }
        vm
    }

    /// A VM that has no host. One that is wanted gone is only in the view: the store itself forgets
    /// it together with the wish.
    async fn set_up_unplaced(&self, number: u32, desired: Desired) -> VmId {
        let wanted = VmIntent { desired, host: None, net: None, ..intent(number) };
        if desired == Desired::Absent {
            self.view.committed(&[Change::put(Arc::new(wanted.clone()))]);
        } else {
            let create = CreateVm { desired, ..create(number.into(), &wanted.name) };
            self.driver.parts.store.submit(caller(), create).await.expect("created");
        }
        wanted.id
    }

    /// From now on there is a host with room for all.
    async fn add_room(&self) {
        let store = &self.driver.parts.store;
        store.submit(caller(), CreateJoinToken(token("two"))).await.expect("kept");
        store.submit(caller(), join(2, "two", "two")).await.expect("joined");
        store.set_capacity(host_id(2), Some(facts().capacity), true);
    }

    /// Has each image stand as it is named.
    async fn set_up_images(&self) {
        let link = self.driver.parts.fleet.ready_link(host_id(1)).expect("it is ready");
        let delivery = &self.driver.parts.delivery;
        let wake = self.view.driver_wake(host_id(1));
        // It is not in the library.
        delivery.begin(host_id(1), &link, &Root::Failed.digest());
        let standing = |root: Root| delivery.standing(host_id(1), None, &root.digest());
        while !matches!(standing(Root::Failed), crate::reconcile::ImageStanding::Failed { .. }) {
            wake.notified().await;
        }
        // Taken up by the agent, which never comes to its end.
        let kept = self.directory.path().join("images/sha256").join(Root::Coming.digest());
        std::fs::write(kept, b"root").expect("kept");
        delivery.begin(host_id(1), &link, &Root::Coming.digest());
    }

    fn explained(&self, vm: VmId, now: Instant) -> Explanation {
        let record = self.view.get(vm).expect("it is there");
        explain_at(&record, record.host.as_deref(), &self.driver.parts.knowledge, at(0), now)
    }
}

fn any_desired() -> impl Strategy<Value = Desired> {
    prop_oneof![
        2 => Just(Desired::Running),
        1 => Just(Desired::Stopped),
        2 => Just(Desired::Absent),
    ]
}

fn any_case() -> impl Strategy<Value = Case> {
    let desired = any_desired();
    let phase = prop_oneof![
        Just(Phase::Preparing),
        Just(Phase::Running),
        Just(Phase::Stopped),
        Just(Phase::Failed),
        Just(Phase::Unclear),
    ];
    let observation = prop_oneof![
        2 => Just(Observation::Absent),
        1 => (phase, 0..4_u64, any::<bool>()).prop_map(|(phase, accepted, settled)| {
            let mut vm = seen(phase, accepted);
            vm.settled = if settled { vm.accepted } else { version(0) };
            Observation::Present(vm)
        }),
    ];
    let root = prop_oneof![
        2 => Just(Root::OfTheHost),
        1 => Just(Root::Here),
        1 => Just(Root::Missing),
        1 => Just(Root::Coming),
        1 => Just(Root::Failed),
    ];
    let past = prop_oneof![
        3 => Just(Past::Nothing),
        1 => Just(Past::UnderWay),
        1 => Just(Past::Accepted),
        1 => Just(Past::Failed),
        1 => Just(Past::Confirmed),
        1 => Just(Past::ConfirmedAndNotForgotten),
    ];
    (desired, 1..4_u64, observation, root, past).prop_map(
        |(desired, generation, observation, root, past)| Case {
            desired,
            generation,
            observation,
            root,
            past,
        },
    )
}

/// What explain says of VMs without a host is what the placement task does.
async fn one_pass_without_host(wishes: &[Desired]) -> Result<(), TestCaseError> {
    let fixture = fixture().await;
    let mut vms = Vec::new();
    for (number, desired) in (100..).zip(wishes) {
        vms.push(fixture.set_up_unplaced(number, *desired).await);
    }
    fixture.add_room().await;
    let now = Instant::now();
    let said: Vec<_> = vms.iter().map(|vm| fixture.explained(*vm, now)).collect();

    let parts = &fixture.driver.parts;
    let feed = CapacityFeed::new(Arc::clone(&fixture.view), parts.store.clone());
    let passed = placement::pass(parts, &feed).await;
    for ((vm, desired), said) in vms.iter().zip(wishes).zip(&said) {
        let forgotten = passed.forgotten.contains(vm);
        prop_assert_eq!(said.decision == "FORGET", forgotten, "{}: {:?}", desired, said);
        let placed = parts.store.vm(&VmRef::Id(*vm)).is_some_and(|vm| vm.host.is_some());
        let looks_for_a_host = said.sentences[0].contains("has no host");
        prop_assert_eq!(looks_for_a_host, placed, "{}: {:?}", desired, said);
        prop_assert!(forgotten != placed, "{}: {:?}", desired, said);
    }
    Ok(())
}

async fn one_pass(cases: &[Case], state: HostState, full: bool) -> Result<(), TestCaseError> {
    let mut fixture = fixture().await;
    fixture.set_up_images().await;
    let vms: Vec<VmId> =
        (1..).zip(cases).map(|(number, case)| fixture.set_up(number, case)).collect();
    if state != HostState::Online {
        fixture.view.host_health(host_id(1), health(state));
    }
    let now = Instant::now();
    let said: BTreeMap<VmId, Explanation> =
        vms.iter().map(|vm| (*vm, fixture.explained(*vm, now))).collect();

    fixture.driver.pass(full, now);
    let mut forgotten = Vec::new();
    while let Some(landed) = fixture.driver.flights.next().await {
        let gone = landed.iter().filter(|one| matches!(one.outcome, Landing::Forgotten));
        forgotten.extend(gone.map(|one| one.vm));
    }
    let sent = fixture.taker.sent.lock().clone();
    for (vm, case) in vms.iter().zip(cases) {
        let said = &said[vm];
        let (was_sent, was_forgotten) = (sent.contains(vm), forgotten.contains(vm));
        prop_assert_eq!(said.decision == "SEND", was_sent, "{:?}: {:?}", case, said);
        prop_assert_eq!(said.decision == "FORGET", was_forgotten, "{:?}: {:?}", case, said);
        let record = fixture.view.get(*vm).expect("it is there");
        let waits = (said.decision, &*said.reason) == ("WAIT", IMAGE_TRANSFER);
        // What a status shows before it, such as a process that is unclear, leaves it out.
        if let Some(shown) = &record.trouble {
            prop_assert!(waits && waits_for_images(&record), "{:?}: {:?}", case, said);
            prop_assert!(said.sentences.contains(&shown.message), "{:?}", said);
        }
    }
    let missing = fixture.driver.parts.delivery.standing(host_id(1), None, &Root::Missing.digest());
    let begun = missing != crate::reconcile::ImageStanding::Missing;
    let waited_for = vms
        .iter()
        .zip(cases)
        .any(|(vm, case)| case.root == Root::Missing && said[vm].reason == IMAGE_TRANSFER);
    prop_assert_eq!(begun, waited_for, "a transfer begins exactly when a VM waits for it");
    Ok(())
}

fn any_state() -> impl Strategy<Value = HostState> {
    prop_oneof![4 => Just(HostState::Online), 1 => Just(HostState::Suspect)]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn what_explain_says_is_what_the_next_pass_does(
        cases in prop::collection::vec(any_case(), 1..40), state in any_state(), full in any::<bool>(),
        unplaced in prop::collection::vec(any_desired(), 0..20),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.expect("a runtime");
        runtime.block_on(one_pass(&cases, state, full))?;
        runtime.block_on(one_pass_without_host(&unplaced))?;
    }
}

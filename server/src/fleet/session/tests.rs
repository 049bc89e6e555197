use std::collections::BTreeMap;
use std::sync::Mutex;

use async_trait::async_trait;
use banger_proto::ids::VmId;
use futures_util::stream;
use tokio::sync::{mpsc, watch};

use super::super::link::{Command, Delivery, ImageContent, ImageToPut, Observations, Report};
use super::*;
use crate::clock::SystemClock;
use crate::model::host::HostFacts;
use crate::model::observed::{ObservedVm, Phase, TrafficSeen};
use crate::testing::{facts, host_id, seen, vm_id};

/// An agent that is dialled: each dial takes the next script of messages and then stays silent, or
/// is refused when there is none.
#[derive(Debug, Default)]
struct ScriptedLink {
    scripts: Mutex<Vec<Vec<Report>>>,
    live: Mutex<Option<mpsc::UnboundedSender<Message>>>,
}

#[async_trait]
impl AgentLink for ScriptedLink {
    async fn send(&self, _commands: &[Command]) -> Result<Vec<(VmId, Delivery)>, LinkError> {
        Ok(Vec::new())
    }

    async fn observe(&self) -> Result<Observations, LinkError> {
        let mut scripts = self.scripts.lock().expect("no panic");
        if scripts.is_empty() {
            let address = "nowhere".to_owned();
            return Err(LinkError::Unreachable { address, message: "refused".to_owned() });
        }
        let (live, messages) = mpsc::unbounded_channel();
        for (sequence, report) in (1..).zip(scripts.remove(0)) {
            live.send(Message { sequence, report }).expect("the other end is here");
        }
        *self.live.lock().expect("no panic") = Some(live);
        Ok(stream::unfold(messages, |mut messages| async move {
            messages.recv().await.map(|message| (Ok(message), messages))
        })
        .boxed())
    }

    async fn put_image(&self, _: &ImageToPut, _: ImageContent) -> Result<(), LinkError> {
        unreachable!("a session brings no images")
    }

    async fn remove_image(&self, _: &str) -> Result<(), LinkError> {
        unreachable!("a session takes no images away")
    }
}

#[derive(Debug, Default, Clone, PartialEq)]
struct Told {
    states: Vec<HostState>,
    inventories: usize,
    listed: Vec<VmId>,
    sightings: usize,
    message: String,
}

/// Keeps what it is told, and lets tests wait for it.
#[derive(Debug)]
struct Ledger(watch::Sender<Told>);

impl FleetSink for Ledger {
    fn traffic(&self, _: HostId, _: Vec<(VmId, TrafficSeen)>) {}

    fn host_health(&self, _host: HostId, health: HostHealth) {
        self.0.send_modify(|told| {
            if told.states.last() != Some(&health.state) {
                told.states.push(health.state);
            }
            told.message = health.message;
        });
    }

    fn host_facts(&self, _host: HostId, _facts: Arc<HostFacts>) {}

    fn inventory(&self, host: HostId, listed: BTreeMap<VmId, Box<ObservedVm>>, health: HostHealth) {
        self.0.send_modify(|told| {
            told.inventories += 1;
            told.listed = listed.keys().copied().collect();
        });
        self.host_health(host, health);
    }

    fn observed(&self, _host: HostId, sightings: Vec<Sighting>) {
        self.0.send_modify(|told| told.sightings += sightings.len());
    }
}

struct Stage {
    link: Arc<ScriptedLink>,
    told: watch::Receiver<Told>,
    ready: Arc<AtomicBool>,
    cancel: CancellationToken,
}

fn begin(scripts: Vec<Vec<Report>>) -> Stage {
    let link = Arc::new(ScriptedLink { scripts: Mutex::new(scripts), live: Mutex::default() });
    let (sender, told) = watch::channel(Told::default());
    let (ready, cancel) = (Arc::<AtomicBool>::default(), CancellationToken::new());
    let session = Session::new(SessionParts {
        host: host_id(1),
        name: "host-1".to_owned(),
        link: Arc::clone(&link) as _,
        sink: Arc::new(Ledger(sender)),
        clock: Arc::new(SystemClock),
        limits: LivenessLimits::default(),
        ready: Arc::clone(&ready),
    });
    tokio::spawn(session.run(cancel.clone()));
    Stage { link, told, ready, cancel }
}

impl Stage {
    async fn until(&mut self, what: &str, check: impl Fn(&Told) -> bool) -> Told {
        let patience = Duration::from_secs(600);
        let last = self.told.clone();
        match tokio::time::timeout(patience, self.told.wait_for(check)).await {
            Ok(told) => told.expect("the session runs").clone(),
            Err(_) => panic!("{what} did not come: {:?}", last.borrow()),
        }
    }

    fn say(&self, sequence: u64, report: Report) {
        let live = self.link.live.lock().expect("no panic");
        let live = live.as_ref().expect("a stream is open");
        live.send(Message { sequence, report }).expect("the session reads");
    }
}

fn inventory(vms: &[u128]) -> Vec<Report> {
    let vms = vms.iter().map(|vm| (vm_id(*vm), seen(Phase::Running, 1))).collect();
    vec![Report::Host(Box::new(facts())), Report::Inventory { vms, last: true }]
}

#[tokio::test(start_paused = true)]
async fn a_host_is_online_with_its_inventory_and_offline_after_silence() {
    let mut stage = begin(vec![inventory(&[1])]);
    let told = stage.until("the inventory", |told| told.inventories == 1).await;
    assert_eq!(told.listed, [vm_id(1)]);
    assert!(stage.ready.load(Ordering::Acquire));
    let told = stage.until("offline", |told| told.states.last() == Some(&HostState::Offline)).await;
    assert_eq!(told.states, [HostState::Online, HostState::Suspect, HostState::Offline]);
    assert!(!stage.ready.load(Ordering::Acquire));
    assert!(told.message.contains("refused"), "the last error is told: {}", told.message);
}

#[tokio::test(start_paused = true)]
async fn an_agent_that_is_back_before_the_limit_was_never_suspected() {
    let mut stage = begin(vec![inventory(&[1]), inventory(&[1, 2])]);
    stage.until("the first inventory", |told| told.inventories == 1).await;
    *stage.link.live.lock().expect("no panic") = None;
    let told = stage.until("the second inventory", |told| told.inventories == 2).await;
    assert_eq!(told.states, [HostState::Online]);
    assert_eq!(told.listed, [vm_id(1), vm_id(2)]);
}

#[tokio::test(start_paused = true)]
async fn a_gap_in_the_sequence_asks_for_a_new_inventory() {
    let mut stage = begin(vec![inventory(&[]), inventory(&[])]);
    stage.until("the first inventory", |told| told.inventories == 1).await;
    stage.say(3, Report::Vm(vm_id(1), seen(Phase::Running, 1)));
    stage.until("the change", |told| told.sightings == 1).await;
    stage.say(5, Report::Vm(vm_id(1), seen(Phase::Stopped, 1)));
    let told = stage.until("the second inventory", |told| told.inventories == 2).await;
    assert_eq!(told.sightings, 1, "what came after the gap is not used");
}

#[tokio::test(start_paused = true)]
async fn heartbeats_keep_a_host_online() {
    let mut stage = begin(vec![inventory(&[])]);
    stage.until("the inventory", |told| told.inventories == 1).await;
    for sequence in 3..40 {
        tokio::time::advance(Duration::from_millis(1500)).await;
        stage.say(sequence, Report::Heartbeat);
        tokio::task::yield_now().await;
    }
    assert_eq!(stage.told.borrow().states, [HostState::Online]);
}

#[tokio::test(start_paused = true)]
async fn a_host_never_reached_stays_connecting_and_says_why() {
    let mut stage = begin(Vec::new());
    let told = stage.until("an error", |told| told.message.contains("refused")).await;
    assert_eq!(told.states, [HostState::Connecting]);
    stage.cancel.cancel();
}

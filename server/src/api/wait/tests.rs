use std::collections::BTreeMap;

use tokio::sync::mpsc;

use super::*;
use crate::clock::ManualClock;
use crate::fleet::observed::{FleetSink as _, Sighting};
use crate::model::host::HostState;
use crate::model::intent::VmIntent;
use crate::model::ledger::Change;
use crate::model::observed::{ExitSeen, GuestSeen, ObservedVm, Phase};
use crate::testing::{
    EPOCH, at, facts, health, host_id, host_record, intent, seen, vm_id, wanting,
};
use crate::watch::Limits;

struct World(Arc<View>);

impl World {
    fn new() -> Self {
        let (lines, _history) = mpsc::channel(8);
        let clock = Arc::new(ManualClock::at(at(0)));
        let first = banger_proto::ids::Revision(0);
        let view = View::new(EPOCH, first, clock, lines, Limits::default());
        view.committed(&[Change::put(host_record(1))]);
        view.host_facts(host_id(1), Arc::new(facts()));
        view.inventory(host_id(1), BTreeMap::new(), health(HostState::Online));
        Self(view)
    }

    fn want(&self, intent: &VmIntent) -> Arc<VmRecord> {
        self.0.committed(&[Change::put(Arc::new(intent.clone()))]);
        self.0.get(intent.id).expect("it is there")
    }

    fn see(&self, vm: Box<ObservedVm>) -> Arc<VmRecord> {
        self.0.observed(host_id(1), vec![Sighting::Vm(vm_id(1), vm)]);
        self.0.get(vm_id(1)).expect("it is there")
    }
}

#[test]
fn a_state_of_an_older_generation_is_not_the_one_waited_for() {
    let world = World::new();
    let record = world.want(&intent(1));
    let target = WaitTarget::of(&record, None, None);
    assert_eq!(verdict(&target, &record), None);
    let mut starting = seen(Phase::Running, 1);
    starting.settled = crate::testing::version(0);
    assert_eq!(verdict(&target, &world.see(starting)), None, "running, but for what?");
    assert_eq!(verdict(&target, &world.see(seen(Phase::Running, 1))), Some(Waited::Reached));
}

#[test]
fn a_newer_wish_that_leads_elsewhere_supersedes() {
    let world = World::new();
    let target = WaitTarget::of(&world.want(&intent(1)), None, None);
    let stopped = wanting(&intent(1), Desired::Stopped);
    assert_eq!(verdict(&target, &world.want(&stopped)), Some(Waited::Superseded));
    let again = wanting(&stopped, Desired::Running);
    assert_eq!(verdict(&target, &world.want(&again)), None, "it leads there again");
    assert_eq!(verdict(&target, &world.see(seen(Phase::Running, 3))), Some(Waited::Reached));
    let absent = wanting(&again, Desired::Absent);
    assert_eq!(verdict(&target, &world.want(&absent)), Some(Waited::Superseded));
}

#[test]
fn a_state_that_was_not_wanted_can_be_waited_for() {
    let world = World::new();
    let record = world.want(&intent(1));
    let target = WaitTarget::of(&record, Some(VmState::Stopped), None);
    assert_eq!(verdict(&target, &world.see(seen(Phase::Running, 1))), None);
    let mut ended = seen(Phase::Stopped, 1);
    ended.exit = Some(ExitSeen {
        cause: crate::model::observed::ExitCause::default(),
        crashed: false,
        code: Some(0),
        signal: None,
        message: "the guest shut down".to_owned(),
        time: None,
    });
    assert_eq!(verdict(&target, &world.see(ended)), Some(Waited::Reached));
}

#[test]
fn a_failure_ends_the_wait_and_an_end_of_the_process_does_unless_it_is_started_again() {
    for phase in [Phase::Failed, Phase::Crashed, Phase::Stopped] {
        let world = World::new();
        let target = WaitTarget::of(&world.want(&intent(1)), None, None);
        let mut retrying = seen(phase, 1);
        retrying.next_attempt_at = Some(at(9));
        let expected = (phase == Phase::Failed).then_some(Waited::Failed);
        assert_eq!(verdict(&target, &world.see(retrying)), expected, "{phase:?}");
        assert_eq!(verdict(&target, &world.see(seen(phase, 1))), Some(Waited::Failed), "{phase:?}");
    }
}

#[test]
fn a_failure_of_an_older_generation_does_not_end_the_wait() {
    let world = World::new();
    world.want(&intent(1));
    world.see(seen(Phase::Crashed, 1));
    let record = world.want(&wanting(&intent(1), Desired::Running));
    assert_eq!(verdict(&WaitTarget::of(&record, None, None), &record), None);
}

#[tokio::test(start_paused = true)]
async fn a_deletion_is_reached_when_nothing_is_left() {
    let world = World::new();
    let absent = wanting(&intent(1), Desired::Absent);
    let record = world.want(&absent);
    let target = WaitTarget::of(&record, None, None);
    let view = Arc::clone(&world.0);
    let waiting = tokio::spawn(async move { wait_vm(&view, record, target, MAX_TIMEOUT).await });
    tokio::task::yield_now().await;
    world.0.committed(&[Change::remove(Arc::new(absent), at(1))]);
    let (last, ended) = waiting.await.expect("no panic").expect("not shutting down");
    assert_eq!((last.state(), ended), (VmState::Deleted, Waited::Reached));
}

#[tokio::test(start_paused = true)]
async fn time_passes_and_a_server_that_shuts_down_says_so() {
    let world = World::new();
    let record = world.want(&intent(1));
    let target = WaitTarget::of(&record, None, None);
    let (last, ended) = wait_vm(&world.0, Arc::clone(&record), target, DEFAULT_TIMEOUT)
        .await
        .expect("not shutting down");
    assert_eq!((last.state(), ended), (VmState::Preparing, Waited::Timeout));
    world.0.drain();
    assert!(wait_vm(&world.0, record, target, DEFAULT_TIMEOUT).await.is_none());
}

#[test]
fn a_guest_that_is_not_wanted_running_never_becomes_ready_and_is_not_waited_for() {
    for (desired, phase) in [(Desired::Paused, Phase::Paused), (Desired::Stopped, Phase::Stopped)] {
        let world = World::new();
        let wanted = wanting(&intent(1), desired);
        let target = WaitTarget::of(&world.want(&wanted), None, None).ready(true);
        let mut there = seen(phase, 2);
        there.guest = Some(GuestSeen {
            agent_version: "1".to_owned(),
            boot_id: "b".to_owned(),
            hostname: "h".to_owned(),
            ready_at: Some(at(2)),
            connected: true,
            transport: "vsock".to_owned(),
        });
        assert_eq!(verdict(&target, &world.see(there)), Some(Waited::Superseded), "{desired:?}");
    }
}

#[test]
fn a_guest_is_ready_only_when_its_agent_has_spoken() {
    let world = World::new();
    let record = world.want(&intent(1));
    let target = WaitTarget::of(&record, None, None).ready(true);
    assert_eq!(verdict(&target, &world.see(seen(Phase::Running, 1))), None, "it only runs");
    let mut ready = seen(Phase::Running, 1);
    ready.guest = Some(GuestSeen {
        agent_version: "1".to_owned(),
        boot_id: "b".to_owned(),
        hostname: "h".to_owned(),
        ready_at: Some(at(2)),
        // It was heard, and is busy now: ready it is all the same.
        connected: false,
        transport: "vsock".to_owned(),
    });
    assert_eq!(verdict(&target, &world.see(ready)), Some(Waited::Reached));
    // One that ends before it has spoken is not waited for in vain.
    let mut crashed = seen(Phase::Crashed, 1);
    crashed.exit = Some(ExitSeen {
        cause: crate::model::observed::ExitCause::default(),
        crashed: true,
        code: None,
        signal: Some(9),
        message: String::new(),
        time: None,
    });
    assert_eq!(verdict(&target, &world.see(crashed)), Some(Waited::Failed));
}

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use proptest::prelude::*;

use super::super::ring::ChangeKind;
use super::super::start_states::{MAX_SNAPSHOTS, SNAPSHOT_LIFE};
use super::super::wants::{Interest, Wants};
use super::super::watched::Watched;
use super::super::watcher::{ChangeBatch, Changes, WatchEnd, Watcher};
use super::*;
use crate::clock::ManualClock;
use crate::model::filter::{HostFilter, VmFilter};
use crate::model::fixtures::project;
use crate::model::host::HostState;
use crate::model::intent::Desired;
use crate::model::labels::Selector;
use crate::model::observed::{Fault, Phase, ProcessSeen};
use crate::model::past::Thing;
use crate::testing::{
    EPOCH, at, facts, health, host_id, host_record, intent, seen, spec, version, vm_id, wanting,
};

mod placing;
mod resume;

const FIRST: Revision = Revision(1000);

fn view_with(limits: Limits) -> (Arc<View>, mpsc::Receiver<HistoryEvent>) {
    let (lines, history) = mpsc::channel(64);
    let clock = Arc::new(ManualClock::at(at(0)));
    (View::new(EPOCH, FIRST, clock, lines, limits), history)
}

fn view() -> Arc<View> {
    view_with(Limits::default()).0
}

fn put(view: &View, intent: &VmIntent) {
    view.committed(&[Change::put(Arc::new(intent.clone()))]);
}

fn forget(view: &View, intent: &VmIntent) {
    view.committed(&[Change::remove(Arc::new(intent.clone()), at(9))]);
}

/// Nothing is known of the time before [`FIRST`].
fn past() -> Past {
    Past { floor: FIRST.next(), ..Past::default() }
}

fn with_host(view: &View) {
    view.committed(&[Change::put(host_record(1))]);
}

fn online(view: &View, listed: impl IntoIterator<Item = (VmId, Box<ObservedVm>)>) {
    view.host_facts(host_id(1), Arc::new(facts()));
    view.inventory(host_id(1), listed.into_iter().collect(), health(HostState::Online));
}

fn state(view: &View, number: u32) -> VmState {
    view.get(vm_id(number.into())).expect("it is there").state()
}

/// What a client makes of a stream.
#[derive(Debug, Default, Clone, PartialEq)]
struct Client {
    things: BTreeMap<Thing, Revision>,
    /// Highest revision of a change after the state at the start.
    last: Revision,
    changes: usize,
    exact: bool,
}

impl Client {
    fn take(&mut self, batch: &ChangeBatch, wants: &Wants) {
        let initial = batch.revision.is_none() || batch.completes_initial_state;
        let mut apply = |kind: ChangeKind, subject: &Watched| {
            assert!(wants.may_show(subject), "{kind:?} of what is not asked for: {subject:?}");
            let (id, revision) = (subject.thing(), subject.revision());
            if !initial {
                assert!(revision > self.last, "changes come in order, each once");
                self.last = revision;
                self.changes += 1;
            }
            if self.exact {
                let known = self.things.contains_key(&id);
                assert_eq!(known, kind != ChangeKind::Added, "{kind:?} of {id:?} known: {known}");
            }
            match kind {
                ChangeKind::Added | ChangeKind::Modified => {
                    self.things.insert(id, revision);
                }
                ChangeKind::Removed => {
                    self.things.remove(&id);
                }
            }
        };
        match &batch.changes {
            Changes::Own(own) => own.iter().for_each(|(kind, subject)| apply(*kind, subject)),
            Changes::Shared { segments, after } => {
                for event in segments.iter().flat_map(|segment| segment.events()) {
                    if event.revision() <= *after {
                        continue;
                    }
                    if let Some(kind) = event.kind_for(wants) {
                        apply(kind, &event.after);
                    }
                }
            }
        }
        if let Some(revision) = batch.revision {
            assert!(revision >= self.last, "a revision covers what was sent");
            self.last = revision;
        }
    }

    /// Reads what is there, at most `batches` times.
    fn read(&mut self, watcher: &mut Watcher, batches: usize) {
        for _ in 0..batches {
            match watcher.take().expect("it is not too old") {
                Some(batch) => self.take(&batch, watcher.wants()),
                None => return,
            }
        }
    }
}

/// What a client that wants these is to have in the end.
fn table(view: &View, wants: impl Into<Wants>) -> BTreeMap<Thing, Revision> {
    let (wants, snapshot) = (wants.into(), view.snapshot());
    let vms = snapshot.vms.values().cloned().map(Watched::Vm);
    let hosts = snapshot.hosts.values().cloned().map(Watched::Host);
    let shown = vms.chain(hosts).filter(|subject| wants.shows(subject));
    shown.map(|subject| (subject.thing(), subject.revision())).collect()
}

#[test]
fn a_vm_is_unknown_until_the_inventory_and_absent_only_when_it_is_complete() {
    let view = view();
    view.load(&past(), [&host_record(1)], [&Arc::new(intent(1)), &Arc::new(intent(2))]);
    assert_eq!(state(&view, 1), VmState::Unknown);
    assert!(view.unsettled(host_id(1)).is_empty(), "nothing is done about what is not known");
    online(&view, [(vm_id(1), seen(Phase::Running, 1))]);
    assert_eq!(state(&view, 1), VmState::Running);
    assert_eq!(state(&view, 2), VmState::Preparing);
    let todo: Vec<VmId> = view.unsettled(host_id(1)).iter().map(|r| r.id()).collect();
    assert_eq!(todo, [vm_id(2)]);
}

#[test]
fn a_host_that_is_lost_makes_its_vms_unknown_and_an_inventory_brings_them_back() {
    let view = view();
    with_host(&view);
    online(&view, []);
    put(&view, &intent(1));
    view.observed(host_id(1), vec![Sighting::Vm(vm_id(1), seen(Phase::Running, 1))]);
    assert_eq!(state(&view, 1), VmState::Running);
    view.host_health(host_id(1), health(HostState::Suspect));
    assert_eq!(state(&view, 1), VmState::Unknown);
    let unknown = view.get(vm_id(1)).expect("it is there").revision;
    view.host_health(host_id(1), health(HostState::Offline));
    let later = view.get(vm_id(1)).expect("it is there");
    assert_eq!((later.state(), later.revision), (VmState::Unknown, unknown), "no news");
    online(&view, [(vm_id(1), seen(Phase::Running, 1))]);
    assert_eq!(state(&view, 1), VmState::Running);
}

#[test]
fn a_heartbeat_confirms_the_newest_of_a_vm_and_is_no_change_of_it() {
    let view = view();
    view.load(&past(), [&host_record(1)], [&Arc::new(intent(1))]);
    let confirmed = || view.confirmed(&view.get(vm_id(1)).expect("it is there"));
    assert_eq!(confirmed(), None, "nothing is known yet");
    online(&view, [(vm_id(1), seen(Phase::Running, 1))]);
    assert_eq!(confirmed(), Some(at(1)));
    let (before, revision) = (view.get(vm_id(1)).expect("it is there"), view.revision());
    let heard = HostHealth { last_seen: Some(at(1_000)), ..health(HostState::Online) };
    view.host_health(host_id(1), heard);
    assert_eq!((confirmed(), view.revision()), (Some(at(1_000)), revision));
    put(&view, &wanting(&intent(1), Desired::Stopped));
    assert_eq!(view.confirmed(&before), None, "it is not the newest any more");
    assert_eq!(confirmed(), Some(at(1_000)));
    view.host_health(host_id(1), health(HostState::Suspect));
    assert_eq!(confirmed(), None);
}

#[test]
fn a_first_start_is_preparing_once_and_what_nobody_is_shown_is_known_all_the_same() {
    let view = view();
    with_host(&view);
    online(&view, []);
    put(&view, &intent(1));
    let placed = view.get(vm_id(1)).expect("it is there");
    assert_eq!(placed.state(), VmState::Preparing);
    let begun =
        ObservedVm { settled: version(0), boot_id: String::new(), ..*seen(Phase::Preparing, 1) };
    assert_eq!(view.unsettled(host_id(1)).len(), 1);
    let start = view.revision();
    for second in [2, 3] {
        let begun = ObservedVm { observed_at: at(second), ..begun.clone() };
        view.observed(host_id(1), vec![Sighting::Vm(vm_id(1), Box::new(begun))]);
        let now = view.get(vm_id(1)).expect("it is there");
        assert_eq!((now.revision, now.observed_at), (placed.revision, None));
        assert_eq!(view.revision(), start, "no event");
        assert_eq!(now.status.since, placed.status.since);
    }
    assert!(view.unsettled(host_id(1)).is_empty(), "the agent has it");
    view.observed(host_id(1), vec![Sighting::Vm(vm_id(1), seen(Phase::Running, 1))]);
    let runs = view.get(vm_id(1)).expect("it is there");
    assert_eq!((runs.revision, runs.observed_at), (start.next(), Some(at(1))));
    // A stage that is entered anew is news, and so is a step that is shown.
    let again = ObservedVm { phase_since: at(9), ..*seen(Phase::Running, 1) };
    view.observed(host_id(1), vec![Sighting::Vm(vm_id(1), Box::new(again))]);
    let again = view.get(vm_id(1)).expect("it is there");
    assert_eq!((again.revision, again.status.since), (runs.revision.next(), at(9)));
}

#[test]
fn a_heartbeat_is_no_event_and_what_a_vm_books_comes_with_it() {
    let view = view();
    with_host(&view);
    online(&view, []);
    let all = || Wants { vms: Interest::All, hosts: Interest::All };
    let mut watcher = view.watch(None, all(), "ann").expect("from now");
    let mut client = Client { exact: true, ..Client::default() };
    client.read(&mut watcher, usize::MAX);
    assert_eq!(client.things.len(), 1);
    let start = view.revision();
    for second in 2..60 {
        let heard = HostHealth { last_seen: Some(at(second)), ..health(HostState::Online) };
        view.host_health(host_id(1), heard);
    }
    assert_eq!(view.revision(), start, "nothing was to be told");
    let host = view.host(host_id(1)).expect("a host");
    assert_eq!(host.view.health.last_seen, Some(at(59)), "whoever asks is told");
    put(&view, &intent(1));
    let batch = watcher.take().expect("known").expect("something");
    client.take(&batch, watcher.wants());
    let Changes::Shared { segments, .. } = batch.changes else { panic!("from the ring") };
    let told: Vec<_> = segments[0].events().iter().map(|event| event.after.clone()).collect();
    let [Watched::Vm(vm), Watched::Host(host)] = &told[..] else { panic!("{told:?}") };
    assert_eq!((vm.revision, host.revision), (start.next(), start.next().next()));
    assert_eq!((host.vm_count, host.booked.memory_mib), (1, 256));
    // A host that goes is told as one.
    forget(&view, &intent(1));
    view.committed(&[Change::remove(host_record(1), at(9))]);
    client.read(&mut watcher, usize::MAX);
    assert_eq!(client.things, table(&view, all()));
    assert!(client.things.is_empty());
}

#[test]
fn traffic_is_told_beside_the_state_and_is_no_change_of_it() {
    let view = view();
    view.load(&past(), [&host_record(1)], [&Arc::new(intent(1))]);
    let traffic = || view.traffic(&view.get(vm_id(1)).expect("it is there"));
    online(&view, [(vm_id(1), seen(Phase::Running, 1))]);
    let revision = view.revision();
    let told = TrafficSeen { sent_bytes: 7, ..TrafficSeen::default() };
    view.traffic_told(host_id(1), vec![(vm_id(1), told), (vm_id(2), told)]);
    assert_eq!((traffic().map(|(seen, _)| seen), view.revision()), (Some(told), revision));
    // In the next report it is not named, or its host is not heard.
    view.traffic_told(host_id(1), Vec::new());
    assert_eq!(traffic(), None);
    view.traffic_told(host_id(1), vec![(vm_id(1), told)]);
    view.host_health(host_id(1), health(HostState::Suspect));
    assert_eq!(traffic(), None);
}

#[test]
fn a_vm_no_intent_knows_is_unclaimed_until_one_does() {
    let view = view();
    with_host(&view);
    online(&view, [(vm_id(5), seen(Phase::Running, 1))]);
    assert_eq!(view.host(host_id(1)).expect("a host").unclaimed, [vm_id(5)]);
    assert!(view.get(vm_id(5)).is_none());
    put(&view, &intent(5));
    assert_eq!(state(&view, 5), VmState::Running);
    assert!(view.host(host_id(1)).expect("a host").unclaimed.is_empty());
    view.observed(host_id(1), vec![Sighting::Vm(vm_id(6), seen(Phase::Running, 1))]);
    assert_eq!(view.host(host_id(1)).expect("a host").unclaimed, [vm_id(6)]);
    view.observed(host_id(1), vec![Sighting::Gone(vm_id(6))]);
    assert!(view.host(host_id(1)).expect("a host").unclaimed.is_empty());
}

#[test]
fn the_last_event_of_a_vm_is_removed_with_state_deleted() {
    let view = view();
    put(&view, &intent(1));
    let mut watcher = view.watch(None, VmFilter::default(), "ann").expect("from now");
    let mut client = Client { exact: true, ..Client::default() };
    client.read(&mut watcher, 10);
    forget(&view, &intent(1));
    let batch = watcher.take().expect("not too old").expect("a change");
    let Changes::Shared { segments, .. } = &batch.changes else { panic!("from the ring") };
    let [event] = segments[0].events() else { panic!("one event") };
    assert_eq!(event.kind(), ChangeKind::Removed);
    let Watched::Vm(record) = &event.after else { panic!("a VM") };
    assert_eq!(record.state(), VmState::Deleted);
    assert!(view.get(vm_id(1)).is_none());
}

#[test]
fn a_revision_of_before_what_is_known_or_long_past_is_too_old() {
    let limits = Limits { ring_events: 2, tombstones: 1, ..Limits::default() };
    let (view, _history) = view_with(limits);
    view.load(&past(), [&host_record(1)], [&Arc::new(intent(1))]);
    let start = view.revision();
    let too_old = |cursor, reason| {
        let end = view.watch(Some(cursor), VmFilter::default(), "ann").expect_err("it is too old");
        let WatchEnd::TooOld { after, why, oldest } = end else { panic!("{end}") };
        assert_eq!((after, why), (cursor, reason));
        view.watch(Some(oldest), VmFilter::default(), "ann").expect("the oldest is not");
        assert!(view.watch(Some(Revision(oldest.0 - 1)), VmFilter::default(), "ann").is_err());
    };
    too_old(FIRST, TooOldWhy::Forgotten);
    too_old(Revision(start.0 + 1), TooOldWhy::NotGivenOut);
    view.watch(Some(start), VmFilter::default(), "ann").expect("this life");
    for number in 2..5 {
        put(&view, &intent(number));
        forget(&view, &intent(number));
    }
    too_old(start, TooOldWhy::Forgotten);
}

#[test]
fn a_watcher_that_can_not_be_made_whole_is_told_so() {
    let limits = Limits { ring_events: 1, tombstones: 1, ..Limits::default() };
    let (view, _history) = view_with(limits);
    put(&view, &intent(1));
    let mut watcher = view.watch(Some(view.revision()), VmFilter::default(), "ann").expect("known");
    for number in 2..5 {
        put(&view, &intent(number));
        forget(&view, &intent(number));
    }
    assert!(matches!(watcher.take(), Err(WatchEnd::TooOld { .. })));
}

#[tokio::test(start_paused = true)]
async fn an_idle_watcher_is_told_where_it_is_and_a_draining_server_ends_it() {
    let view = view();
    let mut watcher = view.watch(None, VmFilter::default(), "ann").expect("from now");
    let first = watcher.next().await.expect("the state at the start");
    assert!(first.completes_initial_state && first.revision == Some(FIRST));
    view.tick();
    let bookmark = watcher.next().await.expect("a bookmark");
    assert!(bookmark.bookmark && bookmark.revision == Some(FIRST));
    view.drain();
    assert_eq!(watcher.next().await.expect_err("the end"), WatchEnd::ShuttingDown);
}

#[tokio::test(start_paused = true)]
async fn a_state_at_the_start_that_is_not_read_is_let_go() {
    let view = view();
    put(&view, &intent(1));
    let mut watcher = view.watch(None, VmFilter::default(), "ann").expect("from now");
    tokio::time::advance(SNAPSHOT_LIFE).await;
    view.tick();
    assert_eq!(watcher.take().expect_err("it is let go"), WatchEnd::Unread);
}

#[tokio::test(start_paused = true)]
async fn a_state_at_the_start_that_is_read_slowly_is_read_to_its_end() {
    let view = view();
    for number in 1..=900 {
        put(&view, &intent(number));
    }
    let mut slow = view.watch(None, VmFilter::default(), "ann").expect("from now");
    let mut unread = view.watch(None, VmFilter::default(), "ann").expect("from now");
    put(&view, &intent(901));
    let mut client = Client { exact: true, ..Client::default() };
    let mut parts = 0;
    while client.things.len() < 901 {
        let batch = slow.take().expect("it is read").expect("there is more");
        client.take(&batch, slow.wants());
        parts += 1;
        tokio::time::advance(SNAPSHOT_LIFE * 3 / 4).await;
        view.tick();
    }
    assert!(parts > 3, "it took longer than a state that is not read is kept: {parts}");
    assert_eq!(client.things, table(&view, VmFilter::default()));
    // Both read the same; when nobody does any more it goes, also for who never began.
    tokio::time::advance(SNAPSHOT_LIFE).await;
    view.tick();
    assert_eq!(unread.take().expect_err("it is let go"), WatchEnd::Unread);
}

#[test]
fn states_at_the_start_are_few_and_the_one_that_is_not_read_goes_first() {
    let view = view();
    let mut streams = Vec::new();
    for number in 1..=u32::try_from(MAX_SNAPSHOTS).expect("few") + 1 {
        put(&view, &intent(number));
        streams.push(view.watch(None, VmFilter::default(), "ann").expect("from now"));
    }
    assert_eq!(streams[0].take().expect_err("it was not read"), WatchEnd::Unread);
    assert!(streams.iter_mut().skip(1).all(|stream| stream.take().is_ok()));
}

#[test]
fn whoever_begins_streams_without_end_takes_the_state_at_the_start_of_nobody_else() {
    let view = view();
    put(&view, &intent(1));
    let mut ann = view.watch(None, VmFilter::default(), "ann").expect("from now");
    let mut of_eve = Vec::new();
    for number in 2..=u32::try_from(3 * MAX_SNAPSHOTS).expect("few") {
        put(&view, &intent(number));
        of_eve.push(view.watch(None, VmFilter::default(), "shop/").expect("from now"));
    }
    assert!(ann.take().is_ok(), "hers was read longest ago");
    assert_eq!(of_eve[0].take().expect_err("made room"), WatchEnd::Unread);
}

#[test]
fn a_stream_that_skips_is_told_added_of_what_it_was_not_shown_and_nothing_of_what_came_and_went() {
    let limits = Limits { ring_events: 2, index_part: 2, ..Limits::default() };
    let (view, _history) = view_with(limits);
    put(&view, &intent(1));
    let start = view.revision();
    for number in 2..=8 {
        put(&view, &intent(number));
    }
    let mut watcher = view.watch(Some(start), VmFilter::default(), "ann").expect("known");
    let mut client = Client { last: start, exact: true, ..Client::default() };
    client.things.insert(Thing::Vm(vm_id(1)), start);
    client.read(&mut watcher, 1);
    // One that was not shown yet moves on, one that was shown goes, and so does one that was not.
    put(&view, &VmIntent { generation: banger_proto::ids::Generation(2), ..intent(5) });
    forget(&view, &intent(2));
    forget(&view, &intent(7));
    client.read(&mut watcher, usize::MAX);
    assert_eq!(client.things, table(&view, VmFilter::default()));
}

#[tokio::test]
async fn a_wait_is_woken_by_its_own_vm_and_needs_no_change_when_it_is_there_already() {
    let view = view();
    with_host(&view);
    online(&view, []);
    put(&view, &intent(1));
    let is_running = |record: Option<&Arc<VmRecord>>| {
        record.is_some_and(|record| record.state() == VmState::Running).then_some(())
    };
    let wait = view.wait(vm_id(1));
    let waiting = tokio::spawn(async move { wait.until(is_running).await });
    put(&view, &intent(2));
    view.observed(host_id(1), vec![Sighting::Vm(vm_id(1), seen(Phase::Running, 1))]);
    let patience = Duration::from_secs(10);
    tokio::time::timeout(patience, waiting).await.expect("it is woken").expect("no panic");
    let again = view.wait(vm_id(1));
    tokio::time::timeout(patience, again.until(is_running)).await.expect("at once");
}

#[test]
fn history_tells_of_lasting_states_once_and_not_of_comings_and_goings() {
    let (view, mut history) = view_with(Limits::default());
    with_host(&view);
    online(&view, []);
    put(&view, &intent(1));
    let sight = |phase| vec![Sighting::Vm(vm_id(1), seen(phase, 1))];
    view.observed(host_id(1), sight(Phase::Preparing));
    view.observed(host_id(1), sight(Phase::Running));
    view.host_health(host_id(1), health(HostState::Suspect));
    online(&view, [(vm_id(1), seen(Phase::Running, 1))]);
    view.observed(host_id(1), sight(Phase::Crashed));
    let mut adopted = seen(Phase::Running, 1);
    adopted.adopted_at = Some(at(5));
    adopted.phase_since = at(5);
    view.observed(host_id(1), vec![Sighting::Vm(vm_id(1), adopted)]);
    let mut kinds = Vec::new();
    while let Ok(line) = history.try_recv() {
        assert_eq!(line.actor, "host host-1");
        kinds.push((line.kind.as_str(), line.reason));
    }
    let kinds: Vec<_> = kinds.iter().map(|(kind, reason)| (*kind, reason.as_str())).collect();
    assert_eq!(kinds, [("RUNNING", ""), ("CRASHED", ""), ("RUNNING", "ADOPTED")]);
}

#[test]
fn history_tells_of_an_adoption_from_before_the_server_started() {
    let (lines, mut history) = mpsc::channel(64);
    let started = Arc::new(ManualClock::at(at(100)));
    let view = View::new(EPOCH, FIRST, started, lines, Limits::default());
    with_host(&view);
    put(&view, &intent(1));
    let mut adopted = seen(Phase::Running, 1);
    adopted.adopted_at = Some(at(5));
    online(&view, [(vm_id(1), adopted.clone())]);
    // Heard once more, it is not told once more.
    view.host_health(host_id(1), health(HostState::Suspect));
    online(&view, [(vm_id(1), adopted)]);
    let line = history.try_recv().expect("it is told");
    assert_eq!((line.kind.as_str(), &*line.reason, line.at), ("RUNNING", "ADOPTED", at(5)));
    assert!(history.try_recv().is_err(), "that it runs was told by the server before");
}

#[test]
fn history_tells_when_a_root_disk_is_in_trouble_and_when_it_was_made_larger() {
    let (view, mut history) = view_with(Limits::default());
    with_host(&view);
    online(&view, []);
    put(&view, &intent(1));
    let sight = |reason: &str, sectors: u64| {
        let mut vm = seen(Phase::Running, 1);
        let process = ProcessSeen { pid: 7, start_ticks: 1, start_time: None };
        vm.process = Some(process);
        vm.devices.cow_total_sectors = sectors;
        vm.fault = (!reason.is_empty()).then(|| Fault {
            reason: reason.to_owned(),
            step: "watch".to_owned(),
            message: "so it is".to_owned(),
            left_behind: Vec::new(),
            retrying: false,
        });
        vec![Sighting::Vm(vm_id(1), vm)]
    };
    for (reason, sectors) in [
        ("", 2048),
        ("", 4096),
        ("ROOT_DISK_NEARLY_FULL", 4096),
        ("ROOT_DISK_NEARLY_FULL", 4096),
        ("ROOT_DISK_FULL", 4096),
        ("TOOL_FAILED", 8192),
        ("NETWORK_DEGRADED", 8192),
        ("NETWORK_DEGRADED", 8192),
        ("TAP_LOST", 8192),
        ("", 8192),
    ] {
        view.observed(host_id(1), sight(reason, sectors));
    }
    let lines: Vec<_> = std::iter::from_fn(|| history.try_recv().ok())
        .map(|line| (line.kind.as_str(), line.reason, line.message))
        .collect();
    let lines: Vec<_> = lines.iter().map(|(k, r, m)| (*k, r.as_str(), m.as_str())).collect();
    let said = "VM vm-1 on host host-1: watch: so it is";
    assert_eq!(
        lines,
        [
            ("RUNNING", "", ""),
            ("ROOT_DISK_GROWN", "", "from 1 to 2 MiB"),
            ("ROOT_DISK_ALARM", "ROOT_DISK_NEARLY_FULL", said),
            ("ROOT_DISK_ALARM", "ROOT_DISK_FULL", said),
            ("ROOT_DISK_GROWN", "", "from 2 to 4 MiB"),
            ("ROOT_DISK_ALARM_OVER", "", ""),
            ("NETWORK_DEGRADED", "NETWORK_DEGRADED", said),
            ("NETWORK_DEGRADED", "TAP_LOST", said),
            ("NETWORK_DEGRADED_OVER", "", ""),
        ]
    );
}

#[test]
fn trouble_of_an_older_generation_is_not_shown() {
    let view = view();
    with_host(&view);
    online(&view, []);
    put(&view, &intent(1));
    let trouble = || Some(Trouble { reason: "AGENT_REFUSED", message: "no".to_owned() });
    view.trouble(vm_id(1), version(1), trouble());
    assert_eq!(view.get(vm_id(1)).expect("there").status.reason, "AGENT_REFUSED");
    put(&view, &wanting(&intent(1), Desired::Paused));
    assert_eq!(view.get(vm_id(1)).expect("there").status.reason, "");
    view.trouble(vm_id(1), version(1), trouble());
    assert_eq!(view.get(vm_id(1)).expect("there").status.reason, "");
}

#[test]
fn bookings_follow_the_vms_of_a_host() {
    let view = view();
    with_host(&view);
    put(&view, &intent(1));
    put(&view, &intent(2));
    let host = view.host(host_id(1)).expect("a host");
    assert_eq!((host.vm_count, host.booked.memory_mib), (2, 512));
    forget(&view, &intent(1));
    let host = view.host(host_id(1)).expect("a host");
    assert_eq!((host.vm_count, host.booked.memory_mib), (1, 256));
}

// === list and watch rebuild the table ===

#[derive(Debug, Clone)]
enum Step {
    Put { vm: u32, label: bool, placed: bool, desired: Desired },
    Forget { vm: u32 },
    See { vm: u32, phase: Phase },
    Gone { vm: u32 },
    Lose,
    Return,
    Read { batches: usize },
}

fn step() -> impl Strategy<Value = Step> {
    let vm = 0..12_u32;
    let phase = prop_oneof![Just(Phase::Preparing), Just(Phase::Running), Just(Phase::Stopped)];
    let desired =
        prop_oneof![Just(Desired::Running), Just(Desired::Stopped), Just(Desired::Absent)];
    prop_oneof![
        6 => (vm.clone(), any::<bool>(), any::<bool>(), desired)
            .prop_map(|(vm, label, placed, desired)| Step::Put { vm, label, placed, desired }),
        3 => vm.clone().prop_map(|vm| Step::Forget { vm }),
        6 => (vm.clone(), phase).prop_map(|(vm, phase)| Step::See { vm, phase }),
        2 => vm.prop_map(|vm| Step::Gone { vm }),
        1 => Just(Step::Lose),
        1 => Just(Step::Return),
        4 => (0..3_usize).prop_map(|batches| Step::Read { batches }),
    ]
}

struct World {
    view: Arc<View>,
    intents: BTreeMap<u32, VmIntent>,
    used_up: BTreeSet<u32>,
}

impl World {
    fn act(&mut self, step: &Step, generation: u64) {
        match step {
            Step::Put { vm, label, placed, desired } => {
                // An id is never used again.
                if self.used_up.contains(vm) {
                    return;
                }
                let labels: &[(&str, &str)] = if *label { &[("tier", "web")] } else { &[] };
                let was_placed = self.intents.get(vm).is_some_and(|i| i.host.is_some());
                let host = (*placed || was_placed).then(|| host_id(1));
                let project = project(if vm % 2 == 0 { "default" } else { "shop" });
                let intent = VmIntent {
                    project,
                    spec: spec(labels),
                    desired: *desired,
                    host,
                    generation: banger_proto::ids::Generation(generation),
                    ..intent(*vm)
                };
                put(&self.view, &intent);
                self.intents.insert(*vm, intent);
            }
            Step::Forget { vm } => {
                if let Some(intent) = self.intents.remove(vm) {
                    self.used_up.insert(*vm);
                    forget(&self.view, &intent);
                }
            }
            Step::See { vm, phase } => self.view.observed(
                host_id(1),
                vec![Sighting::Vm(vm_id((*vm).into()), seen(*phase, generation))],
            ),
            Step::Gone { vm } => {
                self.view.observed(host_id(1), vec![Sighting::Gone(vm_id((*vm).into()))]);
            }
            Step::Lose => self.view.host_health(host_id(1), health(HostState::Suspect)),
            Step::Return => online(&self.view, [(vm_id(3), seen(Phase::Running, generation))]),
            Step::Read { .. } => {}
        }
    }
}

fn filters() -> [VmFilter; 5] {
    let shop = || Some(project("shop"));
    let selector = Selector::parse("tier=web").expect("a selector");
    [
        VmFilter::default(),
        VmFilter { project: shop(), ..VmFilter::default() },
        VmFilter { project: shop(), selector: selector.clone(), ..VmFilter::default() },
        VmFilter { selector, ..VmFilter::default() },
        VmFilter { states: vec![VmState::Running, VmState::Pending], ..VmFilter::default() },
    ]
}

/// The same as streams want them, with hosts and without.
fn all_wants() -> Vec<Wants> {
    let online = HostFilter { states: vec![HostState::Online], ..HostFilter::default() };
    let mut all: Vec<Wants> = filters().into_iter().map(Wants::from).collect();
    all.push(online.clone().into());
    all.push(Wants { vms: Interest::All, hosts: Interest::All });
    all.push(Wants { vms: filters()[1].clone().into(), hosts: online.into() });
    all
}

proptest! {
    /// For every filter: a stream that reads at once, one that reads now and then, one that begins
    /// in the middle, and one that resumes, all end with the table as it is, whatever fell off the
    /// ring meanwhile. Those that show everything are told `ADDED` of what they did not have, and
    /// nothing else of anything they have not.
    #[test]
    fn list_and_watch_rebuild_the_table(
        steps in proptest::collection::vec(step(), 1..120),
        ring_events in 1..40_usize,
        begin in 0..100_usize,
        index_part in 1..8_usize,
    ) {
        let limits = Limits { ring_events, index_part, ..Limits::default() };
        let (view, _history) = view_with(limits);
        with_host(&view);
        online(&view, []);
        let start = view.revision();
        let mut world =
            World { view: Arc::clone(&view), intents: BTreeMap::new(), used_up: BTreeSet::new() };
        let mut streams = Vec::new();
        for wants in all_wants() {
            // What a filter has shown is not known of what was skipped.
            let exact = !matches!(wants.vms, Interest::Some(_))
                && !matches!(wants.hosts, Interest::Some(_));
            for eager in [true, false] {
                let watcher = view.watch(None, wants.clone(), "ann").expect("from now");
                streams.push((watcher, Client { exact, ..Client::default() }, eager));
            }
            let resumed = view.watch(Some(start), wants.clone(), "ann").expect("known");
            let mut client = Client { last: start, exact, ..Client::default() };
            client.things = table(&view, wants);
            streams.push((resumed, client, false));
        }
        for (index, step) in steps.iter().enumerate() {
            if index == begin {
                for wants in all_wants() {
                    let watcher = view.watch(None, wants, "ann").expect("from now");
                    streams.push((watcher, Client::default(), false));
                }
            }
            world.act(step, index as u64 + 1);
            for (watcher, client, eager) in &mut streams {
                match step {
                    _ if *eager => client.read(watcher, usize::MAX),
                    Step::Read { batches } => client.read(watcher, *batches),
                    _ => {}
                }
            }
        }
        let changes = view.revision().0 - start.0;
        for (watcher, client, eager) in &mut streams {
            client.read(watcher, usize::MAX);
            let wants = watcher.wants().clone();
            let everything = wants.vms.is_all() && wants.hosts.is_all();
            prop_assert_eq!(&client.things, &table(&view, wants));
            if *eager && everything {
                prop_assert_eq!(client.changes as u64, changes, "every step, once");
            }
        }
        let states: u64 = view.states().iter().map(|(_, count)| count).sum();
        prop_assert_eq!(states as usize, view.snapshot().vms.len());
    }

    /// A stream that keeps up is told `ADDED` of what it did not have, and nothing else.
    #[test]
    fn a_stream_that_keeps_up_sees_exact_kinds(
        steps in proptest::collection::vec(step(), 1..80),
    ) {
        let view = view();
        with_host(&view);
        online(&view, []);
        let mut world =
            World { view: Arc::clone(&view), intents: BTreeMap::new(), used_up: BTreeSet::new() };
        let mut streams: Vec<_> = all_wants()
            .into_iter()
            .map(|wants| {
                let watcher = view.watch(None, wants, "ann").expect("from now");
                (watcher, Client { exact: true, ..Client::default() })
            })
            .collect();
        for (index, step) in steps.iter().enumerate() {
            world.act(step, index as u64 + 1);
            for (watcher, client) in &mut streams {
                client.read(watcher, usize::MAX);
            }
        }
    }
}

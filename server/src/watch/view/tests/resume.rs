//! Streams that go on over a restart of the server.

use std::ops::Range;

use banger_proto::ids::Generation;

use super::*;
use crate::model::past::{GoneThing, PastCommit, Thing};
use crate::model::placement::NoHost;
use crate::model::project::ProjectName;

/// A life of the server, with the journal that the store would keep of it.
struct Life {
    view: Arc<View>,
    past: Past,
    intents: BTreeMap<u32, VmIntent>,
}

impl Life {
    fn first() -> Self {
        let past = Past { floor: FIRST, ..Past::default() };
        Self::begin(past, FIRST, BTreeMap::new())
    }

    fn begin(past: Past, first: Revision, intents: BTreeMap<u32, VmIntent>) -> Self {
        let (lines, _) = mpsc::channel(64);
        let clock = Arc::new(ManualClock::at(at(0)));
        let view = View::new(EPOCH, first, clock, lines, Limits::default());
        let stored: Vec<_> = intents.values().cloned().map(Arc::new).collect();
        view.load(&past, [&host_record(1)], &stored);
        Self { view, past, intents }
    }

    /// The next life, as after a stop: everything of this one is written.
    fn next(self) -> Self {
        let first = Revision(self.view.revision().0 + 1000);
        Self::begin(self.past, first, self.intents)
    }

    fn commit(&mut self, changes: &[Change], what: PastCommit) {
        let Range { start: before, end: after } = self.view.committed(changes);
        self.past.commits.push(PastCommit { before, after, ..what });
    }

    fn make(&mut self, vm: VmIntent, number: u32) {
        let made = vec![Thing::Vm(vm.id)];
        self.commit(
            &[Change::put(Arc::new(vm.clone()))],
            PastCommit { made, ..PastCommit::default() },
        );
        self.intents.insert(number, vm);
    }

    fn end(&mut self, number: u32) {
        let Some(vm) = self.intents.remove(&number) else { return };
        let project = Some(vm.project.clone());
        let gone = GoneThing { thing: Thing::Vm(vm.id), name: vm.name.clone(), project };
        let change = Change::remove(Arc::new(vm), at(9));
        self.commit(&[change], PastCommit { gone: vec![gone], ..PastCommit::default() });
    }

    /// A client that has the whole table.
    fn client(&self) -> Client {
        self.client_of(VmFilter::default())
    }

    /// A client that has what this filter shows.
    fn client_of(&self, filter: VmFilter) -> Client {
        let mut client = Client { exact: filter.is_empty(), ..Client::default() };
        let mut watcher = self.view.watch(None, filter, "ann").expect("from now");
        client.read(&mut watcher, usize::MAX);
        client
    }

    fn resume(&self, client: &Client, filter: VmFilter) -> Result<Watcher, WatchEnd> {
        self.view.watch(Some(client.last), filter, "ann")
    }
}

fn waiting(number: u32) -> VmIntent {
    VmIntent { host: None, net: None, pending: Some(NoHost::NoneHasRoom), ..intent(number) }
}

#[test]
fn a_client_goes_on_over_a_restart_without_a_list_and_is_told_no_state_of_before() {
    let mut life = Life::first();
    online(&life.view, []);
    for number in 1..=3 {
        life.make(intent(number), number);
    }
    life.view.observed(host_id(1), vec![Sighting::Vm(vm_id(1), seen(Phase::Running, 1))]);
    let early = life.client();
    life.end(2);
    life.make(intent(4), 4);
    let late = life.client();
    let life = life.next();
    let mut streams: Vec<_> = [early, late]
        .into_iter()
        .map(|client| (life.resume(&client, VmFilter::default()).expect("it goes on"), client))
        .collect();
    for number in [1, 3, 4] {
        assert_eq!(state(&life.view, number), VmState::Unknown);
    }
    for (watcher, client) in &mut streams {
        client.read(watcher, usize::MAX);
        assert_eq!(client.things, table(&life.view, VmFilter::default()));
    }
    // The agent is back, and the streams go on as any.
    online(&life.view, [(vm_id(1), seen(Phase::Running, 1))]);
    assert_eq!(state(&life.view, 1), VmState::Running);
    for (watcher, client) in &mut streams {
        client.read(watcher, usize::MAX);
        assert_eq!(client.things, table(&life.view, VmFilter::default()));
    }
}

#[test]
fn a_project_hears_of_no_vm_that_another_lost_before_the_restart() {
    let mut life = Life::first();
    life.make(VmIntent { project: project("lab"), ..intent(1) }, 1);
    life.make(VmIntent { project: project("shop"), ..intent(2) }, 2);
    let client = life.client();
    life.end(1);
    life.end(2);
    let life = life.next();
    let filter = VmFilter { project: Some(project("shop")), ..VmFilter::default() };
    let mut watcher = life.resume(&client, filter).expect("it goes on");
    let batch = watcher.take().expect("known").expect("something");
    let Changes::Own(own) = batch.changes else { panic!("from the index") };
    let told: Vec<_> = own.iter().map(|(kind, subject)| (*kind, subject.thing())).collect();
    assert_eq!(told, [(ChangeKind::Removed, Thing::Vm(vm_id(2)))]);
}

#[test]
fn who_can_not_go_on_is_told_why_and_from_where_it_could() {
    let commit = |before, after| PastCommit {
        before: Revision(before),
        after: Revision(after),
        made: vec![Thing::Vm(vm_id(1))],
        ..PastCommit::default()
    };
    let past = Past {
        epoch_floor: Revision(100),
        floor: Revision(200),
        commits: vec![commit(300, 305), commit(400, 1000)],
    };
    let life = Life::begin(past, FIRST, BTreeMap::new());
    let end = |after| {
        let resumed = life.view.watch(Some(Revision(after)), VmFilter::default(), "ann");
        resumed.err().map(|end| match end {
            WatchEnd::TooOld { why, oldest, .. } => (why.as_str(), oldest.0),
            other => panic!("{other}"),
        })
    };
    assert_eq!(end(99), Some(("RESTORED", 200)));
    assert_eq!(end(199), Some(("FORGOTTEN", 200)));
    for goes_on in [200, 300, 305, 399, 400, 1000] {
        assert_eq!(end(goes_on), None, "{goes_on}");
    }
    assert_eq!(end(302), Some(("UNPROVEN", 305)), "within one commit");
    assert_eq!(end(999), Some(("UNPROVEN", 1000)), "the server was killed there");
    assert_eq!(end(5000), Some(("NOT_GIVEN_OUT", 200)));
}

proptest! {
    /// From every revision of a life that a client can have come to, a stream of the next life
    /// brings it to the table as it is, and calls each change what it is to that client.
    #[test]
    fn from_every_revision_of_a_life_the_next_one_brings_a_client_to_its_table(
        steps in proptest::collection::vec((0..10_u32, 0..4_u8), 1..40),
    ) {
        let mut life = Life::first();
        online(&life.view, []);
        let all = |life: &Life| -> Vec<_> {
            filters().into_iter().map(|filter| (life.client_of(filter.clone()), filter)).collect()
        };
        let mut clients = all(&life);
        let mut used = BTreeSet::new();
        for (number, what) in steps {
            match what {
                0 | 1 if used.insert(number) => {
                    let vm = if what == 0 { intent(number) } else { waiting(number) };
                    let project: ProjectName = project(if number % 2 == 0 { "lab" } else { "shop" });
                    life.make(VmIntent { project, ..vm }, number);
                }
                2 => life.end(number),
                _ => life.view.observed(
                    host_id(1),
                    vec![Sighting::Vm(vm_id(number.into()), seen(Phase::Running, 1))],
                ),
            }
            clients.extend(all(&life));
        }
        // Twice, so that what is known is known over two restarts.
        let second = life.next();
        let mut third = second.next();
        third.make(VmIntent { generation: Generation(1), ..intent(99) }, 99);
        for (mut client, filter) in clients {
            let mut watcher = third.resume(&client, filter.clone()).expect("it goes on");
            client.read(&mut watcher, usize::MAX);
            let there = table(&third.view, filter.clone());
            prop_assert_eq!(&client.things, &there);
        }
    }
}

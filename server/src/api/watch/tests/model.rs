//! A fleet that is made up from a seed, watched by readers of every kind, against a reference
//! table.
//!
//! Each seed is a story of commits, reports of agents, hosts that are lost and come back, readers
//! that are slow, break off and go on, and servers that stop, are killed or restored. Readers
//! decode the very bytes that clients get, and hold them to what docs/WATCH.md promises: in order,
//! each once, called what they are, and in the end exactly what a list would show. No clock runs
//! and nothing is waited for, so that a seed is a story for ever: `BANGER_WATCH_SEED=17 cargo
//! nextest run -p banger-server --lib -E 'test(watch_model)'`.

use std::collections::BTreeMap;
use std::ops::Range;

use banger_proto::ids::HostId;

use super::*;
use crate::model::filter::HostFilter;
use crate::model::fixtures::project;
use crate::model::host::HostHealth;
use crate::model::intent::{Desired, VmIntent};
use crate::model::ledger::Change;
use crate::model::past::{GoneThing, Past, PastCommit, Thing};
use crate::model::placement::{NoHost, Overcommit};
use crate::testing::{spec, wanting};
use crate::watch::{Interest, Snapshot, TooOldWhy, Wants, WatchEnd, Watched, Watcher};

/// How many stories are told by default.
const SEEDS: u64 = 2000;

/// How much happens in each.
const STEPS: usize = 60;

/// xorshift64*: enough of a die, and the same everywhere.
struct Dice(u64);

impl Dice {
    fn of(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    fn below(&mut self, sides: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) % sides
    }

    fn one_in(&mut self, sides: u64) -> bool {
        self.below(sides) == 0
    }

    fn small(&mut self, sides: u32) -> u32 {
        u32::try_from(self.below(sides.into())).unwrap_or(0)
    }
}

/// What a reader has of a thing.
#[derive(Debug, Clone, PartialEq)]
enum Told {
    Vm(Box<v1::Vm>),
    Host(Box<v1::Host>),
}

/// A client, with whatever it was told.
struct Reader {
    wants: Wants,
    to: Audience,
    shape: FrameShape,
    watcher: Option<Watcher>,
    things: BTreeMap<String, Told>,
    /// `None` until a state at the start is complete.
    at: Option<u64>,
    /// Within a state at the start.
    listing: bool,
    /// It went on where another stream had ended, which may have been in the middle of catching up.
    resumed: bool,
}

impl Reader {
    /// Whether each event is called exactly what it is to this reader.
    fn is_exact(&self) -> bool {
        !self.resumed
            && !matches!(self.wants.vms, Interest::Some(_))
            && !matches!(self.wants.hosts, Interest::Some(_))
    }

    fn begin(&mut self, world: &World) {
        let after = self.at.filter(|_| !self.listing);
        match world.view.watch(after.map(Revision), self.wants.clone(), "ann") {
            Ok(watcher) => {
                self.resumed = after.is_some();
                if after.is_none() {
                    self.things.clear();
                    self.listing = true;
                }
                self.watcher = Some(watcher);
            }
            Err(WatchEnd::TooOld { after, why, oldest }) => {
                world.may_refuse(after, why, oldest);
                (self.at, self.listing) = (None, false);
            }
            Err(end) => panic!("{end}"),
        }
    }

    /// Reads at most so many batches.
    fn read(&mut self, world: &World, batches: usize) {
        for _ in 0..batches {
            let Some(watcher) = &mut self.watcher else { return };
            let Some(batch) = watcher.next().now_or_never() else { return };
            let batch = match batch {
                Ok(batch) => batch,
                Err(end @ (WatchEnd::TooOld { .. } | WatchEnd::Unread)) => {
                    // Only what the bounds of this world make possible.
                    assert!(world.is_tight || end == WatchEnd::Unread, "{end}");
                    (self.watcher, self.at, self.listing) = (None, None, false);
                    return;
                }
                Err(end) => panic!("{end}"),
            };
            let wants = watcher.wants().clone();
            for frame in frames_of(&world.style, &batch, &wants, self.to, self.shape) {
                let bytes: Vec<u8> = frame.parts.iter().flatten().copied().collect();
                self.take(&bytes);
            }
        }
    }

    fn take(&mut self, bytes: &[u8]) {
        match self.shape {
            FrameShape::Events => {
                let said = v1::WatchResponse::decode(bytes).expect("a response");
                for event in said.events {
                    self.event(event);
                }
                self.said(said.revision, said.initial_state_complete);
            }
            FrameShape::Hosts => {
                let said = v1::WatchHostsResponse::decode(bytes).expect("a response");
                for id in said.removed_host_ids {
                    self.things.remove(&id);
                }
                for host in said.hosts {
                    self.things.insert(host.id.clone(), Told::Host(Box::new(host)));
                }
                self.said(said.revision, said.initial_state_complete);
            }
        }
    }

    fn event(&mut self, event: v1::WatchEvent) {
        let kind = event.r#type();
        let (id, told) = match (event.vm, event.host) {
            (Some(vm), None) => (vm.id.clone(), Told::Vm(Box::new(vm))),
            (None, Some(host)) => (host.id.clone(), Told::Host(Box::new(host))),
            other => panic!("an event is of one thing: {other:?}"),
        };
        if !self.listing {
            let at = self.at.expect("it goes on from somewhere");
            assert!(event.revision > at, "{} comes after {at}", event.revision);
            self.at = Some(event.revision);
        }
        match &told {
            Told::Vm(vm) => assert_eq!(vm.revision, event.revision),
            Told::Host(host) => assert_eq!(host.revision, event.revision),
        }
        let known = self.things.contains_key(&id);
        if self.is_exact() {
            assert_eq!(known, kind != v1::ChangeType::Added, "{kind:?} of {id}, known: {known}");
        }
        match kind {
            v1::ChangeType::Removed => drop(self.things.remove(&id)),
            v1::ChangeType::Added | v1::ChangeType::Modified => {
                drop(self.things.insert(id, told));
            }
            v1::ChangeType::Unspecified => panic!("an event has a type"),
        }
    }

    fn said(&mut self, revision: u64, complete: bool) {
        if complete {
            self.listing = false;
        } else if self.listing {
            assert_eq!(revision, 0, "nothing to go on from yet");
            return;
        }
        assert!(self.at.is_none_or(|at| revision >= at), "a revision covers what was sent");
        self.at = Some(revision);
    }
}

struct World {
    view: Arc<View>,
    style: Style,
    past: Past,
    intents: BTreeMap<u32, VmIntent>,
    hosts: BTreeMap<u32, HostState>,
    used_up: u32,
    /// Whether so little is remembered that readers may be refused for it.
    is_tight: bool,
    /// Revisions that a restore has undone.
    undone: u64,
    /// Between two of these a killed server may have told something.
    unproven: Vec<Range<u64>>,
    limits: Limits,
    generation: u64,
    second: i64,
}

impl World {
    fn begin(dice: &mut Dice) -> Self {
        let is_tight = dice.one_in(4);
        let limits = Limits {
            ring_events: 1 + usize::try_from(dice.below(30)).expect("small"),
            index_part: 1 + usize::try_from(dice.below(8)).expect("small"),
            tombstones: if is_tight { 2 } else { 1 << 14 },
            ..Limits::default()
        };
        let past = Past { floor: Revision(1000), ..Past::default() };
        let mut world = Self {
            view: Self::view(Revision(1000), limits),
            style: Style { domain: "d".into(), overcommit: Overcommit::default() },
            past,
            intents: BTreeMap::new(),
            hosts: BTreeMap::new(),
            used_up: 0,
            is_tight,
            undone: 0,
            unproven: Vec::new(),
            limits,
            generation: 1,
            second: 1,
        };
        world.load();
        world
    }

    fn view(first: Revision, limits: Limits) -> Arc<View> {
        let (lines, _) = tokio::sync::mpsc::channel(1);
        View::new(EPOCH, first, Arc::new(ManualClock::at(at(0))), lines, limits)
    }

    fn load(&mut self) {
        let hosts: Vec<_> = self.hosts.keys().map(|number| host_record(*number)).collect();
        let intents: Vec<_> = self.intents.values().cloned().map(Arc::new).collect();
        self.view.load(&self.past, &hosts, &intents);
        self.hosts.values_mut().for_each(|state| *state = HostState::Connecting);
    }

    /// A reader may be refused for nothing else.
    fn may_refuse(&self, after: Revision, why: TooOldWhy, oldest: Revision) {
        let allowed = match why {
            TooOldWhy::Restored => after.0 < self.undone,
            TooOldWhy::Forgotten => self.is_tight,
            TooOldWhy::Unproven => self.unproven.iter().any(|lost| lost.contains(&after.0)),
            TooOldWhy::NotGivenOut => false,
        };
        assert!(allowed, "after {after}: {why:?}, oldest {oldest}");
        assert!(oldest > after, "{why:?}");
    }

    fn commit(&mut self, changes: &[Change], what: PastCommit) {
        let Range { start: before, end: after } = self.view.committed(changes);
        let after = after.max(before.next());
        self.past.commits.push(PastCommit { before, after, ..what });
    }

    fn put(&mut self, number: u32, vm: VmIntent) {
        let mut what = PastCommit::default();
        if !self.intents.contains_key(&number) {
            what.made.push(Thing::Vm(vm.id));
        }
        self.commit(&[Change::put(Arc::new(vm.clone()))], what);
        self.intents.insert(number, vm);
    }

    fn forget(&mut self, number: u32) {
        let Some(vm) = self.intents.remove(&number) else { return };
        let project = Some(vm.project.clone());
        let gone = GoneThing { thing: Thing::Vm(vm.id), name: vm.name.clone(), project };
        let change = Change::remove(Arc::new(vm), at(9));
        self.commit(&[change], PastCommit { gone: vec![gone], ..PastCommit::default() });
    }

    fn join(&mut self, number: u32) {
        let record = host_record(number);
        if self.hosts.insert(number, HostState::Connecting).is_none() {
            let made = vec![Thing::Host(record.id)];
            self.commit(&[Change::put(record)], PastCommit { made, ..PastCommit::default() });
        }
    }

    fn leave(&mut self, number: u32) {
        let id = host_id(number.into());
        if self.intents.values().any(|vm| vm.host == Some(id)) || !self.hosts.contains_key(&number)
        {
            return;
        }
        self.hosts.remove(&number);
        let record = host_record(number);
        let gone = GoneThing { thing: Thing::Host(id), name: record.name.clone(), project: None };
        let change = Change::remove(record, at(9));
        self.commit(&[change], PastCommit { gone: vec![gone], ..PastCommit::default() });
    }

    fn seen(&mut self, dice: &mut Dice) -> Box<ObservedVm> {
        let phases = [Phase::Preparing, Phase::Running, Phase::Stopped, Phase::Crashed];
        let mut vm = seen(phases[dice.small(4) as usize], dice.below(self.generation + 1));
        self.second += 1;
        vm.observed_at = at(self.second);
        vm.phase_since = at(i64::from(dice.small(2)));
        if dice.one_in(3) {
            let [of_running, of_crashed] = seen_ones();
            vm.fault = of_running.fault.filter(|_| vm.phase == Phase::Running);
            vm.exit = of_crashed.exit.filter(|_| vm.phase == Phase::Crashed);
            if let Some(exit) = vm.exit.as_mut().filter(|_| dice.one_in(2)) {
                exit.message.push('x');
            }
        }
        vm
    }

    fn online(&mut self, number: u32, dice: &mut Dice) {
        if !self.hosts.contains_key(&number) {
            return;
        }
        let on_it: Vec<u32> = self.intents.keys().copied().filter(|_| !dice.one_in(4)).collect();
        let listed = on_it.into_iter().map(|vm| (vm_id(vm.into()), self.seen(dice))).collect();
        self.view.host_facts(host_id(number.into()), Arc::new(facts()));
        self.view.inventory(host_id(number.into()), listed, health(HostState::Online));
        self.hosts.insert(number, HostState::Online);
    }

    /// The server ends, and another begins.
    fn restart(&mut self, dice: &mut Dice) {
        let end = self.view.revision().0;
        let mut first = end + 1000;
        match dice.below(5) {
            // Killed before it has written between which revisions the last commit was told.
            0 => {
                if let Some(last) = self.past.commits.last_mut() {
                    last.after = Revision(first);
                    self.unproven.push(last.before.0 + 1..first);
                }
            }
            // Restored from a backup of just now, which changes nothing but the epoch.
            1 => {
                first += 1_000_000;
                self.undone = first;
                let floor = Revision(first);
                self.past = Past { epoch_floor: floor, floor, commits: Vec::new() };
            }
            _ => {}
        }
        // Within the changes of one commit a reader is not by what it was told whole.
        let parts = self.past.commits.iter().filter(|one| one.after.0 > one.before.0 + 1);
        self.unproven.extend(parts.map(|one| one.before.0 + 1..one.after.0));
        self.view = Self::view(Revision(first), self.limits);
        self.load();
    }

    fn step(&mut self, dice: &mut Dice) -> bool {
        let number = dice.small(8);
        let host = 1 + dice.small(3);
        match dice.below(24) {
            0..=5 => {
                self.used_up += 1;
                self.make(self.used_up, host, dice);
            }
            6..=8 => self.change(number, dice),
            9 | 10 => self.end(number),
            11..=14 => {
                let id = host_id(host.into());
                let vm = self.living(number).unwrap_or(99);
                let seen = self.seen(dice);
                self.view.observed(id, vec![Sighting::Vm(vm_id(vm.into()), seen)]);
            }
            15 => {
                let vm = self.living(number).unwrap_or(99);
                let id = host_id(host.into());
                self.view.observed(id, vec![Sighting::Gone(vm_id(vm.into()))]);
            }
            16 => self.join(host),
            17 => self.leave(host),
            18 | 19 => self.online(host, dice),
            20 => {
                let states = [HostState::Suspect, HostState::Offline];
                self.judge(host, states[dice.small(2) as usize]);
            }
            21 | 22 => {
                if self.hosts.get(&host) == Some(&HostState::Online) {
                    self.judge(host, HostState::Online);
                }
            }
            _ => {
                self.restart(dice);
                return true;
            }
        }
        false
    }

    fn living(&self, nth: u32) -> Option<u32> {
        self.intents.keys().nth(nth as usize).copied()
    }

    fn judge(&mut self, host: u32, state: HostState) {
        self.second += 1;
        let health = HostHealth { last_seen: Some(at(self.second)), ..health(state) };
        self.view.host_health(host_id(host.into()), health);
        if let Some(known) = self.hosts.get_mut(&host) {
            *known = state;
        }
    }

    fn make(&mut self, number: u32, host: u32, dice: &mut Dice) {
        let id: HostId = host_id(host.into());
        let placed = self.hosts.contains_key(&host) && !dice.one_in(3);
        let labels: &[(&str, &str)] = if dice.one_in(2) { &[("tier", "web")] } else { &[] };
        let vm = VmIntent {
            project: project(if number.is_multiple_of(2) { "default" } else { "shop" }),
            spec: spec(labels),
            host: placed.then_some(id),
            pending: (!placed).then_some(NoHost::NoneHasRoom),
            ..intent(number)
        };
        let net = vm.net.filter(|_| placed);
        self.put(number, VmIntent { net, ..vm });
    }

    fn change(&mut self, nth: u32, dice: &mut Dice) {
        let Some(number) = self.living(nth) else { return };
        let wishes = [Desired::Running, Desired::Stopped, Desired::Absent];
        let vm = wanting(&self.intents[&number], wishes[dice.small(3) as usize]);
        self.generation = self.generation.max(vm.generation.0);
        let labels: &[(&str, &str)] = if dice.one_in(2) { &[("tier", "web")] } else { &[] };
        self.put(number, VmIntent { spec: spec(labels), ..vm });
    }

    fn end(&mut self, nth: u32) {
        if let Some(number) = self.living(nth) {
            self.forget(number);
        }
    }

    /// What a list shows to a reader.
    fn reference(&self, snapshot: &Snapshot, reader: &Reader) -> BTreeMap<String, Told> {
        let mut table = BTreeMap::new();
        for record in snapshot.vms.values() {
            if reader.wants.shows(&Watched::Vm(Arc::clone(record))) {
                let vm = convert::vm(record, &self.style.domain, reader.to);
                table.insert(vm.id.clone(), Told::Vm(Box::new(vm)));
            }
        }
        for host in snapshot.hosts.values() {
            if reader.wants.shows(&Watched::Host(Arc::clone(host))) {
                let host = convert::host(host, self.style.overcommit);
                table.insert(host.id.clone(), Told::Host(Box::new(host)));
            }
        }
        table
    }
}

/// As it is to those who are not shown every change: what moves with one that they are not told of
/// is left out.
fn as_told(to: Audience, mut things: BTreeMap<String, Told>) -> BTreeMap<String, Told> {
    for told in things.values_mut() {
        if let Told::Vm(vm) = told {
            // Of a VM without a host it is another after a restart, and nothing is told of that.
            vm.revision = 0;
            if to != Audience::ALL[0] {
                vm.status.as_mut().expect("a status").observed_at = None;
            }
        }
    }
    things
}

fn readers() -> Vec<Reader> {
    let of =
        |project_name| VmFilter { project: Some(project(project_name)), ..VmFilter::default() };
    let selector = crate::model::labels::Selector::parse("tier=web").expect("a selector");
    let web = VmFilter { selector, ..VmFilter::default() };
    let states = vec![crate::model::status::VmState::Running];
    let running = VmFilter { states, ..VmFilter::default() };
    let online = HostFilter { states: vec![HostState::Online], ..HostFilter::default() };
    let all = Wants { vms: Interest::All, hosts: Interest::All };
    let [operator, viewer, developer, guest] = Audience::ALL;
    let reader = |wants: Wants, to, shape| Reader {
        wants,
        to,
        shape,
        watcher: None,
        things: BTreeMap::new(),
        at: None,
        listing: false,
        resumed: false,
    };
    vec![
        reader(all.clone(), operator, FrameShape::Events),
        reader(VmFilter::default().into(), viewer, FrameShape::Events),
        reader(of("shop").into(), developer, FrameShape::Events),
        reader(
            VmFilter { project: Some(project("shop")), ..web }.into(),
            guest,
            FrameShape::Events,
        ),
        reader(Wants { vms: running.into(), ..all }, operator, FrameShape::Events),
        reader(HostFilter::default().into(), operator, FrameShape::Hosts),
        reader(online.into(), viewer, FrameShape::Hosts),
    ]
}

/// Tells one story.
fn story(seed: u64) {
    let mut dice = Dice::of(seed);
    let mut world = World::begin(&mut dice);
    let mut readers = readers();
    for _ in 0..STEPS {
        if world.step(&mut dice) {
            readers.iter_mut().for_each(|reader| reader.watcher = None);
        }
        for reader in &mut readers {
            match dice.below(8) {
                // Breaks off, perhaps in the middle of its state at the start.
                0 => reader.watcher = None,
                1..=3 => {
                    if reader.watcher.is_none() {
                        reader.begin(&world);
                    }
                    reader.read(&world, usize::try_from(dice.below(3)).expect("small"));
                }
                4 | 5 => reader.read(&world, usize::MAX),
                _ => {}
            }
        }
    }
    let snapshot = world.view.snapshot();
    for (index, reader) in readers.iter_mut().enumerate() {
        // Refused, it lists again.
        loop {
            if reader.watcher.is_none() {
                reader.begin(&world);
            }
            reader.read(&world, usize::MAX);
            if reader.watcher.is_some() {
                break;
            }
        }
        assert!(!reader.listing, "reader {index} was told all of the state at its start");
        let (told, there) = (reader.things.clone(), world.reference(&snapshot, reader));
        assert_eq!(as_told(reader.to, told), as_told(reader.to, there), "reader {index}");
    }
}

#[test]
fn watch_model_every_reader_ends_with_the_table_whatever_happens() {
    let only = std::env::var("BANGER_WATCH_SEED").ok().and_then(|seed| seed.parse().ok());
    let seeds = only.map_or(0..SEEDS, |seed: u64| seed..seed + 1);
    for seed in seeds {
        let told = std::panic::catch_unwind(|| story(seed));
        if let Err(panic) = told {
            eprintln!(
                "seed {seed}; again: BANGER_WATCH_SEED={seed} cargo nextest run -p banger-server \
                 --lib -E 'test(watch_model)'"
            );
            std::panic::resume_unwind(panic);
        }
    }
}

//! What is older never wins: late calls, a server that was stopped in its tracks and wakes up, and
//! a database restored from a backup, with a new epoch and without.

use std::collections::BTreeSet;
use std::time::Duration;

use banger_proto::ids::VmId;
use banger_server::model::ledger::{AnyMutation, DeleteVm, Outcome, Power, SetPower, VmRef};
use banger_server::model::status::VmState;

use super::chaos::Fate;
use super::load::{ask, creation, vm_id};
use super::net::{Net, raise_epoch, seed};
use super::oracle::{self, RecordWatch, process};

/// How long anything may take, in simulated time.
const BOUND: Duration = Duration::from_secs(120);

const GRACE: Duration = Duration::from_secs(1);

struct Test {
    net: Net,
    watch: RecordWatch,
    seed: u64,
}

impl Test {
    fn new() -> Self {
        let seed = seed();
        let mut test = Self { net: Net::new(seed, 1), watch: RecordWatch::default(), seed };
        test.until_online(0);
        test
    }

    fn until(&mut self, what: &str, mut so: impl FnMut(&Net) -> Result<(), String>) {
        let Self { net, watch, seed } = self;
        let is = net.until(what, BOUND, |net| {
            watch.look(net);
            so(net)
        });
        if let Err(why) = is {
            panic!("seed {seed}: {why}");
        }
        assert_eq!(self.watch.broken, Vec::<String>::new(), "seed {}", self.seed);
    }

    /// Lets time go on, in which something must not happen.
    fn passes(&mut self, time: Duration) {
        let end = self.net.sim.elapsed() + time;
        self.until("time passes", |net| {
            if net.sim.elapsed() >= end { Ok(()) } else { Err(String::new()) }
        });
    }

    fn until_online(&mut self, server: usize) {
        self.until("the host is online", |net| {
            let up = net.up(server).ok_or("the server does not run")?;
            let hosts = up.view.hosts();
            let online = hosts.iter().all(|host| host.view.health.state.is_online());
            if online { Ok(()) } else { Err(format!("{hosts:?}")) }
        });
    }

    /// Asks a server and waits for its word.
    fn done(&mut self, server: usize, mutation: AnyMutation) {
        let up = self.net.up(server).expect("the server runs");
        let answer = ask(&up, mutation);
        let mut outcome = None;
        self.until("an answer", |_| {
            outcome = answer.lock().take();
            if outcome.is_some() { Ok(()) } else { Err(String::new()) }
        });
        let is = outcome.expect("it was waited for");
        assert!(matches!(is, Ok(Outcome::Vm { .. } | Outcome::VmGone(_))), "{is:?}");
    }

    fn create(&mut self, server: usize, vm: VmId, name: &str) {
        self.done(server, creation(vm, name, "host-0"));
    }

    fn power(&mut self, server: usize, vm: VmId, power: Power) {
        self.done(server, AnyMutation::SetPower(SetPower { vm: VmRef::Id(vm), etag: None, power }));
    }

    fn delete(&mut self, server: usize, vm: VmId) {
        self.done(server, AnyMutation::DeleteVm(DeleteVm { vm: VmRef::Id(vm), etag: None }));
    }

    fn until_state(&mut self, server: usize, vm: VmId, state: VmState) {
        self.until(&format!("VM {vm} is {state}"), |net| {
            let up = net.up(server).ok_or("the server does not run")?;
            let shown = up.view.get(vm).ok_or("it is not known")?;
            let reached =
                shown.seen().is_some_and(|seen| seen.settled.generation == shown.intent.generation);
            if shown.state() == state && reached {
                Ok(())
            } else {
                Err(format!("{:?}", shown.status))
            }
        });
    }

    fn until_gone(&mut self, server: usize, vm: VmId) {
        self.until(&format!("VM {vm} is gone"), |net| {
            let up = net.up(server).ok_or("the server does not run")?;
            up.view.get(vm).map_or(Ok(()), |shown| Err(format!("{:?}", shown.status)))
        });
    }

    fn until_reason(&mut self, server: usize, vm: VmId, reason: &str) {
        self.until(&format!("VM {vm} shows {reason}"), |net| {
            let up = net.up(server).ok_or("the server does not run")?;
            let shown = up.view.get(vm).ok_or("it is not known")?;
            let status = &shown.status;
            if status.reason == reason { Ok(()) } else { Err(format!("{status:?}")) }
        });
    }

    /// The VMs of which anything is on the host.
    fn held(&self) -> BTreeSet<VmId> {
        oracle::versions(&self.net.hosts[0]).into_keys().collect()
    }

    fn restart_agent(&mut self) {
        self.net.crash_host(0);
        self.net.start_again("host-0");
    }
}

fn id(n: u128) -> VmId {
    vm_id(0x0192_0000_0000_0000_0000_0000_0000_0000 + n)
}

#[test]
fn a_create_that_arrives_after_the_delete_of_its_vm_brings_nothing_back() {
    for restart in [false, true] {
        let mut test = Test::new();
        let chaos = std::sync::Arc::clone(&test.net.servers[0].chaos);
        chaos.next(Fate::Late(Duration::from_secs(40)));
        test.create(0, id(1), "late");
        test.until("the create is held up", |_| {
            if chaos.met().is_empty() { Err("not sent yet".to_owned()) } else { Ok(()) }
        });
        // Nobody has heard of it on the host, and the server is told so.
        test.delete(0, id(1));
        test.until_gone(0, id(1));
        if restart {
            test.restart_agent();
            test.until_online(0);
        }
        test.passes(Duration::from_secs(60));
        assert_eq!(test.held(), BTreeSet::new());
        assert_eq!(oracle::nothing_else(&test.net, &BTreeSet::new()), Ok(()));
    }
}

#[test]
fn a_create_made_twice_after_the_delete_of_its_vm_brings_nothing_back() {
    let mut test = Test::new();
    let chaos = std::sync::Arc::clone(&test.net.servers[0].chaos);
    // It arrives, and another copy of it is on its way.
    chaos.next(Fate::Again(Duration::from_secs(30)));
    test.create(0, id(1), "twice");
    test.until_state(0, id(1), VmState::Running);
    test.delete(0, id(1));
    test.until_gone(0, id(1));
    test.restart_agent();
    test.passes(Duration::from_secs(60));
    assert_eq!(test.held(), BTreeSet::new());
    assert_eq!(oracle::nothing_else(&test.net, &BTreeSet::new()), Ok(()));
}

#[test]
fn a_create_of_an_earlier_life_of_the_server_that_arrives_late_brings_nothing_back() {
    let mut test = Test::new();
    // It is sent, and on its way when its server dies.
    test.net.sim.hold("server-0", "host-0");
    test.create(0, id(1), "late");
    test.passes(Duration::from_millis(500));
    test.net.crash_server(0);
    let state = test.net.backup(0);
    // The next life comes by another way and finds nothing of the VM on the host.
    let next = test.net.start_server(state);
    test.until_online(next);
    test.delete(next, id(1));
    test.until_gone(next, id(1));
    test.net.sim.release("server-0", "host-0");
    test.passes(Duration::from_secs(30));
    assert_eq!(test.held(), BTreeSet::new());
    assert_eq!(oracle::nothing_else(&test.net, &BTreeSet::new()), Ok(()));
}

#[test]
fn a_half_open_link_makes_vms_unknown_and_what_was_asked_meanwhile_comes_about_after_it() {
    let mut test = Test::new();
    test.create(0, id(1), "stays");
    test.create(0, id(2), "stops");
    test.until_state(0, id(1), VmState::Running);
    test.until_state(0, id(2), VmState::Running);
    let before = process(&test.net, id(1));
    test.net.sim.hold("server-0", "host-0");
    test.power(0, id(2), Power::Stop { grace: GRACE });
    test.until("it is unknown", |net| {
        let shown = net.up(0).and_then(|up| up.view.get(id(1))).ok_or("no server")?;
        if shown.state() == VmState::Unknown { Ok(()) } else { Err(format!("{:?}", shown.status)) }
    });
    test.passes(Duration::from_secs(60));
    test.net.sim.release("server-0", "host-0");
    test.until_state(0, id(2), VmState::Stopped);
    test.until_state(0, id(1), VmState::Running);
    assert_eq!(process(&test.net, id(1)), before);
}

#[test]
fn a_stale_server_that_wakes_up_changes_nothing_once_a_newer_one_has_spoken() {
    let mut test = Test::new();
    for (n, name) in [(1, "paused"), (2, "kept"), (3, "deleted")] {
        test.create(0, id(n), name);
        test.until_state(0, id(n), VmState::Running);
    }
    test.net.crash_server(0);
    let copy = test.net.backup(0);
    test.net.start_again("server-0");
    test.until_online(0);
    // The old one is stopped in its tracks: what it sends from now on arrives when it wakes up.
    test.net.sim.hold("server-0", "host-0");
    test.power(0, id(1), Power::Stop { grace: GRACE });
    test.delete(0, id(2));
    test.create(0, id(4), "of-the-stale-one");
    raise_epoch(&copy);
    let newer = test.net.start_server(copy);
    test.until_online(newer);
    let before = (process(&test.net, id(1)), process(&test.net, id(2)));
    test.power(newer, id(1), Power::Pause);
    test.until_state(newer, id(1), VmState::Paused);
    test.delete(newer, id(3));
    test.until_gone(newer, id(3));
    test.net.sim.release("server-0", "host-0");
    for vm in [id(1), id(2), id(3), id(4)] {
        test.until_reason(0, vm, "AGENT_HAS_NEWER_GENERATION");
    }
    test.restart_agent();
    test.passes(Duration::from_secs(60));
    // The new one's word holds, and nothing was restarted for the old one's.
    test.until_state(newer, id(1), VmState::Paused);
    test.until_state(newer, id(2), VmState::Running);
    assert_eq!((process(&test.net, id(1)), process(&test.net, id(2))), before);
    assert_eq!(test.held(), BTreeSet::from([id(1), id(2)]));
    assert_eq!(oracle::nothing_else(&test.net, &test.held()), Ok(()));
}

#[test]
fn a_restored_database_changes_nothing_before_it_has_a_new_epoch_and_everything_after() {
    let mut test = Test::new();
    for (n, name) in [(1, "stopped-since"), (2, "deleted-since"), (3, "untouched")] {
        test.create(0, id(n), name);
        test.until_state(0, id(n), VmState::Running);
    }
    test.net.crash_server(0);
    let backup = test.net.backup(0);
    test.net.start_again("server-0");
    test.until_online(0);
    test.power(0, id(1), Power::Stop { grace: GRACE });
    test.until_state(0, id(1), VmState::Stopped);
    test.delete(0, id(2));
    test.until_gone(0, id(2));
    test.create(0, id(4), "made-since");
    test.until_state(0, id(4), VmState::Running);
    let before = (process(&test.net, id(3)), process(&test.net, id(4)));

    test.net.restore(0, &backup, false);
    test.until_online(0);
    test.until_reason(0, id(1), "AGENT_HAS_NEWER_GENERATION");
    test.until_reason(0, id(2), "AGENT_HAS_NEWER_GENERATION");
    test.restart_agent();
    test.passes(Duration::from_secs(60));
    assert_eq!(process(&test.net, id(1)), None, "it stays stopped");
    assert_eq!(process(&test.net, id(2)), None, "it stays deleted");
    assert_eq!((process(&test.net, id(3)), process(&test.net, id(4))), before);
    assert_eq!(test.held(), BTreeSet::from([id(1), id(3), id(4)]));

    test.net.restore(0, &backup, true);
    test.until_online(0);
    for vm in [id(1), id(2), id(3)] {
        test.until_state(0, vm, VmState::Running);
    }
    // What the backup does not know is shown with its host and never touched.
    assert_eq!((process(&test.net, id(3)), process(&test.net, id(4))), before);
    assert_eq!(test.held(), BTreeSet::from([id(1), id(2), id(3), id(4)]));
}

//! Everything at once, from a seed: calls lost, doubled and late, links cut, one-way, held, slow
//! and flapping, agents and server killed; then all is good, and everything is as acknowledged.

use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;

use banger_integration_tests::soak::schedule::{Fault, Part, Schedule, Settings, Strike};
use banger_proto::ids::VmId;

use super::load::{Load, ask, creation, vm_id};
use super::net::{Net, seed};
use super::oracle::{self, RecordWatch};

const HOSTS: usize = 2;

/// Steps between two looks at the hosts: what goes back does not come forward again.
const LOOK_EVERY: usize = 4;

/// How long everything may take to be as wanted once nothing fails any more, in simulated time.
const CONVERGENCE: Duration = Duration::from_secs(180);

/// Which parts a storm strikes.
struct Storm {
    links: bool,
    agents: bool,
    server: bool,
    /// Of a hundred calls, how many do not simply arrive.
    calls: u32,
    time: Duration,
}

/// What is done at a time.
enum Move {
    Strike(Part, Fault),
    Mend(Part, Fault),
}

fn moves(parts: Vec<(Part, Vec<Strike>)>, storm: &Storm) -> VecDeque<(Duration, Move)> {
    let mut moves = Vec::new();
    for (part, strikes) in parts {
        let struck = match part {
            Part::Server => storm.server,
            Part::Agent(_) => storm.agents,
            Part::Link(_) => storm.links,
        };
        for Strike { at, fault, lasts } in strikes.into_iter().filter(|_| struck) {
            // A part that flaps is struck and mended by turns.
            let turns = if fault == Fault::Flap { 8 } else { 1 };
            for turn in 0..turns {
                let at = at + lasts * turn / turns;
                moves.push((at, Move::Strike(part, fault)));
                moves.push((at + lasts / turns / 2, Move::Mend(part, fault)));
            }
        }
    }
    moves.sort_by_key(|(at, _)| *at);
    moves.into()
}

impl Net {
    fn make(&mut self, one: &Move) {
        let server = self.servers[0].name.clone();
        let (Move::Strike(part, fault) | Move::Mend(part, fault)) = one;
        let strikes = matches!(one, Move::Strike(..));
        match (*part, strikes) {
            (Part::Server, true) => self.crash_server(0),
            (Part::Server, false) => self.start_again(&server),
            (Part::Agent(n), true) => self.crash_host(n),
            (Part::Agent(n), false) => self.start_again(&format!("host-{n}")),
            (Part::Link(n), _) => self.link(&server, &format!("host-{n}"), *fault, strikes),
        }
    }

    fn link(&mut self, server: &str, host: &str, fault: Fault, strikes: bool) {
        let sim = &self.sim;
        match (fault, strikes) {
            (Fault::Hold, true) => sim.hold(server, host),
            (Fault::Hold, false) => sim.release(server, host),
            (Fault::HoldAnswers, true) => sim.partition_oneway(host, server),
            (Fault::HoldAnswers, false) => sim.repair_oneway(host, server),
            (Fault::Slow, true) => {
                sim.set_link_max_message_latency(server, host, Duration::from_millis(800));
            }
            (Fault::Slow, false) => {
                sim.set_link_max_message_latency(server, host, Duration::from_millis(20));
            }
            (Fault::Cut | Fault::Flap | Fault::Kill | Fault::Stop | Fault::Freeze, true) => {
                sim.partition(server, host);
            }
            (Fault::Cut | Fault::Flap | Fault::Kill | Fault::Stop | Fault::Freeze, false) => {
                sim.repair(server, host);
            }
        }
    }
}

fn run(storm: &Storm) {
    let seed = seed();
    let settings = Settings { seed, time: storm.time, hosts: HOSTS, slots: 6 };
    let schedule = Schedule::of(&settings);
    let mut moves = moves(schedule.parts, storm);
    let mut load = Load::new(schedule.slots, HOSTS);
    let mut net = Net::new(seed, HOSTS);
    let mut records = RecordWatch::default();
    let canaries = canaries(&mut net);
    let begun = net.sim.elapsed();
    net.servers[0].chaos.set_share(storm.calls);
    while !moves.is_empty() || !load.is_done() {
        let now = net.sim.elapsed() - begun;
        while let Some((_, one)) = moves.pop_front_if(|(at, _)| *at <= now) {
            net.make(&one);
        }
        load.go_on(now, net.up(0).as_ref());
        for _ in 0..LOOK_EVERY {
            net.step();
        }
        records.look(&net);
        assert!(
            records.broken.is_empty() && load.broken.is_empty(),
            "seed {seed}: {:#?}{:#?}",
            records.broken,
            load.broken
        );
        assert!(now < storm.time + CONVERGENCE, "seed {seed}: wishes are not answered");
    }
    net.servers[0].chaos.set_share(0);
    let quiet = net.sim.elapsed();
    let wanted: Vec<_> = load.living().cloned().collect();
    let living: BTreeSet<VmId> =
        wanted.iter().map(|vm| vm.vm).chain(canaries.iter().map(|canary| canary.0)).collect();
    let converged = net.until("all is as wanted", CONVERGENCE, |net| {
        records.look(net);
        let up = net.up(0).ok_or("the server does not run")?;
        let canary = |(vm, _): &(VmId, _)| super::load::Acknowledged {
            vm: *vm,
            desired: banger_server::model::intent::Desired::Running,
            generation: banger_proto::ids::Generation(1),
        };
        let all: Vec<_> = wanted.iter().cloned().chain(canaries.iter().map(canary)).collect();
        oracle::is_as_wanted(&up, all.iter())?;
        oracle::nothing_else(net, &living)
    });
    let took = net.sim.elapsed() - quiet;
    if let Err(why) = converged {
        panic!("seed {seed}: {why}");
    }
    // What comes late comes now: nothing may change by it.
    let end = net.sim.elapsed() + Duration::from_secs(30);
    while net.sim.elapsed() < end {
        for _ in 0..LOOK_EVERY {
            net.step();
        }
        records.look(&net);
    }
    let up = net.up(0).expect("the server runs");
    assert_eq!(oracle::nothing_else(&net, &living), Ok(()), "seed {seed}");
    let shown = up.view.snapshot();
    assert_eq!(shown.vms.len(), living.len(), "seed {seed}");
    let back: Vec<_> = load.deleted.iter().filter(|vm| shown.vms.contains_key(*vm)).collect();
    assert!(back.is_empty(), "seed {seed}: I1 deleted and back: {back:?}");
    assert_eq!(records.broken, Vec::<String>::new(), "seed {seed}");
    for (vm, process) in canaries {
        assert_eq!(oracle::process(&net, vm), process, "seed {seed}: I4 of VM {vm}");
    }
    println!(
        "{} wishes acknowledged, {} calls struck, converged in {:.1} s of simulated time",
        load.acknowledged,
        net.servers[0].chaos.met().len(),
        took.as_secs_f64()
    );
}

/// On each host a VM that nobody touches.
fn canaries(net: &mut Net) -> Vec<(VmId, Option<(u32, u64)>)> {
    let up = net.until("the hosts are online", CONVERGENCE, |net| {
        let up = net.up(0).ok_or("the server does not run")?;
        let online = up.view.hosts().iter().all(|host| host.view.health.state.is_online());
        if online { Ok(up) } else { Err(format!("{:?}", up.view.hosts())) }
    });
    let up = up.expect("they come online");
    let mut canaries = Vec::new();
    for n in 0..HOSTS {
        let vm = vm_id(u128::try_from(n).expect("few") + 1);
        let asked = ask(&up, creation(vm, &format!("canary-{n}"), &format!("host-{n}")));
        let running = net.until("a canary runs", CONVERGENCE, |net| {
            let up = net.up(0).ok_or("no server")?;
            let shown = up.view.get(vm).ok_or_else(|| format!("{:?}", asked.lock()))?;
            let reached = shown.seen().is_some_and(|seen| seen.settled.generation.0 == 1);
            if reached { Ok(()) } else { Err(format!("{:?}", shown.status)) }
        });
        running.expect("it runs");
        canaries.push((vm, oracle::process(net, vm)));
    }
    canaries
}

#[test]
fn rpcs_that_are_lost_late_doubled_or_out_of_order_change_nothing_of_the_end() {
    run(&Storm {
        links: false,
        agents: false,
        server: false,
        calls: 40,
        time: Duration::from_secs(40),
    });
}

#[test]
fn links_that_are_cut_held_one_way_slow_or_flapping_change_nothing_of_the_end() {
    run(&Storm {
        links: true,
        agents: false,
        server: false,
        calls: 0,
        time: Duration::from_secs(40),
    });
}

#[test]
fn agents_and_a_server_that_die_behind_a_bad_network_change_nothing_of_the_end() {
    run(&Storm {
        links: true,
        agents: true,
        server: true,
        calls: 20,
        time: Duration::from_secs(40),
    });
}

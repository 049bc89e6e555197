//! One case of a sweep: an operation under a fault plan, carried to its end by a server that asks
//! again and an agent that is started again; then the oracle, then everything is deleted and the
//! oracle asked once more.

use std::time::Duration;

use super::company;
use super::operation::{Operation, wanted};
use crate::assignment::{Assignment, Power};
use crate::host::fakes::{Broken, Difference, FaultPlan, Invariant, Oracle};
use crate::rpc::Assigned;
use crate::supervisor::harness::{World, names};

/// Within this, in the agent's time, everything has come to rest: the longest deadline of an effect
/// twice, and the back-off between.
const CONVERGES_WITHIN: Duration = Duration::from_secs(600);

/// How an operation went.
#[derive(Debug, Clone)]
pub(super) struct Ran {
    /// Effects until it was at rest.
    pub(super) effects: u64,
    /// Of those, how many a plan that repeats had repeated.
    pub(super) repeated: usize,
    /// What it changed on the machine.
    change: Difference,
}

/// Runs an operation under faults; `clean` is how it goes without. Each case has a runtime of its
/// own, so that nothing of a killed agent lives on into the next.
pub(super) fn run(operation: Operation, plan: &FaultPlan, clean: Option<&Ran>, what: &str) -> Ran {
    tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .expect("a runtime")
        .block_on(case(operation, plan, clean, what))
}

/// An operation that nothing disturbs.
pub(super) fn clean(operation: Operation) -> Ran {
    run(operation, &FaultPlan::none(), None, &format!("{}, undisturbed", operation.name()))
}

async fn case(operation: Operation, plan: &FaultPlan, clean: Option<&Ran>, what: &str) -> Ran {
    let mut world = company::world().await;
    let nothing_of_vm_1 = Oracle::look(&world.kernel).guarding(&world.kernel, &names(2).jail);
    if let Some(assignment) = operation.begins_with() {
        carry_out(&mut world, assignment).await;
    }
    let mut oracle = Oracle::look(&world.kernel).guarding(&world.kernel, &names(2).jail);
    if operation.keeps_process() {
        oracle = oracle.guarding(&world.kernel, &names(1).jail);
    }
    world.kernel.clear_trace();
    world.kernel.set_faults(plan.clone());
    let begun = tokio::time::Instant::now();
    carry_out(&mut world, operation.assignment()).await;
    let took = begun.elapsed();
    let effects = world.kernel.effects();
    let trace = world.kernel.trace();
    let repeated = trace.iter().filter(|line| line.contains(": repeated, ")).count();
    world.kernel.set_faults(FaultPlan::none());
    // What was put off, of the neighbour too, is done by then.
    world.passes(CONVERGES_WITHIN).await;
    let change = oracle.difference(&world.kernel);

    let mut broken = world.broken().await;
    if let Some(clean) = clean {
        broken.extend(oracle.broken(&world.kernel, &clean.change));
        // A fault costs at most the undoing of everything and doing it again.
        let bound = 3 * clean.effects + 12;
        if effects > bound || took > CONVERGES_WITHIN {
            let how = format!("{effects} effects in {took:?}, where {bound} would do");
            broken.push(Broken::new(Invariant::Converges, how));
        }
    } else {
        broken.extend(oracle.broken(&world.kernel, &change));
    }
    carry_out(&mut world, absent()).await;
    broken.extend(nothing_of_vm_1.broken(&world.kernel, &Difference::default()));
    broken.extend(world.broken().await);
    let broken: Vec<String> = broken.iter().map(Broken::to_string).collect();
    assert!(broken.is_empty(), "{what}:\n{}\ntrace: {trace:#?}", broken.join("\n"));
    Ran { effects, repeated, change }
}

fn absent() -> Assignment {
    Assignment { shape: None, ..wanted(3, Power::Absent) }
}

/// Asks as a server does, until it is done.
pub(super) async fn carry_out(world: &mut World, assignment: Assignment) {
    match Operation::rests(assignment.power) {
        Some(phase) => {
            world.assign(assignment).await;
            world.settles_well(1, phase).await;
        }
        // A server asks until it is told that nothing is left.
        None => {
            let mut asked = 0;
            while world.assign(assignment.clone()).await != Assigned::Absent {
                world.gone(1).await;
                asked += 1;
                assert!(asked < 100, "asked again and again: {:#?}", world.kernel.trace());
            }
        }
    }
    world.idle().await;
}

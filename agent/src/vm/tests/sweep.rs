//! Every effect of every operation fails, hangs, is repeated, or is the last thing the agent does,
//! one at a time and in pairs; each time the operation comes to its end and every invariant holds.

use super::case::{clean, run};
use super::operation::Operation;
use crate::host::HostErrorKind;
use crate::host::fakes::{At, FaultPlan, InjectedFault};

/// One fault at every effect of every operation.
fn sweep(name: &str, fault: InjectedFault) {
    let mut all = 0;
    for operation in Operation::ALL {
        let clean = clean(operation);
        assert!(clean.effects > 0, "{} does something", operation.name());
        let mut cases = 0;
        for n in 1..=clean.effects {
            let plan = FaultPlan::none().with(At::nth(n), fault);
            let what = format!("{}: effect {n} {name}", operation.name());
            let ran = run(operation, &plan, Some(&clean), &what);
            // Some effects cannot be performed twice, such as the start of a process.
            cases += u64::from(fault != InjectedFault::Repeat || ran.repeated > 0);
        }
        println!("sweep {} × {name}: {cases} cases", operation.name());
        all += cases;
    }
    assert!(all > 100, "the sweep has become {all} cases");
}

#[test]
fn any_effect_that_fails_is_undone_and_tried_again() {
    sweep("fails", InjectedFault::Fail(HostErrorKind::Other));
}

#[test]
fn any_effect_that_is_refused_as_busy_is_undone_and_tried_again() {
    sweep("is busy", InjectedFault::Fail(HostErrorKind::Busy));
}

#[test]
fn any_effect_that_finds_the_disk_full_is_undone_and_tried_again() {
    sweep("finds the disk full", InjectedFault::Fail(HostErrorKind::NoSpace));
}

#[test]
fn any_effect_whose_answer_is_lost_is_looked_at_anew() {
    sweep("loses its answer", InjectedFault::FailAfter(HostErrorKind::TimedOut));
}

#[test]
fn an_agent_that_dies_before_any_effect_takes_over_where_it_was() {
    sweep("crash before", InjectedFault::CrashBefore);
}

#[test]
fn an_agent_that_dies_after_any_effect_takes_over_where_it_was() {
    sweep("crash after", InjectedFault::CrashAfter);
}

#[test]
fn any_effect_that_hangs_is_given_up_at_its_deadline() {
    sweep("hangs", InjectedFault::Hang);
}

#[test]
fn any_effect_that_is_done_and_then_hangs_is_looked_at_anew() {
    sweep("is done and hangs", InjectedFault::HangAfter);
}

#[test]
fn any_effect_may_be_repeated() {
    sweep("is repeated", InjectedFault::Repeat);
}

/// How far apart the two faults of a pair are at most.
const REACH: u64 = 4;

/// Two faults near each other: the second strikes while the first is being overcome.
fn pairs(name: &str, first: InjectedFault, second: InjectedFault) {
    let mut all = 0;
    for operation in [
        Operation::Create,
        Operation::Stop,
        Operation::Reboot,
        Operation::ResetRootDisk,
        Operation::Delete,
    ] {
        let clean = clean(operation);
        let mut cases = 0;
        for n in 1..=clean.effects {
            for m in n + 1..=n + REACH {
                let plan = FaultPlan::none().with(At::nth(n), first).with(At::nth(m), second);
                let what = format!("{}: effects {n} and {m}, {name}", operation.name());
                run(operation, &plan, Some(&clean), &what);
                cases += 1;
            }
        }
        println!("sweep {} × {name}: {cases} cases", operation.name());
        all += cases;
    }
    assert!(all > 200, "the sweep has become {all} cases");
}

#[test]
fn an_agent_that_dies_while_it_undoes_a_failed_effect_takes_over() {
    pairs(
        "fails, then crash after",
        InjectedFault::Fail(HostErrorKind::Other),
        InjectedFault::CrashAfter,
    );
}

#[test]
fn an_agent_that_dies_twice_in_a_row_takes_over() {
    pairs("crash after, then crash before", InjectedFault::CrashAfter, InjectedFault::CrashBefore);
}

#[test]
fn an_effect_that_fails_after_an_agent_died_is_tried_again() {
    pairs(
        "crash after, then fails",
        InjectedFault::CrashAfter,
        InjectedFault::Fail(HostErrorKind::Other),
    );
}

#[test]
fn an_agent_that_dies_after_an_answer_was_lost_takes_over() {
    let lost = InjectedFault::FailAfter(HostErrorKind::TimedOut);
    pairs("loses its answer, then crash after", lost, InjectedFault::CrashAfter);
}

/// What an agent asks the machine and acts upon.
const READS: [&str; 14] = [
    "firewall.observe",
    "images.observe",
    "jails.observe",
    "jails.members",
    "jails.observe_api_socket",
    "jails.read_pidfile",
    "loops.observe",
    "outputs.log_tail",
    "pins.observe",
    "processes.observe",
    "processes.started",
    "snapshots.observe",
    "taps.observe",
    "vmm.describe",
];

#[test]
fn an_agent_that_is_blind_in_one_eye_destroys_nothing_and_goes_on_when_it_sees() {
    let mut all = 0;
    for operation in Operation::ALL {
        let clean = clean(operation);
        let mut cases = 0;
        for read in READS {
            let plan = FaultPlan::none().fail_first_reads(read, HostErrorKind::Other, 3);
            let what = format!("{}: three times {read} fails", operation.name());
            run(operation, &plan, Some(&clean), &what);
            cases += 1;
        }
        println!("sweep {} × blind to one thing: {cases} cases", operation.name());
        all += cases;
    }
    assert_eq!(all, READS.len() * Operation::ALL.len());
}

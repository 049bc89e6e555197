//! What became of VMs.

use super::*;

const WAS: (u32, u64) = (100, 5000);

fn guest(vm: &str, (pid, start_ticks): (u32, u64)) -> Guest {
    Guest { vm: vm.to_owned(), pid, start_ticks }
}

fn known(process: Option<(u32, u64)>) -> Known {
    Known {
        name: "web".to_owned(),
        generation: 3,
        state: "RUNNING".to_owned(),
        process,
        exit: None,
    }
}

fn view(process: Option<(u32, u64)>, known: Option<Known>) -> View {
    let vms = known.map(|known| ("a".to_owned(), known)).into_iter().collect();
    View {
        guests: process.map(|process| guest("a", process)).into_iter().collect(),
        fleet: Some(Fleet { online: true, vms, ..Fleet::default() }),
    }
}

fn fate_of(before: &View, after: &View) -> Fate {
    let fates = fates(before, after);
    assert_eq!(fates.len(), 1);
    fates[0].1.clone()
}

#[test]
fn the_same_pid_with_the_same_start_is_the_same_vm() {
    let before = view(Some(WAS), Some(known(Some(WAS))));
    assert_eq!(fate_of(&before, &before), Fate::Kept);
    let without_server = |view: &View| View { fleet: None, ..view.clone() };
    assert_eq!(fate_of(&without_server(&before), &without_server(&before)), Fate::Kept);
}

#[test]
fn the_same_pid_with_another_start_is_another_process() {
    let before = view(Some(WAS), Some(known(Some(WAS))));
    let now = (WAS.0, WAS.1 + 1);
    let fate = fate_of(&before, &view(Some(now), Some(known(Some(now)))));
    assert_eq!(fate, Fate::Restarted { pid: WAS.0 });
    assert!(fate.is_bad());
}

#[test]
fn a_process_that_is_gone_is_a_loss_unless_somebody_wanted_it_or_the_guest_ended() {
    let before = view(Some(WAS), Some(known(Some(WAS))));
    let gone = |known: Option<Known>| fate_of(&before, &view(None, known));
    assert_eq!(gone(Some(known(None))), Fate::Lost);
    let crashed = Known { exit: Some((true, "signal 9".to_owned())), ..known(None) };
    assert_eq!(gone(Some(crashed)), Fate::Lost);
    let ended = Known { exit: Some((false, "shut down".to_owned())), ..known(None) };
    assert_eq!(gone(Some(ended)), Fate::Ended { how: "shut down".to_owned() });
    let stopped = Known { generation: 4, ..known(None) };
    assert_eq!(gone(Some(stopped)), Fate::Changed);
    assert_eq!(gone(None), Fate::Changed, "deleted");
    // Nobody can say that it was wanted.
    let silent = View { guests: Vec::new(), fleet: None };
    assert_eq!(fate_of(&before, &silent), Fate::Lost);
}

#[test]
fn an_exit_of_long_ago_explains_nothing() {
    let old = Some((false, "shut down last week".to_owned()));
    let before = view(Some(WAS), Some(Known { exit: old.clone(), ..known(Some(WAS)) }));
    let after = view(None, Some(Known { exit: old, ..known(None) }));
    assert_eq!(fate_of(&before, &after), Fate::Lost);
}

#[test]
fn a_vm_that_the_server_has_not_heard_of_yet_is_waited_for() {
    let before = view(Some(WAS), Some(known(Some(WAS))));
    let unknown = Known { state: "UNKNOWN".to_owned(), ..known(None) };
    let fate = fate_of(&before, &view(Some(WAS), Some(unknown)));
    assert_eq!(fate, Fate::NotReported { seen: "UNKNOWN".to_owned() });
    assert!(!fate.is_bad());
    let stale = fate_of(&before, &view(Some(WAS), None));
    assert_eq!(stale, Fate::NotReported { seen: "nothing".to_owned() });
    // One that the server never knew is not to be heard of.
    let unclaimed = view(Some(WAS), None);
    assert_eq!(fate_of(&unclaimed, &unclaimed), Fate::Kept);
}

#[test]
fn only_what_is_not_as_before_is_told() {
    let fates = [
        (guest("a", WAS), Fate::Kept),
        (guest("b", (101, 1)), Fate::Lost),
        (guest("c", (102, 1)), Fate::Restarted { pid: 300 }),
        (guest("d", (103, 1)), Fate::Ended { how: "shut down".to_owned() }),
    ];
    assert_eq!(
        text(&fates),
        [
            "VM b is LOST: pid 101 is gone",
            "VM c was RESTARTED: pid 102 is now pid 300",
            "VM d ended on its own meanwhile: shut down"
        ]
    );
}

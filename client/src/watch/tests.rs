//! Claims about what a consumer is told over breaks and restarts, without any server.

use banger_proto::v1::{VmEvent, VmEventType, WatchVmsResponse};

use super::*;

fn vm(name: &str, revision: u64) -> Vm {
    Vm { id: format!("id-{name}"), name: name.to_owned(), revision, ..Vm::default() }
}

fn event(kind: VmEventType, name: &str, revision: u64) -> VmEvent {
    VmEvent { r#type: kind.into(), revision, vm: Some(vm(name, revision)) }
}

fn response(events: Vec<VmEvent>, revision: u64, complete: bool) -> WatchVmsResponse {
    WatchVmsResponse { events, revision, initial_state_complete: complete }
}

use VmEventType::{Added, Modified, Removed};

/// What was told, in short: `+web@3 ~web@4 -web@5 =5` and `.6` for a bookmark.
fn told(told: &mut Told<Vm>, response: WatchVmsResponse) -> String {
    let say = |update: Update| match update {
        Update::Change(change) => {
            let sign = match change.kind {
                ChangeKind::Added => '+',
                ChangeKind::Modified => '~',
                ChangeKind::Removed => '-',
            };
            format!("{sign}{}@{}", change.vm.name, change.revision)
        }
        Update::Current { revision } => format!("={revision}"),
        Update::Bookmark { revision } => format!(".{revision}"),
        Update::Reconnecting { .. } => "?".to_owned(),
    };
    told.take(response).into_iter().map(Update::from).map(say).collect::<Vec<_>>().join(" ")
}

/// A consumer that knows `a` at 1 and `b` at 2, up to revision 5.
fn following() -> Told<Vm> {
    let mut state = Told::default();
    assert_eq!(state.begin(), None);
    let list = vec![event(Added, "a", 1), event(Added, "b", 2)];
    assert_eq!(told(&mut state, response(list, 5, true)), "+a@1 +b@2 =5");
    state
}

#[test]
fn a_resumed_stream_starts_after_the_last_revision_that_was_told() {
    let mut state = following();
    assert_eq!(told(&mut state, response(vec![event(Modified, "a", 6)], 6, false)), "~a@6");
    assert_eq!(told(&mut state, response(vec![], 9, false)), ".9");
    assert_eq!(state.begin(), Some(9));
}

#[test]
fn nothing_is_told_twice_when_a_resumed_stream_overlaps() {
    let mut state = following();
    assert_eq!(told(&mut state, response(vec![event(Modified, "a", 7)], 7, false)), "~a@7");
    state.begin();
    let overlap = vec![event(Modified, "a", 7), event(Modified, "a", 8)];
    assert_eq!(told(&mut state, response(overlap, 8, false)), "~a@8");
}

#[test]
fn a_revision_too_old_becomes_differences_and_not_a_gap() {
    let mut state = following();
    assert!(state.forget_revision());
    assert_eq!(state.begin(), None);
    // b is gone, c is new, a is as it was.
    let list = vec![event(Added, "a", 1), event(Added, "c", 1_000_003)];
    let said = told(&mut state, response(list, 1_000_004, true));
    assert_eq!(said, "+c@1000003 -b@0 =1000004");
    assert_eq!(state.begin(), Some(1_000_004));
}

#[test]
fn a_changed_vm_in_a_second_list_is_modified_and_one_that_only_counts_anew_is_not() {
    let mut state = following();
    state.forget_revision();
    state.begin();
    let mut changed = event(Added, "a", 90);
    changed.vm.as_mut().unwrap().generation += 1;
    let list = vec![changed, event(Added, "b", 91)];
    assert_eq!(told(&mut state, response(list, 91, true)), "~a@90 =91");
}

#[test]
fn a_list_that_breaks_off_half_way_loses_nothing() {
    let mut state = following();
    state.forget_revision();
    state.begin();
    // Only c came before the break, with a revision that must not be resumed from.
    assert_eq!(told(&mut state, response(vec![event(Added, "c", 80)], 85, false)), "+c@80");
    assert_eq!(state.begin(), None);
    let list = vec![event(Added, "b", 2), event(Added, "c", 80), event(Added, "d", 81)];
    assert_eq!(told(&mut state, response(list, 90, true)), "+d@81 -a@0 =90");
}

#[test]
fn a_second_too_old_in_a_row_is_not_answered_at_once_for_ever() {
    let mut state = following();
    assert!(state.forget_revision());
    assert!(!state.forget_revision());
}

#[test]
fn removing_what_was_never_told_is_not_told() {
    let mut state = following();
    assert_eq!(told(&mut state, response(vec![event(Removed, "x", 6)], 6, false)), "");
    assert_eq!(told(&mut state, response(vec![event(Removed, "a", 7)], 7, false)), "-a@7");
    assert_eq!(told(&mut state, response(vec![event(Removed, "a", 7)], 7, false)), "");
}

#[test]
fn a_watch_from_a_list_tells_only_what_is_new() {
    let mut state = Told::from_list(vec![vm("a", 1), vm("b", 2)], 5);
    assert_eq!(state.begin(), Some(5));
    let events = vec![event(Modified, "b", 6), event(Added, "c", 7)];
    assert_eq!(told(&mut state, response(events, 7, false)), "~b@6 +c@7");
}

#[test]
fn what_is_only_named_when_it_goes_is_told_as_it_was_last_seen() {
    let mut state = following();
    let said =
        Said { events: vec![Event::Gone { id: "id-a".to_owned() }], revision: 8, complete: false };
    let news: Vec<_> = state.take(said).into_iter().map(Update::from).collect();
    let [Update::Change(change)] = &news[..] else { panic!("{news:?}") };
    assert_eq!((change.kind, &*change.vm.name), (ChangeKind::Removed, "a"));
    assert_eq!(state.begin(), Some(8));
}

#[test]
fn a_server_that_does_not_say_where_it_is_is_asked_for_its_state_again() {
    let mut state = Told::<Vm>::default();
    state.begin();
    assert_eq!(told(&mut state, response(vec![event(Added, "a", 1)], 0, true)), "+a@1 =0");
    assert_eq!(state.begin(), None);
    assert_eq!(told(&mut state, response(vec![], 0, true)), "-a@0 =0");
}

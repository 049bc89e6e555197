//! History: written with what it tells of, readable after the VM, bounded.

use super::*;
use crate::model::history::HistoryEvent;

async fn kinds(fixture: &Fixture, number: u128) -> Vec<String> {
    let events = fixture.store.vm_events(vm_id(number), 0, 10_000).await.expect("readable");
    events.into_iter().map(|event| event.kind).collect()
}

#[tokio::test]
async fn requests_and_reports_are_kept_in_order_with_who_and_why() {
    let fixture = fixture().await;
    fixture.add_vm(1, "web").await;
    let seen = line(vm_id(1), EventKind::Entered(crate::model::status::VmState::Running), 1);
    fixture.make(Mutation::Record { events: vec![seen.clone()] }).await.expect("written");
    fixture.make(delete(1)).await.expect("deleted");
    assert_eq!(
        kinds(&fixture, 1).await,
        ["CREATED", "UNPLACED", "RUNNING", "DELETE_REQUESTED", "DELETED"]
    );
    let events = fixture.store.vm_events(vm_id(1), 0, 10).await.expect("readable");
    assert_eq!((&*events[0].actor, events[0].at), ("alice", at(0)));
    assert_eq!((&*events[1].reason, &*events[1].message), ("NO_HOST", "no host has joined yet"));
    assert_eq!((&*events[2].actor, events[2].generation), ("host one", Generation(1)));
    assert!(events.windows(2).all(|pair| pair[0].number < pair[1].number));
}

#[tokio::test]
async fn history_is_read_a_page_at_a_time_also_of_a_deleted_vm() {
    let fixture = fixture().await;
    fixture.add_vm(1, "web").await;
    fixture.add_vm(2, "db").await;
    fixture.make(delete(1)).await.expect("deleted");
    let first = fixture.store.vm_events(vm_id(1), 0, 3).await.expect("readable");
    let last = first.last().expect("three lines").number;
    let rest = fixture.store.vm_events(vm_id(1), last, 3).await.expect("readable");
    let kinds: Vec<&str> = first.iter().chain(&rest).map(|event| event.kind.as_str()).collect();
    assert_eq!(kinds, ["CREATED", "UNPLACED", "DELETE_REQUESTED", "DELETED"]);
    assert_eq!(fixture.store.vm_events(vm_id(77), 0, 3).await.expect("readable"), []);
}

#[tokio::test]
async fn of_each_vm_about_the_newest_thousand_lines_are_kept() {
    let fixture = fixture().await;
    fixture.add_vm(1, "web").await;
    let state = crate::model::status::VmState::Running;
    for generation in 1..=1500 {
        let events = vec![line(vm_id(1), EventKind::Entered(state), generation)];
        fixture.make(Mutation::Record { events }).await.expect("written");
    }
    let events = fixture.store.vm_events(vm_id(1), 0, 10_000).await.expect("readable");
    assert!((1000..=1101).contains(&events.len()), "{} lines", events.len());
    assert_eq!(events.last().map(|event| event.generation), Some(Generation(1500)));
}

#[tokio::test]
async fn restarts_do_not_let_history_grow_past_its_bound() {
    let mut fixture = fixture().await;
    fixture.add_vm(1, "web").await;
    let state = crate::model::status::VmState::Running;
    for _ in 0..3 {
        let events = vec![line(vm_id(1), EventKind::Entered(state), 2); 600];
        fixture.make(Mutation::Record { events }).await.expect("written");
        let (open, directory) = fixture.reopened().await;
        fixture = started(open, directory);
    }
    let events = vec![line(vm_id(1), EventKind::Entered(state), 2)];
    fixture.make(Mutation::Record { events }).await.expect("written");
    assert!(kinds(&fixture, 1).await.len() <= 1000);
}

#[tokio::test]
async fn the_history_of_a_mutation_is_stored_with_it_or_not_at_all() {
    let fixture = fixture().await;
    fixture.add_vm(1, "web").await;
    let stop = Mutation::SetPower {
        vm: VmRef::Id(vm_id(1)),
        etag: None,
        power: Power::Stop { grace: DEFAULT_STOP_GRACE },
    };
    fixture.make(stop.clone()).await.expect("stopped");
    fixture.make(stop).await.expect("a repetition");
    assert_eq!(kinds(&fixture, 1).await, ["CREATED", "UNPLACED", "STOP_REQUESTED"]);
}

#[tokio::test]
async fn an_adoption_that_is_reported_again_after_a_restart_of_the_server_is_one_line() {
    use crate::model::status::VmState::Running;
    let mut fixture = fixture().await;
    fixture.add_vm(1, "web").await;
    let ran = line(vm_id(1), EventKind::Entered(Running), 1);
    let adopted = HistoryEvent { reason: "ADOPTED".to_owned(), ..ran.clone() };
    // At the very same time, and yet another line.
    fixture.make(Mutation::Record { events: vec![ran] }).await.expect("written");
    for _ in 0..2 {
        let told = vec![adopted.clone()];
        fixture.make(Mutation::Record { events: told }).await.expect("written");
        let (open, directory) = fixture.reopened().await;
        fixture = started(open, directory);
    }
    let reasons = async |fixture: &Fixture| {
        let events = fixture.store.vm_events(vm_id(1), 2, 10).await.expect("readable");
        events.into_iter().map(|event| (event.kind, event.reason)).collect::<Vec<_>>()
    };
    let of = |reason: &str| ("RUNNING".to_owned(), reason.to_owned());
    assert_eq!(reasons(&fixture).await, [of(""), of("ADOPTED")]);
    let again = HistoryEvent { at: at(999), ..adopted };
    fixture.make(Mutation::Record { events: vec![again] }).await.expect("written");
    assert_eq!(reasons(&fixture).await, [of(""), of("ADOPTED"), of("ADOPTED")]);
}

#[tokio::test]
async fn a_failure_that_is_reported_again_after_a_restart_of_the_server_is_one_line() {
    use crate::model::status::VmState::{Crashed, Failed};
    let mut fixture = fixture().await;
    fixture.add_vm(1, "web").await;
    let told = vec![
        line(vm_id(1), EventKind::Entered(Crashed), 1),
        line(vm_id(1), EventKind::Entered(Failed), 1),
    ];
    for _ in 0..2 {
        fixture.make(Mutation::Record { events: told.clone() }).await.expect("written");
        let (open, directory) = fixture.reopened().await;
        fixture = started(open, directory);
    }
    assert_eq!(kinds(&fixture, 1).await, ["CREATED", "UNPLACED", "CRASHED", "FAILED"]);
    let mut again = told;
    for event in &mut again {
        event.at = at(999);
    }
    fixture.make(Mutation::Record { events: again }).await.expect("written");
    let kinds = kinds(&fixture, 1).await;
    assert_eq!(
        kinds[2..],
        ["CRASHED", "FAILED", "CRASHED", "FAILED"],
        "another one is another line"
    );
}

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
    fixture
        .make(AnyMutation::Record(Record { events: vec![seen.clone()] }))
        .await
        .expect("written");
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
        fixture.make(AnyMutation::Record(Record { events })).await.expect("written");
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
        fixture.make(AnyMutation::Record(Record { events })).await.expect("written");
        let (open, directory) = fixture.reopened().await;
        fixture = started(open, directory);
    }
    let events = vec![line(vm_id(1), EventKind::Entered(state), 2)];
    fixture.make(AnyMutation::Record(Record { events })).await.expect("written");
    assert!(kinds(&fixture, 1).await.len() <= 1000);
}

#[tokio::test]
async fn the_history_of_a_mutation_is_stored_with_it_or_not_at_all() {
    let fixture = fixture().await;
    fixture.add_vm(1, "web").await;
    let stop = AnyMutation::SetPower(SetPower {
        vm: VmRef::Id(vm_id(1)),
        etag: None,
        power: Power::Stop { grace: DEFAULT_STOP_GRACE },
    });
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
    fixture.make(AnyMutation::Record(Record { events: vec![ran] })).await.expect("written");
    for _ in 0..2 {
        let told = vec![adopted.clone()];
        fixture.make(AnyMutation::Record(Record { events: told })).await.expect("written");
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
    fixture.make(AnyMutation::Record(Record { events: vec![again] })).await.expect("written");
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
        fixture.make(AnyMutation::Record(Record { events: told.clone() })).await.expect("written");
        let (open, directory) = fixture.reopened().await;
        fixture = started(open, directory);
    }
    assert_eq!(kinds(&fixture, 1).await, ["CREATED", "UNPLACED", "CRASHED", "FAILED"]);
    let mut again = told;
    for event in &mut again {
        event.at = at(999);
    }
    fixture.make(AnyMutation::Record(Record { events: again })).await.expect("written");
    let kinds = kinds(&fixture, 1).await;
    assert_eq!(
        kinds[2..],
        ["CRASHED", "FAILED", "CRASHED", "FAILED"],
        "another one is another line"
    );
}

#[tokio::test]
async fn the_same_failure_again_and_again_is_one_line_that_counts() {
    use crate::model::status::VmState::{Failed, Running};
    let mut fixture = fixture().await;
    fixture.add_vm(1, "web").await;
    let failed = |seconds| HistoryEvent {
        at: at(seconds),
        reason: "KERNEL_IMAGE_MISSING".to_owned(),
        message: "no image".to_owned(),
        ..line(vm_id(1), EventKind::Entered(Failed), 1)
    };
    let record = async |fixture: &Fixture, events: Vec<HistoryEvent>| {
        fixture.make(AnyMutation::Record(Record { events })).await.expect("written");
    };
    let told = async |fixture: &Fixture| {
        let events = fixture.store.vm_events(vm_id(1), 2, 100).await.expect("readable");
        let of = |event: StoredEvent| (event.kind, event.times, event.at, event.last_at);
        events.into_iter().map(of).collect::<Vec<_>>()
    };
    record(&fixture, vec![failed(10)]).await;
    record(&fixture, vec![failed(20), failed(30)]).await;
    record(&fixture, vec![failed(40)]).await;
    let line_of = |times, first, last| ("FAILED".to_owned(), times, at(first), at(last));
    assert_eq!(told(&fixture).await, [line_of(4, 10, 40)]);
    // Heard of anew by another server, it is not counted again.
    let (open, directory) = fixture.reopened().await;
    fixture = started(open, directory);
    record(&fixture, vec![failed(40)]).await;
    assert_eq!(told(&fixture).await, [line_of(4, 10, 40)]);
    // Another failure, or another line between, begins a new one.
    let other = HistoryEvent { message: "no other image".to_owned(), ..failed(50) };
    record(&fixture, vec![other.clone(), failed(60), failed(70)]).await;
    let ran = HistoryEvent { at: at(80), ..line(vm_id(1), EventKind::Entered(Running), 1) };
    record(&fixture, vec![ran, failed(90)]).await;
    record(&fixture, vec![failed(100), HistoryEvent { generation: Generation(2), ..failed(110) }])
        .await;
    let ran = ("RUNNING".to_owned(), 1, at(80), at(80));
    assert_eq!(
        told(&fixture).await,
        [
            line_of(4, 10, 40),
            line_of(1, 50, 50),
            line_of(2, 60, 70),
            ran,
            line_of(2, 90, 100),
            line_of(1, 110, 110)
        ]
    );
}

#[tokio::test]
async fn a_vm_that_is_gone_is_found_by_its_name_without_reading_all_that_are() {
    let fixture = fixture().await;
    let mut plan = String::new();
    let asked = "EXPLAIN QUERY PLAN SELECT id FROM deleted_vms WHERE name = ?
                 ORDER BY deleted_at DESC, id DESC LIMIT 1";
    let mut connection = connect(&database(&fixture.directory)).await.expect("it opens");
    for row in sqlx::query(asked).bind("web").fetch_all(&mut connection).await.expect("a plan") {
        plan += &sqlx::Row::get::<String, _>(&row, "detail");
    }
    assert!(plan.contains("deleted_vms_name"), "{plan}");
}

//! Objects as an agent tells them.

use super::*;

fn tap() -> wire::HostObject {
    wire::HostObject {
        kind: wire::ObjectKind::Tap.into(),
        name: "bg-aaaaaaaaaaaa".to_owned(),
        state: wire::ObjectState::Orphan.into(),
        orphan_for: Some(prost_types::Duration { seconds: 3, nanos: 0 }),
        ..wire::HostObject::default()
    }
}

#[test]
fn an_object_is_read_whole() {
    let read = object(tap()).expect("is read");
    assert_eq!((read.kind, read.standing), (ObjectKind::Tap, RecordedOwner::Orphan));
    assert_eq!((read.vm, read.age), (None, None));
    assert_eq!(read.orphan_for, Some(Duration::from_secs(3)));
}

#[test]
fn a_length_of_time_at_the_ends_of_what_can_be_said_is_read_or_refused_and_no_panic() {
    let ends = [i64::MIN, i64::MIN + 1, -1, 0, 1, i64::MAX - 1, i64::MAX];
    let parts = [i32::MIN, -1, 0, 1, 999_999_999, 1_000_000_000, i32::MAX];
    for seconds in ends {
        for nanos in parts {
            let said = Some(prost_types::Duration { seconds, nanos });
            let read = object(wire::HostObject { age: said, orphan_for: said, ..tap() });
            assert_eq!(read.is_ok(), seconds >= 0 && nanos >= 0, "{seconds} {nanos}");
            let told = wire::SweepPolicy { grace: said, ..wire::SweepPolicy::default() };
            assert_eq!(policy(Some(told)).is_ok(), seconds >= 0 && nanos >= 0);
        }
    }
}

#[test]
fn what_makes_no_sense_is_a_broken_protocol_that_names_the_field() {
    let bad = [
        (wire::HostObject { kind: 77, ..tap() }, "kind"),
        (wire::HostObject { state: 0, ..tap() }, "state"),
        (wire::HostObject { vm_id: "../x".to_owned(), ..tap() }, "VM id"),
        (
            wire::HostObject {
                age: Some(prost_types::Duration { seconds: -1, nanos: 0 }),
                ..tap()
            },
            "time",
        ),
        (
            wire::HostObject {
                age: Some(prost_types::Duration { seconds: i64::MIN, nanos: i32::MIN }),
                ..tap()
            },
            "time",
        ),
    ];
    for (row, field) in bad {
        let error = object(row).expect_err(field).to_string();
        assert!(error.contains(field), "{error}");
    }
    assert!(policy(None).is_err());
    let empty = wire::SweepResponse {
        kept: vec![wire::KeptObject::default()],
        policy: Some(wire::SweepPolicy::default()),
        ..wire::SweepResponse::default()
    };
    assert!(swept(empty).is_err());
}

#[test]
fn a_reason_that_is_newer_than_this_server_is_still_a_reason() {
    let answer = wire::SweepResponse {
        kept: vec![wire::KeptObject {
            object: Some(tap()),
            reason: 99,
            message: "because".to_owned(),
        }],
        policy: Some(wire::SweepPolicy::default()),
        ..wire::SweepResponse::default()
    };
    let read = swept(answer).expect("is read");
    assert_eq!(read.kept[0].1, KeptReason::Other);
    assert_eq!(read.kept[0].2, "because");
}

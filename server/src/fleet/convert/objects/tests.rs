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
    assert_eq!((read.kind, read.standing), (ObjectKind::Tap, Standing::Orphan));
    assert_eq!((read.vm, read.age), (None, None));
    assert_eq!(read.orphan_for, Some(Duration::from_secs(3)));
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

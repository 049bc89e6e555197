use std::collections::BTreeMap;

use prost_types::value::Kind;
use prost_types::{ListValue, Struct, Value};

use super::*;
use crate::model::fixtures::{at, caller, caller_of, spec, spec_with};
use crate::model::host::{HostRecord, Resources};
use crate::model::spec::{ImageDraft, SpecRefusal};
use crate::testing::{health, host_record, vm_id};

fn value(kind: Kind) -> Value {
    Value { kind: Some(kind) }
}

#[test]
fn who_made_a_public_image_and_of_what_is_told_to_who_sees_its_project() {
    let (record, _) = crate::testing::image("alpine", StoredKind::Root, b"root");
    let record =
        ImageRecord { public: true, notes: vec!["of ann".to_owned()], ..(*record).clone() };
    for (caller, sees) in [
        (caller_of("shop", ProjectRole::Admin), false),
        (caller_of("default", ProjectRole::Viewer), true),
        (caller(), true),
    ] {
        let shown = super::image(&record, 0, Vec::new(), &caller);
        assert_eq!((&*shown.name, shown.public), ("alpine", true));
        let told = [&shown.origin, &shown.created_by].map(|text| !text.is_empty());
        assert_eq!((told, !shown.notes.is_empty()), ([sees; 2], sees), "{}", caller.actor);
    }
}

#[test]
fn a_spec_that_was_read_can_be_sent_back_unchanged() {
    let full = spec_with(|draft| {
        draft.vcpus = 4;
        draft.initrd = Some(ImageDraft { name: "initrd".to_owned(), sha256: "0".repeat(64) });
        draft.work_disk_mib = Some(64);
        draft.boot_args = "quiet".to_owned();
        draft.metadata = serde_json::json!({"a": [1, 2.5, null, {"b": "c"}]}).as_object().cloned();
        draft.egress = Egress::None;
        draft.rate_limits.net_tx_bytes_per_second = 7;
        draft.labels.insert("app".to_owned(), "web".to_owned());
        draft.placement_host = "one".to_owned();
        draft.placement_labels.insert("zone".to_owned(), "a".to_owned());
        draft.restart_policy = RestartPolicy::OnFailure;
    });
    for original in [&*full, &spec()] {
        let message = super::spec(original, Secrets::Shown);
        let read = incoming::spec_draft(Some(message)).check().expect("still valid");
        assert_eq!(original.changes(&read), [], "a read and a write change nothing");
    }
}

#[test]
fn a_missing_spec_is_one_that_says_nothing() {
    let refused = incoming::spec_draft(None).check().expect_err("no root image");
    assert!(matches!(refused, SpecRefusal::Invalid(problems) if problems.len() == 1));
}

#[test]
fn numbers_that_are_no_value_of_their_enum_are_problems_of_their_fields() {
    let message = v1::VmSpec {
        network: Some(v1::NetworkSpec { egress: 99, ..Default::default() }),
        restart_policy: -1,
        ..super::spec(&spec(), Secrets::Shown)
    };
    let Err(SpecRefusal::Invalid(problems)) = incoming::spec_draft(Some(message)).check() else {
        panic!("accepted")
    };
    let fields: Vec<&str> = problems.iter().map(|problem| problem.field.as_str()).collect();
    assert_eq!(fields, ["spec.network.egress", "spec.restart_policy"]);
}

#[test]
fn metadata_round_trips_and_whole_numbers_stay_whole() {
    let list =
        vec![value(Kind::NumberValue(2.5)), Value { kind: None }, value(Kind::BoolValue(true))];
    let document = Struct {
        fields: BTreeMap::from([
            ("n".to_owned(), value(Kind::NumberValue(42.0))),
            ("l".to_owned(), value(Kind::ListValue(ListValue { values: list }))),
            ("s".to_owned(), value(Kind::StringValue("é\u{0}".to_owned()))),
        ]),
    };
    let json = serde_json::Value::Object(metadata::to_json(document).expect("finite")).to_string();
    assert_eq!(json, "{\"l\":[2.5,null,true],\"n\":42,\"s\":\"é\\u0000\"}");
    let back = metadata::to_json(metadata::to_struct(&json)).expect("finite");
    assert_eq!(serde_json::Value::Object(back).to_string(), json);
}

#[test]
fn a_number_that_json_has_not_is_refused() {
    for number in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
        let fields = BTreeMap::from([("n".to_owned(), value(Kind::NumberValue(number)))]);
        assert!(metadata::to_json(Struct { fields }).is_err());
    }
}

#[test]
fn times_keep_their_nanoseconds_also_before_1970() {
    let time = timestamp(at(0) + jiff::SignedDuration::from_nanos(7));
    assert_eq!((time.seconds, time.nanos), (1_800_000_000, 7));
    let early = jiff::Timestamp::new(-1, -500_000_000).expect("in range");
    let time = timestamp(early);
    assert_eq!((time.seconds, time.nanos), (-2, 500_000_000));
}

#[test]
fn durations_are_neither_negative_nor_too_long() {
    let given = |seconds, nanos| prost_types::Duration { seconds, nanos };
    let hour = Duration::from_secs(3600);
    assert_eq!(duration(given(0, 0), hour), Ok(Duration::ZERO));
    assert_eq!(duration(given(3600, 0), hour), Ok(hour));
    for bad in [
        given(3600, 1),
        given(-1, 0),
        given(0, -1),
        given(i64::MIN, i32::MIN),
        given(i64::MAX, i32::MAX),
    ] {
        assert!(duration(bad, hour).is_err(), "{bad:?}");
    }
}

#[test]
fn a_host_shows_what_may_be_booked_on_it_and_by_whose_setting() {
    let shown = |overcommit: HostOvercommit| {
        let record = HostRecord { overcommit, ..HostRecord::clone(&host_record(1)) };
        let health = health(crate::model::host::HostState::Online);
        let facts = crate::testing::facts();
        let has = facts.capacity;
        let view = HostView { record: record.into(), health, facts: Some(facts.into()) }.into();
        let unclaimed = vec![vm_id(1)];
        let booked = Resources::default();
        let snapshot = HostSnapshot {
            view,
            vm_count: 2,
            booked,
            unclaimed,
            certificate: None,
            revision: Revision(1),
            added: Revision(1),
        };
        (has, host(&snapshot, Overcommit { vcpus: 3.0, memory: 1.0 }))
    };
    let (has, as_all) = shown(HostOvercommit::default());
    let status = as_all.status.expect("it has one");
    let allocatable = status.allocatable.expect("it was heard");
    assert_eq!(allocatable.vcpus, has.vcpus * 3);
    assert_eq!(status.overcommit, Some(v1::HostOvercommit { vcpus: 3.0, memory: 1.0 }));
    assert_eq!(as_all.overcommit, None);
    // Of the addresses of a network the first two and the last are no guest's.
    let all = host_record(1).subnet.last_slot() - 1;
    assert_eq!(status.addresses_free, all - 3);
    let (has, own) = shown(HostOvercommit { vcpus_milli: Some(500), memory_milli: None });
    let status = own.status.expect("it has one");
    assert_eq!(status.allocatable.expect("it was heard").vcpus, has.vcpus / 2);
    assert_eq!(status.overcommit, Some(v1::HostOvercommit { vcpus: 0.5, memory: 1.0 }));
    assert_eq!(own.overcommit, Some(v1::HostOvercommit { vcpus: 0.5, memory: 0.0 }));
}

#[test]
fn a_host_with_any_number_of_unclaimed_vms_is_a_small_message_that_says_how_many() {
    let of = |unclaimed: u32| {
        let unclaimed = (0..unclaimed).map(|number| vm_id(number.into())).collect();
        let record = host_record(1);
        let health = health(crate::model::host::HostState::Online);
        let view = HostView { record, health, facts: None }.into();
        let booked = Resources { vcpus: 0, memory_mib: 0, disk_mib: 0, guests: 0 };
        let snapshot = HostSnapshot {
            view,
            vm_count: 0,
            booked,
            unclaimed,
            certificate: None,
            revision: Revision(1),
            added: Revision(1),
        };
        host(&snapshot, Overcommit::default())
    };
    let status = |host: &v1::Host| host.status.clone().expect("it has one");
    let few = status(&of(3));
    assert_eq!((few.unclaimed_vm_ids.len(), few.unclaimed_vm_count), (3, 3));
    assert_eq!(few.unclaimed_vm_ids[0], vm_id(0).to_string());
    let many = of(16_000);
    assert!(prost::Message::encoded_len(&many) < 16 << 10, "{many:?}");
    let many = status(&many);
    assert_eq!((many.unclaimed_vm_ids.len(), many.unclaimed_vm_count), (MAX_UNCLAIMED, 16_000));
    assert_eq!(many.unclaimed_vm_ids[..3], few.unclaimed_vm_ids[..]);
}

#[test]
fn every_problem_of_a_filter_is_listed() {
    let mut problems = Vec::new();
    let filter = v1::VmFilter {
        label_selector: "a b".to_owned(),
        host: "../x".to_owned(),
        states: vec![0, 99, v1::VmState::Running.into()],
        project: String::new(),
    };
    incoming::vm_filter(Some(filter), &mut problems);
    let fields: Vec<&str> = problems.iter().map(|problem| problem.field.as_str()).collect();
    assert_eq!(fields, ["filter.label_selector", "filter.host", "filter.states", "filter.states"]);
}

#[test]
fn states_round_trip() {
    for shown in VmState::ALL {
        assert_eq!(incoming::vm_state(state(shown).into()), Ok(Some(shown)));
    }
}

/// Whatever a request says, what is accepted of it is sent back as it was, and is within bounds.
#[test]
fn fuzz_a_spec_that_is_accepted_is_sent_back_unchanged() {
    use prost::Message as _;
    let full = spec_with(|draft| {
        draft.vcpus = 4;
        draft.initrd = Some(ImageDraft { name: "initrd".to_owned(), sha256: "0".repeat(64) });
        draft.work_disk_mib = Some(64);
        draft.metadata = serde_json::json!({"a": [1, {"b": "c"}]}).as_object().cloned();
        draft.labels.insert("app".to_owned(), "web".to_owned());
    });
    let seed = super::spec(&full, Secrets::Shown).encode_to_vec();
    let pool = banger_proto::FILE_DESCRIPTOR_SET;
    banger_fuzz::fuzz_message("vm_spec", pool, "banger.v1.VmSpec", &seed, |input| {
        let message = v1::VmSpec::decode(input).expect("it was encoded");
        match incoming::spec_draft(Some(message)).check() {
            Ok(accepted) => {
                let sent = super::spec(&accepted, Secrets::Shown);
                let read = incoming::spec_draft(Some(sent)).check().expect("still valid");
                assert_eq!(accepted.changes(&read), [], "a read and a write change nothing");
            }
            Err(SpecRefusal::Invalid(problems)) => {
                assert!(!problems.is_empty());
                for problem in problems {
                    assert!(problem.field.starts_with("spec"), "{problem:?}");
                    assert!(problem.description.len() < 1000, "{problem:?}");
                }
            }
            Err(_) => {}
        }
    });
}

#[test]
fn whoever_may_not_see_secrets_sees_a_spec_without_its_metadata() {
    let full = spec_with(|draft| {
        draft.metadata = serde_json::json!({"password": "hunter2"}).as_object().cloned();
    });
    let shown = super::spec(&full, Secrets::Shown);
    let hidden = super::spec(&full, Secrets::Hidden);
    assert!(shown.metadata.is_some());
    assert_eq!(hidden, v1::VmSpec { metadata: None, ..shown });
}

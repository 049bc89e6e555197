use prost::Message as _;

use super::*;

fn event(kind: EventKind, name_len: usize) -> Bytes {
    let mut out = BytesMut::new();
    let vm = v1::Vm { name: "n".repeat(name_len), ..v1::Vm::default() };
    put_event(&mut out, kind, Revision(u64::MAX), vm);
    out.freeze()
}

fn decode(parts: &[Bytes]) -> v1::WatchVmsResponse {
    let bytes: Vec<u8> = parts.iter().flatten().copied().collect();
    v1::WatchVmsResponse::decode(bytes.as_slice()).expect("fields, one after the other")
}

#[test]
fn a_response_is_the_concatenation_of_its_fields() {
    let parts =
        [event(EventKind::Added, 3), event(EventKind::Removed, 300), tail(Some(Revision(7)), true)];
    let response = decode(&parts);
    assert_eq!(response.events.len(), 2);
    assert_eq!(response.events[1].r#type(), v1::VmEventType::Removed);
    assert_eq!((response.revision, response.initial_state_complete), (7, true));
}

#[test]
fn an_event_can_be_shown_as_another_kind_whatever_its_length() {
    let kinds = [EventKind::Added, EventKind::Modified, EventKind::Removed];
    // Lengths of one, two and three bytes.
    for name_len in [0, 1, 100, 130, 20_000] {
        for from in kinds {
            for to in kinds {
                let shown = as_kind(&event(from, name_len), to);
                assert_eq!(shown, event(to, name_len), "{from:?} as {to:?} at {name_len}");
            }
        }
    }
}

#[test]
fn a_response_within_the_state_at_the_start_has_no_revision() {
    assert_eq!(tail(None, false).len(), 0);
    let response = decode(&[tail(Some(Revision(3)), false)]);
    assert_eq!((response.revision, response.initial_state_complete), (3, false));
}

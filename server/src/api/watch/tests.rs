use prost::Message as _;

use super::*;

fn event(kind: ChangeKind, name_len: usize) -> Bytes {
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
    let parts = [
        event(ChangeKind::Added, 3),
        event(ChangeKind::Removed, 300),
        tail(Some(Revision(7)), true),
    ];
    let response = decode(&parts);
    assert_eq!(response.events.len(), 2);
    assert_eq!(response.events[1].r#type(), v1::VmEventType::Removed);
    assert_eq!((response.revision, response.initial_state_complete), (7, true));
}

#[test]
fn an_event_can_be_shown_as_another_kind_whatever_its_length() {
    let kinds = [ChangeKind::Added, ChangeKind::Modified, ChangeKind::Removed];
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

#[test]
fn a_batch_is_split_by_what_it_weighs_and_each_response_says_where_it_ends() {
    for (ordered, complete) in [(true, false), (false, true)] {
        let mut packer = Packer { ordered, ..Packer::default() };
        for n in 1..=30 {
            packer.push(event(ChangeKind::Added, 150_000), Revision(n));
        }
        packer.close(Some(Revision(99)), complete);
        let responses: Vec<_> = packer.full.iter().map(|frame| decode(&frame.parts)).collect();
        assert!(responses.len() > 3, "{}", responses.len());
        let mut told = 0;
        for (n, response) in responses.iter().enumerate() {
            assert!(response.encoded_len() <= FRAME_BYTES + 64, "{}", response.encoded_len());
            told += response.events.len() as u64;
            let last = n + 1 == responses.len();
            let revision = match (last, ordered) {
                (true, _) => 99,
                (false, true) => told,
                (false, false) => 0,
            };
            assert_eq!(
                (response.revision, response.initial_state_complete),
                (revision, last && complete)
            );
        }
        assert_eq!(told, 30, "each is told once");
    }
}

#[test]
fn one_event_that_is_larger_than_a_response_is_one_response() {
    let mut packer = Packer { ordered: true, ..Packer::default() };
    packer.push(event(ChangeKind::Added, 2 * FRAME_BYTES), Revision(1));
    packer.push(event(ChangeKind::Added, 2 * FRAME_BYTES), Revision(2));
    packer.close(Some(Revision(2)), false);
    let events: Vec<_> =
        packer.full.iter().map(|frame| decode(&frame.parts).events.len()).collect();
    assert_eq!(events, [1, 1]);
}

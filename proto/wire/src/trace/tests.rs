use super::*;

const GOOD: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

#[test]
fn only_a_well_formed_traceparent_is_one() {
    assert!(is_traceparent(GOOD));
    for bad in [
        "",
        "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7",
        "01-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
        "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
        "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
        "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-x",
        "a\nb",
    ] {
        assert!(!is_traceparent(bad), "{bad:?}");
    }
}

#[test]
fn without_spans_of_its_own_a_process_hands_on_what_came_with_the_request() {
    let mut metadata = MetadataMap::new();
    assert_eq!(current_traceparent(metadata.as_ref()), "");
    inject_traceparent(&mut metadata, GOOD);
    assert_eq!(current_traceparent(metadata.as_ref()), GOOD);
    inject_traceparent(&mut metadata, "nonsense");
    assert_eq!(current_traceparent(metadata.as_ref()), "");
}

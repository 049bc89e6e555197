use super::*;

#[test]
fn an_id_round_trips_through_text() {
    let text = "0192f0c1-2d3e-7a4b-8c5d-6e7f8091a2b3";
    let id: VmId = text.parse().expect("canonical");
    assert_eq!(id.to_string(), text);
    let json = serde_json::to_string(&id).expect("serializes");
    assert_eq!(serde_json::from_str::<VmId>(&json).expect("parses"), id);
}

#[test]
fn other_spellings_and_hostile_texts_are_no_ids() {
    for text in [
        "",
        "0192F0C1-2D3E-7A4B-8C5D-6E7F8091A2B3",
        "{0192f0c1-2d3e-7a4b-8c5d-6e7f8091a2b3}",
        "urn:uuid:0192f0c1-2d3e-7a4b-8c5d-6e7f8091a2b3",
        "0192f0c12d3e7a4b8c5d6e7f8091a2b3",
        "00000000-0000-0000-0000-000000000000",
        "0192f0c1-2d3e-7a4b-8c5d-6e7f8091a2b3\n",
        "../../etc/passwd",
        "--help",
    ] {
        assert_eq!(text.parse::<VmId>(), Err(ParseIdError), "{text:?}");
    }
}

#[test]
fn a_version_of_a_later_epoch_is_newer_whatever_its_generation() {
    let old = Version { epoch: Epoch(1), generation: Generation(900) };
    let new = Version { epoch: Epoch(2), generation: Generation(1) };
    assert!(new > old);
}

use super::*;

#[test]
fn what_nft_says_of_a_set_is_packets_by_name() {
    let text = r#"{"nftables": [{"metainfo": {"version": "1.0.6"}},
        {"set": {"family": "bridge", "name": "refused_taps", "table": "banger-bg", "type": "ifname",
        "handle": 4, "size": 1048576, "flags": ["dynamic"], "elem": [
        {"elem": {"val": "bg-1", "counter": {"packets": 3, "bytes": 252}}},
        {"elem": {"val": "bg-2"}}, "bg-3"]}}]}"#;
    let read = read_refused_of(text).expect("JSON");
    assert_eq!(read, BTreeMap::from([("bg-1".to_owned(), 3)]));
    let none = r#"{"nftables": [{"set": {"name": "refused_taps"}}]}"#;
    assert!(read_refused_of(none).expect("JSON").is_empty());
    assert!(read_refused_of("{").is_err());
}

#[test]
fn whatever_becomes_of_the_count_the_last_rule_drops_and_has_no_condition() {
    for (_, rules) in rules() {
        assert_eq!((rules.len(), rules[1].as_str()), (2, "drop"));
    }
}

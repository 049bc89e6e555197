//! The rendered tables, and what is read of them.

use super::*;
use crate::host::{AddressRange, LinkName};

fn layout() -> PinLayout {
    let closed = ["169.254.0.0/16", "169.254.169.254", "168.63.129.16"];
    let closed = closed.iter().map(|text| text.parse().unwrap()).collect();
    PinLayout {
        subnet: Some("10.64.0.0/20".parse().unwrap()),
        closed,
        connections: 4096,
        neighbours: 512,
        fragments: 300,
        fragments_of_one: 64,
        ..PinLayout::of_tag("bg", LinkName::new("bgbr0").unwrap())
    }
}

fn pin(n: u8) -> Pin {
    Pin {
        key: GuestKey::new(format!("vm-{n}")).unwrap(),
        tap: TapName::new(format!("bg-{n:012}")).unwrap(),
        mac: MacAddress([2, 0xfc, 10, 64, 0, n]),
        address: Ipv4Addr::new(10, 64, 0, n),
        uid: 200_000 + u32::from(n),
    }
}

fn pinned(pins: &[Pin]) -> Pinned {
    pins.iter().map(|pin| (pin.key.clone(), pin.clone())).collect()
}

#[test]
fn both_tables_are_replaced_in_one_transaction() {
    let layout = layout();
    let digest = layout.digest();
    let gateways = BTreeSet::from([1, 3].map(|n| Ipv4Addr::new(192, 0, 2, n)));
    let text = layout.render(&pinned(&[pin(2)]), &gateways).replace(&digest, "DIGEST");
    insta::assert_snapshot!(text);
}

#[test]
fn a_change_of_one_guest_names_no_other() {
    let moved = Pin { address: Ipv4Addr::new(10, 64, 0, 9), uid: 200_009, ..pin(2) };
    let kept = pinned(&[moved.clone(), pin(3), pin(4)]);
    let passed_on = BTreeSet::from([pin(2).address, moved.address]);
    insta::assert_snapshot!(layout().render_change(&[&pin(2)], &[&moved], &passed_on, &kept), @r#"
    delete element bridge banger-bg pins { "bg-000000000002" . 02:fc:0a:40:00:02 . 10.64.0.2 }
    delete element inet banger-bg users { 200002 }
    delete element inet banger-bg selves { 10.64.0.2 . 10.64.0.2 }
    add element inet banger-bg connections { 10.64.0.2 ct count over 4096 }
    delete element inet banger-bg connections { 10.64.0.2 }
    add element inet banger-bg refused_addresses { 10.64.0.2 counter packets 0 bytes 0 }
    delete element inet banger-bg refused_addresses { 10.64.0.2 }
    add element inet banger-bg connections { 10.64.0.9 ct count over 4096 }
    delete element inet banger-bg connections { 10.64.0.9 }
    add element inet banger-bg refused_addresses { 10.64.0.9 counter packets 0 bytes 0 }
    delete element inet banger-bg refused_addresses { 10.64.0.9 }
    add element bridge banger-bg taps { "bg-000000000002" }
    add element bridge banger-bg pins { "bg-000000000002" . 02:fc:0a:40:00:02 . 10.64.0.9 comment "banger:bg:vm-2:200009" }
    add element inet banger-bg ports { "bg-000000000002" }
    add element inet banger-bg users { 200009 }
    add element inet banger-bg selves { 10.64.0.9 . 10.64.0.9 }
    "#);
}

#[test]
fn gateways_are_changed_as_a_whole_and_are_none_where_nothing_is_bounded() {
    let two = BTreeSet::from([1, 3].map(|n| Ipv4Addr::new(192, 0, 2, n)));
    insta::assert_snapshot!(layout().render_gateways(&two), @r"
    flush set inet banger-bg gateways
    add element inet banger-bg gateways { 192.0.2.1, 192.0.2.3 }
    ");
    insta::assert_snapshot!(layout().render_gateways(&BTreeSet::new()), @"flush set inet banger-bg gateways");
    let unbounded = PinLayout { neighbours: 0, ..layout() };
    assert!(!unbounded.render(&pinned(&[pin(2)]), &two).contains("gateways"));
}

#[test]
fn a_user_that_another_guest_has_now_is_not_let_go() {
    let heir = Pin { uid: pin(2).uid, ..pin(3) };
    let text = layout().render_change(&[&pin(2)], &[], &BTreeSet::new(), &pinned(&[heir]));
    assert!(!text.contains("users") && text.contains("delete element bridge banger-bg pins"));
}

#[test]
fn other_chains_have_another_digest() {
    let usual = layout().digest();
    assert_ne!(usual, PinLayout { connections: 1, ..layout() }.digest());
    assert_ne!(usual, PinLayout { closed: Vec::new(), ..layout() }.digest());
    assert_ne!(usual, PinLayout { neighbours: 0, ..layout() }.digest());
    // The same share of one guest, by rounding, and another number for all.
    assert_ne!(usual, PinLayout { neighbours: 511, ..layout() }.digest());
    assert_ne!(usual, PinLayout { fragments: 301, ..layout() }.digest());
    assert_ne!(usual, PinLayout { fragments: 0, ..layout() }.digest());
    assert_ne!(usual, PinLayout { fragments_of_one: 0, ..layout() }.digest());
    assert_ne!(usual, PinLayout { subnet: None, ..layout() }.digest());
}

#[test]
fn nothing_is_read_of_what_is_not_there_and_garbage_is_refused() {
    assert_eq!(layout().read(None, None).unwrap(), PinsSeen::default());
    assert!(layout().read(Some("{"), None).is_err());
    assert_eq!(layout().read(Some("{\"nftables\": 7}"), None).unwrap(), PinsSeen::default());
}

#[test]
fn a_range_covers_what_lies_in_it_and_nothing_else() {
    let range = |text: &str| text.parse::<AddressRange>().unwrap();
    assert!(range("169.254.0.0/16").covers(range("169.254.169.254")));
    assert!(!range("169.254.169.254").covers(range("169.254.0.0/16")));
    assert!(!range("169.254.0.0/16").covers(range("169.255.0.1")));
    for bad in ["", "1.2.3.4/33", "1.2.3.4/0", "1.2.3.4/8", "::1", "1.2.3.4/x", "1.2.3.0/24/1"] {
        assert!(bad.parse::<AddressRange>().is_err(), "{bad}");
    }
    assert_eq!(range("10.0.0.0/8").to_string(), "10.0.0.0/8");
    assert_eq!(range("10.0.0.1/32").to_string(), "10.0.0.1");
}

proptest::proptest! {
    #[test]
    fn fuzz_a_list_of_nft_gives_only_whole_pins_or_none(text in ".{0,200}") {
        if let Ok(seen) = layout().read(Some(&text), None) {
            proptest::prop_assert!(!seen.whole && seen.pins.is_empty());
        }
    }
}

#[test]
fn what_comes_past_the_bridge_is_dropped_before_fragments_are_put_together() {
    // NF_IP_PRI_CONNTRACK_DEFRAG of linux/netfilter_ipv4.h.
    const DEFRAGMENTATION: i32 = -400;
    let text = layout().render(&Pinned::new(), &BTreeSet::new());
    let (_, chain) = text.split_once("chain past_the_bridge {").expect("there is one");
    let (_, priority) = chain.split_once("priority ").expect("it has one");
    let priority: i32 = priority.split(';').next().unwrap().parse().unwrap();
    assert!(priority < DEFRAGMENTATION, "{priority}");
}

#[test]
fn what_was_refused_is_read_of_our_own_counters_alone() {
    let counter = |table: &str, family: &str, name: &str, packets: u64| {
        format!(
            r#"{{"counter": {{"family": "{family}", "table": "{table}", "name": "{name}", "packets": {packets}}}}}"#
        )
    };
    let listed = [
        r#"{"metainfo": {"json_schema_version": 1}}"#.to_owned(),
        counter("banger-bg", "bridge", "refused_fragments_of_all", 7),
        counter("banger-bg", "inet", "refused_icmp", 3),
        counter("banger-bg", "bridge", "refused_icmp", 100),
        counter("banger-xx", "inet", "refused_neighbours", 100),
        counter("banger-bg", "inet", "else", 100),
    ];
    let text = format!(r#"{{"nftables": [{}]}}"#, listed.join(", "));
    let refused = layout().read_refused(&text).unwrap();
    assert_eq!(refused, BTreeMap::from([(RefusedFor::FragmentsOfAll, 7), (RefusedFor::Icmp, 3)]));
    assert_eq!(layout().read_refused("{}").unwrap(), BTreeMap::new());
    assert!(layout().read_refused("").is_err());
}

#[test]
fn every_rule_that_refuses_by_a_bound_counts_in_a_counter_that_is_there() {
    let text = layout().render(&pinned(&[pin(2)]), &BTreeSet::new());
    for why in RefusedFor::ALL {
        assert_eq!(text.matches(&format!("counter {} {{ }}", counter(why))).count(), 1);
        assert!(text.contains(&format!("counter name {} jump refused", counter(why))), "{why:?}");
    }
    // And where nothing is bounded, nothing is.
    let unbounded =
        PinLayout { connections: 0, neighbours: 0, fragments: 0, fragments_of_one: 0, ..layout() };
    let text = unbounded.render(&pinned(&[pin(2)]), &BTreeSet::new());
    for gone in ["limit rate", "ct count", "@fragments"] {
        assert!(!text.contains(gone), "{gone}");
    }
}

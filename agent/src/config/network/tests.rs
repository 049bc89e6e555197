//! What is closed, and what does not fit.

use super::*;

fn is_closed(address: &str) -> bool {
    let address: AddressRange = address.parse().unwrap();
    known_metadata_services().iter().any(|range| range.covers(address))
}

#[test]
fn what_is_closed_by_default_is_all_of_what_is_named_here() {
    assert_eq!(known_metadata_services().len(), 1 + metadata_services::IPV4.len());
    assert!(problems(&GuestsConfig::default()).is_empty());
    for known in ["169.254.169.254", "169.254.0.23", "100.100.100.200", "168.63.129.16"] {
        assert!(is_closed(known), "{known}");
    }
    for known in ["192.0.0.192", "100.96.0.96", "100.80.80.80"] {
        assert!(is_closed(known), "{known}");
    }
    assert!(!is_closed("100.96.0.97") && !is_closed("192.0.2.1"));
    let range = known_metadata_services()[0];
    let many = GuestsConfig {
        max_connections: MAX_CONNECTIONS + 1,
        max_neighbours: 15,
        max_fragments: 15,
        max_fragments_per_guest: FRAGMENTS.end() + 1,
        closed_addresses: vec![range; MAX_CLOSED + 1],
        ..GuestsConfig::default()
    };
    assert_eq!(problems(&many).len(), 6);
}

#[test]
fn a_guest_sends_no_more_fragments_than_all_guests_unless_nothing_bounds_them() {
    let of = |max_fragments, max_fragments_per_guest| GuestsConfig {
        max_fragments,
        max_fragments_per_guest,
        ..GuestsConfig::default()
    };
    for good in [of(0, 0), of(0, 65_536), of(300, 300), of(16, 0)] {
        assert!(problems(&good).is_empty(), "{good:?}");
    }
    assert!(problems(&of(300, 301)).join("").contains("max_fragments, 300"));
}

#[test]
fn a_service_that_an_older_configuration_leaves_open_is_named() {
    // As an earlier version wrote it down.
    let older = ["169.254.0.0/16", "100.100.100.200", "168.63.129.16", "192.0.0.192"];
    let older: Vec<AddressRange> = older.iter().map(|text| text.parse().unwrap()).collect();
    let open: Vec<String> = open_metadata(&older).iter().map(ToString::to_string).collect();
    assert_eq!(open, ["100.96.0.96", "100.80.80.80"]);
    let all = ["0.0.0.0/1", "128.0.0.0/1"].map(|text| text.parse().unwrap());
    assert_eq!(open_metadata(&all), []);
    assert_eq!(open_metadata(&known_metadata_services()), []);
}

//! What is closed, and what does not fit.

use super::*;

#[test]
fn what_is_closed_by_default_is_all_of_what_is_named_here() {
    assert_eq!(metadata_services().len(), METADATA.len());
    assert!(problems(&GuestsConfig::default()).is_empty());
    let range = metadata_services()[0];
    let many = GuestsConfig {
        max_connections: MAX_CONNECTIONS + 1,
        closed_addresses: vec![range; MAX_CLOSED + 1],
        ..GuestsConfig::default()
    };
    assert_eq!(problems(&many).len(), 2);
}

//! Objects as messages.

use super::*;
use crate::host::TapName;
use crate::inventory::sweep::SweepSettings;
use crate::inventory::{Object, Target};

fn listed(n: usize) -> Listed {
    let tap = TapName::new(format!("bg-{n:012}")).unwrap();
    let object = Object {
        name: tap.to_string(),
        target: Target::Tap(tap),
        vm: None,
        standing: Standing::Lost,
        age: Some(Duration::from_millis(1500)),
        size_bytes: 7,
        in_use: false,
        detail: "é".repeat(1000),
    };
    Listed { object, orphan_for: Some(Duration::from_secs(3)) }
}

fn policy() -> Policy {
    Policy { settings: SweepSettings::default(), budget_left: 9 }
}

#[test]
fn every_object_is_in_one_part_and_the_last_part_has_the_policy() {
    for (count, sizes) in [(0, vec![0]), (1, vec![1]), (1001, vec![500, 500, 1])] {
        let parts = parts((0..count).map(listed).collect(), policy());
        assert_eq!(parts.iter().map(|part| part.objects.len()).collect::<Vec<_>>(), sizes);
        let with_policy: Vec<_> = parts.iter().map(|part| part.policy.is_some()).collect();
        let last = with_policy.len() - 1;
        assert!(with_policy.iter().enumerate().all(|(at, is)| *is == (at == last)));
    }
}

#[test]
fn an_object_without_end_does_not_make_a_message_without_end() {
    let row = object(&listed(1));
    assert!(row.detail.len() <= LONGEST && row.detail.ends_with("é..."), "{}", row.detail);
    assert_eq!(row.state(), wire::ObjectState::Orphan);
    assert_eq!(row.age.expect("has one").nanos, 500_000_000);
    let fate = |n| if n % 2 == 0 { Fate::Kept(Kept::Claimed) } else { Fate::Failed("f".into()) };
    let answer = swept((0..5000).map(|n| (listed(n), fate(n))).collect(), policy());
    assert_eq!((answer.kept.len(), answer.failed.len()), (LISTED, LISTED));
    assert_eq!(answer.not_listed, 2000);
    let bytes = prost::Message::encoded_len(&answer);
    assert!(bytes < banger_proto::bounds::MAX_MESSAGE_BYTES, "{bytes}");
}

//! A seed is a schedule.

use super::*;

fn settings(seed: u64) -> Settings {
    Settings { seed, time: Duration::from_secs(60), hosts: 3, slots: 8 }
}

#[test]
fn the_same_seed_is_the_same_schedule_and_another_is_another() {
    assert_eq!(Schedule::of(&settings(1)), Schedule::of(&settings(1)));
    assert_ne!(Schedule::of(&settings(1)), Schedule::of(&settings(2)));
}

#[test]
fn more_hosts_and_more_time_change_nothing_of_what_is_asked_before() {
    let short = Schedule::of(&settings(7));
    let long = Schedule::of(&Settings { time: Duration::from_secs(90), hosts: 5, ..settings(7) });
    for (short, long) in short.slots.iter().zip(&long.slots) {
        assert_eq!(short[..], long[..short.len()]);
    }
}

#[test]
fn faults_of_a_part_never_overlap_and_all_kinds_come_up() {
    let mut seen = Vec::new();
    for seed in 0..20 {
        let schedule = Schedule::of(&settings(seed));
        assert!(schedule.slots.iter().all(|wishes| wishes.len() > 10));
        for (part, strikes) in schedule.parts {
            assert!(!strikes.is_empty(), "{part:?}");
            for pair in strikes.windows(2) {
                assert!(pair[0].at + pair[0].lasts < pair[1].at, "{part:?}: {pair:?}");
            }
            seen.extend(strikes.into_iter().map(|strike| strike.fault));
        }
    }
    for fault in Fault::ALL {
        assert!(seen.contains(&fault), "{fault:?}");
    }
}

//! The kernel's layout, thresholds and room.

use proptest::prelude::*;

use super::*;

const MIB: u64 = 1 << 20;

fn level(used_mib: u64, total_mib: u64, base_mib: u64) -> CowLevel {
    let fill = SnapshotFill::Used { used: used_mib * 2048, total: total_mib * 2048 };
    CowLevel { fill, base: base_mib * MIB }
}

/// How the kernel uses a store of so many chunks: whether the last one can be used, and whether
/// that made it write past the end. `persistent_prepare_exception` and
/// `persistent_commit_exception`, on paper.
fn fill_up(chunks: u64, data: u64) -> (u64, bool) {
    let (mut next_free, mut committed, mut area, mut past_the_end) = (2, 0, 0, false);
    let mut copied = 0;
    while copied < data && next_free < chunks {
        next_free += 1;
        if next_free % (AREA + 1) == 1 {
            next_free += 1;
        }
        committed += 1;
        copied += 1;
        if committed == AREA {
            area += 1;
            committed = 0;
            past_the_end |= 1 + (AREA + 1) * area >= chunks;
        }
    }
    (copied, past_the_end)
}

#[test]
fn a_store_of_256_mib_would_be_lost_when_it_is_full_and_is_made_longer() {
    let (_, lost) = fill_up(256 * MIB / CHUNK, u64::MAX);
    assert!(lost, "the kernel's layout is not as we think");
    assert_eq!(sound(256 * MIB), 256 * MIB + CHUNK);
    assert_eq!(sound(64 * MIB), 64 * MIB);
}

proptest! {
    #[test]
    fn a_sound_store_is_full_at_worst_and_never_lost(bytes in 1..(1_u64 << 31)) {
        let length = sound(bytes);
        prop_assert!(length >= bytes && length <= bytes + 2 * CHUNK);
        prop_assert!(!fill_up(length / CHUNK, u64::MAX).1);
    }

    #[test]
    fn a_store_that_covers_its_image_takes_every_chunk_of_it(base in 1..(1_u64 << 31)) {
        let chunks = base.div_ceil(CHUNK);
        prop_assert_eq!(fill_up(cover(base) / CHUNK, chunks), (chunks, false));
        // At most one part in two hundred more than the image, and two areas' metadata.
        prop_assert!(cover(base) <= base + base / 200 + 5 * CHUNK);
    }

    #[test]
    fn a_judgement_never_shrinks_and_keeps_the_bounds(
        used in 0..4096_u64, total in 1..4096_u64, base in 1..4096_u64,
        most in proptest::option::of(1..4096_u64), percent in 1..100_u8,
    ) {
        let policy = DiskPolicy {
            grow_to: most.map(|mib| mib * MIB), alarm_percent: percent, ..DiskPolicy::default()
        };
        let seen = level(used.min(total), total, base);
        if let CowVerdict::Grow(to) = judge(seen, &policy) {
            prop_assert!(to > total * MIB && to <= cover(base * MIB));
            prop_assert!(policy.grow_to.is_none_or(|most| to <= sound(most)));
            prop_assert_eq!(to, sound(to));
        }
    }

    #[test]
    fn a_disk_is_as_long_as_its_spec_and_its_end_is_out_of_reach_of_the_snapshot(
        base in 1..(1_u64 << 31), asked in 16..4096_u64,
    ) {
        let (asked, image) = (asked * MIB, whole_sectors(base));
        match tail(asked, base) {
            None => prop_assert!(image >= asked),
            Some(Tail { bytes, offset }) => {
                prop_assert_eq!(image + bytes, asked);
                prop_assert_eq!(first_size(asked, base), offset + bytes);
                // Every chunk of the image written, and the metadata cleared that follows the last.
                let (copied, past) = fill_up(offset / CHUNK, u64::MAX);
                prop_assert!(copied >= image.div_ceil(CHUNK) && !past);
            }
        }
    }

    #[test]
    fn growing_comes_to_an_end(total in 1..512_u64, base in 1..4096_u64) {
        let policy = DiskPolicy::default();
        let mut bytes = total * MIB;
        for _ in 0..100 {
            let sectors = bytes / SECTOR;
            let fill = SnapshotFill::Used { used: sectors, total: sectors };
            match judge(CowLevel { fill, base: base * MIB }, &policy) {
                CowVerdict::Grow(to) => bytes = to,
                CowVerdict::Enough => return Ok(()),
                other => prop_assert!(false, "{other:?}"),
            }
        }
        prop_assert!(false, "still growing at {bytes} bytes");
    }
}

#[test]
fn a_store_grows_from_the_threshold_on() {
    let policy = DiskPolicy::default();
    assert_eq!(judge(level(79, 100, 1000), &policy), CowVerdict::Enough);
    assert_eq!(judge(level(80, 100, 1000), &policy), CowVerdict::Grow(164 * MIB));
    assert_eq!(judge(level(400, 500, 1000), &policy), CowVerdict::Grow(625 * MIB));
}

#[test]
fn a_store_at_its_bound_is_an_alarm_and_one_that_covers_its_image_never() {
    let bounded = DiskPolicy { grow_to: Some(100 * MIB), ..DiskPolicy::default() };
    let nearly = CowVerdict::NearlyFull { used: 99 * MIB, total: 100 * MIB };
    assert_eq!(judge(level(99, 100, 1000), &bounded), nearly);
    assert_eq!(judge(level(99, 100, 95), &bounded), CowVerdict::Enough);
}

#[test]
fn full_and_lost_are_two_things() {
    let seen = |fill| judge(CowLevel { fill, base: MIB }, &DiskPolicy::default());
    assert_eq!(seen(SnapshotFill::Overflow), CowVerdict::Full);
    assert_eq!(seen(SnapshotFill::Invalid), CowVerdict::Lost);
    assert_eq!(seen(SnapshotFill::Unclear), CowVerdict::Enough);
}

#[test]
fn a_store_begins_with_what_was_asked_for_but_not_with_more_than_is_of_use() {
    assert_eq!(first_size(64 * MIB, 1000 * MIB), 64 * MIB);
    assert_eq!(first_size(1024 * MIB, 32 * MIB), cover(32 * MIB) + 992 * MIB);
    assert_eq!(first_size(32 * MIB, 32 * MIB), 32 * MIB);
}

#[test]
fn a_host_below_its_reserve_makes_no_new_disks_and_still_starts_those_it_has() {
    let policy = DiskPolicy::default();
    let gib = 1 << 30;
    assert!(admit_start(100 * MIB, gib + 108 * MIB, &policy).is_ok());
    let refused = admit_start(100 * MIB, gib + 108 * MIB - 1, &policy).unwrap_err();
    assert_eq!((refused.needed, refused.kept), (108 * MIB, gib));
    assert!(admit_start(0, 8 * MIB, &policy).is_ok());
    assert!(admit_start(0, 8 * MIB - 1, &policy).is_err());
    let sparse = DiskPolicy { sparse: true, ..policy };
    assert!(admit_start(100 * MIB, gib + 8 * MIB, &sparse).is_ok());
    assert!(admit_start(100 * MIB, gib, &sparse).is_err());
}

#[test]
fn growth_may_use_the_reserve_but_for_the_last_of_it() {
    let policy = DiskPolicy::default();
    assert!(admit_growth(100 * MIB, 164 * MIB, &policy).is_ok());
    assert!(admit_growth(100 * MIB, 164 * MIB - 1, &policy).is_err());
    let none = DiskPolicy { reserve: 0, ..policy };
    assert!(admit_growth(100 * MIB, 100 * MIB, &none).is_ok());
}

#[test]
fn a_store_that_fills_fast_is_looked_at_sooner() {
    let policy = DiskPolicy::default();
    let (longest, shortest) = LOOKS;
    let between = Duration::from_secs(10);
    let look = |was: u64, is: u64| {
        next_look(Some(level(was, 100, 1000)), level(is, 100, 1000), between, &policy)
    };
    assert_eq!(look(10, 10), longest);
    // Ten in ten seconds, sixty to go: half of sixty seconds, but not later than usual.
    assert_eq!(look(10, 20), longest);
    // Ten to go.
    assert_eq!(look(60, 70), Duration::from_secs(5));
    assert_eq!(look(10, 79), shortest);
    assert_eq!(look(80, 85), shortest);
    let covered = next_look(Some(level(10, 100, 90)), level(80, 100, 90), between, &policy);
    assert_eq!(covered, longest);
}

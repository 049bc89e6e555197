//! A short soak; `make soak` runs a long one. See `banger_integration_tests::soak`.

use std::time::Duration;

use banger_integration_tests::soak;
use banger_integration_tests::soak::schedule::Settings;

/// Another one each time, as faults are; `BANGER_SOAK_SEED` replays one.
fn seed() -> u64 {
    match std::env::var("BANGER_SOAK_SEED") {
        Ok(seed) => seed.parse().expect("BANGER_SOAK_SEED is a number"),
        Err(_) => rand::random(),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn soak_random_kills_under_load_lose_nothing_and_leave_nothing() {
    let seed = seed();
    println!("replay: BANGER_SOAK_SEED={seed}");
    let settings = Settings { seed, time: Duration::from_secs(20), hosts: 2, slots: 6 };
    let report = soak::run(settings).await;
    println!("{report}");
    assert_eq!(report.broken, Vec::<String>::new(), "BANGER_SOAK_SEED={seed}");
    assert!(report.acknowledged > 20, "BANGER_SOAK_SEED={seed}: {report}");
}

//! Waiting on a predicate. Nothing in a test sleeps for a time and hopes.

use std::fmt::Display;
use std::time::{Duration, Instant};

/// How long anything may take on a machine that is busy with other tests.
pub const LIMIT: Duration = Duration::from_secs(60);

/// Asks until there is an answer.
///
/// # Panics
/// After [`LIMIT`], with what was waited for and the last thing that was no answer.
pub async fn until<T, E: Display, F: Future<Output = Result<T, E>>>(
    what: &str,
    mut ask: impl FnMut() -> F,
) -> T {
    let begun = Instant::now();
    loop {
        match ask().await {
            Ok(answer) => return answer,
            Err(last) if begun.elapsed() > LIMIT => {
                panic!("waited {LIMIT:?} until {what}; last: {last}")
            }
            // Long enough to leave the processes asked their share of the machine.
            Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
        }
    }
}

//! Sweeps that were asked for.

use banger_proto::ids::HostId;
use uuid::Uuid;

use super::*;
use crate::model::inventory::SweepRecord;

fn sweep(n: u128, host: u128, second: i64) -> SweepRecord {
    SweepRecord {
        id: Uuid::from_u128(n),
        host: HostId::from_uuid(Uuid::from_u128(host)),
        at: at(second),
        actor: "ann".to_owned(),
        removed: 0,
        kept: 0,
        failed: 0,
        message: "asked for".to_owned(),
    }
}

#[tokio::test]
async fn a_sweep_is_there_before_and_after_it_was_answered_and_through_a_restart() {
    let fixture = fixture().await;
    let asked = sweep(1, 7, 10);
    fixture.make(AnyMutation::RecordSweep(RecordSweep(asked.clone()))).await.expect("written");
    let host = asked.host;
    assert_eq!(
        fixture.store.host_sweeps(host, 10).await.expect("is read"),
        std::slice::from_ref(&asked)
    );
    let answered = SweepRecord { removed: 3, kept: 2, failed: 1, message: String::new(), ..asked };
    fixture.make(AnyMutation::RecordSweep(RecordSweep(answered.clone()))).await.expect("written");
    fixture.make(AnyMutation::RecordSweep(RecordSweep(sweep(2, 7, 11)))).await.expect("written");
    fixture.make(AnyMutation::RecordSweep(RecordSweep(sweep(3, 8, 12)))).await.expect("written");
    let (open, directory) = fixture.reopened().await;
    let fixture = started(open, directory);
    let both = fixture.store.host_sweeps(host, 10).await.expect("is read");
    assert_eq!(both, [sweep(2, 7, 11), answered], "newest first, of this host alone");
    assert_eq!(fixture.store.host_sweeps(host, 1).await.expect("is read").len(), 1);
}

#[tokio::test]
async fn of_each_host_the_newest_sweeps_are_kept() {
    let fixture = fixture().await;
    let most = u128::from(MAX_SWEEPS_PER_HOST);
    for n in 0..most + 5 {
        let second = i64::try_from(n).expect("a small number");
        fixture
            .make(AnyMutation::RecordSweep(RecordSweep(sweep(n, 7, second))))
            .await
            .expect("written");
    }
    fixture.make(AnyMutation::RecordSweep(RecordSweep(sweep(999, 8, 0)))).await.expect("written");
    let kept = fixture.store.host_sweeps(sweep(0, 7, 0).host, 1000).await.expect("is read");
    assert_eq!(kept.len() as u128, most);
    assert_eq!(kept.last().map(|sweep| sweep.id), Some(Uuid::from_u128(5)));
    let other = fixture.store.host_sweeps(sweep(0, 8, 0).host, 10).await.expect("is read");
    assert_eq!(other.len(), 1, "another host's stay");
}

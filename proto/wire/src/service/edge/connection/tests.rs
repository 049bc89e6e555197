use super::super::places::{Places, Room};
use super::*;

const IDLE: Duration = Duration::from_secs(30);

fn connection() -> (Connection, Places) {
    let places = Places::new(Room { connections: 8, per_address: 8, unproven: 8, per_party: 8 });
    let peer: SocketAddr = "192.0.2.1:4711".parse().expect("an address");
    let place = places.take(peer.ip(), Instant::now()).expect("room");
    (Connection::new(peer, true, place, IDLE), places)
}

#[tokio::test(start_paused = true)]
async fn when_its_identity_is_gone_a_connection_is_as_one_without_until_another_is_shown() {
    let (connection, places) = connection();
    let gone = CancellationToken::new();
    connection.prove(Proof::Until(gone.clone()), None);
    let stays = tokio::spawn({
        let connection = connection.clone();
        async move { connection.overstays().await }
    });
    tokio::time::sleep(IDLE * 10).await;
    assert!(connection.proven() && !stays.is_finished(), "it stays without a call");
    assert_eq!(places.taken(), (1, 0));
    let more: Vec<_> = (0..MAX_OPEN_CALLS + 1).map(|_| connection.begin_open()).collect();
    assert!(more.iter().all(Result::is_ok), "it has more room");
    drop(more);

    gone.cancel();
    assert!(!connection.proven(), "at once");
    let few: Vec<_> = (0..MAX_OPEN_CALLS + 1).map(|_| connection.begin_open()).collect();
    assert!(few.last().is_some_and(Result::is_err), "its room is that of a stranger");
    drop(few);
    tokio::time::sleep(IDLE / 2).await;
    assert_eq!(places.taken(), (1, 1), "and so is its place");
    assert!(!stays.is_finished(), "its time begins when its identity went");

    let other = CancellationToken::new();
    connection.prove(Proof::Until(other.clone()), None);
    assert_eq!(places.taken(), (1, 0));
    tokio::time::sleep(IDLE * 2).await;
    assert!(!stays.is_finished(), "somebody else is known on it");
    other.cancel();
    tokio::time::sleep(IDLE * 2).await;
    assert!(stays.is_finished(), "it ends as any other without a call");
}

#[tokio::test(start_paused = true)]
async fn an_identity_that_lasts_outlives_those_that_do_not() {
    let (connection, places) = connection();
    let gone = CancellationToken::new();
    connection.prove(Proof::Lasting, None);
    connection.prove(Proof::Until(gone.clone()), None);
    gone.cancel();
    assert!(connection.proven());
    assert_eq!(places.taken(), (1, 0));
}

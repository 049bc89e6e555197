use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::Notify;

use super::*;
use crate::testing::host_id;

type Brought = Arc<(usize, LookPlace)>;

/// Looks that take until they are let go on.
struct Fixture {
    looks: Looks<Brought>,
    begun: Arc<AtomicUsize>,
    go_on: Arc<Notify>,
}

impl Fixture {
    fn new() -> Self {
        Self { looks: Looks::new(), begun: Arc::default(), go_on: Arc::default() }
    }

    fn look(&self, host: u128) -> tokio::task::JoinHandle<Brought> {
        let (looks, begun, go_on) =
            (self.looks.clone(), Arc::clone(&self.begun), Arc::clone(&self.go_on));
        let look = self.looks.shared(host_id(host), || {
            async move {
                let place = looks.place().await;
                let number = begun.fetch_add(1, Ordering::SeqCst);
                go_on.notified().await;
                Arc::new((number, place))
            }
            .boxed()
        });
        tokio::spawn(look)
    }

    async fn settled(&self) -> usize {
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
        self.begun.load(Ordering::SeqCst)
    }
}

#[tokio::test]
async fn those_who_ask_at_the_same_time_share_one_look_and_later_ones_get_another() {
    let fixture = Fixture::new();
    let asked: Vec<_> = (0..8).map(|_| fixture.look(1)).collect();
    assert_eq!(fixture.settled().await, 1);
    fixture.go_on.notify_one();
    for look in asked {
        assert_eq!(look.await.expect("it ends").0, 0);
    }
    let later = fixture.look(1);
    assert_eq!(fixture.settled().await, 2);
    // One that changed meanwhile is looked at again by who asks after that.
    fixture.looks.begin_anew(host_id(1));
    let after = fixture.look(1);
    assert_eq!(fixture.settled().await, 3);
    fixture.go_on.notify_waiters();
    assert_eq!((later.await.expect("it ends").0, after.await.expect("it ends").0), (1, 2));
}

#[tokio::test]
async fn few_looks_exist_at_a_time_and_what_they_brought_counts_until_it_is_let_go() {
    let fixture = Fixture::new();
    let mut asked: Vec<_> = (0..6).map(|host| fixture.look(host)).collect();
    assert_eq!(fixture.settled().await, AT_ONCE);
    fixture.go_on.notify_waiters();
    let brought = asked.remove(0).await.expect("it ends");
    drop(asked.remove(0).await.expect("it ends"));
    assert_eq!(fixture.settled().await, AT_ONCE + 1, "one is held still");
    drop(brought);
    assert_eq!(fixture.settled().await, AT_ONCE + 2);
    // One for which nobody waits gives its place up.
    asked.drain(..).for_each(|look| look.abort());
    fixture.settled().await;
    let next = fixture.look(9);
    fixture.settled().await;
    fixture.go_on.notify_waiters();
    next.await.expect("it ends");
}

use std::sync::atomic::AtomicUsize;

use async_trait::async_trait;
use banger_proto::ids::{Revision, VmId};
use tempfile::TempDir;
use tokio::sync::mpsc;

use super::*;
use crate::clock::SystemClock;
use crate::fleet::link::{Command, Delivery, Observations};
use crate::model::host::{ImageFile, ImageKind};
use crate::model::image::host_file;
use crate::testing::{EPOCH, facts, host_id};
use crate::watch::Limits;

/// An agent that takes images one at a time, as fast as it is let.
#[derive(Debug, Default)]
struct Taker {
    let_through: Gate,
    taken: Mutex<Vec<(String, usize)>>,
    at_once: AtomicUsize,
    most_at_once: AtomicUsize,
    in_use: AtomicUsize,
}

#[derive(Debug)]
struct Gate(Semaphore);

impl Default for Gate {
    fn default() -> Self {
        Self(Semaphore::new(0))
    }
}

#[async_trait]
impl AgentLink for Taker {
    async fn send(&self, _: &[Command]) -> Result<Vec<(VmId, Delivery)>, LinkError> {
        unreachable!("no commands here")
    }

    async fn observe(&self) -> Result<Observations, LinkError> {
        unreachable!("no observation here")
    }

    async fn put_image(&self, image: &ImageToPut, content: ImageContent) -> Result<(), LinkError> {
        let at_once = self.at_once.fetch_add(1, Ordering::SeqCst) + 1;
        self.most_at_once.fetch_max(at_once, Ordering::SeqCst);
        self.let_through.0.acquire().await.expect("never closed").forget();
        let bytes = content.fold(0, |sum, chunk| async move { sum + chunk.len() }).await;
        self.at_once.fetch_sub(1, Ordering::SeqCst);
        if bytes as u64 != image.size_bytes {
            let message = format!("{bytes} of {} bytes came", image.size_bytes);
            return Err(LinkError::Refused { address: "b0".to_owned(), message });
        }
        self.taken.lock().push((image.sha256.clone(), bytes));
        Ok(())
    }

    async fn remove_image(&self, _: &str) -> Result<(), LinkError> {
        self.let_through.0.acquire().await.expect("never closed").forget();
        if self.in_use.load(Ordering::SeqCst) == 1 {
            let message = "in use".to_owned();
            return Err(LinkError::Refused { address: "b0".to_owned(), message });
        }
        Ok(())
    }
}

struct Fixture {
    delivery: Arc<ImageDelivery>,
    taker: Arc<Taker>,
    link: Arc<dyn AgentLink>,
    cancel: CancellationToken,
    directory: TempDir,
}

fn fixture(transfers: usize) -> Fixture {
    let directory = TempDir::new().expect("a directory");
    let library = Library::open(directory.path().to_owned(), 1 << 20, 0).expect("made");
    let (lines, _) = mpsc::channel(1);
    let clock = Arc::new(SystemClock);
    let view = View::new(EPOCH, Revision(1), clock, lines, Limits::default());
    let cancel = CancellationToken::new();
    let delivery = ImageDelivery::new(Arc::new(library), view, transfers, cancel.clone());
    let taker = Arc::new(Taker::default());
    Fixture { delivery, link: Arc::clone(&taker) as _, taker, cancel, directory }
}

impl Fixture {
    fn keep(&self, content: &[u8]) -> String {
        use sha2::Digest as _;
        let digest = hex::encode(sha2::Sha256::digest(content));
        std::fs::write(self.directory.path().join("sha256").join(&digest), content).expect("kept");
        digest
    }

    /// As a plan and its driver do.
    fn need(&self, host: u128, digest: &str) -> ImageStanding {
        self.need_at(host, digest, Instant::now())
    }

    fn need_at(&self, host: u128, digest: &str, now: Instant) -> ImageStanding {
        let standing = || self.delivery.standing(host_id(host), None, digest);
        match standing() {
            ImageStanding::Failed { again, .. } if again > now => {}
            ImageStanding::Missing | ImageStanding::Failed { .. } => {
                self.delivery.begin(host_id(host), &self.link, digest);
            }
            ImageStanding::Here | ImageStanding::Coming { .. } => {}
        }
        standing()
    }

    /// Waits for the word of one transfer that has ended.
    async fn landed(&self, host: u128) {
        self.delivery.view.driver_wake(host_id(host)).notified().await;
    }
}

fn in_a_while() -> Instant {
    Instant::now() + Duration::from_secs(60)
}

#[tokio::test(start_paused = true)]
async fn a_host_that_is_sent_an_image_for_long_keeps_an_unused_one_for_later() {
    let fixture = fixture(4);
    let (coming, unused) = (fixture.keep(b"root"), "0".repeat(64));
    assert!(matches!(fixture.need(1, &coming), ImageStanding::Coming { .. }));
    while fixture.taker.at_once.load(Ordering::SeqCst) == 0 {
        tokio::task::yield_now().await;
    }
    let away = fixture.delivery.take_away(host_id(1), &*fixture.link, &unused, in_a_while());
    assert!(!away.await.expect("it is left"), "and nobody waits for it any longer");
    assert_eq!(fixture.delivery.said_since(host_id(1)), [], "it has what it had");
}

#[tokio::test]
async fn one_image_is_sent_to_a_host_once_however_often_it_is_needed() {
    let fixture = fixture(4);
    let digest = fixture.keep(&vec![7; 3 * CHUNK + 5]);
    assert_eq!(fixture.delivery.standing(host_id(1), None, &digest), ImageStanding::Missing);
    for _ in 0..5 {
        assert_eq!(fixture.delivery.standing(host_id(1), None, &digest), ImageStanding::Missing);
    }
    for _ in 0..5 {
        assert!(matches!(fixture.need(1, &digest), ImageStanding::Coming { .. }));
        fixture.delivery.begin(host_id(1), &fixture.link, &digest);
    }
    fixture.taker.let_through.0.add_permits(10);
    fixture.landed(1).await;
    assert_eq!(fixture.need(1, &digest), ImageStanding::Here);
    assert_eq!(*fixture.taker.taken.lock(), [(digest, 3 * CHUNK + 5)]);
}

#[tokio::test]
async fn a_host_is_sent_one_image_at_a_time_and_all_hosts_together_a_few() {
    let fixture = fixture(2);
    let digests: Vec<String> = (0..4_u8).map(|byte| fixture.keep(&[byte; 100])).collect();
    for digest in &digests {
        fixture.need(1, digest);
    }
    fixture.taker.let_through.0.add_permits(4);
    for _ in &digests {
        // One word may stand for several that have ended.
        let all = || digests.iter().all(|digest| fixture.need(1, digest) == ImageStanding::Here);
        if all() {
            break;
        }
        fixture.landed(1).await;
    }
    assert_eq!(fixture.taker.most_at_once.load(Ordering::SeqCst), 1);
    for host in 2..8 {
        fixture.need(host, &digests[0]);
    }
    fixture.taker.let_through.0.add_permits(6);
    for host in 2..8 {
        fixture.landed(host).await;
    }
    assert!(fixture.taker.most_at_once.load(Ordering::SeqCst) <= 2);
    assert_eq!(fixture.taker.taken.lock().len(), 10);
}

#[tokio::test]
async fn what_failed_is_tried_again_after_its_back_off_or_with_a_new_session() {
    let fixture = fixture(4);
    let missing = "0".repeat(64);
    fixture.need(1, &missing);
    fixture.landed(1).await;
    let ImageStanding::Failed { error, again } = fixture.need(1, &missing) else {
        panic!("it can't be read")
    };
    assert!(error.contains("can't read its content"), "{error}");
    let later = fixture.need_at(1, &missing, again);
    assert!(matches!(later, ImageStanding::Coming { .. }), "{later:?}");
    fixture.landed(1).await;
    assert!(matches!(fixture.need(1, &missing), ImageStanding::Failed { .. }));
    fixture.delivery.new_session(host_id(1));
    assert!(matches!(fixture.need(1, &missing), ImageStanding::Coming { .. }));
}

#[tokio::test]
async fn what_the_agent_said_last_counts_until_its_host_says_anew_what_it_has() {
    let fixture = fixture(4);
    let digest = fixture.keep(b"root");
    let mut listed = facts();
    listed.images.push(ImageFile {
        name: host_file(&digest),
        size_bytes: 4,
        sha256: digest.clone(),
        kind: ImageKind::Root,
    });
    let standing = |listed| fixture.delivery.standing(host_id(1), listed, &digest);
    assert_eq!(standing(Some(&listed)), ImageStanding::Here);
    let take_away =
        || fixture.delivery.take_away(host_id(1), &*fixture.link, &digest, in_a_while());
    fixture.taker.in_use.store(1, Ordering::SeqCst);
    fixture.taker.let_through.0.add_permits(2);
    take_away().await.expect_err("in use");
    assert_eq!(standing(Some(&listed)), ImageStanding::Here);
    fixture.taker.in_use.store(0, Ordering::SeqCst);
    assert!(take_away().await.expect("unused"));
    assert_eq!(standing(Some(&listed)), ImageStanding::Missing);
    assert_eq!(fixture.delivery.said_since(host_id(1)), [(digest.clone(), false)]);
    fixture.delivery.new_session(host_id(1));
    assert_eq!(standing(Some(&listed)), ImageStanding::Here);
    assert_eq!(standing(None), ImageStanding::Missing);
}

#[tokio::test]
async fn an_image_needed_while_it_is_taken_away_is_brought_again_after_that() {
    let fixture = fixture(4);
    let digest = fixture.keep(b"root");
    let away = fixture.delivery.take_away(host_id(1), &*fixture.link, &digest, in_a_while());
    let mut away = std::pin::pin!(away);
    assert!(futures_util::poll!(&mut away).is_pending());
    assert!(matches!(fixture.need(1, &digest), ImageStanding::Coming { .. }));
    fixture.taker.let_through.0.add_permits(1);
    away.await.expect("unused");
    // The transfer waited for its turn: nothing is sent before the agent has answered.
    assert!(fixture.taker.taken.lock().is_empty());
    fixture.taker.let_through.0.add_permits(1);
    fixture.landed(1).await;
    assert_eq!(fixture.need(1, &digest), ImageStanding::Here);
    assert_eq!(fixture.taker.taken.lock().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_host_that_stops_drips_or_never_ends_is_given_up_and_one_that_writes_is_waited_for() {
    const SECOND: Duration = Duration::from_secs(1);
    let given_up = async |bytes: u64, of: u64| {
        let counts = Counts::default();
        counts.of.store(of, Ordering::Relaxed);
        let begun = Instant::now();
        let takes = async {
            loop {
                sleep(10 * SECOND).await;
                if bytes > 0 && counts.sent.load(Ordering::Relaxed) < of {
                    counts.add(bytes);
                }
            }
        };
        // Cancel-safe: the counts are this test's own.
        let why = tokio::select! {
            why = too_slow(&counts) => why,
            () = takes => unreachable!("it never ends"),
        };
        (why, begun.elapsed())
    };
    let (why, _) = given_up(0, 1 << 40).await;
    assert!(matches!(why, TooSlow::Idle(STALLED) | TooSlow::Dripping { .. }), "{why:?}");
    let (why, after) = given_up(64 << 10, 1 << 40).await;
    assert!(matches!(why, TooSlow::Dripping { .. }), "{why:?}");
    assert!(after <= 2 * STALLED, "{after:?}");
    let (why, after) = given_up(1 << 20, 1 << 40).await;
    assert_eq!(why, TooSlow::Total(PATIENCE.total));
    assert!(after <= PATIENCE.total + SECOND, "{after:?}");
    // What is left to the host's own disk has all of its time.
    let (why, after) = given_up(1 << 20, 8 << 20).await;
    assert_eq!(why, TooSlow::Idle(STALLED));
    assert!(after >= STALLED + 70 * SECOND, "{after:?}");
}

#[tokio::test(start_paused = true)]
async fn a_host_that_was_given_up_waits_behind_the_others() {
    let fixture = fixture(1);
    let image = fixture.keep(b"image");
    fixture.need(1, &image);
    fixture.need(2, &image);
    fixture.landed(1).await;
    let failed = fixture.need(1, &image);
    assert!(matches!(failed, ImageStanding::Failed { .. }), "{failed:?}");
    fixture.need_at(1, &image, Instant::now() + Duration::from_secs(3600));
    fixture.taker.let_through.0.add_permits(1);
    fixture.landed(2).await;
    let standing = |host| fixture.delivery.standing(host_id(host), None, &image);
    assert_eq!(standing(2), ImageStanding::Here);
    assert!(matches!(standing(1), ImageStanding::Coming { .. }), "{:?}", standing(1));
    fixture.cancel.cancel();
}

#[tokio::test(start_paused = true)]
async fn hosts_that_take_their_images_slowly_hold_up_the_others_for_a_turn() {
    const SLOW: u128 = 4;
    let fixture = fixture(4);
    let image = fixture.keep(b"image");
    for host in 1..=SLOW {
        fixture.need(host, &image);
    }
    while fixture.taker.at_once.load(Ordering::SeqCst) < 4 {
        tokio::task::yield_now().await;
    }
    let begun = Instant::now();
    fixture.need(9, &image);
    while fixture.taker.at_once.load(Ordering::SeqCst) < 5 {
        // Shorter than the time after which a host is given up that takes nothing.
        sleep(Duration::from_secs(1)).await;
    }
    assert!(begun.elapsed() <= TURN + Duration::from_secs(1), "{:?}", begun.elapsed());
    for host in 1..=SLOW {
        let standing = fixture.delivery.standing(host_id(host), None, &image);
        assert!(matches!(standing, ImageStanding::Coming { .. }), "it goes on: {standing:?}");
    }
    fixture.cancel.cancel();
}

#[tokio::test]
async fn transfers_end_with_the_server() {
    let fixture = fixture(4);
    let digest = fixture.keep(b"root");
    fixture.need(1, &digest);
    fixture.cancel.cancel();
    fixture.delivery.ended().await;
    assert!(fixture.taker.taken.lock().is_empty());
}

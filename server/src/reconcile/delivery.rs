//! Bringing images to the hosts that need them.
//!
//! How an image [stands](ImageStanding) on a host is asked by plans and people, and asking changes
//! nothing; the driver of the host begins a transfer where its plan says so. One transfer for each
//! host and image, one at a time for each host, a few in all. A transfer that broke off is due
//! again after a back-off, for as long as a VM needs it, and waits behind those that came
//! meanwhile: slots are given in order. A host that takes too little, or for too long, loses its
//! slot, and one that takes long makes room for those that wait. Whether a host has a file is what
//! its facts say, and what its agent has answered since.
//!
//! Holds no VM up but those that need the image: the driver goes on with the others meanwhile.

use std::collections::HashMap;
use std::io::Read as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use banger_images::{Pace, Patience, TooSlow};
use banger_proto::ids::HostId;
use bytes::BytesMut;
use futures_util::StreamExt as _;
use parking_lot::Mutex;
use tokio::sync::{Notify, Semaphore};
use tokio::time::{Instant, sleep, timeout_at};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::needs::{ImageStanding, in_facts};
use crate::fleet::backoff::Backoff;
use crate::fleet::link::{AgentLink, ImageContent, ImageToPut, LinkError};
use crate::images::lanes::Lanes;
use crate::images::library::Library;
use crate::model::host::HostFacts;
use crate::watch::View;

/// What one message carries, in bytes.
const CHUNK: usize = 256 * 1024;

/// A transfer from which nothing was taken for so long is given up. At the end the agent brings
/// all of it to its disk before it answers.
const STALLED: Duration = Duration::from_secs(120);

/// How slow a host may be: it holds one of few slots. The import of an image may take as long.
const PATIENCE: Patience = Patience {
    idle: STALLED,
    window: STALLED,
    least_bytes: 4 << 20,
    total: Duration::from_secs(12 * 3600),
};

/// Of a transfer that has taken long while others wait.
const GAVE_WAY: &str = "the agent is slow, and other hosts wait for their images";

/// How long a transfer is left alone when others wait, and how many of those that take longer go
/// on.
const TURN: Duration = Duration::from_secs(60);
const LONG: usize = 16;

#[derive(Debug)]
enum Entry {
    Coming(Arc<Counts>),
    Failed {
        error: String,
        again: Instant,
        backoff: Backoff,
    },
    /// The agent has said so since it last said what its host has.
    Here,
    /// The same of its absence.
    Gone,
}

impl Entry {
    fn standing(&self) -> ImageStanding {
        match self {
            Self::Here => ImageStanding::Here,
            Self::Coming(counts) => ImageStanding::Coming {
                sent: counts.sent.load(Ordering::Relaxed),
                of: counts.of.load(Ordering::Relaxed),
            },
            Self::Failed { error, again, .. } => {
                ImageStanding::Failed { error: error.clone(), again: *again }
            }
            Self::Gone => ImageStanding::Missing,
        }
    }
}

#[derive(Debug, Default)]
struct Counts {
    sent: AtomicU64,
    of: AtomicU64,
    /// Rung when more was sent.
    moved: Notify,
}

impl Counts {
    fn add(&self, bytes: u64) {
        self.sent.fetch_add(bytes, Ordering::Relaxed);
        self.moved.notify_one();
    }
}

#[derive(Debug)]
struct HostTransfers {
    entries: HashMap<String, Entry>,
    turn: Arc<Semaphore>,
}

impl Default for HostTransfers {
    fn default() -> Self {
        Self { entries: HashMap::new(), turn: Arc::new(Semaphore::new(1)) }
    }
}

/// All transfers.
#[derive(Debug)]
pub struct ImageDelivery {
    library: Arc<Library>,
    view: Arc<View>,
    hosts: Mutex<HashMap<HostId, HostTransfers>>,
    slots: Lanes,
    cancel: CancellationToken,
    tasks: TaskTracker,
    /// Rung when something may be unused.
    pub(super) tidy: Notify,
    /// Rung when contents of the server have gone over: hosts may have some that are unused.
    pub(super) tidy_hosts: Notify,
}

impl ImageDelivery {
    /// With nothing under way. Transfers end with `cancel`.
    pub fn new(
        library: Arc<Library>,
        view: Arc<View>,
        transfers: usize,
        cancel: CancellationToken,
    ) -> Arc<Self> {
        Arc::new(Self {
            library,
            view,
            hosts: Mutex::default(),
            slots: Lanes::new(transfers, LONG, TURN),
            cancel,
            tasks: TaskTracker::new(),
            tidy: Notify::new(),
            tidy_hosts: Notify::new(),
        })
    }

    /// Something may be unused: look soon.
    pub fn tidy_soon(&self) {
        self.tidy.notify_one();
    }

    /// How an image stands on a host. Begins nothing.
    pub fn standing(&self, host: HostId, facts: Option<&HostFacts>, sha256: &str) -> ImageStanding {
        let hosts = self.hosts.lock();
        match hosts.get(&host).and_then(|state| state.entries.get(sha256)) {
            Some(entry) => entry.standing(),
            None if in_facts(facts, sha256) => ImageStanding::Here,
            None => ImageStanding::Missing,
        }
    }

    /// How the images stand of which something became since the host last said what it has.
    pub(super) fn standings(&self, host: HostId) -> HashMap<String, ImageStanding> {
        let hosts = self.hosts.lock();
        let entries = hosts.get(&host).into_iter().flat_map(|state| &state.entries);
        entries.map(|(digest, entry)| (digest.clone(), entry.standing())).collect()
    }

    /// The digests that agents said are on this host, or gone, since it last said what it has.
    pub(super) fn said_since(&self, host: HostId) -> Vec<(String, bool)> {
        let hosts = self.hosts.lock();
        let entries = hosts.get(&host).into_iter().flat_map(|state| &state.entries);
        entries
            .filter_map(|(digest, entry)| match entry {
                Entry::Here => Some((digest.clone(), true)),
                Entry::Gone => Some((digest.clone(), false)),
                Entry::Coming(_) | Entry::Failed { .. } => None,
            })
            .collect()
    }

    /// A new session with a host has begun: its facts say what it has, and what failed for want of
    /// a connection may be tried at once.
    pub(super) fn new_session(&self, host: HostId) {
        if let Some(state) = self.hosts.lock().get_mut(&host) {
            state.entries.retain(|_, entry| matches!(entry, Entry::Coming(_)));
        }
    }

    /// The host is gone.
    pub(super) fn forget(&self, host: HostId) {
        self.hosts.lock().remove(&host);
    }

    /// Has an agent take away an image that nothing refers to. From the first moment on the host
    /// counts as one without it, and a transfer of the same image waits until the agent has
    /// answered: so whoever needs it meanwhile has it brought again. Answers whether it has gone:
    /// one that is on its way, or whose host has another under way until then, is left.
    ///
    /// # Errors
    /// The agent keeps it, or was not reached; then the host counts as before.
    pub(super) async fn take_away(
        &self,
        host: HostId,
        link: &dyn AgentLink,
        sha256: &str,
        until: Instant,
    ) -> Result<bool, LinkError> {
        let (before, turn) = {
            let mut hosts = self.hosts.lock();
            let state = hosts.entry(host).or_default();
            // One that is on its way is needed by somebody.
            if matches!(state.entries.get(sha256), Some(Entry::Coming(_))) {
                return Ok(false);
            }
            let before = state.entries.insert(sha256.to_owned(), Entry::Gone);
            (before, Arc::clone(&state.turn))
        };
        let answer = match timeout_at(until, turn.acquire()).await {
            // Never closed: it always comes.
            Ok(_turn) => link.remove_image(sha256).await.map(|()| true),
            Err(_) => Ok(false),
        };
        if !matches!(answer, Ok(true))
            && let Some(state) = self.hosts.lock().get_mut(&host)
            && matches!(state.entries.get(sha256), Some(Entry::Gone))
        {
            // It has what it had.
            match before {
                Some(before) => state.entries.insert(sha256.to_owned(), before),
                None => state.entries.remove(sha256),
            };
        }
        answer
    }

    /// Begins to bring an image to a host. One that is on its way already is left to come.
    pub(super) fn begin(self: &Arc<Self>, host: HostId, link: &Arc<dyn AgentLink>, sha256: &str) {
        let counts = Arc::new(Counts::default());
        let (before, turn) = {
            let mut hosts = self.hosts.lock();
            let state = hosts.entry(host).or_default();
            if matches!(state.entries.get(sha256), Some(Entry::Coming(_))) {
                return;
            }
            let coming = Entry::Coming(Arc::clone(&counts));
            (state.entries.insert(sha256.to_owned(), coming), Arc::clone(&state.turn))
        };
        let backoff = match before {
            Some(Entry::Failed { backoff, .. }) => backoff,
            _ => Backoff::for_commands(host.uuid().as_u128()),
        };
        let (delivery, link, sha256) = (Arc::clone(self), Arc::clone(link), sha256.to_owned());
        self.tasks.spawn(async move {
            // Cancel-safe: a transfer that is dropped leaves nothing on the host.
            let moved = tokio::select! {
                () = delivery.cancel.cancelled() => return,
                moved = delivery.transfer(&*link, &sha256, &counts, &turn) => moved,
            };
            delivery.landed(host, sha256, moved, backoff);
        });
    }

    /// Ends when all transfers have, after the token given at the start was cancelled.
    pub(super) async fn ended(&self) {
        self.tasks.close();
        self.tasks.wait().await;
    }

    fn landed(
        &self,
        host: HostId,
        sha256: String,
        moved: Result<(), String>,
        mut backoff: Backoff,
    ) {
        let entry = match moved {
            Ok(()) => {
                tracing::info!(host.id = %host, sha256, "an image was brought to the host");
                Entry::Here
            }
            Err(error) => {
                let delay = backoff.next_delay();
                tracing::warn!(host.id = %host, sha256, error, again_ms = delay.as_millis(),
                    "an image could not be brought to the host");
                Entry::Failed { error, again: Instant::now() + delay, backoff }
            }
        };
        if let Some(state) = self.hosts.lock().get_mut(&host) {
            state.entries.insert(sha256, entry);
        }
        self.view.driver_wake(host).notify_one();
    }

    async fn transfer(
        &self,
        link: &dyn AgentLink,
        sha256: &str,
        counts: &Arc<Counts>,
        turn: &Semaphore,
    ) -> Result<(), String> {
        // In this order, so that a slow host does not hold places of others. Neither is ever
        // closed: a permit always comes.
        let _turn = turn.acquire().await;
        let mut slot = self.slots.take().await;
        let (library, digest) = (Arc::clone(&self.library), sha256.to_owned());
        let opened = tokio::task::spawn_blocking(move || library.content(&digest)).await;
        let content = opened
            .map_err(|error| error.to_string())?
            .map_err(|error| format!("the server can't read its content: {error}"))?;
        counts.of.store(content.size_bytes, Ordering::Relaxed);
        let image = ImageToPut {
            sha256: sha256.to_owned(),
            size_bytes: content.size_bytes,
            data_bytes: content.data_bytes,
        };
        let bytes = chunks(content.file, Arc::clone(counts));
        // Cancel-safe: either way the call is over, and the host keeps nothing of one cut short.
        tokio::select! {
            put = link.put_image(&image, bytes) => put.map_err(|error| sentence(&error)),
            why = too_slow(counts) => Err(format!("the agent is too slow: {why}")),
            () = slot.given_up() => Err(GAVE_WAY.to_owned()),
        }
    }
}

fn sentence(error: &LinkError) -> String {
    error.to_string()
}

/// Reads a file as it is taken, so that no more of it is in memory than is on its way.
fn chunks(file: std::fs::File, counts: Arc<Counts>) -> ImageContent {
    futures_util::stream::unfold((file, counts), |(mut file, counts)| async move {
        let read = tokio::task::spawn_blocking(move || {
            let mut chunk = BytesMut::zeroed(CHUNK);
            let mut filled = 0;
            // Full ones only, so that holes stay where they are.
            while filled < CHUNK {
                match file.read(&mut chunk[filled..]) {
                    Ok(0) => break,
                    Ok(read) => filled += read,
                    Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                    Err(error) => return Err(error),
                }
            }
            chunk.truncate(filled);
            Ok((chunk.freeze(), file))
        });
        match read.await {
            Ok(Ok((chunk, file))) if !chunk.is_empty() => {
                counts.add(chunk.len() as u64);
                Some((chunk, (file, counts)))
            }
            Ok(Ok(_)) => None,
            Ok(Err(error)) => {
                // The agent sees that it is too short, and keeps nothing.
                tracing::warn!(error = %error, "an image can't be read to its end");
                None
            }
            Err(_) => None,
        }
    })
    .boxed()
}

/// Ends when the host is too slow: nothing is taken, too little, or for too long.
async fn too_slow(counts: &Counts) -> TooSlow {
    let mut pace = Pace::new(PATIENCE);
    let mut before = 0;
    loop {
        let sent = counts.sent.load(Ordering::Relaxed);
        if sent >= counts.of.load(Ordering::Relaxed) {
            // The host's disk has it to write, and no count says how far that is.
            sleep(STALLED).await;
            return TooSlow::Idle(STALLED);
        }
        let more = sent - before;
        before = sent;
        if let Err(why) = pace.next(counts.moved.notified(), |()| more).await {
            return why;
        }
    }
}

#[cfg(test)]
mod tests;

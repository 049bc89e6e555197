//! `WatchHosts`: the newest state of every host, again whenever it changes.
//!
//! There are few hosts and their state changes with every heartbeat, so there is no log of changes
//! here: a stream remembers up to which version it has shown each host, and shows it again above
//! that. A slow reader sees the newest state of each, not every step. A host whose state is heavy,
//! most of it a list of images that seldom changes, is shown less often: any heartbeat would send
//! all of it to everybody who watches.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use banger_proto::ids::HostId;
use banger_proto::v1;
use futures_util::stream;
use prost::Message as _;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};
use tonic::{Request, Response, Status};

use super::super::{Api, ResponseStream, convert, status};

/// At most so often is a stream told anything.
const PACE: Duration = Duration::from_millis(100);

/// From this weight on, in bytes, a host is shown at most every [`HEAVY_PACE`].
const HEAVY: usize = 64 << 10;

/// At most so often is a stream told of a host that is heavy.
const HEAVY_PACE: Duration = Duration::from_secs(5);

/// What one response may weigh before the next one begins, in bytes.
const RESPONSE_BYTES: usize = 1 << 20;

struct HostStream {
    api: Api,
    changed: watch::Receiver<u64>,
    known: BTreeMap<HostId, Shown>,
    /// When the first host is due that has changed and was shown too shortly before.
    due: Option<Instant>,
    initial: bool,
    queue: VecDeque<v1::WatchHostsResponse>,
    not_before: Instant,
}

/// What a stream has shown of a host.
#[derive(Debug, Clone, Copy)]
struct Shown {
    version: u64,
    /// When it may be shown again.
    again: Instant,
}

/// Begins a stream.
///
/// # Errors
/// None at the start; the stream ends with `UNAVAILABLE` when the server shuts down.
pub async fn watch_hosts(
    api: &Api,
    _request: Request<v1::WatchHostsRequest>,
) -> Result<Response<ResponseStream<v1::WatchHostsResponse>>, Status> {
    let state = HostStream {
        api: api.clone(),
        changed: api.view.hosts_changed(),
        known: BTreeMap::new(),
        due: None,
        initial: true,
        queue: VecDeque::new(),
        not_before: Instant::now(),
    };
    let responses = stream::unfold(Some(state), |state| async move {
        let mut state = state?;
        match state.next().await {
            Some(response) => Some((Ok(response), Some(state))),
            None => Some((Err(status::shutting_down()), None)),
        }
    });
    Ok(Response::new(Box::pin(responses)))
}

impl HostStream {
    /// The next response; `None` when the server shuts down.
    async fn next(&mut self) -> Option<v1::WatchHostsResponse> {
        loop {
            if let Some(response) = self.queue.pop_front() {
                return Some(response);
            }
            if self.api.view.is_draining() {
                return None;
            }
            // Marked as seen before the hosts are read, so that a change after that is noticed.
            self.changed.borrow_and_update();
            self.look();
            if !self.queue.is_empty() {
                self.not_before = Instant::now() + PACE;
                continue;
            }
            let view = std::sync::Arc::clone(&self.api.view);
            // Cancel-safe: nothing is taken by either.
            tokio::select! {
                changed = self.changed.changed() => changed.ok()?,
                () = sleep_until(self.due.unwrap_or_else(Instant::now)), if self.due.is_some() => {}
                () = view.draining() => return None,
            }
            sleep_until(self.not_before).await;
        }
    }

    /// Queues what is new since the last look.
    fn look(&mut self) {
        let mut response = v1::WatchHostsResponse::default();
        let mut weight = 0;
        let now = Instant::now();
        let mut there = BTreeMap::new();
        self.due = None;
        for host in self.api.view.hosts() {
            let (id, version) = (host.view.record.id, host.version);
            if let Some(shown) = self.known.get(&id).copied()
                && (version <= shown.version || now < shown.again)
            {
                if version > shown.version {
                    self.due = Some(self.due.map_or(shown.again, |due| due.min(shown.again)));
                }
                there.insert(id, shown);
                continue;
            }
            let message = convert::host(&host, self.api.overcommit);
            let bytes = message.encoded_len();
            let again = if bytes > HEAVY { now + HEAVY_PACE } else { now };
            there.insert(id, Shown { version, again });
            weight += bytes;
            response.hosts.push(message);
            if weight > RESPONSE_BYTES {
                self.queue.push_back(std::mem::take(&mut response));
                weight = 0;
            }
        }
        let gone = self.known.keys().filter(|id| !there.contains_key(id));
        response.removed_host_ids = gone.map(HostId::to_string).collect();
        self.known = there;
        response.initial_state_complete = std::mem::replace(&mut self.initial, false);
        if response != v1::WatchHostsResponse::default() {
            self.queue.push_back(response);
        }
    }
}

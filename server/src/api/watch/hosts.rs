//! `WatchHosts`: the newest state of every host, again whenever it changes.
//!
//! There are few hosts and their state changes with every heartbeat, so there is no log of changes
//! here: a stream remembers up to which version it has shown hosts, and shows those above it. A slow
//! reader sees the newest state of each, not every step.

use std::collections::BTreeSet;
use std::collections::VecDeque;
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

/// What one response may weigh before the next one begins, in bytes.
const RESPONSE_BYTES: usize = 1 << 20;

struct HostStream {
    api: Api,
    changed: watch::Receiver<u64>,
    shown: u64,
    known: BTreeSet<HostId>,
    initial: bool,
    queue: VecDeque<v1::WatchHostsResponse>,
    not_before: Instant,
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
        shown: 0,
        known: BTreeSet::new(),
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
                () = view.draining() => return None,
            }
            sleep_until(self.not_before).await;
        }
    }

    /// Queues what is new since the last look.
    fn look(&mut self) {
        let mut response = v1::WatchHostsResponse::default();
        let mut weight = 0;
        let mut newest = self.shown;
        let mut there = BTreeSet::new();
        for host in self.api.view.hosts() {
            there.insert(host.view.record.id);
            newest = newest.max(host.version);
            if host.version <= self.shown && !self.initial {
                continue;
            }
            let shown = convert::host(&host);
            weight += shown.encoded_len();
            response.hosts.push(shown);
            if weight > RESPONSE_BYTES {
                self.queue.push_back(std::mem::take(&mut response));
                weight = 0;
            }
        }
        self.shown = newest;
        response.removed_host_ids = self.known.difference(&there).map(HostId::to_string).collect();
        self.known = there;
        response.initial_state_complete = std::mem::replace(&mut self.initial, false);
        if response != v1::WatchHostsResponse::default() {
            self.queue.push_back(response);
        }
    }
}

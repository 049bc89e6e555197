//! Agents as seen from here: the link to each, its session, whether it is alive.
//!
//! - [`link`]: what can be asked of an agent, as a trait; [`grpc`]: the real one, over mutual TLS.
//! - [`guests`]: streams to the guests of a host, over the same link; [`certificates`]: the agent's
//!   own certificate.
//! - [`session`](self): one task per host that dials, observes and judges.
//! - [`observed`]: from messages to what is known, pure, and who is told; [`liveness`]: from
//!   silence to health, pure.
//!
//! The [`Fleet`] keeps exactly one session for every host that there is and nobody has shut out, at
//! the address its record says, with whoever has the key that it joined with last. It follows the
//! list of hosts and is told nothing else, so that a host that joins, moves or leaves, and a start
//! of the server, are one path. What sessions learn goes into a [`FleetSink`]; the fleet sends the
//! intents it is handed, keeps none, decides by none, and does not know the store.

pub mod backoff;
pub mod certificates;
mod convert;
mod error;
pub mod grpc;
pub mod guests;
pub mod link;
pub mod liveness;
pub mod observed;
mod session;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use banger_proto::ids::HostId;
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use self::link::{AgentLink, Dialer};
use self::liveness::LivenessLimits;
use self::observed::FleetSink;
use self::session::{Session, SessionParts};
use crate::clock::SharedClock;
use crate::model::host::{HostRecord, KeyDigest};

/// What the fleet works with.
#[derive(Debug)]
pub struct FleetParts {
    /// The hosts that there are; a change starts and stops sessions.
    pub hosts: watch::Receiver<Arc<[Arc<HostRecord>]>>,
    /// Makes links to agents.
    pub dialer: Arc<dyn Dialer>,
    /// Where what sessions learn goes.
    pub sink: Arc<dyn FleetSink>,
    /// What time it is.
    pub clock: SharedClock,
    /// When silence means something.
    pub limits: LivenessLimits,
}

#[derive(Debug)]
struct HostLink {
    /// Whom the session was begun with: an agent at this address that has this key.
    address: String,
    key: Option<KeyDigest>,
    link: Arc<dyn AgentLink>,
    ready: Arc<AtomicBool>,
    cancel: CancellationToken,
}

/// All sessions. A cheap handle; the sessions end with the token given to [`Fleet::start`].
#[derive(Debug, Clone, Default)]
pub struct Fleet {
    links: Arc<Mutex<BTreeMap<HostId, HostLink>>>,
}

impl Fleet {
    /// Starts a session for every host and keeps it so until `cancel`. The task ends when every
    /// session has.
    pub fn start(
        parts: FleetParts,
        cancel: CancellationToken,
    ) -> (Self, tokio::task::JoinHandle<()>) {
        let fleet = Self::default();
        let task = tokio::spawn(fleet.clone().keep(parts, cancel));
        (fleet, task)
    }

    /// The link to a host's agent, while its session is up and its inventory complete: only then
    /// may anything be sent.
    pub fn ready_link(&self, host: HostId) -> Option<Arc<dyn AgentLink>> {
        let links = self.links.lock();
        let host_link = links.get(&host)?;
        host_link.ready.load(Ordering::Acquire).then(|| Arc::clone(&host_link.link))
    }

    async fn keep(self, mut parts: FleetParts, cancel: CancellationToken) {
        let mut sessions = JoinSet::new();
        loop {
            let hosts = Arc::clone(&parts.hosts.borrow_and_update());
            self.match_hosts(&hosts, &parts, &mut sessions, &cancel);
            // Cancel-safe: the list is read anew each time, and a session that ended is only to be
            // collected.
            tokio::select! {
                () = cancel.cancelled() => break,
                changed = parts.hosts.changed() => if changed.is_err() { break },
                Some(ended) = sessions.join_next() => {
                    if let Err(error) = ended {
                        tracing::error!(error = %error, "a session ended by a defect");
                    }
                }
            }
        }
        for host_link in self.links.lock().values() {
            host_link.cancel.cancel();
        }
        while sessions.join_next().await.is_some() {}
    }

    fn match_hosts(
        &self,
        hosts: &[Arc<HostRecord>],
        parts: &FleetParts,
        sessions: &mut JoinSet<()>,
        cancel: &CancellationToken,
    ) {
        let mut links = self.links.lock();
        links.retain(|id, host_link| {
            let same = |host: &&Arc<HostRecord>| {
                host.id == *id
                    && host.revoked.is_none()
                    && host.agent_address == host_link.address
                    && host.follows(host_link.key)
            };
            match hosts.iter().find(same) {
                Some(host) => {
                    host_link.key = host.key_sha256;
                    host_link.link.follow(host);
                    true
                }
                None => {
                    host_link.cancel.cancel();
                    host_link.link.close();
                    false
                }
            }
        });
        for host in hosts {
            if links.contains_key(&host.id) || host.revoked.is_some() {
                continue;
            }
            let link = match parts.dialer.link(host) {
                Ok(link) => link,
                Err(error) => {
                    // Tried again with the next change of the record, which is what can mend it.
                    tracing::warn!(host.id = %host.id, host.name = %host.name, error = %error,
                        "no link to the host can be made");
                    continue;
                }
            };
            let host_link = HostLink {
                address: host.agent_address.clone(),
                key: host.key_sha256,
                link: Arc::clone(&link),
                ready: Arc::default(),
                cancel: cancel.child_token(),
            };
            let session = Session::new(SessionParts {
                host: host.id,
                name: host.name.clone(),
                link,
                sink: Arc::clone(&parts.sink),
                clock: Arc::clone(&parts.clock),
                limits: parts.limits,
                ready: Arc::clone(&host_link.ready),
            });
            sessions.spawn(session.run(host_link.cancel.clone()));
            links.insert(host.id, host_link);
        }
    }
}

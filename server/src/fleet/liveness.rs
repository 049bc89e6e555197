//! Whether a host is there: one pure function of how long its agent was silent.
//!
//! ```text
//! Connecting ── first inventory ──▶ Online ◀── inventory ──┬── Suspect ── silent ──▶ Offline
//!                                     └── silent ──────────┘                            │
//!                                     ▲────────────────── inventory ────────────────────┘
//! ```
//!
//! Silence is measured with the monotonic clock. A stream that breaks is silence like any other: an
//! agent that is back before the limit was never suspected. Unreachable is never taken for dead.

use std::time::Duration;

use crate::model::host::HostState;

/// From when on silence means something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LivenessLimits {
    /// Missed heartbeats after which a host is suspect.
    pub missed_heartbeats: u32,
    /// The shortest silence that makes a host suspect, however often its agent speaks.
    pub shortest: Duration,
    /// How long a host is suspect before it is offline.
    pub offline_after: Duration,
}

/// A host is suspect after this silence, however rarely its agent means to speak.
const LONGEST_SILENCE: Duration = Duration::from_secs(60);

impl Default for LivenessLimits {
    fn default() -> Self {
        Self {
            missed_heartbeats: 3,
            shortest: Duration::from_secs(1),
            offline_after: Duration::from_secs(30),
        }
    }
}

impl LivenessLimits {
    /// The silence after which a host that speaks this often is suspect.
    pub fn suspect_after(&self, heartbeat: Duration) -> Duration {
        heartbeat.saturating_mul(self.missed_heartbeats).clamp(self.shortest, LONGEST_SILENCE)
    }

    fn offline_after(&self, heartbeat: Duration) -> Duration {
        self.suspect_after(heartbeat) + self.offline_after
    }
}

/// What a session knows of its agent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Contact {
    /// No inventory in this life of the server.
    Never,
    /// An inventory was complete, and the agent was last heard this long ago.
    Heard {
        /// For how long nothing was heard.
        silence: Duration,
        /// How often the agent speaks at least.
        heartbeat: Duration,
    },
}

/// How the host fares.
pub fn judge(contact: Contact, limits: &LivenessLimits) -> HostState {
    match contact {
        Contact::Never => HostState::Connecting,
        Contact::Heard { silence, heartbeat } => {
            if silence >= limits.offline_after(heartbeat) {
                HostState::Offline
            } else if silence >= limits.suspect_after(heartbeat) {
                HostState::Suspect
            } else {
                HostState::Online
            }
        }
    }
}

/// How long after this silence the judgement may change next; `None`: it won't by silence alone.
pub fn next_change(contact: Contact, limits: &LivenessLimits) -> Option<Duration> {
    match contact {
        Contact::Never => None,
        Contact::Heard { silence, heartbeat } => {
            [limits.suspect_after(heartbeat), limits.offline_after(heartbeat)]
                .into_iter()
                .find_map(|limit| limit.checked_sub(silence).filter(|left| !left.is_zero()))
        }
    }
}

#[cfg(test)]
mod tests;

//! Our chains by way of `iptables-save` and `iptables-restore`.
//!
//! Every change is the same three steps: read what is there, work out the whole of our chains,
//! apply it in one `iptables-restore --noflush -w` if it differs. Callers that come while one change
//! is being applied are taken together in the next.
//!
//! What can go wrong: somebody holds the lock of the tables (waited for, for ten seconds), somebody
//! flushed our rules (the next change puts back all that this life of the agent asked for), or the
//! agent was restarted (the guests are read back from the rules).

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use parking_lot::Mutex;
use tokio::sync::oneshot;

use super::blocking;
use super::facts::observe_uplink;
use crate::host::exec::{Exec, Tool, ToolCall, run_ok};
use crate::host::{
    Change, Firewall, GuestKey, GuestNet, HostError, HostErrorKind, HostResult, LinkName,
};

mod rules;

pub use rules::{Chains, FirewallLayout};
use rules::{Guests, NatError, Ruled, Seen, plan_guest};

const FORWARDING: &str = "/proc/sys/net/ipv4/ip_forward";

/// Our chains.
pub(crate) struct Iptables {
    inner: Arc<Inner>,
}

struct Inner {
    exec: Arc<dyn Exec>,
    layout: FirewallLayout,
    forwarding: PathBuf,
    waiting: Mutex<Vec<Request>>,
    // Held while the tables are read and written.
    state: tokio::sync::Mutex<State>,
    // The guests of the last look; `None` before the first.
    seen: Mutex<Option<Arc<Guests>>>,
}

#[derive(Default)]
struct State {
    // What was asked for in this life of the agent and what was found at its start.
    wanted: Option<Guests>,
}

enum Ask {
    Set(GuestKey, Ruled),
    Unset(GuestKey),
    UnsetAll,
}

struct Request {
    ask: Ask,
    answer: oneshot::Sender<HostResult<Change>>,
}

impl Iptables {
    pub(crate) fn new(exec: Arc<dyn Exec>, layout: FirewallLayout) -> Self {
        Self::with_forwarding(exec, layout, PathBuf::from(FORWARDING))
    }

    fn with_forwarding(exec: Arc<dyn Exec>, layout: FirewallLayout, forwarding: PathBuf) -> Self {
        Self {
            inner: Arc::new(Inner {
                exec,
                layout,
                forwarding,
                waiting: Mutex::default(),
                state: tokio::sync::Mutex::default(),
                seen: Mutex::default(),
            }),
        }
    }

    async fn submit(&self, ask: Ask) -> HostResult<Change> {
        let (answer, result) = oneshot::channel();
        self.inner.waiting.lock().push(Request { ask, answer });
        // A task of its own, so that a caller that gives up does not take those with it that are
        // applied together with its change.
        let inner = self.inner.clone();
        tokio::spawn(async move { inner.apply_waiting().await });
        result.await.unwrap_or_else(|_| {
            Err(HostError::new(HostErrorKind::Other, "apply", "the rules")
                .detail("the agent is stopping"))
        })
    }
}

impl Inner {
    async fn apply_waiting(&self) {
        let mut state = self.state.lock().await;
        let batch = std::mem::take(&mut *self.waiting.lock());
        if batch.is_empty() {
            // Another call took ours along.
            return;
        }
        let (asks, answers): (Vec<_>, Vec<_>) =
            batch.into_iter().map(|request| (request.ask, request.answer)).unzip();
        match self.apply(&mut state, &asks).await {
            Ok(changes) => {
                for (answer, change) in answers.into_iter().zip(changes) {
                    // The caller may have given up.
                    let _ = answer.send(Ok(change));
                }
            }
            Err(error) => {
                for answer in answers {
                    let copy =
                        HostError::new(error.kind, error.verb, &error.object).detail(error.chain());
                    let _ = answer.send(Err(copy));
                }
            }
        }
    }

    /// Applies many changes at once; says for each whether it changed something.
    async fn apply(&self, state: &mut State, asks: &[Ask]) -> HostResult<Vec<Change>> {
        let seen = self.look().await?;
        let base = state.wanted.clone().unwrap_or_else(|| seen.guests.clone());
        let mut wanted = base.clone();
        for ask in asks {
            match ask {
                Ask::Set(key, guest) => drop(wanted.insert(key.clone(), guest.clone())),
                Ask::Unset(key) => drop(wanted.remove(key)),
                Ask::UnsetAll => wanted.clear(),
            }
        }
        let text = if wanted.is_empty() {
            self.layout.render_removal(&seen)
        } else if self.layout.in_place(&wanted, &seen) {
            None
        } else {
            Some(self.layout.render(&wanted, &seen))
        };
        if let Some(text) = &text {
            let call = ToolCall::new(Tool::IptablesRestore, ["--noflush", "-w", "10"]).stdin(text);
            run_ok(&*self.exec, "apply", "the firewall rules", &call).await?;
        }
        // After the rules: what is forwarded from now on is bound by them.
        if wanted.values().any(|guest| guest.uplink.is_some()) {
            self.switch_forwarding_on().await?;
        }
        let changes = asks
            .iter()
            .map(|ask| {
                Change::from_bool(match ask {
                    Ask::Set(key, guest) => text.is_some() && seen.guests.get(key) != Some(guest),
                    Ask::Unset(key) => seen.guests.contains_key(key) || base.contains_key(key),
                    Ask::UnsetAll => text.is_some(),
                })
            })
            .collect();
        *self.seen.lock() = Some(Arc::new(wanted.clone()));
        state.wanted = Some(wanted);
        Ok(changes)
    }

    /// Reads the tables.
    async fn look(&self) -> HostResult<Seen> {
        let call = ToolCall { program: Tool::IptablesSave, args: vec![], stdin: String::new() };
        let text = run_ok(&*self.exec, "read", "the firewall rules", &call).await?;
        Ok(self.layout.read(&text))
    }

    async fn switch_forwarding_on(&self) -> HostResult<()> {
        let path = self.forwarding.clone();
        blocking(move || {
            let failed = |error| HostError::io("switch on", path.display(), error);
            if std::fs::read_to_string(&path).map_err(failed)?.trim() != "1" {
                std::fs::write(&path, "1").map_err(failed)?;
            }
            Ok(())
        })
        .await
    }

    async fn refresh(&self) -> HostResult<Seen> {
        // With the lock, so that no half-applied change is seen.
        let _state = self.state.lock().await;
        let seen = self.look().await?;
        *self.seen.lock() = Some(Arc::new(seen.guests.clone()));
        Ok(seen)
    }

    async fn uplink_for(&self, guest: &GuestNet) -> HostResult<Option<LinkName>> {
        if guest.nat { observe_uplink(&*self.exec).await.map(Some) } else { Ok(None) }
    }
}

#[async_trait]
impl Firewall for Iptables {
    async fn list(&self) -> HostResult<BTreeMap<GuestKey, GuestNet>> {
        let guests = self.inner.refresh().await?.guests;
        Ok(guests.iter().map(|(key, guest)| (key.clone(), guest.guest_net(key))).collect())
    }

    async fn count_rules(&self) -> HostResult<BTreeMap<GuestKey, usize>> {
        Ok(self.inner.layout.count_by_key(&self.inner.refresh().await?))
    }

    async fn observe(&self, key: &GuestKey) -> HostResult<Option<GuestNet>> {
        let known = self.inner.seen.lock().clone();
        let guests = match known {
            Some(guests) => guests,
            None => Arc::new(self.inner.refresh().await?.guests),
        };
        Ok(guests.get(key).map(|guest| guest.guest_net(key)))
    }

    async fn ensure(&self, guest: &GuestNet) -> HostResult<Change> {
        let refused = |error: NatError| {
            let kind = match error {
                NatError::Address | NatError::Tap => HostErrorKind::Invalid,
                NatError::Uplink => HostErrorKind::NoUplink,
            };
            HostError::new(kind, "add rules for", &guest.key).because(error)
        };
        // Before any command: what the request itself lacks.
        plan_guest(&GuestNet { nat: false, ..guest.clone() }, None).map_err(refused)?;
        let uplink = self.inner.uplink_for(guest).await?;
        let ruled = plan_guest(guest, uplink.as_ref()).map_err(refused)?;
        self.submit(Ask::Set(guest.key.clone(), ruled)).await
    }

    async fn remove(&self, key: &GuestKey) -> HostResult<Change> {
        self.submit(Ask::Unset(key.clone())).await
    }

    async fn remove_all(&self) -> HostResult<Change> {
        self.submit(Ask::UnsetAll).await
    }
}

#[cfg(test)]
mod tests;

//! Our chains by way of `iptables-save` and `iptables-restore`.
//!
//! Every change is the same three steps: read what is there, work out the whole of our chains,
//! apply it in one `iptables-restore --noflush -w` if it differs. Callers that come while one
//! change is being applied are taken together in the next.
//!
//! Guests with address translation need packets forwarded, and the kernel's switch for that is for
//! all of a machine's interfaces. So whoever finds it off first closes what was closed until then:
//! the policy of `FORWARD` becomes `DROP`, as Docker does it, and what others accept there is
//! theirs to say. Where it is on already the machine forwards for somebody, and stays as it is.
//! Which of the two it was is noted in the runtime directory, for this boot: with a flush of the
//! rules the policy goes too, and is put back where the switch was ours. A chain of our own would
//! drop also what others accept.
//!
//! What can go wrong: somebody holds the lock of the tables (waited for, for ten seconds), somebody
//! flushed our rules (the next change puts back all that this life of the agent asked for), or the
//! agent was restarted (the guests are read back from the rules).

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use parking_lot::Mutex;

use super::batches::{Batches, Table};
use crate::host::exec::{Exec, Tool, ToolCall, run_ok};
use crate::host::linux::blocking;
use crate::host::linux::network::uplinks::observe_uplinks;
use crate::host::{
    Change, Firewall, GuestKey, GuestNet, HostError, HostErrorKind, HostResult, LinkName,
};

mod rules;

pub use rules::{Chains, FirewallLayout};
use rules::{NatError, Ruled, RuledGuests, RulesSeen, forwards_nothing, plan_guest};

const FORWARDING: &str = "/proc/sys/net/ipv4/ip_forward";

const BOOT: &str = "/proc/sys/kernel/random/boot_id";

/// The note in the runtime directory that it was us who switched forwarding on: the boot's id.
const SWITCHED_ON: &str = "forwarding";

/// Nothing is forwarded that no rule accepts. A chain of the kernel keeps its rules with
/// `--noflush`.
const NOTHING_FORWARDED: &str = "*filter\n:FORWARD DROP [0:0]\nCOMMIT\n";

/// Our chains.
pub(crate) struct Iptables {
    rules: Batches<Rules>,
}

/// Our chains as they are in the kernel.
struct Rules {
    exec: Arc<dyn Exec>,
    layout: FirewallLayout,
    forwarding: PathBuf,
    switched_on: PathBuf,
    // The last look; `None` before the first.
    seen: Mutex<Option<Arc<LastSeen>>>,
    // The uplinks of the last look that found some. Forgotten when nobody leaves by them.
    uplinks: Mutex<Option<Vec<LinkName>>>,
}

/// What was in the kernel when somebody looked or changed it last.
struct LastSeen {
    guests: RuledGuests,
    /// Our chains hold what these guests make of them, jumps included, and nothing else.
    whole: bool,
    /// Packets are forwarded.
    forwarding: bool,
    /// As far as they could be told.
    uplinks: Option<Vec<LinkName>>,
}

impl LastSeen {
    fn guest_net(&self, key: &GuestKey) -> Option<GuestNet> {
        let guest = self.guests.get(key)?;
        let leaves = !guest.uplinks.is_empty();
        let moved = self.uplinks.as_ref().is_some_and(|uplinks| *uplinks != guest.uplinks);
        let stale = !self.whole || leaves && (moved || !self.forwarding);
        Some(guest.guest_net(key, stale))
    }
}

enum Ask {
    Set(GuestKey, Ruled),
    Unset(GuestKey),
    UnsetAll,
}

impl Iptables {
    pub(crate) fn new(exec: Arc<dyn Exec>, layout: FirewallLayout, runtime_dir: &Path) -> Self {
        Self::with_forwarding(exec, layout, runtime_dir, PathBuf::from(FORWARDING))
    }

    fn with_forwarding(
        exec: Arc<dyn Exec>,
        layout: FirewallLayout,
        runtime_dir: &Path,
        forwarding: PathBuf,
    ) -> Self {
        Self {
            rules: Batches::new(Rules {
                exec,
                layout,
                forwarding,
                switched_on: runtime_dir.join(SWITCHED_ON),
                seen: Mutex::default(),
                uplinks: Mutex::default(),
            }),
        }
    }

    async fn refresh(&self) -> HostResult<RulesSeen> {
        let _held = self.rules.hold().await;
        self.rules.table().refresh().await
    }
}

#[async_trait]
impl Table for Rules {
    type Ask = Ask;
    type Wanted = RuledGuests;
    const OBJECT: &'static str = "the firewall rules";

    async fn apply(
        &self,
        state: &mut Option<RuledGuests>,
        asks: &[Ask],
    ) -> HostResult<Vec<HostResult<Change>>> {
        let seen = self.look().await?;
        let base = state.clone().unwrap_or_else(|| seen.guests.clone());
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
            self.restore(text).await?;
        }
        // After the rules: what is forwarded from now on is bound by them.
        if wanted.values().any(|guest| !guest.uplinks.is_empty()) {
            self.switch_forwarding_on().await?;
        }
        let changes = asks
            .iter()
            .map(|ask| {
                Ok(Change::from_bool(match ask {
                    Ask::Set(key, guest) => text.is_some() && seen.guests.get(key) != Some(guest),
                    Ask::Unset(key) => seen.guests.contains_key(key) || base.contains_key(key),
                    Ask::UnsetAll => text.is_some(),
                }))
            })
            .collect();
        let uplinks = self.uplinks.lock().clone();
        *self.seen.lock() = Some(Arc::new(LastSeen {
            guests: wanted.clone(),
            whole: true,
            forwarding: true,
            uplinks,
        }));
        *state = Some(wanted);
        Ok(changes)
    }
}

impl Rules {
    /// Reads the tables.
    async fn look(&self) -> HostResult<RulesSeen> {
        let call = ToolCall { program: Tool::IptablesSave, args: vec![], stdin: String::new() };
        let text = run_ok(&*self.exec, "read", "the firewall rules", &call).await?;
        Ok(self.layout.read(&text))
    }

    async fn switch_forwarding_on(&self) -> HostResult<()> {
        let (path, switch) = (self.forwarding.clone(), self.forwarding.clone());
        let on = blocking(move || {
            let text = std::fs::read_to_string(&path);
            let text = text.map_err(|error| HostError::io("read", path.display(), error))?;
            Ok(text.trim() == "1")
        });
        if on.await? {
            return Ok(());
        }
        // Before it: at no moment is this machine a router between its other interfaces. The note
        // comes first, so that no crash leaves the switch on and nobody who keeps the policy.
        let note = self.switched_on.clone();
        blocking(move || {
            std::fs::read_to_string(BOOT)
                .and_then(|boot| std::fs::write(&note, boot))
                .map_err(|error| HostError::io("note", note.display(), error))
        })
        .await?;
        self.restore(NOTHING_FORWARDED).await?;
        blocking(move || {
            std::fs::write(&switch, "1")
                .map_err(|error| HostError::io("switch on", switch.display(), error))
        })
        .await?;
        tracing::info!("IPv4 forwarding is on, for guests: what no rule accepts is not forwarded");
        Ok(())
    }

    /// Whether it was us who switched forwarding on in this boot, in any life.
    async fn is_ours_to_close(&self) -> HostResult<bool> {
        let note = self.switched_on.clone();
        blocking(move || match std::fs::read_to_string(&note) {
            Ok(noted) => Ok(std::fs::read_to_string(BOOT).is_ok_and(|boot| boot == noted)),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(HostError::io("read", note.display(), error)),
        })
        .await
    }

    /// Called while changes are held.
    async fn close(&self) -> HostResult<Change> {
        if !self.is_ours_to_close().await? {
            return Ok(Change::AlreadySo);
        }
        let call = ToolCall { program: Tool::IptablesSave, args: vec![], stdin: String::new() };
        let text = run_ok(&*self.exec, "read", "the firewall rules", &call).await?;
        if forwards_nothing(&text) {
            return Ok(Change::AlreadySo);
        }
        self.restore(NOTHING_FORWARDED).await?;
        tracing::warn!(
            "somebody opened FORWARD, which forwarded nothing before; it is closed again"
        );
        Ok(Change::Made)
    }

    async fn restore(&self, text: &str) -> HostResult<()> {
        let call = ToolCall::new(Tool::IptablesRestore, ["--noflush", "-w", "10"]).stdin(text);
        run_ok(&*self.exec, "apply", "the firewall rules", &call).await.map(drop)
    }

    /// Called while changes are held, so that no half-applied one is seen.
    async fn refresh(&self) -> HostResult<RulesSeen> {
        let seen = self.look().await?;
        let leave = seen.guests.values().any(|guest| !guest.uplinks.is_empty());
        let uplinks = if leave { self.look_for_uplinks().await } else { None };
        self.uplinks.lock().clone_from(&uplinks.clone().filter(|found| !found.is_empty()));
        *self.seen.lock() = Some(Arc::new(LastSeen {
            guests: seen.guests.clone(),
            whole: seen.guests.is_empty() || self.layout.in_place(&seen.guests, &seen),
            forwarding: !leave || self.is_forwarding().await,
            uplinks,
        }));
        Ok(seen)
    }

    /// `None` when they cannot be told, which is not the same as that there are none.
    async fn look_for_uplinks(&self) -> Option<Vec<LinkName>> {
        match observe_uplinks(&*self.exec).await {
            Ok(uplinks) => Some(uplinks),
            Err(error) if error.kind == HostErrorKind::NoUplink => Some(Vec::new()),
            Err(error) => {
                tracing::warn!(error = error.chain(), "the uplinks cannot be told");
                None
            }
        }
    }

    async fn is_forwarding(&self) -> bool {
        let path = self.forwarding.clone();
        let read = blocking(move || {
            std::fs::read_to_string(&path)
                .map_err(|error| HostError::io("read", path.display(), error))
        });
        // What cannot be read is not known to be off.
        read.await.map_or(true, |text| text.trim() != "0")
    }

    async fn uplinks_for(&self, guest: &GuestNet) -> HostResult<Vec<LinkName>> {
        if !guest.nat {
            return Ok(Vec::new());
        }
        if let Some(known) = self.uplinks.lock().clone() {
            return Ok(known);
        }
        let found = observe_uplinks(&*self.exec).await?;
        *self.uplinks.lock() = Some(found.clone());
        Ok(found)
    }
}

#[async_trait]
impl Firewall for Iptables {
    async fn list(&self) -> HostResult<BTreeMap<GuestKey, GuestNet>> {
        self.refresh().await?;
        let Some(seen) = self.rules.table().seen.lock().clone() else { return Ok(BTreeMap::new()) };
        let nets = seen.guests.keys().filter_map(|key| Some((key.clone(), seen.guest_net(key)?)));
        Ok(nets.collect())
    }

    async fn count_rules(&self) -> HostResult<BTreeMap<GuestKey, usize>> {
        Ok(self.rules.table().layout.count_by_key(&self.refresh().await?))
    }

    async fn observe(&self, key: &GuestKey) -> HostResult<Option<GuestNet>> {
        let known = self.rules.table().seen.lock().clone();
        if known.is_none() {
            self.refresh().await?;
        }
        let seen = known.or_else(|| self.rules.table().seen.lock().clone());
        Ok(seen.and_then(|seen| seen.guest_net(key)))
    }

    fn uplinks(&self) -> Vec<LinkName> {
        self.rules.table().uplinks.lock().clone().unwrap_or_default()
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
        plan_guest(&GuestNet { nat: false, ..guest.clone() }, &[]).map_err(refused)?;
        let uplinks = self.rules.table().uplinks_for(guest).await?;
        let ruled = plan_guest(guest, &uplinks).map_err(refused)?;
        self.rules.submit(Ask::Set(guest.key.clone(), ruled)).await
    }

    async fn ensure_closed(&self) -> HostResult<Change> {
        let _held = self.rules.hold().await;
        self.rules.table().close().await
    }

    async fn remove(&self, key: &GuestKey) -> HostResult<Change> {
        self.rules.submit(Ask::Unset(key.clone())).await
    }

    async fn remove_all(&self) -> HostResult<Change> {
        self.rules.submit(Ask::UnsetAll).await
    }
}

#[cfg(test)]
mod tests;

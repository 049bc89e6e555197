//! Pins by way of `nft` (nft(8)) and rtnetlink(7).
//!
//! A change is one `nft -f` of some elements; before it the chains are looked at, which costs the
//! same with any number of guests. When they are not whole, or when the elements cannot be changed
//! as they were last seen, everything is read, and both tables are replaced in one transaction.
//! Callers that come while one change is being applied are taken together in the next.
//!
//! One set is no guest's: the gateways of the host's default routes, which the bound on neighbours
//! always lets through. It is filled when the tables are replaced, and kept by whoever hears of
//! routes.
//!
//! What can go wrong: `nft` is missing, somebody flushed our tables (the next change, or the next
//! pass of a VM after a look, puts back all that this life of the agent asked for), or the agent
//! was restarted (the guests are read back from the tables).
//!
//! An alternative that lost: `ebtables` and `arptables`, which have no sets, no transaction over
//! both, and are a translation to nftables on every distribution of today.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::sync::Arc;

use async_trait::async_trait;
use parking_lot::Mutex;

use super::batches::{Batches, Table, copy_of};
use super::uplinks::observe_gateways;
use crate::host::exec::{Exec, Tool, ToolCall, refusal, run_ok};
use crate::host::{Change, GuestKey, HostError, HostErrorKind, HostResult, Pin, Pins, RefusedFor};

mod connections;
mod entries;
mod rules;

use entries::Entries;
pub use rules::PinLayout;
pub(crate) use rules::WITH_NEIGHBOURS;
use rules::{BadList, GATEWAYS, Pinned, PinsSeen, REFUSED_OF, read_refused_of};

const OBJECT: &str = "the pins of guests";

/// The two tables, and what the kernel's network knows of each guest.
pub(crate) struct NftPins {
    pins: Batches<Tables>,
}

/// The two tables as they are in the kernel.
struct Tables {
    exec: Arc<dyn Exec>,
    layout: PinLayout,
    // The guests of the last look that are whole; `None` before the first.
    seen: Mutex<Option<Arc<Pinned>>>,
    // All guests of the last look of which anything was there.
    listed: Mutex<BTreeSet<GuestKey>>,
    // The host's gateways, as they were last read.
    gateways: Mutex<BTreeSet<Ipv4Addr>>,
}

#[derive(Clone)]
enum Ask {
    Set(Pin),
    Unset(GuestKey),
}

impl NftPins {
    pub(crate) fn new(exec: Arc<dyn Exec>, layout: PinLayout) -> Self {
        Self {
            pins: Batches::new(Tables {
                exec,
                layout,
                seen: Mutex::default(),
                listed: Mutex::default(),
                gateways: Mutex::default(),
            }),
        }
    }
}

/// Where `nft` is not installed it has made no pins. A host that gets this version without it keeps
/// its guests, and can stop and delete them; none is started.
fn none_without_nft(error: &HostError) -> bool {
    error.kind == HostErrorKind::MissingTool
}

/// What is wanted after these asks, and those that are refused: whose address or user is that of
/// another guest whose tap is there. One that is pinned already stays so: it is too late to say no.
async fn join(
    entries: &Entries,
    base: &Pinned,
    asks: &[Ask],
) -> std::io::Result<(Pinned, BTreeMap<GuestKey, HostError>)> {
    let (mut wanted, mut refused) = (base.clone(), BTreeMap::new());
    for ask in asks {
        match ask {
            Ask::Unset(key) => drop(wanted.remove(key)),
            Ask::Set(pin) => {
                let rivals = wanted.values().filter(|other| other.rivals(pin));
                let mut alive = None;
                for rival in rivals.filter(|_| base.get(&pin.key) != Some(pin)) {
                    if entries.index(rival.tap.as_str()).await?.is_some() {
                        alive = Some(pin.taken_by(&rival.key));
                    }
                }
                match alive {
                    Some(error) => drop(refused.insert(pin.key.clone(), error)),
                    None => drop(wanted.insert(pin.key.clone(), pin.clone())),
                }
            }
        }
    }
    Ok((wanted, refused))
}

/// The addresses that go, and once more those that come: who has one next is to find nothing of who
/// had it before, whoever that was and whatever was missed when it went.
fn passed_on(base: &Pinned, wanted: &Pinned) -> BTreeSet<Ipv4Addr> {
    let changed = |one: &Pinned, other: &Pinned| -> BTreeSet<Ipv4Addr> {
        let changed = one.values().filter(|pin| other.get(&pin.key) != Some(pin));
        changed.map(|pin| pin.address).collect()
    };
    let stay: BTreeSet<Ipv4Addr> = wanted.values().map(|pin| pin.address).collect();
    let gone = &changed(base, wanted) - &stay;
    &gone | &changed(wanted, base)
}

fn unreadable(error: BadList) -> HostError {
    HostError::new(HostErrorKind::Other, "read", OBJECT).because(error)
}

fn netlink(error: std::io::Error) -> HostError {
    HostError::io("change", "ports and neighbours of guests", error)
}

#[async_trait]
impl Table for Tables {
    type Ask = Ask;
    type Wanted = Pinned;
    const OBJECT: &'static str = OBJECT;

    /// What is wrong with the tap of one guest fails that guest alone.
    async fn apply(
        &self,
        state: &mut Option<Pinned>,
        asks: &[Ask],
    ) -> HostResult<Vec<HostResult<Change>>> {
        let known = self.seen.lock().clone();
        let base = match &*state {
            Some(wanted) => wanted.clone(),
            // Also what is not whole: it is made whole by whoever wants it, or removed by name.
            None => self.refresh().await?.0,
        };
        let known = known.or_else(|| self.seen.lock().clone()).unwrap_or_default();
        let entries = Entries::open().map_err(netlink)?;
        let (wanted, refused) = join(&entries, &base, asks).await.map_err(netlink)?;
        let passed_on = passed_on(&base, &wanted);
        connections::forget(passed_on.clone()).await?;
        // Before the rules: as long as its element is there, a neighbour that is left has a name.
        for pin in base.values().filter(|pin| wanted.get(&pin.key) != Some(pin)) {
            entries.remove(&self.layout.bridge, pin.address, &wanted).await.map_err(netlink)?;
        }
        // Pinned by nobody we know of.
        let strange = |key: &GuestKey| !base.contains_key(key) && self.listed.lock().contains(key);
        // Asked for again and not seen whole: whatever became of it, everything is made anew.
        let mend = asks.iter().any(|ask| match ask {
            Ask::Set(pin) => base.get(&pin.key) == Some(pin) && known.get(&pin.key) != Some(pin),
            Ask::Unset(key) => strange(key),
        });
        let replaced = self.write(&base, &wanted, asks, &passed_on, mend).await?;
        let held = match replaced {
            true => Some(entries.look(&self.layout.bridge).await.map_err(netlink)?),
            false => None,
        };
        if let Some(held) = &held {
            entries.remove_strays(held, &wanted).await.map_err(netlink)?;
        }
        let asked = |pin: &&Pin| {
            asks.iter().any(|ask| matches!(ask, Ask::Set(set) if set.key == pin.key))
                || held.as_ref().is_some_and(|held| !held.is_whole(pin))
        };
        let mut broken: BTreeMap<&GuestKey, HostError> = BTreeMap::new();
        for pin in wanted.values().filter(asked) {
            if let Err(error) = entries.ensure(&self.layout.bridge, pin).await {
                broken.insert(&pin.key, netlink(error));
            }
        }
        let changes = asks
            .iter()
            .map(|ask| match ask {
                Ask::Set(pin) => match refused.get(&pin.key).or_else(|| broken.get(&pin.key)) {
                    Some(error) => Err(copy_of(error)),
                    None => Ok(Change::from_bool(replaced || known.get(&pin.key) != Some(pin))),
                },
                Ask::Unset(key) => Ok(Change::from_bool(base.contains_key(key) || strange(key))),
            })
            .collect();
        let mut seen = if replaced { wanted.clone() } else { Pinned::clone(&known) };
        for ask in asks {
            match ask {
                Ask::Set(pin) if refused.contains_key(&pin.key) => {}
                Ask::Set(pin) => drop(seen.insert(pin.key.clone(), pin.clone())),
                Ask::Unset(key) => {
                    seen.remove(key);
                    self.listed.lock().remove(key);
                }
            }
        }
        seen.retain(|key, _| !broken.contains_key(key));
        *self.seen.lock() = Some(Arc::new(seen));
        *state = Some(wanted);
        Ok(changes)
    }
}

impl Tables {
    /// Writes the tables; whether they were replaced or removed as a whole, which `mend` asks for.
    async fn write(
        &self,
        base: &Pinned,
        wanted: &Pinned,
        asks: &[Ask],
        passed_on: &BTreeSet<Ipv4Addr>,
        mend: bool,
    ) -> HostResult<bool> {
        if wanted.is_empty() {
            if !base.is_empty() || self.listed("bridge", true).await?.is_some() {
                self.run(&self.layout.render_removal()).await?;
                return Ok(true);
            }
            return Ok(false);
        }
        if !mend && self.chains_are_whole().await? {
            let gone: Vec<&Pin> =
                base.values().filter(|pin| wanted.get(&pin.key) != Some(pin)).collect();
            let new: Vec<&Pin> = asks
                .iter()
                .filter_map(|ask| match ask {
                    Ask::Set(pin) => Some(pin),
                    Ask::Unset(_) => None,
                })
                .filter(|pin| wanted.get(&pin.key) == Some(pin))
                .collect();
            let text = self.layout.render_change(&gone, &new, passed_on, wanted);
            match self.run(&text).await {
                Ok(()) => return Ok(false),
                Err(error) => tracing::warn!(
                    error = error.chain(),
                    "the pins are not as they were; both tables are replaced"
                ),
            }
        }
        let gateways = match self.layout.neighbours {
            0 => BTreeSet::new(),
            _ => self.gateways().await.unwrap_or_else(|error| {
                tracing::warn!(error = error.chain(), "the gateways are taken for what they were");
                self.gateways.lock().clone()
            }),
        };
        self.run(&self.layout.render(wanted, &gateways)).await?;
        Ok(true)
    }

    async fn gateways(&self) -> HostResult<BTreeSet<Ipv4Addr>> {
        let seen = observe_gateways(&*self.exec).await?;
        self.gateways.lock().clone_from(&seen);
        Ok(seen)
    }

    /// Called while changes are held.
    async fn ensure_gateways(&self) -> HostResult<Change> {
        if self.layout.neighbours == 0 {
            return Ok(Change::AlreadySo);
        }
        let what = ["set", "inet", self.layout.table.as_str(), GATEWAYS];
        // Without pins, and in tables of another version, which are replaced with everything else.
        let Some(text) = self.list(&["-j"], &what).await? else { return Ok(Change::AlreadySo) };
        let there = self.layout.read_gateways(&text).map_err(unreadable)?;
        let wanted = self.gateways().await?;
        if there == wanted {
            return Ok(Change::AlreadySo);
        }
        self.run(&self.layout.render_gateways(&wanted)).await?;
        Ok(Change::Made)
    }

    async fn run(&self, text: &str) -> HostResult<()> {
        if text.is_empty() {
            return Ok(());
        }
        let call = ToolCall::new(Tool::Nft, ["-f", "-"]).stdin(text);
        run_ok(&*self.exec, "apply", OBJECT, &call).await.map(drop)
    }

    async fn chains_are_whole(&self) -> HostResult<bool> {
        let bridge = self.listed("bridge", true).await?;
        let inet = self.listed("inet", true).await?;
        Ok(self.parse(bridge.as_deref(), inet.as_deref())?.whole)
    }

    /// One of our tables; `None` when it is not there. `terse`: without the elements of sets.
    async fn listed(&self, family: &str, terse: bool) -> HostResult<Option<String>> {
        let options: &[&str] = if terse { &["-j", "-t"] } else { &["-j"] };
        self.list(options, &["table", family, &self.layout.table]).await
    }

    /// What `nft list` says of one of the agent's objects; `None` when it is not there.
    async fn list(&self, options: &[&str], what: &[&str]) -> HostResult<Option<String>> {
        let args = options.iter().copied().chain(["list"]).chain(what.iter().copied());
        let call = ToolCall::new(Tool::Nft, args);
        let output = self.exec.run(&call).await?;
        if output.succeeded() {
            return Ok(Some(output.stdout));
        }
        if output.stderr.contains("No such file or directory") {
            return Ok(None);
        }
        Err(refusal("read", OBJECT, &call, &output))
    }

    fn parse(&self, bridge: Option<&str>, inet: Option<&str>) -> HostResult<PinsSeen> {
        self.layout.read(bridge, inet).map_err(unreadable)
    }

    /// Reads everything, and notes which guests are whole. Gives all pins that can be read, whole
    /// or not, and for each guest whether it is. Called while changes are held, so that no
    /// half-applied one is seen.
    async fn refresh(&self) -> HostResult<(Pinned, BTreeMap<GuestKey, Option<Pin>>)> {
        let bridge = self.listed("bridge", false).await?;
        let inet = self.listed("inet", false).await?;
        let seen = self.parse(bridge.as_deref(), inet.as_deref())?;
        let entries = Entries::open().map_err(netlink)?;
        let held = entries.look(&self.layout.bridge).await.map_err(netlink)?;
        let read: Pinned = seen.read.iter().map(|pin| (pin.key.clone(), pin.clone())).collect();
        let whole: BTreeMap<GuestKey, Option<Pin>> = seen
            .pins
            .into_iter()
            .map(|(key, pin)| (key, pin.filter(|pin| held.is_whole(pin))))
            .collect();
        *self.listed.lock() = whole.keys().cloned().collect();
        let of_guests = whole.iter().filter_map(|(key, pin)| Some((key.clone(), pin.clone()?)));
        *self.seen.lock() = Some(Arc::new(of_guests.collect()));
        Ok((read, whole))
    }
}

#[async_trait]
impl Pins for NftPins {
    async fn list(&self) -> HostResult<BTreeMap<GuestKey, Option<Pin>>> {
        let _held = self.pins.hold().await;
        match self.pins.table().refresh().await {
            Err(error) if none_without_nft(&error) => Ok(BTreeMap::new()),
            refreshed => Ok(refreshed?.1),
        }
    }

    async fn observe(&self, key: &GuestKey) -> HostResult<Option<Pin>> {
        let known = self.pins.table().seen.lock().clone();
        let pins = match known {
            Some(pins) => pins,
            None => {
                let _held = self.pins.hold().await;
                match self.pins.table().refresh().await {
                    Err(error) if none_without_nft(&error) => return Ok(None),
                    refreshed => drop(refreshed?),
                }
                self.pins.table().seen.lock().clone().unwrap_or_default()
            }
        };
        Ok(pins.get(key).cloned())
    }

    async fn ensure(&self, pin: &Pin) -> HostResult<Change> {
        self.pins.submit(Ask::Set(pin.clone())).await
    }

    async fn ensure_gateways(&self) -> HostResult<Change> {
        let _held = self.pins.hold().await;
        match self.pins.table().ensure_gateways().await {
            Err(error) if none_without_nft(&error) => Ok(Change::AlreadySo),
            ensured => ensured,
        }
    }

    async fn refused(&self) -> HostResult<BTreeMap<RefusedFor, u64>> {
        match self.pins.table().list(&["-j"], &["counters"]).await {
            Err(error) if none_without_nft(&error) => Ok(BTreeMap::new()),
            listed => {
                let listed = listed?.unwrap_or_else(|| "{}".to_owned());
                self.pins.table().layout.read_refused(&listed).map_err(unreadable)
            }
        }
    }

    async fn refused_of_guests(&self) -> HostResult<BTreeMap<GuestKey, u64>> {
        let tables = self.pins.table();
        let pins = tables.seen.lock().clone().unwrap_or_default();
        let mut counted = BTreeMap::new();
        for (family, set) in REFUSED_OF {
            match tables.list(&["-j"], &["set", family, &tables.layout.table, set]).await {
                Err(error) if none_without_nft(&error) => {}
                listed => {
                    let Some(text) = listed? else { continue };
                    counted.extend(read_refused_of(&text).map_err(unreadable)?);
                }
            }
        }
        let of = |name: String| counted.get(&name).copied().unwrap_or(0);
        let of_pin = |pin: &Pin| of(pin.tap.to_string()) + of(pin.address.to_string());
        Ok(pins.values().map(|pin| (pin.key.clone(), of_pin(pin))).collect())
    }

    async fn remove(&self, key: &GuestKey) -> HostResult<Change> {
        match self.pins.submit(Ask::Unset(key.clone())).await {
            Err(error) if none_without_nft(&error) => Ok(Change::AlreadySo),
            removed => removed,
        }
    }
}

#[cfg(test)]
mod tests;

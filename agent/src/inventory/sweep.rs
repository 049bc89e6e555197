//! Banger's objects that no VM owns: noted, waited for, then removed within a budget.
//!
//! Two ask for it: a timer of the supervisor, and people through `SweepHost`. Both go by one
//! [`Ledger`], which knows since when an object is an orphan and how much was removed in the last
//! hour, and by one pure [`plan`]. An orphan is removed only when it was one for a whole grace
//! period and within a number of removals in any hour, so that our mistakes stay small.
//! The agent by itself ends no process and removes no directory, nor anything that hangs together
//! with one: that takes people, and a process that is wholly identified. Pure: the supervisor has
//! the effects; what fails there is reported with what is left behind, and tried again at the next
//! sweep.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use banger_proto::ids::VmId;

use super::{Key, Kind, Object, Standing, Target};
use crate::clock::Moment;

/// The time in which the budget is counted.
const HOUR: Duration = Duration::from_secs(3600);

/// When and how much.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SweepSettings {
    /// How long an object has to be an orphan.
    pub grace: Duration,
    /// Time between rounds, while nothing is in its grace period.
    pub interval: Duration,
    /// Removals in any hour.
    pub budget_per_hour: u32,
    /// Whether orphans are removed without being asked.
    pub automatic: bool,
}

impl Default for SweepSettings {
    fn default() -> Self {
        Self {
            grace: Duration::from_secs(60),
            interval: Duration::from_secs(600),
            budget_per_hour: 200,
            automatic: true,
        }
    }
}

/// What was an orphan since when, and what was removed in the last hour. In memory: after a restart
/// of the agent every grace period begins anew.
#[derive(Debug, Default)]
pub struct Ledger {
    since: BTreeMap<Key, Moment>,
    spent: VecDeque<Moment>,
}

impl Ledger {
    /// Notes what is an orphan now; what is none any more begins its grace anew.
    pub fn note(&mut self, objects: &[Object], now: Moment) {
        let orphans: BTreeSet<Key> =
            objects.iter().filter(|object| object.is_orphan()).map(Object::key).collect();
        self.since.retain(|key, _| orphans.contains(key));
        for key in orphans {
            self.since.entry(key).or_insert(now);
        }
        while self.spent.front().is_some_and(|spent| spent.after(HOUR) <= now) {
            self.spent.pop_front();
        }
    }

    /// How long an object has been an orphan; `None` for what is none.
    #[must_use]
    pub fn orphan_for(&self, object: &Object, now: Moment) -> Option<Duration> {
        self.since.get(&object.key()).map(|since| since.until(now))
    }

    /// How many removals are left now.
    #[must_use]
    pub fn left(&self, settings: &SweepSettings, now: Moment) -> u32 {
        let spent = self.spent.iter().filter(|spent| spent.after(HOUR) > now).count();
        settings.budget_per_hour.saturating_sub(u32::try_from(spent).unwrap_or(u32::MAX))
    }

    /// Something was removed. What was tried in vain costs nothing.
    pub fn spend(&mut self, now: Moment) {
        self.spent.push_back(now);
    }
}

/// Who wants a sweep.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Asker {
    /// The agent itself.
    Timer,
    /// People, through the server.
    People {
        /// Who, for the log.
        actor: String,
        /// VMs that the server knows: nothing of them is removed.
        claimed: BTreeSet<VmId>,
    },
}

impl Asker {
    /// The VMs that the server knows, as far as it said.
    #[must_use]
    pub fn claimed(&self) -> BTreeSet<VmId> {
        match self {
            Self::Timer => BTreeSet::new(),
            Self::People { claimed, .. } => claimed.clone(),
        }
    }
}

/// Why an object that no VM owns stays.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Kept {
    /// It has not been an orphan for long enough.
    #[error(
        "an orphan for {} s; it is removed after {} s",
        orphan_for.as_secs(),
        grace.as_secs()
    )]
    Grace {
        /// How long it has been one.
        orphan_for: Duration,
        /// How long it has to be.
        grace: Duration,
    },
    /// As much was removed as may be.
    #[error("the budget of {per_hour} removals in an hour is spent")]
    Budget {
        /// How much that is.
        per_hour: u32,
    },
    /// It cannot be told whose it is.
    #[error("it cannot be told whose it is: {0}")]
    Unclear(String),
    /// The server knows its VM.
    #[error("the server knows its VM")]
    Claimed,
    /// A process of its VM stays.
    #[error("a process of its VM stays: {0}")]
    ProcessStays(String),
    /// Somebody mounted something in one of our directories.
    #[error("the agent mounts nothing here: somebody else did, and has to unmount it")]
    Mounted,
    /// It got an owner meanwhile.
    #[error("it got an owner after the host was looked at")]
    FoundOwner,
}

/// What is to become of an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It goes.
    Remove,
    /// It stays.
    Keep(Kept),
}

/// One object that no VM owns, with its verdict.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Planned {
    /// Which.
    pub object: Object,
    /// What is to become of it.
    pub verdict: Verdict,
}

/// What became of an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fate {
    /// It is gone; in a dry run, it would be.
    Removed,
    /// It stays.
    Kept(Kept),
    /// It could not be removed: what was tried, why it failed, and what is left behind.
    Failed(String),
}

/// An object with how long it has been nobody's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// The object.
    pub object: Object,
    /// `None` for what somebody owns.
    pub orphan_for: Option<Duration>,
}

/// An object with what became of it.
pub type Swept = (Listed, Fate);

/// When and how much is removed, now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Policy {
    /// As configured.
    pub settings: SweepSettings,
    /// Removals left.
    pub budget_left: u32,
}

/// What stands in the way of a removal, by object: looked for before the plan is made, so that a
/// dry run says what a sweep would do.
pub type Hindrances = BTreeMap<Key, Kept>;

/// What a sweep would do with what is on the host, in order of removal. Looks at nothing that has
/// an owner; of what the agent may not decide alone it says nothing when the agent asks.
#[must_use]
pub fn plan(
    objects: &[Object],
    hindrances: &Hindrances,
    ledger: &Ledger,
    settings: &SweepSettings,
    asker: &Asker,
    now: Moment,
) -> Vec<Planned> {
    let claimed = asker.claimed();
    let of_kind = |kind: Kind| objects.iter().filter(move |object| object.kind() == kind);
    let mounted: BTreeSet<VmId> = of_kind(Kind::Mount).filter_map(|object| object.vm).collect();
    let mut stays: BTreeMap<VmId, String> = BTreeMap::new();
    // What a process has open hangs together with the rest of its VM, unless that process goes.
    for object in objects.iter().filter(|object| object.in_use) {
        if let Some(vm) = object.vm {
            stays.insert(vm, format!("something has {} open", object.name));
        }
    }
    let mut left = ledger.left(settings, now);
    let mut planned = Vec::new();
    // Root disks go before the loop devices that they stand on.
    let mut a_disk_stays = false;
    for unit in units(objects, asker) {
        let held = unit.iter().find_map(|object| {
            let hold = hindrances.get(&object.key()).cloned();
            let hold = hold.or_else(|| hold_of(object, &claimed, &mounted, &stays));
            let hold = hold.or_else(|| under_a_disk(object).filter(|_| a_disk_stays));
            hold.or_else(|| in_grace(object, ledger, settings, now))
        });
        let cost = u32::try_from(unit.len()).unwrap_or(u32::MAX);
        let verdict = match held {
            Some(kept) => Verdict::Keep(kept),
            None if cost > left => {
                Verdict::Keep(Kept::Budget { per_hour: settings.budget_per_hour })
            }
            None => {
                left -= cost;
                Verdict::Remove
            }
        };
        for object in unit {
            match (object.kind(), &verdict, object.vm) {
                (Kind::Process, Verdict::Keep(kept), Some(vm)) => {
                    stays.insert(vm, kept.to_string());
                }
                (Kind::Process, Verdict::Remove, Some(vm)) => drop(stays.remove(&vm)),
                (Kind::Dm, Verdict::Keep(_), _) => a_disk_stays = true,
                _ => {}
            }
            planned.push(Planned { object: object.clone(), verdict: verdict.clone() });
        }
    }
    planned
}

/// What goes together or not at all: a jail with its control group, which are removed by one verb;
/// anything else by itself. In order of removal.
fn units<'a>(objects: &'a [Object], asker: &Asker) -> Vec<Vec<&'a Object>> {
    let concerned = |object: &&Object| match object.standing {
        Standing::Orphan => true,
        Standing::Lost | Standing::Unclear(_) => matches!(asker, Asker::People { .. }),
        Standing::Owned | Standing::Leaving | Standing::Shared => false,
    };
    let mut units: Vec<Vec<&Object>> = Vec::new();
    let mut jails: BTreeMap<&str, usize> = BTreeMap::new();
    let mut ordered: Vec<&Object> = objects.iter().filter(concerned).collect();
    ordered.sort_by_key(|object| object.kind());
    for object in ordered {
        let jailed = matches!(object.kind(), Kind::Cgroup | Kind::Jail);
        match jails.get(object.name.as_str()).filter(|_| jailed) {
            Some(place) => units[*place].push(object),
            None => {
                if jailed {
                    jails.insert(&object.name, units.len());
                }
                units.push(vec![object]);
            }
        }
    }
    units
}

/// An image's loop device that a root disk stands on.
fn under_a_disk(object: &Object) -> Option<Kept> {
    match &object.target {
        Target::Image(facts, _) if !facts.holders.is_empty() => {
            Some(Kept::ProcessStays("a root disk that stays stands on it".to_owned()))
        }
        _ => None,
    }
}

fn hold_of(
    object: &Object,
    claimed: &BTreeSet<VmId>,
    mounted: &BTreeSet<VmId>,
    stays: &BTreeMap<VmId, String>,
) -> Option<Kept> {
    if let Standing::Unclear(why) = &object.standing {
        return Some(Kept::Unclear(why.clone()));
    }
    if object.vm.is_some_and(|vm| claimed.contains(&vm)) {
        return Some(Kept::Claimed);
    }
    let in_the_way = matches!(object.kind(), Kind::Cgroup | Kind::Jail | Kind::Directory)
        && object.vm.is_some_and(|vm| mounted.contains(&vm));
    if object.kind() == Kind::Mount || in_the_way {
        return Some(Kept::Mounted);
    }
    if object.kind() == Kind::Process {
        return None;
    }
    if object.in_use && object.vm.is_none() {
        return Some(Kept::ProcessStays(format!("something has {} open", object.name)));
    }
    let process = stays.get(&object.vm?)?;
    Some(Kept::ProcessStays(process.clone()))
}

fn in_grace(
    object: &Object,
    ledger: &Ledger,
    settings: &SweepSettings,
    now: Moment,
) -> Option<Kept> {
    let orphan_for = ledger.orphan_for(object, now).unwrap_or_default();
    (orphan_for < settings.grace).then_some(Kept::Grace { orphan_for, grace: settings.grace })
}

#[cfg(test)]
mod tests;

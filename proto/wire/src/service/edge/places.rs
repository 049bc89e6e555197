//! How many connections there may be, in all and of one address, and who gives way.
//!
//! A connection is *unproven* until it has shown an identity. Unproven ones share a small part of
//! the places; when that part is full, a newcomer is still taken, and the oldest unproven
//! connection of the address with the most of them ends. So connections that say nothing cost a
//! fixed number of places and delay nobody. Refusing the newcomer instead, or letting it wait,
//! would let whoever came first keep all others out. One that has just come is left its time to
//! show who it is ([`GRACE`]): a thousand honest clients that come back at once must not push each
//! other out. Only when all places are taken has it no grace. Those that stay unproven past it are
//! looked for without a newcomer, too ([`Places::end_overdue`]): each may hold memory until it
//! ends.
//!
//! Pure but for the token by which a connection is told to end. Addresses of IPv6 count by their
//! /64, since one machine has all of it.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, HashMap, VecDeque};
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// How long a connection is left alone after it came.
const GRACE: Duration = Duration::from_secs(5);

/// How many give way for one newcomer, at most: enough to get below the bound after a flood.
const AT_ONCE: usize = 4;

/// How many connections there may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Room {
    /// In all.
    pub connections: usize,
    /// Of one address.
    pub per_address: usize,
    /// That have shown no identity, those not counted that have just come.
    pub unproven: usize,
}

#[derive(Debug)]
struct TakenPlace {
    address: IpAddr,
    since: Instant,
    proven: bool,
    give_way: CancellationToken,
}

#[derive(Debug, Default)]
struct Inner {
    next: u64,
    /// By age.
    taken: BTreeMap<u64, TakenPlace>,
    of_address: HashMap<IpAddr, usize>,
    unproven: usize,
    turned_away: u64,
}

/// The places of one listener.
#[derive(Debug, Clone)]
pub struct Places {
    room: Room,
    inner: Arc<Mutex<Inner>>,
}

/// One connection's place; given back when dropped.
#[derive(Debug)]
pub struct Place {
    number: u64,
    inner: Arc<Mutex<Inner>>,
    give_way: CancellationToken,
}

impl Places {
    /// All free.
    #[must_use]
    pub fn new(room: Room) -> Self {
        Self { room, inner: Arc::default() }
    }

    /// A place for a new connection; others may have to give way for it. `None`: all of them are
    /// proven.
    #[must_use]
    pub fn take(&self, address: IpAddr, now: Instant) -> Option<Place> {
        self.take_with(address, now, CancellationToken::new())
    }

    /// The same where giving way means that this token fires.
    #[must_use]
    pub fn take_with(
        &self,
        address: IpAddr,
        now: Instant,
        give_way: CancellationToken,
    ) -> Option<Place> {
        let address = network(address);
        let mut inner = self.inner.lock();
        if inner.make_room(self.room, address, now).is_none() {
            inner.turned_away += 1;
            // A flood must not fill the log.
            if inner.turned_away.is_power_of_two() {
                tracing::warn!(address = %address, so_far = inner.turned_away,
                    "a connection was turned away: too many are open");
            }
            return None;
        }
        let number = inner.next;
        inner.next += 1;
        let taken = TakenPlace { address, since: now, proven: false, give_way: give_way.clone() };
        inner.taken.insert(number, taken);
        *inner.of_address.entry(address).or_default() += 1;
        inner.unproven += 1;
        Some(Place { number, inner: Arc::clone(&self.inner), give_way })
    }

    /// Ends unproven connections that came longer than [`GRACE`] ago, until no more are left than
    /// may be unproven.
    pub fn end_overdue(&self, now: Instant) {
        let mut inner = self.inner.lock();
        for number in inner.overdue(self.room, now) {
            inner.end(number);
        }
    }

    /// How many are taken, and how many of these are unproven.
    #[must_use]
    pub fn taken(&self) -> (usize, usize) {
        let inner = self.inner.lock();
        (inner.taken.len(), inner.unproven)
    }
}

impl Place {
    /// The connection has shown an identity: it gives way to nobody as long as that is good.
    pub fn prove(&self) {
        let mut inner = self.inner.lock();
        let Some(taken) = inner.taken.get_mut(&self.number) else { return };
        if !std::mem::replace(&mut taken.proven, true) {
            inner.unproven -= 1;
        }
    }

    /// The identity is good no longer: it may have to give way again.
    pub fn unprove(&self) {
        let mut inner = self.inner.lock();
        let Some(taken) = inner.taken.get_mut(&self.number) else { return };
        if std::mem::replace(&mut taken.proven, false) {
            inner.unproven += 1;
        }
    }

    /// Fires when the connection has to end.
    #[must_use]
    pub fn give_way(&self) -> CancellationToken {
        self.give_way.clone()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.inner.lock().remove(self.number);
    }
}

impl Inner {
    /// Has others give way. `None`: there is no room and nobody who would.
    fn make_room(&mut self, room: Room, address: IpAddr, now: Instant) -> Option<()> {
        if self.of_address.get(&address).is_some_and(|count| *count >= room.per_address) {
            let number = self.oldest_unproven(address)?;
            self.end(number);
        }
        if self.taken.len() >= room.connections {
            let number = self.first_to_go()?;
            self.end(number);
        }
        for _ in 0..AT_ONCE {
            if self.unproven < room.unproven {
                break;
            }
            let Some(number) = self.first_to_go() else { break };
            let since = self.taken.get(&number).map(|taken| taken.since);
            if since.is_some_and(|since| now.saturating_duration_since(since) < GRACE) {
                break;
            }
            self.end(number);
        }
        Some(())
    }

    /// Those that have to go: the oldest first of whichever address has the most left. One pass,
    /// since there may be thousands.
    fn overdue(&self, room: Room, now: Instant) -> Vec<u64> {
        let mut surplus = self.unproven.saturating_sub(room.unproven);
        if surplus == 0 {
            return Vec::new();
        }
        let mut queues: HashMap<IpAddr, VecDeque<(u64, Instant)>> = HashMap::new();
        for (number, taken) in self.unproven() {
            queues.entry(taken.address).or_default().push_back((number, taken.since));
        }
        let rank = |address, queue: &VecDeque<(u64, Instant)>| {
            queue.front().map(|(first, _)| (queue.len(), Reverse(*first), address))
        };
        let mut most: BinaryHeap<_> =
            queues.iter().filter_map(|(address, queue)| rank(*address, queue)).collect();
        let mut overdue = Vec::new();
        while surplus > 0
            && let Some((_, _, address)) = most.pop()
            && let Some(queue) = queues.get_mut(&address)
            && let Some((number, since)) = queue.pop_front()
        {
            // The others of this address came later still.
            if now.saturating_duration_since(since) < GRACE {
                continue;
            }
            overdue.push(number);
            surplus -= 1;
            most.extend(rank(address, queue));
        }
        overdue
    }

    fn end(&mut self, number: u64) {
        if let Some(taken) = self.remove(number) {
            taken.give_way.cancel();
        }
    }

    /// The oldest unproven one of the address with the most of them.
    fn first_to_go(&self) -> Option<u64> {
        self.most_unproven().and_then(|address| self.oldest_unproven(address))
    }

    fn remove(&mut self, number: u64) -> Option<TakenPlace> {
        let taken = self.taken.remove(&number)?;
        if !taken.proven {
            self.unproven -= 1;
        }
        if let Some(count) = self.of_address.get_mut(&taken.address) {
            *count -= 1;
            if *count == 0 {
                self.of_address.remove(&taken.address);
            }
        }
        Some(taken)
    }

    fn unproven(&self) -> impl Iterator<Item = (u64, &TakenPlace)> {
        self.taken.iter().filter(|(_, taken)| !taken.proven).map(|(number, taken)| (*number, taken))
    }

    /// The address with the most unproven connections; of several the one whose first is the
    /// oldest.
    fn most_unproven(&self) -> Option<IpAddr> {
        let mut counts: HashMap<IpAddr, (usize, u64)> = HashMap::new();
        for (number, taken) in self.unproven() {
            counts.entry(taken.address).or_insert((0, number)).0 += 1;
        }
        let most = counts.into_iter().max_by_key(|(_, (count, first))| (*count, u64::MAX - first));
        most.map(|(address, _)| address)
    }

    fn oldest_unproven(&self, of: IpAddr) -> Option<u64> {
        self.unproven().find(|(_, taken)| taken.address == of).map(|(number, _)| number)
    }
}

/// What counts as one address: all of a /64 of IPv6, which one machine has.
pub fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => IpAddr::V4(address),
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            IpAddr::V6(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0))
        }
    }
}

#[cfg(test)]
mod tests;

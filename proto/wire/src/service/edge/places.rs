//! How many connections there may be, in all, of one address and of one party, and who gives way.
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
//! One that is proven gives way to strangers never, and to others that are proven where its *party*
//! (a project, a principal: whoever the service says) has more than it may: when a party is past
//! its share, one of its own ends; when those that are proven leave no room for newcomers, of all
//! places or of an address, one of the party with the most there. Which one: the oldest of the
//! address from which that party has the most. Not the newest, because whoever holds all that a
//! party may have would keep its people out, those included who come to take back their token; and
//! a client that resumes loses little with an old connection. So no number of connections of one
//! party keeps out another's. Those that are nobody's give way to nobody, as on a listener that
//! only the server calls.
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
    /// That have shown an identity, of one party.
    pub per_party: usize,
}

impl Room {
    /// How many of all places those leave to newcomers that are proven and give way.
    fn for_newcomers(self) -> usize {
        self.unproven.min(self.connections / 2).max(1)
    }

    /// The same of an address's.
    fn for_newcomers_of_address(self) -> usize {
        (self.per_address / 8).max(1)
    }
}

/// Whose connections are counted together.
pub type PartyName = Arc<str>;

#[derive(Debug)]
struct TakenPlace {
    address: IpAddr,
    since: Instant,
    proven: bool,
    /// Whose it is, where it is proven and gives way.
    party: Option<PartyName>,
    give_way: CancellationToken,
}

#[derive(Debug, Default)]
struct Inner {
    next: u64,
    /// By age.
    taken: BTreeMap<u64, TakenPlace>,
    of_address: HashMap<IpAddr, usize>,
    /// Of those that are proven.
    of_party: HashMap<PartyName, usize>,
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
    room: Room,
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
        let give = give_way.clone();
        let taken = TakenPlace { address, since: now, proven: false, party: None, give_way: give };
        inner.taken.insert(number, taken);
        *inner.of_address.entry(address).or_default() += 1;
        inner.unproven += 1;
        Some(Place { number, room: self.room, inner: Arc::clone(&self.inner), give_way })
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
    /// The connection has shown an identity of this party: as long as that is good it gives way to
    /// no stranger. Others may have to give way for it. `None`: it is nobody's, and gives way to
    /// nobody.
    pub fn prove(&self, party: Option<PartyName>) {
        let mut inner = self.inner.lock();
        let Some(taken) = inner.taken.get_mut(&self.number) else { return };
        if std::mem::replace(&mut taken.proven, true) {
            return;
        }
        let address = taken.address;
        taken.party.clone_from(&party);
        inner.unproven -= 1;
        if let Some(party) = party {
            *inner.of_party.entry(Arc::clone(&party)).or_default() += 1;
            inner.make_room_beside(self.room, address, &party);
        }
    }

    /// The identity is good no longer: it may have to give way again.
    pub fn unprove(&self) {
        let mut inner = self.inner.lock();
        let Some(taken) = inner.taken.get_mut(&self.number) else { return };
        if std::mem::replace(&mut taken.proven, false) {
            let party = taken.party.take();
            inner.unproven += 1;
            inner.leave(party);
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

    /// Has one give way where a party, an address or all of them have too many that are proven.
    fn make_room_beside(&mut self, room: Room, address: IpAddr, party: &PartyName) {
        if self.of_party.get(party).is_some_and(|count| *count > room.per_party) {
            self.end_one_of(party, None);
        }
        let at = self.of_address.get(&address).copied().unwrap_or(0);
        let most = room.per_address.saturating_sub(room.for_newcomers_of_address());
        if at > most && self.proven(Some(address)).count() > most {
            self.end_one_of_most(Some(address), party);
        }
        let proven = self.taken.len() - self.unproven;
        if proven > room.connections.saturating_sub(room.for_newcomers()) {
            self.end_one_of_most(None, party);
        }
    }

    /// Those that are proven, of one address or of all.
    fn proven(&self, at: Option<IpAddr>) -> impl Iterator<Item = (u64, &TakenPlace)> {
        let there = move |taken: &TakenPlace| at.is_none_or(|at| taken.address == at);
        let proven = self.taken.iter().filter(move |(_, taken)| taken.proven && there(taken));
        proven.map(|(number, taken)| (*number, taken))
    }

    /// Ends one of the party that has the most there; of several the newcomer's.
    fn end_one_of_most(&mut self, at: Option<IpAddr>, newcomer: &PartyName) {
        let mut counts: HashMap<&PartyName, usize> = HashMap::new();
        for party in self.proven(at).filter_map(|(_, taken)| taken.party.as_ref()) {
            *counts.entry(party).or_default() += 1;
        }
        let most = counts.into_iter().max_by_key(|(party, count)| (*count, *party == newcomer));
        if let Some(most) = most.map(|(party, _)| Arc::clone(party)) {
            self.end_one_of(&most, at);
        }
    }

    /// Ends the oldest of the address from which this party has the most; of several the one whose
    /// first is the oldest.
    fn end_one_of(&mut self, party: &PartyName, at: Option<IpAddr>) {
        let mut firsts: HashMap<IpAddr, (usize, u64)> = HashMap::new();
        let its = self.proven(at).filter(|(_, taken)| taken.party.as_ref() == Some(party));
        for (number, taken) in its {
            firsts.entry(taken.address).or_insert((0, number)).0 += 1;
        }
        let most = firsts.into_values().max_by_key(|(count, first)| (*count, Reverse(*first)));
        if let Some((_, first)) = most {
            self.end(first);
        }
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
        self.leave(taken.party.clone());
        if let Some(count) = self.of_address.get_mut(&taken.address) {
            *count -= 1;
            if *count == 0 {
                self.of_address.remove(&taken.address);
            }
        }
        Some(taken)
    }

    fn leave(&mut self, party: Option<PartyName>) {
        let Some(party) = party else { return };
        if let Some(count) = self.of_party.get_mut(&party) {
            *count -= 1;
            if *count == 0 {
                self.of_party.remove(&party);
            }
        }
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

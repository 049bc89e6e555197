//! Which VM of the host has which address, and which user with it: one has each.
//!
//! A VM takes both before its guest is pinned and keeps them until nothing is left that lives by
//! them: no process, no jail, no pin. So of two assignments with one address, as a server sends
//! whose database was restored, the second waits for the end of the first, however their effects
//! meet. In memory only: the start of the agent notes for each VM that has something here what its
//! record says, two with one address included, before any assignment is heard, and its look lets go
//! of what nothing stands on.
//!
//! The pins in the kernel say the same of guests whose record is lost, and are asked as well; but
//! they can be flushed, and a pin without its tap counts for nothing there. So the agent also notes
//! the users that such guests run as, by a look at their processes; while it can't look, nobody
//! takes an address.

use std::collections::{BTreeMap, BTreeSet};

use parking_lot::Mutex;

use crate::host::{GuestKey, HostError, HostErrorKind, HostResult, Pin};

/// Who has what.
#[derive(Debug, Default)]
pub struct AddressHolders(Mutex<Holders>);

#[derive(Debug, Default)]
struct Holders {
    held: BTreeMap<GuestKey, Pin>,
    /// As whom guests run whose record is lost.
    lost: BTreeMap<GuestKey, BTreeSet<u32>>,
    /// Why not all of those could be told, at the last look.
    unseen: Option<String>,
}

impl Holders {
    /// Why a guest can't have what it wants, if so.
    fn refusal(&self, pin: &Pin) -> Option<HostError> {
        if let Some(rival) = self.held.values().find(|other| other.rivals(pin)) {
            return Some(pin.taken_by(&rival.key));
        }
        // What it has already it keeps, whatever can't be told.
        if self.held.get(&pin.key) == Some(pin) {
            return None;
        }
        let of_lost = |(key, users): &(&GuestKey, &BTreeSet<u32>)| {
            **key != pin.key && users.contains(&pin.uid)
        };
        if let Some((rival, _)) = self.lost.iter().find(of_lost) {
            return Some(pin.taken_by(rival));
        }
        let why = self.unseen.as_ref()?;
        Some(HostError::new(HostErrorKind::AddressTaken, "pin", &pin.key).detail(format!(
            "address {} and user {} may be those of a guest whose record is lost: {why}",
            pin.address, pin.uid
        )))
    }
}

impl AddressHolders {
    /// Takes a guest's address and user, in place of those that it had.
    ///
    /// # Errors
    /// [`AddressTaken`](crate::host::HostErrorKind::AddressTaken): another guest has one of them,
    /// or may have: it can't be told as whom guests run whose record is lost.
    pub fn take(&self, pin: &Pin) -> HostResult<()> {
        let mut holders = self.0.lock();
        if let Some(error) = holders.refusal(pin) {
            return Err(error);
        }
        holders.held.insert(pin.key.clone(), pin.clone());
        Ok(())
    }

    /// Notes as whom guests run whose record is lost; or why that can't be told, and then what was
    /// known of them stays.
    pub fn note_lost(&self, seen: Result<BTreeMap<GuestKey, BTreeSet<u32>>, String>) {
        let mut holders = self.0.lock();
        match seen {
            Ok(lost) => (holders.lost, holders.unseen) = (lost, None),
            Err(why) => holders.unseen = Some(why),
        }
    }

    /// The user that a guest has here.
    pub fn user_of(&self, key: &GuestKey) -> Option<u32> {
        self.0.lock().held.get(key).map(|pin| pin.uid)
    }

    /// Whether there were any at the last look, or it could not tell.
    pub fn has_lost(&self) -> bool {
        let holders = self.0.lock();
        !holders.lost.is_empty() || holders.unseen.is_some()
    }

    /// Notes what a guest has in the kernel, whoever else has it too.
    pub fn keep(&self, pin: &Pin) {
        self.0.lock().held.insert(pin.key.clone(), pin.clone());
    }

    /// Nothing of the guest is left.
    pub fn release(&self, key: &GuestKey) {
        self.0.lock().held.remove(key);
    }
}

#[cfg(test)]
mod tests;

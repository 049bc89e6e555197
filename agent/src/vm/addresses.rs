//! Which VM of the host has which address, and which user with it: one has each.
//!
//! A VM takes both before its guest is pinned and keeps them until nothing is left that lives by them:
//! no process, no jail, no pin. So of two assignments with one address, as a server sends whose database
//! was restored, the second waits for the end of the first, however their effects meet. In memory only:
//! the start of the agent notes for each VM that has something here what its record says, two with one
//! address included, before any assignment is heard, and its look lets go of what nothing stands on.
//!
//! The pins in the kernel say the same of guests whose record is lost, and are asked as well; but they
//! can be flushed, and a pin without its tap counts for nothing there.

use std::collections::BTreeMap;

use parking_lot::Mutex;

use crate::host::{GuestKey, HostResult, Pin};

/// Who has what.
#[derive(Debug, Default)]
pub struct AddressHolders(Mutex<BTreeMap<GuestKey, Pin>>);

impl AddressHolders {
    /// Takes a guest's address and user, in place of those that it had.
    ///
    /// # Errors
    /// [`AddressTaken`](crate::host::HostErrorKind::AddressTaken): another guest has one of them.
    pub fn take(&self, pin: &Pin) -> HostResult<()> {
        let mut held = self.0.lock();
        if let Some(rival) = held.values().find(|other| other.rivals(pin)) {
            return Err(pin.taken_by(&rival.key));
        }
        held.insert(pin.key.clone(), pin.clone());
        Ok(())
    }

    /// Notes what a guest has in the kernel, whoever else has it too.
    pub fn keep(&self, pin: &Pin) {
        self.0.lock().insert(pin.key.clone(), pin.clone());
    }

    /// Nothing of the guest is left.
    pub fn release(&self, key: &GuestKey) {
        self.0.lock().remove(key);
    }
}

#[cfg(test)]
mod tests;

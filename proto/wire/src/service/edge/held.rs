//! What callers make the service hold, and how much of it each may.
//!
//! There is a [`Pool`] for each kind: bytes of requests on their way, bytes of answers that nobody
//! has read yet, calls under way. All callers together have so much of it, and one account
//! ([`Account`]) a share, so that whoever takes all that they can takes nothing from others. The
//! first of each account is in no common bound: however many fill what all have, one that holds
//! little has room.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::Mutex;

use super::connection::{Account, Connection};

/// Of requests of one connection, in bytes.
const OF_A_CONNECTION: usize = 16 << 20;

/// How much of one kind there may be.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Of all together.
    pub all: usize,
    /// Of one account.
    pub share: usize,
    /// Of one account, whatever the others have.
    pub always: usize,
}

/// It does not fit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Full {
    /// What there may be.
    pub limit: usize,
}

#[derive(Debug, Default)]
struct Held {
    /// Of all, without what each has always.
    common: usize,
    /// Of those that have some. Calls that are on nobody's account have one together.
    accounts: HashMap<Option<Arc<str>>, usize>,
}

/// A bound on what is held of all.
#[derive(Debug, Clone)]
pub struct Pool {
    limits: Limits,
    held: Arc<Mutex<Held>>,
}

/// What is held of one call; given back when dropped.
#[derive(Debug)]
pub struct Share {
    pool: Pool,
    account: Option<Arc<str>>,
    connection: Option<Arc<AtomicUsize>>,
    amount: usize,
}

impl Pool {
    /// So much of all, of which one account has a share.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        Self { limits, held: Arc::default() }
    }

    /// So much, whoever has it.
    #[must_use]
    pub fn of(limit: usize) -> Self {
        Self::new(Limits { all: limit, share: limit, always: 0 })
    }

    /// A share of a call on this account; nothing yet. What it holds counts for its connection too,
    /// where there is one.
    #[must_use]
    pub fn share(&self, account: Option<&Account>, connection: Option<&Connection>) -> Share {
        Share {
            pool: self.clone(),
            account: account.map(|account| Arc::clone(&account.0)),
            connection: connection.map(|connection| Arc::clone(connection.held())),
            amount: 0,
        }
    }

    fn take(&self, account: &Option<Arc<str>>, more: usize) -> Result<(), Full> {
        let Limits { all, share, always } = self.limits;
        let mut held = self.held.lock();
        let now = held.accounts.get(account).copied().unwrap_or(0);
        let after = now.checked_add(more).filter(|after| *after <= share);
        let after = after.ok_or(Full { limit: share })?;
        let common = held.common + after.saturating_sub(always) - now.saturating_sub(always);
        if common > all && after > always {
            return Err(Full { limit: all });
        }
        held.set(account, after, common);
        Ok(())
    }

    fn take_anyway(&self, account: &Option<Arc<str>>, more: usize) {
        let always = self.limits.always;
        let mut held = self.held.lock();
        let now = held.accounts.get(account).copied().unwrap_or(0);
        let after = now.saturating_add(more);
        let common = held.common + after.saturating_sub(always) - now.saturating_sub(always);
        held.set(account, after, common);
    }

    fn give(&self, account: &Option<Arc<str>>, less: usize) {
        let always = self.limits.always;
        let mut held = self.held.lock();
        let now = held.accounts.get(account).copied().unwrap_or(0);
        let after = now.saturating_sub(less);
        let freed = now.saturating_sub(always) - after.saturating_sub(always);
        let common = held.common.saturating_sub(freed);
        held.set(account, after, common);
    }

    #[cfg(test)]
    pub(super) fn held(&self) -> usize {
        self.held.lock().accounts.values().sum()
    }
}

impl Held {
    fn set(&mut self, account: &Option<Arc<str>>, amount: usize, common: usize) {
        self.common = common;
        if amount == 0 {
            self.accounts.remove(account);
        } else if let Some(held) = self.accounts.get_mut(account) {
            *held = amount;
        } else {
            self.accounts.insert(account.clone(), amount);
        }
    }
}

impl Share {
    /// So much more is held.
    ///
    /// # Errors
    /// It does not fit; the share stays as it was.
    pub fn grow(&mut self, more: usize) -> Result<(), Full> {
        let full = Full { limit: OF_A_CONNECTION };
        if let Some(connection) = &self.connection {
            let fits = |now: usize| now.checked_add(more).filter(|sum| *sum <= OF_A_CONNECTION);
            let taken = connection.fetch_update(Ordering::Relaxed, Ordering::Relaxed, fits);
            taken.map_err(|_| full)?;
        }
        if let Err(full) = self.pool.take(&self.account, more) {
            self.leave_connection(more);
            return Err(full);
        }
        self.amount += more;
        Ok(())
    }

    /// So much more is held, whether it fits or not: where there was room a moment ago
    /// ([`Share::has_room`]).
    pub fn grow_anyway(&mut self, more: usize) {
        self.pool.take_anyway(&self.account, more);
        self.amount += more;
    }

    /// Whether anything more fits.
    ///
    /// # Errors
    /// Nothing does.
    pub fn has_room(&self) -> Result<(), Full> {
        let Limits { all, share, always } = self.pool.limits;
        let held = self.pool.held.lock();
        match held.accounts.get(&self.account).copied().unwrap_or(0) {
            own if own >= share => Err(Full { limit: share }),
            own if own >= always && held.common >= all => Err(Full { limit: all }),
            _ => Ok(()),
        }
    }

    /// A part of it as a share of its own.
    #[must_use]
    pub fn split(&mut self, amount: usize) -> Self {
        let amount = amount.min(self.amount);
        self.amount -= amount;
        let connection = self.connection.clone();
        Self { pool: self.pool.clone(), account: self.account.clone(), connection, amount }
    }

    fn leave_connection(&self, amount: usize) {
        if let Some(connection) = &self.connection {
            connection.fetch_sub(amount, Ordering::Relaxed);
        }
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        if self.amount > 0 {
            self.pool.give(&self.account, self.amount);
            self.leave_connection(self.amount);
        }
    }
}

#[cfg(test)]
mod tests;

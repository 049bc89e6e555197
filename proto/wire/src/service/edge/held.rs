//! How many bytes of requests may be held that are not whole yet.
//!
//! A request is held in memory from its first announced byte until it is read. One connection may
//! make the service hold so much, and all of them together so much; callers without an identity
//! have a pool of their own, so that they take nothing from the others.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::connection::Connection;
use super::refusal::Refusal;

/// Of one connection, in bytes.
const OF_A_CONNECTION: usize = 16 << 20;

/// A bound on what is held of all connections.
#[derive(Debug, Clone)]
pub struct Pool {
    limit: usize,
    held: Arc<AtomicUsize>,
}

/// What is held of one request; given back when dropped.
#[derive(Debug)]
pub struct Share {
    pool: Pool,
    connection: Option<Arc<AtomicUsize>>,
    bytes: usize,
}

impl Pool {
    /// Of so many bytes.
    #[must_use]
    pub fn of(limit: usize) -> Self {
        Self { limit, held: Arc::default() }
    }

    /// A share of a request that comes over this connection; nothing yet.
    #[must_use]
    pub fn share(&self, connection: Option<&Connection>) -> Share {
        let connection = connection.map(|connection| Arc::clone(connection.held()));
        Share { pool: self.clone(), connection, bytes: 0 }
    }
}

impl Share {
    /// So many bytes more are held.
    ///
    /// # Errors
    /// They do not fit; the share stays as it was.
    pub fn grow(&mut self, bytes: usize) -> Result<(), Refusal> {
        if let Some(connection) = &self.connection {
            take(connection, bytes, OF_A_CONNECTION)?;
        }
        if let Err(refusal) = take(&self.pool.held, bytes, self.pool.limit) {
            if let Some(connection) = &self.connection {
                connection.fetch_sub(bytes, Ordering::Relaxed);
            }
            return Err(refusal);
        }
        self.bytes += bytes;
        Ok(())
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.pool.held.fetch_sub(self.bytes, Ordering::Relaxed);
        if let Some(connection) = &self.connection {
            connection.fetch_sub(self.bytes, Ordering::Relaxed);
        }
    }
}

fn take(held: &AtomicUsize, bytes: usize, limit: usize) -> Result<(), Refusal> {
    let more = |now: usize| now.checked_add(bytes).filter(|sum| *sum <= limit);
    match held.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more) {
        Ok(_) => Ok(()),
        Err(_) => Err(Refusal::Held { limit }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_held_is_bounded_and_given_back() {
        let pool = Pool::of(100);
        let (mut one, mut two) = (pool.share(None), pool.share(None));
        one.grow(60).expect("there is room");
        two.grow(41).expect_err("there is none");
        two.grow(40).expect("there is");
        two.grow(usize::MAX).expect_err("no overflow");
        drop(one);
        two.grow(60).expect("it was given back");
        drop(two);
        assert_eq!(pool.held.load(Ordering::Relaxed), 0);
    }
}

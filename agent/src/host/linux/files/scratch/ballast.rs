//! A file of no use but to be given up: on a full disk its room lets small files be replaced.
//!
//! To stop or delete a VM its record has to be written, by a temporary file and a rename, and the
//! disk of the host may be full to the last block, often because of the very VM that is to go.
//! Driven by every replacement of a scratch file that finds no room. It is filled again by the next
//! one that finds some. What can go wrong: somebody else takes the room that was given up, or so
//! many records are written that it is used up; then the write fails as it would have without.

use std::io;
use std::sync::Arc;

use parking_lot::Mutex;
use rustix::fs::{FallocateFlags, OFlags};
use rustix::io::Errno;

use crate::host::linux::files::beneath::Roots;

/// Its name beneath the scratch directories. It is no directory, so no VM's.
const NAME: &str = "ballast";

/// Room for some two hundred records of one block, or thirty of the longest; on a disk that has
/// little, for fewer.
const BYTES: [u64; 3] = [1024 * 1024, 256 * 1024, 64 * 1024];

/// The file. One for each agent.
pub(super) struct Ballast {
    roots: Arc<Roots>,
    held: Mutex<bool>,
}

impl Ballast {
    pub(super) fn new(roots: Arc<Roots>) -> Self {
        let ballast = Self { roots, held: Mutex::new(false) };
        ballast.fill(&mut ballast.held.lock());
        ballast
    }

    /// Writes something small; when there is no room for it, once more with the room given up.
    pub(super) fn behind(&self, write: impl Fn() -> io::Result<()>) -> io::Result<()> {
        match write() {
            Err(error) if is_full(&error) => {
                // Under the lock, so that nobody fills it again between the two.
                let mut held = self.held.lock();
                self.give_up(&mut held);
                write()
            }
            Ok(()) => {
                self.fill(&mut self.held.lock());
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    fn fill(&self, held: &mut bool) {
        if *held {
            return;
        }
        let filled = self.roots.scratch.open_at(NAME, OFlags::RDWR | OFlags::CREATE, 0o600);
        let filled = filled.and_then(|fd| {
            let mut last = Ok(());
            for bytes in BYTES {
                last = rustix::fs::fallocate(&fd, FallocateFlags::empty(), 0, bytes);
                if last != Err(Errno::NOSPC) {
                    break;
                }
                // What a failure leaves of it would only be in the way.
                let _ = rustix::fs::ftruncate(&fd, 0);
            }
            last
        });
        // Without it everything is as it is without ballast. A file system that cannot reserve has
        // none, and is not asked at each write.
        *held = matches!(filled, Ok(()) | Err(Errno::OPNOTSUPP));
    }

    fn give_up(&self, held: &mut bool) {
        if !std::mem::replace(held, false) {
            return;
        }
        tracing::warn!("the disk is full; the room kept for records is used now");
        let given = self.roots.scratch.open_at(NAME, OFlags::RDWR, 0);
        let given = given.and_then(|fd| rustix::fs::ftruncate(&fd, 0));
        if let Err(error) = given {
            tracing::warn!(%error, "the room kept for records could not be given up");
        }
    }
}

fn is_full(error: &io::Error) -> bool {
    let errno = error.raw_os_error().map(Errno::from_raw_os_error);
    matches!(errno, Some(Errno::NOSPC | Errno::DQUOT))
}

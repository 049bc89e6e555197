//! What uploads take of the bytes that a project may have on the server: those that are kept, and
//! those under way.
//!
//! The names of images are the ledger's, and so is what they take; uploads are files that go after
//! a day, so what they take is counted here. One under way takes what it has said that it will
//! have, or what it has already, whichever is more, so that many at once pass no quota together.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::model::project::ProjectName;

/// What the uploads of one project take.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct TakenBytes {
    kept: u64,
    under_way: u64,
}

/// What uploads take. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub(super) struct Reserved(Arc<Mutex<HashMap<ProjectName, TakenBytes>>>);

/// What an upload under way takes; given back when dropped.
#[derive(Debug)]
pub(super) struct Reservation {
    reserved: Reserved,
    project: ProjectName,
    bytes: u64,
}

impl Reserved {
    /// All that uploads of a project take.
    pub(super) fn of(&self, project: &ProjectName) -> u64 {
        let TakenBytes { kept, under_way } =
            self.0.lock().get(project).copied().unwrap_or_default();
        kept.saturating_add(under_way)
    }

    /// These are kept, and no others: found on the disk.
    pub(super) fn set_kept(&self, kept: HashMap<ProjectName, u64>) {
        let mut all = self.0.lock();
        all.values_mut().for_each(|taken| taken.kept = 0);
        for (project, bytes) in kept {
            all.entry(project).or_default().kept = bytes;
        }
        all.retain(|_, taken| *taken != TakenBytes::default());
    }

    /// An upload to this project begins.
    pub(super) fn begin(&self, project: ProjectName) -> Reservation {
        Reservation { reserved: self.clone(), project, bytes: 0 }
    }
}

impl Reservation {
    pub(super) fn project(&self) -> &ProjectName {
        &self.project
    }

    /// It takes so many bytes, or more already. `may`: whether so many more fit beside those that
    /// all uploads of the project take.
    ///
    /// # Errors
    /// They do not; it takes what it took.
    pub(super) fn take<E>(
        &mut self,
        bytes: u64,
        may: impl FnOnce(u64, u64) -> Result<(), E>,
    ) -> Result<(), E> {
        let more = bytes.saturating_sub(self.bytes);
        if more == 0 {
            return Ok(());
        }
        let mut all = self.reserved.0.lock();
        let taken = all.get(&self.project).copied().unwrap_or_default();
        may(taken.kept.saturating_add(taken.under_way), more)?;
        all.entry(self.project.clone()).or_default().under_way += more;
        self.bytes = bytes;
        Ok(())
    }
}

impl Reservation {
    /// It is kept, and so many bytes are there more.
    pub(super) fn keep(self, more: u64) {
        let mut all = self.reserved.0.lock();
        all.entry(self.project.clone()).or_default().kept += more;
        drop(all);
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        let mut all = self.reserved.0.lock();
        if let Some(taken) = all.get_mut(&self.project) {
            taken.under_way -= self.bytes;
            if *taken == TakenBytes::default() {
                all.remove(&self.project);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::fixtures::project;

    #[test]
    fn many_uploads_at_once_pass_no_bound_together() {
        let reserved = Reserved::default();
        reserved.set_kept([(project("shop"), 30)].into());
        let within = |used: u64, more: u64| if used + more <= 100 { Ok(()) } else { Err(used) };
        let mut held: Vec<_> = (0..10).map(|_| reserved.begin(project("shop"))).collect();
        let took = held.iter_mut().filter_map(|one| one.take(20, within).ok()).count();
        assert_eq!((took, reserved.of(&project("shop"))), (3, 90));
        // What it has said counts, whatever it has sent by then.
        assert_eq!(held[0].take(5, within), Ok(()));
        assert_eq!(held[0].take(30, within), Ok(()));
        assert_eq!(held[0].take(31, within), Err(100));
        assert_eq!(reserved.begin(project("lab")).take(100, within), Ok(()), "another's");
        held.remove(0).keep(25);
        assert_eq!(reserved.of(&project("shop")), 95, "what is kept takes what it has");
        drop(held);
        assert_eq!(reserved.of(&project("shop")), 55);
        reserved.set_kept(HashMap::new());
        assert!(reserved.0.lock().is_empty(), "nothing is remembered");
    }
}

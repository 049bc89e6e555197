//! One upload under way: paced, counted against its project's quota, kept when it is whole.

use std::sync::Arc;

use banger_images::Pace;

use super::Images;
use super::library::{KeepError, Upload};
use super::reserved::Reservation;
use super::slots::Slot;
use crate::model::project::ProjectName;

/// Names of uploads remembered, for people.
const REMEMBERED: usize = 1024;

/// An upload under way. Nothing of it is left when this is dropped.
#[derive(Debug)]
pub struct Uploading<'a> {
    images: &'a Images,
    upload: Option<Upload>,
    /// How many bytes have come.
    bytes: u64,
    reservation: Reservation,
    pace: Pace,
    slot: Option<Slot>,
}

impl<'a> Uploading<'a> {
    pub(super) fn begin(
        images: &'a Images,
        upload: Upload,
        project: ProjectName,
        slot: Option<Slot>,
    ) -> Self {
        let reservation = images.reserved.begin(project);
        let pace = Pace::new(images.settings.patience);
        Self { images, upload: Some(upload), bytes: 0, reservation, pace, slot }
    }

    /// Whether so many bytes would be kept. They are its own from then on.
    ///
    /// # Errors
    /// They are too many, or the disk or the project has no room for them.
    pub fn expect(&mut self, size: u64) -> Result<(), KeepError> {
        self.images.library.expect(size)?;
        self.reserve(size)
    }

    fn reserve(&mut self, bytes: u64) -> Result<(), KeepError> {
        let (images, project) = (self.images, self.reservation.project().clone());
        let may = |uploaded, more| images.check_quota(&project, uploaded, more);
        self.reservation.take(bytes, may).map_err(KeepError::Quota)
    }

    /// Waits for the next part, as long as its sender is not too slow.
    ///
    /// # Errors
    /// It is: then the upload is over.
    pub async fn next<T>(
        &mut self,
        part: impl Future<Output = T>,
        bytes_of: impl FnOnce(&T) -> u64,
    ) -> Result<T, KeepError> {
        let slot = &mut self.slot;
        let given_up = async {
            match slot {
                Some(slot) => slot.given_up().await,
                None => std::future::pending().await,
            }
        };
        // Cancel-safe: an upload that gives way is over.
        tokio::select! {
            biased;
            part = self.pace.next(part, bytes_of) => part.map_err(KeepError::TooSlow),
            () = given_up => Err(KeepError::GaveWay),
        }
    }

    /// Adds to it.
    ///
    /// # Errors
    /// It becomes too large, or the disk or the project is full: then it is over.
    pub async fn append(&mut self, data: bytes::Bytes) -> Result<(), KeepError> {
        let Some(mut upload) = self.upload.take() else { return Err(over()) };
        self.bytes = self.bytes.saturating_add(data.len() as u64);
        self.reserve(self.bytes)?;
        let library = Arc::clone(&self.images.library);
        let appended = tokio::task::spawn_blocking(move || {
            library.append(&mut upload, &data).map(|()| upload)
        });
        self.upload = Some(appended.await.map_err(|_| over())??);
        Ok(())
    }

    /// It is for imports of this project.
    pub fn is_for(&mut self, project: ProjectName) {
        self.reservation = self.images.reserved.begin(project);
    }

    /// Keeps it. Answers its digest and its size in bytes.
    ///
    /// # Errors
    /// It can't be brought to the disk.
    pub async fn finish(mut self, file_name: String) -> Result<(String, u64), KeepError> {
        let Some(upload) = self.upload.take() else { return Err(over()) };
        let (library, now) = (Arc::clone(&self.images.library), self.images.clock.now());
        let Self { images, reservation, .. } = self;
        let project = reservation.project().clone();
        let kept = tokio::task::spawn_blocking(move || {
            let project = reservation.project().clone();
            library.keep_blob(upload, &project, now, |more| reservation.keep(more))
        });
        let (sha256, size) = kept.await.map_err(|_| over())??;
        if !file_name.is_empty() {
            let mut called = images.called.lock();
            if called.len() >= REMEMBERED {
                called.clear();
            }
            called.insert((project, sha256.clone()), file_name);
        }
        Ok((sha256, size))
    }
}

fn over() -> KeepError {
    KeepError::Io { what: "go on with the upload", source: std::io::ErrorKind::Interrupted.into() }
}

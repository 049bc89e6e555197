//! An image that the server brings: held against what was announced, kept only when it is that.
//!
//! Driven by the call that brings it. What can go wrong: it is already there, the disk has no room,
//! more or less comes than was announced, or the content has another digest; the call breaks off,
//! and this is dropped. Nothing is left then.

use bytes::Bytes;
use sha2::{Digest as _, Sha256};

use super::{HostError, HostErrorKind, HostResult, ImageName, Images, PartialImage};

const VERB: &str = "receive image";

/// What is to come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Announced {
    /// The name it gets.
    pub name: ImageName,
    /// Of the content, 64 lower-case hexadecimal digits.
    pub sha256: String,
    /// Length in bytes.
    pub size_bytes: u64,
    /// How much of it is no holes, in bytes; 0: all.
    pub data_bytes: u64,
}

impl Announced {
    /// What it takes of the disk at most, in bytes.
    fn needs(&self) -> u64 {
        if self.data_bytes == 0 { self.size_bytes } else { self.data_bytes.min(self.size_bytes) }
    }
}

/// An image on its way.
pub struct Receiving {
    announced: Announced,
    partial: Box<dyn PartialImage>,
    hash: Sha256,
    received: u64,
}

impl Receiving {
    /// Begins, unless the image is there: then `None`. So many bytes of the disk are left free.
    ///
    /// # Errors
    /// [`HostErrorKind::NoSpace`], or the directory cannot be read or written.
    pub async fn begin(
        images: &dyn Images,
        announced: Announced,
        reserve: u64,
    ) -> HostResult<Option<Self>> {
        let there = images.observe(&announced.name).await?;
        if there.is_some_and(|facts| facts.size_bytes == announced.size_bytes)
            && images.digest(&announced.name).await?.as_ref() == Some(&announced.sha256)
        {
            return Ok(None);
        }
        let free = images.room().await?.free_bytes;
        if free < announced.needs().saturating_add(reserve) {
            let why = format!(
                "it needs {} bytes, {free} are free, and {reserve} of them are kept for the host",
                announced.needs()
            );
            return Err(HostError::new(HostErrorKind::NoSpace, VERB, &announced.name).detail(why));
        }
        let partial = images.begin(&announced.name).await?;
        Ok(Some(Self { announced, partial, hash: Sha256::new(), received: 0 }))
    }

    /// Takes the next part.
    ///
    /// # Errors
    /// [`HostErrorKind::Invalid`] when it is more than was announced; the disk is full.
    pub async fn append(&mut self, data: Bytes) -> HostResult<()> {
        self.received = self.received.saturating_add(data.len() as u64);
        if self.received > self.announced.size_bytes {
            return Err(
                self.mismatch(format!("more than {} bytes came", self.announced.size_bytes))
            );
        }
        self.hash.update(&data);
        self.partial.append(data).await
    }

    /// All of it has come: keeps it.
    ///
    /// # Errors
    /// [`HostErrorKind::Invalid`] when it is not what was announced; it cannot be written.
    pub async fn finish(self) -> HostResult<()> {
        if self.received != self.announced.size_bytes {
            let (came, said) = (self.received, self.announced.size_bytes);
            return Err(self.mismatch(format!("{came} of {said} bytes came")));
        }
        let digest = hex::encode(self.hash.clone().finalize());
        if digest != self.announced.sha256 {
            return Err(self.mismatch(format!("what came has the sha256 {digest}")));
        }
        self.partial.keep(digest).await
    }

    fn mismatch(&self, why: String) -> HostError {
        HostError::new(HostErrorKind::Invalid, VERB, &self.announced.name).detail(why)
    }
}

#[cfg(test)]
mod tests;

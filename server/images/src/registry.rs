//! Container images from a registry (OCI distribution-spec 1.1), for reading only.
//!
//! What comes is written to files of a private directory beside the output, every byte of it
//! digested on its way: nothing is read as an image before it is what its digest says. TLS
//! everywhere; plain HTTP is spoken to this machine's own loopback addresses and nowhere else.
//! `hyper` and `rustls` are what banger has already; `oci-client` would bring another HTTP client
//! and another TLS provider.

mod auth;
mod http;

use std::collections::HashMap;
use std::fs::File;
use std::io::Write;
use std::path::Path;

use sha2::{Digest, Sha256};
use tempfile::TempDir;

use crate::blob::Blob;
use crate::oci::{
    Descriptor, Image, MOST_DOCUMENT_BYTES, Manifest, Next, check_layers, kept_config, next,
};
use crate::output::directory_of;
use crate::source::is_digest;
use crate::{ImportError, Options, Progress, Reference, SCRATCH_PREFIX, Step};
use http::{Answer, Client};

/// What manifests are asked for as.
const MANIFESTS: &str = "application/vnd.oci.image.index.v1+json, \
    application/vnd.oci.image.manifest.v1+json, \
    application/vnd.docker.distribution.manifest.list.v2+json, \
    application/vnd.docker.distribution.manifest.v2+json";

/// Indexes inside of indexes.
const MOST_DEPTH: usize = 4;

/// Progress is told after this many bytes.
const STRIDE_BYTES: u64 = 1 << 20;

/// An image whose blobs lie in a directory of ours.
#[derive(Debug)]
pub(crate) struct Pulled {
    pub(crate) image: Image,
    /// Removed with all that is in it when it is dropped.
    pub(crate) directory: TempDir,
}

type Report<'a> = &'a (dyn Fn(Progress) + Send + Sync);

/// Brings the image for linux/amd64 here.
pub(crate) async fn pull(
    reference: &Reference,
    options: &Options,
    out: &Path,
    report: Report<'_>,
) -> Result<Pulled, ImportError> {
    let directory = tempfile::Builder::new()
        .prefix(SCRATCH_PREFIX)
        .tempdir_in(directory_of(out))
        .map_err(|source| ImportError::Write { path: out.to_owned(), source })?;
    let client = Client::new(reference, options.credentials.clone());
    let from = reference.to_string();
    let mut pull = Pull {
        client,
        from,
        options,
        directory: &directory,
        done_bytes: 0,
        total_bytes: 0,
        report,
    };
    let image = pull.image(reference).await?;
    Ok(Pulled { image, directory })
}

struct Pull<'a> {
    client: Client,
    from: String,
    options: &'a Options,
    directory: &'a TempDir,
    done_bytes: u64,
    total_bytes: u64,
    report: Report<'a>,
}

impl Pull<'_> {
    async fn image(&mut self, reference: &Reference) -> Result<Image, ImportError> {
        let (digest, manifest) = self.manifest(reference).await?;
        check_layers(&manifest, &self.from, self.options)?;
        let all = || manifest.layers.iter().chain([&manifest.config]);
        if all().any(|blob| !is_digest(&blob.digest)) {
            let what = "it has digests other than SHA-256".to_owned();
            return Err(ImportError::NotUsable { from: self.from.clone(), what });
        }
        self.total_bytes = all().fold(0, |sum, blob| sum.saturating_add(blob.size));
        let limit = self.options.limits.source_bytes;
        if self.total_bytes > limit {
            return Err(self.limited(limit, "bytes"));
        }
        if manifest.config.size > MOST_DOCUMENT_BYTES {
            return Err(self.limited(MOST_DOCUMENT_BYTES, "bytes of configuration"));
        }
        let config = self.blob(&manifest.config).await?.read_whole(MOST_DOCUMENT_BYTES)?;
        let config = kept_config(&config, &self.from)?;
        let mut here: HashMap<&str, Blob> = HashMap::new();
        let mut layers = Vec::new();
        for layer in &manifest.layers {
            // The same layer may be there several times, an empty one mostly.
            let blob = match here.get(layer.digest.as_str()) {
                Some(blob) => blob.clone(),
                None => self.blob(layer).await?,
            };
            here.insert(&layer.digest, blob.clone());
            layers.push(blob);
        }
        Ok(Image { from: self.from.clone(), layers, config, manifest: digest })
    }

    /// The manifest and its digest.
    async fn manifest(&self, reference: &Reference) -> Result<(String, Manifest), ImportError> {
        let mut wanted = reference.version().to_owned();
        let mut size = None;
        for _ in 0..MOST_DEPTH {
            let path = format!("manifests/{wanted}");
            let answer = self.client.get(&path, MANIFESTS).await?;
            let bytes = self.document(answer, &path).await?;
            let found = format!("sha256:{}", hex::encode(Sha256::digest(&bytes)));
            if is_digest(&wanted) && wanted != found {
                let from = format!("{}: {path}", self.from);
                return Err(ImportError::Digest { from, expected: wanted, found });
            }
            if size.is_some_and(|size| size != bytes.len() as u64) {
                return Err(self.damaged(&path, "it does not have the size that its index says"));
            }
            match next(&bytes, &self.from)? {
                Next::Manifest(manifest) => return Ok((found, manifest)),
                Next::Index(Descriptor { digest, size: said, .. }) => {
                    if !is_digest(&digest) {
                        return Err(self.damaged(&path, "it has digests other than SHA-256"));
                    }
                    (wanted, size) = (digest, Some(said));
                }
            }
        }
        Err(self.damaged("manifests", "its indexes lie too deep in each other"))
    }

    async fn document(&self, mut answer: Answer, path: &str) -> Result<Vec<u8>, ImportError> {
        let mut all = Vec::new();
        while let Some(bytes) = self.client.next(&mut answer, path).await? {
            self.check_cancel()?;
            if all.len() as u64 + bytes.len() as u64 > MOST_DOCUMENT_BYTES {
                return Err(self.limited(MOST_DOCUMENT_BYTES, "bytes in a document"));
            }
            all.extend_from_slice(&bytes);
        }
        Ok(all)
    }

    /// Brings one blob into a file.
    async fn blob(&mut self, descriptor: &Descriptor) -> Result<Blob, ImportError> {
        let Descriptor { digest, size, .. } = descriptor;
        let path = format!("blobs/{digest}");
        let name = self.directory.path().join(digest.replace(':', "-"));
        let unwritten = |source| ImportError::Write { path: name.clone(), source };
        let mut file = File::create_new(&name).map_err(unwritten)?;
        let mut answer = self.client.get(&path, "*/*").await?;
        let (mut hash, mut length, mut told) = (Sha256::new(), 0, self.done_bytes);
        while let Some(bytes) = self.client.next(&mut answer, &path).await? {
            self.check_cancel()?;
            length += bytes.len() as u64;
            if length > *size {
                return Err(self.damaged(&path, "it is longer than its manifest says"));
            }
            hash.update(&bytes);
            // Into the page cache, mostly; the frames are small.
            file.write_all(&bytes).map_err(unwritten)?;
            self.done_bytes += bytes.len() as u64;
            if self.done_bytes - told >= STRIDE_BYTES {
                told = self.done_bytes;
                self.tell();
            }
        }
        if length < *size {
            return Err(self.damaged(&path, "it ends too early"));
        }
        let found = format!("sha256:{}", hex::encode(hash.finalize()));
        if found != *digest {
            let (from, expected) = (format!("{}: {path}", self.from), digest.clone());
            return Err(ImportError::Digest { from, expected, found });
        }
        self.tell();
        let file = File::open(&name).map_err(unwritten)?;
        Blob::of_file(file, format!("{}: {digest}", self.from), *size)
    }

    fn tell(&self) {
        let (done_bytes, total_bytes) = (self.done_bytes, Some(self.total_bytes));
        (self.report)(Progress { step: Step::Pull, done_bytes, total_bytes });
    }

    fn check_cancel(&self) -> Result<(), ImportError> {
        if self.options.cancel.is_cancelled() { Err(ImportError::Cancelled) } else { Ok(()) }
    }

    fn limited(&self, limit: u64, unit: &'static str) -> ImportError {
        ImportError::Limit { from: self.from.clone(), limit, unit }
    }

    fn damaged(&self, path: &str, what: &str) -> ImportError {
        let from = format!("{}: {path}", self.from);
        ImportError::Damaged { from, what: what.to_owned() }
    }
}

#[cfg(test)]
mod tests;

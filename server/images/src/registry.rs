//! Container images from a registry (OCI distribution-spec 1.1), for reading only.
//!
//! What comes is written to files of a private directory beside the output, every byte of it
//! digested on its way: nothing is read as an image before it is what its digest says. TLS
//! everywhere; plain HTTP is spoken to loopback addresses that the operator has named and nowhere
//! else. What may pass is tried three times.
//!
//! `oci-client` lost: it takes the first challenge of several, reads manifests without a bound, and
//! makes its HTTP client itself, so that neither the addresses it connects to nor its redirects can
//! be looked at first. Challenges, redirects and tokens are read here; TLS, HTTP, proxies' rules
//! and references are rustls's, hyper's, hyper-util's and url's.

mod auth;
mod docker;
mod http;
mod reach;

use std::collections::HashMap;
use std::fs::File;
use std::io::Write;
use std::path::Path;

use sha2::{Digest, Sha256};
use tempfile::TempDir;
use tokio::io::{AsyncRead, AsyncWrite};

use crate::blob::Blob;
use crate::budget::check_room;
use crate::oci::{
    Descriptor, Image, MOST_DOCUMENT_BYTES, Manifest, Next, check_layers, kept_config, next,
};
use crate::output::directory_of;
use crate::source::is_digest;
use crate::{ImportError, Options, Progress, Reference, SCRATCH_PREFIX, Step};
use http::{Answer, Client, may_pass};

/// What manifests are asked for as.
const MANIFESTS: &str = "application/vnd.oci.image.index.v1+json, \
    application/vnd.oci.image.manifest.v1+json, \
    application/vnd.docker.distribution.manifest.list.v2+json, \
    application/vnd.docker.distribution.manifest.v2+json";

/// Indexes inside of indexes.
const MOST_DEPTH: usize = 4;

/// Times that a request is made which fails in a way that may pass.
const MOST_TRIES: u32 = 3;

/// Progress is told after this many bytes.
const STRIDE_BYTES: u64 = 1 << 20;

pub use docker::check_docker_config;

type Cause = Box<dyn std::error::Error + Send + Sync>;

/// A connection, encrypted or not, through a proxy or not.
trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<S: AsyncRead + AsyncWrite + Unpin + Send> Stream for S {}

/// An image whose blobs lie in the import's own directory.
#[derive(Debug)]
pub(crate) struct Pulled {
    pub(crate) image: Image,
    /// Removed with all that is in it when it is dropped.
    pub(crate) directory: TempDir,
}

type ReportProgress<'a> = &'a (dyn Fn(Progress) + Send + Sync);

/// Brings the image for the wanted platform here.
pub(crate) async fn pull(
    reference: &Reference,
    options: &Options,
    out: &Path,
    report: ReportProgress<'_>,
) -> Result<Pulled, ImportError> {
    let directory = tempfile::Builder::new()
        .prefix(SCRATCH_PREFIX)
        .tempdir_in(directory_of(out))
        .map_err(|source| ImportError::Write { path: out.to_owned(), source })?;
    let from = reference.to_string();
    let credentials = match (&options.credentials, &options.registries.docker_config) {
        (Some(credentials), _) => Some(credentials.clone()),
        (None, Some(config)) => {
            let found = docker::credentials(config, reference.registry()).await;
            found.map_err(|source| ImportError::Registry {
                registry: reference.registry().to_owned(),
                what: format!("has no password here: {} can't be used", config.display()),
                status: Some(401),
                source: Some(source),
            })?
        }
        (None, None) => None,
    };
    let client = Client::new(reference, credentials, &options.registries);
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
    report: ReportProgress<'a>,
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
        let config = kept_config(&config, &self.options.platform, &self.from)?;
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
            let mut tries = 1;
            let bytes = loop {
                let asked = async {
                    let answer = self.client.get(&path, MANIFESTS).await?;
                    self.document(answer, &path).await
                };
                match asked.await {
                    Ok(bytes) => break bytes,
                    Err(error) => self.wait_for_another(error, &mut tries).await?,
                }
            };
            let found = format!("sha256:{}", hex::encode(Sha256::digest(&bytes)));
            if is_digest(&wanted) && wanted != found {
                let from = format!("{}: {path}", self.from);
                return Err(ImportError::Digest { from, expected: wanted, found });
            }
            if size.is_some_and(|size| size != bytes.len() as u64) {
                return Err(self.damaged(&path, "it does not have the size that its index says"));
            }
            match next(&bytes, &self.options.platform, &self.from)? {
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

    /// Brings one blob into a file, at the third try if need be.
    async fn blob(&mut self, descriptor: &Descriptor) -> Result<Blob, ImportError> {
        let mut tries = 1;
        let before = self.done_bytes;
        loop {
            match self.blob_once(descriptor).await {
                Ok(blob) => return Ok(blob),
                Err(error) => self.wait_for_another(error, &mut tries).await?,
            }
            self.done_bytes = before;
        }
    }

    /// Waits for the next try, if the failure may be over by then.
    async fn wait_for_another(
        &self,
        error: ImportError,
        tries: &mut u32,
    ) -> Result<(), ImportError> {
        if *tries >= MOST_TRIES || !may_pass(&error) {
            return Err(error);
        }
        tokio::time::sleep(self.client.back_off(*tries)).await;
        *tries += 1;
        self.check_cancel()
    }

    async fn blob_once(&mut self, descriptor: &Descriptor) -> Result<Blob, ImportError> {
        let Descriptor { digest, size, .. } = descriptor;
        let path = format!("blobs/{digest}");
        let name = self.directory.path().join(digest.replace(':', "-"));
        let unwritten = |source| ImportError::Write { path: name.clone(), source };
        // What an earlier try left is not gone on with.
        let mut file = File::create(&name).map_err(unwritten)?;
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
                self.check_room()?;
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
        self.check_room()?;
        let file = File::open(&name).map_err(unwritten)?;
        Blob::of_file(file, format!("{}: {digest}", self.from), *size)
    }

    fn tell(&self) {
        let (done_bytes, total_bytes) = (self.done_bytes, Some(self.total_bytes));
        (self.report)(Progress { step: Step::Pull, done_bytes, total_bytes });
    }

    fn check_room(&self) -> Result<(), ImportError> {
        let room = self.options.room.as_ref();
        room.map_or(Ok(()), |room| check_room(room).map_err(|stop| stop.at(&self.from)))
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

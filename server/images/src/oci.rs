//! Container images: an OCI layout in a directory or an archive, and what `docker save` writes
//! (OCI image-spec 1.1: `image-layout.md`, `image-index.md`, `manifest.md`, `config.md`).
//!
//! The image for linux/amd64 is taken. Every blob is compared with its digest and its size before
//! anything of it is read as what it says it is.

mod store;

use std::path::Path;

use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::blob::Blob;
use crate::budget::Budget;
use crate::source::is_digest;
use crate::{ImportError, Options, Progress, Step};
use store::Store;

/// Bytes of an index, a manifest or a configuration.
pub(crate) const MOST_DOCUMENT_BYTES: u64 = 4 << 20;

/// Indexes inside of indexes.
const MOST_DEPTH: usize = 4;

const LAYOUT_FILE: &str = "oci-layout";
const INDEX_FILE: &str = "index.json";

/// A container image, all of it checked.
#[derive(Debug)]
pub(crate) struct Image {
    pub(crate) from: String,
    /// The lowest first.
    pub(crate) layers: Vec<Blob>,
    /// What the guest is told of the configuration, as JSON.
    pub(crate) config: Vec<u8>,
    /// `sha256:…` of the manifest; of the configuration where there is no manifest.
    pub(crate) manifest: String,
}

/// Names contents.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Descriptor {
    #[serde(default)]
    pub(crate) media_type: String,
    pub(crate) digest: String,
    pub(crate) size: u64,
    #[serde(default)]
    platform: Option<Platform>,
}

#[derive(Debug, Clone, Deserialize)]
struct Platform {
    os: String,
    architecture: String,
}

#[derive(Debug, Deserialize)]
pub(crate) struct Manifest {
    pub(crate) config: Descriptor,
    pub(crate) layers: Vec<Descriptor>,
}

/// An index or a manifest: which, its fields say.
#[derive(Debug, Deserialize)]
struct Document {
    #[serde(default)]
    manifests: Option<Vec<Descriptor>>,
}

#[derive(Debug, Deserialize)]
struct ConfigFile {
    #[serde(default)]
    os: Option<String>,
    #[serde(default)]
    architecture: Option<String>,
    #[serde(default)]
    config: Option<serde_json::Map<String, serde_json::Value>>,
    #[serde(default)]
    rootfs: RootFs,
}

#[derive(Debug, Default, Deserialize)]
struct RootFs {
    #[serde(default)]
    diff_ids: Vec<String>,
}

/// An image as `docker save` lists it.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Saved {
    config: String,
    layers: Vec<String>,
}

/// What of the configuration the guest is told.
const KEPT: [&str; 6] = ["Entrypoint", "Cmd", "Env", "WorkingDir", "User", "StopSignal"];

pub(crate) fn is_layout(directory: &Path) -> bool {
    directory.join(LAYOUT_FILE).is_file() && directory.join(INDEX_FILE).is_file()
}

pub(crate) fn read_layout(
    directory: &Path,
    options: &Options,
    report: &dyn Fn(Progress),
) -> Result<Image, ImportError> {
    let store = Store::of_directory(directory, options)?;
    Reader { store: &store, options, report }.layout()
}

/// Reads an archive of a layout, or of `docker save`; one that is packed is unpacked beside `out`.
pub(crate) fn read_archive(
    archive: &Blob,
    out: &Path,
    options: &Options,
    report: &dyn Fn(Progress),
) -> Result<Image, ImportError> {
    let store = Store::of_archive(archive, out, options, report)?;
    let reader = Reader { store: &store, options, report };
    if store.has(LAYOUT_FILE) { reader.layout() } else { reader.saved() }
}

struct Reader<'a> {
    store: &'a Store,
    options: &'a Options,
    report: &'a dyn Fn(Progress),
}

impl Reader<'_> {
    fn layout(&self) -> Result<Image, ImportError> {
        let from = self.store.from();
        let index = self.store.file(INDEX_FILE)?.read_whole(MOST_DOCUMENT_BYTES)?;
        let mut chosen =
            choose(&parse::<Document>(&index, from)?.manifests.unwrap_or_default(), from)?;
        for _ in 0..MOST_DEPTH {
            let bytes = self.blob(&chosen)?.read_whole(MOST_DOCUMENT_BYTES)?;
            match next(&bytes, from)? {
                Next::Index(inner) => chosen = inner,
                Next::Manifest(manifest) => return self.image(&manifest, chosen.digest),
            }
        }
        Err(unusable(from, "its indexes lie too deep in each other"))
    }

    fn image(&self, manifest: &Manifest, digest: String) -> Result<Image, ImportError> {
        check_layers(manifest, self.store.from(), self.options)?;
        let config = self.blob(&manifest.config)?.read_whole(MOST_DOCUMENT_BYTES)?;
        let config = kept_config(&config, self.store.from())?;
        let layers = manifest.layers.iter().map(|layer| self.blob(layer)).collect::<Result<_, _>>();
        Ok(Image { from: self.store.from().to_owned(), layers: layers?, config, manifest: digest })
    }

    /// A blob that is what its descriptor says.
    fn blob(&self, descriptor: &Descriptor) -> Result<Blob, ImportError> {
        let from = self.store.from();
        if !is_digest(&descriptor.digest) {
            return Err(unusable(from, "it has digests other than SHA-256"));
        }
        let blob = self.store.file(&format!("blobs/{}", descriptor.digest.replace(':', "/")))?;
        self.verify(&blob, &descriptor.digest)?;
        if blob.length != descriptor.size {
            let what = format!("{} does not have the size it says", descriptor.digest);
            return Err(ImportError::Damaged { from: from.to_owned(), what });
        }
        Ok(blob)
    }

    fn verify(&self, blob: &Blob, digest: &str) -> Result<(), ImportError> {
        let cancel = &self.options.cancel;
        let budget = Budget::unbounded(cancel, self.report, Step::Check, blob.length);
        blob.verify(digest, &budget)
    }

    /// What `docker save` wrote before it wrote layouts: layers are named by the digests that the
    /// configuration has of them unpacked, and so they lie there.
    fn saved(&self) -> Result<Image, ImportError> {
        let from = self.store.from();
        let list = self.store.file("manifest.json")?.read_whole(MOST_DOCUMENT_BYTES)?;
        let list: Vec<Saved> = parse(&list, from)?;
        let [saved] = &list[..] else {
            return Err(unusable(from, "it holds several images, or none"));
        };
        let config = self.store.file(&saved.config)?;
        let bytes = config.read_whole(MOST_DOCUMENT_BYTES)?;
        let ids = parse::<ConfigFile>(&bytes, from)?.rootfs.diff_ids;
        if ids.len() != saved.layers.len() || ids.len() as u64 > self.options.limits.layers {
            return Err(unusable(from, "its layers are not those of its configuration"));
        }
        let mut layers = Vec::new();
        for (name, id) in saved.layers.iter().zip(&ids) {
            let layer = self.store.file(name)?;
            self.verify(&layer, id)?;
            layers.push(layer);
        }
        let stem = saved.config.rsplit('/').next().unwrap_or_default();
        let manifest = format!("sha256:{}", stem.trim_end_matches(".json"));
        self.verify(&config, &manifest)?;
        let config = kept_config(&bytes, from)?;
        Ok(Image { from: from.to_owned(), layers, config, manifest })
    }
}

/// What a document leads to.
pub(crate) enum Next {
    Index(Descriptor),
    Manifest(Manifest),
}

pub(crate) fn next(document: &[u8], from: &str) -> Result<Next, ImportError> {
    match parse::<Document>(document, from)?.manifests {
        Some(manifests) => choose(&manifests, from).map(Next::Index),
        None => parse(document, from).map(Next::Manifest),
    }
}

/// The one image for linux/amd64; one without a platform, if it is the only one.
fn choose(manifests: &[Descriptor], from: &str) -> Result<Descriptor, ImportError> {
    let fits = |platform: &Platform| platform.os == "linux" && platform.architecture == "amd64";
    let fitting = manifests.iter().find(|one| one.platform.as_ref().is_some_and(fits));
    let mut others = manifests.iter().filter(|one| one.platform.is_none());
    if let Some(chosen) = fitting {
        return Ok(chosen.clone());
    }
    match (others.next(), others.next()) {
        (Some(only), None) => Ok(only.clone()),
        (Some(_), Some(_)) => Err(unusable(from, "it holds several images; take one of them out")),
        (None, _) => {
            let has: Vec<_> = manifests
                .iter()
                .filter_map(|one| one.platform.as_ref())
                .map(|platform| format!("{}/{}", platform.os, platform.architecture))
                .collect();
            Err(unusable(from, &format!("it has no image for linux/amd64, only {has:?}")))
        }
    }
}

/// Whether the layers are such as we read, and not too many.
pub(crate) fn check_layers(
    manifest: &Manifest,
    from: &str,
    options: &Options,
) -> Result<(), ImportError> {
    let limit = options.limits.layers;
    if manifest.layers.len() as u64 > limit {
        return Err(ImportError::Limit { from: from.to_owned(), limit, unit: "layers" });
    }
    match manifest.layers.iter().find(|layer| !layer.media_type.contains("tar")) {
        Some(other) => {
            let what = format!("it is no container image: it has {:?} in it", other.media_type);
            Err(unusable(from, &what))
        }
        None => Ok(()),
    }
}

/// What of a configuration the guest is told; an image for another machine is refused.
pub(crate) fn kept_config(bytes: &[u8], from: &str) -> Result<Vec<u8>, ImportError> {
    let file: ConfigFile = parse(bytes, from)?;
    let os = file.os.as_deref().filter(|os| !os.is_empty()).unwrap_or("linux");
    let machine = file.architecture.as_deref().filter(|a| !a.is_empty()).unwrap_or("amd64");
    if (os, machine) != ("linux", "amd64") {
        return Err(unusable(from, &format!("it is for {os}/{machine}, not for linux/amd64")));
    }
    let mut config = file.config.unwrap_or_default();
    config.retain(|key, _| KEPT.contains(&key.as_str()));
    let mut text = serde_json::to_vec_pretty(&config).unwrap_or_default();
    text.push(b'\n');
    Ok(text)
}

fn parse<T: DeserializeOwned>(bytes: &[u8], from: &str) -> Result<T, ImportError> {
    serde_json::from_slice(bytes).map_err(|error| ImportError::Damaged {
        from: from.to_owned(),
        what: format!("a document of the image is not as it should be: {error}"),
    })
}

fn unusable(from: &str, what: &str) -> ImportError {
    ImportError::NotUsable { from: from.to_owned(), what: what.to_owned() }
}

#[cfg(test)]
pub(crate) mod tests;

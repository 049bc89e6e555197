//! Container images: an OCI layout in a directory or an archive, and what `docker save` writes
//! (OCI image-spec 1.1: `image-layout.md`, `image-index.md`, `manifest.md`, `config.md`).
//!
//! Of several images the one that is named is taken, and of its variants the one for the wanted
//! platform: the server's own, unless another is asked for. Every blob is compared with its digest
//! and its size before anything of it is read as what it says it is.

mod store;

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::path::Path;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use sha2::{Digest, Sha256};

use crate::blob::Blob;
use crate::budget::Budget;
use crate::platform::Said;
use crate::source::is_digest;
use crate::tree::{ROOT, Tree};
use crate::unpack::unpacked;
use crate::{ImportError, Options, Platform, Progress, Step};
use store::Store;

/// Bytes of an index, a manifest or a configuration.
pub(crate) const MOST_DOCUMENT_BYTES: u64 = 4 << 20;

/// Indexes inside of indexes.
const MOST_DEPTH: usize = 4;

const LAYOUT_FILE: &str = "oci-layout";
const INDEX_FILE: &str = "index.json";
const SAVED_FILE: &str = "manifest.json";

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
    platform: Option<Said>,
    #[serde(default)]
    annotations: Option<BTreeMap<String, String>>,
}

/// How the images of a layout are called: by the OCI, and by containerd.
const NAMES: [&str; 2] = ["io.containerd.image.name", "org.opencontainers.image.ref.name"];

impl Descriptor {
    /// What it is called, its digest last.
    fn names(&self) -> impl Iterator<Item = &str> {
        let annotations = self.annotations.as_ref();
        let name = move |key: &&str| annotations.and_then(|all| all.get(*key));
        let named = NAMES.iter().filter_map(name).map(String::as_str);
        named.chain([self.digest.as_str()])
    }

    /// Whether it has a name of its own.
    fn is_named(&self) -> bool {
        self.names().count() > 1
    }
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
    #[serde(flatten)]
    platform: Said,
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
    #[serde(default)]
    repo_tags: Option<Vec<String>>,
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

/// Where a tree is a container image, an OCI layout or what `docker save` writes: the directory
/// that it lies in, "" for the root, with a slash at its end.
pub(crate) fn place_in(tree: &Tree) -> Option<String> {
    let has = |at: &[&[u8]], name: &str| {
        let path: Vec<&[u8]> = at.iter().copied().chain([name.as_bytes()]).collect();
        tree.find(&path).is_some()
    };
    let is_image = |at: &[&[u8]]| {
        has(at, LAYOUT_FILE) && has(at, INDEX_FILE)
            || has(at, SAVED_FILE) && !has(at, "etc") && !has(at, "bin")
    };
    if is_image(&[]) {
        return Some(String::new());
    }
    // One packed as a whole directory.
    let mut names = tree.entries(ROOT)?.keys();
    match (names.next(), names.next()) {
        (Some(only), None) if is_image(&[only]) => {
            Some(format!("{}/", std::str::from_utf8(only).ok()?))
        }
        _ => None,
    }
}

/// Reads an archive of a layout, or of `docker save`, that lies `within` it; one that is packed is
/// unpacked beside `out`.
pub(crate) fn read_archive(
    archive: &Blob,
    within: &str,
    out: &Path,
    options: &Options,
    report: &dyn Fn(Progress),
) -> Result<Image, ImportError> {
    let store = Store::of_archive(archive, within, out, options, report)?;
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
        let manifests = parse::<Document>(&index, from)?.manifests.unwrap_or_default();
        let mut chosen = choose_named(&manifests, self.options, from)?;
        for _ in 0..MOST_DEPTH {
            let bytes = self.blob(&chosen)?.read_whole(MOST_DOCUMENT_BYTES)?;
            match next(&bytes, &self.options.platform, from)? {
                Next::Index(inner) => chosen = inner,
                Next::Manifest(manifest) => return self.image(&manifest, chosen.digest),
            }
        }
        Err(unusable(from, "its indexes lie too deep in each other"))
    }

    fn image(&self, manifest: &Manifest, digest: String) -> Result<Image, ImportError> {
        check_layers(manifest, self.store.from(), self.options)?;
        let config = self.blob(&manifest.config)?.read_whole(MOST_DOCUMENT_BYTES)?;
        let config = kept_config(&config, &self.options.platform, self.store.from())?;
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

    /// What `docker save` wrote before it wrote layouts, and what crane, ko, kaniko and jib write
    /// still: layers are known by the digests that the configuration has of them unpacked, whether
    /// they are packed or not. So is the configuration, where its name is its digest.
    fn saved(&self) -> Result<Image, ImportError> {
        let from = self.store.from();
        let list = self.store.file(SAVED_FILE)?.read_whole(MOST_DOCUMENT_BYTES)?;
        let saved = choose_saved(parse(&list, from)?, self.options.choice.as_deref(), from)?;
        let config = self.store.file(&saved.config)?;
        let bytes = config.read_whole(MOST_DOCUMENT_BYTES)?;
        let found = format!("sha256:{}", hex::encode(Sha256::digest(&bytes)));
        if digest_named(&saved.config).is_some_and(|said| said != found) {
            let expected = digest_named(&saved.config).unwrap_or_default();
            return Err(ImportError::Digest { from: config.from, expected, found });
        }
        let ids = parse::<ConfigFile>(&bytes, from)?.rootfs.diff_ids;
        if ids.len() != saved.layers.len() {
            return Err(unusable(from, "its layers are not those of its configuration"));
        }
        if ids.len() as u64 > self.options.limits.layers {
            let limit = self.options.limits.layers;
            return Err(ImportError::Limit { from: from.to_owned(), limit, unit: "layers" });
        }
        let options = self.options;
        let budget = Budget::new(options.limits, &options.cancel, self.report, Step::Check, None);
        // The same layer may be there several times, an empty one mostly.
        let mut good: HashSet<(&str, &str)> = HashSet::new();
        let mut layers = Vec::new();
        for (name, id) in saved.layers.iter().zip(&ids) {
            let layer = self.store.file(name)?;
            if good.insert((name, id)) {
                layer.compare(&mut unpacked(layer.reader(), &layer.from, &budget)?, id)?;
            }
            layers.push(layer);
        }
        let config = kept_config(&bytes, &self.options.platform, from)?;
        Ok(Image { from: from.to_owned(), layers, config, manifest: found })
    }
}

/// The digest that the name of a configuration is, if it is one.
fn digest_named(name: &str) -> Option<String> {
    let stem = name.rsplit('/').next().unwrap_or_default();
    let stem = stem.strip_suffix(".json").unwrap_or(stem);
    let digest = format!("sha256:{}", stem.strip_prefix("sha256:").unwrap_or(stem));
    is_digest(&digest).then_some(digest)
}

/// The one image, or the one that is called so.
fn choose_saved(
    mut all: Vec<Saved>,
    choice: Option<&str>,
    from: &str,
) -> Result<Saved, ImportError> {
    let names = |saved: &Saved| {
        let tags = saved.repo_tags.iter().flatten().map(String::as_str);
        let digest = digest_named(&saved.config);
        tags.map(str::to_owned).chain(digest).collect::<Vec<_>>()
    };
    if let Some(choice) = choice {
        let found =
            all.iter().position(|saved| names(saved).iter().any(|name| is_named(name, choice)));
        let has: Vec<_> = all.iter().flat_map(names).collect();
        return found.map(|at| all.swap_remove(at)).ok_or_else(|| not_among(from, choice, &has));
    }
    match all.len() {
        1 => Ok(all.swap_remove(0)),
        0 => Err(unusable(from, "it holds no image")),
        _ => {
            let has: Vec<_> =
                all.iter().filter_map(|saved| names(saved).into_iter().next()).collect();
            Err(unusable(from, &several(&has)))
        }
    }
}

/// What a document leads to.
pub(crate) enum Next {
    Index(Descriptor),
    Manifest(Manifest),
}

pub(crate) fn next(document: &[u8], wanted: &Platform, from: &str) -> Result<Next, ImportError> {
    match parse::<Document>(document, from)?.manifests {
        Some(manifests) => choose(&manifests, wanted, from).map(Next::Index),
        None => parse(document, from).map(Next::Manifest),
    }
}

/// The image of a layout: the one that is called so, if a name is given, for the wanted platform.
fn choose_named(
    manifests: &[Descriptor],
    options: &Options,
    from: &str,
) -> Result<Descriptor, ImportError> {
    let wanted = &options.platform;
    let Some(choice) = &options.choice else { return choose(manifests, wanted, from) };
    let named = |one: &&Descriptor| one.names().any(|name| is_named(name, choice));
    let named: Vec<_> = manifests.iter().filter(named).cloned().collect();
    match named.is_empty() {
        false => choose(&named, wanted, from),
        true => {
            let has: Vec<_> =
                manifests.iter().flat_map(Descriptor::names).map(str::to_owned).collect();
            Err(not_among(from, choice, &has))
        }
    }
}

/// Whether an image that has this name is meant: by all of it, or by the tag alone.
fn is_named(name: &str, choice: &str) -> bool {
    name == choice || name.rsplit_once(':').is_some_and(|(_, tag)| tag == choice)
}

/// The one image for the wanted platform; one that does not say what it is for, if it is the only
/// one. Half a platform is filled in as containerd does.
fn choose(
    manifests: &[Descriptor],
    wanted: &Platform,
    from: &str,
) -> Result<Descriptor, ImportError> {
    let mut seen = HashSet::new();
    let different = manifests.iter().filter(|one| seen.insert(&one.digest));
    let (mut fitting, mut others) = (Vec::new(), Vec::new());
    for one in different {
        match &one.platform {
            Some(platform) => fitting.extend(platform.fits(wanted).map(|fit| (fit, one))),
            None => others.push(one),
        }
    }
    fitting.sort_by_key(|(fit, _)| *fit);
    let best = fitting.first().map(|(fit, _)| *fit);
    let fitting: Vec<_> = fitting.into_iter().map(|(fit, one)| (Some(fit) == best, one)).collect();
    fn name(one: &Descriptor) -> String {
        one.names().next().unwrap_or_default().to_owned()
    }
    match (&fitting[..], &others[..]) {
        ([(_, only)], _) | ([], [only]) => Ok((*only).clone()),
        // Variants of one image, and what goes with it: the first is for every machine.
        ([(_, first), rest @ ..], _)
            if rest
                .iter()
                .all(|(as_good, one)| !one.is_named() || !as_good && name(one) == name(first)) =>
        {
            Ok((*first).clone())
        }
        ([], []) => Err(unusable(from, &none_for(wanted, manifests))),
        ([], several_are) => {
            let has: Vec<_> = several_are.iter().map(|one| name(one)).collect();
            Err(unusable(from, &several(&has)))
        }
        (several_fit, _) => {
            let has: Vec<_> = several_fit.iter().map(|(_, one)| name(one)).collect();
            Err(unusable(from, &several(&has)))
        }
    }
}

fn none_for(wanted: &Platform, manifests: &[Descriptor]) -> String {
    let said = manifests.iter().filter_map(|one| one.platform.as_ref());
    let has: BTreeSet<String> = said.filter_map(Said::shown).collect();
    let has: Vec<String> = has.into_iter().take(MOST_NAMES).collect();
    match has.is_empty() {
        true => format!("it has no image for {wanted}"),
        false => format!(
            "it has no image for {wanted}, only for {}; --platform chooses another",
            has.join(", ")
        ),
    }
}

/// How many names a message has.
const MOST_NAMES: usize = 20;

fn several(has: &[String]) -> String {
    let has = &has[..has.len().min(MOST_NAMES)];
    format!("it holds several images, {has:?}; say which with --image")
}

fn not_among(from: &str, choice: &str, has: &[String]) -> ImportError {
    let has = &has[..has.len().min(MOST_NAMES)];
    unusable(from, &format!("it holds no image {choice:?}, only {has:?}"))
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

/// What of a configuration the guest is told; an image for another machine than the wanted one is
/// refused.
pub(crate) fn kept_config(
    bytes: &[u8],
    wanted: &Platform,
    from: &str,
) -> Result<Vec<u8>, ImportError> {
    let file: ConfigFile = parse(bytes, from)?;
    if !file.platform.may_be(wanted) {
        let is = file.platform.shown().unwrap_or_else(|| "another machine".to_owned());
        let what = format!("it is for {is}, not for {wanted}; --platform chooses another");
        return Err(unusable(from, &what));
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

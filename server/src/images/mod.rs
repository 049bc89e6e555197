//! Images kept by the server: what is imported, where it lies, and what goes.
//!
//! ```text
//! upload ─▶ blobs/<sha256> ──┐
//! import directory ──────────┼─▶ conversion ─▶ incoming/… ─▶ sha256/<digest> ─▶ name (store)
//! registry ──────────────────┘   (importer)                  (library)
//! ```
//! Driven by the API. A content is brought to the disk before its name is committed, and removed
//! only when the store's writer has said that nothing refers to it; a lock keeps the two from
//! crossing. Bringing contents to hosts is for reconcile. What can go wrong: the source is not
//! accepted, the disk is full, the name is taken; then nothing is left.

pub mod importer;
pub mod lanes;
pub mod library;
mod quota;
mod reserved;
mod settings;
mod slots;
pub mod sources;
mod uploading;

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Weak};
use std::time::Duration;

use banger_images::{
    Cancel, Devices, ImportError, Kind, Made, Note, Options, Platform, PrivateRegistries,
    Registries, Report, Source, Wanted,
};
use banger_wire::causes::with_causes;
use parking_lot::Mutex;
use tokio::sync::RwLock;

use self::importer::Importer;
use self::library::{KeepError, Library};
use self::reserved::Reserved;
pub use self::settings::ImageSettings;
use self::slots::Slots;
pub use self::uploading::Uploading;
use crate::clock::SharedClock;
use crate::model::caller::Caller;
use crate::model::image::{Boot, ImageRecord, StoredKind};
use crate::model::ledger::{PutImage, Refusal};
use crate::model::project::ProjectName;
use crate::store::{KeptContents, MutateError, Store, UnusedContents};

/// Most uploads at a time, and most of one caller.
const UPLOADS: usize = 16;
const UPLOADS_OF_ONE: usize = 4;

/// Where an image is to come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ImportSource {
    /// An upload, by digest.
    Blob(String),
    /// A path of this machine, as asked for.
    Path(String),
    /// A container image in a registry.
    Registry(banger_images::Reference),
}

/// An import as it is asked for; its name is checked.
#[derive(Debug, Clone)]
pub struct Wish {
    /// The image's name.
    pub name: String,
    /// The project that it is to belong to, and whose uploads it may be made of.
    pub project: ProjectName,
    /// Whether VMs of every project may boot from it; `None`: as it is.
    pub public: Option<bool>,
    /// Whether it may be made with what the server's machine has: names and passwords for
    /// registries, registries on it and in private networks.
    pub trusted: bool,
    /// Where it is to come from.
    pub from: ImportSource,
    /// What it is to be; `None`: what it looks like.
    pub kind: Option<StoredKind>,
    /// Put the guest agent in.
    pub guest_agent: bool,
    /// Size of a root file system in bytes; `None`: as its contents need.
    pub root_bytes: Option<u64>,
    /// What is done with device nodes.
    pub devices: Devices,
    /// Which image of several.
    pub choice: Option<String>,
    /// Which of its variants; `None`: that for this server's kind of machine.
    pub platform: Option<Platform>,
    /// Give the name to new content.
    pub replace: bool,
    /// What it is to be booted with; `None`: as the image of this name, if there is one.
    pub boot: Option<Boot>,
}

/// Why an import came to nothing.
#[derive(Debug, thiserror::Error)]
pub enum ImportFailure {
    /// There is no such upload.
    #[error("there is no upload with the sha256 {0}; uploads are kept for a day")]
    NoBlob(String),
    /// The path is not imported.
    #[error("{path:?} {why}")]
    Path {
        /// As asked for.
        path: String,
        why: sources::SourceError,
    },
    /// The conversion failed.
    #[error("{message}")]
    Conversion {
        /// What went wrong, as a sentence.
        message: String,
        #[source]
        error: ImportError,
    },
    /// It could not be kept.
    #[error("{0}")]
    Keep(#[source] KeepError),
    /// The project has no room left for it.
    #[error("{0}")]
    Quota(Refusal),
    /// Its name could not be stored.
    #[error("{0}")]
    Store(#[source] MutateError),
    /// The server is going down.
    #[error("the server is shutting down")]
    Closed,
}

/// The images of this server.
#[derive(Debug)]
pub struct Images {
    store: Store,
    library: Arc<Library>,
    importer: Arc<dyn Importer>,
    clock: SharedClock,
    settings: ImageSettings,
    /// Imports of one name wait for each other.
    names: Mutex<HashMap<String, Weak<tokio::sync::Mutex<()>>>>,
    imports: Slots,
    uploads: Slots,
    reserved: Reserved,
    /// What uploads were called by those who sent them, by project and digest.
    called: Mutex<HashMap<(ProjectName, String), String>>,
    /// Read while a content is brought in and named, written while contents are removed.
    settled: Arc<RwLock<()>>,
    serial: std::sync::atomic::AtomicU64,
}

impl Images {
    /// Over a store and its files.
    pub fn new(
        store: Store,
        library: Arc<Library>,
        importer: Arc<dyn Importer>,
        clock: SharedClock,
        settings: ImageSettings,
    ) -> Self {
        Self {
            store,
            library,
            importer,
            clock,
            imports: Slots::new(settings.max_imports, settings.max_imports / 2),
            uploads: Slots::new(UPLOADS, UPLOADS_OF_ONE),
            reserved: Reserved::default(),
            settings,
            names: Mutex::default(),
            called: Mutex::default(),
            settled: Arc::default(),
            serial: std::sync::atomic::AtomicU64::new(0),
        }
    }

    /// The files.
    pub fn library(&self) -> &Arc<Library> {
        &self.library
    }

    fn unused_name(&self) -> String {
        let number = self.serial.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        format!("{number}")
    }

    // === uploads ===

    /// Begins an upload, when there are not too many, of this caller or of all.
    ///
    /// # Errors
    /// The disk is full or can't be written.
    pub async fn begin_upload(
        &self,
        caller: &str,
        project: ProjectName,
    ) -> Result<Uploading<'_>, KeepError> {
        let slot = self.uploads.take(caller).await;
        let upload = self.library.begin(&format!("upload-{}", self.unused_name()))?;
        Ok(Uploading::begin(self, upload, project, slot))
    }

    // === imports ===

    /// Makes an image, or finds it made, and reports how far it is. The answer comes when it is
    /// stored.
    ///
    /// # Errors
    /// Nothing was changed then.
    pub async fn import(
        &self,
        wish: Wish,
        caller: &Caller,
        report: Report,
    ) -> Result<Arc<ImageRecord>, ImportFailure> {
        // The slot first: who waits for its share keeps nobody else from the name.
        let mut slot = self.imports.take(&caller.party()).await.ok_or(ImportFailure::Closed)?;
        let name = self.turn(&format!("{}/{}", wish.project, wish.name));
        let place = self.library.place(&format!("import-{}", self.unused_name()));
        let making = async {
            let mine = name.lock().await;
            self.library.check_room(0).map_err(ImportFailure::Keep)?;
            self.check_import(&wish).map_err(ImportFailure::Quota)?;
            Ok::<_, ImportFailure>((self.convert(&wish, place.path(), report).await?, mine))
        };
        // Cancel-safe: an import that is dropped leaves nothing.
        let (made, _mine) = tokio::select! {
            made = making => made?,
            () = slot.given_up() => return Err(ImportFailure::Keep(KeepError::GaveWay)),
        };
        let sha256 = made.made.sha256_hex();

        // Making it may have taken minutes.
        let caller = caller.at(self.clock.now());
        let clock = Arc::clone(&self.clock);
        let put = PutImage {
            image: Arc::new(ImageRecord {
                name: wish.name,
                project: wish.project,
                public: false,
                sha256: sha256.clone(),
                size_bytes: made.made.size_bytes,
                kind: stored_kind(made.made.kind),
                origin: made.origin,
                guest_agent: made.guest_agent,
                notes: made.notes,
                created_at: caller.at,
                created_by: caller.actor.to_string(),
                boot: wish.boot,
            }),
            replace: wish.replace,
            public: wish.public,
        };
        // No content is removed between its coming in and its being named: on a task of its own, so
        // that a caller that goes away does not end that early.
        let settled = Arc::clone(&self.settled).read_owned().await;
        let (library, store) = (Arc::clone(&self.library), self.store.clone());
        let named = tokio::spawn(async move {
            let _settled = settled;
            let kept = tokio::task::spawn_blocking(move || library.keep_content(place, &sha256));
            kept.await.map_err(|_| ImportFailure::Closed)?.map_err(ImportFailure::Keep)?;
            // Nor is it quick to keep it: whoever may no longer name it by then does not.
            store.submit(caller.at(clock.now()), put).await.map_err(ImportFailure::Store)
        });
        named.await.map_err(|_| ImportFailure::Closed)?
    }

    /// Removes contents that nothing refers to and uploads that have expired.
    ///
    /// # Errors
    /// The store can't say which those are.
    pub async fn collect(&self) -> Result<(), MutateError> {
        let now = self.clock.now();
        let _settled = self.settled.write().await;
        let kept = self.store.ask(KeptContents).await?;
        let (library, reserved) = (Arc::clone(&self.library), self.reserved.clone());
        let removed = tokio::task::spawn_blocking(move || {
            let contents = library.collect(&kept)?;
            let blobs = library.expire(now)?;
            library.kept_blobs(|blobs| reserved.set_kept(blobs))?;
            Ok::<_, std::io::Error>((contents, blobs))
        });
        match removed.await {
            Ok(Ok((contents, blobs))) if !contents.is_empty() || blobs > 0 => {
                tracing::info!(?contents, uploads = blobs, "unused images and uploads removed");
            }
            Ok(Ok(_)) | Err(_) => {}
            Ok(Err(error)) => tracing::warn!(error = %error, "unused images can't be removed"),
        }
        Ok(())
    }

    /// Which of these contents nothing refers to now.
    ///
    /// # Errors
    /// The store can't say which those are.
    pub async fn unused(&self, digests: BTreeSet<String>) -> Result<BTreeSet<String>, MutateError> {
        self.store.ask(UnusedContents(digests)).await
    }

    /// Lets go of what was uploaded to a project that is gone. What can't be removed now expires.
    pub async fn forget_uploads(&self, project: ProjectName) {
        self.called.lock().retain(|(of, _), _| *of != project);
        let library = Arc::clone(&self.library);
        let reserved = self.reserved.clone();
        let removed = tokio::task::spawn_blocking(move || {
            library.remove_blobs(&project)?;
            library.kept_blobs(|kept| reserved.set_kept(kept))
        });
        let removed = removed.await;
        if let Ok(Err(error)) = removed {
            tracing::warn!(error = %error, "uploads to a project that is gone were left behind");
        }
    }

    fn turn(&self, name: &str) -> Arc<tokio::sync::Mutex<()>> {
        let mut names = self.names.lock();
        names.retain(|_, turn| turn.strong_count() > 0);
        if let Some(turn) = names.get(name).and_then(Weak::upgrade) {
            return turn;
        }
        let turn = Arc::default();
        names.insert(name.to_owned(), Arc::downgrade(&turn));
        turn
    }

    async fn convert(
        &self,
        wish: &Wish,
        out: &std::path::Path,
        report: Report,
    ) -> Result<Converted, ImportFailure> {
        // Held until the file is made.
        let (source, origin, opened) = match &wish.from {
            ImportSource::Blob(sha256) => {
                let blob = self.library.blob(&wish.project, sha256, self.clock.now());
                let path = blob.ok_or_else(|| ImportFailure::NoBlob(sha256.clone()))?;
                let key = (wish.project.clone(), sha256.clone());
                let called = self.called.lock().get(&key).cloned();
                let called = called.unwrap_or_else(|| format!("sha256:{sha256}"));
                (Source::Path(path), format!("upload {called}"), None)
            }
            ImportSource::Path(path) => {
                let opened = sources::open(&self.settings.import_dirs, path)
                    .map_err(|why| ImportFailure::Path { path: path.clone(), why })?;
                (Source::Path(opened.path()), format!("file {path}"), Some(opened))
            }
            ImportSource::Registry(reference) => {
                (Source::Registry(reference.clone()), reference.to_string(), None)
            }
        };
        let shown = match &source {
            Source::Path(path) => Some(path.display().to_string()),
            Source::Registry(_) => None,
        };
        let guest = Some(self.settings.guest_agent.clone()).filter(|_| wish.guest_agent);
        let missing = guest.as_ref().filter(|guest| !guest.is_file()).cloned();
        let longest = self.longest_of(wish);
        let options = Options {
            limits: longest.limits(),
            guest: guest.filter(|_| missing.is_none()),
            root_size: wish.root_bytes,
            devices: wish.devices,
            choice: wish.choice.clone(),
            platform: wish.platform.clone().unwrap_or_default(),
            room: Some(self.library.room()),
            registries: Registries {
                local: if wish.trusted {
                    self.settings.local_registries.clone()
                } else {
                    Vec::new()
                },
                private: match wish.trusted {
                    true => PrivateRegistries::All,
                    false => PrivateRegistries::Named(self.settings.private_registries.clone()),
                },
                docker_config: self.settings.docker_config.clone().filter(|_| wish.trusted),
                ..Registries::default()
            },
            deadline: Some(self.settings.max_import),
            cancel: Cancel::default(),
            ..Options::default()
        };
        let wanted = match wish.kind {
            None => Wanted::Auto,
            Some(StoredKind::Kernel) => Wanted::Kernel,
            Some(StoredKind::Root) => Wanted::Root,
            Some(StoredKind::Initrd) => Wanted::Initrd,
        };
        let made = self.importer.import(source, wanted, options, out, report).await;
        drop(opened);
        let made = made.map_err(|error| {
            // Where this server keeps it says nothing to whoever sent it.
            let message = with_causes(&error);
            let message = shown.map_or(message.clone(), |path| message.replace(&path, &origin));
            match longest.passed_by(&error) {
                Some(passed) => ImportFailure::Quota(passed),
                None => ImportFailure::Conversion { message, error },
            }
        })?;
        let guest_agent = made
            .notes
            .iter()
            .any(|note| matches!(note, Note::GuestAgent(_) | Note::GuestAgentNotStarted));
        let mut notes: Vec<String> = made.notes.iter().map(ToString::to_string).collect();
        if let Some(path) = missing.filter(|_| made.kind == Kind::Root) {
            notes.push(format!(
                "no guest agent was put in: the server has none at {} (images.guest_agent)",
                path.display()
            ));
        }
        let pulled = matches!(wish.from, ImportSource::Registry(_)) && !origin.contains('@');
        let origin = match manifest(&made).filter(|_| pulled) {
            Some(digest) => format!("{origin}@{digest}"),
            None => origin,
        };
        Ok(Converted { made, origin, guest_agent, notes })
    }
}

struct Converted {
    made: Made,
    origin: String,
    guest_agent: bool,
    notes: Vec<String>,
}

fn manifest(made: &Made) -> Option<&str> {
    made.notes.iter().find_map(|note| match note {
        Note::Manifest(digest) => Some(digest.as_str()),
        _ => None,
    })
}

fn stored_kind(kind: Kind) -> StoredKind {
    match kind {
        Kind::Kernel => StoredKind::Kernel,
        Kind::Root => StoredKind::Root,
        Kind::Initrd => StoredKind::Initrd,
    }
}

/// How often unused contents are looked for though nothing is known to have gone.
pub const COLLECT_EVERY: Duration = Duration::from_secs(30);

#[cfg(test)]
mod tests;

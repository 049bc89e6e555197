//! The image directory of the fake machine: the seam of `host/images.rs`.
//!
//! Two demo images are always there. Their content is made by a rule, so that their digests are
//! the same on every machine. What can go wrong: somebody replaces or removes an image
//! ([`FakeKernel::add_image`], [`FakeKernel::remove_image`]). Of an image that the server brings
//! the beginning is looked at and the rest counted; nothing of it is kept.

use async_trait::async_trait;
use bytes::Bytes;
use sha2::{Digest as _, Sha256};

use super::kernel::FakeKernel;
use super::kernel::gate::{Repeat, Seam};
use super::kernel::state::{FakeImage, SavedKind, State, file_id};
use crate::host::linux::kind_of;
use crate::host::{
    Change, HostResult, ImageFacts, ImageKind, ImageName, Images, PartialImage, Room,
};

/// The demo kernel's name.
pub const DEMO_KERNEL: &str = "demo-kernel";
/// The demo root file system's name.
pub const DEMO_ROOT: &str = "demo-root";

const KERNEL_BYTES: usize = 1024 * 1024;
const ROOT_BYTES: usize = 4 * 1024 * 1024;

// Of what `demo_content` makes; a test computes them anew. Written down because computing them
// would cost each start of a simulated machine a noticeable time.
const KERNEL_SHA256: &str = "23ae83efe285d109fd82e88148a3a67315362442589dd1d0abbeb2322170ce95";
const ROOT_SHA256: &str = "5e9eedaa04d6a2746465224a29943b81ac40e3a077dd3cadfc609dc124a533ca";

impl From<ImageKind> for SavedKind {
    fn from(kind: ImageKind) -> Self {
        match kind {
            ImageKind::Kernel => Self::Kernel,
            ImageKind::Root => Self::Root,
            ImageKind::Other => Self::Other,
        }
    }
}

impl From<SavedKind> for ImageKind {
    fn from(kind: SavedKind) -> Self {
        match kind {
            SavedKind::Kernel => Self::Kernel,
            SavedKind::Root => Self::Root,
            SavedKind::Other => Self::Other,
        }
    }
}

/// A demo image's content: the magic of its kind where that belongs, else the low byte of each
/// position divided by 251. Of another kind there is no demo image; it gets the length of the root.
#[must_use]
pub fn demo_content(kind: ImageKind) -> Vec<u8> {
    let bytes = match kind {
        ImageKind::Kernel => KERNEL_BYTES,
        ImageKind::Root | ImageKind::Other => ROOT_BYTES,
    };
    let mut content: Vec<u8> = (0..bytes).map(|at| (at / 251 % 256) as u8).collect();
    match kind {
        ImageKind::Kernel => content[..4].copy_from_slice(b"\x7fELF"),
        ImageKind::Root => content[1080..1082].copy_from_slice(b"\x53\xef"),
        ImageKind::Other => {}
    }
    content
}

impl State {
    pub(super) fn add_demo_images(&mut self) {
        for (name, kind, size, sha256) in [
            (DEMO_KERNEL, ImageKind::Kernel, KERNEL_BYTES, KERNEL_SHA256),
            (DEMO_ROOT, ImageKind::Root, ROOT_BYTES, ROOT_SHA256),
        ] {
            let name = ImageName::new(name).expect("the names above are letters and a dash");
            self.put_image(name, kind, size as u64, sha256.to_owned(), true);
        }
    }

    /// Puts an image there under a new inode, as `rename(2)` over the old one does.
    pub(super) fn put_image(
        &mut self,
        name: ImageName,
        kind: ImageKind,
        size: u64,
        sha256: String,
        digested: bool,
    ) {
        // Images are the operator's; they take none of the room counted here.
        let inode = self.space.create(size, 0, &[]).expect("no room is asked for");
        let image = FakeImage { inode, kind: kind.into(), sha256, digested };
        if let Some(old) = self.images.insert(name, image) {
            self.space.unlink(old.inode);
        }
    }

    fn image_facts(&self, name: &ImageName) -> Option<ImageFacts> {
        let image = self.images.get(name)?;
        let inode = self.space.get(image.inode)?;
        Some(ImageFacts {
            name: name.clone(),
            id: file_id(image.inode),
            size_bytes: inode.size,
            kind: image.kind.into(),
            sha256: image.digested.then(|| image.sha256.clone()),
        })
    }
}

impl FakeKernel {
    /// Puts an image there, or replaces one by another file of its name.
    pub fn add_image(&self, name: &ImageName, kind: ImageKind, content: &[u8]) {
        let sha256 = hex::encode(Sha256::digest(content));
        self.add_sized_image(name, kind, content.len() as u64, &sha256);
    }

    /// As [`Self::add_image`], for an image too large to be held: its size in bytes and its digest
    /// are given.
    pub fn add_sized_image(&self, name: &ImageName, kind: ImageKind, size: u64, sha256: &str) {
        self.with(|state| state.put_image(name.clone(), kind, size, sha256.to_owned(), false));
    }

    /// Removes an image; whether it was there. Devices and jails that have it keep it.
    pub fn remove_image(&self, name: &ImageName) -> bool {
        self.with(|state| match state.images.remove(name) {
            Some(image) => {
                state.space.unlink(image.inode);
                true
            }
            None => false,
        })
    }
}

#[async_trait]
impl Images for Seam {
    async fn list(&self) -> HostResult<Vec<ImageFacts>> {
        self.read("images.list", |state| {
            Ok(state.images.keys().filter_map(|name| state.image_facts(name)).collect())
        })
        .await
    }

    async fn observe(&self, name: &ImageName) -> HostResult<Option<ImageFacts>> {
        self.read("images.observe", |state| Ok(state.image_facts(name))).await
    }

    async fn digest(&self, name: &ImageName) -> HostResult<Option<String>> {
        self.read("images.digest", |state| {
            Ok(state.images.get_mut(name).map(|image| {
                image.digested = true;
                image.sha256.clone()
            }))
        })
        .await
    }

    async fn room(&self) -> HostResult<Room> {
        self.read("images.room", |state| {
            let (total_bytes, used) = (state.space.limit, state.space.used);
            Ok(Room { free_bytes: total_bytes.saturating_sub(used), total_bytes })
        })
        .await
    }

    async fn begin(&self, name: &ImageName) -> HostResult<Box<dyn PartialImage>> {
        let object = name.to_string();
        self.effect("images.begin", object, Repeat::Allowed, |_| Ok(())).await?;
        let seam = self.again();
        Ok(Box::new(FakePartial { seam, name: name.clone(), head: Vec::new(), size: 0 }))
    }

    async fn remove(&self, name: &ImageName) -> HostResult<Change> {
        self.effect("images.remove", name.to_string(), Repeat::MustBeSo, |state| {
            let image = state.images.remove(name);
            if let Some(image) = &image {
                state.space.unlink(image.inode);
            }
            Ok(Change::from_bool(image.is_some()))
        })
        .await
    }

    async fn remove_partials(&self) -> HostResult<usize> {
        // They live in the agent's memory and went with it.
        self.read("images.remove_partials", |_| Ok(0)).await
    }
}

struct FakePartial {
    seam: Seam,
    name: ImageName,
    head: Vec<u8>,
    size: u64,
}

/// How much of an image tells its kind, in bytes.
const HEAD: usize = 2048;

#[async_trait]
impl PartialImage for FakePartial {
    async fn append(&mut self, data: Bytes) -> HostResult<()> {
        let missing = HEAD.saturating_sub(self.head.len()).min(data.len());
        self.head.extend_from_slice(&data[..missing]);
        self.size += data.len() as u64;
        Ok(())
    }

    async fn keep(self: Box<Self>, sha256: String) -> HostResult<()> {
        let kind = kind_of(&self.head);
        self.seam
            .effect("images.keep", self.name.to_string(), Repeat::Allowed, |state| {
                state.put_image(self.name.clone(), kind, self.size, sha256.clone(), true);
                Ok(())
            })
            .await
    }
}

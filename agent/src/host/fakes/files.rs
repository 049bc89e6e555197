//! Scratch directories of the fake machine: the seam of `host/files.rs`.
//!
//! What can go wrong: the file system is full ([`super::FakeKernel::fill_disk`]), a directory is
//! gone. A sparse file takes one block until a guest writes into it, a reserved one all of its
//! length at once.

use std::path::PathBuf;

use async_trait::async_trait;

use super::kernel::gate::{Repeat, Seam};
use super::kernel::space::{BLOCK, Full, room_for};
use super::kernel::state::{State, file_id, refuse};
use crate::host::{
    Change, DirFacts, FileFacts, Files, HostError, HostErrorKind, HostResult, ImageName, PathPart,
    Room,
};

/// The largest file that is read.
const READ_LIMIT: u64 = 1024 * 1024;

/// The error of a full file system.
pub(super) fn full(verb: &'static str, object: impl std::fmt::Display) -> HostError {
    refuse(HostErrorKind::NoSpace, verb, object, "no space left on device")
}

fn no_dir(verb: &'static str, dir: &PathPart) -> HostError {
    refuse(HostErrorKind::NotFound, verb, dir, "there is no such directory")
}

fn path(dir: &PathPart, file: &PathPart) -> String {
    format!("{dir}/{file}")
}

impl State {
    fn replace_file(&mut self, dir: &PathPart, file: &PathPart, content: &[u8]) -> HostResult<()> {
        let verb = "write";
        if !self.dirs.contains_key(dir) {
            return Err(no_dir(verb, dir));
        }
        // The new one beside the old, as a temporary file and a rename need it.
        let new = self
            .space
            .create(content.len() as u64, room_for(content.len()), content)
            .map_err(|Full| full(verb, path(dir, file)))?;
        let old = self.dirs.get_mut(dir).and_then(|files| files.insert(file.clone(), new));
        if let Some(old) = old {
            self.space.unlink(old);
        }
        Ok(())
    }

    /// Behind the agent's back.
    pub(super) fn put_scratch(
        &mut self,
        dir: &PathPart,
        file: &PathPart,
        content: Option<&[u8]>,
    ) -> HostResult<()> {
        match content {
            Some(content) => self.replace_file(dir, file, content),
            None => {
                self.remove_file(dir, file);
                Ok(())
            }
        }
    }

    fn remove_file(&mut self, dir: &PathPart, file: &PathPart) -> Change {
        match self.dirs.get_mut(dir).and_then(|files| files.remove(file)) {
            Some(inode) => {
                self.space.unlink(inode);
                Change::Made
            }
            None => Change::AlreadySo,
        }
    }

    fn make_sparse(&mut self, dir: &PathPart, file: &PathPart, size: u64) -> HostResult<Change> {
        let verb = "make";
        let Some(files) = self.dirs.get_mut(dir) else { return Err(no_dir(verb, dir)) };
        if let Some(inode) = files.get(file) {
            let found = self.space.get_mut(*inode);
            return Ok(match found {
                Some(inode) if inode.size < size => {
                    inode.size = size;
                    Change::Made
                }
                Some(_) | None => Change::AlreadySo,
            });
        }
        let inode =
            self.space.create(size, BLOCK, &[]).map_err(|Full| full(verb, path(dir, file)))?;
        files.insert(file.clone(), inode);
        Ok(Change::Made)
    }

    fn make_reserved(&mut self, dir: &PathPart, file: &PathPart, size: u64) -> HostResult<Change> {
        let verb = "reserve room for";
        let whole = |size: u64| size.div_ceil(BLOCK) * BLOCK;
        let Some(files) = self.dirs.get_mut(dir) else { return Err(no_dir(verb, dir)) };
        let no_room = |Full| full(verb, path(dir, file));
        let Some(inode) = files.get(file).copied() else {
            let inode = self.space.create(size, whole(size), &[]).map_err(no_room)?;
            files.insert(file.clone(), inode);
            return Ok(Change::Made);
        };
        let Some(found) = self.space.get(inode) else { return Ok(Change::AlreadySo) };
        let before = (found.size, found.allocated);
        self.space.occupy(inode, whole(size)).map_err(no_room)?;
        let Some(found) = self.space.get_mut(inode) else { return Ok(Change::AlreadySo) };
        found.size = found.size.max(size);
        Ok(Change::from_bool(before != (found.size, found.allocated)))
    }

    /// The content of a file; zeroes where nothing was written.
    pub(super) fn read_scratch(
        &self,
        dir: &PathPart,
        file: &PathPart,
    ) -> HostResult<Option<Vec<u8>>> {
        let found = self.dirs.get(dir).and_then(|files| files.get(file));
        let Some(inode) = found.and_then(|inode| self.space.get(*inode)) else { return Ok(None) };
        if inode.size > READ_LIMIT {
            let why = "it is larger than 1 MiB";
            return Err(refuse(HostErrorKind::Invalid, "read", path(dir, file), why));
        }
        let mut content = inode.content.to_vec();
        content.resize(usize::try_from(inode.size).unwrap_or(content.len()), 0);
        Ok(Some(content))
    }

    /// A copy occupies what its image does.
    fn copy_image(
        &mut self,
        dir: &PathPart,
        file: &PathPart,
        image: &ImageName,
    ) -> HostResult<Change> {
        let verb = "copy the image to";
        let no = |why: &str| Err(refuse(HostErrorKind::NotFound, verb, path(dir, file), why));
        let Some(image) = self.images.get(image).and_then(|found| self.space.get(found.inode))
        else {
            return no("there is no such image");
        };
        let (size, allocated, content) = (image.size, image.allocated, image.content.clone());
        match self.dirs.get(dir) {
            None => return no("there is no such directory"),
            Some(files) if files.contains_key(file) => return Ok(Change::AlreadySo),
            Some(_) => {}
        }
        let made = self.space.create(size, allocated, &content);
        let inode = made.map_err(|Full| full(verb, path(dir, file)))?;
        self.dirs.entry(dir.clone()).or_default().insert(file.clone(), inode);
        Ok(Change::Made)
    }

    /// Appends to a file of text, as far as there is room; makes it if the directory is there.
    pub(super) fn append_scratch(&mut self, dir: &PathPart, file: &PathPart, text: &str) {
        let mut content = self.read_scratch(dir, file).ok().flatten().unwrap_or_default();
        content.extend_from_slice(text.as_bytes());
        let kept = content.len().saturating_sub(64 * 1024);
        // A full disk loses output and nothing else.
        let _ = self.replace_file(dir, file, &content[kept..]);
    }

    /// A directory may be kept from disappearing by nothing: names go, open files live on.
    fn remove_scratch_dir(&mut self, dir: &PathPart) -> Change {
        match self.dirs.remove(dir) {
            Some(files) => {
                for inode in files.into_values() {
                    self.space.unlink(inode);
                }
                Change::Made
            }
            None => Change::AlreadySo,
        }
    }
}

#[async_trait]
impl Files for Seam {
    async fn list_dirs(&self) -> HostResult<Vec<PathPart>> {
        self.read("files.list_dirs", |state| Ok(state.dirs.keys().cloned().collect())).await
    }

    async fn survey(&self) -> HostResult<Vec<DirFacts>> {
        Seam::read(self, "files.survey", |state| {
            let occupied = |inode: &u64| state.space.get(*inode).map_or(0, |i| i.allocated);
            let dirs = state.dirs.iter();
            Ok(dirs
                .map(|(dir, files)| DirFacts {
                    dir: dir.clone(),
                    born: None,
                    occupied_bytes: files.values().map(occupied).sum(),
                    files: Some(files.keys().cloned().collect()),
                })
                .collect())
        })
        .await
    }

    async fn ensure_dir(&self, dir: &PathPart) -> HostResult<Change> {
        self.effect("files.ensure_dir", dir.to_string(), Repeat::MustBeSo, |state| {
            if state.dirs.contains_key(dir) {
                return Ok(Change::AlreadySo);
            }
            if state.space.is_full() {
                return Err(full("make directory", dir));
            }
            state.dirs.insert(dir.clone(), Default::default());
            Ok(Change::Made)
        })
        .await
    }

    async fn remove_dir(&self, dir: &PathPart) -> HostResult<Change> {
        self.effect("files.remove_dir", dir.to_string(), Repeat::MustBeSo, |state| {
            Ok(state.remove_scratch_dir(dir))
        })
        .await
    }

    async fn read(&self, dir: &PathPart, file: &PathPart) -> HostResult<Option<Vec<u8>>> {
        Seam::read(self, "files.read", |state| state.read_scratch(dir, file)).await
    }

    async fn replace(&self, dir: &PathPart, file: &PathPart, content: &[u8]) -> HostResult<()> {
        self.effect("files.replace", path(dir, file), Repeat::Allowed, |state| {
            state.replace_file(dir, file, content)
        })
        .await
    }

    async fn replace_hint(
        &self,
        dir: &PathPart,
        file: &PathPart,
        content: &[u8],
    ) -> HostResult<()> {
        self.effect("files.replace_hint", path(dir, file), Repeat::Allowed, |state| {
            state.replace_file(dir, file, content)
        })
        .await
    }

    async fn remove(&self, dir: &PathPart, file: &PathPart) -> HostResult<Change> {
        self.effect("files.remove", path(dir, file), Repeat::MustBeSo, |state| {
            Ok(state.remove_file(dir, file))
        })
        .await
    }

    async fn ensure_sparse(
        &self,
        dir: &PathPart,
        file: &PathPart,
        size_bytes: u64,
    ) -> HostResult<Change> {
        self.effect("files.ensure_sparse", path(dir, file), Repeat::MustBeSo, |state| {
            state.make_sparse(dir, file, size_bytes)
        })
        .await
    }

    async fn ensure_reserved(
        &self,
        dir: &PathPart,
        file: &PathPart,
        size_bytes: u64,
    ) -> HostResult<Change> {
        self.effect("files.ensure_reserved", path(dir, file), Repeat::MustBeSo, |state| {
            state.make_reserved(dir, file, size_bytes)
        })
        .await
    }

    async fn shorten(
        &self,
        dir: &PathPart,
        file: &PathPart,
        size_bytes: u64,
    ) -> HostResult<Change> {
        self.effect("files.shorten", path(dir, file), Repeat::MustBeSo, |state| {
            let inode = state.dirs.get(dir).and_then(|files| files.get(file)).copied();
            Ok(Change::from_bool(inode.is_some_and(|inode| state.space.cut(inode, size_bytes))))
        })
        .await
    }

    async fn room(&self) -> HostResult<Room> {
        Seam::read(self, "files.room", |state| {
            Ok(Room {
                free_bytes: state.space.limit.saturating_sub(state.space.used),
                total_bytes: state.space.limit,
            })
        })
        .await
    }

    async fn ensure_copy(
        &self,
        dir: &PathPart,
        file: &PathPart,
        image: &ImageName,
    ) -> HostResult<Change> {
        self.effect("files.ensure_copy", path(dir, file), Repeat::MustBeSo, |state| {
            state.copy_image(dir, file, image)
        })
        .await
    }

    async fn observe(&self, dir: &PathPart, file: &PathPart) -> HostResult<Option<FileFacts>> {
        Seam::read(self, "files.observe", |state| {
            let number = state.dirs.get(dir).and_then(|files| files.get(file)).copied();
            Ok(number.and_then(|number| {
                state.space.get(number).map(|inode| FileFacts {
                    id: file_id(number),
                    size_bytes: inode.size,
                    allocated_bytes: inode.allocated,
                })
            }))
        })
        .await
    }

    fn shown_path(&self, dir: &PathPart, file: &PathPart) -> PathBuf {
        self.shown.scratch_dir.join(dir.as_str()).join(file.as_str())
    }
}

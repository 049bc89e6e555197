//! A root file system from layers or a directory: read twice, first into a tree that is checked
//! as a whole, then for the contents of the files that are left of it.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use crate::blob::Blob;
use crate::budget::{Budget, read_error};
use crate::directory::OpenDirectory;
use crate::ext4::{Plan, PlanError};
use crate::guest::Furnishing;
use crate::kernel::check_agent;
use crate::layer::{LayerRules, LeftOut, put_layer};
use crate::output::Output;
use crate::tarball::{EndMark, Tarball, shown};
use crate::tree::{Body, Contents, Ino, Tree};
use crate::unpack::{Unpacked, unpacked};
use crate::{ImportError, Kind, Made, Note, Options, Progress, Refusal, Step};

/// An `/etc/inittab` longer than this is left alone.
const MOST_INITTAB_BYTES: u64 = 64 << 10;

/// The time of what we add. 2024-01-01T00:00:00Z, so that the same source gives the same bytes.
const ADDED_AT: i64 = 1_704_067_200;

const CHUNK_BYTES: usize = 1 << 20;

/// Whatever the limits say: a file as large as this still has its extents in one level of blocks.
const MOST_ROOT_BYTES: u64 = 128 << 30;

/// Where the files come from.
pub(crate) enum Files {
    /// Archives, the lowest first.
    Layers(Vec<Blob>),
    Directory(OpenDirectory),
    /// In the tree itself.
    Tree,
}

/// A root file system that is not written yet.
pub(crate) struct Root<'a> {
    pub(crate) from: String,
    pub(crate) files: Files,
    pub(crate) tree: Tree,
    pub(crate) notes: Vec<Note>,
    /// Bytes of contents that were seen, for progress.
    bytes: u64,
    options: &'a Options,
    report: &'a dyn Fn(Progress),
}

impl<'a> Root<'a> {
    /// Reads layers on top of each other; `whiteouts` where they are a container image's.
    pub(crate) fn of_layers(
        from: String,
        layers: Vec<Blob>,
        whiteouts: bool,
        options: &'a Options,
        report: &'a dyn Fn(Progress),
    ) -> Result<Self, ImportError> {
        let mut tree = Tree::new();
        let mut left_out = LeftOut::default();
        let budget = Budget::new(options.limits, &options.cancel, report, Step::Check, None);
        // An image's layers are known by their digests, an archive by itself alone.
        let end = if whiteouts { EndMark::MayLack } else { EndMark::Required };
        for (place, blob) in layers.iter().enumerate() {
            let rules = LayerRules { layer: place as u32 + 1, whiteouts, devices: options.devices };
            let mut archive = open_layer(blob, &budget)?.with_end(end);
            put_layer(&mut archive, &rules, &mut tree, &mut left_out, &budget)?;
            // To the end of the stream, where its checksum is.
            drain(archive.into_inner(), &blob.from)?;
        }
        let (files, bytes) = (Files::Layers(layers), budget.bytes());
        Ok(Self { from, files, tree, notes: notes_of(left_out), bytes, options, report })
    }

    pub(crate) fn of_directory(
        path: &Path,
        options: &'a Options,
        report: &'a dyn Fn(Progress),
    ) -> Result<Self, ImportError> {
        let budget = Budget::new(options.limits, &options.cancel, report, Step::Check, None);
        let source = OpenDirectory::open(path)?;
        let mut left_out = LeftOut::default();
        let tree = source.read(options.devices, &mut left_out, &budget)?;
        let (from, bytes) = (path.display().to_string(), budget.bytes());
        let files = Files::Directory(source);
        Ok(Self { from, files, tree, notes: notes_of(left_out), bytes, options, report })
    }

    pub(crate) fn of_tree(
        from: String,
        tree: Tree,
        options: &'a Options,
        report: &'a dyn Fn(Progress),
    ) -> Self {
        Self { from, files: Files::Tree, tree, notes: Vec::new(), bytes: 0, options, report }
    }

    /// Adds the guest agent and the rest of what a guest needs, and writes it.
    pub(crate) fn write(
        mut self,
        image_config: Option<Vec<u8>>,
        out: &Path,
    ) -> Result<Made, ImportError> {
        let agent = match &self.options.guest {
            Some(path) => Some((&**path, check_agent(path)?)),
            None => None,
        };
        if agent.is_some() {
            self.bring_inittab()?;
        }
        let furnishing = Furnishing { agent, image_config, mtime: ADDED_AT };
        let put = furnishing.put_into(&mut self.tree);
        self.notes.extend(put.map_err(|occupied| occupied.at(&self.from))?);
        self.write_tree(out)
    }

    pub(crate) fn write_tree(mut self, out: &Path) -> Result<Made, ImportError> {
        let limit = self.options.limits.root_bytes.min(MOST_ROOT_BYTES);
        let asked = self.options.root_size;
        if asked.is_some_and(|size| size > limit) {
            return Err(self.too_big(limit));
        }
        let cancel = self.options.cancel.clone();
        let stop = || cancel.is_cancelled();
        let plan = Plan::new(&mut self.tree, asked, &stop).map_err(|error| match error {
            PlanError::Stopped => ImportError::Cancelled,
            PlanError::TooSmall { needed_bytes } => ImportError::TooSmall {
                kind: Kind::Root,
                needed_bytes,
                given_bytes: asked.unwrap_or(0),
            },
            PlanError::TooManyLinks { name } => ImportError::Refused {
                from: self.from.clone(),
                entry: shown(&name),
                why: Refusal::TooManyLinks,
            },
        })?;
        if plan.size_bytes() > limit {
            return Err(self.too_big(limit));
        }
        let output = Output::create(out)?;
        plan.write_structures(&self.tree, output.file(), &stop).map_err(|error| match stop() {
            true => ImportError::Cancelled,
            false => output.failed(error),
        })?;
        self.write_contents(&plan, &output)?;
        let size = plan.size_bytes();
        let budget = Budget::unbounded(&self.options.cancel, self.report, Step::Digest, size);
        output.finish(Kind::Root, self.notes, &budget)
    }

    fn too_big(&self, limit: u64) -> ImportError {
        ImportError::Limit { from: self.from.clone(), limit, unit: "bytes of a root file system" }
    }

    fn write_contents(&self, plan: &Plan, output: &Output) -> Result<(), ImportError> {
        let (cancel, total) = (&self.options.cancel, Some(self.bytes));
        let budget = Budget::new(self.options.limits, cancel, self.report, Step::Write, total)
            .writing_to(self.options.room.as_ref());
        // What holds the tree is written already.
        budget.spend(0).map_err(|stop| stop.at(&self.from))?;
        let mut wanted: HashMap<(u32, u64), Ino> = HashMap::new();
        for ino in (0..self.tree.len()).filter(|ino| plan.holds(*ino)) {
            let Body::File { contents, .. } = &self.tree.inode(ino).body else { continue };
            match contents {
                Contents::Layer { layer, index } => {
                    wanted.insert((*layer, *index), ino);
                }
                Contents::Bytes(bytes) => {
                    let name = "a file of our own";
                    let mut rest = &bytes[..];
                    self.copy(plan, ino, output, name, &mut |buf| Ok(read_into(&mut rest, buf)))?;
                }
                Contents::Host(path) => {
                    let file = File::open(path).map_err(|error| unread(path, error))?;
                    self.copy_file(plan, ino, output, file, path, &budget)?;
                }
                Contents::Source(path) => {
                    let Files::Directory(source) = &self.files else { continue };
                    self.copy_file(plan, ino, output, source.file(path)?, path, &budget)?;
                }
            }
        }
        let Files::Layers(layers) = &self.files else { return Ok(()) };
        for (layer, blob) in (1..).zip(layers) {
            // It was read to its end before, whatever that is.
            let mut archive = open_layer(blob, &budget)?.with_end(EndMark::MayLack);
            while let Some(entry) = archive.next()? {
                let Some(ino) = wanted.remove(&(layer, entry.index)) else { continue };
                let name = String::from_utf8_lossy(&entry.path).into_owned();
                self.copy(plan, ino, output, &name, &mut |buf| archive.read(buf))?;
            }
        }
        match wanted.is_empty() {
            true => Ok(()),
            false => Err(self.changed("its layers")),
        }
    }

    fn copy_file(
        &self,
        plan: &Plan,
        ino: Ino,
        output: &Output,
        mut file: File,
        path: &Path,
        budget: &Budget<'_>,
    ) -> Result<(), ImportError> {
        let name = path.display().to_string();
        let mut read = |buf: &mut [u8]| {
            let read = file.read(buf).map_err(|error| unread(path, error))?;
            budget.spend(read as u64).map_err(|stop| stop.at(&name))?;
            Ok(read)
        };
        self.copy(plan, ino, output, &name, &mut read)
    }

    /// Copies what `read` gives, which must be as long as the tree says.
    fn copy(
        &self,
        plan: &Plan,
        ino: Ino,
        output: &Output,
        name: &str,
        read: &mut dyn FnMut(&mut [u8]) -> Result<usize, ImportError>,
    ) -> Result<(), ImportError> {
        let Some(mut writer) = plan.file_writer(ino, output.file()) else {
            return Err(self.changed(name));
        };
        // Small files are many.
        let mut chunk = vec![0; CHUNK_BYTES.min(writer.size() as usize).max(1)];
        loop {
            let length = read(&mut chunk)?;
            if length == 0 {
                break;
            }
            match writer.write(&chunk[..length]) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                    return Err(self.changed(name));
                }
                Err(error) => return Err(output.failed(error)),
            }
        }
        if writer.is_complete() { Ok(()) } else { Err(self.changed(name)) }
    }

    fn changed(&self, name: &str) -> ImportError {
        let (from, why) = (self.from.clone(), Refusal::Changed);
        ImportError::Refused { from, entry: shown(name.as_bytes()), why }
    }

    /// Puts the contents of `/etc/inittab` into the tree, so that a line can be added.
    fn bring_inittab(&mut self) -> Result<(), ImportError> {
        let Some(ino) = self.tree.resolve(b"/etc/inittab") else { return Ok(()) };
        let Body::File { size: 0..=MOST_INITTAB_BYTES, contents } = &self.tree.inode(ino).body
        else {
            return Ok(());
        };
        let bytes = match (contents, &self.files) {
            (Contents::Layer { layer, index }, Files::Layers(layers)) => {
                let budget = Budget::new(
                    self.options.limits,
                    &self.options.cancel,
                    self.report,
                    Step::Check,
                    None,
                );
                let Some(blob) = layers.get((*layer as usize).wrapping_sub(1)) else {
                    return Ok(());
                };
                read_entry(blob, *index, &budget)?
            }
            (Contents::Source(path), Files::Directory(source)) => {
                let blob =
                    Blob::of_file(source.file(path)?, self.from.clone(), MOST_INITTAB_BYTES)?;
                Some(blob.read_whole(MOST_INITTAB_BYTES)?)
            }
            _ => None,
        };
        if let Some(bytes) = bytes {
            let (size, contents) = (bytes.len() as u64, Contents::Bytes(bytes.into()));
            self.tree.set_body(ino, Body::File { size, contents });
        }
        Ok(())
    }
}

pub(crate) fn notes_of(left_out: LeftOut) -> Vec<Note> {
    let mut notes = Vec::new();
    if left_out.devices > 0 {
        notes.push(Note::DevicesLeftOut(left_out.devices));
    }
    if left_out.xattrs > 0 {
        notes.push(Note::AttributesLeftOut(left_out.xattrs));
    }
    if left_out.sockets > 0 {
        notes.push(Note::SocketsLeftOut(left_out.sockets));
    }
    if left_out.mount_count > 0 {
        notes.push(Note::MountsLeftOut(left_out.mounts, left_out.mount_count));
    }
    notes
}

pub(crate) fn open_layer<'a>(
    blob: &Blob,
    budget: &'a Budget<'a>,
) -> Result<Tarball<Unpacked<'a>>, ImportError> {
    Ok(Tarball::new(unpacked(blob.reader(), &blob.from, budget)?, &blob.from))
}

fn read_entry(
    blob: &Blob,
    index: u64,
    budget: &Budget<'_>,
) -> Result<Option<Vec<u8>>, ImportError> {
    let mut archive = open_layer(blob, budget)?.with_end(EndMark::MayLack);
    while let Some(entry) = archive.next()? {
        if entry.index == index {
            return archive.read_whole(MOST_INITTAB_BYTES).map(Some);
        }
    }
    Ok(None)
}

pub(crate) fn drain(mut stream: impl Read, from: &str) -> Result<(), ImportError> {
    io::copy(&mut stream, &mut io::sink()).map_err(|error| read_error(from, error))?;
    Ok(())
}

fn read_into(rest: &mut &[u8], buf: &mut [u8]) -> usize {
    let part = rest.len().min(buf.len());
    let (now, later) = rest.split_at(part);
    buf[..part].copy_from_slice(now);
    *rest = later;
    part
}

fn unread(path: &Path, source: io::Error) -> ImportError {
    ImportError::Read { from: path.display().to_string(), source }
}

#[cfg(test)]
mod tests;

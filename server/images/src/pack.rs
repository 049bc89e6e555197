//! A directory of this machine as a tar archive that an import takes.
//!
//! Driven by the `banger` command, which sends directories to a server in another place. The
//! directory is read by the very rules by which the server reads one ([`crate::directory`]), so
//! that what is packed here is not refused there: hard links stay links, extended attributes are
//! with their files, holes are written as zeros, sockets are left out, and what is mounted inside
//! is an empty directory. What can go wrong is named: an entry that can't be read, or that changed
//! meanwhile.

use std::collections::HashMap;
use std::io::{self, Read, Write};
use std::path::Path;

use tar::{EntryType, Header};

use crate::budget::Budget;
use crate::directory::OpenDirectory;
use crate::layer::LeftOut;
use crate::root::notes_of;
use crate::tarball::shown;
use crate::tree::{Body, Contents, Ino, Meta, ROOT, Tree};
use crate::{Devices, ImportError, Limits, Note, Progress, Refusal, Step};

const BLOCK_BYTES: usize = 512;

/// What the fields of a header hold, in octal digits.
const MOST_SIZE: u64 = 0o777_7777_7777;
const MOST_ID: u32 = 0o777_7777;
const MOST_NAME_BYTES: usize = 100;

/// Writes the directory at `path` to `to`, names in order. Answers what was left out.
///
/// # Errors
/// See [`ImportError`]: an entry that can't be read, or is refused. [`ImportError::Write`] when
/// `to` takes no more; what was written is then no whole archive.
pub fn pack_directory(path: &Path, to: &mut dyn Write) -> Result<Vec<Note>, ImportError> {
    let report = |_: Progress| {};
    let cancel = crate::Cancel::default();
    // How much may come is for the server to say.
    let limits = Limits { unpacked_bytes: u64::MAX, ..Limits::default() };
    let budget = Budget::new(limits, &cancel, &report, Step::Check, None);
    let source = OpenDirectory::open(path)?;
    let mut left_out = LeftOut::default();
    let tree = source.read(Devices::Keep, &mut left_out, &budget)?;
    let mut names = vec![0_u32; tree.len()];
    for ino in 0..tree.len() {
        for entry in tree.entries(ino).into_iter().flatten().map(|(_, entry)| entry) {
            names[entry.ino] += 1;
        }
    }
    let mut packer =
        Packer { from: path, source: &source, tree: &tree, names, first: HashMap::new(), to };
    packer.entry(b"./", ROOT)?;
    let mut open = vec![(Vec::new(), ROOT)];
    while let Some((above, directory)) = open.pop() {
        let mut inside = Vec::new();
        for (name, entry) in tree.entries(directory).into_iter().flatten() {
            let path = [&above[..], name].concat();
            packer.entry(&path, entry.ino)?;
            if tree.entries(entry.ino).is_some() {
                inside.push(([&path[..], b"/"].concat(), entry.ino));
            }
        }
        open.extend(inside.into_iter().rev());
    }
    packer.write(&[0; 2 * BLOCK_BYTES])?;
    Ok(notes_of(left_out))
}

struct Packer<'a> {
    from: &'a Path,
    source: &'a OpenDirectory,
    tree: &'a Tree,
    /// How many names each inode has.
    names: Vec<u32>,
    /// The first path of those with several.
    first: HashMap<Ino, Vec<u8>>,
    to: &'a mut dyn Write,
}

impl Packer<'_> {
    fn entry(&mut self, path: &[u8], ino: Ino) -> Result<(), ImportError> {
        let tree = self.tree;
        let inode = tree.inode(ino);
        if let Some(first) = self.first.get(&ino).cloned() {
            return self.header(path, &first, EntryType::Link, 0, &inode.meta, (0, 0));
        }
        if self.names[ino] > 1 && tree.entries(ino).is_none() {
            self.first.insert(ino, path.to_vec());
        }
        let mut header = |kind, link: &[u8], size, device| {
            self.header(path, link, kind, size, &inode.meta, device)
        };
        match &inode.body {
            Body::Directory(_) => header(EntryType::Directory, b"", 0, (0, 0)),
            Body::Symlink(target) => header(EntryType::Symlink, target, 0, (0, 0)),
            Body::Fifo => header(EntryType::Fifo, b"", 0, (0, 0)),
            Body::CharDevice(major, minor) => header(EntryType::Char, b"", 0, (*major, *minor)),
            Body::BlockDevice(major, minor) => header(EntryType::Block, b"", 0, (*major, *minor)),
            Body::File { size, contents } => {
                header(EntryType::Regular, b"", *size, (0, 0))?;
                match contents {
                    Contents::Source(file) => self.contents(path, file, *size),
                    // A directory has no others.
                    Contents::Layer { .. } | Contents::Bytes(_) | Contents::Host(_) => Ok(()),
                }
            }
        }
    }

    /// A ustar header, with a pax header before it for what that one has no room for.
    fn header(
        &mut self,
        path: &[u8],
        link: &[u8],
        kind: EntryType,
        size: u64,
        meta: &Meta,
        (major, minor): (u32, u32),
    ) -> Result<(), ImportError> {
        let mut records = Vec::new();
        if path.len() > MOST_NAME_BYTES {
            record(&mut records, b"path", path);
        }
        if link.len() > MOST_NAME_BYTES {
            record(&mut records, b"linkpath", link);
        }
        let mut number = |key: &[u8], value: i128, fits: bool| {
            if !fits {
                record(&mut records, key, value.to_string().as_bytes());
            }
            if fits { u64::try_from(value).unwrap_or(0) } else { 0 }
        };
        let own_size = number(b"size", size.into(), size <= MOST_SIZE);
        let uid = number(b"uid", meta.uid.into(), meta.uid <= MOST_ID);
        let gid = number(b"gid", meta.gid.into(), meta.gid <= MOST_ID);
        let in_header = u64::try_from(meta.mtime).is_ok_and(|mtime| mtime <= MOST_SIZE);
        let mtime = number(b"mtime", meta.mtime.into(), in_header);
        // A hard link's are its file's.
        for (name, value) in meta.xattrs.iter().filter(|_| kind != EntryType::Link) {
            if name.contains(&b'=') {
                return Err(self.refused(path, Refusal::Attributes));
            }
            record(&mut records, &[b"SCHILY.xattr.", &name[..]].concat(), value);
        }
        if !records.is_empty() {
            let mut pax = Header::new_ustar();
            pax.set_entry_type(EntryType::XHeader);
            pax.as_old_mut().name[..3].copy_from_slice(b"pax");
            pax.set_mode(0o644);
            pax.set_uid(0);
            pax.set_gid(0);
            pax.set_mtime(0);
            pax.set_size(records.len() as u64);
            pax.set_cksum();
            self.write(pax.as_bytes())?;
            self.write(&records)?;
            self.pad(records.len() as u64)?;
        }
        let mut header = Header::new_ustar();
        let put = |field: &mut [u8; 100], text: &[u8]| {
            let short = &text[..text.len().min(MOST_NAME_BYTES)];
            field[..short.len()].copy_from_slice(short);
        };
        put(&mut header.as_old_mut().name, path);
        put(&mut header.as_old_mut().linkname, link);
        header.set_entry_type(kind);
        header.set_mode(meta.mode.into());
        header.set_uid(uid);
        header.set_gid(gid);
        header.set_mtime(mtime);
        header.set_size(own_size);
        // A ustar header has both.
        let _ = (header.set_device_major(major), header.set_device_minor(minor));
        header.set_cksum();
        self.write(header.as_bytes())
    }

    fn contents(&mut self, path: &[u8], file: &Path, size: u64) -> Result<(), ImportError> {
        let mut file = self.source.file(file)?;
        let mut chunk = vec![0; (1 << 20).min(size as usize).max(1)];
        let mut left = size;
        while left > 0 {
            let most = left.min(chunk.len() as u64) as usize;
            let read = file.read(&mut chunk[..most]).map_err(|source| ImportError::Read {
                from: format!("{}/{}", self.from.display(), shown(path)),
                source,
            })?;
            if read == 0 {
                return Err(self.refused(path, Refusal::Changed));
            }
            self.write(&chunk[..read])?;
            left -= read as u64;
        }
        match file.read(&mut [0]) {
            Ok(0) => self.pad(size),
            _ => Err(self.refused(path, Refusal::Changed)),
        }
    }

    fn pad(&mut self, size: u64) -> Result<(), ImportError> {
        let rest = (size.wrapping_neg() % BLOCK_BYTES as u64) as usize;
        self.write(&[0; BLOCK_BYTES][..rest])
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), ImportError> {
        let failed = |source: io::Error| ImportError::Write { path: self.from.to_owned(), source };
        self.to.write_all(bytes).map_err(failed)
    }

    fn refused(&self, path: &[u8], why: Refusal) -> ImportError {
        ImportError::Refused { from: self.from.display().to_string(), entry: shown(path), why }
    }
}

/// `LENGTH KEY=VALUE\n`, the length being that of all of it (pax(1)).
fn record(records: &mut Vec<u8>, key: &[u8], value: &[u8]) {
    let rest = key.len() + value.len() + 3;
    let mut length = rest + 1;
    while length != rest + length.to_string().len() {
        length = rest + length.to_string().len();
    }
    records.extend(format!("{length} ").as_bytes());
    records.extend([key, b"=", value, b"\n"].concat());
}

#[cfg(test)]
mod tests;

//! A tar archive entry by entry: old, ustar, GNU long names and pax headers.
//!
//! The fields of a header are the `tar` crate's; the walk from header to header is our own,
//! because what is hostile sits there: a long name of gigabytes, a pax size that is not the
//! header's, an archive that stops in the middle. Sparse files and multi-volume archives are
//! refused.

use std::io::Read;

use tar::{EntryType, Header};

use crate::budget::{Stop, read_error};
use crate::{ImportError, Refusal};

const BLOCK_BYTES: usize = 512;

/// A long name, or all pax headers of an entry.
const MOST_EXTENSION_BYTES: u64 = 1 << 20;

/// What an entry is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum EntryKind {
    File,
    HardLink,
    Symlink,
    Directory,
    Fifo,
    CharDevice(u32, u32),
    BlockDevice(u32, u32),
    Unsupported,
}

/// One entry, its names as they stand in the archive: nothing is checked yet.
#[derive(Debug, Clone)]
pub(crate) struct TarEntry {
    /// Its place among the entries, from 0.
    pub(crate) index: u64,
    pub(crate) kind: EntryKind,
    pub(crate) path: Vec<u8>,
    pub(crate) link: Vec<u8>,
    /// Bytes of contents that follow.
    pub(crate) size: u64,
    pub(crate) mode: u16,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    /// Seconds since 1970.
    pub(crate) mtime: i64,
    pub(crate) xattrs: Vec<(Vec<u8>, Vec<u8>)>,
}

/// Reads entries from `reader`; the contents of the current one are read through [`Read`].
pub(crate) struct Tarball<R> {
    reader: R,
    from: String,
    next_index: u64,
    /// Bytes read of the archive, headers and padding included.
    position: u64,
    /// Bytes of the current entry's contents that were not read yet, and its padding.
    left: u64,
    padding: u64,
}

/// What extension headers said about the entry after them.
#[derive(Default)]
struct Extensions {
    path: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
    size: Option<u64>,
    uid: Option<u64>,
    gid: Option<u64>,
    mtime: Option<i64>,
    xattrs: Vec<(Vec<u8>, Vec<u8>)>,
    sparse: bool,
}

impl<R: Read> Tarball<R> {
    pub(crate) fn new(reader: R, from: impl Into<String>) -> Self {
        Self { reader, from: from.into(), next_index: 0, position: 0, left: 0, padding: 0 }
    }

    /// What is left of the stream.
    pub(crate) fn into_inner(self) -> R {
        self.reader
    }

    /// Where the contents of the current entry begin, from the beginning of the archive.
    pub(crate) fn position(&self) -> u64 {
        self.position
    }

    /// The next entry; what was left of the one before is skipped. `None` after the end mark.
    pub(crate) fn next(&mut self) -> Result<Option<TarEntry>, ImportError> {
        let mut extensions = Extensions::default();
        loop {
            self.skip_rest()?;
            let Some(header) = self.read_header()? else { return Ok(None) };
            let size = match header.entry_type() {
                // Nothing follows these, whatever the field says, as other readers have it.
                EntryType::Link
                | EntryType::Symlink
                | EntryType::Char
                | EntryType::Block
                | EntryType::Directory
                | EntryType::Fifo => 0,
                _ => header.entry_size().map_err(|error| self.damaged(error))?,
            };
            (self.left, self.padding) = (size, size.next_multiple_of(BLOCK_BYTES as u64) - size);
            match header.entry_type() {
                EntryType::GNULongName => extensions.path = Some(self.read_long_name()?),
                EntryType::GNULongLink => extensions.link = Some(self.read_long_name()?),
                EntryType::XHeader => {
                    let records = self.read_extension()?;
                    self.read_pax(&records, &mut extensions)?;
                }
                // Comments on the archive as a whole.
                EntryType::XGlobalHeader => drop(self.read_extension()?),
                _ => return self.entry(&header, size, extensions).map(Some),
            }
        }
    }

    fn entry(
        &mut self,
        header: &Header,
        size: u64,
        said: Extensions,
    ) -> Result<TarEntry, ImportError> {
        let path = said.path.unwrap_or_else(|| header.path_bytes().into_owned());
        if size > 0 && said.size.is_some_and(|said| said != size) {
            return Err(self.broken("a pax header and an entry's own differ in its size"));
        }
        let device = || {
            let number = |number: std::io::Result<Option<u32>>| number.ok().flatten().unwrap_or(0);
            (number(header.device_major()), number(header.device_minor()))
        };
        let kind = match header.entry_type() {
            _ if said.sparse => EntryKind::Unsupported,
            // Before 1988 a directory was a file whose name ends with a slash.
            EntryType::Regular if path.ends_with(b"/") => EntryKind::Directory,
            EntryType::Regular | EntryType::Continuous => EntryKind::File,
            EntryType::Link => EntryKind::HardLink,
            EntryType::Symlink => EntryKind::Symlink,
            EntryType::Directory => EntryKind::Directory,
            EntryType::Fifo => EntryKind::Fifo,
            EntryType::Char => EntryKind::CharDevice(device().0, device().1),
            EntryType::Block => EntryKind::BlockDevice(device().0, device().1),
            _ => EntryKind::Unsupported,
        };
        let link = said.link.unwrap_or_else(|| {
            header.link_name_bytes().map(std::borrow::Cow::into_owned).unwrap_or_default()
        });
        let id = |said: Option<u64>, own: std::io::Result<u64>| {
            let id = match said {
                Some(id) => id,
                None => own?,
            };
            u32::try_from(id).map_err(std::io::Error::other)
        };
        let uid = id(said.uid, header.uid()).map_err(|error| self.damaged(error))?;
        let gid = id(said.gid, header.gid()).map_err(|error| self.damaged(error))?;
        let mode = header.mode().map_err(|error| self.damaged(error))?;
        let own_mtime = || header.mtime().map(|time| i64::try_from(time).unwrap_or(0));
        let mtime = match said.mtime {
            Some(time) => time,
            None => own_mtime().unwrap_or(0),
        };
        let index = self.next_index;
        self.next_index += 1;
        Ok(TarEntry {
            index,
            kind,
            path,
            link,
            size,
            mode: (mode & 0o7777) as u16,
            uid,
            gid,
            mtime,
            xattrs: said.xattrs,
        })
    }

    /// The next header that is not empty.
    fn read_header(&mut self) -> Result<Option<Header>, ImportError> {
        let mut block = [0_u8; BLOCK_BYTES];
        self.fill(&mut block)?;
        if block.iter().all(|byte| *byte == 0) {
            return Ok(None);
        }
        let header = Header::from_byte_slice(&block).clone();
        let sum: u32 = block[..148].iter().chain(&block[156..]).map(|byte| u32::from(*byte)).sum();
        // The field itself counts as eight spaces.
        if header.cksum().ok() != Some(sum + 8 * u32::from(b' ')) {
            return Err(self.broken("a header does not have the checksum it says"));
        }
        Ok(Some(header))
    }

    fn read_long_name(&mut self) -> Result<Vec<u8>, ImportError> {
        let mut name = self.read_extension()?;
        if name.last() == Some(&0) {
            name.pop();
        }
        Ok(name)
    }

    fn read_extension(&mut self) -> Result<Vec<u8>, ImportError> {
        if self.left > MOST_EXTENSION_BYTES {
            return Err(self.limited(MOST_EXTENSION_BYTES, "bytes in a long name or pax header"));
        }
        let mut all = vec![0; self.left as usize];
        self.left = 0;
        self.fill(&mut all)?;
        Ok(all)
    }

    /// `LENGTH KEY=VALUE\n` again and again; a value may hold anything (pax(1)).
    fn read_pax(&self, mut records: &[u8], said: &mut Extensions) -> Result<(), ImportError> {
        let bad = || self.broken("a pax header is not as pax(1) has it");
        while !records.is_empty() && records[0] != 0 {
            let space = records.iter().position(|byte| *byte == b' ').ok_or_else(bad)?;
            let length: usize = number(&records[..space]).ok_or_else(bad)?;
            if length > records.len() || length < space + 3 || records[length - 1] != b'\n' {
                return Err(bad());
            }
            let record = &records[space + 1..length - 1];
            let equals = record.iter().position(|byte| *byte == b'=').ok_or_else(bad)?;
            let (key, value) = (&record[..equals], &record[equals + 1..]);
            match key {
                b"path" => said.path = Some(value.to_vec()),
                b"linkpath" => said.link = Some(value.to_vec()),
                b"size" => said.size = Some(number(value).ok_or_else(bad)?),
                b"uid" => said.uid = Some(number(value).ok_or_else(bad)?),
                b"gid" => said.gid = Some(number(value).ok_or_else(bad)?),
                b"mtime" => {
                    let whole = value.split(|byte| *byte == b'.').next().unwrap_or_default();
                    said.mtime = Some(number(whole).ok_or_else(bad)?);
                }
                _ if key.starts_with(b"GNU.sparse.") => said.sparse = true,
                _ => {
                    if let Some(name) = key.strip_prefix(b"SCHILY.xattr.") {
                        said.xattrs.push((name.to_vec(), value.to_vec()));
                    }
                }
            }
            records = &records[length..];
        }
        Ok(())
    }

    fn skip_rest(&mut self) -> Result<(), ImportError> {
        let mut sink = [0_u8; 64 << 10];
        let mut rest = self.left + self.padding;
        (self.left, self.padding) = (0, 0);
        while rest > 0 {
            let part = rest.min(sink.len() as u64);
            self.fill(&mut sink[..part as usize])?;
            rest -= part;
        }
        Ok(())
    }

    fn fill(&mut self, buf: &mut [u8]) -> Result<(), ImportError> {
        self.reader.read_exact(buf).map_err(|error| read_error(&self.from, error))?;
        self.position += buf.len() as u64;
        Ok(())
    }

    /// Contents of the current entry into `buf`, as many as fit; 0 at its end.
    pub(crate) fn read(&mut self, buf: &mut [u8]) -> Result<usize, ImportError> {
        let part = self.left.min(buf.len() as u64) as usize;
        self.fill(&mut buf[..part])?;
        self.left -= part as u64;
        Ok(part)
    }

    /// The whole contents of the current entry, if they are no more than `limit` bytes.
    pub(crate) fn read_whole(&mut self, limit: u64) -> Result<Vec<u8>, ImportError> {
        if self.left > limit {
            return Err(self.limited(limit, "bytes in one of its files"));
        }
        let mut all = vec![0; self.left as usize];
        self.read(&mut all)?;
        Ok(all)
    }

    pub(crate) fn refused(&self, entry: &[u8], why: Refusal) -> ImportError {
        ImportError::Refused { from: self.from.clone(), entry: shown(entry), why }
    }

    pub(crate) fn stopped(&self, stop: Stop) -> ImportError {
        stop.at(&self.from)
    }

    pub(crate) fn limited(&self, limit: u64, unit: &'static str) -> ImportError {
        ImportError::Limit { from: self.from.clone(), limit, unit }
    }

    fn broken(&self, what: &str) -> ImportError {
        ImportError::Damaged { from: self.from.clone(), what: what.to_owned() }
    }

    fn damaged(&self, error: std::io::Error) -> ImportError {
        self.broken(&error.to_string())
    }
}

fn number<N: std::str::FromStr>(digits: &[u8]) -> Option<N> {
    std::str::from_utf8(digits).ok()?.parse().ok()
}

/// A name for a message: escaped, and not longer than a line.
pub(crate) fn shown(name: &[u8]) -> String {
    const MOST: usize = 200;
    let text = String::from_utf8_lossy(name);
    match text.char_indices().nth(MOST) {
        Some((at, _)) => format!("{}…", &text[..at]),
        None => text.into_owned(),
    }
}

#[cfg(test)]
mod tests;

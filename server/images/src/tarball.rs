//! A tar archive entry by entry: old, ustar, GNU long names and pax headers.
//!
//! The names in a header are the `tar` crate's; numbers, and the walk from header to header, are
//! our own, because what is hostile sits there: a long name of gigabytes, a size that only a pax
//! header tells, an archive that stops in the middle. Sparse files and multi-volume archives are
//! refused. Where readers differ the answer is that of Go's `archive/tar`, which Docker and
//! containerd read with.

mod number;
mod pax;

use std::io::Read;

use tar::{EntryType, Header};

use self::number::field;
use self::pax::{Extensions, PaxError};
use crate::budget::{Stop, read_error};
use crate::{ImportError, Refusal};

const BLOCK_BYTES: usize = 512;

/// Long names and pax headers, all of those before one entry: nothing else counts them meanwhile.
const MOST_EXTENSION_BYTES: u64 = 1 << 20;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum EntryKind {
    File,
    HardLink,
    Symlink,
    Directory,
    Fifo,
    CharDevice(u32, u32),
    BlockDevice(u32, u32),
    Sparse,
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
    end: EndMark,
}

/// Whether an archive may end without its mark, two blocks of zeros.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum EndMark {
    /// Nothing else says where it ends: without the mark it may be half of one.
    Required,
    /// It is known by its digest, and container runtimes take one without, or an empty one.
    MayLack,
}

impl<R: Read> Tarball<R> {
    pub(crate) fn new(reader: R, from: impl Into<String>) -> Self {
        let (from, end) = (from.into(), EndMark::Required);
        Self { reader, from, next_index: 0, position: 0, left: 0, padding: 0, end }
    }

    /// With another rule for its end.
    pub(crate) fn with_end(self, end: EndMark) -> Self {
        Self { end, ..self }
    }

    /// What is left of the stream.
    pub(crate) fn into_inner(self) -> R {
        self.reader
    }

    /// Where the contents of the current entry begin, from the beginning of the archive.
    pub(crate) fn position(&self) -> u64 {
        self.position
    }

    /// The next entry; what was left of the one before is skipped. `None` at the end.
    pub(crate) fn next(&mut self) -> Result<Option<TarEntry>, ImportError> {
        let (mut extensions, mut room) = (Extensions::default(), MOST_EXTENSION_BYTES);
        loop {
            let header = if self.skip_rest()? { self.read_header()? } else { None };
            let Some(header) = header else {
                return match extensions.some {
                    true => Err(self.broken("an extension header has no entry after it")),
                    false => Ok(None),
                };
            };
            let kind = header.entry_type();
            let size = match kind {
                // Nothing follows these, whatever is said of them, as other readers have it.
                EntryType::Link
                | EntryType::Symlink
                | EntryType::Char
                | EntryType::Block
                | EntryType::Directory
                | EntryType::Fifo => 0,
                // An extension's own size is never said elsewhere.
                EntryType::GNULongName
                | EntryType::GNULongLink
                | EntryType::XHeader
                | EntryType::XGlobalHeader => self.size_field(&header)?,
                _ => match extensions.size {
                    Some(size) => size,
                    None => self.size_field(&header)?,
                },
            };
            let padding = size.wrapping_neg() % BLOCK_BYTES as u64;
            (self.left, self.padding) = (size, padding);
            match kind {
                EntryType::GNULongName => {
                    (extensions.path, extensions.some) =
                        (Some(self.read_long_name(&mut room)?), true);
                }
                EntryType::GNULongLink => {
                    (extensions.link, extensions.some) =
                        (Some(self.read_long_name(&mut room)?), true);
                }
                EntryType::XHeader => {
                    let records = self.read_extension(&mut room)?;
                    extensions.read(&records).map_err(|why| self.not_taken(&why))?;
                }
                // Comments on the archive as a whole.
                EntryType::XGlobalHeader => {
                    let records = self.read_extension(&mut room)?;
                    Extensions::check_global(&records).map_err(|why| self.not_taken(&why))?;
                }
                // The label of GNU's --label: no entry, and all of it is its name.
                kind if kind.as_byte() == b'V' && size == 0 => extensions = Extensions::default(),
                _ => return self.entry(&header, size, extensions).map(Some),
            }
        }
    }

    fn size_field(&self, header: &Header) -> Result<u64, ImportError> {
        let size = self.number(&header.as_old().size, "size")?;
        u64::try_from(size).map_err(|_| self.broken("an entry's size is less than nothing"))
    }

    fn number(&self, bytes: &[u8], what: &str) -> Result<i64, ImportError> {
        field(bytes).ok_or_else(|| self.broken(&format!("an entry's {what} is no number")))
    }

    fn entry(
        &mut self,
        header: &Header,
        size: u64,
        mut said: Extensions,
    ) -> Result<TarEntry, ImportError> {
        let path = said.path.take().unwrap_or_else(|| header.path_bytes().into_owned());
        let old = header.as_old();
        // Where they lie in ustar's header and in GNU's; older ones have none.
        let raw = header.as_bytes();
        let has_devices = raw[257..262] == *b"ustar";
        let device = |said: Option<u32>, at: usize| match said {
            Some(said) => Ok(said),
            None if !has_devices => Ok(0),
            None => {
                let number = self.number(&raw[at..at + 8], "device number")?;
                u32::try_from(number).map_err(|_| self.broken("a device number is too large"))
            }
        };
        let kind = match header.entry_type() {
            _ if said.sparse => EntryKind::Sparse,
            EntryType::GNUSparse => EntryKind::Sparse,
            // Before 1988 a directory was a file whose name ends with a slash.
            EntryType::Regular if path.ends_with(b"/") => EntryKind::Directory,
            EntryType::Regular | EntryType::Continuous => EntryKind::File,
            EntryType::Link => EntryKind::HardLink,
            EntryType::Symlink => EntryKind::Symlink,
            EntryType::Directory => EntryKind::Directory,
            EntryType::Fifo => EntryKind::Fifo,
            kind @ (EntryType::Char | EntryType::Block) => {
                let (major, minor) =
                    (device(said.device_major, 329)?, device(said.device_minor, 337)?);
                match kind {
                    EntryType::Char => EntryKind::CharDevice(major, minor),
                    _ => EntryKind::BlockDevice(major, minor),
                }
            }
            _ => EntryKind::Unsupported,
        };
        let link = said.link.take().unwrap_or_else(|| {
            header.link_name_bytes().map(std::borrow::Cow::into_owned).unwrap_or_default()
        });
        let id = |said: Option<u64>, own: &[u8], what: &str| {
            let id = match said {
                Some(id) => u32::try_from(id).ok(),
                None => u32::try_from(self.number(own, what)?).ok(),
            };
            id.ok_or_else(|| self.broken(&format!("an entry's {what} is none that Linux has")))
        };
        let uid = id(said.uid, &old.uid, "user")?;
        let gid = id(said.gid, &old.gid, "group")?;
        let mode = self.number(&old.mode, "mode")?;
        let mtime = match said.mtime {
            Some(time) => time,
            None => self.number(&old.mtime, "time")?,
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
            xattrs: said.take_xattrs(),
        })
    }

    /// The next header; `None` at the end mark, and where the archive ends.
    fn read_header(&mut self) -> Result<Option<Header>, ImportError> {
        let mut block = [0_u8; BLOCK_BYTES];
        if !self.fill_or_end(&mut block)? {
            return Ok(None);
        }
        if is_zero(&block) {
            // One block of zeros with something else after it is no end: contents whose size was
            // not understood, or archives behind one another.
            if self.fill_or_end(&mut block)? && !is_zero(&block) {
                return Err(self.broken("there is more after the first half of an end mark"));
            }
            return Ok(None);
        }
        let header = Header::from_byte_slice(&block).clone();
        if !has_checksum(&block) {
            return Err(self.broken("a header does not have the checksum it says"));
        }
        Ok(Some(header))
    }

    fn read_long_name(&mut self, room: &mut u64) -> Result<Vec<u8>, ImportError> {
        let mut name = self.read_extension(room)?;
        if name.last() == Some(&0) {
            name.pop();
        }
        Ok(name)
    }

    /// Takes from the `room` that the extensions of one entry have. An empty one takes a block,
    /// too, or they would have no end.
    fn read_extension(&mut self, room: &mut u64) -> Result<Vec<u8>, ImportError> {
        let Some(rest) = room.checked_sub(self.left.max(BLOCK_BYTES as u64)) else {
            let unit = "bytes in the long names and pax headers of one entry";
            return Err(self.limited(MOST_EXTENSION_BYTES, unit));
        };
        *room = rest;
        let mut all = vec![0; self.left as usize];
        self.left = 0;
        self.fill(&mut all)?;
        Ok(all)
    }

    /// Goes to the end of the current entry. False when the archive ends there, without padding.
    fn skip_rest(&mut self) -> Result<bool, ImportError> {
        let mut sink = [0_u8; 64 << 10];
        while self.left > 0 {
            let part = self.left.min(sink.len() as u64);
            self.fill(&mut sink[..part as usize])?;
            self.left -= part;
        }
        let padding = std::mem::take(&mut self.padding) as usize;
        Ok(padding == 0 || self.fill_or_end(&mut sink[..padding])?)
    }

    /// Fills `buf`; false when not one byte is left of an archive that may end like that.
    fn fill_or_end(&mut self, buf: &mut [u8]) -> Result<bool, ImportError> {
        let mut first = 0;
        while first == 0 {
            match self.reader.read(buf) {
                Ok(0) if self.end == EndMark::MayLack => return Ok(false),
                Ok(0) => return Err(self.broken("it ends too early")),
                Ok(read) => first = read,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) => return Err(read_error(&self.from, error)),
            }
        }
        self.position += first as u64;
        self.fill(&mut buf[first..])?;
        Ok(true)
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

    fn not_taken(&self, why: &PaxError) -> ImportError {
        self.broken(&why.to_string())
    }
}

fn is_zero(block: &[u8]) -> bool {
    block.iter().all(|byte| *byte == 0)
}

/// Whether a block is a header: its bytes add up to what it says. Some old programs added them up
/// as signed ones.
pub(crate) fn has_checksum(block: &[u8; BLOCK_BYTES]) -> bool {
    // The field itself counts as eight spaces.
    let counted = || block[..148].iter().chain(&block[156..]);
    let unsigned: i64 = counted().map(|byte| i64::from(*byte)).sum();
    let signed: i64 = counted().map(|byte| i64::from(byte.cast_signed())).sum();
    let spaces = 8 * i64::from(b' ');
    field(&block[148..156]).is_some_and(|said| said == unsigned + spaces || said == signed + spaces)
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

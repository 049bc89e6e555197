//! What extension headers say about the entry after them (pax(1), and GNU's and star's own keys).
//! Pure.
//!
//! Driven by [`super::Tarball`]. A record overrides the header's own field, sizes among them. A
//! record that would change what an entry is, and that is not understood, is refused: an entry read
//! without it would be another one.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;

use super::number::{decimal, seconds};

/// What is said about the entry after it.
#[derive(Default)]
pub(super) struct Extensions {
    pub(super) path: Option<Vec<u8>>,
    pub(super) link: Option<Vec<u8>>,
    pub(super) size: Option<u64>,
    pub(super) uid: Option<u64>,
    pub(super) gid: Option<u64>,
    pub(super) mtime: Option<i64>,
    pub(super) device_major: Option<u32>,
    pub(super) device_minor: Option<u32>,
    pub(super) xattrs: Vec<(Vec<u8>, Vec<u8>)>,
    /// The same again as libarchive writes it: for what the other does not have.
    libarchive: Vec<(Vec<u8>, Vec<u8>)>,
    pub(super) sparse: bool,
    /// Whether there was any header that says something about an entry.
    pub(super) some: bool,
}

/// Keys without a dot that say nothing we keep. Those with one are a vendor's, by POSIX, and have
/// no bearing on what an entry is, unless they are named below.
const IDLE: [&[u8]; 8] = [
    b"atime",
    b"ctime",
    b"uname",
    b"gname",
    b"comment",
    b"charset",
    b"hdrcharset",
    b"LIBARCHIVE.creationtime",
];

/// Keys that change what an entry's contents are, in ways we do not read.
const OTHER_CONTENTS: [&[u8]; 4] =
    [b"GNU.volume.", b"SCHILY.realsize", b"SCHILY.offset", b"SUN.holesdata"];

/// A record that is not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum PaxError {
    #[error("a pax header is not as pax(1) has it")]
    Malformed,
    #[error("a pax header has the record {key:?}, which is not known")]
    Unknown { key: String },
    #[error("a global pax header gives all entries the same {key:?}")]
    Global { key: String },
}

impl Extensions {
    /// `LENGTH KEY=VALUE\n` again and again; a value may hold anything.
    pub(super) fn read(&mut self, records: &[u8]) -> Result<(), PaxError> {
        self.some = true;
        each(records, |key, value| self.record(key, value))
    }

    /// What the archive as a whole is said to have: no more than comments, because readers differ
    /// in whether entries inherit the rest.
    pub(super) fn check_global(records: &[u8]) -> Result<(), PaxError> {
        each(records, |key, _| {
            let harmless = IDLE.contains(&key) || key.contains(&b'.') && !is_about_contents(key);
            match harmless {
                true => Ok(()),
                false => Err(PaxError::Global { key: super::shown(key) }),
            }
        })
    }

    fn record(&mut self, key: &[u8], value: &[u8]) -> Result<(), PaxError> {
        if let Some(name) = key.strip_prefix(b"SCHILY.xattr.") {
            self.xattrs.push((name.to_vec(), value.to_vec()));
            return Ok(());
        }
        if let Some(name) = key.strip_prefix(b"LIBARCHIVE.xattr.") {
            let value = value.strip_suffix(b"==").or(value.strip_suffix(b"=")).unwrap_or(value);
            let value = STANDARD_NO_PAD.decode(value).map_err(|_| PaxError::Malformed)?;
            self.libarchive.push((unescaped(name), value));
            return Ok(());
        }
        // An empty value takes back what was said before.
        let empty = value.is_empty();
        let text = || (!empty).then(|| value.to_vec());
        match key {
            b"path" => self.path = text(),
            b"linkpath" => self.link = text(),
            b"size" => self.size = unless(empty, decimal(value))?,
            b"uid" => self.uid = unless(empty, decimal(value))?,
            b"gid" => self.gid = unless(empty, decimal(value))?,
            b"mtime" => self.mtime = unless(empty, seconds(value))?,
            b"SCHILY.devmajor" => self.device_major = unless(empty, decimal(value))?,
            b"SCHILY.devminor" => self.device_minor = unless(empty, decimal(value))?,
            _ if key.starts_with(b"GNU.sparse.") => self.sparse = true,
            _ if IDLE.contains(&key) => {}
            _ if key.contains(&b'.') && !is_about_contents(key) => {}
            _ => return Err(PaxError::Unknown { key: super::shown(key) }),
        }
        Ok(())
    }

    /// All extended attributes: bsdtar writes each twice.
    pub(super) fn take_xattrs(&mut self) -> Vec<(Vec<u8>, Vec<u8>)> {
        let mut all = std::mem::take(&mut self.libarchive);
        all.append(&mut self.xattrs);
        all
    }
}

fn is_about_contents(key: &[u8]) -> bool {
    key.starts_with(b"GNU.sparse.") || OTHER_CONTENTS.iter().any(|prefix| key.starts_with(prefix))
}

fn unless<T>(empty: bool, read: Option<T>) -> Result<Option<T>, PaxError> {
    match (empty, read) {
        (true, _) => Ok(None),
        (false, Some(read)) => Ok(Some(read)),
        (false, None) => Err(PaxError::Malformed),
    }
}

fn each(
    mut records: &[u8],
    mut take: impl FnMut(&[u8], &[u8]) -> Result<(), PaxError>,
) -> Result<(), PaxError> {
    let bad = || PaxError::Malformed;
    while !records.is_empty() && records[0] != 0 {
        let space = records.iter().position(|byte| *byte == b' ').ok_or_else(bad)?;
        let length: usize = decimal(&records[..space]).ok_or_else(bad)?;
        if length > records.len() || length < space + 3 || records[length - 1] != b'\n' {
            return Err(bad());
        }
        let record = &records[space + 1..length - 1];
        let equals = record.iter().position(|byte| *byte == b'=').ok_or_else(bad)?;
        take(&record[..equals], &record[equals + 1..])?;
        records = &records[length..];
    }
    Ok(())
}

/// libarchive writes names with `%XX` for what is not plain.
fn unescaped(name: &[u8]) -> Vec<u8> {
    let mut all = Vec::with_capacity(name.len());
    let mut rest = name;
    while let Some((first, after)) = rest.split_first() {
        let hex = (*first == b'%').then(|| after.get(..2)).flatten();
        let byte = hex.and_then(|hex| u8::from_str_radix(std::str::from_utf8(hex).ok()?, 16).ok());
        match byte {
            Some(byte) => (all.push(byte), rest = &after[2..]).1,
            None => (all.push(*first), rest = after).1,
        }
    }
    all
}

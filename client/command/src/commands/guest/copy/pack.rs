//! Packs files and directories of this machine for a guest.
//!
//! Every entry has exactly as many bytes as its header says, whatever becomes of the file
//! meanwhile: an archive in which one has more cannot be read behind it. Links stay links; what is
//! no content (sockets, devices, pipes) is left out and named. What can go wrong: something can't
//! be read.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use banger_wire::announced::{Announced, READ_FIRST, read_small};
use tar::{Builder, Header};

/// How many of what was left out are named.
const NAMED: usize = 20;

/// About how many bytes will go: what is on the disk, without what cannot be read.
pub(super) fn measure(from: &Path) -> io::Result<u64> {
    // What is named is meant, also by a link to it; what lies in it is as it is.
    let facts = fs::metadata(from)?;
    if !facts.is_dir() {
        return Ok(data_of(&facts));
    }
    let (mut all, mut left) = (0, vec![from.to_owned()]);
    while let Some(directory) = left.pop() {
        // What can't be read is said by the packing.
        for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
            match entry.metadata() {
                Ok(facts) if facts.is_dir() => left.push(entry.path()),
                Ok(facts) if facts.is_file() => all += data_of(&facts),
                Ok(_) | Err(_) => {}
            }
        }
    }
    Ok(all)
}

fn data_of(facts: &fs::Metadata) -> u64 {
    facts.len().min(facts.blocks().saturating_mul(512))
}

/// Packs a file or directory under another name. Answers what was left out.
pub(super) fn pack(from: &Path, name: &Path, to: impl Write) -> io::Result<Vec<String>> {
    let mut archive = Builder::new(to);
    let mut left_out = Vec::new();
    let mut left: Vec<(PathBuf, PathBuf)> = vec![(from.to_owned(), name.to_owned())];
    let mut first = true;
    while let Some((path, name)) = left.pop() {
        let facts = if first { fs::metadata(&path) } else { fs::symlink_metadata(&path) };
        let facts = match facts {
            // Removed meanwhile.
            Err(error) if error.kind() == io::ErrorKind::NotFound && !first => continue,
            facts => facts.map_err(|error| naming(&path, error))?,
        };
        first = false;
        let (kind, mut header) = (facts.file_type(), Header::new_gnu());
        header.set_metadata(&facts);
        if kind.is_dir() {
            archive.append_data(&mut header, &name, io::empty())?;
            let inside = fs::read_dir(&path).and_then(Iterator::collect::<io::Result<Vec<_>>>);
            let mut inside = inside.map_err(|error| naming(&path, error))?;
            inside.sort_by_key(fs::DirEntry::file_name);
            left.extend(
                inside.iter().rev().map(|entry| (entry.path(), name.join(entry.file_name()))),
            );
        } else if kind.is_symlink() {
            archive.append_link(&mut header, &name, fs::read_link(&path)?)?;
        } else if kind.is_file() {
            pack_file(&mut archive, &mut header, &path, &name, &facts)
                .map_err(|error| naming(&path, error))?;
        } else if left_out.len() < NAMED {
            left_out.push(format!("{}: it is neither file, directory nor link", path.display()));
        }
    }
    archive.into_inner()?.flush()?;
    Ok(left_out)
}

fn naming(path: &Path, error: io::Error) -> io::Error {
    // Its reader went away: that is told otherwise.
    if error.kind() == io::ErrorKind::BrokenPipe {
        return error;
    }
    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}

fn pack_file(
    archive: &mut Builder<impl Write>,
    header: &mut Header,
    path: &Path,
    name: &Path,
    facts: &fs::Metadata,
) -> io::Result<()> {
    let mut file = File::open(path)?;
    let said = facts.len();
    if said > READ_FIRST && data_of(facts) < said {
        // With its holes as holes.
        return archive.append_file(name, &mut file);
    }
    if said > READ_FIRST {
        return archive.append_data(header, name, Announced::new(file, said));
    }
    let content = read_small(file)?.ok_or_else(|| {
        io::Error::other(format!("it is said to have {said} bytes and does not end"))
    })?;
    header.set_size(content.len() as u64);
    archive.append_data(header, name, &content[..])
}

#[cfg(test)]
mod tests;

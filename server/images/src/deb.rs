//! Packages of Debian and its kin: an ar archive with a tar archive of the files (deb(5)).

use crate::ImportError;
use crate::blob::Blob;
use crate::budget::Budget;
use crate::root::open_layer;
use crate::tarball::{EntryKind, TarEntry, Tarball};
use crate::tree::parts;
use crate::unpack::Unpacked;

pub(crate) const MAGIC: &[u8] = b"!<arch>\n";

const HEADER_BYTES: u64 = 60;

/// An ar archive has three members in a package; more than this are none.
const MOST_MEMBERS: usize = 16;

/// The tar archive in a package, packed as it is there.
pub(crate) fn files_of(package: &Blob) -> Result<Blob, ImportError> {
    let damaged =
        |what: &str| ImportError::Damaged { from: package.from.clone(), what: what.to_owned() };
    let mut at = MAGIC.len() as u64;
    for _ in 0..MOST_MEMBERS {
        let header = Blob { offset: package.offset + at, length: HEADER_BYTES, ..package.clone() };
        if at + HEADER_BYTES > package.length {
            break;
        }
        let header = header.read_whole(HEADER_BYTES)?;
        if !header.ends_with(b"`\n") {
            return Err(damaged("a member of the package has no header"));
        }
        let text = |range: std::ops::Range<usize>| {
            String::from_utf8_lossy(&header[range]).trim_end().trim_end_matches('/').to_owned()
        };
        let length: u64 =
            text(48..58).parse().map_err(|_| damaged("a member of the package has no size"))?;
        let start = at + HEADER_BYTES;
        if start + length > package.length {
            return Err(damaged("it ends too early"));
        }
        let name = text(0..16);
        if name == "data.tar" || name.starts_with("data.tar.") {
            let from = format!("{}: {name}", package.from);
            return Ok(Blob { from, offset: package.offset + start, length, ..package.clone() });
        }
        at = start + length.next_multiple_of(2);
    }
    Err(ImportError::NotUsable {
        from: package.from.clone(),
        what: "it is an ar archive, but no package with a data.tar".to_owned(),
    })
}

/// Looks at one file of a package: its path, its header, and the archive to read it from.
pub(crate) type Take<'t> =
    dyn FnMut(&[&[u8]], &TarEntry, &mut Tarball<Unpacked<'_>>) -> Result<(), ImportError> + 't;

/// Shows every file of a package to `take`, which may read it.
pub(crate) fn each_file(
    files: &Blob,
    budget: &Budget<'_>,
    take: &mut Take<'_>,
) -> Result<(), ImportError> {
    let mut archive = open_layer(files, budget)?;
    while let Some(entry) = archive.next()? {
        budget.spend_entry().map_err(|stop| archive.stopped(stop))?;
        let path = parts(&entry.path).map_err(|why| archive.refused(&entry.path, why))?;
        if entry.kind == EntryKind::File {
            take(&path, &entry, &mut archive)?;
        }
    }
    Ok(())
}

//! `handles.json`: the hints on disk, so that a restarted agent need not search.
//!
//! Driven by the VM's task and by adoption. Versioned, and replaced by a rename, so that a reader
//! sees the old or the new content. It is not synced: everything it names is gone after a power
//! failure anyway. Missing, cut, garbled, of another VM or of a newer format it is a
//! [`NoHints`], a warning and never an error: the kernel is asked instead. Failing to write it
//! never touches a running VM.

use std::time::Duration;

use banger_proto::ids::VmId;
use serde::{Deserialize, Serialize};

use super::{HandleCache, VmHandles};
use crate::host::{BackingFile, Files, HostResult};
use crate::naming::{self, VmNames};

/// The format written. A reader takes this one and older.
pub const FORMAT: u32 = 1;

/// Why there are no hints.
#[derive(Debug, thiserror::Error)]
pub enum NoHints {
    /// There is no file.
    #[error("there is no handles.json")]
    Missing,
    /// The file could not be read.
    #[error("handles.json cannot be read")]
    Unreadable(#[source] crate::host::HostError),
    /// The file is no valid JSON of the format.
    #[error("handles.json is corrupt")]
    Corrupt(#[source] serde_json::Error),
    /// It was written by a newer agent.
    #[error("handles.json has format {found}; this agent knows {FORMAT}")]
    NewerFormat {
        /// The format found.
        found: u32,
    },
    /// It is another VM's: somebody copied it.
    #[error("handles.json belongs to VM {found}")]
    Foreign {
        /// The VM it names.
        found: VmId,
    },
}

#[derive(Serialize)]
struct Written<'a> {
    format: u32,
    vm: VmId,
    #[serde(flatten)]
    handles: &'a VmHandles,
}

#[derive(Deserialize)]
struct Header {
    format: u32,
    vm: VmId,
}

#[derive(Deserialize)]
struct Read {
    #[serde(flatten)]
    handles: VmHandles,
}

/// The file's content.
#[must_use]
pub fn encode(vm: VmId, handles: &VmHandles) -> Vec<u8> {
    let written = Written { format: FORMAT, vm, handles };
    let mut text = serde_json::to_vec_pretty(&written)
        .expect("the handles hold no map with keys that are no text, the one thing that can fail");
    text.push(b'\n');
    text
}

/// Reads the file's content.
///
/// # Errors
/// See [`NoHints`].
pub fn decode(vm: VmId, content: &[u8]) -> Result<VmHandles, NoHints> {
    let header: Header = serde_json::from_slice(content).map_err(NoHints::Corrupt)?;
    if header.format > FORMAT {
        return Err(NoHints::NewerFormat { found: header.format });
    }
    if header.vm != vm {
        return Err(NoHints::Foreign { found: header.vm });
    }
    let read: Read = serde_json::from_slice(content).map_err(NoHints::Corrupt)?;
    Ok(read.handles)
}

/// Loads the hints of a VM.
///
/// # Errors
/// See [`NoHints`].
pub async fn load(files: &dyn Files, vm: VmId, names: &VmNames) -> Result<VmHandles, NoHints> {
    let content = files
        .read(&names.dir, &naming::part(naming::file::HANDLES))
        .await
        .map_err(NoHints::Unreadable)?
        .ok_or(NoHints::Missing)?;
    Ok(only_ours(decode(vm, &content)?, names))
}

/// Without what names another's objects: every name is a function of the VM's id, so that a hint
/// with another name was not written by us for this VM.
fn only_ours(hints: VmHandles, names: &VmNames) -> VmHandles {
    let VmHandles { process, tap, base_loop, cow_loop, snapshot, restart_count } = hints;
    VmHandles {
        process,
        tap: tap.filter(|tap| *tap == names.tap),
        base_loop: base_loop.filter(|base| matches!(base.file, BackingFile::Image(_))),
        cow_loop: cow_loop.filter(|cow| cow.file == names.cow()),
        snapshot: snapshot.filter(|snapshot| *snapshot == names.snapshot),
        restart_count,
    }
}

/// Brings the file up to date with the cache. Costs nothing when it is.
///
/// # Errors
/// The file could not be written; the cache stays ahead of it, so that the next call tries again.
pub async fn flush(files: &dyn Files, cache: &HandleCache, names: &VmNames) -> HostResult<()> {
    let Some((handles, change)) = cache.unwritten() else { return Ok(()) };
    let content = encode(cache.vm(), &handles);
    files.replace_hint(&names.dir, &naming::part(naming::file::HANDLES), &content).await?;
    cache.written(change);
    Ok(())
}

/// How long a hint is worth waiting for.
const FLUSH_LIMIT: Duration = Duration::from_secs(10);

/// As [`flush`]. A hint that cannot be written, or not soon, is a warning: the kernel is asked
/// instead. A disk that hangs must not keep the VM's task, which is how it is stopped and deleted.
pub async fn try_flush(files: &dyn Files, cache: &HandleCache, names: &VmNames) {
    match tokio::time::timeout(FLUSH_LIMIT, flush(files, cache, names)).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => {
            let vm = cache.vm();
            tracing::warn!(%vm, error = error.chain(), "handles.json could not be written");
        }
        Err(_) => tracing::warn!(vm = %cache.vm(), "handles.json was not written in time"),
    }
}

#[cfg(test)]
mod tests;

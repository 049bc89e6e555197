//! Sees what a source is by its contents (archive, package, kernel, ext4), and hands it to the one
//! that reads it. Two ways in: from wherever an image is, and from a path alone.

use std::path::{Path, PathBuf};

use crate::blob::Blob;
use crate::budget::Budget;
use crate::demo::initrd_of_package;
use crate::directory::is_directory;
use crate::ext4::check_superblock;
use crate::kernel::{self, HEAD_BYTES, is_bzimage, is_cpio, is_elf, make_initrd, make_kernel};
use crate::oci::{self, Image};
use crate::output::Output;
use crate::package::KernelPackage;
use crate::registry;
use crate::root::Root;
use crate::tarball::has_checksum;
use crate::unpack::{Packing, SNIFF_BYTES};
use crate::{
    Cancel, ImportError, Kind, Made, Note, Options, Progress, Report, Source, Step, Wanted, deb,
};

/// A tar archive says so in its first header.
const TAR_MAGIC: &[u8] = b"ustar";
const TAR_MAGIC_AT: usize = 257;

/// How an ext4 superblock says so.
const EXT4_MAGIC: &[u8] = &[0x53, 0xef];
const EXT4_MAGIC_AT: usize = 1024 + 56;

/// Makes one file of what `source` is. Blocking work runs on tokio's blocking threads; dropping
/// the future cancels it.
///
/// `out` is created, or replaced as a whole, once it is complete and synced; until then the work
/// lies beside it under [`crate::SCRATCH_PREFIX`].
///
/// # Errors
///
/// See [`ImportError`]; then `out` is as it was.
pub async fn make(
    source: Source,
    wanted: Wanted,
    options: Options,
    out: PathBuf,
    report: Report,
) -> Result<Made, ImportError> {
    let mut unfinished = CancelOnDrop(Some(options.cancel.clone()));
    let (deadline, cancel) = (options.deadline, options.cancel.clone());
    let making = make_anywhere(source, wanted, options, out, report);
    let made = match deadline {
        None => making.await,
        Some(deadline) => match tokio::time::timeout(deadline, making).await {
            Ok(made) => made,
            Err(_) => {
                // A future that is given up cannot stop a thread, but the flag can.
                cancel.cancel();
                Err(ImportError::TooLong { seconds: deadline.as_secs() })
            }
        },
    };
    // One flag may serve several imports: only one that was dropped sets it.
    unfinished.0 = None;
    made
}

async fn make_anywhere(
    source: Source,
    wanted: Wanted,
    options: Options,
    out: PathBuf,
    report: Report,
) -> Result<Made, ImportError> {
    match source {
        Source::Path(path) => {
            blocking(move || make_from_path(&path, wanted, &options, &out, &*report)).await
        }
        Source::Registry(reference) => {
            if !matches!(wanted, Wanted::Auto | Wanted::Root) {
                let what = "a container image makes a root file system only".to_owned();
                return Err(ImportError::NotUsable { from: reference.to_string(), what });
            }
            let pulled = registry::pull(&reference, &options, &out, &*report).await?;
            blocking(move || {
                // The directory of the blobs is removed at the end.
                let registry::Pulled { image, directory: _directory } = pulled;
                make_root_of_image(image, &options, &out, &*report)
            })
            .await
        }
    }
}

/// As for a deadline.
struct CancelOnDrop(Option<Cancel>);

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        if let Some(cancel) = &self.0 {
            cancel.cancel();
        }
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, ImportError> + Send + 'static,
) -> Result<T, ImportError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            // The runtime is going down.
            Err(_) => Err(ImportError::Cancelled),
        },
    }
}

/// [`make`] for a file or a directory; blocking.
///
/// # Errors
///
/// As for [`make`].
pub fn make_from_path(
    path: &Path,
    wanted: Wanted,
    options: &Options,
    out: &Path,
    report: &dyn Fn(Progress),
) -> Result<Made, ImportError> {
    let from = path.display().to_string();
    if is_directory(path)? {
        if !matches!(wanted, Wanted::Auto | Wanted::Root) {
            let what = "a directory makes a root file system only".to_owned();
            return Err(ImportError::NotUsable { from, what });
        }
        if oci::is_layout(path) {
            let image = oci::read_layout(path, options, report)?;
            return make_root_of_image(image, options, out, report);
        }
        return Root::of_directory(path, options, report)?.write(None, out);
    }
    let blob = kernel::open(path, options)?;
    let found = What::of(&blob, options, report)?;
    match (wanted, found) {
        (Wanted::Auto | Wanted::Kernel, What::Kernel) => {
            make_kernel(&blob, Vec::new(), options, out, report)
        }
        (Wanted::Auto | Wanted::Kernel, What::Package) => {
            let package = KernelPackage::open(&blob, &[], out, options, report)?;
            let notes = vec![package.note()];
            make_kernel(&package.kernel, notes, options, out, report)
        }
        (Wanted::Initrd, What::Package) => initrd_of_package(&blob, options, out, report),
        (Wanted::Auto | Wanted::Initrd, What::Initrd) => make_initrd(&blob, options, out, report),
        (Wanted::Auto | Wanted::Root, What::Ext4) => copy_ext4(&blob, options, out, report),
        (Wanted::Auto | Wanted::Root, What::Archive) => {
            make_root_of_archive(blob, options, out, report)
        }
        (Wanted::Root, What::Other) => copy_ext4(&blob, options, out, report),
        (wanted, found) => Err(ImportError::NotUsable { from, what: found.unusable_as(wanted) }),
    }
}

/// What a file looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum What {
    /// An ELF file or a bzImage.
    Kernel,
    /// A Debian package.
    Package,
    Initrd,
    Ext4,
    /// A tar archive, packed or not.
    Archive,
    Rpm,
    Other,
}

impl What {
    fn of(blob: &Blob, options: &Options, report: &dyn Fn(Progress)) -> Result<Self, ImportError> {
        let head = blob.head(2048.max(HEAD_BYTES))?;
        let at = |at: usize, magic: &[u8]| head.get(at..).is_some_and(|b| b.starts_with(magic));
        Ok(if is_elf(&head) || is_bzimage(&head) {
            Self::Kernel
        } else if at(0, deb::MAGIC) {
            Self::Package
        } else if at(0, &[0xed, 0xab, 0xee, 0xdb]) {
            Self::Rpm
        } else if at(EXT4_MAGIC_AT, EXT4_MAGIC) {
            Self::Ext4
        } else if at(TAR_MAGIC_AT, TAR_MAGIC) || head.first_chunk().is_some_and(has_checksum) {
            // The oldest archives say it by their checksum alone.
            Self::Archive
        } else {
            let packed = head.len() >= SNIFF_BYTES && Packing::of(&head) != Packing::Plain;
            let budget = Budget::new(options.limits, &options.cancel, report, Step::Check, None);
            if is_cpio(blob, &budget) {
                Self::Initrd
            } else if packed {
                Self::Archive
            } else {
                Self::Other
            }
        })
    }

    fn unusable_as(self, wanted: Wanted) -> String {
        let found = match self {
            Self::Kernel => "an ELF file or a bzImage",
            Self::Package => "a Debian package",
            Self::Initrd => "a cpio archive",
            Self::Ext4 => "an ext4 file system",
            Self::Archive => "an archive",
            Self::Rpm => "an RPM package; unpack it and import its kernel",
            Self::Other => "nothing that is known",
        };
        let usable = match wanted {
            Wanted::Auto => "a kernel, an initial RAM disk, an ext4 file, an archive or an image",
            Wanted::Kernel => "a vmlinux, a bzImage or a kernel's Debian package",
            Wanted::Initrd => "a cpio archive or a kernel's Debian package",
            Wanted::Root => "an ext4 file, a tar archive, a directory or a container image",
        };
        format!("it is {found}; wanted is {usable}")
    }
}

/// Takes an ext4 file system as it is.
fn copy_ext4(
    blob: &Blob,
    options: &Options,
    out: &Path,
    report: &dyn Fn(Progress),
) -> Result<Made, ImportError> {
    if blob.length > options.limits.root_bytes {
        let (limit, unit) = (options.limits.root_bytes, "bytes of a root file system");
        return Err(ImportError::Limit { from: blob.from.clone(), limit, unit });
    }
    let checked = check_superblock(&blob.file, blob.length);
    let features =
        match checked.map_err(|source| ImportError::Read { from: blob.from.clone(), source })? {
            Ok(features) => features,
            Err(what) => return Err(ImportError::NotUsable { from: blob.from.clone(), what }),
        };
    let budget = Budget::unbounded(&options.cancel, report, Step::Write, blob.length)
        .writing_to(options.room.as_ref());
    let output = Output::create(out)?;
    output.copy_sparse(blob, &budget)?;
    let budget = Budget::unbounded(&options.cancel, report, Step::Digest, blob.length);
    let mut notes = match options.guest {
        Some(_) => vec![Note::GuestAgentNotPutIn],
        None => Vec::new(),
    };
    if !features.is_empty() {
        notes.push(Note::FileSystemFeatures(features));
    }
    output.finish(Kind::Root, notes, &budget)
}

/// A tar archive is a root file system, unless what is in it is a container image.
fn make_root_of_archive(
    blob: Blob,
    options: &Options,
    out: &Path,
    report: &dyn Fn(Progress),
) -> Result<Made, ImportError> {
    let from = blob.from.clone();
    let root = Root::of_layers(from, vec![blob.clone()], false, options, report)?;
    if let Some(within) = oci::place_in(&root.tree) {
        drop(root);
        let image = oci::read_archive(&blob, &within, out, options, report)?;
        return make_root_of_image(image, options, out, report);
    }
    root.write(None, out)
}

fn make_root_of_image(
    image: Image,
    options: &Options,
    out: &Path,
    report: &dyn Fn(Progress),
) -> Result<Made, ImportError> {
    // The guest agent is a program for machines of this kind alone.
    let foreign = (!options.platform.runs_here()).then(|| options.platform.clone());
    let without_agent = Options { guest: None, ..options.clone() };
    let options = if foreign.is_some() { &without_agent } else { options };
    let mut root = Root::of_layers(image.from, image.layers, true, options, report)?;
    root.notes.push(Note::Manifest(image.manifest));
    root.notes.extend(foreign.map(Note::OtherMachine));
    root.write(Some(image.config), out)
}

#[cfg(test)]
mod tests;

//! A small guest from a distribution's packages: a kernel, an initial RAM disk with the modules a
//! guest needs, and a busybox root file system.

mod busybox;
mod initrd;

use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use crate::blob::Blob;
use crate::budget::Budget;
use crate::kernel::{make_kernel, open};
use crate::output::Output;
use crate::package::{GUEST_MODULES, KernelPackage, TELLS_OF_PANICS};
use crate::root::Root;
use crate::{ImportError, Kind, Made, Note, Options, Progress, Step};

/// The size of the root file system, unless another is asked for.
const ROOT_BYTES: u64 = 64 << 20;

/// Packages that the demo guest is made from.
#[derive(Debug, Clone)]
pub struct DemoSources {
    /// A kernel's package (`linux-image-*.deb`), which holds its modules.
    pub kernel: PathBuf,
    /// busybox-static's package, or its static binary alone.
    pub busybox: PathBuf,
}

impl DemoSources {
    /// Finds both packages in a directory by their names; of several, the last by name.
    ///
    /// # Errors
    ///
    /// [`ImportError::Read`] and, where one of them is not there, [`ImportError::NotUsable`].
    pub fn find(dir: &Path) -> Result<Self, ImportError> {
        let failed = |source| ImportError::Read { from: dir.display().to_string(), source };
        let mut names = Vec::new();
        for entry in std::fs::read_dir(dir).map_err(failed)? {
            names.push(entry.map_err(failed)?.file_name());
        }
        names.sort();
        let last = |prefix: &str| {
            let named = |name: &std::ffi::OsString| {
                let name = name.to_string_lossy();
                // "linux-image-cloud-amd64" only depends on the kernel: a release has digits first.
                name.starts_with(prefix) && name.ends_with(".deb")
            };
            names.iter().rfind(|name| named(name)).map(|name| dir.join(name)).ok_or_else(|| {
                ImportError::NotUsable {
                    from: dir.display().to_string(),
                    what: format!("it has no package {prefix}*.deb"),
                }
            })
        };
        let digits = (1..=9).rev().find_map(|digit| last(&format!("linux-image-{digit}")).ok());
        let kernel = match digits {
            Some(kernel) => kernel,
            None => last("linux-image-")?,
        };
        Ok(Self { kernel, busybox: last("busybox-static")? })
    }
}

/// The files to be made.
#[derive(Debug, Clone)]
pub struct DemoFiles {
    /// The kernel, an ELF file.
    pub kernel: PathBuf,
    /// The initial RAM disk.
    pub initrd: PathBuf,
    /// The root file system.
    pub root: PathBuf,
}

impl DemoFiles {
    /// `vmlinux`, `initrd.img` and `root.ext4` in a directory.
    #[must_use]
    pub fn within(dir: &Path) -> Self {
        Self {
            kernel: dir.join("vmlinux"),
            initrd: dir.join("initrd.img"),
            root: dir.join("root.ext4"),
        }
    }
}

/// What was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Demo {
    pub kernel: Made,
    /// The initial RAM disk.
    pub initrd: Made,
    /// The root file system.
    pub root: Made,
}

/// Makes the demo guest; blocking. With [`Options::guest`] its init starts the guest agent.
/// Without [`Options::root_size`] the root file system has 64 MiB.
///
/// # Errors
///
/// See [`ImportError`]; files made before the one that failed stay.
pub fn build_demo(
    sources: &DemoSources,
    options: &Options,
    out: &DemoFiles,
    report: &dyn Fn(Progress),
) -> Result<Demo, ImportError> {
    let package = open(&sources.kernel, options)?;
    let package = KernelPackage::open(&package, &GUEST_MODULES, &out.kernel, options, report)?;
    let kernel = make_kernel(&package.kernel, vec![package.note()], options, &out.kernel, report)?;
    let busybox = read_busybox(&sources.busybox, options, report)?;
    let initrd = make_guest_initrd(package, &busybox, options, &out.initrd, report)?;
    let mut options = options.clone();
    options.root_size.get_or_insert(ROOT_BYTES);
    let tree = busybox::busybox_tree(&busybox);
    let root = Root::of_tree(sources.busybox.display().to_string(), tree, &options, report);
    let root = root.write(None, &out.root)?;
    Ok(Demo { kernel, initrd, root })
}

fn read_busybox(
    path: &Path,
    options: &Options,
    report: &dyn Fn(Progress),
) -> Result<Vec<u8>, ImportError> {
    let budget = Budget::new(options.limits, &options.cancel, report, Step::Check, None);
    busybox::read_busybox(&open(path, options)?, &budget)
}

/// An initial RAM disk from a kernel's package and a busybox.
pub(crate) fn initrd_of_package(
    package: &Blob,
    options: &Options,
    out: &Path,
    report: &dyn Fn(Progress),
) -> Result<Made, ImportError> {
    let Some(busybox) = &options.busybox else {
        let what =
            "an initial RAM disk of a kernel's package needs a static busybox too".to_owned();
        return Err(ImportError::NotUsable { from: package.from.clone(), what });
    };
    let busybox = read_busybox(busybox, options, report)?;
    let package = KernelPackage::open(package, &GUEST_MODULES, out, options, report)?;
    make_guest_initrd(package, &busybox, options, out, report)
}

fn make_guest_initrd(
    package: KernelPackage,
    busybox: &[u8],
    options: &Options,
    out: &Path,
    report: &dyn Fn(Progress),
) -> Result<Made, ImportError> {
    let mut notes = vec![package.note()];
    let mut modules = package.modules(&GUEST_MODULES, options, report)?;
    modules.missing.retain(|name| name != TELLS_OF_PANICS);
    if !modules.missing.is_empty() {
        notes.push(Note::ModulesMissing(modules.missing.clone()));
    }
    let mut output = Output::create(out)?;
    let mut writer = BufWriter::new(&mut output);
    let written =
        initrd::write_initrd(&modules, busybox, &mut writer).and_then(|()| writer.flush());
    drop(writer);
    written.map_err(|error| output.failed(error))?;
    let size = output.file().metadata().map_err(|error| output.failed(error))?.len();
    let budget = Budget::unbounded(&options.cancel, report, Step::Digest, size);
    output.finish(Kind::Initrd, notes, &budget)
}

#[cfg(test)]
mod tests;

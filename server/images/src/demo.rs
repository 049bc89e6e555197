//! A small guest from a distribution's packages: a kernel, an initial RAM disk with the modules a
//! guest needs, and a busybox root file system.

use std::path::{Path, PathBuf};

use crate::{ImportError, Made, Options, Progress};

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
        Err(ImportError::NotUsable {
            from: dir.display().to_string(),
            what: "not read yet".to_owned(),
        })
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
    /// The kernel.
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
    let _ = (options, out, report);
    Err(ImportError::NotUsable {
        from: sources.kernel.display().to_string(),
        what: "not read yet".to_owned(),
    })
}

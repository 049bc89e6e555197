//! Turns what people have into what a VM boots: a kernel, an initial RAM disk or an ext4 root
//! file system, one file each.
//!
//! ```text
//! Source ── pull (async, registries) ─▶ file or directory ── what is it? ─▶ kernel: bzImage, .deb ─▶ ELF
//!                                                                     └─▶ root: layers ─▶ tree ─▶ ext4
//! ```
//!
//! Driven by the server's image service and by `banger image build-demo`. Knows no API, no store
//! and no VM. Everything read is hostile: an archive is read twice, first into a tree in memory
//! that is checked as a whole and is bounded by [`Limits`], then for its contents. Nothing is
//! unpacked onto this machine's file systems, nothing is mounted and no program of an image is run,
//! so no right is needed beyond writing the file asked for. Where a registry wants a password, the
//! helper that Docker's configuration names is asked.
//!
//! What can go wrong is an [`ImportError`], which names the source and the entry. A failed or
//! cancelled import leaves nothing; one whose process was killed leaves a file or directory
//! beside the output whose name begins with [`SCRATCH_PREFIX`].
//!
//! docs/IMAGES.md says what is accepted, what is refused and the limits.

mod blob;
mod budget;
mod deb;
mod demo;
mod directory;
mod error;
mod ext4;
mod guest;
mod kernel;
mod layer;
mod made;
mod make;
mod oci;
mod options;
mod output;
mod pace;
mod pack;
mod package;
mod platform;
mod registry;
mod root;
mod source;
mod tarball;
#[cfg(test)]
mod testing;
mod tree;
mod unpack;

pub use demo::{Demo, DemoFiles, DemoSources, build_demo};
pub use error::{ErrorClass, ImportError, Refusal};
pub use made::{Kind, Made, Note, Wanted};
pub use make::{make, make_from_path};
pub use options::{
    Cancel, Credentials, Devices, Limits, Options, PrivateRegistries, Progress, Registries, Report,
    Room, Step,
};
pub use pace::{Pace, Patience, TooSlow};
pub use pack::pack_directory;
pub use platform::{Platform, PlatformError};
pub use registry::check_docker_config;
pub use source::{Reference, ReferenceError, Source};

/// How the names of unfinished files and directories begin; they lie beside the output.
pub const SCRATCH_PREFIX: &str = ".banger-import-";

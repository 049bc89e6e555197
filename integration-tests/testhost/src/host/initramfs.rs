//! Writes an initial RAM disk: a cpio archive of the kernel's "newc" form, not compressed.
//!
//! Driven by [`super::image`] for the host and [`super::guest`] for guests. The form is in the
//! kernel's `Documentation/driver-api/early-userspace/buffer-format.rst`. Written here because the
//! archive then has device nodes and owners without being root, and the same bytes every time.

use std::fs;
use std::path::{Path, PathBuf};

use super::HostError;

const DIRECTORY: u32 = 0o040_755;
const PROGRAM: u32 = 0o100_755;
const LINK: u32 = 0o120_777;
const CHARACTER_DEVICE: u32 = 0o020_600;

/// An archive being put together.
#[derive(Debug, Default)]
pub struct Initramfs {
    bytes: Vec<u8>,
    entries: u32,
}

impl Initramfs {
    /// With the directories and the console every init wants, busybox, an init script, further
    /// programs, and kernel modules with the list of their names in order.
    ///
    /// # Errors
    ///
    /// A module or busybox that is not there.
    pub fn with_busybox(
        init: &[u8],
        programs: &[(&str, &[u8])],
        module_tree: &Path,
        modules: &[&str],
    ) -> Result<Vec<u8>, HostError> {
        let mut archive = Self::default();
        for directory in ["bin", "dev", "lib", "proc", "sys", "root", "mnt"] {
            archive.entry(directory, DIRECTORY, (0, 0), &[]);
        }
        // Before devtmpfs is mounted, the first program's output goes here.
        archive.entry("dev/console", CHARACTER_DEVICE, (5, 1), &[]);
        let busybox = Path::new("/bin/busybox");
        let program = fs::read(busybox).map_err(|_| HostError::NotBuilt {
            what: "busybox".to_owned(),
            path: busybox.to_owned(),
            remedy: "install Debian's package busybox-static",
        })?;
        archive.entry("bin/busybox", PROGRAM, (0, 0), &program);
        archive.entry("bin/sh", LINK, (0, 0), b"busybox");
        archive.entry("init", PROGRAM, (0, 0), init);
        for (name, contents) in programs {
            archive.entry(name, PROGRAM, (0, 0), contents);
        }
        let files = find_modules(module_tree)?;
        for module in modules {
            let path = files
                .iter()
                .find(|path| path.file_stem().is_some_and(|stem| stem == *module))
                .ok_or_else(|| HostError::Unfit(format!("the kernel has no module {module}")))?;
            let contents = fs::read(path).map_err(HostError::file("read", path))?;
            archive.entry(&format!("lib/{module}.ko"), PROGRAM, (0, 0), &contents);
        }
        archive.entry("modules", PROGRAM, (0, 0), modules.join("\n").as_bytes());
        Ok(archive.finish())
    }

    fn entry(&mut self, name: &str, mode: u32, device: (u32, u32), contents: &[u8]) {
        self.entries += 1;
        let fields = [
            self.entries,
            mode,
            0,
            0,
            1,
            0,
            u32::try_from(contents.len()).unwrap_or(u32::MAX),
            0,
            0,
            device.0,
            device.1,
            u32::try_from(name.len() + 1).unwrap_or(u32::MAX),
            0,
        ];
        self.bytes.extend_from_slice(b"070701");
        for field in fields {
            self.bytes.extend_from_slice(format!("{field:08x}").as_bytes());
        }
        self.bytes.extend_from_slice(name.as_bytes());
        self.bytes.push(0);
        self.pad();
        self.bytes.extend_from_slice(contents);
        self.pad();
    }

    fn pad(&mut self) {
        while !self.bytes.len().is_multiple_of(4) {
            self.bytes.push(0);
        }
    }

    fn finish(mut self) -> Vec<u8> {
        self.entry("TRAILER!!!", 0, (0, 0), &[]);
        self.bytes
    }
}

fn find_modules(tree: &Path) -> Result<Vec<PathBuf>, HostError> {
    let mut found = Vec::new();
    let mut directories = vec![tree.to_owned()];
    while let Some(directory) = directories.pop() {
        let listing = fs::read_dir(&directory).map_err(HostError::file("list", &directory))?;
        for entry in listing.flatten() {
            let path = entry.path();
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                directories.push(path);
            } else if path.extension().is_some_and(|extension| extension == "ko") {
                found.push(path);
            }
        }
    }
    found.sort();
    Ok(found)
}

#[cfg(test)]
mod tests;

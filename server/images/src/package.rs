//! A kernel's package: the kernel, and the modules that a guest needs, each once and in the order
//! in which they are to be loaded.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read, Write};
use std::path::Path;

use tempfile::NamedTempFile;

use crate::blob::Blob;
use crate::budget::{Budget, Stop, read_error};
use crate::deb::{each_file, files_of};
use crate::kernel::{depends, module_name};
use crate::output::directory_of;
use crate::tarball::Tarball;
use crate::unpack::{Unpacked, unpacked};
use crate::{ImportError, Note, Options, Progress, SCRATCH_PREFIX, Step};

/// What a guest's disk, network, console and channel to its host need, where it is not built in.
/// Firecracker has its devices on virtio-mmio, QEMU on PCI. The last ones are for kernels that
/// have not even ext4 built in.
pub(crate) const GUEST_MODULES: [&str; 18] = [
    "virtio_ring",
    "virtio",
    "virtio_mmio",
    "virtio_pci_modern_dev",
    "virtio_pci_legacy_dev",
    "virtio_pci",
    "virtio_blk",
    "failover",
    "net_failover",
    "virtio_net",
    "virtio_console",
    "vsock",
    "vmw_vsock_virtio_transport_common",
    "vmw_vsock_virtio_transport",
    TELLS_OF_PANICS,
    "af_packet",
    "crc32c_generic",
    "ext4",
];

/// By it a guest's kernel tells QEMU that it panicked, so that this is not taken for a shutdown.
/// Its console says the same, so that nothing is missing without.
pub(crate) const TELLS_OF_PANICS: &str = "pvpanic_mmio";

/// Modules need modules need modules; nobody goes deeper than this.
const MOST_PASSES: usize = 6;

const MOST_MODULE_BYTES: u64 = 16 << 20;
const MOST_LIST_BYTES: u64 = 4 << 20;

/// Bytes of all modules that are kept: an initial RAM disk has a few MiB of them.
const MOST_KEPT_BYTES: u64 = 256 << 20;

/// Modules that are looked for, in all.
const MOST_MODULES: usize = 1024;

/// What was found in a kernel's package.
pub(crate) struct KernelPackage {
    from: String,
    files: Blob,
    /// The kernel as it lies in the package, in a file of our own.
    pub(crate) kernel: Blob,
    pub(crate) release: String,
    _scratch: NamedTempFile,
    builtin: BTreeSet<String>,
    modules: Kept,
}

/// Modules in the order in which they are to be loaded.
pub(crate) struct Modules {
    pub(crate) in_order: Vec<(String, Vec<u8>)>,
    pub(crate) missing: Vec<String>,
}

impl KernelPackage {
    /// Takes the kernel out, and those modules of `wanted` that are there, into files and memory
    /// beside `out`.
    pub(crate) fn open(
        package: &Blob,
        wanted: &[&str],
        out: &Path,
        options: &Options,
        report: &dyn Fn(Progress),
    ) -> Result<Self, ImportError> {
        let write_failed = |source| ImportError::Write { path: out.to_owned(), source };
        let mut scratch = tempfile::Builder::new()
            .prefix(SCRATCH_PREFIX)
            .tempfile_in(directory_of(out))
            .map_err(write_failed)?;
        let files = files_of(package)?;
        let budget = Budget::new(options.limits, &options.cancel, report, Step::Check, None);
        let wanted: BTreeSet<_> = wanted.iter().map(|name| (*name).to_owned()).collect();
        let (mut release, mut builtin, mut modules) = (None, None, Kept::default());
        each_file(&files, &budget, &mut |path, entry, archive| {
            if let Some(named) = kernel_release(path) {
                if release.replace(named).is_some() {
                    let what = "the package has several kernels".to_owned();
                    return Err(ImportError::NotUsable { from: package.from.clone(), what });
                }
                let mut chunk = vec![0; 256 << 10];
                loop {
                    let read = archive.read(&mut chunk)?;
                    if read == 0 {
                        return Ok(());
                    }
                    scratch.write_all(&chunk[..read]).map_err(write_failed)?;
                }
            } else if path.last() == Some(&&b"modules.builtin"[..]) {
                let list = archive.read_whole(MOST_LIST_BYTES)?;
                let names = list.split(|byte| *byte == b'\n').filter_map(name_of_module);
                if builtin.replace(names.collect()).is_some() {
                    let what = "the package has several lists of what is built in".to_owned();
                    return Err(ImportError::NotUsable { from: package.from.clone(), what });
                }
                Ok(())
            } else {
                take_module(path, &entry.path, archive, &wanted, &mut modules, &budget)
            }
        })?;
        let Some(release) = release else {
            return Err(ImportError::NotUsable {
                from: package.from.clone(),
                what: "the package has no kernel in /boot".to_owned(),
            });
        };
        let file = scratch.reopen().map_err(write_failed)?;
        let from = format!("{}: vmlinuz-{release}", package.from);
        let kernel = Blob::of_file(file, from, options.limits.source_bytes)?;
        let from = package.from.clone();
        let builtin = builtin.unwrap_or_default();
        Ok(Self { from, files, kernel, release, _scratch: scratch, builtin, modules })
    }

    /// `wanted` and what they need, needs first.
    pub(crate) fn modules(
        mut self,
        wanted: &[&str],
        options: &Options,
        report: &dyn Fn(Progress),
    ) -> Result<Modules, ImportError> {
        let mut searched: BTreeSet<String> = wanted.iter().map(|name| (*name).to_owned()).collect();
        for _ in 0..MOST_PASSES {
            let lacking: BTreeSet<_> = self
                .modules
                .by_name
                .values()
                .flat_map(|module| depends(module).unwrap_or_default())
                .filter(|name| !searched.contains(name) && !self.builtin.contains(name))
                .collect();
            if lacking.is_empty() {
                return Ok(self.in_order(wanted));
            }
            if searched.len() + lacking.len() > MOST_MODULES {
                let (limit, unit) = (MOST_MODULES as u64, "modules that need each other");
                return Err(ImportError::Limit { from: self.from, limit, unit });
            }
            let budget = Budget::new(options.limits, &options.cancel, report, Step::Check, None);
            let Self { files, modules, .. } = &mut self;
            each_file(files, &budget, &mut |path, entry, archive| {
                take_module(path, &entry.path, archive, &lacking, modules, &budget)
            })?;
            searched.extend(lacking);
        }
        let what = "its modules need each other without an end".to_owned();
        Err(ImportError::Damaged { from: self.from, what })
    }

    fn in_order(mut self, wanted: &[&str]) -> Modules {
        let mut modules = Modules { in_order: Vec::new(), missing: Vec::new() };
        // What is to be put in, and whether what it needs was before it on the stack.
        let mut stack: Vec<(String, bool)> =
            wanted.iter().rev().map(|name| ((*name).to_owned(), false)).collect();
        let mut seen = BTreeSet::new();
        while let Some((name, ready)) = stack.pop() {
            if ready {
                if let Some(module) = self.modules.by_name.remove(&name) {
                    modules.in_order.push((name, module));
                }
                continue;
            }
            if !seen.insert(name.clone()) {
                continue;
            }
            let Some(module) = self.modules.by_name.get(&name) else {
                if !self.builtin.contains(&name) {
                    modules.missing.push(name);
                }
                continue;
            };
            let needs = depends(module).unwrap_or_default();
            stack.push((name, true));
            stack.extend(needs.into_iter().rev().map(|need| (need, false)));
        }
        modules
    }

    pub(crate) fn note(&self) -> Note {
        Note::KernelRelease(self.release.clone())
    }
}

/// Modules by name, within [`MOST_KEPT_BYTES`].
#[derive(Default)]
struct Kept {
    by_name: BTreeMap<String, Vec<u8>>,
    bytes: u64,
}

impl Kept {
    fn keep(&mut self, name: String, module: Vec<u8>) -> Result<(), Stop> {
        self.bytes += module.len() as u64;
        if self.bytes > MOST_KEPT_BYTES {
            return Err(Stop::Limit { limit: MOST_KEPT_BYTES, unit: "bytes of modules" });
        }
        self.by_name.insert(name, module);
        Ok(())
    }
}

/// `boot/vmlinuz-RELEASE`
fn kernel_release(path: &[&[u8]]) -> Option<String> {
    let [.., b"boot", name] = path else { return None };
    let release = name.strip_prefix(b"vmlinuz-")?;
    Some(String::from_utf8_lossy(release).into_owned())
}

/// `kernel/fs/ext4/ext4.ko.xz` is `ext4`.
fn name_of_module(path: &[u8]) -> Option<String> {
    let name = path.rsplit(|byte| *byte == b'/').next()?;
    let name = std::str::from_utf8(name).ok()?;
    let (name, packing) = name.split_once(".ko")?;
    matches!(packing, "" | ".xz" | ".zst" | ".gz").then(|| module_name(name))
}

fn take_module(
    path: &[&[u8]],
    full: &[u8],
    archive: &mut Tarball<Unpacked<'_>>,
    wanted: &BTreeSet<String>,
    modules: &mut Kept,
    budget: &Budget<'_>,
) -> Result<(), ImportError> {
    let Some(name) = path.last().and_then(|name| name_of_module(name)) else { return Ok(()) };
    if !path.contains(&&b"modules"[..]) || !wanted.contains(&name) {
        return Ok(());
    }
    let from = String::from_utf8_lossy(full).into_owned();
    let packed = archive.read_whole(MOST_MODULE_BYTES)?;
    let mut module = Vec::new();
    let stream = unpacked(&packed[..], &from, budget)?;
    let read = stream.take(MOST_MODULE_BYTES + 1).read_to_end(&mut module);
    read.map_err(|error| read_error(&from, error))?;
    if module.len() as u64 > MOST_MODULE_BYTES {
        let (limit, unit) = (MOST_MODULE_BYTES, "bytes in a module");
        return Err(ImportError::Limit { from, limit, unit });
    }
    if depends(&module).is_none() {
        let what = "it is no module of a kernel".to_owned();
        return Err(ImportError::Damaged { from, what });
    }
    modules.keep(name, module).map_err(|stop| stop.at(&from))
}

#[cfg(test)]
pub(crate) mod tests;

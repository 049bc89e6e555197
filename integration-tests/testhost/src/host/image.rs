//! The host's own system: a Debian root file system, its kernel, and an initial RAM disk.
//!
//! Driven by [`super::TestHost::start`]; built once (about a minute) and kept until the inputs
//! change: the package list beside this package, the Debian release, and [`FORM`]. The initial RAM
//! disk is a product of its own, because it carries the host's init and is made in a second.
//! Everything comes from Debian's packages, through the mirror this machine's own apt
//! uses, of the release this machine runs, so that programs built here run there.
//!
//! What can go wrong: no root (debootstrap needs it), no package lists (`apt-get update` was never
//! run), no network to the mirror.

use std::fs;
use std::path::{Path, PathBuf};

use super::HostError;
use super::cache::Cache;
use super::initramfs::Initramfs;
use super::tool::{Tool, ToolError};

/// Counts changes of this file that need a new image.
const FORM: &[u8] = b"2";

const PACKAGES: &str = include_str!("../../packages");
const HOST_INIT: &str = include_str!("../../host-init");
const HOST_INITRAMFS: &str = include_str!("../../host-initramfs");

/// The kernel of host and guests: small, and has all that is wanted as modules.
const KERNEL_PACKAGE: &str = "linux-image-cloud-amd64";

/// What the host's root disk needs, in this order.
const MODULES: [&str; 6] = [
    "virtio_ring",
    "virtio",
    "virtio_pci_modern_dev",
    "virtio_pci_legacy_dev",
    "virtio_pci",
    "virtio_blk",
];

/// The files QEMU starts from.
#[derive(Debug, Clone)]
pub struct Image {
    /// Debian's kernel, as packaged.
    pub kernel: PathBuf,
    /// The initial RAM disk.
    pub initramfs: PathBuf,
    /// The root disk; never written to.
    pub root: PathBuf,
    /// The kernel's modules, unpacked.
    pub modules: PathBuf,
    /// The name of the product, for what is made from it.
    pub key: String,
}

/// Builds the image, or finds it built.
///
/// # Errors
///
/// See [`HostError`].
pub fn ensure(cache: &Cache) -> Result<Image, HostError> {
    if std::env::consts::ARCH != "x86_64" {
        return Err(HostError::Unfit("it is not an x86-64".to_owned()));
    }
    let suite = suite()?;
    let inputs = [FORM, PACKAGES.as_bytes(), suite.as_bytes()];
    let product = cache.product("image", &inputs, 0, |into| build(into, &suite))?;
    let key = product.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let modules = product.join("modules");
    let inputs = [key.as_bytes(), HOST_INIT.as_bytes(), HOST_INITRAMFS.as_bytes()];
    let boot = cache.product("boot", &inputs, 0, |into| {
        let programs = [("host-init", HOST_INIT.as_bytes())];
        let init = HOST_INITRAMFS.as_bytes();
        let archive = Initramfs::with_busybox(init, &programs, &modules, &MODULES)?;
        write(&into.join("initramfs"), &archive)
    })?;
    Ok(Image {
        kernel: product.join("vmlinuz"),
        initramfs: boot.join("initramfs"),
        root: product.join("root.ext4"),
        modules,
        key,
    })
}

fn build(into: &Path, suite: &str) -> Result<(), HostError> {
    if !nix::unistd::geteuid().is_root() {
        return Err(HostError::Unfit("its image is built with debootstrap, as root".to_owned()));
    }
    println!("building the test host's image for Debian {suite}; a minute, once");
    let kernel = into.join("kernel");
    let release = unpack_kernel(into, &kernel)?;
    let root = into.join("root");
    let packages: Vec<&str> = PACKAGES
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .collect();
    Tool::new("debootstrap")
        .arg("--variant=minbase")
        .arg(format!("--include={}", packages.join(",")))
        .arg(suite)
        .arg(&root)
        .arg(mirror()?)
        .run()?;
    furnish(&root, &kernel, &release)?;
    make_disk(&root, &into.join("root.ext4"), "2G")?;

    let modules = kernel.join("lib/modules").join(&release).join("kernel");
    let vmlinuz = kernel.join("boot").join(format!("vmlinuz-{release}"));
    let target = into.join("vmlinuz");
    fs::copy(&vmlinuz, &target).map_err(HostError::file("copy", &vmlinuz))?;
    let kept = into.join("modules");
    fs::rename(&modules, &kept).map_err(HostError::file("rename", &modules))?;
    write(&into.join("release"), release.as_bytes())?;
    for left in [kernel, root] {
        fs::remove_dir_all(&left).map_err(HostError::file("remove", &left))?;
    }
    Ok(())
}

/// Fetches and unpacks the newest kernel package; answers its release (`uname -r`).
fn unpack_kernel(into: &Path, kernel: &Path) -> Result<String, HostError> {
    let depends = Tool::new("apt-cache").args(["depends", KERNEL_PACKAGE]).run()?;
    let depends = String::from_utf8_lossy(&depends).into_owned();
    let package = depends
        .lines()
        .filter_map(|line| line.trim().strip_prefix("Depends: "))
        .find(|name| name.starts_with("linux-image-"))
        .ok_or_else(|| {
            HostError::Unfit(format!("apt knows no {KERNEL_PACKAGE}; run `apt-get update`"))
        })?;
    let fetched = into.join("fetched");
    fs::create_dir(&fetched).map_err(HostError::file("make", &fetched))?;
    // As root apt would fetch as another user, who may not write here.
    Tool::new("apt-get")
        .args(["-q", "-o", "APT::Sandbox::User=root", "download", package])
        .directory(&fetched)
        .run()?;
    let archive = fs::read_dir(&fetched)
        .map_err(HostError::file("list", &fetched))?
        .flatten()
        .map(|entry| entry.path())
        .next()
        .ok_or_else(|| HostError::Unfit(format!("apt-get fetched no {package}")))?;
    Tool::new("dpkg-deb").arg("-x").arg(&archive).arg(kernel).run()?;
    fs::remove_dir_all(&fetched).map_err(HostError::file("remove", &fetched))?;
    Ok(package.trim_start_matches("linux-image-").to_owned())
}

/// Modules into the root file system, and out of it what nobody reads.
fn furnish(root: &Path, kernel: &Path, release: &str) -> Result<(), HostError> {
    for waste in
        ["var/cache/apt", "var/lib/apt/lists", "usr/share/doc", "usr/share/locale", "usr/share/man"]
    {
        let path = root.join(waste);
        fs::remove_dir_all(&path).map_err(HostError::file("remove", &path))?;
    }
    let modules = root.join("usr/lib/modules");
    fs::create_dir_all(&modules).map_err(HostError::file("make", &modules))?;
    let source = kernel.join("lib/modules").join(release);
    Tool::new("cp").arg("-a").arg(&source).arg(&modules).run()?;
    Tool::new("chroot").arg(root).args(["depmod", release]).run()?;
    let directory = root.join("testhost");
    fs::create_dir_all(&directory).map_err(HostError::file("make", &directory))?;
    let data = root.join("data");
    fs::create_dir_all(&data).map_err(HostError::file("make", &data))
}

/// An ext4 file system of the given size with a directory's contents, owned by root.
pub(super) fn make_disk(contents: &Path, disk: &Path, size: &str) -> Result<(), ToolError> {
    Tool::new("mke2fs")
        .args([
            "-q",
            "-F",
            "-t",
            "ext4",
            "-m",
            "0",
            "-O",
            "^has_journal",
            "-E",
            "root_owner=0:0,lazy_itable_init=1",
        ])
        .arg("-d")
        .arg(contents)
        .arg(disk)
        .arg(size)
        .run()
        .map(drop)
}

pub(super) fn write(path: &Path, contents: &[u8]) -> Result<(), HostError> {
    fs::write(path, contents).map_err(HostError::file("write", path))
}

pub(super) fn make_executable(path: &Path) -> Result<(), HostError> {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(path, fs::Permissions::from_mode(0o755))
        .map_err(HostError::file("make executable", path))
}

/// The name of the Debian release this machine runs.
fn suite() -> Result<String, HostError> {
    let path = Path::new("/etc/os-release");
    let text = fs::read_to_string(path).map_err(HostError::file("read", path))?;
    let value = |key: &str| {
        text.lines()
            .find_map(|line| line.strip_prefix(key))
            .map(|value| value.trim_matches('"').to_owned())
    };
    match (value("ID="), value("VERSION_CODENAME=")) {
        (Some(id), Some(codename)) if id == "debian" => Ok(codename),
        _ => {
            Err(HostError::Unfit("its image is made from Debian's packages, on Debian".to_owned()))
        }
    }
}

/// The mirror of this machine's apt.
fn mirror() -> Result<String, HostError> {
    let mut texts = Vec::new();
    let one_line = Path::new("/etc/apt/sources.list");
    texts.extend(fs::read_to_string(one_line));
    if let Ok(listing) = fs::read_dir("/etc/apt/sources.list.d") {
        let mut paths: Vec<PathBuf> = listing.flatten().map(|entry| entry.path()).collect();
        paths.sort();
        texts.extend(paths.iter().filter_map(|path| fs::read_to_string(path).ok()));
    }
    mirror_in(&texts.join("\n"))
        .ok_or_else(|| HostError::Unfit("apt's sources name no Debian mirror".to_owned()))
}

/// The first archive that is not one for security updates, in either form of apt's sources.
fn mirror_in(sources: &str) -> Option<String> {
    let addresses = sources.lines().filter_map(|line| {
        let line = line.trim();
        if let Some(rest) = line.strip_prefix("URIs:") {
            return rest.split_whitespace().next();
        }
        let mut words = line.strip_prefix("deb ")?.split_whitespace();
        words.find(|word| word.contains("://"))
    });
    addresses
        .map(|address| address.trim_end_matches('/'))
        .find(|address| !address.contains("security"))
        .map(str::to_owned)
}

#[cfg(test)]
mod tests;

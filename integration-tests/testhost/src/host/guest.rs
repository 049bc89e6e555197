//! What guests in the test host boot: a kernel, an initial RAM disk and a root file system.
//!
//! Driven by [`super::TestHost::start`]; made once from the image's own kernel. A real Firecracker
//! wants the kernel as an uncompressed ELF file, which is inside Debian's `vmlinuz`; its virtio
//! drivers are modules, so the guest needs an initial RAM disk, whose init script is the guest.

use std::fs;
use std::path::{Path, PathBuf};

use super::HostError;
use super::cache::Cache;
use super::image::{Image, make_disk, write};
use super::initramfs::Initramfs;
use super::programs;
use super::tool::Tool;

/// Counts changes of this file that need new images.
const FORM: &[u8] = b"3";

const GUEST_INIT: &str = include_str!("../../guest-init");

/// What the guest's disk, network card and way to its host need, in this order.
const MODULES: [&str; 10] = [
    "virtio_ring",
    "virtio",
    "virtio_mmio",
    "virtio_blk",
    "failover",
    "net_failover",
    "virtio_net",
    "vsock",
    "vmw_vsock_virtio_transport_common",
    "vmw_vsock_virtio_transport",
];

/// Size of the root file system; the image is one mebibyte longer, for the count of boots.
const ROOT_MIB: u64 = 31;

/// The images, by the names tests use.
#[derive(Debug, Clone)]
pub struct GuestImages {
    /// The directory with `vmlinux`, `initrd` and `root.ext4`.
    pub directory: PathBuf,
    /// The name of the product.
    pub key: String,
}

/// The files of a guest, in order: kernel, initial RAM disk, root file system.
pub const FILES: [&str; 3] = ["vmlinux", "initrd", "root.ext4"];

/// Makes the images, or finds them made.
///
/// # Errors
///
/// See [`HostError`].
pub fn ensure(cache: &Cache, image: &Image) -> Result<GuestImages, HostError> {
    let agent = guest_agent()?;
    let path = programs::hostile_guest(cache)?;
    let hostile = fs::read(&path).map_err(HostError::file("read", &path))?;
    let programs = [("bin/banger-guest", &agent[..]), ("bin/hostile-guest", &hostile)];
    let inputs = [FORM, image.key.as_bytes(), GUEST_INIT.as_bytes(), &agent, &hostile];
    let directory = cache.product("guest", &inputs, 0, |into| build(into, image, &programs))?;
    let key = directory.file_name().unwrap_or_default().to_string_lossy().into_owned();
    Ok(GuestImages { directory, key })
}

/// The guest agent; built, where it is not yet, in a minute or two.
fn guest_agent() -> Result<Vec<u8>, HostError> {
    let path = super::demo::path_said_by(".ci/guest.sh")?;
    fs::read(&path).map_err(HostError::file("read", &path))
}

fn build(into: &Path, image: &Image, programs: &[(&str, &[u8])]) -> Result<(), HostError> {
    let [kernel, initrd, root] = FILES;
    let packed = fs::read(&image.kernel).map_err(HostError::file("read", &image.kernel))?;
    let payload = lz4_payload(&packed)
        .ok_or_else(|| HostError::Unfit("Debian's kernel is not packed with LZ4".to_owned()))?;
    let packed = into.join("kernel.lz4");
    write(&packed, payload)?;
    let unpacked = into.join(kernel);
    Tool::new("lz4").args(["-q", "-d", "-f"]).arg(&packed).arg(&unpacked).run()?;
    fs::remove_file(&packed).map_err(HostError::file("remove", &packed))?;

    let archive =
        Initramfs::with_busybox(GUEST_INIT.as_bytes(), programs, &image.modules, &MODULES)?;
    write(&into.join(initrd), &archive)?;

    let contents = into.join("contents");
    fs::create_dir_all(contents.join("etc")).map_err(HostError::file("make", &contents))?;
    write(&contents.join("etc/motd"), b"a guest of banger's test host\n")?;
    let disk = into.join(root);
    make_disk(&contents, &disk, &format!("{ROOT_MIB}M"))?;
    fs::OpenOptions::new()
        .write(true)
        .open(&disk)
        .and_then(|file| file.set_len((ROOT_MIB + 1) << 20))
        .map_err(HostError::file("lengthen", &disk))?;
    fs::remove_dir_all(&contents).map_err(HostError::file("remove", &contents))
}

/// The packed kernel inside a bzImage, without the four bytes of its size behind it. Offsets as in
/// the kernel's `Documentation/arch/x86/boot.rst`.
fn lz4_payload(image: &[u8]) -> Option<&[u8]> {
    const LZ4_LEGACY: [u8; 4] = [0x02, 0x21, 0x4c, 0x18];
    let number = |at: usize| {
        let bytes = image.get(at..at + 4)?;
        Some(u32::from_le_bytes(bytes.try_into().ok()?) as usize)
    };
    let setup_sectors = match *image.get(0x1f1)? {
        0 => 4,
        sectors => usize::from(sectors),
    };
    let start = (setup_sectors + 1) * 512 + number(0x248)?;
    let end = start.checked_add(number(0x24c)?)?.checked_sub(4)?;
    image.get(start..end).filter(|payload| payload.starts_with(&LZ4_LEGACY))
}

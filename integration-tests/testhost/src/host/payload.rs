//! The host's second disk: the programs under test and the guests' images.
//!
//! Driven by [`super::TestHost::start`]. Made anew when any of the files changed; mounted at
//! [`super::DATA`] with room for the agent's state beside the images, on one file system, because
//! images are linked into jails. It has a journal so that ending a host's programs hard looks as
//! it would on a real disk.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::HostError;
use super::cache::Cache;
use super::guest::{FILES, GuestImages};
use super::image::{make_executable, write};
use super::programs::{self, Programs, Vmm};
use super::tool::Tool;

/// Where the guests' images are in the host. The agent's state directory is its parent.
pub const IMAGES: &str = "/data/agent/images";

/// Counts changes of this file that need new disks.
const FORM: &[u8] = b"2";

const SIZE: &str = "3G";

/// Makes the disk, or finds it made.
///
/// # Errors
///
/// See [`HostError`].
pub fn ensure(
    cache: &Cache,
    vmm: &Vmm,
    guest: &GuestImages,
    programs: &Programs,
) -> Result<PathBuf, HostError> {
    let mut files = vec![
        ("firecracker".to_owned(), vmm.firecracker().to_owned()),
        ("jailer".to_owned(), vmm.jailer().to_owned()),
    ];
    files.extend(programs.files.iter().cloned());
    files.push(("testhost-control".to_owned(), programs::control(cache)?));
    files.push(("hostile-guest".to_owned(), programs::hostile_guest(cache)?));
    let mut inputs = vec![FORM.to_vec(), guest.key.clone().into_bytes()];
    for (name, path) in &files {
        // What a file is, without reading all of it each time.
        let is = fs::metadata(path).map_err(HostError::file("look at", path))?;
        let is = format!("{name} {} {} {}", is.size(), is.mtime(), is.mtime_nsec());
        inputs.push(is.into_bytes());
    }
    let inputs: Vec<&[u8]> = inputs.iter().map(Vec::as_slice).collect();
    let product = cache.product("payload", &inputs, 1, |into| build(into, guest, &files))?;
    Ok(product.join("data.ext4"))
}

fn build(into: &Path, guest: &GuestImages, files: &[(String, PathBuf)]) -> Result<(), HostError> {
    let contents = into.join("contents");
    let bin = contents.join("bin");
    let images = contents.join(Path::new(IMAGES).strip_prefix("/data").unwrap_or(Path::new("")));
    for directory in [&bin, &images] {
        fs::create_dir_all(directory).map_err(HostError::file("make", directory))?;
    }
    for (name, path) in files {
        let target = bin.join(name);
        // Debugging information is most of a program, and names are a third of the rest. A panic
        // says where it was without them, and reading less is minutes less under emulation.
        Tool::new("strip").arg("--strip-all").arg("-o").arg(&target).arg(path).run()?;
        make_executable(&target)?;
    }
    for name in FILES {
        let source = guest.directory.join(name);
        fs::copy(&source, images.join(name)).map_err(HostError::file("copy", &source))?;
    }
    write(&contents.join("made-of"), format!("{files:#?}\n").as_bytes())?;
    Tool::new("mke2fs")
        .args(["-q", "-F", "-t", "ext4", "-m", "0", "-E", "root_owner=0:0,lazy_itable_init=1"])
        .arg("-d")
        .arg(&contents)
        .arg(into.join("data.ext4"))
        .arg(SIZE)
        .run()?;
    fs::remove_dir_all(&contents).map_err(HostError::file("remove", &contents))
}

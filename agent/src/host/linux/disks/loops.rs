//! Loop devices by the kernel's own interface: loop(4), `Documentation/admin-guide/devices.txt`.
//!
//! What can go wrong: another process takes the free device between finding and using it (tried
//! again with the next), a device is detached and re-used between two looks (told by the identity
//! of the file behind it), or a detach is put off because somebody, usually udev, has the device
//! open for a moment (waited for).

use std::collections::HashMap;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use parking_lot::Mutex;
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use crate::host::linux::blocking;
use crate::host::linux::files::beneath::{self, Roots, missing_is_none};
use crate::host::{
    BackingFile, Change, FileId, HostError, HostErrorKind, HostResult, LoopDevice, LoopDevices,
    LoopDirs, LoopFacts,
};

mod ioctl;

/// How long a detach that was put off is waited for.
const DETACH_LIMIT: Duration = Duration::from_secs(3);

/// How often a free device may be snatched away before we give up.
const ATTEMPTS: u32 = 32;

/// Loop devices over the files of two roots.
pub(crate) struct LinuxLoops {
    inner: Arc<Inner>,
}

struct Inner {
    roots: Arc<Roots>,
    // Where a file was last seen attached. A hint: believed after the kernel confirmed it.
    seen: Mutex<HashMap<FileId, LoopDevice>>,
    // One attach at a time, so that two callers for one image get one device.
    attaching: Mutex<()>,
}

impl LinuxLoops {
    pub(crate) fn new(roots: Arc<Roots>) -> Self {
        Self { inner: Arc::new(Inner { roots, seen: Mutex::default(), attaching: Mutex::new(()) }) }
    }
}

fn sysfs(device: LoopDevice) -> PathBuf {
    PathBuf::from(format!("/sys/block/loop{}", device.0))
}

fn open_device(device: LoopDevice) -> rustix::io::Result<Option<OwnedFd>> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    match rustix::fs::open(device.to_string(), flags, Mode::empty()) {
        Err(Errno::NXIO | Errno::NODEV) => Ok(None),
        other => missing_is_none(other),
    }
}

/// Numbers and backing paths of all attached loop devices, in order of number.
fn attached() -> std::io::Result<Vec<(LoopDevice, PathBuf)>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/sys/block")? {
        let name = entry?.file_name();
        let number = name.to_str().and_then(|name| name.strip_prefix("loop"));
        let Some(device) = number.and_then(|number| number.parse().ok()).map(LoopDevice) else {
            continue;
        };
        // Missing when the device is not attached.
        if let Ok(path) = std::fs::read_to_string(sysfs(device).join("loop/backing_file")) {
            found.push((device, PathBuf::from(path.trim_end_matches('\n'))));
        }
    }
    found.sort_unstable_by_key(|(device, _)| *device);
    Ok(found)
}

/// What the kernel says of a device now; `None` when it is not attached.
fn facts(device: LoopDevice, path: Option<PathBuf>) -> HostResult<Option<LoopFacts>> {
    let failed = |error: Errno| HostError::io("look at", device, error);
    let Some(fd) = open_device(device).map_err(failed)? else { return Ok(None) };
    let Some(status) = ioctl::status(fd.as_fd()).map_err(failed)? else { return Ok(None) };
    let backing_path = path.unwrap_or_else(|| {
        let text = std::fs::read_to_string(sysfs(device).join("loop/backing_file"));
        PathBuf::from(text.unwrap_or_default().trim_end_matches('\n'))
    });
    let sectors: u64 = std::fs::read_to_string(sysfs(device).join("size"))
        .ok()
        .and_then(|text| text.trim().parse().ok())
        .unwrap_or(0);
    Ok(Some(LoopFacts {
        device,
        backing_path,
        backing: status.backing,
        read_only: status.read_only,
        size_bytes: sectors * 512,
        holders: holders(device),
    }))
}

fn holders(device: LoopDevice) -> Vec<String> {
    let mut names: Vec<String> = std::fs::read_dir(sysfs(device).join("holders"))
        .into_iter()
        .flatten()
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .collect();
    names.sort_unstable();
    names
}

/// Whether a path that the kernel shows can be this file: the same but for a mount's prefix, and
/// for the note that it was unlinked.
fn may_be(shown: &Path, file: &Path) -> bool {
    let text = shown.to_string_lossy();
    let shown = Path::new(text.trim_end_matches(" (deleted)"));
    let tail = file.file_name().map(Path::new);
    tail.is_some_and(|tail| shown.ends_with(tail))
}

impl Inner {
    fn identity(&self, file: &BackingFile) -> HostResult<Option<FileId>> {
        let failed = |error: Errno| HostError::io("look at", file, error);
        let fd = missing_is_none(self.roots.open(file, OFlags::PATH)).map_err(failed)?;
        fd.map(|fd| beneath::file_facts(&fd).map(|facts| facts.id)).transpose().map_err(failed)
    }

    /// The lowest device over this file, of those with the same `read_only` where that matters.
    fn find(
        &self,
        file: &BackingFile,
        id: FileId,
        read_only: Option<bool>,
    ) -> HostResult<Option<LoopFacts>> {
        let fits = |facts: &LoopFacts| {
            facts.backing == id && read_only.is_none_or(|wanted| facts.read_only == wanted)
        };
        let hint = self.seen.lock().get(&id).copied();
        if let Some(device) = hint
            && let Some(facts) = facts(device, None)?
            && fits(&facts)
        {
            return Ok(Some(facts));
        }
        let path = self.roots.shown_path(file);
        let all = attached().map_err(|error| HostError::io("list", "loop devices", error))?;
        for (device, shown) in all {
            if may_be(&shown, &path)
                && let Some(facts) = facts(device, Some(shown))?
                && fits(&facts)
            {
                self.seen.lock().insert(id, device);
                return Ok(Some(facts));
            }
        }
        Ok(None)
    }

    fn attach(&self, file: &BackingFile, read_only: bool) -> HostResult<(LoopFacts, Change)> {
        let failed = |error: Errno| HostError::io("attach a loop device to", file, error);
        let _one = self.attaching.lock();
        let access = if read_only { OFlags::RDONLY } else { OFlags::RDWR };
        let backing = self.roots.open(file, access).map_err(failed)?;
        let id = beneath::file_facts(&backing).map_err(failed)?.id;
        if let Some(found) = self.find(file, id, Some(read_only))? {
            return Ok((found, Change::AlreadySo));
        }
        let control =
            rustix::fs::open("/dev/loop-control", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())
                .map_err(|error| {
                    failed(error)
                        .detail("/dev/loop-control cannot be opened: is the loop module loaded?")
                })?;
        for _ in 0..ATTEMPTS {
            let device = LoopDevice(ioctl::get_free(control.as_fd()).map_err(failed)?);
            let access = if read_only { OFlags::RDONLY } else { OFlags::RDWR };
            let fd =
                match rustix::fs::open(device.to_string(), access | OFlags::CLOEXEC, Mode::empty())
                {
                    Ok(fd) => fd,
                    // Taken, or removed again, between finding and opening it.
                    Err(Errno::BUSY | Errno::NXIO | Errno::NODEV) => continue,
                    Err(error) => return Err(failed(error)),
                };
            let name = self.roots.shown_path(file);
            match ioctl::configure(fd.as_fd(), backing.as_fd(), read_only, &name) {
                Ok(()) => {
                    self.seen.lock().insert(id, device);
                    let facts = facts(device, None)?.filter(|facts| facts.backing == id);
                    return facts.map(|facts| (facts, Change::Made)).ok_or_else(|| {
                        HostError::new(HostErrorKind::Busy, "attach a loop device to", file)
                            .detail(format!("{device} was detached at once by somebody else"))
                    });
                }
                Err(Errno::BUSY | Errno::NXIO) => {}
                Err(error) => return Err(failed(error)),
            }
        }
        Err(HostError::new(HostErrorKind::Busy, "attach a loop device to", file)
            .detail("others keep taking the free devices"))
    }

    /// Asks for the detach; whether there was anything to detach.
    fn detach(&self, device: LoopDevice, backing: FileId) -> HostResult<bool> {
        let failed = |error: Errno| HostError::io("detach", device, error);
        let Some(fd) = open_device(device).map_err(failed)? else { return Ok(false) };
        match ioctl::status(fd.as_fd()).map_err(failed)? {
            Some(status) if status.backing == backing => {}
            // Detached already, or in use for another file now.
            Some(_) | None => return Ok(false),
        }
        let holders = holders(device);
        if !holders.is_empty() {
            return Err(HostError::new(HostErrorKind::Busy, "detach", device)
                .detail(format!("{} stands on it", holders.join(", "))));
        }
        ioctl::clear(fd.as_fd()).map_err(failed)?;
        self.seen.lock().remove(&backing);
        Ok(true)
    }
}

#[async_trait]
impl LoopDevices for LinuxLoops {
    async fn list(&self) -> HostResult<Vec<LoopFacts>> {
        let inner = self.inner.clone();
        blocking(move || {
            let all = attached().map_err(|error| HostError::io("list", "loop devices", error))?;
            let mut ours = Vec::new();
            for (device, path) in all {
                let roots = [inner.roots.images.path(), inner.roots.scratch.path()];
                if roots.iter().any(|root| path.starts_with(root)) {
                    ours.extend(facts(device, Some(path))?);
                }
            }
            Ok(ours)
        })
        .await
    }

    async fn observe(&self, file: &BackingFile) -> HostResult<Option<LoopFacts>> {
        let (inner, file) = (self.inner.clone(), file.clone());
        blocking(move || {
            // An image is only ever used read-only; a writable device over one is not ours.
            let read_only = matches!(file, BackingFile::Image(_)).then_some(true);
            match inner.identity(&file)? {
                Some(id) => inner.find(&file, id, read_only),
                None => Ok(None),
            }
        })
        .await
    }

    async fn ensure_attached(
        &self,
        file: &BackingFile,
        read_only: bool,
    ) -> HostResult<(LoopFacts, Change)> {
        let (inner, file) = (self.inner.clone(), file.clone());
        blocking(move || inner.attach(&file, read_only)).await
    }

    async fn remove(&self, device: LoopDevice, backing: FileId) -> HostResult<Change> {
        let inner = self.inner.clone();
        if !blocking(move || inner.detach(device, backing)).await? {
            return Ok(Change::AlreadySo);
        }
        // Newer kernels detach when the last opener closes, which need not be us.
        let gone = async {
            loop {
                let now = blocking(move || facts(device, None)).await?;
                if now.is_none_or(|facts| facts.backing != backing) {
                    return Ok(Change::Made);
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        match tokio::time::timeout(DETACH_LIMIT, gone).await {
            Ok(result) => result,
            Err(_) => Err(HostError::new(HostErrorKind::Busy, "detach", device)
                .detail("somebody has it open; it goes when they close it")),
        }
    }

    fn dirs(&self) -> LoopDirs {
        let Roots { images, scratch } = &*self.inner.roots;
        LoopDirs { images: images.path().to_owned(), scratch: scratch.path().to_owned() }
    }

    async fn refresh_size(&self, device: LoopDevice, backing: FileId) -> HostResult<Change> {
        blocking(move || {
            let failed = |error: Errno| HostError::io("take the new size of", device, error);
            let not_found =
                || HostError::new(HostErrorKind::NotFound, "take the new size of", device);
            let before = facts(device, None)?.ok_or_else(not_found)?;
            if before.backing != backing {
                return Err(not_found().detail("it is in use for another file"));
            }
            let fd = open_device(device).map_err(failed)?.ok_or_else(not_found)?;
            ioctl::set_capacity(fd.as_fd()).map_err(failed)?;
            let after = facts(device, None)?.ok_or_else(not_found)?;
            Ok(Change::from_bool(before.size_bytes != after.size_bytes))
        })
        .await
    }
}

/// A descriptor as the kernel's structures hold it.
fn raw(fd: impl AsFd) -> u32 {
    // A descriptor is never negative.
    u32::try_from(fd.as_fd().as_raw_fd()).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests;

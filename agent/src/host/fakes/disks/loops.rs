//! Loop devices of the fake machine: the seam of `host/loops.rs`.
//!
//! What can go wrong: the file is missing, the device has something standing on it. A device keeps
//! its file alive when every name of that is gone.

use async_trait::async_trait;

use crate::host::fakes::HostOptions;
use crate::host::fakes::kernel::gate::{Repeat, Seam};
use crate::host::fakes::kernel::state::{Loop, State, file_id, refuse};
use crate::host::{
    BackingFile, Change, FileId, HostErrorKind, HostResult, LoopDevice, LoopDevices, LoopDirs,
    LoopFacts,
};

/// How many holders are named: enough to tell whether and by whom a device is used. A shared image
/// of ten thousand VMs would else be told with ten thousand names each time.
const HOLDERS_NAMED: usize = 16;

impl Seam {
    fn loop_facts(&self, state: &State, device: LoopDevice) -> Option<LoopFacts> {
        let attached = state.loops.get(&device)?;
        let mut shown = match &attached.file {
            BackingFile::Image(name) => self.shown.image_dir.join(name.as_str()),
            BackingFile::Scratch { dir, file } => {
                self.shown.scratch_dir.join(dir.as_str()).join(file.as_str())
            }
        };
        if state.inode_of(&attached.file) != Some(attached.inode) {
            shown.as_mut_os_string().push(" (deleted)");
        }
        Some(LoopFacts {
            device,
            backing_path: shown,
            backing: file_id(attached.inode),
            read_only: attached.read_only,
            size_bytes: attached.size_bytes,
            holders: attached
                .holders
                .iter()
                .take(HOLDERS_NAMED)
                .map(|minor| format!("dm-{minor}"))
                .collect(),
        })
    }
}

impl State {
    fn device_over(&self, inode: u64, read_only: Option<bool>) -> Option<LoopDevice> {
        self.loops_of.get(&inode)?.iter().copied().find(|device| {
            self.loops
                .get(device)
                .is_some_and(|attached| read_only.is_none_or(|wanted| wanted == attached.read_only))
        })
    }

    fn attach(&mut self, file: &BackingFile, read_only: bool) -> HostResult<(LoopDevice, Change)> {
        let verb = "attach a loop device to";
        if matches!(file, BackingFile::Image(_)) && !read_only {
            let why = "an image is never written";
            return Err(refuse(HostErrorKind::Invalid, verb, file, why));
        }
        let found = self.inode_of(file).and_then(|inode| Some((inode, self.space.get(inode)?)));
        let Some((inode, facts)) = found else {
            return Err(refuse(HostErrorKind::NotFound, verb, file, "there is no such file"));
        };
        let size_bytes = facts.size / 512 * 512;
        if let Some(device) = self.device_over(inode, Some(read_only)) {
            return Ok((device, Change::AlreadySo));
        }
        let device = LoopDevice(self.loop_numbers.take());
        let holders = Default::default();
        let attached = Loop { inode, file: file.clone(), read_only, size_bytes, holders };
        self.loops.insert(device, attached);
        self.loops_of.entry(inode).or_default().insert(device);
        self.space.attached(inode);
        Ok((device, Change::Made))
    }

    fn detach(&mut self, device: LoopDevice, backing: FileId) -> HostResult<Change> {
        let verb = "detach";
        let Some(attached) = self.loops.get(&device) else { return Ok(Change::AlreadySo) };
        if file_id(attached.inode) != backing {
            return Ok(Change::AlreadySo);
        }
        if let Some(minor) = attached.holders.first() {
            let why = format!("dm-{minor} stands on it");
            return Err(refuse(HostErrorKind::Busy, verb, device, why));
        }
        let inode = attached.inode;
        self.loops.remove(&device);
        if let Some(devices) = self.loops_of.get_mut(&inode) {
            devices.remove(&device);
            if devices.is_empty() {
                self.loops_of.remove(&inode);
            }
        }
        self.loop_numbers.give_back(device.0);
        self.space.detached(inode);
        Ok(Change::Made)
    }

    fn refresh_loop(&mut self, device: LoopDevice, backing: FileId) -> HostResult<Change> {
        let verb = "take the new size of";
        let attached =
            self.loops.get_mut(&device).filter(|attached| file_id(attached.inode) == backing);
        let Some(attached) = attached else {
            let why = "it is detached or in use for another file";
            return Err(refuse(HostErrorKind::NotFound, verb, device, why));
        };
        let size = self.space.get(attached.inode).map_or(0, |inode| inode.size / 512 * 512);
        let change = Change::from_bool(attached.size_bytes != size);
        attached.size_bytes = size;
        Ok(change)
    }
}

#[async_trait]
impl LoopDevices for Seam {
    async fn list(&self) -> HostResult<Vec<LoopFacts>> {
        self.read("loops.list", |state| {
            Ok(state.loops.keys().filter_map(|device| self.loop_facts(state, *device)).collect())
        })
        .await
    }

    async fn observe(&self, file: &BackingFile) -> HostResult<Option<LoopFacts>> {
        self.read("loops.observe", |state| {
            let read_only = matches!(file, BackingFile::Image(_)).then_some(true);
            let device = state.inode_of(file).and_then(|inode| state.device_over(inode, read_only));
            Ok(device.and_then(|device| self.loop_facts(state, device)))
        })
        .await
    }

    async fn ensure_attached(
        &self,
        file: &BackingFile,
        read_only: bool,
    ) -> HostResult<(LoopFacts, Change)> {
        self.effect("loops.ensure_attached", file.to_string(), Repeat::MustBeSo, |state| {
            let (device, change) = state.attach(file, read_only)?;
            let facts = self.loop_facts(state, device);
            Ok((facts.expect("the device was attached or found above, under one lock"), change))
        })
        .await
    }

    async fn remove(&self, device: LoopDevice, backing: FileId) -> HostResult<Change> {
        self.effect("loops.remove", device.to_string(), Repeat::MustBeSo, |state| {
            state.detach(device, backing)
        })
        .await
    }

    fn dirs(&self) -> LoopDirs {
        let HostOptions { image_dir, scratch_dir, .. } = &self.shown;
        LoopDirs { images: image_dir.clone(), scratch: scratch_dir.clone() }
    }

    async fn refresh_size(&self, device: LoopDevice, backing: FileId) -> HostResult<Change> {
        self.effect("loops.refresh_size", device.to_string(), Repeat::MustBeSo, |state| {
            state.refresh_loop(device, backing)
        })
        .await
    }
}

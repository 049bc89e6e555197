//! Everything on the fake machine by name, to tell what leaked and what changed.
//!
//! Driven by tests, before and after. One line for each object: its kind, its name, and for what
//! stands on something else what that is.

use std::collections::BTreeSet;

use super::state::{ApiLink, LinkKind, State};
use crate::host::fakes::kernel::FakeKernel;

impl FakeKernel {
    /// Every object there is: `dir`, `file`, `image`, `loop`, `dm`, `bridge`, `tap`, `link`,
    /// `rule`, `pin`, `jail`, `cgroup`, `socket`, `process`, `collector`, and `lost file` for room
    /// that no name leads to and something still holds.
    #[must_use]
    pub fn objects(&self) -> BTreeSet<String> {
        self.peek(State::objects)
    }

    /// The objects whose line contains `text`, such as a VM's id.
    #[must_use]
    pub fn objects_with(&self, text: &str) -> BTreeSet<String> {
        self.objects().into_iter().filter(|object| object.contains(text)).collect()
    }

    /// What the scratch directories and jails occupy, in bytes.
    #[must_use]
    pub fn disk_used(&self) -> u64 {
        self.peek(|state| state.space.used)
    }
}

impl State {
    fn objects(&self) -> BTreeSet<String> {
        let mut all = BTreeSet::new();
        let mut named: BTreeSet<u64> = self.images.values().map(|image| image.inode).collect();
        all.extend(self.images.keys().map(|name| format!("image {name}")));
        for (dir, files) in &self.dirs {
            all.insert(format!("dir {dir}"));
            all.extend(files.keys().map(|file| format!("file {dir}/{file}")));
            named.extend(files.values());
        }
        for (device, attached) in &self.loops {
            all.insert(format!("loop {device} {}", attached.file));
        }
        for (name, snapshot) in &self.snapshots {
            all.insert(format!("dm {name} on {} and {}", snapshot.base, snapshot.cow));
        }
        for (name, link) in &self.links {
            let kind = match link.kind {
                LinkKind::Bridge { .. } => "bridge",
                LinkKind::Tap { .. } => "tap",
                LinkKind::Other => "link",
            };
            all.insert(format!("{kind} {name}"));
        }
        all.extend(self.rules.keys().map(|key| format!("rule {key}")));
        all.extend(self.pins.keys().map(|key| format!("pin {key}")));
        for (id, jail) in &self.jails {
            if let Some(root) = jail.root {
                all.insert(format!("jail {id}"));
                named.insert(root);
            }
            if jail.cgroup {
                all.insert(format!("cgroup {id}"));
            }
            if jail.api_link != ApiLink::Missing || jail.vsock_link {
                all.insert(format!("socket {id}"));
            }
        }
        for process in self.processes.values() {
            let state = if process.zombie { " (zombie)" } else { "" };
            let whose = process.jail.as_ref().map(|jail| format!(" of {jail}"));
            let whose = whose.unwrap_or_default();
            all.insert(format!("process {} {}{whose}{state}", process.pid, process.comm));
        }
        all.extend(self.collectors.keys().map(|id| format!("collector {id}")));
        for inode in self.space.numbers() {
            if !named.contains(&inode) {
                all.insert(format!("lost file {inode}"));
            }
        }
        all
    }
}

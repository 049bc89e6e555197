//! Device-mapper snapshots of the fake machine: the seam of `host/snapshots.rs`.
//!
//! What can go wrong: a device is missing or too small, the name is taken by another table, a VMM
//! or somebody else has the snapshot open when it is to be removed. The real seam tries a busy
//! removal again for some seconds; here it is busy at once and stays so.

use async_trait::async_trait;

use crate::host::fakes::kernel::gate::{Repeat, Seam};
use crate::host::fakes::kernel::space::Store;
use crate::host::fakes::kernel::state::{Snapshot, State, refuse};
use crate::host::{
    Change, DeviceNumber, DmName, HostErrorKind, HostResult, SnapshotFacts, SnapshotFill,
    SnapshotSpec, Snapshots,
};

/// The first device-mapper major that a usual machine gives.
const DM_MAJOR: u32 = 253;

/// Header and first metadata chunk of an empty store: two chunks of 4 KiB.
const EMPTY_STORE_SECTORS: u64 = 16;

impl Snapshot {
    pub(crate) const fn number(&self) -> DeviceNumber {
        DeviceNumber { major: DM_MAJOR, minor: self.minor }
    }
}

impl State {
    fn snapshot_facts(&self, name: &DmName) -> Option<SnapshotFacts> {
        let snapshot = self.snapshots.get(name)?;
        let cow = self.loops.get(&snapshot.cow);
        let store = cow.and_then(|cow| self.space.get(cow.inode)?.store);
        let fill = match (store, cow) {
            (Some(Store { invalid: true, .. }), _) => SnapshotFill::Invalid,
            (Some(_), Some(_)) if snapshot.overflowed => SnapshotFill::Overflow,
            (Some(store), Some(cow)) => {
                SnapshotFill::Used { used: store.used_sectors, total: cow.size_bytes / 512 }
            }
            _ => SnapshotFill::Unclear,
        };
        Some(SnapshotFacts {
            name: name.clone(),
            device: snapshot.number(),
            open_count: snapshot.open_count + u32::from(snapshot.held),
            base: snapshot.base.number(),
            cow: snapshot.cow.number(),
            size_sectors: snapshot.size_bytes / 512,
            fill,
        })
    }

    fn make_snapshot(&mut self, spec: &SnapshotSpec) -> HostResult<Change> {
        let verb = "make snapshot";
        let no = |kind, why: String| Err(refuse(kind, verb, &spec.name, why));
        if spec.base_bytes == 0 || !spec.base_bytes.is_multiple_of(512) {
            let why = format!("{} bytes are no whole number of sectors", spec.base_bytes);
            return no(HostErrorKind::Invalid, why);
        }
        if let Some(found) = self.snapshots.get(&spec.name) {
            let same = found.base == spec.base
                && found.cow == spec.cow
                && found.size_bytes == spec.base_bytes;
            return if same {
                Ok(Change::AlreadySo)
            } else {
                let (base, cow) = (found.base, found.cow);
                no(HostErrorKind::NameTaken, format!("it stands on {base} and {cow}"))
            };
        }
        let Some(base) = self.loops.get(&spec.base) else {
            return no(HostErrorKind::NotFound, format!("{} is not attached", spec.base));
        };
        if base.size_bytes < spec.base_bytes {
            return no(HostErrorKind::Refused, format!("{} is too small for it", spec.base));
        }
        let Some(cow) = self.loops.get(&spec.cow) else {
            return no(HostErrorKind::NotFound, format!("{} is not attached", spec.cow));
        };
        if spec.tail.is_some_and(|tail| cow.size_bytes < tail.offset + tail.bytes) {
            return no(HostErrorKind::Refused, format!("{} is too small for its tail", spec.cow));
        }
        if cow.read_only {
            return no(HostErrorKind::Refused, format!("{} is read-only", spec.cow));
        }
        if let Some(store) = self.space.get_mut(cow.inode) {
            // A store with a header is continued, lost ones too.
            store.store.get_or_insert(Store { used_sectors: EMPTY_STORE_SECTORS, invalid: false });
        }
        let minor = self.dm_numbers.take();
        for device in [spec.base, spec.cow] {
            if let Some(attached) = self.loops.get_mut(&device) {
                attached.holders.insert(minor);
            }
        }
        let snapshot = Snapshot {
            minor,
            base: spec.base,
            cow: spec.cow,
            size_bytes: spec.base_bytes,
            open_count: 0,
            held: false,
            overflowed: false,
        };
        self.snapshot_of.insert(snapshot.number(), spec.name.clone());
        self.snapshots.insert(spec.name.clone(), snapshot);
        Ok(Change::Made)
    }

    fn remove_snapshot(&mut self, name: &DmName) -> HostResult<Change> {
        let Some(snapshot) = self.snapshots.get(name) else { return Ok(Change::AlreadySo) };
        if snapshot.open_count > 0 || snapshot.held {
            let why = "device or resource busy";
            return Err(refuse(HostErrorKind::Busy, "remove snapshot", name, why));
        }
        let (minor, number) = (snapshot.minor, snapshot.number());
        for device in [snapshot.base, snapshot.cow] {
            if let Some(attached) = self.loops.get_mut(&device) {
                attached.holders.remove(&minor);
            }
        }
        self.snapshots.remove(name);
        self.snapshot_of.remove(&number);
        self.dm_numbers.give_back(minor);
        Ok(Change::Made)
    }
}

#[async_trait]
impl Snapshots for Seam {
    async fn list(&self, prefix: &str) -> HostResult<Vec<SnapshotFacts>> {
        self.read("snapshots.list", |state| {
            let ours = state.snapshots.keys().filter(|name| name.as_str().starts_with(prefix));
            Ok(ours.filter_map(|name| state.snapshot_facts(name)).collect())
        })
        .await
    }

    async fn observe(&self, name: &DmName) -> HostResult<Option<SnapshotFacts>> {
        self.read("snapshots.observe", |state| Ok(state.snapshot_facts(name))).await
    }

    async fn ensure(&self, spec: &SnapshotSpec) -> HostResult<(SnapshotFacts, Change)> {
        self.effect("snapshots.ensure", spec.name.to_string(), Repeat::MustBeSo, |state| {
            let change = state.make_snapshot(spec)?;
            let facts = state.snapshot_facts(&spec.name);
            Ok((facts.expect("the snapshot was made or found above, under one lock"), change))
        })
        .await
    }

    async fn remove(&self, name: &DmName) -> HostResult<Change> {
        self.effect("snapshots.remove", name.to_string(), Repeat::MustBeSo, |state| {
            state.remove_snapshot(name)
        })
        .await
    }
}

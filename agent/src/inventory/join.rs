//! The join itself: each list of the host with the records, each object judged by one rule.
//!
//! What is left of a VM without a record is judged as a whole first, because a process, its disks
//! and the rest hang together; then every object of it stands as the whole does.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::Path;
use std::time::Duration;

use banger_proto::ids::VmId;
use banger_proto::words::counted;

use super::{Found, Hold, Object, Records, Standing, Target};
use crate::host::{
    BootTime, DirFacts, FileId, GuestKey, ImageName, JailId, JailSurvey, LoopFacts, MountFacts,
    ProcessFacts, SnapshotFacts, TapName, VmmKind,
};
use crate::jail::process::{Liveness, judge};
use crate::naming::{self, Naming};

/// What else the join goes by.
#[derive(Debug, Clone, Copy)]
pub struct Frame<'a> {
    /// Names.
    pub naming: Naming,
    /// The present boot.
    pub boot_id: &'a str,
    /// Turns ticks into times.
    pub boot_time: BootTime,
    /// Seconds since 1970.
    pub now: u64,
    /// The image directory, as the kernel shows it.
    pub images: &'a Path,
    /// Where the scratch directories are, as the kernel shows it.
    pub scratch: &'a Path,
}

impl Frame<'_> {
    fn since(&self, unix_seconds: u64) -> Duration {
        Duration::from_secs(self.now.saturating_sub(unix_seconds))
    }

    fn age_of(&self, process: &ProcessFacts) -> Duration {
        let BootTime { unix_seconds, ticks_per_second } = self.boot_time;
        self.since(unix_seconds + process.start_ticks / ticks_per_second.max(1))
    }

    /// The VM whose directory a loop device's file lies in.
    fn vm_of_loop(&self, facts: &LoopFacts) -> Option<VmId> {
        let dir = facts.backing_path.parent()?;
        (dir.parent()? == self.scratch).then_some(())?;
        dir.file_name()?.to_str()?.parse().ok()
    }

    /// The image a loop device stands on, also when it was unlinked since.
    fn image_of(&self, facts: &LoopFacts) -> Option<ImageName> {
        // An image is only ever used read-only; a writable device over one is not ours.
        let path = Some(&facts.backing_path).filter(|_| facts.read_only)?;
        (path.parent()? == self.images).then_some(())?;
        let name = path.file_name()?.to_str()?;
        ImageName::new(name.strip_suffix(" (deleted)").unwrap_or(name)).ok()
    }
}

/// Everything of banger's, each with whose it is, in order of kind and name.
#[must_use]
pub fn join(found: &Found, records: &Records, frame: Frame<'_>) -> Vec<Object> {
    let join = Join::new(found, records, frame);
    let mut objects = Vec::new();
    objects.extend(found.processes.iter().filter_map(|(facts, jail)| join.process(facts, jail)));
    for jail in &found.jails {
        objects.extend(join.jail(jail).into_iter().flatten());
    }
    objects.extend(found.mounts.iter().filter_map(|mount| join.mount(mount)));
    let guests: BTreeSet<&GuestKey> = found.rules.keys().chain(&found.pins).collect();
    objects.extend(guests.into_iter().filter_map(|key| join.rules(key)));
    objects.extend(found.taps.iter().filter_map(|tap| join.tap(tap)));
    objects.extend(found.snapshots.iter().filter_map(|snapshot| join.snapshot(snapshot)));
    objects.extend(found.loops.iter().filter_map(|facts| join.loop_device(facts)));
    objects.extend(found.dirs.iter().filter_map(|dir| join.dir(dir)));
    objects.sort_by(|a, b| (a.kind(), &a.name).cmp(&(b.kind(), &b.name)));
    objects
}

/// What is known before any single object is judged.
struct Join<'a> {
    found: &'a Found,
    records: &'a Records,
    frame: Frame<'a>,
    roots: HashMap<&'a JailId, (Option<VmmKind>, Option<FileId>)>,
    taps: HashMap<TapName, VmId>,
    /// The VM of each of our root disks, by the kernel's name of its device.
    disks: HashMap<String, VmId>,
    /// VMs without a record, by what is left of them.
    unowned: BTreeMap<VmId, Standing>,
}

impl<'a> Join<'a> {
    fn new(found: &'a Found, records: &'a Records, frame: Frame<'a>) -> Self {
        let roots = found.jails.iter().map(|jail| (&jail.id, (jail.vmm, jail.root))).collect();
        let mut join = Self {
            found,
            records,
            frame,
            roots,
            taps: HashMap::new(),
            disks: HashMap::new(),
            unowned: BTreeMap::new(),
        };
        let mut named: BTreeSet<VmId> = records.held.keys().copied().collect();
        named.extend(&records.lost);
        named.extend(&records.claimed);
        named.extend(found.jails.iter().filter_map(|jail| naming::vm_of_jail(&jail.id)));
        named.extend(found.mounts.iter().filter_map(|mount| naming::vm_of_jail(&mount.inside)));
        named.extend(found.rules.keys().chain(&found.pins).filter_map(naming::vm_of_rules));
        let snapshots = found.snapshots.iter();
        named.extend(snapshots.filter_map(|s| frame.naming.vm_of_snapshot(&s.name)));
        named.extend(found.loops.iter().filter_map(|facts| frame.vm_of_loop(facts)));
        named.extend(found.dirs.iter().filter_map(|dir| naming::vm_of_dir(&dir.dir)));
        join.taps = named.iter().map(|vm| (frame.naming.vm(*vm).tap, *vm)).collect();
        join.disks = found
            .snapshots
            .iter()
            .filter_map(|disk| {
                let vm = frame.naming.vm_of_snapshot(&disk.name)?;
                Some((format!("dm-{}", disk.device.minor), vm))
            })
            .collect();
        named.retain(|vm| !records.held.contains_key(vm));
        join.unowned = named.into_iter().map(|vm| (vm, join.left_of(vm))).collect();
        join
    }

    /// How what is left of a VM without a record is to be taken: as a whole, because its process
    /// and its disks hang together.
    fn left_of(&self, vm: VmId) -> Standing {
        let names = self.frame.naming.vm(vm);
        let record = names.file(naming::file::RECORD);
        let dir = self.found.dirs.iter().find(|dir| dir.dir == names.dir);
        match dir.map(|dir| &dir.files) {
            Some(None) => {
                return Standing::Unclear("a symlink is in its directory's place".to_owned());
            }
            Some(Some(files)) if files.contains(&record) => {
                let why = "its directory has a record that the agent does not hold";
                return Standing::Unclear(why.to_owned());
            }
            Some(Some(_)) | None => {}
        }
        let mut lost = dir.is_some() || self.records.lost.contains(&vm);
        for (process, jail) in &self.found.processes {
            if *jail == names.jail {
                match self.judged(process, jail) {
                    Some(Ok(())) => lost = true,
                    Some(Err(why)) => return Standing::Unclear(why),
                    None => {}
                }
            }
        }
        if lost { Standing::Lost } else { Standing::Orphan }
    }

    /// Whether a process is in one of our jails: certainly, perhaps, or `None` for not at all.
    fn judged(&self, process: &ProcessFacts, jail: &JailId) -> Option<Result<(), String>> {
        let (vmm, root) = self.roots.get(jail).copied().unwrap_or((None, None));
        let member = self.found.members.contains(&process.pid);
        match judge(process, member, jail, (vmm, root), self.frame.boot_id) {
            Liveness::Alive(_) => Some(Ok(())),
            Liveness::Dead(_) | Liveness::SomebodyElses { .. } => None,
            Liveness::CannotTell(why) => {
                // Without a jail and a record here, one that says a VM's id is another instance's.
                let vm = naming::vm_of_jail(jail)?;
                let known = root.is_some()
                    || self.records.held.contains_key(&vm)
                    || self.records.lost.contains(&vm);
                known.then(|| Err(why.to_string()))
            }
        }
    }

    fn of(&self, vm: VmId) -> Standing {
        match self.records.held.get(&vm) {
            Some(Hold::Kept) => Standing::Owned,
            Some(Hold::Leaving) => Standing::Leaving,
            None => self.unowned.get(&vm).cloned().unwrap_or(Standing::Orphan),
        }
    }

    fn object(&self, name: impl ToString, target: Target, vm: VmId) -> Object {
        Object {
            name: name.to_string(),
            target,
            vm: Some(vm),
            standing: self.of(vm),
            age: None,
            size_bytes: 0,
            in_use: false,
            detail: String::new(),
        }
    }

    fn process(&self, process: &ProcessFacts, jail: &JailId) -> Option<Object> {
        let vm = naming::vm_of_jail(jail)?;
        let judged = self.judged(process, jail)?;
        let mut object = self.object(process.pid, Target::Process(process.clone()), vm);
        object.age = Some(self.frame.age_of(process));
        if let Err(why) = judged {
            object.standing = Standing::Unclear(why);
        }
        Some(object)
    }

    fn jail(&self, jail: &JailSurvey) -> Option<impl Iterator<Item = Object>> {
        let vm = naming::vm_of_jail(&jail.id)?;
        let files = jail.files.then(|| Object {
            age: jail.born.map(|born| self.frame.since(born)),
            size_bytes: jail.occupied_bytes,
            ..self.object(&jail.id, Target::Jail(jail.id.clone()), vm)
        });
        let group = Target::Cgroup(jail.id.clone());
        let group = jail.cgroup.then(|| self.object(&jail.id, group, vm));
        Some(files.into_iter().chain(group))
    }

    fn mount(&self, mount: &MountFacts) -> Option<Object> {
        let vm = naming::vm_of_jail(&mount.inside)?;
        Some(self.object(mount.path.display(), Target::Mount(mount.clone()), vm))
    }

    fn rules(&self, key: &GuestKey) -> Option<Object> {
        let vm = naming::vm_of_rules(key)?;
        let name = self.frame.naming.rule_mark(key);
        let count = self.found.rules.get(key).copied().unwrap_or(0);
        let pin = if self.found.pins.contains(key) { ", pinned" } else { "" };
        let detail = format!("{}{pin}", counted(count as u64, "rule"));
        Some(Object { detail, ..self.object(name, Target::Rule(key.clone()), vm) })
    }

    fn tap(&self, tap: &TapName) -> Option<Object> {
        if !self.frame.naming.is_tap(tap) {
            return None;
        }
        let target = Target::Tap(tap.clone());
        let object = match self.taps.get(tap) {
            Some(vm) => self.object(tap, target, *vm),
            None => unnamed(tap, target, Standing::Orphan),
        };
        Some(Object { in_use: self.found.open_taps.contains(tap), ..object })
    }

    fn snapshot(&self, snapshot: &SnapshotFacts) -> Option<Object> {
        let vm = self.frame.naming.vm_of_snapshot(&snapshot.name)?;
        let object = self.object(&snapshot.name, Target::Dm(snapshot.name.clone()), vm);
        let size_bytes = snapshot.size_sectors.saturating_mul(512);
        Some(Object { size_bytes, in_use: snapshot.open_count > 0, ..object })
    }

    fn loop_device(&self, facts: &LoopFacts) -> Option<Object> {
        let object = match (self.frame.vm_of_loop(facts), self.frame.image_of(facts)) {
            (Some(vm), _) => self.object(facts.device, Target::Loop(facts.clone()), vm),
            (None, Some(image)) => {
                let standing = self.of_image(facts, &image);
                unnamed(facts.device, Target::Image(facts.clone(), image), standing)
            }
            (None, None) => return None,
        };
        let detail = facts.backing_path.to_string_lossy().into_owned();
        Some(Object { size_bytes: facts.size_bytes, detail, ..object })
    }

    /// Of an image's device: nobody's when nothing stands on it but what is nobody's itself.
    fn of_image(&self, facts: &LoopFacts, image: &ImageName) -> Standing {
        if self.records.images.contains(image) {
            return Standing::Shared;
        }
        let mut standing = Standing::Orphan;
        for holder in &facts.holders {
            // What the server knows is not nobody's, though there is no record of it here.
            let ours = self.disks.get(holder).filter(|vm| !self.records.claimed.contains(vm));
            match ours.map(|vm| self.of(*vm)) {
                Some(Standing::Orphan) => {}
                Some(Standing::Lost) => standing = Standing::Lost,
                Some(
                    Standing::Owned | Standing::Leaving | Standing::Shared | Standing::Unclear(_),
                )
                | None => return Standing::Shared,
            }
        }
        standing
    }

    fn dir(&self, dir: &DirFacts) -> Option<Object> {
        let vm = naming::vm_of_dir(&dir.dir)?;
        let object = self.object(&dir.dir, Target::Directory(dir.dir.clone()), vm);
        Some(Object {
            age: dir.born.map(|born| self.frame.since(born)),
            size_bytes: dir.occupied_bytes,
            ..object
        })
    }
}

fn unnamed(name: impl ToString, target: Target, standing: Standing) -> Object {
    Object {
        name: name.to_string(),
        target,
        vm: None,
        standing,
        age: None,
        size_bytes: 0,
        in_use: false,
        detail: String::new(),
    }
}

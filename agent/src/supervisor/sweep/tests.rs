//! Sweeps on a fake machine: leftovers of every kind beside things that only look like ours.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::time::Duration;

use super::*;
use crate::assignment::Power;
use crate::host::fakes::{At, DEMO_KERNEL, DEMO_ROOT, FaultPlan, InjectedFault};
use crate::host::{
    BackingFile, BridgeSpec, DmName, GuestNet, HostErrorKind, JailAccess, JailFile, JailId,
    JailSpec, LaunchSpec, MacAddress, PathPart, Pin, SnapshotSpec, TapName, TapSpec, VmmConfig,
    VmmKind,
};
use crate::inventory::Standing;
use crate::naming::{self, Naming, VmNames, file, part};
use crate::supervisor::harness::{World, names, shown, start_with};
use crate::vm::fixtures::{assignment_of, vm_id};

fn people(claimed: &[u32]) -> Asker {
    let claimed = claimed.iter().map(|n| vm_id(*n)).collect();
    Asker::People { actor: "ann".to_owned(), claimed }
}

const GRACE: Duration = Duration::from_secs(60);
const FIRECRACKER: VmmKind = VmmKind::Firecracker;

impl World {
    /// What an asked sweep says of each object: kind, name and fate.
    async fn swept(&self, asker: &Asker, dry_run: bool) -> Vec<(String, Fate)> {
        let (swept, _) = self.agent.sweep(asker, dry_run).await.expect("the host is read");
        swept.into_iter().map(|(listed, fate)| (shown(&listed.object), fate)).collect()
    }

    async fn listed(&self) -> Vec<Listed> {
        self.agent.inventory(&BTreeSet::new()).await.expect("the host is read").0
    }

    /// Kind and name of what nobody owns.
    async fn orphans(&self) -> BTreeSet<String> {
        let listed = self.listed().await.into_iter();
        listed.filter(|l| l.object.is_orphan()).map(|l| shown(&l.object)).collect()
    }

    async fn plant_bridge(&self) {
        let spec = BridgeSpec {
            name: Naming::default().bridge(),
            address: Ipv4Addr::new(10, 64, 0, 1),
            prefix: 20,
        };
        self.kernel.host().taps.ensure_bridge(&spec).await.expect("a bridge");
    }

    async fn plant_tap(&self, tap: &TapName) {
        let spec =
            TapSpec { name: tap.clone(), bridge: Naming::default().bridge(), owner_uid: 200_009 };
        self.kernel.host().taps.ensure(&spec).await.expect("a tap");
    }

    async fn plant_rules(&self, names: &VmNames) {
        // An address of its own, by the end of its id.
        let last = names.rules.as_str().get(names.rules.as_str().len() - 2..).expect("two digits");
        let last = u8::from_str_radix(last, 16).expect("hexadecimal");
        let guest = GuestNet {
            key: names.rules.clone(),
            tap: Some(names.tap.clone()),
            address: Some(Ipv4Addr::new(10, 64, 0, last)),
            nat: true,
            stale: false,
        };
        self.kernel.host().firewall.ensure(&guest).await.expect("rules");
        let pin = Pin {
            key: names.rules.clone(),
            tap: names.tap.clone(),
            mac: MacAddress([2, 0, 0, 0, 0, last]),
            address: Ipv4Addr::new(10, 64, 0, last),
            uid: 200_000 + u32::from(last),
        };
        self.kernel.host().pins.ensure(&pin).await.expect("a pin");
    }

    async fn plant_jail(&self, id: &JailId, vmm: VmmKind) {
        let kernel = JailFile {
            name: part(naming::in_jail::KERNEL),
            from: naming::base(DEMO_KERNEL.parse().expect("an image")),
            access: JailAccess::Read,
        };
        let (id, files) = (id.clone(), vec![kernel]);
        let spec =
            JailSpec { id, vmm, uid: 200_009, files, devices: vec![], bounds: Default::default() };
        self.kernel.host().jails.ensure(&spec).await.expect("a jail");
    }

    async fn plant_disk(&self, dir: &PathPart, snapshot: Option<&DmName>) {
        let host = self.kernel.host();
        let file = part(file::COW);
        host.files.ensure_dir(dir).await.expect("a directory");
        host.files.ensure_sparse(dir, &file, 1 << 20).await.expect("a file");
        let backing = BackingFile::Scratch { dir: dir.clone(), file };
        let (cow, _) = host.loops.ensure_attached(&backing, false).await.expect("a loop device");
        let image = naming::base(DEMO_ROOT.parse().expect("an image"));
        let (base, _) = host.loops.ensure_attached(&image, true).await.expect("a loop device");
        let Some(name) = snapshot else { return };
        let spec = SnapshotSpec {
            name: name.clone(),
            base: base.device,
            base_bytes: base.size_bytes,
            cow: cow.device,
            tail: None,
        };
        host.snapshots.ensure(&spec).await.expect("a snapshot");
    }

    /// Everything a VM can leave, of a VM that nobody knows.
    async fn plant(&self, n: u32, vmm: VmmKind) {
        let names = names(n);
        self.plant_bridge().await;
        self.plant_tap(&names.tap).await;
        self.plant_rules(&names).await;
        self.plant_disk(&names.dir, Some(&names.snapshot)).await;
        self.plant_jail(&names.jail, vmm).await;
    }

    async fn plant_process(&self, n: u32, vmm: VmmKind) {
        let machine = VmmConfig {
            vcpus: 1,
            memory_mib: 128,
            kernel: part(naming::in_jail::KERNEL),
            initrd: Some(part(naming::in_jail::KERNEL)),
            boot_args: String::new(),
            drives: Vec::new(),
            interface: None,
            vsock_cid: None,
            metadata_json: None,
        };
        let id = names(n).jail;
        let spec = LaunchSpec { id, uid: 200_009, vmm, machine };
        self.kernel.host().launcher.launch(&spec).await.expect("a process");
    }

    /// Things of others that look like ours.
    async fn plant_lookalikes(&self) {
        let (id, other) = (vm_id(77), Naming::new("zz".parse().expect("a tag")).vm(vm_id(77)));
        self.plant_bridge().await;
        self.plant_tap(&other.tap).await;
        self.plant_tap(&TapName::new("bg-tap0").expect("a name")).await;
        self.kernel.add_foreign_link("bg-aaaaaaaaaaaa");
        self.plant_jail(&JailId::new("theirs").expect("a name"), FIRECRACKER).await;
        self.plant_jail(&JailId::new("theirs-too").expect("a name"), VmmKind::Qemu).await;
        self.plant_disk(&PathPart::new("notes").expect("a name"), Some(&other.snapshot)).await;
        let arguments = ["/firecracker", "--id", &id.to_string()];
        self.kernel.spawn("firecracker", &arguments, Some(self.kernel.host_root()));
        self.kernel.spawn("firecracker", &arguments, None);
        // Other people's machines: one says our id in our words, one nearly so.
        let host_root = Some(self.kernel.host_root());
        for name in [format!("banger-{id}"), format!("guest={id}")] {
            self.kernel.spawn(
                "qemu-system-x86",
                &["qemu-system-x86_64", "-name", &name],
                host_root,
            );
        }
    }
}

/// All that [`World::plant`] makes, but for the image's loop device.
fn planted(n: u32) -> BTreeSet<String> {
    let names = names(n);
    BTreeSet::from([
        format!("cgroup {}", names.jail),
        format!("jail {}", names.jail),
        format!("rule banger:bg:{}", names.rules),
        format!("tap {}", names.tap),
        format!("dm {}", names.snapshot),
        format!("directory {}", names.dir),
    ])
}

#[tokio::test(start_paused = true)]
async fn people_remove_leftovers_of_every_kind_and_nothing_that_only_looks_like_ours() {
    for vmm in VmmKind::ALL {
        remove_leftovers_of_every_kind(vmm).await;
    }
}

async fn remove_leftovers_of_every_kind(vmm: VmmKind) {
    let mut world = World::running().await;
    world.plant_lookalikes().await;
    let before = world.kernel.objects();
    world.plant(9, vmm).await;
    world.plant_process(9, vmm).await;
    let pid = world.kernel.process_of(&names(9).jail).expect("it runs").pid;

    let orphans = world.orphans().await;
    assert!(planted(9).is_subset(&orphans), "{orphans:#?}");
    assert!(orphans.contains(&format!("process {pid}")), "{orphans:#?}");
    // Those above, and the loop device over the disk.
    assert_eq!(orphans.len(), planted(9).len() + 2, "{orphans:#?}");

    // Too young; then a dry run says what would go, and takes nothing.
    let young = world.swept(&people(&[]), false).await;
    assert!(young.iter().all(|(_, fate)| matches!(fate, Fate::Kept(_))), "{young:#?}");
    tokio::time::sleep(GRACE).await;
    let objects = world.kernel.objects();
    let dry = world.swept(&people(&[]), true).await;
    assert_eq!(world.kernel.objects(), objects, "a dry run removes nothing");
    let swept = world.swept(&people(&[]), false).await;
    assert_eq!(swept, dry, "a sweep does what the dry run said");
    let removed: BTreeSet<String> = swept.iter().map(|(name, _)| name.clone()).collect();
    assert_eq!(removed, orphans);
    assert!(swept.iter().all(|(_, fate)| *fate == Fate::Removed), "{swept:#?}");
    assert_eq!(world.kernel.objects(), before);
    assert_eq!(world.orphans().await, BTreeSet::new());
    world.settles(1, crate::report::phase::Phase::Running).await;
}

#[tokio::test(start_paused = true)]
async fn the_timer_ends_no_process_and_takes_no_directory_nor_what_hangs_together_with_them() {
    let world = World::running().await;
    // VM 8 has a process, VM 9 a directory, VM 10 neither.
    world.plant(9, FIRECRACKER).await;
    world.plant_jail(&names(8).jail, FIRECRACKER).await;
    world.plant_process(8, FIRECRACKER).await;
    world.plant_tap(&names(8).tap).await;
    world.plant_tap(&names(10).tap).await;
    world.plant_rules(&names(10)).await;
    assert_eq!(world.round().await, Vec::<String>::new());
    tokio::time::sleep(GRACE).await;
    let mut removed = world.round().await;
    removed.sort();
    let ten = names(10);
    assert_eq!(removed, [format!("rule banger:bg:{}", ten.rules), format!("tap {}", ten.tap)]);
    assert!(world.kernel.process_of(&names(8).jail).is_some());
    assert!(planted(9).is_subset(&world.orphans().await));
}

#[tokio::test(start_paused = true)]
async fn what_the_timer_finds_it_removes_when_the_grace_is_over_and_not_an_interval_later() {
    let world = World::new().await;
    world.plant_bridge().await;
    world.agent.spawn_sweep();
    world.idle().await;
    world.plant_tap(&names(9).tap).await;
    let SweepSettings { grace, interval, .. } = SweepSettings::default();
    tokio::time::sleep(interval + grace * 2).await;
    assert_eq!(world.kernel.objects_with(names(9).tap.as_str()), BTreeSet::new());
}

#[tokio::test(start_paused = true)]
async fn a_record_protects_what_a_killed_agent_left_in_the_middle_of_a_create() {
    let mut world = World::new().await;
    let crash = FaultPlan::none().with(At::verb("jails.ensure").only(1), InjectedFault::CrashAfter);
    world.kernel.set_faults(crash);
    world.assign(assignment_of(1, 1, 1, Power::Running)).await;
    world.settles(1, crate::report::phase::Phase::Running).await;
    tokio::time::sleep(GRACE).await;
    let listed = world.listed().await;
    let owned = |l: &Listed| matches!(l.object.standing, Standing::Owned | Standing::Shared);
    assert!(!listed.is_empty() && listed.iter().all(owned), "{listed:#?}");
    assert!(listed.iter().all(|l| l.orphan_for.is_none()));
    assert_eq!(world.swept(&people(&[]), false).await, []);
}

#[tokio::test(start_paused = true)]
async fn a_spent_budget_holds_for_people_and_timer_together_and_is_shown() {
    let mut world = World::new().await;
    let settings =
        SweepSettings { budget_per_hour: 3, grace: Duration::ZERO, ..SweepSettings::default() };
    world.agent.shutdown(Duration::from_secs(1)).await;
    world.kernel.new_agent();
    let kernel = world.kernel.clone();
    world.agent = start_with(&kernel, |parts| parts.sweep = settings).await;
    for n in 20..25 {
        world.plant_bridge().await;
        world.plant_tap(&names(n).tap).await;
    }
    let left = async |world: &World| {
        let (_, policy) = world.agent.inventory(&BTreeSet::new()).await.expect("is read");
        assert_eq!(policy.settings, settings);
        policy.budget_left
    };
    assert_eq!(left(&world).await, 3);
    assert_eq!(world.swept(&people(&[20, 21, 22]), false).await.len(), 5);
    assert_eq!(left(&world).await, 1, "two taps were free to go");
    assert_eq!(world.round().await.len(), 1, "the timer has what people left");
    let swept = world.swept(&people(&[]), false).await;
    let spent = Fate::Kept(Kept::Budget { per_hour: 3 });
    assert_eq!(swept.len(), 2);
    assert!(swept.iter().all(|(_, fate)| *fate == spent), "{swept:#?}");
    tokio::time::sleep(Duration::from_secs(3600)).await;
    assert_eq!(world.swept(&people(&[]), false).await.len(), 2);
    assert_eq!(world.orphans().await, BTreeSet::new());
}

#[tokio::test(start_paused = true)]
async fn nothing_of_a_vm_that_the_server_knows_is_removed_not_even_its_tap_alone() {
    let world = World::new().await;
    world.plant(9, FIRECRACKER).await;
    world.plant_tap(&names(10).tap).await;
    world.orphans().await;
    tokio::time::sleep(GRACE).await;
    let objects = world.kernel.objects();
    let swept = world.swept(&people(&[9, 10]), false).await;
    assert!(swept.len() > planted(9).len(), "{swept:#?}");
    for (name, fate) in &swept {
        assert_eq!(*fate, Fate::Kept(Kept::Claimed), "{name}");
    }
    assert_eq!(world.kernel.objects(), objects);
}

#[tokio::test(start_paused = true)]
async fn a_vm_whose_record_is_lost_goes_when_people_ask_and_its_report_with_it() {
    let mut world = World::running().await;
    world.agent.shutdown(Duration::from_secs(1)).await;
    for name in [file::RECORD, file::HANDLES] {
        assert!(world.kernel.set_file(&names(1).dir, &part(name), None));
    }
    world.restart().await;
    assert!(world.report(vm_id(1)).is_some(), "it is kept and reported");
    world.orphans().await;
    tokio::time::sleep(GRACE).await;
    assert_eq!(world.round().await, Vec::<String>::new());
    let swept = world.swept(&people(&[]), false).await;
    assert!(swept.iter().all(|(_, fate)| *fate == Fate::Removed), "{swept:#?}");
    assert_eq!(world.left(), Vec::<String>::new());
    assert_eq!(world.report(vm_id(1)), None);
}

#[tokio::test(start_paused = true)]
async fn a_record_that_cannot_be_read_is_never_swept() {
    let mut world = World::running().await;
    world.agent.shutdown(Duration::from_secs(1)).await;
    assert!(world.kernel.set_file(&names(1).dir, &part(file::RECORD), Some(b"{")));
    world.restart().await;
    world.orphans().await;
    tokio::time::sleep(GRACE).await;
    let objects = world.kernel.objects();
    let swept = world.swept(&people(&[]), false).await;
    let unclear = |fate: &Fate| matches!(fate, Fate::Kept(Kept::Unclear(_)));
    assert!(swept.iter().any(|(_, fate)| unclear(fate)), "{swept:#?}");
    assert!(swept.iter().all(|(_, fate)| *fate != Fate::Removed), "{swept:#?}");
    assert_eq!(world.kernel.objects(), objects);
}

#[tokio::test(start_paused = true)]
async fn what_something_has_open_is_said_and_stays_until_it_is_closed() {
    let world = World::new().await;
    world.plant(9, FIRECRACKER).await;
    world.orphans().await;
    tokio::time::sleep(GRACE).await;
    assert!(world.kernel.hold_snapshot(&names(9).snapshot, true));
    let swept = world.swept(&people(&[]), false).await;
    // With its disk the rest of the VM stays, and so does the image's loop device under it.
    for (name, fate) in &swept {
        assert!(matches!(fate, Fate::Kept(Kept::ProcessStays(_))), "{name}: {fate:?}");
    }
    world.kernel.hold_snapshot(&names(9).snapshot, false);
    let swept = world.swept(&people(&[]), false).await;
    assert!(swept.iter().all(|(_, fate)| *fate == Fate::Removed), "{swept:#?}");
    assert_eq!(world.left(), Vec::<String>::new());
}

#[tokio::test(start_paused = true)]
async fn a_process_that_does_not_die_keeps_everything_of_its_vm() {
    let world = World::new().await;
    world.plant(9, FIRECRACKER).await;
    world.plant_process(9, FIRECRACKER).await;
    world.orphans().await;
    tokio::time::sleep(GRACE).await;
    assert!(world.kernel.make_unkillable(&names(9).jail, true));
    let objects = world.kernel.objects();
    let swept = world.swept(&people(&[]), false).await;
    assert!(matches!(&swept[0].1, Fate::Failed(why) if why.contains("SIGKILL")), "{swept:#?}");
    assert!(swept.iter().all(|(_, fate)| *fate != Fate::Removed), "{swept:#?}");
    assert_eq!(world.kernel.objects(), objects);
}

#[tokio::test(start_paused = true)]
async fn a_jail_with_something_mounted_in_it_stays_until_that_is_unmounted() {
    let world = World::new().await;
    let jail = names(9).jail;
    world.plant_jail(&jail, FIRECRACKER).await;
    world.kernel.mount_in_jail(&jail, true);
    world.orphans().await;
    tokio::time::sleep(GRACE).await;
    let swept = world.swept(&people(&[]), false).await;
    assert_eq!(swept.len(), 3, "control group, jail and mount: {swept:#?}");
    assert!(swept.iter().all(|(_, fate)| *fate == Fate::Kept(Kept::Mounted)), "{swept:#?}");
    world.kernel.mount_in_jail(&jail, false);
    world.swept(&people(&[]), false).await;
    assert_eq!(world.left(), Vec::<String>::new());
}

#[tokio::test(start_paused = true)]
async fn an_assignment_that_comes_during_a_sweep_waits_and_finds_its_vm_whole_or_gone() {
    let mut world = World::new().await;
    world.plant(1, FIRECRACKER).await;
    world.orphans().await;
    tokio::time::sleep(GRACE).await;
    // The sweep hangs in the middle of the removal of VM 1's tap.
    world.kernel.set_faults(FaultPlan::none().with(At::verb("taps.remove"), InjectedFault::Hang));
    let (agent, asker) = (world.agent.clone(), people(&[]));
    let sweeping = tokio::spawn(async move { agent.sweep(&asker, false).await });
    while world.kernel.hanging() == 0 {
        world.idle().await;
    }
    let agent = world.agent.clone();
    let assignment = assignment_of(1, 1, 1, Power::Running);
    let assigning = tokio::spawn(async move { agent.accept(assignment).await });
    world.idle().await;
    assert!(!assigning.is_finished(), "the VM is withheld");
    world.kernel.release();
    assigning.await.expect("no panic").expect("it is accepted");
    sweeping.await.expect("no panic").expect("the host is read");
    world.settles(1, crate::report::phase::Phase::Running).await;
    let listed = world.listed().await;
    assert!(listed.iter().all(|l| !l.object.is_orphan()), "{listed:#?}");
}

#[tokio::test(start_paused = true)]
async fn any_effect_of_a_sweep_may_fail_or_be_the_agents_last_and_the_next_sweep_finishes_it() {
    let faults = [
        InjectedFault::Fail(HostErrorKind::Other),
        InjectedFault::FailAfter(HostErrorKind::TimedOut),
        InjectedFault::CrashBefore,
        InjectedFault::CrashAfter,
    ];
    for fault in faults {
        for n in 1.. {
            let mut world = World::new().await;
            world.plant(9, FIRECRACKER).await;
            world.plant_process(9, FIRECRACKER).await;
            world.orphans().await;
            tokio::time::sleep(GRACE).await;
            world.kernel.set_faults(FaultPlan::none().with(At::nth(n), fault));
            let (agent, kernel, asker) = (world.agent.clone(), world.kernel.clone(), people(&[]));
            let crashed = tokio::select! {
                biased;
                () = kernel.crashed() => true,
                swept = agent.sweep(&asker, false) => swept.map(|_| false).expect("is read"),
            };
            let effects = world.kernel.effects();
            world.kernel.set_faults(FaultPlan::none());
            if crashed {
                world.kernel.new_agent();
                world.agent = start_with(&kernel, |_| {}).await;
            }
            world.orphans().await;
            tokio::time::sleep(GRACE).await;
            let swept = world.swept(&people(&[]), false).await;
            let what = format!("{fault:?} at effect {n}: {swept:#?}");
            assert!(swept.iter().all(|(_, fate)| *fate == Fate::Removed), "{what}");
            assert_eq!(world.left(), Vec::<String>::new(), "{what}");
            assert_eq!(world.kernel.violations(), Vec::<String>::new(), "{what}");
            if effects < n {
                assert!(n > 8, "a sweep has more effects than {n}");
                break;
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_host_that_cannot_be_read_as_a_whole_is_neither_listed_nor_swept() {
    let world = World::new().await;
    world.plant(9, FIRECRACKER).await;
    world.orphans().await;
    tokio::time::sleep(GRACE).await;
    let objects = world.kernel.objects();
    let lists = [
        "processes.list",
        "jails.survey",
        "jails.mounts",
        "firewall.count_rules",
        "pins.list",
        "taps.list",
        "snapshots.list",
        "loops.list",
        "files.survey",
    ];
    for list in lists {
        world.kernel.set_faults(FaultPlan::none().fail_reads(list, HostErrorKind::Other));
        assert!(world.agent.inventory(&BTreeSet::new()).await.is_err(), "{list}");
        assert!(world.agent.sweep(&people(&[]), false).await.is_err(), "{list}");
        assert_eq!(world.kernel.objects(), objects, "{list}");
    }
}

#[tokio::test(start_paused = true)]
async fn living_objects_of_another_agent_are_never_removed_and_a_dry_run_says_so_for_nothing() {
    let mut world = World::running().await;
    world.agent.shutdown(Duration::from_secs(1)).await;
    // As an agent with the same tag sees another's VM: no record, no directory and no jail.
    let host = world.kernel.host();
    host.files.remove_dir(&names(1).dir).await.unwrap();
    world.kernel.lose_jail(&names(1).jail);
    world.kernel.new_agent();
    let kernel = world.kernel.clone();
    world.agent = start_with(&kernel, |_| {}).await;
    assert!(!world.orphans().await.is_empty());
    tokio::time::sleep(GRACE).await;
    let objects = world.kernel.objects();
    let dry = world.swept(&people(&[]), true).await;
    assert!(!dry.is_empty());
    for (name, fate) in &dry {
        assert!(matches!(fate, Fate::Kept(Kept::ProcessStays(_))), "{name}: {fate:?}");
    }
    assert_eq!(world.swept(&people(&[]), false).await, dry, "a sweep does what the dry run said");
    assert_eq!(world.round().await, Vec::<String>::new());
    assert_eq!(world.kernel.objects(), objects);
    let (_, policy) = world.agent.inventory(&BTreeSet::new()).await.unwrap();
    assert_eq!(policy.budget_left, policy.settings.budget_per_hour, "nothing was spent");
}

#[tokio::test(start_paused = true)]
async fn a_removal_that_fails_costs_no_budget() {
    let world = World::new().await;
    world.plant_bridge().await;
    world.plant_tap(&names(20).tap).await;
    world.orphans().await;
    tokio::time::sleep(GRACE).await;
    let busy = InjectedFault::Fail(HostErrorKind::Busy);
    world.kernel.set_faults(FaultPlan::none().with(At::verb("taps.remove"), busy));
    let swept = world.swept(&people(&[]), false).await;
    assert!(matches!(&swept[..], [(_, Fate::Failed(_))]), "{swept:?}");
    let (_, policy) = world.agent.inventory(&BTreeSet::new()).await.unwrap();
    assert_eq!(policy.budget_left, policy.settings.budget_per_hour);
}

//! The inventory of a real host and its sweep: leftovers of every kind are planted beside things
//! that only look like ours; the first are listed and go, the second are neither listed nor
//! touched.

use std::collections::BTreeSet;

use banger_client::v1::{HostObject, HostObjectState, SweepHostRequest, VmState};

use crate::fleet::{FIRST, Fleet, oracle, spec};
use crate::{process, start_ticks};

/// A VM that nobody knows.
const LOST: &str = "0193a7e2-3f40-7c21-9d5e-0000000000aa";

/// Things of others, with names as near to ours as they come. One that is a VMM says our id.
const LOOKALIKES: &str = r#"
set -e
id=$1
ip tuntap add bg-tap0 mode tap
ip tuntap add zz-aaaaaaaaaaaa mode tap
ip link add bg-bbbbbbbbbbbb type bridge
mkdir -p /data/agent/vms/notes
truncate -s 1M /data/agent/vms/notes/root.cow /data/agent/images/written.ext4 /data/theirs.img
losetup -f /data/agent/vms/notes/root.cow
losetup -f /data/agent/images/written.ext4
theirs=$(losetup -f --show /data/theirs.img)
dmsetup create --noudevsync banger-bg-swap --table "0 8 linear $theirs 0"
dmsetup create --noudevsync banger-zz-$id --table "0 8 linear $theirs 8"
iptables -N BANGER-ZZ-FWD
iptables -A BANGER-ZZ-FWD -m comment --comment banger:bg:$id -j DROP
iptables -A FORWARD -s 192.0.2.1/32 -m comment --comment banger:zz:$id -j DROP
mkdir -p /data/agent/jails/firecracker/theirs/root
mkdir /sys/fs/cgroup/banger.slice/banger-guests.slice/bg/theirs
ln -s /nowhere /run/banger-agent/theirs.sock
mkdir -p /data/elsewhere/$id/root/run
cp /data/bin/firecracker /data/elsewhere/$id/root/
"#;

/// Everything that a VM can leave behind, without a record.
const LEFTOVERS: &str = r#"
set -e
id=$1
ip tuntap add bg-aaaaaaaaaaaa mode tap
iptables -A BANGER-BG-FWD -s 10.64.15.9/32 -i bg-aaaaaaaaaaaa \
  -m comment --comment banger:bg:$id -j DROP
nft add element bridge banger-bg pins \
  "{ \"bg-aaaaaaaaaaaa\" . 02:fc:0a:40:0f:09 . 10.64.15.9 comment \"banger:bg:$id:200009\" }"
ip neigh replace 10.64.15.9 lladdr 02:fc:0a:40:0f:09 dev bgbr0 nud permanent
mkdir -p /data/agent/vms/$id
truncate -s 1M /data/agent/vms/$id/root.cow /data/agent/images/lost.ext4
cow=$(losetup -f --show /data/agent/vms/$id/root.cow)
base=$(losetup -r -f --show /data/agent/images/lost.ext4)
rm /data/agent/images/lost.ext4
dmsetup create --noudevsync banger-bg-$id --table "0 2048 snapshot $base $cow P 8"
mkdir -p /data/agent/jails/firecracker/$id/root/run
mkdir /sys/fs/cgroup/banger.slice/banger-guests.slice/bg/$id
ln -s /data/agent/jails/firecracker/$id/root/run/firecracker.socket /run/banger-agent/$id.sock
cp /data/bin/firecracker /data/agent/jails/firecracker/$id/root/
echo $cow $base
"#;

fn run(fleet: &Fleet, script: &str) -> String {
    let command = ["/bin/sh", "-c", script, "plant", LOST];
    let output = fleet.host.run(&command).expect("the host runs it");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.code == 0, "{said}\n{}", fleet.logs());
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

/// Starts a VMM in a root directory, and waits until it is one.
async fn start_vmm(fleet: &Fleet, root: &str) -> u32 {
    let command =
        format!("chroot {root} /firecracker --id {LOST} --api-sock /run/firecracker.socket");
    let pid = fleet.host.spawn(&command, "/run/testhost.planted.log").expect("it is started");
    fleet
        .eventually("the planted VMM runs", async || {
            let comm = fleet.host.sh(&format!("cat /proc/{pid}/comm"));
            let comm = comm.map_err(|why| why.to_string())?;
            if comm == "firecracker" { Ok(()) } else { Err(comm) }
        })
        .await;
    pid
}

fn named<'a>(objects: impl IntoIterator<Item = &'a HostObject>) -> BTreeSet<String> {
    objects.into_iter().map(|object| format!("{} {}", object.kind, object.name)).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sweep_of_a_real_host_takes_leftovers_of_every_kind_and_nothing_that_looks_similar() {
    let fleet = Fleet::start("sweep").await;
    fleet.kill_agent(&FIRST);
    fleet.sh("mkdir -p /etc/banger; \
              printf '[sweep]\\ngrace_secs = 2\\nautomatic = false\\n' >/etc/banger/agent.toml");
    fleet.start_agent(&FIRST);
    fleet.online(&FIRST).await;
    let vm = fleet.create("lives", spec()).await;
    let vm = fleet.reaches(&vm, VmState::Running).await;
    run(&fleet, LOOKALIKES);
    let theirs = start_vmm(&fleet, &format!("/data/elsewhere/{LOST}/root")).await;
    let hosts = fleet.client.hosts();
    let inventory = hosts.inventory(FIRST.name, true).await.expect("is listed");
    assert_eq!(named(&inventory.objects), BTreeSet::new(), "{inventory:#?}");
    let before = oracle::kernel(&fleet, &[&FIRST]);

    let loops = run(&fleet, LEFTOVERS);
    let pid = start_vmm(&fleet, &format!("/data/agent/jails/firecracker/{LOST}/root")).await;
    let mut planted = BTreeSet::from([
        format!("process {pid}"),
        format!("cgroup {LOST}"),
        format!("jail {LOST}"),
        format!("rule banger:bg:{LOST}"),
        "tap bg-aaaaaaaaaaaa".to_owned(),
        format!("dm banger-bg-{LOST}"),
        format!("directory {LOST}"),
    ]);
    planted.extend(loops.split_whitespace().map(|device| format!("loop {device}")));
    assert_eq!(planted.len(), 9, "{loops}");

    // The listing: what was planted, and beside it everything of the VM that lives.
    let inventory = hosts.inventory(FIRST.name, false).await.expect("is listed");
    let of = |state: HostObjectState| {
        inventory.objects.iter().filter(move |object| object.state() == state)
    };
    assert_eq!(named(of(HostObjectState::Orphan)), planted);
    let owned: BTreeSet<&str> = of(HostObjectState::Owned).map(|object| &*object.kind).collect();
    let every = ["cgroup", "directory", "dm", "jail", "loop", "process", "rule", "tap"];
    assert_eq!(owned, BTreeSet::from(every), "{inventory:#?}");
    assert!(of(HostObjectState::Owned).all(|object| object.vm_name == "lives"));
    let base = &status_devices(&vm).base_loop;
    assert_eq!(named(of(HostObjectState::Shared)), BTreeSet::from([format!("loop {base}")]));
    let aged = of(HostObjectState::Owned).filter(|object| object.age.is_some());
    let aged: BTreeSet<&str> = aged.map(|object| &*object.kind).collect();
    assert_eq!(aged, BTreeSet::from(["directory", "jail", "process"]), "what the kernel tells");

    // A dry run until the grace period is over, then the sweep.
    let sweep = async |dry_run| {
        let request =
            SweepHostRequest { host: FIRST.name.to_owned(), dry_run, ..Default::default() };
        hosts.sweep(request).await.map_err(|why| why.to_string())
    };
    let dry = fleet
        .eventually("the grace period is over", async || {
            let dry = sweep(true).await?;
            if dry.kept.is_empty() { Ok(dry) } else { Err(format!("{dry:#?}")) }
        })
        .await;
    assert_eq!(named(&dry.removed), planted);
    assert_eq!(fleet.sh(&format!("cat /proc/{pid}/comm")), "firecracker", "nothing went");
    let swept = sweep(false).await.expect("is swept");
    assert_eq!(named(&swept.removed), planted, "{swept:#?}\n{}", fleet.logs());
    assert!(swept.kept.is_empty() && swept.failed.is_empty(), "{swept:#?}");

    // The kernel is as it was with the things like ours in it, and the VM did not notice.
    oracle::is_as_before(&fleet, &[&FIRST], &before).await;
    assert_eq!(fleet.sh(&format!("cat /proc/{theirs}/comm")), "firecracker");
    assert_eq!(start_ticks(&fleet, process(&vm).pid), process(&vm).start_ticks);
    let inventory = hosts.inventory(FIRST.name, true).await.expect("is listed");
    assert_eq!(named(&inventory.objects), BTreeSet::new());
    let record = &inventory.recent_sweeps[0];
    assert_eq!((record.removed, record.failed, &*record.message), (9, 0, ""), "{record:#?}");
}

fn status_devices(vm: &banger_client::v1::Vm) -> banger_client::v1::VmDevices {
    crate::status(vm).devices.expect("devices")
}

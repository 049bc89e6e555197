//! Root disks on a real kernel: how a store grows, what a full one keeps, what a full disk of the
//! host cannot do to a guest, and what guests print.
//!
//! What a guest would write is written here from the host's side, through the same device-mapper
//! device, while the guest is paused: that is the path its writes take below the VMM.

#[expect(dead_code, reason = "shared with the other tests of the test host")]
mod fleet;
mod udev;

use banger_client::v1::{
    PauseVmRequest, RebootVmRequest, StartVmRequest, StopVmRequest, Vm, VmDevices, VmSpec, VmState,
    VmStatus,
};
use fleet::{FIRST, Fleet, oracle, spec};

fn status(vm: &Vm) -> VmStatus {
    vm.status.clone().expect("a status")
}

fn devices(vm: &Vm) -> VmDevices {
    status(vm).devices.expect("devices")
}

/// A store as short as the API allows, over an image of twice that.
fn short() -> VmSpec {
    VmSpec { root_disk_mib: 16, ..spec() }
}

async fn pause(fleet: &Fleet, vm: &Vm) -> Vm {
    let request = PauseVmRequest { vm: vm.id.clone(), ..Default::default() };
    let paused = fleet.client.vms().pause(request).await.expect("is accepted");
    fleet.reaches(&paused, VmState::Paused).await
}

async fn stop(fleet: &Fleet, vm: &Vm) -> Vm {
    let grace_period = Some(prost_types::Duration { seconds: 0, nanos: 0 });
    let request = StopVmRequest { vm: vm.id.clone(), grace_period, ..Default::default() };
    let stopped = fleet.client.vms().stop(request).await.expect("is accepted");
    fleet.reaches(&stopped, VmState::Stopped).await
}

async fn start(fleet: &Fleet, vm: &Vm) -> Vm {
    let request = StartVmRequest { vm: vm.id.clone(), ..Default::default() };
    fleet.client.vms().start(request).await.expect("is accepted")
}

/// Waits until a VM's status says what it is to.
async fn shows(fleet: &Fleet, vm: &Vm, what: &str, is: impl Fn(&VmStatus) -> bool) -> Vm {
    fleet
        .eventually(what, async || {
            let now = fleet.client.vms().get(&vm.id).await.map_err(|why| why.to_string())?;
            if is(&status(&now)) { Ok(now) } else { Err(format!("{:#?}", status(&now))) }
        })
        .await
}

/// Writes MiB `from..to` of the pattern to the same place of the root disk, past all caches.
fn write(fleet: &Fleet, vm: &Vm, from: u64, to: u64) {
    let name = devices(vm).snapshot;
    let count = to - from;
    fleet.sh(&format!(
        "dmsetup mknodes {name}; dd if=/run/pattern of=/dev/mapper/{name} bs=1M skip={from} \
         seek={from} count={count} oflag=direct conv=notrunc 2>&1"
    ));
}

/// Compares the first MiB of a device with the pattern.
fn has(fleet: &Fleet, device: &str, mib: u64) {
    fleet.sh(&format!(
        "dd if={device} bs=1M count={mib} iflag=direct 2>/dev/null >/run/read; \
         head -c {mib}M /run/pattern | cmp - /run/read; rm /run/read"
    ));
}

fn fill(fleet: &Fleet, vm: &Vm) -> String {
    fleet.sh(&format!("dmsetup status {}", devices(vm).snapshot))
}

async fn events(fleet: &Fleet, vm: &Vm) -> Vec<(String, String)> {
    let events = fleet.client.vms().events(&vm.id).await.expect("is answered");
    events.into_iter().map(|event| (event.r#type, event.reason)).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_grows_before_it_is_full_and_a_full_disk_of_the_host_takes_nothing_from_a_guest() {
    let fleet = Fleet::start("grows").await;
    let before = oracle::kernel(&fleet, &[&FIRST]);
    fleet.sh("head -c 32M /dev/urandom >/run/pattern");
    let vm = fleet.create("grows", short()).await;
    let vm = fleet.reaches(&vm, VmState::Running).await;
    fleet.console_has(&vm, "guest: ready", 1).await;
    let vm = pause(&fleet, &vm).await;
    let vm = shows(&fleet, &vm, "the level is shown", |s| {
        s.devices.as_ref().is_some_and(|d| d.cow_total_sectors == 16 * 2048)
    })
    .await;
    let process = status(&vm).process;

    // Past the threshold: it is made larger under the guest, to all that can be of use.
    write(&fleet, &vm, 0, 14);
    let grown = shows(&fleet, &vm, "the store is larger", |s| {
        s.devices.as_ref().is_some_and(|d| d.cow_total_sectors > 32 * 2048)
    })
    .await;
    let total = devices(&grown).cow_total_sectors;
    assert!(total < 33 * 2048, "{total} sectors for an image of 32 MiB");
    assert_eq!((status(&grown).process, status(&grown).reason), (process, String::new()));
    let file = format!("/data/agent/vms/{}/root.cow", vm.id);
    let length = total * 512;
    assert_eq!(fleet.sh(&format!("stat -c %s {file}")), length.to_string());
    let allocated: u64 = fleet.sh(&format!("stat -c %b {file}")).parse().expect("a number");
    assert!(allocated >= total, "all of it is reserved: {allocated} of {total} sectors");
    let device = devices(&vm).cow_loop;
    assert_eq!(fleet.sh(&format!("blockdev --getsize64 {device}")), length.to_string());
    assert!(fill(&fleet, &vm).contains(&format!("/{total} ")), "the kernel says the same");
    fleet
        .eventually("the history tells of it", async || {
            let events = events(&fleet, &vm).await;
            let grown = events.iter().any(|(kind, _)| kind == "ROOT_DISK_GROWN");
            if grown { Ok(()) } else { Err(format!("{events:?}")) }
        })
        .await;

    // The host's disk is full to the last block, and the guest writes all of its own.
    fleet.sh("cat /dev/zero >/data/filler 2>/dev/null; sync");
    assert_eq!(fleet.sh("df --output=avail -B1 /data | tail -1").trim(), "0");
    write(&fleet, &vm, 14, 32);
    let name = devices(&vm).snapshot;
    has(&fleet, &format!("/dev/mapper/{name}"), 32);
    let filled = fill(&fleet, &vm);
    assert!(filled.contains(&format!("/{total} ")), "{filled}");
    // Also what was written before, once more.
    write(&fleet, &vm, 0, 32);
    fleet.sh("rm /data/filler; sync");

    // What is in the store is what the kernel finds there when it reads it anew.
    let vm = stop(&fleet, &vm).await;
    fleet.sh(&format!(
        "cow=$(losetup -f --show {file}); base=$(losetup -r -f --show /data/agent/images/root.ext4); \
         dmsetup create --noudevsync read-anew --table \
         \"0 $(blockdev --getsz $base) snapshot $base $cow P 8\"; dmsetup mknodes read-anew"
    ));
    has(&fleet, "/dev/mapper/read-anew", 32);
    fleet.sh(&format!(
        "dmsetup remove --noudevsync read-anew; dmsetup mknodes; losetup -d $(losetup -n -O NAME -j {file}); \
         losetup -d $(losetup -n -O NAME -j /data/agent/images/root.ext4)"
    ));
    fleet.delete(&vm).await;
    oracle::is_as_before(&fleet, &[&FIRST], &before).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_that_a_guest_fills_at_once_is_said_and_nothing_of_it_is_lost() {
    let fleet = Fleet::start("overflow").await;
    let before = oracle::kernel(&fleet, &[&FIRST]);
    let vm = fleet.create("overflow", short()).await;
    let vm = fleet.reaches(&vm, VmState::Running).await;
    fleet.console_has(&vm, "guest: ready", 1).await;
    let vm = pause(&fleet, &vm).await;
    let name = devices(&vm).snapshot;
    // What is there already, so that a guest that goes on finds its file system.
    fleet.sh(&format!(
        "dmsetup mknodes {name}; dd if=/dev/mapper/{name} of=/run/pattern bs=1M 2>&1"
    ));

    // While no agent looks, the guest writes more than the store takes.
    fleet.kill_agent(&FIRST);
    let copied = fleet.sh(&format!(
        "dd if=/run/pattern of=/dev/mapper/{name} bs=1M oflag=direct conv=notrunc 2>&1 || true"
    ));
    assert!(copied.contains("Input/output error"), "{copied}");
    let filled = fill(&fleet, &vm);
    assert!(filled.ends_with("Overflow"), "not Invalid: {filled}");
    fleet.sh(&format!(
        "dd if=/dev/mapper/{name} bs=1M iflag=direct 2>/dev/null | cmp - /run/pattern"
    ));

    fleet.start_agent(&FIRST);
    let full = shows(&fleet, &vm, "it is said", |s| s.reason == "ROOT_DISK_FULL").await;
    assert_eq!(status(&full).state, i32::from(VmState::Paused), "and the guest is left alone");
    let alarmed = ("ROOT_DISK_ALARM".to_owned(), "ROOT_DISK_FULL".to_owned());
    fleet
        .eventually("the history tells of it", async || {
            let events = events(&fleet, &vm).await;
            if events.contains(&alarmed) { Ok(()) } else { Err(format!("{events:?}")) }
        })
        .await;

    // Started anew the guest has its disk, and room.
    let vm = stop(&fleet, &vm).await;
    let vm = start(&fleet, &vm).await;
    let vm = shows(&fleet, &vm, "it runs with a larger store", |s| {
        s.state == i32::from(VmState::Running)
            && s.reason.is_empty()
            && s.devices.as_ref().is_some_and(|d| d.cow_total_sectors > 32 * 2048)
    })
    .await;
    fleet.console_has(&vm, "guest: ready", 2).await;
    fleet.console_has(&vm, "boots=2", 1).await;

    // A store that was lost is never started over: its header says so for ever.
    let vm = stop(&fleet, &vm).await;
    let file = format!("/data/agent/vms/{}/root.cow", vm.id);
    fleet.sh(&format!("printf '\\0\\0\\0\\0' | dd of={file} bs=1 seek=4 conv=notrunc 2>&1"));
    let vm = start(&fleet, &vm).await;
    let lost = fleet.reaches(&vm, VmState::Failed).await;
    assert_eq!(status(&lost).reason, "ROOT_DISK_LOST", "{:#?}", status(&lost));
    assert!(status(&lost).next_attempt_at.is_none(), "{:#?}", status(&lost));
    assert_eq!(fleet.sh("dmsetup ls"), "No devices found", "nothing is left of the attempt");
    fleet.sh(&format!("test -s {file}"));
    let request =
        RebootVmRequest { vm: vm.id.clone(), reset_root_disk: true, ..Default::default() };
    let vm = fleet.client.vms().reboot(request).await.expect("is accepted");
    let vm = fleet.reaches(&vm, VmState::Running).await;

    fleet.delete(&vm).await;
    oracle::is_as_before(&fleet, &[&FIRST], &before).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_guest_that_prints_for_ever_does_not_fill_the_hosts_disk() {
    let fleet = Fleet::start("prints").await;
    let vm = fleet.create("prints", spec()).await;
    let vm = fleet.reaches(&vm, VmState::Running).await;
    fleet.console_has(&vm, "guest: ready", 1).await;
    let jail = format!("/data/agent/jails/firecracker/{}/root", vm.id);
    let directory = format!("/data/agent/vms/{}", vm.id);

    // Into each of the three pipes that lead out of the jail, as fast as they are read, many times
    // what is kept: the last of them ends only when all of it went somewhere. The fourth pipe leads
    // in: what is typed at the console.
    let fifos = fleet.sh(&format!("find {jail} -type p ! -name console-in.fifo | sort"));
    assert_eq!(fifos.lines().count(), 3, "{fifos}");
    for (number, fifo) in fifos.lines().enumerate() {
        let command = format!(
            "/bin/sh -c 'yes this-guest-prints-for-ever | head -c 8M >{fifo}; touch /run/done.{number}'"
        );
        fleet.host.spawn(&command, "/dev/null").expect("is started");
    }
    let kept = async || -> Result<u64, String> {
        let sizes = fleet
            .sh(&format!("cd {directory} && stat -c '%s %n' *.log *.log.1 2>/dev/null || true"));
        let mut sum = 0;
        for line in sizes.lines() {
            let size: u64 = line.split(' ').next().and_then(|n| n.parse().ok()).expect("a size");
            assert!(size <= 1 << 20, "a file past its bound: {sizes}");
            sum += size;
        }
        Ok(sum)
    };
    fleet
        .eventually("all of it was read", async || {
            kept().await?;
            let done = fleet.sh("ls /run/done.* 2>/dev/null | wc -l");
            if done.trim() == "3" { Ok(()) } else { Err(format!("{done} of 3")) }
        })
        .await;
    let sum = kept().await.expect("is read");
    assert!((3 << 20..=6 << 20).contains(&sum), "{sum} bytes are kept of three streams");
    // The guest runs on.
    assert_eq!(status(&fleet.get(&vm).await).state, i32::from(VmState::Running));
    fleet.delete(&vm).await;
}

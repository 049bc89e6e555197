//! banger on a real host: real kernel objects, real processes, through the public API.
//!
//! Each test has a host in QEMU of its own (about fifteen seconds), so that what one breaks no
//! other sees. With a real Firecracker a real guest runs in it; with the stand-ins everything but
//! the guest is real. Which of them ran is the line `vmm: …` in the output.

mod crashes;
mod fleet;
mod guests;
mod sweep;

use std::time::{Duration, Instant};

use banger_client::v1::{
    CreateVmRequest, DesiredState, GuestStatus, PauseVmRequest, RebootVmRequest, RestartPolicy,
    ResumeVmRequest, StartVmRequest, StopVmRequest, Vm, VmProcess, VmSpec, VmState, VmStatus,
    WorkDisk,
};
use fleet::{FIRST, Fleet, LIMIT, SECOND, image, oracle, spec};

fn status(vm: &Vm) -> VmStatus {
    vm.status.clone().expect("a status")
}

fn process(vm: &Vm) -> VmProcess {
    status(vm).process.expect("a process")
}

/// Start in clock ticks since boot, from the kernel.
fn start_ticks(fleet: &Fleet, pid: u32) -> u64 {
    let ticks = fleet.sh(&format!("sed 's/.*) //' /proc/{pid}/stat | cut -d' ' -f20"));
    ticks.parse().expect("a number")
}

/// What the guest has written behind its root file system, from the host's side.
fn root_marks(fleet: &Fleet, vm: &Vm) -> String {
    let name = status(vm).devices.expect("devices").snapshot;
    fleet.sh(&format!(
        "dmsetup mknodes {name}; blockdev --flushbufs /dev/mapper/{name}; \
         tail -c 4096 /dev/mapper/{name} | tr -d '\\000'"
    ))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_vm_lives_on_a_real_host_and_leaves_nothing_behind() {
    let fleet = Fleet::start("life").await;
    let before = oracle::kernel(&fleet, &[&FIRST]);
    let wanted = VmSpec { work_disk: Some(WorkDisk { size_mib: 8 }), ..spec() };
    let vm = fleet.create("life", wanted).await;
    let vm = fleet.reaches(&vm, VmState::Running).await;

    // The objects are there, by the names the API shows.
    let devices = status(&vm).devices.expect("devices");
    let pid = process(&vm).pid;
    assert_eq!(fleet.sh(&format!("cat /proc/{pid}/comm")), "firecracker");
    assert!(fleet.sh(&format!("tr '\\0' ' ' </proc/{pid}/cmdline")).contains(&vm.id));
    assert_eq!(start_ticks(&fleet, pid), process(&vm).start_ticks);
    let jail = format!("/data/agent/jails/firecracker/{}/root", vm.id);
    assert_eq!(
        fleet.sh(&format!("stat -c %d:%i /proc/{pid}/root/.")),
        fleet.sh(&format!("stat -c %d:%i {jail}"))
    );
    let table = fleet.sh(&format!("dmsetup table {}", devices.snapshot));
    assert!(table.contains(" snapshot "), "{table}");
    for device in [&devices.base_loop, &devices.cow_loop] {
        fleet.sh(&format!("losetup {device}"));
    }
    let link = fleet.sh(&format!("ip -d link show {}", devices.tap));
    assert!(link.contains("LOWER_UP") && link.contains("isolated on"), "{link}");
    let rules = fleet.sh("iptables-save");
    let address = status(&vm).guest_address;
    for rule in [
        format!("-s {address}/32 -o eth0"),
        format!("-i {} -o eth0", devices.tap),
        format!("-i eth0 -o {}", devices.tap),
    ] {
        assert!(rules.contains(&rule), "{rule} is not in\n{rules}");
    }
    assert_eq!(fleet.sh("cat /proc/sys/net/ipv4/ip_forward"), "1");

    // The guest booted from them, wrote to its disks and found its gateway.
    fleet.console_has(&vm, "guest: ready", 1).await;
    fleet.console_has(&vm, &format!("guest: net {address} gateway"), 1).await;
    fleet.console_has(&vm, " ok", 1).await;
    let first_boot = root_marks(&fleet, &vm);
    assert!(first_boot.starts_with("boots 1 "), "{first_boot}");

    // Paused and resumed: the same process.
    let vms = fleet.client.vms();
    let paused = vms
        .pause(PauseVmRequest { vm: vm.id.clone(), ..Default::default() })
        .await
        .expect("is accepted");
    let paused = fleet.reaches(&paused, VmState::Paused).await;
    assert_eq!(process(&paused), process(&vm));
    let resumed = vms
        .resume(ResumeVmRequest { vm: vm.id.clone(), ..Default::default() })
        .await
        .expect("is accepted");
    let resumed = fleet.reaches(&resumed, VmState::Running).await;
    assert_eq!(process(&resumed), process(&vm));

    // Stopped by asking the guest, and started again: the root disk is kept.
    let stopped = vms
        .stop(StopVmRequest {
            vm: vm.id.clone(),
            grace_period: Some(seconds(120)),
            ..Default::default()
        })
        .await
        .expect("is accepted");
    let stopped = fleet.reaches(&stopped, VmState::Stopped).await;
    let exit = status(&stopped).exit.expect("an exit");
    assert!(!exit.crashed, "{exit:#?}");
    assert!(status(&stopped).process.is_none(), "{stopped:#?}");
    fleet.sh(&format!("! kill -0 {pid} 2>/dev/null"));
    let started = vms
        .start(StartVmRequest { vm: vm.id.clone(), ..Default::default() })
        .await
        .expect("is accepted");
    let started = fleet.reaches(&started, VmState::Running).await;
    assert_ne!(process(&started).start_ticks, process(&vm).start_ticks);
    fleet.console_has(&vm, "guest: ready", 2).await;
    let second_boot = root_marks(&fleet, &started);
    assert!(second_boot.starts_with("boots 2 "), "{second_boot}");

    // Rebooted with a new root disk: the work disk is kept.
    let rebooted = vms
        .reboot(RebootVmRequest {
            vm: vm.id.clone(),
            reset_root_disk: true,
            grace_period: Some(seconds(120)),
            ..Default::default()
        })
        .await
        .expect("is accepted");
    let rebooted = fleet.reaches(&rebooted, VmState::Running).await;
    fleet.console_has(&vm, "guest: ready", 3).await;
    let third_boot = root_marks(&fleet, &rebooted);
    assert!(third_boot.starts_with("boots 1 "), "{third_boot}");
    let work = format!("/data/agent/vms/{}/work.img", vm.id);
    let work = fleet.sh(&format!("tail -c 4096 {work} | tr -d '\\000'"));
    assert!(work.starts_with("boots 3 "), "{work}");

    fleet.delete(&vm).await;
    oracle::is_as_before(&fleet, &[&FIRST], &before).await;
}

/// What the guest agent says once it is reached; `None` under the stand-in, which has no guest.
async fn ready_guest(fleet: &Fleet, vm: &Vm) -> Option<GuestStatus> {
    if !fleet.host.vmm().is_real() {
        println!("guest agent: not tried, there is no guest in the stand-in");
        return None;
    }
    let guest = fleet
        .eventually("the guest agent is reached", async || {
            let now = fleet.client.vms().get(&vm.id).await.map_err(|why| why.to_string())?;
            let seen = status(&now);
            seen.guest.clone().filter(|guest| guest.connected).ok_or_else(|| format!("{seen:#?}"))
        })
        .await;
    println!("guest agent: {} by {}, boot {}", guest.hostname, guest.transport, guest.boot_id);
    assert_eq!(guest.transport, "vsock");
    Some(guest)
}

fn seconds(seconds: i64) -> prost_types::Duration {
    prost_types::Duration { seconds, nanos: 0 }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_agent_that_is_killed_finds_its_vms_again_even_without_its_files() {
    let fleet = Fleet::start("adopt").await;
    let before = oracle::kernel(&fleet, &[&FIRST]);
    let vm = fleet.create("adopted", spec()).await;
    let vm = fleet.reaches(&vm, VmState::Running).await;
    fleet.console_has(&vm, "guest: ready", 1).await;
    assert!(status(&vm).adopted_at.is_none(), "started by this agent");
    let (was, marks) = (process(&vm), root_marks(&fleet, &vm));
    let guest = ready_guest(&fleet, &vm).await;

    for without_files in [false, true] {
        let epoch = status(&fleet.get(&vm).await).agent_epoch;
        fleet.kill_agent(&FIRST);
        if without_files {
            fleet.sh("rm /data/agent/vms/*/handles.json");
        }
        assert_eq!(start_ticks(&fleet, was.pid), was.start_ticks, "it runs on without the agent");
        fleet.start_agent(&FIRST);
        let devices =
            |vm: &Vm| status(vm).devices.map(|d| (d.tap, d.snapshot, d.base_loop, d.cow_loop));
        let now = fleet
            .eventually("the VM is adopted with all its objects", async || {
                let now = fleet.client.vms().get(&vm.id).await.map_err(|why| why.to_string())?;
                let seen = status(&now);
                let running = seen.state == i32::from(VmState::Running);
                let whole = devices(&now) == devices(&vm);
                if running && whole && seen.agent_epoch > epoch {
                    return Ok(now);
                }
                Err(format!("files deleted: {without_files}; {seen:#?}"))
            })
            .await;
        let shown = status(&now);
        assert!(shown.adopted_at.is_some(), "files deleted: {without_files}; {shown:#?}");
        assert_eq!(process(&now), was, "files deleted: {without_files}");
        assert_eq!(start_ticks(&fleet, was.pid), was.start_ticks, "the kernel says the same");
        assert_eq!(root_marks(&fleet, &now), marks, "the disk is as it was");
        assert_eq!(shown.restart_count, 0);
        if let Some(guest) = &guest {
            // The guest itself says that it was not restarted.
            let again = ready_guest(&fleet, &vm).await.expect("it was there before");
            assert_eq!(again.boot_id, guest.boot_id, "files deleted: {without_files}");
        }
    }

    // What was adopted without files is also taken apart completely.
    fleet.delete(&vm).await;
    oracle::is_as_before(&fleet, &[&FIRST], &before).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_vmm_that_dies_is_seen_at_once_and_its_policy_is_kept() {
    let fleet = Fleet::start("crash").await;
    let before = oracle::kernel(&fleet, &[&FIRST]);
    let vm = fleet.create("crashes", spec()).await;
    let vm = fleet.reaches(&vm, VmState::Running).await;

    let killed = Instant::now();
    fleet.sh(&format!("kill -9 {}", process(&vm).pid));
    let crashed = fleet.reaches(&vm, VmState::Crashed).await;
    println!("a killed VMM was shown CRASHED after {:.1} s", killed.elapsed().as_secs_f64());
    let exit = status(&crashed).exit.expect("an exit");
    assert!(exit.crashed && exit.signal == Some(9), "{exit:#?}");
    assert_eq!(status(&crashed).reason, "CRASHED");
    assert_eq!(crashed.desired_state, i32::from(DesiredState::Running));

    // A guest that ends by itself is no crash.
    let leaving = VmSpec { boot_args: boot_args("testguest.exit"), ..spec() };
    let leaving = fleet.create("leaves", leaving).await;
    let left = fleet.reaches(&leaving, VmState::Stopped).await;
    let exit = status(&left).exit.expect("an exit");
    assert!(!exit.crashed, "{exit:#?}");

    // A policy starts it again, with the disk it had.
    let stubborn = VmSpec { restart_policy: i32::from(RestartPolicy::OnFailure), ..spec() };
    let stubborn = fleet.create("stubborn", stubborn).await;
    let stubborn = fleet.reaches(&stubborn, VmState::Running).await;
    fleet.console_has(&stubborn, "guest: ready", 1).await;
    fleet.sh(&format!("kill -9 {}", process(&stubborn).pid));
    let again = fleet
        .eventually("it is started again", async || {
            let now = fleet.client.vms().get(&stubborn.id).await.map_err(|why| why.to_string())?;
            let status = status(&now);
            let running = status.state == i32::from(VmState::Running);
            if running && status.restart_count == 1 { Ok(now) } else { Err(format!("{status:#?}")) }
        })
        .await;
    assert_ne!(process(&again), process(&stubborn));
    fleet.console_has(&stubborn, "guest: ready", 2).await;
    let marks = root_marks(&fleet, &again);
    assert!(marks.starts_with("boots 2 "), "{marks}");

    // One that ends as soon as it runs is started again and again, each time later, and counted;
    // and so is one whose kernel panics, which is told as that and no shutdown.
    for (name, does) in [("restless", "testguest.exit"), ("panics", "testguest.panic")] {
        let restless = VmSpec {
            boot_args: boot_args(does),
            restart_policy: i32::from(RestartPolicy::Always),
            ..spec()
        };
        let restless = fleet.create(name, restless).await;
        let waiting = fleet
            .eventually("it has been started again twice and waits", async || {
                let now = fleet.client.vms().get(&restless.id).await;
                let status = status(&now.map_err(|why| why.to_string())?);
                let waits = status.restart_count >= 2 && status.next_attempt_at.is_some();
                if waits { Ok(status) } else { Err(format!("{status:#?}")) }
            })
            .await;
        let exit = waiting.exit.clone().expect("an exit");
        assert!(waiting.process.is_none(), "{waiting:#?}");
        if name == "panics" {
            println!("a panic: {} {}", waiting.reason, exit.message);
            assert!(exit.crashed && waiting.reason == "GUEST_PANIC", "{waiting:#?}");
            assert_eq!(waiting.state, i32::from(VmState::Crashed), "{waiting:#?}");
            assert!(exit.message.contains("Kernel panic - not syncing"), "{exit:#?}");
        } else {
            assert!(!exit.crashed && waiting.reason != "GUEST_PANIC", "{waiting:#?}");
        }
        fleet.delete(&restless).await;
    }

    for vm in [&vm, &leaving, &stubborn] {
        fleet.delete(vm).await;
    }
    oracle::is_as_before(&fleet, &[&FIRST], &before).await;
}

fn boot_args(more: &str) -> String {
    format!("console=ttyS0 reboot=k panic=1 {more}")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_guest_that_does_not_listen_is_ended_at_the_deadline() {
    let fleet = Fleet::start("deaf").await;
    let deaf = VmSpec { boot_args: boot_args("testguest.ignore_shutdown"), ..spec() };
    let vm = fleet.create("deaf", deaf).await;
    let vm = fleet.reaches(&vm, VmState::Running).await;
    fleet.console_has(&vm, "guest: ready", 1).await;
    let request =
        StopVmRequest { vm: vm.id.clone(), grace_period: Some(seconds(3)), ..Default::default() };
    let stopping = fleet.client.vms().stop(request).await.expect("is accepted");
    let stopped = fleet.reaches(&stopping, VmState::Stopped).await;
    fleet.console_has(&vm, "guest: ctrl-alt-del ignored", 1).await;
    fleet.sh(&format!("! kill -0 {} 2>/dev/null", process(&vm).pid));
    assert!(status(&stopped).process.is_none(), "{stopped:#?}");
    fleet.delete(&vm).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_made_is_a_reason_and_leaves_nothing() {
    let fleet = Fleet::start("faults").await;
    let before = oracle::kernel(&fleet, &[&FIRST]);
    let cases = [
        (VmSpec { kernel: image("no-kernel"), ..spec() }, "KERNEL_IMAGE_MISSING"),
        (VmSpec { root_image: image("no-root.ext4"), ..spec() }, "ROOT_IMAGE_MISSING"),
        (VmSpec { initrd: image("no-initrd"), ..spec() }, "INITRD_IMAGE_MISSING"),
        (VmSpec { kernel: image("initrd"), ..spec() }, "IMAGE_NOT_USABLE"),
    ];
    for (number, (wanted, reason)) in cases.into_iter().enumerate() {
        // The server refuses what no host has: they are there until the VM is stored.
        fleet.sh("cd /data/agent/images && touch no-kernel no-root.ext4 no-initrd");
        let vm = fleet
            .eventually("the host's images are known", async || {
                let request = CreateVmRequest {
                    name: format!("fault-{number}"),
                    spec: Some(wanted.clone()),
                    desired_state: DesiredState::Stopped.into(),
                    ..Default::default()
                };
                fleet.client.vms().create(request).await.map_err(|why| why.to_string())
            })
            .await;
        fleet.sh("cd /data/agent/images && rm no-kernel no-root.ext4 no-initrd");
        let start = StartVmRequest { vm: vm.id.clone(), ..Default::default() };
        let vm = fleet.client.vms().start(start).await.expect("is accepted");
        let failed = fleet.reaches(&vm, VmState::Failed).await;
        let shown = status(&failed);
        assert_eq!(shown.reason, reason, "{shown:#?}");
        assert!(!shown.message.is_empty(), "{shown:#?}");
        only_scratch_is_left(&fleet, &vm, &before).await;
        fleet.delete(&vm).await;
    }
    oracle::is_as_before(&fleet, &[&FIRST], &before).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_of_the_host_is_a_reason_and_no_vm_of_it_is_stuck() {
    let fleet = Fleet::start("full").await;
    let before = oracle::kernel(&fleet, &[&FIRST]);
    // With as many devices as a VM can have and the longest command line that the API takes: what
    // the agent and the VMM add to it fits.
    let pad = boot_args("pad=");
    let wanted = VmSpec {
        work_disk: Some(WorkDisk { size_mib: 8 }),
        boot_args: format!("{pad}{}", "a".repeat(1536 - pad.len())),
        ..spec()
    };
    let running = fleet.create("running", wanted).await;
    let running = fleet.reaches(&running, VmState::Running).await;
    fleet.console_has(&running, "guest: ready", 1).await;
    let with_one = oracle::kernel(&fleet, &[&FIRST]);

    // No room for the VM's disks.
    fleet.sh("fallocate -l $(($(df --output=avail -B1 /data | tail -1) - 1000000)) /data/filler");
    let full = fleet.create("full", spec()).await;
    let failed = fleet.reaches(&full, VmState::Failed).await;
    let shown = status(&failed);
    assert_eq!(shown.reason, "DISK_FULL", "{shown:#?}");
    assert!(shown.next_attempt_at.is_some(), "{shown:#?}");
    only_scratch_is_left(&fleet, &full, &with_one).await;
    let victim = fleet.create("victim", spec()).await;
    let victim = fleet.reaches(&victim, VmState::Failed).await;

    // Not even room for a VM's record: the agent takes nothing on, and the API says why.
    fleet.sh("cat /dev/zero >/data/filler.rest 2>/dev/null; sync");
    let fuller = fleet.create("fuller", spec()).await;
    fleet
        .eventually("the reason is shown", async || {
            let now = fleet.client.vms().get(&fuller.id).await.map_err(|why| why.to_string())?;
            let shown = status(&now);
            let said = shown.reason == "DISK_FULL" && shown.message.contains("No space left");
            if said && shown.process.is_none() { Ok(()) } else { Err(format!("{shown:#?}")) }
        })
        .await;
    assert!(!fleet.sh("ls /data/agent/vms").contains(&fuller.id), "it left nothing");

    // An agent that dies comes back and finds its VM; what is to go goes, and what is to stop
    // stops.
    let epoch = status(&running).agent_epoch;
    fleet.kill_agent(&FIRST);
    fleet.start_agent(&FIRST);
    let seen = fleet
        .eventually("the VM is adopted", async || {
            let now = fleet.client.vms().get(&running.id).await.map_err(|why| why.to_string())?;
            let shown = status(&now);
            let is = shown.state == i32::from(VmState::Running) && shown.agent_epoch > epoch;
            if is { Ok(now) } else { Err(format!("{shown:#?}")) }
        })
        .await;
    assert_eq!(process(&seen), process(&running));
    fleet.delete(&victim).await;
    let request = StopVmRequest { vm: running.id.clone(), ..Default::default() };
    let stopping = fleet.client.vms().stop(request).await.expect("is accepted");
    fleet.reaches(&stopping, VmState::Stopped).await;

    // And when there is room again, the others run by themselves.
    fleet.sh("rm /data/filler /data/filler.rest");
    for vm in [&full, &fuller] {
        fleet.reaches(vm, VmState::Running).await;
    }
    for vm in [&running, &full, &fuller] {
        fleet.delete(vm).await;
    }
    oracle::is_as_before(&fleet, &[&FIRST], &before).await;
}

/// A failed VM holds its record and nothing of the kernel.
async fn only_scratch_is_left(fleet: &Fleet, vm: &Vm, before: &str) {
    fleet
        .eventually("what was made is undone", async || {
            let difference = oracle::difference(before, &oracle::kernel(fleet, &[&FIRST]));
            let scratch = format!("+ == files: /data/agent/vms/{}", vm.id);
            let left: Vec<&str> =
                difference.lines().filter(|line| !line.starts_with(&scratch)).collect();
            if left.is_empty() { Ok(()) } else { Err(left.join("\n")) }
        })
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_agents_on_one_machine_do_not_touch_each_other() {
    let fleet = Fleet::start("two").await;
    fleet.join(&SECOND).await;
    let both = [&FIRST, &SECOND];
    let before = oracle::kernel(&fleet, &both);
    let on = |agent: &fleet::Agent| {
        let placement =
            banger_client::v1::Placement { host: agent.name.to_owned(), ..Default::default() };
        VmSpec { placement: Some(placement), ..spec() }
    };
    let one = fleet.create("one", on(&FIRST)).await;
    let two = fleet.create("two", on(&SECOND)).await;
    let one = fleet.reaches(&one, VmState::Running).await;
    let two = fleet.reaches(&two, VmState::Running).await;
    assert_ne!(status(&one).guest_address, status(&two).guest_address);

    // The first is killed and loses its VM; the second notices nothing.
    fleet.kill_agent(&FIRST);
    fleet.sh(&format!("kill -9 {}", process(&one).pid));
    fleet.start_agent(&FIRST);
    fleet.online(&FIRST).await;
    let crashed = fleet.reaches(&one, VmState::Crashed).await;
    assert!(status(&crashed).process.is_none(), "{crashed:#?}");
    // On a slow machine its host may be suspect for a moment; what counts is what comes after.
    let seen = fleet.reaches(&two, VmState::Running).await;
    assert_eq!(process(&seen), process(&two));
    assert!(status(&seen).adopted_at.is_none());

    fleet.delete(&one).await;
    assert_eq!(start_ticks(&fleet, process(&two).pid), process(&two).start_ticks);
    fleet.delete(&two).await;
    oracle::is_as_before(&fleet, &both, &before).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_host_that_is_gone_leaves_its_vms_unknown_until_it_is_back() {
    let fleet = Fleet::start("away").await;
    let vm = fleet.create("away", spec()).await;
    let vm = fleet.reaches(&vm, VmState::Running).await;
    fleet.kill_agent(&FIRST);
    let unknown = fleet.reaches(&vm, VmState::Unknown).await;
    assert!(status(&unknown).unknown_since.is_some(), "{unknown:#?}");

    // An intent is accepted meanwhile and carried out on return.
    let request = StopVmRequest { vm: vm.id.clone(), ..Default::default() };
    let stopping = fleet.client.vms().stop(request).await.expect("is accepted");
    assert_eq!(start_ticks(&fleet, process(&vm).pid), process(&vm).start_ticks);
    let back = Instant::now();
    fleet.start_agent(&FIRST);
    fleet.reaches(&stopping, VmState::Stopped).await;
    assert!(back.elapsed() < LIMIT + Duration::from_secs(1));
    fleet.delete(&vm).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_console_is_typed_into_also_by_the_next_agent() {
    let fleet = Fleet::start("console").await;
    let vm = fleet.create("console", spec()).await;
    let vm = fleet.reaches(&vm, VmState::Running).await;
    fleet.console_has(&vm, "guest: ready", 1).await;
    fleet.types_and_sees(&vm, "one line", "guest: heard one line").await;
    // Its log is a log: nothing of the VMM itself is on the console, nothing of the guest in it.
    let log = fleet.sh(&format!("cat /data/*/vms/{}/firecracker.log", vm.id));
    assert!(log.contains("Running Firecracker") && !log.contains("guest: "), "{log}");
    let console = fleet.sh(&format!("cat /data/*/vms/{}/console.log", vm.id));
    assert!(!console.contains("Running Firecracker"), "{console}");

    fleet.kill_agent(&FIRST);
    fleet.start_agent(&FIRST);
    fleet.online(&FIRST).await;
    fleet.types_and_sees(&vm, "another line", "guest: heard another line").await;
    fleet.delete(&vm).await;
}

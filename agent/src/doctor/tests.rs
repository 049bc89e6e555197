//! What the doctor says of machines.

use super::checks::Machine;
use super::*;
use crate::host::exec::{MissingTool, Tool};
use crate::host::{RootDiskKind, VmmKind};

fn good() -> Machine {
    Machine {
        root: true,
        missing: Vec::new(),
        vmm: Ok("firecracker 1.16.1".to_owned()),
        kvm: Ok(()),
        choice: (VmmKind::Firecracker, RootDiskKind::Snapshot),
        kernel: vec![("loop devices", "loop", true), ("bridge", "bridge", true)],
        iptables: Ok(()),
        cgroup2: true,
        forwarding: Some(true),
        uplink: Some("eth0".to_owned()),
        disk_free_mib: Some(100_000),
        devices_allowed: Some(true),
        state_dir: "/var/lib/banger-agent".to_owned(),
        joined: true,
    }
}

fn diagnosis(machine: &Machine) -> Diagnosis {
    Diagnosis::of(machine.checks())
}

#[test]
fn a_good_machine_is_usable_and_needs_nothing_mended() {
    let diagnosis = diagnosis(&good());
    assert!(diagnosis.usable);
    assert!(diagnosis.checks.iter().all(|check| check.ok && check.mend.is_empty()));
}

#[test]
fn everything_that_is_not_well_says_what_mends_it() {
    let bad = Machine {
        root: false,
        missing: vec![MissingTool { tool: Tool::Jailer, looked: vec!["/usr/bin".to_owned()] }],
        vmm: Err("no such file".to_owned()),
        kvm: Err("/dev/kvm cannot be opened: No such file or directory".to_owned()),
        kernel: vec![("loop devices", "loop", false), ("bridge", "bridge", false)],
        iptables: Err("modprobe failed".to_owned()),
        cgroup2: false,
        forwarding: None,
        uplink: None,
        disk_free_mib: Some(10),
        devices_allowed: Some(false),
        joined: false,
        ..good()
    };
    let diagnosis = diagnosis(&bad);
    assert!(!diagnosis.usable);
    for check in diagnosis.checks.iter().filter(|check| !check.ok) {
        assert!(!check.mend.is_empty(), "{check:?}");
    }
    insta::assert_snapshot!(diagnosis.text(), @r"
    FAIL  root             does not run as root
                           mend: run it with sudo, or by its unit
    ok    vmm              guests run under Firecracker; each root disk is a snapshot
    ok    dmsetup          dmsetup is installed
    ok    iptables-restore iptables-restore is installed
    ok    iptables-save    iptables-save is installed
    ok    ip               ip is installed
    FAIL  firecracker      firecracker does not run: no such file
                           mend: deploy/get-firecracker.sh, or set it under [tools]
    FAIL  jailer           jailer is not in /usr/bin
                           mend: deploy/get-firecracker.sh, or set it under [tools]
    FAIL  kvm              no guest runs: /dev/kvm cannot be opened: No such file or directory
                           mend: modprobe kvm_intel or kvm_amd; switch virtualization on in the firmware, or nested virtualization on in the machine below; or apt-get install qemu-system-x86 for guests by software emulation
    FAIL  loop             the kernel has no loop devices
                           mend: modprobe loop
    warn  bridge           the module for bridge is not loaded yet
                           mend: modprobe bridge
    FAIL  iptables         the table nat cannot be read: modprobe failed
                           mend: modprobe iptable_nat nf_tables
    warn  cgroup2          no control groups of version 2: guests would be in the agent's own group
                           mend: boot with systemd.unified_cgroup_hierarchy=1
    warn  forwarding       it cannot be told whether IPv4 forwarding is on
                           mend: sysctl -w net.ipv4.ip_forward=1
    warn  uplink           no default route: guests with address translation cannot start
                           mend: ip route add default via GATEWAY
    warn  disk             10 MiB are free for /var/lib/banger-agent
                           mend: free some, or set state_dir to a larger file system
    FAIL  jails            the file system of /var/lib/banger-agent is mounted nodev or noexec
                           mend: remount it with dev,exec, or set jail_dir
    warn  joined           has not joined a fleet yet
                           mend: banger-agent join --server URL --token TOKEN

    This machine cannot run guests; `banger-agent run --simulate` pretends to.
");
}

#[test]
fn what_guests_can_do_without_does_not_make_a_machine_unusable() {
    let machine =
        Machine { forwarding: Some(false), uplink: None, cgroup2: false, joined: false, ..good() };
    let diagnosis = diagnosis(&machine);
    assert!(diagnosis.usable);
    assert_eq!(diagnosis.checks.iter().filter(|check| !check.ok).count(), 4);
}

#[test]
fn a_stand_in_needs_no_kvm() {
    let machine = Machine {
        vmm: Ok("stand-in".to_owned()),
        kvm: Err("/dev/kvm cannot be opened".to_owned()),
        ..good()
    };
    assert!(diagnosis(&machine).usable);
}

#[test]
fn the_json_has_what_programs_look_for() {
    let json = serde_json::to_value(diagnosis(&good())).unwrap();
    assert_eq!(json["usable"], true);
    assert_eq!(json["checks"][0]["name"], "root");
    assert_eq!(json["checks"][0]["ok"], true);
    assert_eq!(json["checks"][0]["severity"], "ok");
    assert_eq!(json["checks"][0]["production"], false);
    assert_eq!(json["production_ready"], true);
    assert_eq!(json["checks"][0]["message"], "runs as root");
}

#[tokio::test]
async fn this_machine_can_be_looked_at() {
    let diagnosis = diagnose(&AgentConfig::default()).await;
    let names: std::collections::BTreeSet<_> = diagnosis.checks.iter().map(|c| c.name).collect();
    assert_eq!(names.len(), diagnosis.checks.len(), "names are unique");
}

#[test]
fn a_machine_without_kvm_and_device_mapper_is_usable_under_qemu_with_copies() {
    let machine = Machine {
        vmm: Err("no such file".to_owned()),
        missing: [Tool::Firecracker, Tool::Jailer, Tool::Dmsetup]
            .map(|tool| MissingTool { tool, looked: vec!["/usr/bin".to_owned()] })
            .to_vec(),
        kvm: Err("a guest of a few instructions took 0.3 s".to_owned()),
        choice: (VmmKind::Qemu, RootDiskKind::Copy),
        kernel: vec![("device-mapper", "dm_mod", false), ("tun/tap", "tun", true)],
        ..good()
    };
    let diagnosis = diagnosis(&machine);
    assert!(diagnosis.usable, "{}", diagnosis.text());
    let vmm = diagnosis.checks.iter().find(|check| check.name == "vmm").unwrap();
    assert!(vmm.message.contains("QEMU by software emulation"), "{vmm:?}");
    // Without taps there is no guest under any VMM.
    let machine = Machine { kernel: vec![("tun/tap", "tun", false)], ..machine };
    assert!(!self::diagnosis(&machine).usable);
}

//! What the doctor says of machines.

use super::checks::{Machine, try_pins};
use super::gateways::WaySeen;
use super::*;
use crate::host::exec::recording::RecordingExec;
use crate::host::exec::{Exec as _, MissingTool, RealExec, Tool, ToolCall, search_dirs};
use crate::host::linux::network::test_net::in_namespace;
use crate::host::linux::network::uplinks::WayOut;
use crate::host::{LinkName, RootDiskKind, VmmKind};

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
        without_cgroups: false,
        forwarding: Some(true),
        forward_policy: Some("DROP".to_owned()),
        rules_ahead: Vec::new(),
        nft: Ok(()),
        uplinks: vec![LinkName::new("eth0").unwrap()],
        ways: Vec::new(),
        max_neighbours: 512,
        claims: Ok(Vec::new()),
        name_servers: 2,
        disk_free_mib: Some(100_000),
        devices_allowed: Some(true),
        state_dir: "/var/lib/banger-agent".to_owned(),
        joined: true,
        certificate_left: None,
    }
}

fn without_gateway() -> WaySeen {
    let device = LinkName::new("eth1").unwrap();
    WaySeen { way: WayOut { device, gateway: None }, bounded: true }
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
        nft: Err("no such program".to_owned()),
        forward_policy: Some("ACCEPT".to_owned()),
        rules_ahead: vec!["FORWARD -j DOCKER-USER".to_owned(), "INPUT -j ACCEPT".to_owned()],
        cgroup2: false,
        forwarding: None,
        uplinks: Vec::new(),
        ways: vec![without_gateway()],
        claims: Ok(vec!["/run/banger-agents/b9.json: EOF while parsing".to_owned()]),
        name_servers: 0,
        disk_free_mib: Some(10),
        devices_allowed: Some(false),
        joined: false,
        certificate_left: None,
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
    ok    nft              nft is installed
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
    FAIL  pins             guests cannot be pinned to their taps: no such program
                           mend: apt-get install nftables; modprobe nf_tables; or a kernel and an nft that know what is named here
    FAIL  cgroup2          no control groups of version 2: the agent does not start
                           mend: boot with systemd.unified_cgroup_hierarchy=1
    FAIL  claims           no agent starts, for a claim cannot be understood: /run/banger-agents/b9.json: EOF while parsing
                           mend: look for the agent and the guests of that instance (its name is the file's: ip -br link | grep '^bg'), and only if there are none remove the file; an agent run by its unit then starts by itself
    warn  forwarding       it cannot be told whether IPv4 forwarding is on
                           mend: sysctl -w net.ipv4.ip_forward=1
    warn  router           this machine is a router between all its interfaces, not for guests alone
                           mend: iptables -P FORWARD DROP, and keep it over a boot
    warn  rules-ahead      rules of others come before those of guests, and what they accept is open to guests: FORWARD -j DOCKER-USER and 1 more
                           mend: see `iptables -S FORWARD` and `iptables -S INPUT`; to have those of guests first: iptables -D CHAIN -j BANGER-…, and the agent puts it first
    warn  uplink           no default route: guests with address translation cannot start
                           mend: ip route add default via GATEWAY
    warn  gateway          the default route by eth1 names no gateway by an IPv4 address: every address of the world counts as a neighbour, and guests get to 512 new ones within ten seconds, one guest to 64 that do not answer
                           mend: ip route replace default via GATEWAY dev eth1; or raise guests.max_neighbours in /etc/banger/agent.toml
    warn  names            guests are told no name server, so names mean nothing to them
                           mend: set guests.dns to servers that guests can reach: /etc/resolv.conf names none
    warn  disk             10 MiB are free for /var/lib/banger-agent
                           mend: free some, or set state_dir to a larger file system
    FAIL  jails            the file system of /var/lib/banger-agent is mounted nodev or noexec
                           mend: remount it with dev,exec, or set jail_dir
    warn  joined           has not joined a fleet yet
                           mend: banger host token on the server, and here the lines that it prints

    This machine cannot run guests; `banger-agent run --simulate` pretends to.
");
}

#[test]
fn what_guests_can_do_without_does_not_make_a_machine_unusable() {
    let machine = Machine {
        forwarding: Some(false),
        uplinks: Vec::new(),
        cgroup2: false,
        without_cgroups: true,
        joined: false,
        certificate_left: None,
        ..good()
    };
    let diagnosis = diagnosis(&machine);
    assert!(diagnosis.usable);
    assert_eq!(diagnosis.checks.iter().filter(|check| !check.ok).count(), 4);
}

#[test]
fn without_control_groups_of_version_2_there_is_no_production() {
    let machine = Machine { cgroup2: false, ..good() };
    assert!(!diagnosis(&machine).usable);
    let insists = diagnosis(&Machine { without_cgroups: true, ..machine });
    assert!(insists.usable);
    let check = insists.checks.iter().find(|check| check.name == "cgroup2").unwrap();
    assert!(!check.ok && check.message.contains("may outlive its VM"), "{check:?}");
}

#[test]
fn an_agent_that_would_be_refused_for_a_claim_is_said_to_be() {
    for claims in [
        Ok(vec!["/run/banger-agents/b9.json: it is no regular file".to_owned()]),
        Err("no".to_owned()),
    ] {
        let diagnosis = diagnosis(&Machine { claims, ..good() });
        assert!(!diagnosis.usable);
        let check = diagnosis.checks.iter().find(|check| check.name == "claims").unwrap();
        assert!(check.message.contains("no agent starts"), "{check:?}");
        assert!(check.mend.contains("starts by itself"), "{check:?}");
    }
}

#[test]
fn a_machine_that_would_forward_for_everybody_is_told_so() {
    // Where the agent will be the one who switches it on, it closes it first.
    for (forwarding, says) in [(true, "is a router"), (false, "closes it for all but guests")] {
        let policy =
            super::checks::forward_policy("*filter\n:INPUT DROP [0:0]\n:FORWARD ACCEPT [7:9]\n");
        let machine = Machine { forwarding: Some(forwarding), forward_policy: policy, ..good() };
        let diagnosis = diagnosis(&machine);
        assert!(diagnosis.usable);
        let router = diagnosis.checks.iter().find(|check| check.name == "router").unwrap();
        assert!(router.ok != forwarding && router.message.contains(says), "{router:?}");
    }
}

#[test]
fn rules_of_others_ahead_of_those_of_guests_are_told() {
    let chains = crate::host::linux::Chains::of_tag("bg");
    let ahead = |filter: &str| super::checks::rules_ahead(filter, &chains);
    let filter = "*filter\n:FORWARD DROP [0:0]\n-A INPUT -i lo -j ACCEPT\n-A INPUT -j BANGER-BG-IN\n\
                  -A FORWARD -j BANGER-B0-FWD\n-A FORWARD -j DOCKER-USER\n\
                  -A FORWARD -j BANGER-BG-FWD\n-A FORWARD -j ACCEPT\nCOMMIT\n";
    assert_eq!(ahead(filter), ["FORWARD -j DOCKER-USER", "INPUT -i lo -j ACCEPT"]);
    // Without guests the agent has no rules.
    assert_eq!(ahead("*filter\n-A FORWARD -j DOCKER-USER\nCOMMIT\n"), Vec::<String>::new());
    assert_eq!(ahead(""), Vec::<String>::new());
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

#[test]
fn priv_the_uplink_of_a_policy_table_is_one_to_the_doctor_too() {
    in_namespace(|| async {
        let exec =
            RealExec::find(&Default::default(), &search_dirs(), std::time::Duration::from_secs(20));
        let ip = async |arguments: &str| {
            let call = ToolCall::new(Tool::Ip, arguments.split_whitespace());
            assert!(exec.run(&call).await.unwrap().succeeded(), "ip {arguments}");
        };
        let uplink = async || {
            let checks = diagnose(&AgentConfig::default()).await.checks;
            let check = checks.into_iter().find(|check| check.name == "uplink").unwrap();
            (check.ok, check.message)
        };
        ip("link add up0 type bridge").await;
        ip("link set up0 up").await;
        ip("address add 192.0.2.2/24 dev up0").await;
        let none = "no default route: guests with address translation cannot start".to_owned();
        assert_eq!(uplink().await, (false, none));
        ip("route add default via 192.0.2.1 dev up0 onlink table 100").await;
        ip("rule add from all lookup 100").await;
        assert_eq!(uplink().await, (true, "the uplink is up0".to_owned()));
    });
}

fn pins_of_all_kinds() -> crate::host::linux::PinLayout {
    AgentConfig::default().linux().pins
}

#[tokio::test]
async fn what_nft_or_the_kernel_does_not_take_of_the_rules_is_said_as_they_say_it() {
    let complaint = "-:31:1-20: Error: Could not process rule: No such file or directory\nicmp mtu";
    let exec = RecordingExec::answering([(0, "", ""), (1, "", complaint)]);
    assert_eq!(try_pins(&exec, &pins_of_all_kinds()).await, Ok(()));
    let why = try_pins(&exec, &pins_of_all_kinds()).await.unwrap_err();
    assert!(why.contains("-:31:1-20: Error: Could not process rule"), "{why}");
    let asked = exec.transcript();
    // Everything that an agent ever writes is in it.
    for part in [
        "nft -c -f -",
        "chain errors",
        "chain met",
        "chain to_host",
        "refused_icmp",
        "delete element",
    ] {
        assert!(asked.contains(part), "{part}: {asked}");
    }
    let machine = Machine { nft: Err(why), ..good() };
    let diagnosis = Diagnosis::of(machine.checks());
    let pins = diagnosis.checks.iter().find(|check| check.name == "pins").unwrap();
    assert!(!diagnosis.usable && pins.message.contains("Could not process rule"), "{pins:?}");
}

#[test]
fn priv_this_kernel_and_nft_take_all_rules_and_a_check_of_them_leaves_nothing() {
    in_namespace(|| async {
        let limit = std::time::Duration::from_secs(20);
        let exec = RealExec::find(&Default::default(), &search_dirs(), limit);
        let all = async || {
            let call = ToolCall::new(Tool::Nft, ["list", "ruleset"]);
            exec.run(&call).await.unwrap().stdout
        };
        assert_eq!(try_pins(&exec, &pins_of_all_kinds()).await, Ok(()));
        assert_eq!(all().await, "");
        // What nft does not understand.
        let broken = crate::host::linux::PinLayout {
            table: "banger-bg extra".to_owned(),
            ..pins_of_all_kinds()
        };
        let why = try_pins(&exec, &broken).await.unwrap_err();
        assert!(why.contains("Error"), "{why}");
        // Beside an agent that works.
        exec.run(&ToolCall::new(Tool::Nft, ["add", "table", "inet", "banger-bg"])).await.unwrap();
        let before = all().await;
        assert_eq!(try_pins(&exec, &pins_of_all_kinds()).await, Ok(()));
        assert_eq!(all().await, before);
    });
}

#[test]
fn a_certificate_that_is_close_to_its_end_is_said_and_one_that_is_renewed_in_time_is_well() {
    for (days, well, said) in [
        (90, true, "good for 90 days"),
        (15, true, "good for 15 days"),
        (6, false, "good for 6 days"),
        (1, false, "good for 1 day"),
        (-1, false, "has expired"),
    ] {
        let machine = Machine { certificate_left: Some(days * 24 * 3600), ..good() };
        let checks = machine.checks();
        let check = checks.iter().find(|check| check.name == "certificate").expect("it is there");
        assert_eq!((check.ok, check.required), (well, false), "{days}");
        assert!(check.message.contains(said), "{days}: {}", check.message);
    }
}

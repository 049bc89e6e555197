//! The stand-ins, run natively: jails, taps in namespaces of their own, and the API.
//!
//! Needs root. Where a real Firecracker is named by `BANGER_FIRECRACKER` and `BANGER_JAILER`, the
//! claims about jails and refusals are put to it as well: that is how the stand-ins are kept true.

mod jailed;

use std::os::unix::fs::MetadataExt;
use std::os::unix::process::ExitStatusExt;

use banger_testhost::host::{Vmm, cache::Cache, programs};
use jailed::{ID, Jailed, UID, command, exists, ip, wait_for};

fn stand_in() -> Vmm {
    let cache = Cache::open().expect("a cache");
    let built = programs::build(&cache).expect("builds");
    Vmm::StandIn {
        firecracker: built.join("standin-firecracker"),
        jailer: built.join("standin-jailer"),
    }
}

/// The stand-in, and the real one where there is one.
fn all() -> Vec<Vmm> {
    let found = Vmm::find(&Cache::open().expect("a cache")).expect("a VMM");
    let mut all = vec![stand_in()];
    if found.is_real() {
        all.push(found);
    }
    for vmm in &all {
        println!("{}", vmm.line());
    }
    all
}

#[test]
fn a_jail_is_laid_out_and_its_process_is_recognizable() {
    for vmm in all() {
        let jailed = Jailed::start(&vmm);
        let (root, pid) = (&jailed.root, jailed.pid());

        let pidfile = std::fs::read_to_string(root.join("firecracker.pid")).expect("a pidfile");
        assert_eq!(pidfile, pid.to_string(), "digits and no newline");
        let process = |file: &str| std::fs::read_to_string(format!("/proc/{pid}/{file}"));
        assert_eq!(process("comm").expect("runs"), "firecracker\n");
        let line = process("cmdline").expect("runs");
        assert!(
            line.starts_with(&format!("/firecracker\0--id\0{ID}\0--start-time-us\0")),
            "{line}"
        );
        assert!(process("status").expect("runs").contains(&format!("Uid:\t{UID}\t{UID}")));
        let link = std::fs::read_link(format!("/proc/{pid}/root")).expect("runs");
        assert_eq!(link.to_string_lossy(), "/");
        let inside = std::fs::metadata(format!("/proc/{pid}/root/.")).expect("runs");
        let outside = std::fs::metadata(root).expect("there");
        assert_eq!((inside.dev(), inside.ino()), (outside.dev(), outside.ino()));

        for directory in ["", "dev", "dev/net", "run"] {
            let is = std::fs::metadata(root.join(directory)).expect("there");
            assert_eq!((is.mode() & 0o7777, is.uid(), is.gid()), (0o700, UID, UID), "{directory}");
        }
        for (device, major, minor) in [("kvm", 10, 232), ("net/tun", 10, 200), ("urandom", 1, 9)] {
            let is = std::fs::metadata(root.join("dev").join(device)).expect(device);
            let number = (nix::sys::stat::major(is.rdev()), nix::sys::stat::minor(is.rdev()));
            assert_eq!((number, is.uid()), ((major, minor), UID), "{device}");
        }
        assert!(exists(jailed.socket()));
        assert!(!exists(root.join("old_root")));
    }
}

#[test]
fn a_leftover_pidfile_or_socket_blocks_the_next_start() {
    for vmm in all() {
        let mut jailed = Jailed::start(&vmm);
        nix::sys::signal::kill(
            nix::unistd::Pid::from_raw(jailed.pid().cast_signed()),
            nix::sys::signal::Signal::SIGKILL,
        )
        .expect("ours");
        assert_eq!(jailed.wait().signal(), Some(9));
        let refused = jailed.jailer().output().expect("runs");
        assert_eq!(refused.status.code(), Some(1), "{refused:?}");
        let devices = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert!(devices.contains("mknod") && devices.contains("exists"), "{devices}");

        std::fs::remove_dir_all(jailed.root.join("dev")).expect("removed");
        let refused = jailed.jailer().output().expect("runs");
        let pidfile = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert!(pidfile.contains("firecracker.pid"), "{pidfile}");

        std::fs::remove_dir_all(jailed.root.join("dev")).expect("removed");
        std::fs::remove_file(jailed.root.join("firecracker.pid")).expect("removed");
        let refused = jailed.jailer().output().expect("runs");
        assert_eq!(refused.status.code(), Some(1), "the socket is in use: {refused:?}");

        std::fs::remove_dir_all(jailed.root.join("dev")).expect("removed");
        std::fs::remove_file(jailed.root.join("firecracker.pid")).expect("removed");
        std::fs::remove_file(jailed.socket()).expect("removed");
        jailed.restart();
        assert_eq!(jailed.state(), "Not started");
    }
}

#[test]
fn a_wrong_command_line_is_refused_before_anything_is_made() {
    for vmm in all() {
        let jailed = Jailed::prepare(&vmm);
        let before = tree(&jailed);
        let cases: [(&[&str], &str); 6] = [
            (&["--id", "again"], "provided more than once"),
            (&["--nonsense"], "wasn't expected"),
            (&["--parent-cgroup", "../out"], "Parent cgroup path is invalid"),
            (&["--cgroup-version", "7", "--cgroup", "cpu.max=1"], "Hierarchy not found"),
            (&["--resource-limit", "cpu=1"], "Invalid resource argument"),
            (&["--resource-limit", "no-file"], "resources limits"),
        ];
        for (extra, sentence) in cases {
            let refused = jailed.jailer().args(extra).output().expect("runs");
            let said = String::from_utf8_lossy(&refused.stderr).into_owned();
            assert_eq!(refused.status.code(), Some(1), "{extra:?}");
            assert!(said.contains(sentence), "{extra:?}: {refused:?}");
            assert_eq!(tree(&jailed), before, "{extra:?}");
        }
        let jailer = vmm.jailer();
        let bare = command(jailer).args(["--id", "a_b"]).output().expect("runs");
        assert_eq!(bare.status.code(), Some(1));
        let version = command(jailer).arg("--version").output().expect("runs");
        assert!(version.status.success());
        let unknown = command(vmm.firecracker()).arg("--nonsense").output().expect("runs");
        assert_eq!(unknown.status.code(), Some(153));
    }
}

fn tree(jailed: &Jailed) -> Vec<String> {
    let listing = command("find").arg(jailed.base.path()).output().expect("runs");
    let mut lines: Vec<String> =
        String::from_utf8_lossy(&listing.stdout).lines().map(str::to_owned).collect();
    lines.sort();
    lines
}

/// Method, path, body, status, and a part of the answer.
type Case = (&'static str, &'static str, &'static str, u16, &'static str);

const BEFORE_START: &str = "not supported before starting the microVM";

const REFUSALS: [Case; 30] = [
    ("GET", "/", "", 200, "\"state\":\"Not started\""),
    ("GET", "/nonsense", "", 400, "Invalid request method and/or path: GET nonsense."),
    ("GET", "/", "{}", 400, "GET request cannot have a body."),
    ("PUT", "/actions", "", 400, "Empty PUT request."),
    ("PUT", "/actions", r#"{"action_type":"InstanceStart"}"#, 400, "without kernel configuration"),
    ("PUT", "/actions", r#"{"action_type":"InstanceStart","x":1}"#, 400, "unknown field `x`"),
    ("PUT", "/actions", r#"{"action_type":"Dance"}"#, 400, "unknown variant `Dance`"),
    ("PUT", "/actions", r#"{"action_type":"SendCtrlAltDel"}"#, 400, BEFORE_START),
    ("PUT", "/actions", r#"{"action_type":"FlushMetrics"}"#, 400, BEFORE_START),
    ("PATCH", "/vm", r#"{"state":"Paused"}"#, 400, BEFORE_START),
    ("PATCH", "/vm", r#"{"state":"Asleep"}"#, 400, "unknown variant `Asleep`"),
    ("PUT", "/boot-source", r#"{"kernel_image_path":"/no"}"#, 400, "kernel file cannot be opened"),
    (
        "PUT",
        "/boot-source",
        r#"{"kernel_image_path":"/text","initrd_path":"/no"}"#,
        400,
        "initrd file cannot be opened",
    ),
    (
        "PUT",
        "/drives/rootfs",
        r#"{"drive_id":"rootfs","path_on_host":"/no","is_root_device":true}"#,
        400,
        "Error manipulating the backing file: No such file or directory (os error 2) /no",
    ),
    (
        "PUT",
        "/drives/rootfs",
        r#"{"drive_id":"other","path_on_host":"/disk","is_root_device":true}"#,
        400,
        "does not match the id from the body",
    ),
    ("PUT", "/drives/a-b", r#"{"drive_id":"a-b","is_root_device":true}"#, 400, "alphanumeric"),
    (
        "PUT",
        "/drives/one",
        r#"{"drive_id":"one","path_on_host":"/disk","is_root_device":true}"#,
        204,
        "",
    ),
    (
        "PUT",
        "/drives/two",
        r#"{"drive_id":"two","path_on_host":"/disk","is_root_device":true}"#,
        400,
        "A root block device already exists!",
    ),
    (
        "PUT",
        "/network-interfaces/eth0",
        r#"{"iface_id":"eth0","host_dev_name":"tap9"}"#,
        400,
        "Open tap device failed: Error while creating ifreq structure: Operation not permitted",
    ),
    (
        "PUT",
        "/network-interfaces/eth0",
        r#"{"iface_id":"eth0","host_dev_name":"foreign"}"#,
        400,
        "Operation not permitted",
    ),
    (
        "PUT",
        "/network-interfaces/eth0",
        r#"{"iface_id":"eth0","host_dev_name":"tap0","guest_mac":"02:00"}"#,
        400,
        "The provided MAC address is invalid.",
    ),
    ("PUT", "/vsock", r#"{"guest_cid":3,"uds_path":"/no/v"}"#, 400, "host-side Unix socket"),
    (
        "PUT",
        "/logger",
        r#"{"log_path":"/no/log"}"#,
        400,
        "Logger error: Failed to open target file",
    ),
    ("PUT", "/metrics", r#"{"metrics_path":"/no/log"}"#, 400, "Metrics error"),
    ("PUT", "/machine-config", r#"{"vcpu_count":33,"mem_size_mib":1}"#, 400, "number of vCPUs"),
    ("PUT", "/machine-config", r#"{"vcpu_count":1,"mem_size_mib":0}"#, 400, "memory size (MiB)"),
    ("PATCH", "/mmds", r#"{"a":1}"#, 400, "MMDS data store is not initialized"),
    ("PUT", "/mmds/config", r#"{"network_interfaces":["eth9"]}"#, 400, "does not correspond"),
    ("PUT", "/boot-source", r#"{"kernel_image_path":"/text"}"#, 204, ""),
    ("PUT", "/actions", r#"{"action_type":"InstanceStart"}"#, 400, "Invalid Elf magic number"),
];

#[test]
fn every_refusal_of_the_real_one_is_made_with_its_words() {
    for vmm in all() {
        let jailed = Jailed::prepare(&vmm);
        let namespace = jailed.namespace.clone();
        assert!(ip(&format!("-n {namespace} tuntap add foreign mode tap user {}", UID + 1)));
        let mut jailed = jailed;
        jailed.restart();
        for (method, path, body, status, part) in REFUSALS {
            let (got, answer) = jailed.call(method, path, body);
            let case = format!("{}: {method} {path} {body}", vmm.line());
            assert_eq!(got, status, "{case}: {answer}");
            assert!(answer.contains(part), "{case}: {answer}");
        }
    }
}

#[test]
fn metadata_is_stored_and_merged() {
    for vmm in all() {
        let jailed = Jailed::start(&vmm);
        jailed.done("PUT", "/mmds", r#"{"a":1,"b":{"c":2,"d":3}}"#);
        jailed.done("PATCH", "/mmds", r#"{"b":{"c":null,"e":4}}"#);
        let (status, body) = jailed.call("GET", "/mmds", "");
        assert_eq!(status, 200);
        let value: serde_json::Value = serde_json::from_str(&body).expect("JSON");
        assert_eq!(value, serde_json::json!({"a": 1, "b": {"d": 3, "e": 4}}));
    }
}

#[test]
fn the_guest_played_boots_pauses_and_shuts_down() {
    let mut jailed = Jailed::start(&stand_in());
    jailed.done("PUT", "/vsock", r#"{"guest_cid":3,"uds_path":"/run/v.sock"}"#);
    jailed.done("PUT", "/metrics", r#"{"metrics_path":"/metrics"}"#);
    jailed.boot();
    assert_eq!(jailed.state(), "Running");
    wait_for("the guest is ready", || {
        let console = jailed.console();
        if console.contains("guest: ready") { Ok(()) } else { Err(console) }
    });
    assert!(jailed.console().contains("guest: disk rootfs boots=1"), "{}", jailed.console());
    let disk = std::fs::read(jailed.root.join("disk")).expect("there");
    assert!(disk[disk.len() - 4096..].starts_with(b"boots 1 "));
    let link = command("ip")
        .args(["-n", &jailed.namespace, "-o", "link", "show", "tap0"])
        .output()
        .expect("runs");
    let link = String::from_utf8_lossy(&link.stdout).into_owned();
    assert!(link.contains("LOWER_UP"), "the tap has a carrier: {link}");
    assert!(exists(jailed.root.join("run/v.sock")));

    let refused = jailed.call("PUT", "/machine-config", r#"{"vcpu_count":1,"mem_size_mib":128}"#);
    assert_eq!(refused.0, 400);
    assert!(refused.1.contains("not supported after starting the microVM"), "{}", refused.1);
    jailed.done("PUT", "/actions", r#"{"action_type":"FlushMetrics"}"#);
    assert!(exists(jailed.root.join("metrics")));

    jailed.done("PATCH", "/vm", r#"{"state":"Paused"}"#);
    jailed.done("PATCH", "/vm", r#"{"state":"Paused"}"#);
    assert_eq!(jailed.state(), "Paused");
    jailed.done("PUT", "/actions", r#"{"action_type":"SendCtrlAltDel"}"#);
    assert_eq!(jailed.state(), "Paused", "a paused guest does not shut down");
    jailed.done("PATCH", "/vm", r#"{"state":"Resumed"}"#);
    assert_eq!(jailed.wait().code(), Some(0), "a guest's own shutdown");
}

#[test]
fn a_program_that_is_no_firecracker_says_so() {
    let vmm = stand_in();
    for program in [vmm.firecracker(), vmm.jailer()] {
        let said = command(program).arg("--version").output().expect("runs");
        let said = String::from_utf8_lossy(&said.stdout).into_owned();
        assert!(said.contains("stand-in v1.16"), "{said}");
    }
}

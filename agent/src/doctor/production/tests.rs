//! What is said of machines that follow the recommendations and of those that do not. A machine is
//! a tree of files, as the kernel would show them.

use std::fs;
use std::path::Path;

use super::limits::{kernel_version, most_open_files};
use super::memory::swap_devices;
use super::processor::{has_favordynmods, is_open};
use super::*;
use crate::config::AgentConfig;
use crate::doctor::Diagnosis;

const LIMITS: &str = "\
Limit                     Soft Limit           Hard Limit           Units     
Max cpu time              unlimited            unlimited            seconds   
Max open files            1024                 1048576              files     
Max locked memory         8388608              8388608              bytes     
";

/// What a host set up as recommended shows.
const HARDENED: &[(&str, &str)] = &[
    ("proc/sys/kernel/osrelease", "6.1.0-37-cloud-amd64\n"),
    ("proc/cmdline", "BOOT_IMAGE=/boot/vmlinuz root=/dev/sda1 ro quiet loglevel=1 nosmt\n"),
    (
        "proc/sys/kernel/seccomp/actions_avail",
        "kill_process kill_thread trap errno trace log allow\n",
    ),
    ("proc/sys/kernel/printk", "1\t4\t1\t7\n"),
    ("proc/self/mounts", "cgroup2 /sys/fs/cgroup cgroup2 rw,nosuid,nodev,favordynmods 0 0\n"),
    ("sys/fs/cgroup/cgroup.controllers", "cpuset cpu io memory hugetlb pids rdma misc\n"),
    ("proc/self/limits", LIMITS),
    ("proc/sys/kernel/pid_max", "4194304\n"),
    ("proc/sys/kernel/threads-max", "1048576\n"),
    ("proc/sys/net/ipv4/neigh/default/gc_thresh3", "32768\n"),
    ("proc/sys/net/netfilter/nf_conntrack_max", "1048576\n"),
    ("proc/swaps", "Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n"),
    ("sys/kernel/mm/ksm/run", "0\n"),
    ("sys/devices/system/edac/mc/mc0/size_mb", "65536\n"),
    ("sys/devices/system/cpu/smt/active", "0\n"),
    ("sys/devices/system/cpu/smt/control", "off\n"),
    ("sys/devices/system/cpu/vulnerabilities/itlb_multihit", "KVM: Mitigation: Split huge pages\n"),
    ("sys/devices/system/cpu/vulnerabilities/mds", "Mitigation: Clear CPU buffers; SMT disabled\n"),
    ("sys/devices/system/cpu/vulnerabilities/meltdown", "Not affected\n"),
    ("sys/module/kvm/parameters/nx_huge_pages", "Y\n"),
    ("sys/module/kvm/parameters/min_timer_period_us", "500\n"),
    ("sys/module/kvm/parameters/halt_poll_ns", "200000\n"),
    ("etc/passwd", "root:x:0:0:root:/root:/bin/bash\nbanger:x:998:998::/:/usr/sbin/nologin\n"),
    ("etc/subuid", "alice:100000:65536\n"),
    ("run/udev/control", ""),
    ("usr/lib/udev/rules.d/09-banger.rules", include_str!("../../../../deploy/host/udev.rules")),
];

/// What differs on a host where nobody has done anything.
const CARELESS: &[(&str, &str)] = &[
    ("proc/sys/kernel/osrelease", "4.19.0-27-amd64\n"),
    ("proc/cmdline", "BOOT_IMAGE=/boot/vmlinuz root=/dev/sda1 ro mitigations=off nopti quiet\n"),
    ("proc/sys/kernel/seccomp/actions_avail", "\n"),
    ("proc/sys/kernel/printk", "7\t4\t1\t7\n"),
    ("proc/self/mounts", "cgroup2 /sys/fs/cgroup cgroup2 rw,nosuid,nodev 0 0\n"),
    ("sys/fs/cgroup/cgroup.controllers", "cpuset cpu pids\n"),
    (
        "proc/self/limits",
        "Max open files            1024                 4096                 files\n",
    ),
    ("proc/sys/kernel/pid_max", "32768\n"),
    ("proc/sys/net/ipv4/neigh/default/gc_thresh3", "512\n"),
    ("proc/sys/net/netfilter/nf_conntrack_max", "262144\n"),
    (
        "proc/swaps",
        "Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n\
         /dev/sda2                               partition\t999420\t\t0\t\t-2\n\
         /dev/zram0                              partition\t999420\t\t0\t\t100\n",
    ),
    ("sys/kernel/mm/ksm/run", "1\n"),
    ("sys/devices/system/cpu/smt/active", "1\n"),
    ("sys/devices/system/cpu/smt/control", "on\n"),
    ("sys/devices/system/cpu/vulnerabilities/itlb_multihit", "KVM: Vulnerable\n"),
    (
        "sys/devices/system/cpu/vulnerabilities/mds",
        "Vulnerable: Clear CPU buffers attempted, no microcode; SMT vulnerable\n",
    ),
    ("sys/module/kvm/parameters/nx_huge_pages", "N\n"),
    ("sys/module/kvm/parameters/min_timer_period_us", "200\n"),
    ("sys/module/kvm/parameters/halt_poll_ns", "1000000\n"),
    ("etc/passwd", "root:x:0:0::/root:/bin/sh\nbatch:x:200100:200100::/:/bin/sh\n"),
    ("etc/subuid", "alice:165536:65536\nbroken line\n"),
];

fn machine(trees: &[&[(&str, &str)]]) -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    for (path, text) in trees.iter().copied().flatten() {
        let path = root.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    root
}

/// As an x86-64 whose paths are root's alone, whatever runs this test.
fn seen(root: &Path) -> MachineSeen {
    let seen = MachineSeen::read(root, &AgentConfig::default());
    MachineSeen { arch: "x86_64".to_owned(), changeable: Vec::new(), ..seen }
}

fn text(seen: &MachineSeen) -> String {
    let line = |check: &Check| {
        let mark = if check.ok { "ok  " } else { "warn" };
        let mend = if check.ok { String::new() } else { format!("\n      mend: {}", check.mend) };
        format!("{mark} {:<16}{}{mend}\n", check.name, check.message)
    };
    checks(seen).iter().map(line).collect()
}

#[test]
fn a_host_that_follows_every_recommendation_has_nothing_to_mend() {
    let root = machine(&[HARDENED]);
    let checks = checks(&seen(root.path()));
    let bad: Vec<_> = checks.iter().filter(|check| !check.ok).collect();
    assert!(bad.is_empty(), "{bad:#?}");
    assert!(checks.iter().all(|check| check.production && !check.required));
}

#[test]
fn a_careless_host_is_told_each_thing_with_the_command_that_mends_it() {
    let root = machine(&[HARDENED, CARELESS]);
    fs::remove_dir_all(root.path().join("sys/devices/system/edac")).unwrap();
    let seen = MachineSeen {
        changeable: vec!["/srv/jails".to_owned()],
        vm_users: Some((200_000, 265_535)),
        open_metadata: vec!["100.96.0.96".to_owned(), "100.80.80.80".to_owned()],
        disk_dirs: vec!["/srv/guests".into()],
        ..seen(root.path())
    };
    let checks = checks(&seen);
    for check in checks.iter().filter(|check| !check.ok) {
        assert!(!check.mend.is_empty(), "{check:?}");
    }
    insta::assert_snapshot!(text(&seen));
}

#[test]
fn a_kernel_that_shows_nothing_is_never_called_well_where_that_is_not_known() {
    let root = machine(&[]);
    let seen = seen(root.path());
    let well: Vec<_> = checks(&seen).into_iter().filter(|c| c.ok).map(|c| c.name).collect();
    // Not there means cannot be: no merging, no siblings, no console, no KVM that spins or splits.
    assert_eq!(
        well,
        [
            "console-level",
            "program-paths",
            "vm-users",
            "connections",
            "metadata",
            "guest-disks",
            "kvm-halt-poll",
            "ksm",
            "smt",
            "mitigations",
            "microcode",
            "nx-huge-pages"
        ]
    );
}

#[test]
fn a_processor_without_multihit_wants_no_recovery_thread_on_a_slow_kernel() {
    let healthy: &[(&str, &str)] = &[
        ("sys/devices/system/cpu/vulnerabilities/itlb_multihit", "Not affected\n"),
        ("sys/module/kvm/parameters/nx_huge_pages", "N\n"),
        ("proc/self/mounts", "cgroup2 /sys/fs/cgroup cgroup2 rw 0 0\n"),
    ];
    let root = machine(&[HARDENED, healthy]);
    let verdicts = |root: &Path| {
        let seen = seen(root);
        (processor::nx_huge_pages(&seen).ok, processor::favordynmods(&seen).ok)
    };
    assert_eq!(verdicts(root.path()), (false, false));
    fs::write(root.path().join("sys/module/kvm/parameters/nx_huge_pages"), "never\n").unwrap();
    assert_eq!(verdicts(root.path()), (true, true));
    fs::write(root.path().join("proc/sys/kernel/osrelease"), "5.10.0-30-amd64\n").unwrap();
    fs::write(root.path().join("sys/module/kvm/parameters/nx_huge_pages"), "Y\n").unwrap();
    assert_eq!(verdicts(root.path()), (true, true), "older kernels are fast");
}

#[test]
fn what_is_only_of_one_architecture_is_only_asked_there() {
    let root = machine(&[HARDENED]);
    let names = |arch: &str| -> Vec<&'static str> {
        let seen = MachineSeen { arch: arch.to_owned(), ..seen(root.path()) };
        checks(&seen).iter().map(|check| check.name).collect()
    };
    assert!(names("x86_64").contains(&"kvm-pit") && !names("x86_64").contains(&"counter-offset"));
    assert!(!names("aarch64").contains(&"kvm-pit") && names("aarch64").contains(&"counter-offset"));
}

#[test]
fn a_jail_directory_that_others_may_change_is_seen_with_what_is_above_it() {
    use std::os::unix::fs::PermissionsExt as _;
    let root = machine(&[&[("srv/jails/keep", "")]]);
    let open = root.path().join("srv");
    fs::set_permissions(&open, fs::Permissions::from_mode(0o777)).unwrap();
    let config = AgentConfig { jail_dir: Some("/srv/jails".into()), ..AgentConfig::default() };
    let changeable = MachineSeen::read(root.path(), &config).changeable;
    assert!(changeable.contains(&"/srv".to_owned()), "{changeable:?}");
    fs::set_permissions(&open, fs::Permissions::from_mode(0o1777)).unwrap();
    if rustix::process::geteuid().is_root() {
        let changeable = MachineSeen::read(root.path(), &config).changeable;
        assert!(!changeable.contains(&"/srv".to_owned()), "sticky: {changeable:?}");
    }
}

#[test]
fn the_words_of_the_kernel_are_read_as_it_means_them() {
    for open in
        ["Vulnerable", "KVM: Vulnerable", "Vulnerable: No microcode", "Processor vulnerable"]
    {
        assert!(is_open(open), "{open}");
    }
    for held in ["Not affected", "Mitigation: PTI", "KVM: Mitigation: VMX disabled", "Unknown: x"] {
        assert!(!is_open(held), "{held}");
    }
    assert_eq!(kernel_version("6.1.0-37-cloud-amd64"), Some((6, 1)));
    assert_eq!(kernel_version("5.10"), Some((5, 10)));
    assert_eq!(kernel_version("unknown"), None);
    assert_eq!(most_open_files(LIMITS), Some(1_048_576));
    assert_eq!(most_open_files("Max open files   unlimited unlimited files"), Some(u64::MAX));
    assert_eq!(most_open_files("Max open files"), None);
    assert_eq!(
        swap_devices("Filename Type\n/dev/sda2 partition 1\n/swap file 2\n"),
        ["/dev/sda2", "/swap"]
    );
    assert!(swap_devices("Filename Type\n/dev/zram0 partition 1\n").is_empty());
    assert!(!has_favordynmods("cgroup2 /sys/fs/cgroup cgroup2 rw,favordynmodsnot 0 0"));
    assert!(!has_favordynmods("x /favordynmods tmpfs rw,favordynmods 0 0"));
}

#[test]
fn a_recommendation_that_is_not_followed_keeps_no_guest_from_running() {
    let root = machine(&[HARDENED, CARELESS]);
    assert!(checks(&seen(root.path())).iter().all(|check| !check.required));
}

#[test]
fn the_recommendations_that_are_left_are_counted_in_words_for_one_and_for_many() {
    let verdict = |layers: &[&[(&str, &str)]]| {
        let root = machine(layers);
        let diagnosis = Diagnosis::of(checks(&seen(root.path())));
        diagnosis.text().lines().last().expect("it has a verdict").to_owned()
    };
    let one = verdict(&[HARDENED, &[("sys/kernel/mm/ksm/run", "1\n")]]);
    assert!(one.starts_with("1 of ") && one.contains("recommendations is not followed"), "{one}");
    let many = verdict(&[HARDENED, CARELESS]);
    assert!(many.contains("recommendations are not followed"), "{many}");
}

#[test]
fn half_of_the_hosts_neighbours_are_its_own_and_a_guest_without_a_bound_is_said() {
    let root = machine(&[HARDENED, &[("proc/sys/net/ipv4/neigh/default/gc_thresh3", "1024\n")]]);
    let with =
        |max_neighbours| limits::neighbours(&MachineSeen { max_neighbours, ..seen(root.path()) });
    assert!(with(512).ok, "the defaults of both fit");
    assert!(!with(513).ok && with(513).mend.contains("gc_thresh3=32768"));
    assert!(with(20_000).mend.contains("gc_thresh3=40000"));
    assert!(!with(0).ok && with(0).mend.contains("max_neighbours"));
}

#[test]
fn a_rule_that_does_not_know_where_guests_disks_lie_or_is_not_there_is_said() {
    let root = machine(&[HARDENED]);
    let with = |dirs: &[&str], rules: Option<&str>| {
        let disk_dirs = dirs.iter().map(Into::into).collect();
        let udev_rules = rules.map(str::to_owned);
        access::guest_disks(&MachineSeen { disk_dirs, udev_rules, ..seen(root.path()) })
    };
    let shipped = include_str!("../../../../deploy/host/udev.rules");
    assert!(with(&["/var/lib/banger-agent"], Some(shipped)).ok);
    let elsewhere = with(&["/srv/a b", "/var/lib/banger-agent"], Some(shipped));
    assert!(!elsewhere.ok && elsewhere.message.ends_with("in /srv/a b"), "{elsewhere:?}");
    // As the installer writes it, and commented out.
    let line = "KERNEL==\"loop[0-9]*\", ATTR{loop/backing_file}==\"/srv/a*b/*\", GOTO=\"d\"\n";
    assert!(with(&["/srv/a b"], Some(line)).ok);
    assert!(!with(&["/srv/a b"], Some(&format!("# {line}"))).ok);
    assert!(!with(&["/srv/a bc"], Some(line)).ok);
    assert!(!with(&["/var/lib/banger-agent"], None).ok, "udev runs, and there is no rule");
    let quiet = MachineSeen { udev: false, udev_rules: None, ..seen(root.path()) };
    assert!(access::guest_disks(&quiet).ok);
}

/// The kernel shows a loop device's file by its real path.
#[test]
fn disks_whose_directories_are_yet_to_be_made_lie_where_the_kernel_will_call_them() {
    let root = machine(&[HARDENED]);
    fs::create_dir_all(root.path().join("mnt/disk1")).unwrap();
    std::os::unix::fs::symlink("/mnt/disk1", root.path().join("data")).unwrap();
    let config = AgentConfig {
        state_dir: "/data/banger".into(),
        image_dir: Some("/srv//vms/../images".into()),
        ..AgentConfig::default()
    };
    let seen = MachineSeen::read(root.path(), &config);
    let wanted = ["/mnt/disk1/banger", "/srv/images"].map(std::path::PathBuf::from);
    assert_eq!(seen.disk_dirs, wanted);
}

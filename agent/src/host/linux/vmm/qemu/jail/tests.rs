//! The jail as what runs in it finds it: a Python in place of QEMU, which lies beneath `/usr` as
//! well.

use super::*;
use crate::host::linux::network::test_net::in_namespace;

/// Where the second life of the test finds its jail.
const ROOT: &str = "BANGER_TEST_JAIL_ROOT";
/// What it runs there.
const SCRIPT: &str = "BANGER_TEST_JAIL_SCRIPT";
/// The tap that it is given.
const GIVEN_TAP: &str = "BANGER_TEST_JAIL_TAP";
/// It is given the device of KVM.
const GIVEN_KVM: &str = "BANGER_TEST_JAIL_KVM";
const TAP_NAME: &str = "bg-000000000002";
const UID: u32 = 200_002;

const LOOK: &str = r#"
import os
def tried(path, act):
    try:
        act(path)
        return "yes"
    except OSError as error:
        return type(error).__name__
def write(path):
    open(path, "w").close()
print("uid", os.getuid())
for path in ["/x", "/dev/x", "/usr/x", "/etc/x", "/qemu.pid", "/kernel", "/run/x"]:
    print("write", path, tried(path, write))
for path in ["/d", "/dev/d", "/run/d"]:
    print("make", path, tried(path, os.mkdir))
print("remove", tried("/kernel", os.remove))
print("read", open("/kernel").read())
"#;

/// What a QEMU that was taken over tries of networks. A request of the tun device that was let
/// through has an answer of the device, or an error that is not ours.
const REACH: &str = r#"
import ctypes, errno, fcntl, os, socket, struct
libc = ctypes.CDLL(None, use_errno=True)
def tried(act):
    try:
        act()
        return "yes"
    except OSError as error:
        return errno.errorcode[error.errno]
def called(function, *arguments):
    return "yes" if function(*arguments) >= 0 else errno.errorcode[ctypes.get_errno()]
def request(flags):
    return struct.pack("16sH22x", b"bg-000000000002", flags)
neighbour = struct.pack("16sH6s16x", b"bg-000000000002", 1, bytes([2, 0xfc, 10, 64, 0, 3]))
for name, number, argument in [
    ("SIOCSIFHWADDR", 0x8924, neighbour), ("SIOCSIFFLAGS", 0x8914, request(0)),
    ("SIOCGIFHWADDR", 0x8927, neighbour),
    ("TUNSETIFF", 0x400454ca, request(0x1002)), ("TUNSETPERSIST", 0x400454cb, 0),
    ("TUNSETOWNER", 0x400454cc, 0), ("TUNSETLINK", 0x400454cd, 1), ("TUNSETQUEUE", 0x400454d9, request(0x400)),
    ("TUNSETCARRIER", 0x400454e2, struct.pack("i", 0)),
    ("TUNGETIFF", 0x800454d2, request(0)), ("TUNSETOFFLOAD", 0x400454d0, 0),
    ("TUNSETVNETHDRSZ", 0x400454d8, struct.pack("i", 10)), ("TUNSETSNDBUF", 0x400454d4, struct.pack("i", 1 << 20)),
]:
    print(name, tried(lambda: fcntl.ioctl(3, number, argument)))
# The kernel looks at 32 bits of it.
buffer = ctypes.create_string_buffer(neighbour, 40)
print("SIOCSIFHWADDR, longer", called(libc.ioctl, 3, ctypes.c_ulong(0x100008924), buffer))
for family in ["AF_INET", "AF_INET6", "AF_NETLINK", "AF_PACKET", "AF_VSOCK"]:
    print(family, tried(lambda: socket.socket(getattr(socket, family), socket.SOCK_DGRAM)))
local = socket.socket(socket.AF_UNIX)
print("listen", tried(lambda: (local.bind("/run/s"), local.listen())))
print("connect", tried(lambda: socket.socket(socket.AF_UNIX).connect("/run/s")))
print("unshare", called(libc.unshare, 0x10000000))
print("clone", called(libc.syscall, 220 if os.uname().machine == "aarch64" else 56, 0x10000011, 0, 0, 0, 0))
print("io_uring_setup", called(libc.syscall, 425, 1, ctypes.create_string_buffer(256)))
print("another device", tried(lambda: os.open("/dev/net/tun", os.O_RDWR)))
"#;

/// What it tries to leave behind, or to lay on its parent.
const LEAVE: &str = r#"
import ctypes, errno, fcntl, os, signal, socket
libc = ctypes.CDLL(None, use_errno=True)
signal.signal(signal.SIGIO, signal.SIG_IGN)
def tried(act):
    try:
        act()
        return "yes"
    except OSError as error:
        return errno.errorcode[error.errno]
def called(number, *arguments):
    done = libc.syscall(number, *[ctypes.c_long(argument) if isinstance(argument, int) else argument for argument in arguments])
    return "yes" if done >= 0 else errno.errorcode[ctypes.get_errno()]
ours = os.uname().machine == "aarch64"
for name, number, arguments in [
    ("shmget", 194 if ours else 29, (0, 4096, 0o1600)), ("shmat", 196 if ours else 30, (0, 0, 0)),
    ("msgget", 186 if ours else 68, (0, 0o1600)), ("semget", 190 if ours else 64, (0, 1, 0o1600)),
    ("mq_open", 180 if ours else 240, (b"q", 0o102, 0o600, 0)),
    ("add_key", 217 if ours else 248, (b"user", b"k", b"v", 1, -3)), ("request_key", 218 if ours else 249, (b"user", b"k", 0, 0)),
    ("keyctl", 219 if ours else 250, (0, -3, 1)), ("userfaultfd", 282 if ours else 323, (1,)),
    ("open_tree", 428, (-100, b"/", 1)), ("io_setup", 0 if ours else 206, (1, ctypes.create_string_buffer(8))),
    ("clone to its parent", 220 if ours else 56, (0x8011, 0, 0, 0, 0)),
]:
    print(name, called(number, *arguments))
mine = os.open("/run/mine", os.O_RDWR | os.O_CREAT)
print("F_SETLEASE", tried(lambda: fcntl.fcntl(mine, fcntl.F_SETLEASE, fcntl.F_WRLCK)))
print("F_NOTIFY", tried(lambda: fcntl.fcntl(os.open("/run", os.O_RDONLY), fcntl.F_NOTIFY, fcntl.DN_CREATE)))
print("F_GETFL", tried(lambda: fcntl.fcntl(mine, fcntl.F_GETFL)))
print("socketpair", tried(lambda: socket.socketpair()))
for family in [socket.AF_INET, 30]:
    print("socketpair of", int(family), called(199 if ours else 53, int(family), 1, 0, ctypes.create_string_buffer(8)))
if os.fork() == 0:
    os._exit(0)
print("its own child", os.wait()[1])
"#;

/// Not a test by itself: the second life of those below.
#[test]
fn enters() {
    let Some(root) = std::env::var_os(ROOT) else { return };
    let program = std::fs::canonicalize("/usr/bin/python3").unwrap();
    let script = std::env::var_os(SCRIPT).unwrap();
    let order = JailOrder {
        root: root.into(),
        uid: UID,
        max_files: 64,
        tap: std::env::var(GIVEN_TAP).ok(),
        kvm: std::env::var_os(GIVEN_KVM).is_some(),
        cgroup: None,
        program,
        arguments: vec!["-S".into(), "-c".into(), script],
    };
    let refused = enter(&order).unwrap_err();
    panic!("{refused}: {:?}", std::error::Error::source(&refused));
}

/// What a script in a jail says, line by line, and what it complains of.
fn run(script: &str, tap: Option<&str>) -> (Vec<String>, String) {
    run_with(script, tap.map(|tap| (GIVEN_TAP, tap)))
}

fn run_with(script: &str, given: Option<(&str, &str)>) -> (Vec<String>, String) {
    let temp = tempfile::tempdir().unwrap();
    let root = temp.path().join("root");
    std::fs::create_dir(&root).unwrap();
    std::fs::set_permissions(&root, std::fs::Permissions::from_mode(0o700)).unwrap();
    std::fs::write(root.join("kernel"), "bytes").unwrap();
    std::fs::set_permissions(root.join("kernel"), std::fs::Permissions::from_mode(0o644)).unwrap();
    #[expect(clippy::disallowed_methods, reason = "who enters a jail does not come back")]
    let output = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "host::linux::vmm::qemu::jail::tests::enters", "--nocapture"])
        .env(ROOT, &root)
        .env(SCRIPT, script)
        .envs(given)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    let complaint = String::from_utf8_lossy(&output.stderr);
    let lines = said.lines().filter(|line| !line.starts_with("running") && !line.is_empty());
    (lines.map(str::to_owned).collect(), complaint.into_owned())
}

#[test]
fn priv_a_qemu_that_was_taken_over_changes_no_interface_and_reaches_no_network() {
    in_namespace(|| async {
        ioctl::make_persistent(TAP_NAME, UID).unwrap();
        let (lines, complaint) = run(REACH, Some(TAP_NAME));
        assert_eq!(
            lines,
            [
                "SIOCSIFHWADDR EPERM",
                "SIOCSIFFLAGS EPERM",
                "SIOCGIFHWADDR EPERM",
                "TUNSETIFF EPERM",
                "TUNSETPERSIST EPERM",
                "TUNSETOWNER EPERM",
                "TUNSETLINK EPERM",
                "TUNSETQUEUE EPERM",
                "TUNSETCARRIER EPERM",
                "TUNGETIFF yes",
                "TUNSETOFFLOAD yes",
                "TUNSETVNETHDRSZ yes",
                "TUNSETSNDBUF yes",
                "SIOCSIFHWADDR, longer EPERM",
                "AF_INET EPERM",
                "AF_INET6 EPERM",
                "AF_NETLINK EPERM",
                "AF_PACKET EPERM",
                "AF_VSOCK EPERM",
                "listen yes",
                "connect EPERM",
                "unshare EPERM",
                "clone EPERM",
                "io_uring_setup ENOSYS",
                "another device ENOENT",
            ],
            "{complaint}"
        );
    });
}

#[test]
fn priv_a_qemu_is_given_no_tap_that_is_not_its_users() {
    in_namespace(|| async {
        ioctl::make_persistent(TAP_NAME, UID + 1).unwrap();
        for tap in [TAP_NAME, "bg-000000000003"] {
            let (lines, complaint) = run("print('it runs')", Some(tap));
            assert!(!lines.iter().any(|line| line == "it runs"), "{tap}");
            assert!(complaint.contains("could not open the tap"), "{tap}: {complaint}");
        }
    });
}

#[test]
fn priv_what_runs_in_the_jail_of_qemu_writes_run_and_nothing_else() {
    let (lines, complaint) = run(LOOK, None);
    assert_eq!(
        lines,
        [
            "uid 200002",
            "write /x PermissionError",
            "write /dev/x PermissionError",
            // Read-only before it is anybody's.
            "write /usr/x OSError",
            "write /etc/x PermissionError",
            "write /qemu.pid PermissionError",
            "write /kernel PermissionError",
            "write /run/x yes",
            "make /d PermissionError",
            "make /dev/d PermissionError",
            "make /run/d yes",
            "remove PermissionError",
            "read bytes",
        ],
        "{complaint}"
    );
}

#[test]
fn priv_a_qemu_that_was_taken_over_leaves_nothing_behind_and_nobody_to_its_parent() {
    let (lines, complaint) = run(LEAVE, None);
    assert_eq!(
        lines,
        [
            "shmget EPERM",
            "shmat EPERM",
            "msgget EPERM",
            "semget EPERM",
            "mq_open EPERM",
            "add_key EPERM",
            "request_key EPERM",
            "keyctl EPERM",
            "userfaultfd EPERM",
            "open_tree EPERM",
            "io_setup EPERM",
            "clone to its parent EPERM",
            "F_SETLEASE EPERM",
            "F_NOTIFY EPERM",
            "F_GETFL yes",
            "socketpair yes",
            "socketpair of 2 EPERM",
            "socketpair of 30 EPERM",
            "its own child 0",
        ],
        "{complaint}"
    );
}

#[test]
fn priv_a_qemu_has_the_device_of_kvm_where_its_guest_runs_by_it_and_nowhere_else() {
    let there = Path::new("/dev/kvm").exists();
    let script = "import os; print('kvm', os.path.exists('/dev/kvm'))";
    for (given, expected) in [(None, false), (Some((GIVEN_KVM, "1")), there)] {
        let (lines, complaint) = run_with(script, given);
        let expected = if expected { "kvm True" } else { "kvm False" };
        assert_eq!(lines, [expected], "{complaint}");
    }
}

//! Our chains with a recorded `iptables`, and with the real one in a network namespace.

use std::net::Ipv4Addr;

use super::*;
use crate::host::TapName;
use crate::host::exec::recording::RecordingExec;
use crate::host::exec::{RealExec, search_dirs};
use crate::host::linux::network::test_net::in_namespace;

fn layout() -> FirewallLayout {
    FirewallLayout { chains: Chains::of_tag("bg"), bridge: LinkName::new("bgbr0").unwrap() }
}

fn guest(n: u8) -> GuestNet {
    GuestNet {
        key: GuestKey::new(format!("vm-{n}")).unwrap(),
        tap: Some(TapName::new(format!("bg-{n:012}")).unwrap()),
        address: Some(Ipv4Addr::new(10, 64, 0, n)),
        nat: true,
        stale: false,
    }
}

const ROUTE: (i32, &str, &str) = (0, "default via 192.0.2.1 dev enp5s0 metric 100\n", "");
const EMPTY: (i32, &str, &str) = (0, "*filter\n:INPUT ACCEPT [0:0]\nCOMMIT\n", "");

struct Recorded {
    exec: Arc<RecordingExec>,
    firewall: Iptables,
    switch: tempfile::NamedTempFile,
    runtime: tempfile::TempDir,
}

fn recorded<'a>(
    forwarding: &str,
    answers: impl IntoIterator<Item = (i32, &'a str, &'a str)>,
) -> Recorded {
    let switch = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(switch.path(), forwarding).unwrap();
    let exec = Arc::new(RecordingExec::answering(answers));
    let path = switch.path().to_owned();
    let runtime = tempfile::tempdir().unwrap();
    let firewall = Iptables::with_forwarding(exec.clone(), layout(), runtime.path(), path);
    Recorded { firewall, exec, switch, runtime }
}

impl Recorded {
    fn forwarding(&self) -> String {
        std::fs::read_to_string(self.switch.path()).unwrap().trim().to_owned()
    }
}

#[tokio::test]
async fn adding_a_guest_is_one_restore_and_switches_forwarding_on() {
    let f = recorded("0\n", [ROUTE, EMPTY]);
    assert_eq!(f.firewall.ensure(&guest(2)).await.unwrap(), Change::Made);
    assert_eq!(f.forwarding(), "1");
    let text = f.exec.transcript();
    let calls: Vec<_> = text.lines().filter(|line| !line.starts_with(' ')).collect();
    assert_eq!(
        calls,
        [
            "ip -4 route show default",
            "ip -4 route get 1.1.1.1",
            "ip -4 route get 193.0.14.129",
            "iptables-save",
            "iptables-restore --noflush -w 10",
            "iptables-restore --noflush -w 10"
        ]
    );
    assert!(text.contains("-s 10.64.0.2/32 -o enp5s0"));
    // Closed before it is opened, and not where it was open before.
    assert!(text.contains(":FORWARD DROP"), "{text}");
    let f = recorded("1\n", [ROUTE, EMPTY]);
    f.firewall.ensure(&guest(2)).await.unwrap();
    assert!(!f.exec.transcript().contains(":FORWARD"));
    // One that can't be closed is not opened.
    let refused = (4, "", "no");
    let f = recorded("0\n", [ROUTE, (0, "", ""), (0, "", ""), EMPTY, (0, "", ""), refused]);
    f.firewall.ensure(&guest(2)).await.unwrap_err();
    assert_eq!(f.forwarding(), "0");
}

#[tokio::test]
async fn what_was_closed_before_forwarding_was_switched_on_is_kept_closed_and_nothing_else() {
    const CLOSED: (i32, &str, &str) =
        (0, "*nat\n:FORWARD DROP [0:0]\nCOMMIT\n*filter\n:FORWARD DROP [9:9]\nCOMMIT\n", "");
    const OPEN: (i32, &str, &str) =
        (0, "*nat\n:FORWARD DROP [0:0]\nCOMMIT\n*filter\n:FORWARD ACCEPT [0:0]\nCOMMIT\n", "");
    const DONE: (i32, &str, &str) = (0, "", "");
    let f = recorded("0\n", [ROUTE, DONE, DONE, EMPTY, DONE, DONE, CLOSED, OPEN, DONE, DONE, DONE]);
    assert_eq!(f.firewall.ensure_closed().await.unwrap(), Change::AlreadySo);
    assert_eq!(f.exec.count(), 0, "nobody has switched anything on");
    f.firewall.ensure(&guest(2)).await.unwrap();
    assert_eq!(f.firewall.ensure_closed().await.unwrap(), Change::AlreadySo);
    assert_eq!(f.firewall.ensure_closed().await.unwrap(), Change::Made, "the policy was changed");
    assert_eq!(f.firewall.ensure_closed().await.unwrap(), Change::Made, "the table is gone");
    // Of another boot: whoever switched it on then, it was somebody else now.
    std::fs::write(f.runtime.path().join(SWITCHED_ON), "another-boot").unwrap();
    assert_eq!(f.firewall.ensure_closed().await.unwrap(), Change::AlreadySo);
    // Where it was on already.
    let f = recorded("1\n", [ROUTE, EMPTY]);
    f.firewall.ensure(&guest(2)).await.unwrap();
    assert_eq!(f.firewall.ensure_closed().await.unwrap(), Change::AlreadySo);
}

#[tokio::test]
async fn rules_that_somebody_flushed_are_missed_once_they_were_counted() {
    let f = recorded("1\n", [ROUTE, EMPTY, (0, "", ""), EMPTY]);
    f.firewall.ensure(&guest(2)).await.unwrap();
    assert_eq!(f.firewall.observe(&guest(2).key).await.unwrap(), Some(guest(2)));
    assert_eq!(f.firewall.count_rules().await.unwrap(), BTreeMap::new());
    assert_eq!(f.firewall.observe(&guest(2).key).await.unwrap(), None);
}

#[tokio::test]
async fn removing_a_guest_leaves_forwarding_alone() {
    for state in ["0", "1"] {
        let f = recorded("0\n", [ROUTE, EMPTY]);
        f.firewall.ensure(&guest(2)).await.unwrap();
        std::fs::write(f.switch.path(), state).unwrap();
        assert_eq!(f.firewall.remove(&guest(2).key).await.unwrap(), Change::Made);
        assert_eq!(f.forwarding(), state);
    }
}

#[tokio::test]
async fn a_guest_without_address_or_tap_runs_no_command() {
    for lacking in [
        GuestNet { address: None, ..guest(2) },
        GuestNet { tap: None, ..guest(2) },
        GuestNet { tap: None, nat: false, ..guest(2) },
    ] {
        let f = recorded("0", []);
        let error = f.firewall.ensure(&lacking).await.unwrap_err();
        assert_eq!(error.kind, HostErrorKind::Invalid);
        assert_eq!((f.exec.count(), f.forwarding()), (0, "0".to_owned()));
    }
}

#[tokio::test]
async fn without_a_default_route_no_rule_is_touched() {
    let f = recorded("0", [(0, "", "")]);
    let error = f.firewall.ensure(&guest(2)).await.unwrap_err();
    assert_eq!(error.kind, HostErrorKind::NoUplink);
    assert_eq!((f.exec.count(), f.forwarding()), (3, "0".to_owned()));
}

#[tokio::test]
async fn a_guest_without_translation_needs_no_uplink_and_no_forwarding() {
    let f = recorded("0", [EMPTY]);
    let closed = GuestNet { nat: false, ..guest(2) };
    f.firewall.ensure(&closed).await.unwrap();
    assert_eq!(f.forwarding(), "0");
    assert!(!f.exec.transcript().contains("MASQUERADE"));
}

#[tokio::test]
async fn callers_that_come_together_are_applied_together() {
    let closed = |n| GuestNet { nat: false, ..guest(n) };
    let f = recorded("0", [EMPTY]);
    let (two, three, four) = (closed(2), closed(3), closed(4));
    let (a, b, c) =
        tokio::join!(f.firewall.ensure(&two), f.firewall.ensure(&three), f.firewall.ensure(&four));
    assert_eq!((a.unwrap(), b.unwrap(), c.unwrap()), (Change::Made, Change::Made, Change::Made));
    assert_eq!(f.exec.count(), 2, "{}", f.exec.transcript());
}

#[tokio::test]
async fn a_refused_restore_is_told_to_every_caller_and_believed_by_none() {
    let locked = (4, "", "Another app is currently holding the xtables lock.");
    let closed = GuestNet { nat: false, ..guest(2) };
    let f = recorded("0", [EMPTY, locked, EMPTY]);
    let error = f.firewall.ensure(&closed).await.unwrap_err();
    assert_eq!(error.kind, HostErrorKind::Refused);
    assert_eq!(f.firewall.observe(&closed.key).await.unwrap(), None);
}

thread_local! {
    /// Of all lives of an agent in one test.
    static RUNTIME: tempfile::TempDir = tempfile::tempdir().unwrap();
}

fn in_runtime(exec: RealExec) -> Iptables {
    RUNTIME.with(|dir| Iptables::new(Arc::new(exec), layout(), dir.path()))
}

fn real() -> Iptables {
    let limit = std::time::Duration::from_secs(20);
    in_runtime(RealExec::find(&BTreeMap::new(), &search_dirs(), limit))
}

/// Gives the namespace an uplink.
async fn with_uplink() {
    use crate::host::Taps;
    let bridge = crate::host::BridgeSpec {
        name: LinkName::new("up0").unwrap(),
        address: "192.0.2.2".parse().unwrap(),
        prefix: 24,
    };
    crate::host::linux::network::taps::LinuxTaps.ensure_bridge(&bridge).await.unwrap();
    let exec = RealExec::find(&BTreeMap::new(), &search_dirs(), std::time::Duration::from_secs(20));
    let route = ["route", "add", "default", "via", "192.0.2.1", "dev", "up0", "onlink"];
    let call = ToolCall::new(Tool::Ip, route);
    run_ok(&exec, "add", "a default route", &call).await.unwrap();
}

#[test]
fn priv_the_kernel_holds_what_we_render_and_nothing_after() {
    in_namespace(|| async {
        with_uplink().await;
        let before = real().rules.table().look().await.unwrap();
        let firewall = real();
        assert_eq!(firewall.ensure(&guest(2)).await.unwrap(), Change::Made);
        assert_eq!(firewall.ensure(&guest(2)).await.unwrap(), Change::AlreadySo);
        let closed = GuestNet { nat: false, ..guest(3) };
        assert_eq!(firewall.ensure(&closed).await.unwrap(), Change::Made);
        let forwarding = std::fs::read_to_string(FORWARDING).unwrap();
        assert_eq!(forwarding.trim(), "1");

        // Another life of the agent reads them back, and adding one keeps the others.
        let fresh = real();
        let listed = fresh.list().await.unwrap();
        assert_eq!(listed.into_values().collect::<Vec<_>>(), [guest(2), closed.clone()]);
        assert_eq!(fresh.ensure(&guest(4)).await.unwrap(), Change::Made);
        assert_eq!(fresh.list().await.unwrap().len(), 3);

        for net in [guest(2), closed, guest(4)] {
            assert_eq!(fresh.remove(&net.key).await.unwrap(), Change::Made);
            assert_eq!(fresh.remove(&net.key).await.unwrap(), Change::AlreadySo);
        }
        assert_eq!(real().rules.table().look().await.unwrap(), before);
        assert_eq!(fresh.remove_all().await.unwrap(), Change::AlreadySo);
    });
}

#[test]
fn priv_a_host_that_forwarded_nothing_forwards_nothing_but_what_is_accepted() {
    in_namespace(|| async {
        with_uplink().await;
        let firewall = real();
        let saved = async || {
            let args = vec!["-t".to_owned(), "filter".to_owned()];
            let call = ToolCall { program: Tool::IptablesSave, args, stdin: String::new() };
            run_ok(&*firewall.rules.table().exec, "read", "the table", &call).await.unwrap()
        };
        let theirs = "-A FORWARD -i docker0 -j ACCEPT";
        firewall.rules.table().restore(&format!("*filter\n{theirs}\nCOMMIT\n")).await.unwrap();
        std::fs::write(FORWARDING, "0").unwrap();
        firewall.ensure(&guest(2)).await.unwrap();
        assert_eq!(std::fs::read_to_string(FORWARDING).unwrap().trim(), "1");
        let text = saved().await;
        assert!(text.contains(":FORWARD DROP"), "{text}");
        assert!(text.contains(theirs) && text.contains("-j BANGER-BG-FWD"), "{text}");
        // A machine that forwards for somebody goes on doing it.
        firewall.remove(&guest(2).key).await.unwrap();
        firewall.rules.table().restore("*filter\n:FORWARD ACCEPT [0:0]\nCOMMIT\n").await.unwrap();
        firewall.ensure(&guest(2)).await.unwrap();
        assert!(saved().await.contains(":FORWARD ACCEPT"));
    });
}

#[test]
fn priv_rules_flushed_by_hand_come_back_with_the_next_change() {
    in_namespace(|| async {
        with_uplink().await;
        let firewall = real();
        firewall.ensure(&guest(2)).await.unwrap();
        let flush = "*filter\n:BANGER-BG-FWD - [0:0]\n-D FORWARD -j BANGER-BG-FWD\nCOMMIT\n";
        let call = ToolCall::new(Tool::IptablesRestore, ["--noflush"]).stdin(flush);
        run_ok(&*firewall.rules.table().exec, "flush", "rules", &call).await.unwrap();
        assert_eq!(firewall.list().await.unwrap().len(), 0);
        assert_eq!(firewall.ensure(&guest(3)).await.unwrap(), Change::Made);
        assert_eq!(firewall.list().await.unwrap().len(), 2);
    });
}

/// The older `iptables`, which has one lock for a whole machine; the newer one has none.
fn with_a_lock() -> Iptables {
    let dirs = search_dirs();
    let named = [
        (Tool::IptablesSave, "iptables-legacy-save"),
        (Tool::IptablesRestore, "iptables-legacy-restore"),
    ]
    .map(|(tool, name)| {
        let found = dirs.iter().map(|dir| dir.join(name)).find(|path| path.exists());
        (tool, found.expect("Debian's iptables has both"))
    });
    let limit = std::time::Duration::from_secs(20);
    in_runtime(RealExec::find(&BTreeMap::from(named), &dirs, limit))
}

#[test]
fn priv_a_lock_of_somebody_else_is_waited_for_and_past_that_refused_with_nothing_done() {
    use nix::fcntl::{Flock, FlockArg};
    use nix::mount::{MsFlags, mount};
    in_namespace(|| async {
        // The lock of a machine is a file in /run: one of our own, in this thread's mounts only.
        let none = None::<&str>;
        nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNS).expect("root may");
        mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none).expect("root may");
        mount(Some("run"), "/run", Some("tmpfs"), MsFlags::empty(), none).expect("root may");
        with_uplink().await;
        let file = || std::fs::File::create("/run/xtables.lock").unwrap();
        let hold = || Flock::lock(file(), FlockArg::LockExclusiveNonblock).expect("it is free");
        let firewall = with_a_lock();

        let held = hold();
        let error = firewall.ensure(&guest(2)).await.unwrap_err();
        assert_eq!(error.kind, HostErrorKind::Refused, "{error}");
        assert!(error.chain().contains("xtables lock"), "{}", error.chain());
        assert_eq!(firewall.list().await.unwrap().len(), 0);

        // Once it waits, the other lets go.
        let inode = std::os::unix::fs::MetadataExt::ino(&held.metadata().unwrap());
        let waits = || {
            let locks = std::fs::read_to_string("/proc/locks").unwrap();
            locks.lines().any(|l| l.contains("->") && l.contains(&format!(":{inode} ")))
        };
        let let_go = async {
            while !waits() {
                tokio::task::yield_now().await;
            }
            drop(held);
        };
        let wanted = guest(2);
        let (made, ()) = tokio::join!(firewall.ensure(&wanted), let_go);
        assert_eq!(made.unwrap(), Change::Made);
        assert_eq!(firewall.list().await.unwrap().into_values().collect::<Vec<_>>(), [guest(2)]);
        firewall.remove_all().await.unwrap();
    });
}

//! Every drift on the real kernel: an agent whose processes and disks are fakes and whose bridge,
//! taps and rules are the kernel's, in a network namespace of its own. Needs root.

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;

use async_trait::async_trait;
use parking_lot::Mutex;

use super::*;
use crate::clock::Clock;
use crate::host::exec::{Exec, RealExec, Tool, ToolCall, run_ok, search_dirs};
use crate::host::linux::network::firewall::Iptables;
use crate::host::linux::network::namespace::LinuxNetwork;
use crate::host::linux::network::pins::NftPins;
use crate::host::linux::network::taps::{LinuxTaps, open_tap};
use crate::host::linux::network::test_net::{ethernet, in_namespace, udp};
use crate::host::linux::{Chains, FirewallLayout, PinLayout};
use crate::host::{BridgeSpec, Change, Host, HostResult, TapName, TapSpec, Taps, Traffic};
use crate::naming::Naming;
use crate::supervisor::adoption::Parts;
use crate::vm::fixtures::wait_for;

/// Makes every tap on the fake machine, where the fake VMM looks for it, and on the real one, where
/// it is open as by a VMM. What is seen is the real one.
struct Both {
    fake: Arc<dyn Taps>,
    open: Mutex<BTreeMap<TapName, OwnedFd>>,
}

#[async_trait]
impl Taps for Both {
    async fn ensure_bridge(&self, spec: &BridgeSpec) -> HostResult<Change> {
        self.fake.ensure_bridge(spec).await?;
        LinuxTaps.ensure_bridge(spec).await
    }

    async fn remove_bridge(&self, name: &LinkName) -> HostResult<Change> {
        self.fake.remove_bridge(name).await?;
        LinuxTaps.remove_bridge(name).await
    }

    async fn observe_bridge(&self, name: &LinkName) -> HostResult<Option<BridgeFacts>> {
        LinuxTaps.observe_bridge(name).await
    }

    async fn list(&self, prefix: &str) -> HostResult<Vec<TapFacts>> {
        LinuxTaps.list(prefix).await
    }

    async fn observe(&self, name: &TapName) -> HostResult<Option<TapFacts>> {
        LinuxTaps.observe(name).await
    }

    async fn traffic(&self, prefix: &str) -> HostResult<BTreeMap<TapName, Traffic>> {
        LinuxTaps.traffic(prefix).await
    }

    async fn ensure(&self, spec: &TapSpec) -> HostResult<Change> {
        self.fake.ensure(spec).await?;
        let change = LinuxTaps.ensure(spec).await?;
        let is_open = self.open.lock().contains_key(&spec.name);
        if !is_open {
            self.open.lock().insert(spec.name.clone(), open_tap(spec.name.as_str()).unwrap());
        }
        Ok(change)
    }

    async fn remove(&self, names: &[TapName]) -> HostResult<Change> {
        self.fake.remove(names).await?;
        names.iter().for_each(|name| drop(self.open.lock().remove(name)));
        LinuxTaps.remove(names).await
    }
}

fn exec() -> Arc<dyn Exec> {
    Arc::new(RealExec::find(&BTreeMap::new(), &search_dirs(), Duration::from_secs(20)))
}

async fn ip(arguments: &str) {
    let call = ToolCall::new(Tool::Ip, arguments.split_whitespace());
    run_ok(&*exec(), "run", "ip", &call).await.unwrap();
}

async fn restore(text: &str) {
    let call = ToolCall::new(Tool::IptablesRestore, ["--noflush"]).stdin(text);
    run_ok(&*exec(), "run", "iptables-restore", &call).await.unwrap();
}

struct Real {
    host: Host,
    agent: Supervisor,
    runtime: tempfile::TempDir,
}

impl Real {
    /// An uplink, and an agent with one VM that runs. Its pins are the fake machine's.
    async fn start() -> Self {
        Self::start_with(|host| host).await
    }

    async fn start_with(change: impl FnOnce(Host) -> Host) -> Self {
        ip("link set lo up").await;
        for uplink in ["up0", "up1"] {
            ip(&format!("link add {uplink} type bridge")).await;
            ip(&format!("link set {uplink} up")).await;
        }
        ip("address add 192.0.2.2/24 dev up0").await;
        ip("address add 198.51.100.2/24 dev up1").await;
        ip("route add default via 192.0.2.1 dev up0 onlink").await;
        let kernel = FakeKernel::new();
        let fake = kernel.host();
        let layout = FirewallLayout { chains: Chains::of_tag("bg"), bridge: bridge() };
        let runtime = tempfile::tempdir().unwrap();
        let host = change(Host {
            taps: Arc::new(Both { fake: fake.taps.clone(), open: Mutex::default() }),
            firewall: Arc::new(Iptables::new(exec(), layout, runtime.path())),
            network: Arc::new(LinuxNetwork::default()),
            ..fake
        });
        let parts = Parts::new(host.clone(), Naming::default(), Clock::system());
        let agent = Supervisor::start(parts).await.unwrap();
        agent.accept(assignment_of(1, 1, 1, Power::Running)).await.unwrap();
        let real = Self { host, agent, runtime };
        real.well("the start").await;
        real
    }

    async fn is_well(&self) -> Result<(), String> {
        let report = self.agent.reporter().get(vm_id(1));
        let report = report.ok_or("not reported")?;
        if report.phase != Phase::Running || report.fault.is_some() {
            return Err(format!("{:?} {:?}", report.phase, report.fault));
        }
        let facts = self.host.taps.observe_bridge(&bridge()).await.map_err(|e| e.chain())?;
        let facts = facts.ok_or("there is no bridge")?;
        if !facts.up || facts.addresses != [("10.64.0.1".parse().unwrap(), 20)] {
            return Err(format!("{facts:?}"));
        }
        let tap = self.host.taps.observe(&names(1).tap).await.map_err(|e| e.chain())?;
        match tap {
            Some(tap) if tap.is_port_of(&facts) && tap.open => {}
            other => return Err(format!("{other:?}")),
        }
        // Another's eyes: what this agent remembers of the rules proves nothing.
        let layout = FirewallLayout { chains: Chains::of_tag("bg"), bridge: bridge() };
        let fresh = Iptables::new(exec(), layout, self.runtime.path());
        let rules = crate::host::Firewall::list(&fresh).await.map_err(|e| e.chain())?;
        match rules.get(&names(1).rules) {
            Some(rules) if !rules.stale => Ok(()),
            other => {
                let forwarding = std::fs::read_to_string("/proc/sys/net/ipv4/ip_forward");
                let uplinks = crate::host::Firewall::uplinks(&fresh);
                let own = self.host.firewall.observe(&names(1).rules).await;
                Err(format!("{other:?}; {forwarding:?}; {uplinks:?}; the agent: {own:?}"))
            }
        }
    }

    async fn well(&self, after: &str) {
        wait_for(&format!("all is as made after {after}"), || self.is_well()).await;
    }

    async fn shows(&self, reason: Reason) {
        wait_for(&format!("{reason:?} is shown"), || async {
            let report = self.agent.reporter().get(vm_id(1)).ok_or("not reported")?;
            match &report.fault {
                Some(fault) if fault.reason == reason && report.phase == Phase::Running => Ok(()),
                other => Err(format!("{:?} {other:?}", report.phase)),
            }
        })
        .await;
    }

    /// Undoes something, and waits until all is as it was made.
    async fn mends(&self, what: &str, undo: impl AsyncFnOnce()) {
        undo().await;
        assert!(self.is_well().await.is_err(), "{what}: nothing was undone");
        self.well(what).await;
    }
}

#[test]
fn priv_every_drift_of_a_running_guests_network_is_mended() {
    in_namespace(|| async {
        let real = Real::start().await;
        let tap = names(1).tap;
        let flush = "*filter\n:BANGER-BG-FWD - [0:0]\nCOMMIT\n";
        real.mends("rules flushed", async || restore(flush).await).await;
        let jump = "*filter\n-D FORWARD -j BANGER-BG-FWD\nCOMMIT\n";
        real.mends("a jump removed", async || restore(jump).await).await;
        let all = "*filter\n-F\n-X\nCOMMIT\n*nat\n-F\n-X\nCOMMIT\n";
        let whole = ToolCall::new(Tool::IptablesRestore, Vec::<&str>::new()).stdin(all);
        real.mends("everything flushed", async || {
            run_ok(&*exec(), "flush", "everything", &whole).await.unwrap();
        })
        .await;
        real.mends("tap off", async || ip(&format!("link set {tap} nomaster")).await).await;
        real.mends("tap down", async || ip(&format!("link set {tap} down")).await).await;
        real.mends("tap not isolated", async || {
            ip(&format!("link set {tap} type bridge_slave isolated off")).await;
        })
        .await;
        real.mends("no address", async || ip("address flush dev bgbr0").await).await;
        real.mends("another address", async || {
            ip("address add 10.64.0.9/20 dev bgbr0").await;
        })
        .await;
        real.mends("bridge down", async || ip("link set bgbr0 down").await).await;
        real.mends("no bridge", async || ip("link delete bgbr0").await).await;
        real.mends("uplink moved", async || {
            ip("route replace default via 198.51.100.1 dev up1 onlink").await;
        })
        .await;
        real.agent.shutdown(Duration::from_secs(5)).await;
    });
}

#[test]
fn priv_what_tells_whose_a_running_guests_address_is_comes_back_by_itself() {
    in_namespace(|| async {
        let layout = || PinLayout::of_tag("bg", bridge());
        let pins = Arc::new(NftPins::new(exec(), layout()));
        let real = Real::start_with(|host| Host { pins, ..host }).await;
        let pinned = || async {
            let words = ["neigh", "show", "dev", "bgbr0", "nud", "permanent"];
            let call = ToolCall::new(Tool::Ip, words);
            let shown = run_ok(&*exec(), "show", "neighbours", &call).await;
            let neighbours = shown.map_err(|error| error.chain())?;
            // Another's eyes here, too.
            let fresh = NftPins::new(exec(), layout());
            let pins = crate::host::Pins::list(&fresh).await.map_err(|error| error.chain())?;
            match (pins.values().flatten().count(), neighbours.lines().count()) {
                (1, 1) => Ok(()),
                _ => Err(format!("{pins:?}; {neighbours}")),
            }
        };
        wait_for("the guest is pinned", &pinned).await;
        for (tool, words) in [
            (Tool::Ip, "neigh flush dev bgbr0 nud permanent"),
            (Tool::Nft, "delete table bridge banger-bg"),
            (Tool::Nft, "flush ruleset"),
        ] {
            let call = ToolCall::new(tool, words.split(' '));
            run_ok(&*exec(), "undo", "pins", &call).await.unwrap();
            wait_for(&format!("{words}: mended"), &pinned).await;
            real.well(words).await;
        }
        real.agent.shutdown(Duration::from_secs(5)).await;
    });
}

/// The moment a thing is mended it is undone again, and then another: two looks in a row that see
/// the same must not pass for one.
#[test]
fn priv_every_drift_is_mended_again_as_often_as_it_comes() {
    in_namespace(|| async {
        let real = Real::start().await;
        let tap = names(1).tap;
        let (forward, input) = ("flush FORWARD".to_owned(), "flush INPUT".to_owned());
        let address = "address flush dev bgbr0".to_owned();
        let down = "link set bgbr0 down".to_owned();
        let off = format!("link set {tap} nomaster");
        let order = [
            &forward, &forward, &forward, &input, &input, &forward, &address, &address, &down,
            &down, &off, &address, &down, &off, &off, &input, &off, &forward,
        ];
        for (step, what) in order.into_iter().enumerate() {
            match what.strip_prefix("flush ") {
                Some(chain) => restore(&format!("*filter\n-F {chain}\nCOMMIT\n")).await,
                None => ip(what).await,
            }
            let undone = std::time::Instant::now();
            real.well(&format!("step {step}: {what}")).await;
            let took = undone.elapsed();
            assert!(took < Duration::from_secs(20), "step {step}: {what}: {took:?}");
        }
        real.agent.shutdown(Duration::from_secs(5)).await;
    });
}

#[test]
fn priv_forwarding_that_somebody_switched_off_is_on_again() {
    in_namespace(|| async {
        let real = Real::start().await;
        real.mends("forwarding off", async || {
            std::fs::write("/proc/sys/net/ipv4/ip_forward", "0").unwrap();
        })
        .await;
        real.agent.shutdown(Duration::from_secs(5)).await;
    });
}

#[test]
fn priv_what_nothing_mends_is_shown_with_its_reason_until_it_is_over() {
    in_namespace(|| async {
        let real = Real::start().await;
        ip("route delete default").await;
        real.shows(Reason::NoUplink).await;
        ip("route add default via 198.51.100.1 dev up1 onlink").await;
        real.well("an uplink is back").await;
        ip("address add 10.64.0.77/24 dev up0").await;
        real.shows(Reason::SubnetInUse).await;
        ip("address delete 10.64.0.77/24 dev up0").await;
        real.well("the host has left the subnet").await;
        ip(&format!("link delete {}", names(1).tap)).await;
        real.shows(Reason::TapLost).await;
        real.agent.shutdown(Duration::from_secs(5)).await;
    });
}

/// The host as a router between two other interfaces.
struct Router {
    inside: OwnedFd,
    outside: OwnedFd,
}

impl Router {
    async fn new() -> Self {
        let [inside, outside] = ["in0", "out0"].map(|name| {
            let tap = open_tap(name).unwrap();
            rustix::fs::fcntl_setfl(&tap, rustix::fs::OFlags::NONBLOCK).unwrap();
            tap
        });
        ip("link set in0 address 02:00:00:00:00:0a").await;
        ip("address add 198.18.0.1/24 dev in0").await;
        ip("address add 198.19.0.1/24 dev out0").await;
        ip("link set in0 up").await;
        ip("link set out0 up").await;
        ip("neigh replace 198.19.0.2 lladdr 02:00:00:00:00:0b dev out0 nud permanent").await;
        Self { inside, outside }
    }

    fn forwards(&self) -> bool {
        let packet = udp(([198, 18, 0, 2].into(), 9), ([198, 19, 0, 2].into(), 9), b"forwarded");
        let frame = ethernet([2, 0, 0, 0, 0, 0x0a], [2, 0, 0, 0, 0, 0x0c], 0x0800, &packet);
        rustix::io::write(&self.inside, &[&[0; 10][..], &frame].concat()).unwrap();
        let mut buffer = [0; 2048];
        let mut seen = false;
        while let Ok(length) = rustix::io::read(&self.outside, &mut buffer) {
            seen |= buffer[..length].ends_with(b"forwarded");
        }
        seen
    }
}

#[test]
fn priv_a_host_that_forwards_for_guests_alone_is_no_router_after_a_flush_either() {
    in_namespace(|| async {
        let forwarding = "/proc/sys/net/ipv4/ip_forward";
        let router = Router::new().await;
        std::fs::write(forwarding, "1").unwrap();
        assert!(router.forwards(), "as it does by itself");
        std::fs::write(forwarding, "0").unwrap();
        let real = Real::start().await;
        assert_eq!(std::fs::read_to_string(forwarding).unwrap().trim(), "1");
        assert!(!router.forwards());
        let flush = ToolCall::new(Tool::Nft, ["flush", "ruleset"]);
        let flushed = async || drop(run_ok(&*exec(), "flush", "all", &flush).await.unwrap());
        for what in ["everything flushed", "policy"] {
            match what {
                "policy" => restore("*filter\n:FORWARD ACCEPT [0:0]\nCOMMIT\n").await,
                _ => flushed().await,
            }
            wait_for(&format!("{what}: closed again"), || async {
                if router.forwards() { Err("it forwards".to_owned()) } else { Ok(()) }
            })
            .await;
            real.well(what).await;
        }
        real.agent.shutdown(Duration::from_secs(5)).await;
        // Another life of the agent knows it; one of another set-up has nothing to close.
        flushed().await;
        let layout = || FirewallLayout { chains: Chains::of_tag("bg"), bridge: bridge() };
        let elsewhere = tempfile::tempdir().unwrap();
        let other = Iptables::new(exec(), layout(), elsewhere.path());
        let closed = crate::host::Firewall::ensure_closed(&other).await.unwrap();
        assert!(closed == crate::host::Change::AlreadySo && router.forwards());
        let next = Iptables::new(exec(), layout(), real.runtime.path());
        let closed = crate::host::Firewall::ensure_closed(&next).await.unwrap();
        assert!(closed == crate::host::Change::Made && !router.forwards());
    });
}

#[test]
fn priv_a_new_gateway_of_the_host_is_let_through_at_once() {
    in_namespace(|| async {
        let layout = PinLayout { neighbours: 32, ..PinLayout::of_tag("bg", bridge()) };
        let pins = Arc::new(NftPins::new(exec(), layout));
        let real = Real::start_with(|host| Host { pins, ..host }).await;
        let let_through = async |gateway: &str| {
            wait_for(&format!("{gateway} is let through"), || async {
                let what = ["list", "set", "inet", "banger-bg", "gateways"];
                let call = ToolCall::new(Tool::Nft, what);
                let listed = run_ok(&*exec(), "list", "a set", &call).await;
                let listed = listed.map_err(|error| error.chain())?;
                if listed.contains(&format!("{{ {gateway} }}")) { Ok(()) } else { Err(listed) }
            })
            .await;
        };
        let_through("192.0.2.1").await;
        ip("route replace default via 198.51.100.1 dev up1 onlink").await;
        let_through("198.51.100.1").await;
        let all = "flush set inet banger-bg gateways";
        run_ok(&*exec(), "run", "nft", &ToolCall::new(Tool::Nft, all.split(' '))).await.unwrap();
        let_through("198.51.100.1").await;
        real.well("all of it").await;
        real.agent.shutdown(Duration::from_secs(5)).await;
    });
}

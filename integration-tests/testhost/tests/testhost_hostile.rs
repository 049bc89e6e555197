//! A guest that tries to be its neighbour, its host and everybody else, on a real host.
//!
//! Under Firecracker root in the guest sends the frames; under the stand-in its VMM does, in its
//! jail, as its user, by the tap that it was given: what a guest is at most that took its VMM over.

#[expect(dead_code, reason = "shared with the other tests of the test host")]
mod fleet;

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

use banger_client::v1::{EgressPolicy, NetworkSpec, Vm, VmSpec, VmState};
use banger_testhost::hostile::attempts::{Party, Reach, Scene, attempts};
use banger_testhost::hostile::guests::DONE;
use banger_testhost::hostile::verdict::{self, CONTROL};
use banger_testhost::hostile::watch::{BY_TCP, BY_UDP, Sight};
use fleet::{FIRST, Fleet, oracle, spec};

/// A machine beyond the host's uplink, in documentation addresses (RFC 5737).
const OUTSIDE: &str = r"
ip netns add beyond
ip link add up0 type veth peer name up1 netns beyond
ip addr add 198.51.100.2/24 dev up0
ip link set up0 up
ip -n beyond addr add 198.51.100.1/24 dev up1
ip -n beyond link set up1 up
ip -n beyond link set lo up
ip route replace default via 198.51.100.1 dev up0
";

/// What the host believes about who is where.
const BELIEFS: &str = "bridge fdb show br bgbr0 | sort; ip neigh show dev bgbr0 | sort";

const WATCHES: [&str; 2] = ["/run/testhost.watch.log", "/run/testhost.beyond.log"];

fn with_egress(egress: EgressPolicy) -> VmSpec {
    let network = NetworkSpec { egress: egress.into(), ..Default::default() };
    VmSpec { network: Some(network), ..spec() }
}

async fn running(fleet: &Fleet, name: &str, egress: EgressPolicy) -> Vm {
    let vm = fleet.create(name, with_egress(egress)).await;
    let vm = fleet.reaches(&vm, VmState::Running).await;
    fleet.console_has(&vm, "guest: ready", 1).await;
    vm
}

fn status(vm: &Vm) -> banger_client::v1::VmStatus {
    vm.status.clone().expect("a status")
}

/// A guest, by its address and what the host holds of it.
fn party(fleet: &Fleet, address: &str, script: &str) -> Party {
    let mac = fleet.sh(script);
    let bytes: Vec<u8> =
        mac.split(':').map(|hex| u8::from_str_radix(hex, 16).expect("hexadecimal")).collect();
    let mac = bytes.try_into().expect("six bytes");
    Party { address: address.parse().expect("an address"), mac }
}

fn guest(fleet: &Fleet, vm: &Vm) -> Party {
    let address = status(vm).guest_address;
    let script =
        format!("ip neigh show {address} | sed -n 's/.* lladdr \\([0-9a-f:]*\\) .*/\\1/p'");
    party(fleet, &address, &script)
}

/// What both watches have seen until now.
fn seen(fleet: &Fleet) -> BTreeSet<Sight> {
    let said = fleet.sh(&format!("cat {}", WATCHES.join(" ")));
    let lines = said.lines().filter_map(|line| line.strip_prefix("hostile seen "));
    let sight = |line: &str| {
        let (place, number) = line.split_once(' ').expect("a place and a number");
        (place.to_owned(), number.parse().expect("a number"))
    };
    lines.map(sight).collect()
}

async fn sees(fleet: &Fleet, what: &str, sights: &[(&str, u16)]) {
    fleet
        .eventually(what, async || {
            let seen = seen(fleet);
            let all = sights.iter().all(|(place, n)| seen.contains(&((*place).to_owned(), *n)));
            if all { Ok(()) } else { Err(format!("{seen:?} of {sights:?}")) }
        })
        .await;
}

/// How many packets of guests the agent says were refused, by why.
fn refused(fleet: &Fleet) -> BTreeMap<String, u64> {
    let get = r"GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    let script = format!("exec 3<>/dev/tcp/127.0.0.1/7073; printf '{get}' >&3; cat <&3");
    let output = fleet.host.run(&["/bin/bash", "-c", &script]).expect("it answers");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let of = |line: &str| {
        let rest = line.strip_prefix("banger_agent_refused_packets_total{why=\"")?;
        let (why, number) = rest.split_once("\"} ")?;
        Some((why.to_owned(), number.trim().parse().ok()?))
    };
    text.lines().filter_map(of).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hostile_guest_takes_nothing_of_its_neighbour_or_its_host_whatever_it_sends() {
    let fleet = Fleet::start("hostile").await;
    fleet.sh(&format!("set -e\n{OUTSIDE}"));
    let before = oracle::kernel(&fleet, &[&FIRST]);
    let victim = Box::pin(running(&fleet, "victim", EgressPolicy::Nat)).await;
    let attacker = Box::pin(running(&fleet, "attacker", EgressPolicy::None)).await;
    let gateway = fleet.sh("ip -o -4 addr show dev bgbr0 | sed 's/.* inet \\([0-9.]*\\).*/\\1/'");
    let scene = Scene {
        own: guest(&fleet, &attacker),
        gateway: party(&fleet, &gateway, "cat /sys/class/net/bgbr0/address"),
        victim: guest(&fleet, &victim),
        uplink: Ipv4Addr::new(198, 51, 100, 2),
        outside: Ipv4Addr::new(198, 51, 100, 1),
    };
    let tap = status(&victim).devices.expect("devices").tap;
    let own_tap = status(&attacker).devices.expect("devices").tap;
    for (command, log) in [
        (format!("hostile-guest watch bgbr0 up0 {tap} {own_tap}"), WATCHES[0]),
        ("ip netns exec beyond hostile-guest watch up1".to_owned(), WATCHES[1]),
    ] {
        fleet.host.spawn(&command, log).expect("it is started");
        fleet
            .eventually("the watch begins", async || {
                let said = fleet.sh(&format!("cat {log}"));
                if said.contains("hostile watch begins") { Ok(()) } else { Err(said) }
            })
            .await;
    }

    // The neighbour's own traffic, which goes on until the end; and what is allowed is seen.
    let talks = Scene { own: scene.victim, victim: scene.own, ..scene };
    fleet.types_and_sees(&victim, &format!("hostile talk {talks}"), "hostile talk begins").await;
    let (address, outside) = (scene.victim.address, scene.outside);
    fleet.sh(&format!("hostile-guest ping {address} {CONTROL}"));
    fleet.sh(&format!("hostile-guest ping {outside} {}", CONTROL + 1));
    let knocks = format!(
        "echo hostile:{} >/dev/udp/127.0.0.1/4711; exec 3<>/dev/tcp/127.0.0.1/4711",
        CONTROL + 2
    );
    assert_eq!(fleet.host.run(&["/bin/bash", "-c", &knocks]).expect("it runs").code, 0);
    let controls = [
        ("bgbr0", CONTROL),
        (tap.as_str(), CONTROL),
        ("up0", CONTROL + 1),
        ("up1", CONTROL + 1),
        (BY_UDP, CONTROL + 2),
        (BY_TCP, 0),
    ];
    sees(&fleet, "each watch sees what is allowed", &controls).await;
    let beliefs = fleet.sh(BELIEFS);
    assert!(beliefs.contains(&format!("{address} lladdr")), "{beliefs}");
    let counted = refused(&fleet);

    let attacks = format!("hostile attack {scene}");
    fleet.types_and_sees(&attacker, &attacks, DONE).await;
    // What was sent before this has arrived, wherever it was to.
    fleet.sh(&format!("hostile-guest ping {address} {}", CONTROL + 3));
    sees(&fleet, "the neighbour is reached after it", &[(&tap, CONTROL + 3)]).await;
    assert_eq!(fleet.sh(BELIEFS), beliefs, "what the host believes about who is where");
    fleet.types_and_sees(&victim, "hostile hush", "hostile talk ends").await;
    let console = fleet.sh(&format!("cat /data/agent/vms/{}/console.log", victim.id));
    let talked = console.lines().rfind(|line| line.contains("hostile talk ends"));
    let talked = talked.expect("it was seen").trim_end().to_owned();
    println!("the neighbour: {talked}");
    assert!(talked.contains(" lost 0 strangers 0 marks ["), "{talked}");

    // Each attempt was made and answered by nobody, and its guest was itself all the while.
    let made = attempts(&scene);
    let said = fleet.sh(&format!("cat /data/agent/vms/{}/console.log", attacker.id));
    assert_eq!(verdict::of_said(&made, &said), Vec::<String>::new());
    assert_eq!(verdict::of_seen(&made, &seen(&fleet), "bgbr0", &own_tap), Vec::<String>::new());
    for (why, reach) in [("not_its_own", Reach::NotItsOwn), ("closed", Reach::Closed)] {
        // A real Firecracker takes what is for its own metadata service before it comes to the tap.
        let own = u64::from(reach == Reach::Closed && fleet.host.vmm().is_real());
        let frames = verdict::frames(&made, reach) - own;
        let least = counted.get(why).copied().unwrap_or(0) + frames;
        fleet
            .eventually("what was refused is counted", async || {
                let now = refused(&fleet);
                if now.get(why) >= Some(&least) {
                    Ok(())
                } else {
                    Err(format!("{why}: {now:?}, {least}"))
                }
            })
            .await;
    }
    println!("attempts of a hostile guest: {}", made.len());

    fleet.delete(&attacker).await;
    fleet.delete(&victim).await;
    // Ours, in a host that is forgotten.
    fleet.sh("for pid in $(pidof hostile-guest); do kill $pid; done");
    oracle::is_as_before(&fleet, &[&FIRST], &before).await;
}

//! A guest with root inside that tries to be its neighbour, its host and everybody else: with its
//! own kernel, as whoever breaks into a guest would, and with frames of its own making.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::Stdio;

use banger_testhost::host::cache::Cache;
use banger_testhost::host::programs::hostile_guest;
use banger_testhost::hostile::attempts::{Party, Reach, Scene, attempts};
use banger_testhost::hostile::mark;
use banger_testhost::hostile::verdict::{self, CONTROL};
use banger_testhost::hostile::watch::{BY_TCP, BY_UDP, Watch, is_answered_by};

use super::guest::done;
use super::outside::{self, Outside};
use super::stage::{self, Stage, tool, until};

const ATTACKER: &str = "attacker";
const VICTIM: &str = "victim";

/// Where the program is in both guests.
const PROGRAM: &str = "/bin/hostile-guest";

/// Says again what it is told by the machine outside.
const ECHO: &str = r#"mkfifo /tmp/said; nc "$1" "$2" </tmp/said | cat >/tmp/said"#;

/// What the neighbour, which is allowed out, reaches of the same doors. Prints how each ended.
const BY_ITS_NEIGHBOUR: &str = r#"
outside=$1 port=$2
try() { name=$1; shift; if "$@" >/dev/null 2>&1; then echo "$name: yes"; else echo "$name: no"; fi; }
try "connection" timeout 20 nc "$outside" "$port" </dev/null
try "metadata" timeout 3 nc 169.254.169.254 80 </dev/null
"#;

/// Everything that the guest's own kernel can be told to claim. Prints how each ended; a tool that
/// is missing is one that fails.
const BY_ITS_KERNEL: &str = r#"
victim=$1 victim_mac=$2 gateway=$3 gateway_mac=$4 uplink=$5 outside=$6 port=$7
answered() { ping -c 1 -W "$1" "$gateway" >/dev/null 2>&1; }
try() { name=$1; shift; if "$@" >/dev/null 2>&1; then echo "$name: yes"; else echo "$name: no"; fi; }
try "as itself" answered 20
for claimed in "$victim" "$gateway" "$uplink" 169.254.169.254; do
	try "takes $claimed" ip addr add "$claimed/32" dev eth0
	arping -U -c 1 -w 1 -I eth0 -s "$claimed" "$gateway" >/dev/null 2>&1
	arping -A -c 1 -w 1 -I eth0 -s "$claimed" "$gateway" >/dev/null 2>&1
	[ "$claimed" = "$victim" ] || ip addr del "$claimed/32" dev eth0
done
try "goes out as the victim" ip route replace "$outside" via "$gateway" src "$victim"
try "ping as the victim" ping -c 1 -W 2 "$outside"
try "connection as the victim" timeout 3 nc "$outside" "$port" </dev/null
try "gateway as the victim" ping -c 1 -W 2 -I "$victim" "$gateway"
ip route del "$outside"
ip addr del "$victim/32" dev eth0
try "ping outside" ping -c 1 -W 2 "$outside"
try "ping the victim" ping -c 1 -W 2 "$victim"
try "connection to the host" timeout 3 nc "$gateway" 4711 </dev/null
try "connection to the uplink" timeout 3 nc "$uplink" 4711 </dev/null
try "metadata" timeout 3 nc 169.254.169.254 80 </dev/null
own=$(cat /sys/class/net/eth0/address)
for mac in "$victim_mac" "$gateway_mac" 02:aa:bb:cc:dd:ee; do
	try "is $mac" ip link set eth0 address "$mac"
	try "answered" answered 2
	arping -U -c 1 -w 1 -I eth0 "$gateway" >/dev/null 2>&1
done
ip link set eth0 address "$own"
try "as itself again" answered 20
for tool in ip ping arping nc timeout; do command -v "$tool" >/dev/null || echo "no $tool"; done
"#;

/// What is expected of it.
fn by_its_kernel(scene: &Scene) -> String {
    let Party { address: victim, .. } = scene.victim;
    let (gateway, uplink) = (scene.gateway.address, scene.uplink);
    let mut lines = vec!["as itself: yes".to_owned()];
    let claimed = [victim.to_string(), gateway.to_string(), uplink.to_string()];
    lines.extend(claimed.iter().map(|claimed| format!("takes {claimed}: yes")));
    lines.push("takes 169.254.169.254: yes".to_owned());
    lines.push("goes out as the victim: yes".to_owned());
    for refused in [
        "ping as the victim",
        "connection as the victim",
        "gateway as the victim",
        "ping outside",
        "ping the victim",
        "connection to the host",
        "connection to the uplink",
        "metadata",
    ] {
        lines.push(format!("{refused}: no"));
    }
    let macs = [mac(scene.victim), mac(scene.gateway), "02:aa:bb:cc:dd:ee".to_owned()];
    lines.extend(macs.iter().flat_map(|mac| [format!("is {mac}: yes"), "answered: no".to_owned()]));
    lines.push("as itself again: yes".to_owned());
    lines.iter().map(|line| format!("{line}\n")).collect()
}

fn mac(party: Party) -> String {
    party.mac.map(|byte| format!("{byte:02x}")).join(":")
}

fn party(address: &str, mac: &str) -> Party {
    let byte = |hex: &str| u8::from_str_radix(hex, 16).expect("hexadecimal");
    let mac: Vec<u8> = mac.trim().split(':').map(byte).collect();
    let address = address.parse().expect("an address");
    Party { address, mac: mac.try_into().expect("six bytes") }
}

/// What this machine believes about who is where.
fn beliefs(bridge: &str) -> Vec<String> {
    let entries = tool("bridge", &["fdb", "show", "br", bridge]);
    let neighbours = tool("ip", &["neigh", "show", "dev", bridge]);
    let lines = entries.lines().chain(neighbours.lines());
    let mut lines: Vec<String> = lines.map(|line| line.trim_end().to_owned()).collect();
    lines.sort();
    lines
}

/// The program without what is there for debuggers, for it is brought to guests.
fn program(stage: &Stage, built: &Path) -> String {
    let stripped = stage.scratch("hostile-guest").display().to_string();
    tool("strip", &["--strip-all", "-o", &stripped, &built.display().to_string()]);
    stripped
}

/// How many frames of guests were refused so far.
fn refused(tag: &str, why: &str) -> u64 {
    let said = tool("nft", &["list", "counter", "bridge", &format!("banger-{tag}"), why]);
    let mut words = said.split_whitespace().skip_while(|word| *word != "packets");
    words.nth(1).and_then(|number| number.parse().ok()).unwrap_or_else(|| panic!("{said}"))
}

#[test]
fn priv_a_hostile_guest_under_qemu_takes_nothing_of_its_neighbour_or_its_host() {
    let demo = stage::demo();
    let built: PathBuf = Cache::open()
        .and_then(|cache| hostile_guest(&cache))
        .unwrap_or_else(|why| panic!("no hostile guest: {why}"));
    stage::in_network_with(move || {
        let outside = Outside::new();
        let stage = super::demo::stage_with_demo("hostile", &demo);
        let create = ["vm", "create", "--memory", "128M", "--wait=ready"];
        stage.banger(&[&create[..], &[VICTIM]].concat());
        stage.banger(&[&create[..], &[ATTACKER, "--no-nat"]].concat());
        let program = program(&stage, &built);
        for vm in [VICTIM, ATTACKER] {
            stage.banger(&["vm", "cp", &program, &format!("{vm}:{PROGRAM}")]);
            stage.exec(vm, &["chmod", "755", PROGRAM]);
        }
        let bridge = format!("{}br0", stage.tag());
        let guest = |vm| {
            let status = stage.json(&["vm", "get", vm])["status"].clone();
            let address = status["guestAddress"].as_str().expect("it has one").to_owned();
            let tap = status["devices"]["tap"].as_str().expect("it has one").to_owned();
            let known = tool("ip", &["neigh", "show", &address]);
            let mut words = known.split(' ').skip_while(|word| *word != "lladdr");
            (party(&address, words.nth(1).expect("it is pinned")), tap)
        };
        let ((victim, tap), (own, own_tap)) = (guest(VICTIM), guest(ATTACKER));
        let route = stage.exec(ATTACKER, &["ip", "route"]).stdout;
        let gateway = route.split_whitespace().skip_while(|word| *word != "via").nth(1);
        // Not by /sys, which is of another network.
        let link = tool("ip", &["-o", "link", "show", &bridge]);
        let hardware = link.split(' ').skip_while(|word| *word != "link/ether").nth(1);
        let hardware = hardware.expect("the bridge has one");
        let gateway = party(gateway.expect("it has a default route"), hardware);
        let uplink = "192.0.2.2".parse().expect("an address");
        let scene = Scene { own, gateway, victim, uplink, outside: outside::ADDRESS };

        // The neighbour talks until the end, by ping and by TCP; and what is allowed is seen.
        let watch = Watch::on(&[&bridge, "up0", &tap, &own_tap], |_, _| {}).expect("it is watched");
        let (address, port) = (scene.outside.to_string(), outside::PORT.to_string());
        let spawn = |words: &[&str]| {
            let words = [&["vm", "exec", VICTIM, "--"], words].concat();
            stage.command().args(words).stdout(Stdio::piped()).spawn().expect("it can be started")
        };
        let mut echo = spawn(&["sh", "-c", ECHO, "sh", &address, &port]);
        let mut conversation = outside.conversation();
        conversation.goes_on("before");
        let talks = Scene { own: victim, victim: own, ..scene }.to_string();
        let mut talk = spawn(&[PROGRAM, "talk", &talks, "/tmp/hush"]);
        let mut talked = BufReader::new(talk.stdout.take().expect("it is piped")).lines();
        let begins = talked.next().expect("a line").expect("text");
        assert_eq!(begins, "hostile talk begins");
        let answers = |address, number| {
            let limit = std::time::Duration::from_secs(30);
            is_answered_by(address, &mark(number), limit).expect("root may ask")
        };
        assert!(answers(victim.address, CONTROL) && answers(scene.outside, CONTROL + 1));
        let knock = std::net::UdpSocket::bind("127.0.0.1:0").expect("a socket");
        knock.send_to(&mark(CONTROL + 2), "127.0.0.1:4711").expect("it is sent");
        std::net::TcpStream::connect("127.0.0.1:4711").expect("it is taken");
        let controls = [
            (bridge.as_str(), CONTROL),
            (&tap, CONTROL),
            ("up0", CONTROL + 1),
            (BY_UDP, CONTROL + 2),
            (BY_TCP, 0),
        ];
        let sees = |watch: &Watch, sights: &[(&str, u16)]| {
            until("the watch sees what is allowed", || {
                let seen = watch.seen();
                let all = sights.iter().all(|(place, n)| seen.contains(&((*place).to_owned(), *n)));
                if all { Ok(()) } else { Err(format!("{seen:?} of {sights:?}")) }
            });
        };
        sees(&watch, &controls);
        sees(&outside.watch, &[("up1", CONTROL + 1)]);
        // The doors outside are open: to the neighbour, and to the host, which is everybody's
        // router, also where no guest may go.
        let door = outside::DOOR.to_string();
        let asks = ["sh", "-c", BY_ITS_NEIGHBOUR, "sh", &address, &door];
        assert_eq!(stage.exec(VICTIM, &asks), done("connection: yes\nmetadata: no\n", "", 0));
        std::net::TcpStream::connect(outside::METADATA).expect("the host reaches it");
        let before = beliefs(&bridge);
        let counts = ["refused_not_its_own", "refused_closed"];
        let counted = || counts.map(|why| refused(&stage.tag(), why));
        let at_first = counted();

        let words = [
            victim.address.to_string(),
            mac(victim),
            gateway.address.to_string(),
            mac(gateway),
            scene.uplink.to_string(),
            address.clone(),
            door.clone(),
        ];
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let script = [&["sh", "-c", BY_ITS_KERNEL, "sh"], &words[..]].concat();
        assert_eq!(stage.exec(ATTACKER, &script), done(&by_its_kernel(&scene), "", 0));
        assert_eq!(beliefs(&bridge), before, "what the host believes after its kernel's attempts");
        conversation.goes_on("between");
        // What its kernel has sent is not taken for what the program sends.
        let between = counted();
        let more = between.into_iter().zip(at_first).all(|(now, before)| now > before);
        assert!(more, "{counts:?}: {at_first:?}, then {between:?}");
        let attacked = stage.exec(ATTACKER, &[PROGRAM, "attack", &scene.to_string()]);
        assert_eq!((attacked.code, attacked.stderr.as_str()), (0, ""), "{attacked:?}");

        // What was sent before this has arrived, wherever it was to.
        assert!(answers(victim.address, CONTROL + 3) && answers(scene.outside, CONTROL + 4));
        sees(&watch, &[(&tap, CONTROL + 3)]);
        sees(&outside.watch, &[("up1", CONTROL + 4)]);
        conversation.goes_on("after");
        assert_eq!(beliefs(&bridge), before, "what the host believes about who is where");
        let made = attempts(&scene);
        assert_eq!(verdict::of_said(&made, &attacked.stdout), Vec::<String>::new());
        until("each frame of each attempt leaves its guest", || {
            let short = verdict::of_sent(&made, &watch.counted(), &own_tap);
            if short.is_empty() { Ok(()) } else { Err(format!("{short:?}")) }
        });
        let mut seen = watch.seen();
        seen.extend(outside.watch.seen());
        assert_eq!(verdict::of_seen(&made, &seen, &bridge, &own_tap), Vec::<String>::new());
        let reaches = [Reach::NotItsOwn, Reach::Closed];
        for ((why, before), reach) in counts.into_iter().zip(between).zip(reaches) {
            let now = refused(&stage.tag(), why);
            assert!(now >= before + verdict::frames(&made, reach), "{why}: {before}, then {now}");
        }
        stage.exec(VICTIM, &["touch", "/tmp/hush"]);
        let ends = talked.next().expect("a line").expect("text");
        println!("the neighbour: {ends}");
        assert!(ends.contains(" lost 0 strangers 0 marks [900,903]"), "{ends}");
        assert!(talk.wait().expect("it ends").success());
        drop(conversation);
        assert!(echo.wait().expect("it ends with its connection").success());
        println!("attempts of a hostile guest: {}", made.len());
        for vm in [VICTIM, ATTACKER] {
            stage.banger(&["vm", "rm", vm, "--yes", "--wait"]);
        }
        stage.down();
    });
}

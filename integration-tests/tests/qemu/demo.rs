//! What a newcomer does first, with real guests: the demo by its one name, as long a disk as was
//! said, a panic that is told as one, and two set-ups on one machine.

use std::path::Path;

use serde_json::Value;

use super::names::{self, NameServer};
use super::stage::{self, Stage};
use super::{done, identity, machine};

/// A stage with the image `demo`, made as `make up` makes it.
pub(crate) fn stage_with_demo(name: &str, demo: &banger_testhost::host::demo::Demo) -> Stage {
    let stage = Stage::new(name, None, "");
    stage.up_and_say();
    let text = |path: &Path| path.to_str().expect("paths here are text").to_owned();
    let (packages, agent) = (text(&demo.packages), text(&demo.agent));
    stage.banger(&["image", "build-demo", &packages, "--guest-agent", &agent]);
    stage
}

fn status(stage: &Stage, vm: &str) -> Value {
    stage.json(&["vm", "get", vm])["status"].clone()
}

fn address(stage: &Stage, vm: &str) -> String {
    status(stage, vm)["guestAddress"].as_str().expect("it has an address").to_owned()
}

#[test]
fn priv_the_demo_is_one_name_with_the_disk_that_is_asked_for_and_a_panic_is_told() {
    let demo = stage::demo();
    stage::in_network_of_its_own(move || {
        let name_server = NameServer::beyond_the_uplink();
        let stage = stage_with_demo("demo", &demo);
        // The image has 64 MiB.
        let create = ["vm", "create", "web", "--image", "demo", "--memory", "128M"];
        stage.banger(&[&create[..], &["--nat", "--disk", "96M", "--wait=ready"]].concat());
        let spec = stage.json(&["vm", "get", "web"])["spec"].clone();
        assert_eq!(spec["kernel"]["name"], "demo-kernel");
        assert_eq!(spec["initrd"]["name"], "demo-initrd");
        let id = stage.json(&["vm", "get", "web"])["id"].as_str().expect("text").to_owned();
        stage.until_console(&id, |text| text.contains("banger-guest: the root grew from "));
        let kib = ["sh", "-c", "df -k / | tail -n 1 | awk '{ print $2 }'"];
        let shown = stage.exec("web", &kib).stdout;
        let size: u64 = shown.trim().parse().expect("a number");
        assert!((80 << 10..=96 << 10).contains(&size), "{size} KiB of 96 MiB");
        // Out of the box a guest with NAT knows names, from the name servers of its host.
        let asks = ["timeout", "30", "nslookup", names::NAME];
        let found = stage.exec("web", &asks);
        assert_eq!((found.code, &*found.stderr), (0, ""), "{found:?}");
        assert!(found.stdout.contains(&format!("Address: {}\n", names::ADDRESS)), "{found:?}");
        // By its host, as all that leaves it.
        let askers = name_server.asked();
        let host: std::net::IpAddr = [192, 0, 2, 2].into();
        assert!(!askers.is_empty() && askers.iter().all(|at| at.ip() == host), "{askers:?}");
        // A disk that is full is said to be.
        let fill = "dd if=/dev/zero of=/fill bs=1M 2>&1 | grep -o 'No space left on device'";
        let full = stage.exec("web", &["sh", "-c", fill]);
        assert_eq!(full, done("No space left on device\n", "", 0));
        let big = stage.scratch("big");
        std::fs::write(&big, vec![b'x'; 8 << 20]).expect("there is room");
        let big = big.to_str().expect("paths here are text");
        let copied = stage.try_banger(&["vm", "cp", big, "web:/root/"], b"");
        assert_ne!(copied.code, 0);
        assert!(copied.stderr.contains("the guest's disk is full"), "{copied:?}");
        stage.banger(&["vm", "rm", "web", "--yes", "--wait"]);

        // A kernel that panics tells QEMU by its driver, which the initial RAM disk brings.
        let create = ["vm", "create", "told", "--no-nat", "--memory", "128M", "--wait=ready"];
        stage.banger(&create);
        // One without NAT reaches no name server, though it is told of them.
        let unknown = stage.exec("told", &asks);
        assert_ne!(unknown.code, 0, "{unknown:?}");
        assert!(!unknown.stdout.contains(&names::ADDRESS.to_string()), "{unknown:?}");
        assert_eq!(name_server.asked(), [], "without NAT nothing goes out");
        let id = stage.json(&["vm", "get", "told"])["id"].as_str().expect("text").to_owned();
        let panic = "(sleep 1; echo c >/proc/sysrq-trigger) </dev/null >/dev/null 2>&1 &";
        assert_eq!(stage.exec("told", &["sh", "-c", panic]), done("", "", 0));
        stage::until("QEMU heard of the panic", || {
            let log = std::fs::read_to_string(stage.vm_file(&id, "qemu.log")).unwrap_or_default();
            if log.contains("qmp: GUEST_PANICKED") {
                Ok(())
            } else {
                Err(log + &stage.console(&id))
            }
        });
        stage.banger(&["vm", "rm", "told", "--yes", "--wait"]);

        // The kernel without its initial RAM disk finds no root.
        let create = ["vm", "create", "dead", "--kernel", "demo-kernel", "--root", "demo"];
        stage.banger(&[&create[..], &["--memory", "128M"]].concat());
        // Until it is started again, with the reason still told, and panics anew.
        let status = stage::until("the panic is told", || {
            let status = status(&stage, "dead");
            let told = status["reason"] == "GUEST_PANIC" && status["state"] == "VM_STATE_CRASHED";
            if told { Ok(status) } else { Err(status.to_string()) }
        });
        println!("a panic: {}", status["message"]);
        let words = status["message"].as_str().expect("a sentence");
        assert!(words.contains("Kernel panic - not syncing"), "{words}");
        stage.banger(&["vm", "rm", "dead", "--yes", "--wait"]);
        stage.down();
    });
}

#[test]
fn priv_two_set_ups_of_real_guests_live_beside_each_other_and_one_goes_alone() {
    let demo = stage::demo();
    stage::in_network_of_its_own(move || {
        let [one, two] = ["one", "two"].map(|name| stage_with_demo(name, &demo));
        for stage in [&one, &two] {
            stage.banger(&["vm", "create", "web", "--memory", "128M", "--wait=ready"]);
        }
        let [at_one, at_two] = [&one, &two].map(|stage| address(stage, "web"));
        assert_ne!(at_one, at_two);
        assert_ne!(one.tag(), two.tag());
        for (stage, at) in [(&one, &at_one), (&two, &at_two)] {
            let id = stage.json(&["vm", "get", "web"])["id"].as_str().expect("text").to_owned();
            stage.until_it_answers(at, &id);
            assert_eq!(stage.objects(true), Vec::<[String; 3]>::new(), "the other's is nobody's");
        }
        // An agent that takes the tag of one that lives changes nothing of it.
        let said = one.second_agent();
        let taken = format!("instance {} is that of another agent on this machine", one.tag());
        assert!(said.contains(&taken), "{said}");
        assert!(said.contains(&format!("pid {}", one.agent_pid())), "{said}");
        assert!(one.answers(&at_one), "{said}");
        assert_eq!(one.exec("web", &["hostname"]), done("web\n", "", 0));

        let before = two.json(&["vm", "get", "web"]);
        let [of_one, of_two] = [&one, &two].map(|stage| machine::of_instance(&stage.tag()));
        let of_one = of_one.join("\n");
        for part in ["br0:", "-FWD", "-NAT", "table inet", "table bridge", "/run/banger-agents/"] {
            assert!(of_one.contains(part), "{part} is there before: {of_one}");
        }
        one.down();
        assert_eq!(machine::of_instance(&two.tag()), of_two, "the other's stays as it is");
        assert!(two.answers(&at_two), "it needs the other set-up");
        assert!(!two.answers(&at_one), "it is still there");
        let after = two.json(&["vm", "get", "web"]);
        assert_eq!(identity(&after), identity(&before));
        assert_eq!(after["status"]["state"], "VM_STATE_RUNNING");
        assert_eq!(after["status"]["reason"], Value::Null, "{after}");
        assert_eq!(two.exec("web", &["hostname"]), done("web\n", "", 0));
        assert_eq!(two.objects(true), Vec::<[String; 3]>::new());
        two.down();
    });
}

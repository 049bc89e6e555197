//! A real guest under a real QEMU, by way of the programs that a person uses: `banger dev`, server,
//! agent and command line. Software emulation is enough, so that it runs wherever root is.
//!
//! Everything is in a network namespace of its own with an uplink that leads nowhere, and in a
//! directory of its own. Kernel and guest are those of `make up`, made by `banger image build-demo`
//! from Debian's packages, which are fetched once. Needs root, QEMU, and apt for the packages.

#[path = "qemu/demo.rs"]
mod demo;
#[path = "qemu/guest.rs"]
mod guest;
#[path = "qemu/hostile.rs"]
mod hostile;
#[path = "qemu/machine.rs"]
mod machine;
#[path = "qemu/names.rs"]
mod names;
#[path = "qemu/outside.rs"]
mod outside;
#[path = "qemu/pages.rs"]
mod pages;
#[path = "qemu/stage.rs"]
mod stage;

use std::collections::BTreeSet;
use std::path::Path;

use banger_testhost::oci;
use guest::done;
use machine::Machine;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use stage::Stage;

const VM: &str = "first";

/// A VM that nobody knows.
const LOST: &str = "0193a7e2-3f40-7c21-9d5e-0000000000aa";

/// What identifies a process: pid and start time.
fn identity(vm: &Value) -> (u64, String) {
    let process = &vm["status"]["process"];
    let ticks = process["startTicks"].as_str().expect("a running VM has a process").to_owned();
    (process["pid"].as_u64().expect("a pid is a number"), ticks)
}

#[test]
fn priv_a_real_guest_lives_under_qemu_through_the_death_of_its_agent() {
    let images = stage::make_images();
    stage::in_network_of_its_own(move || {
        let stage = Stage::new("qemu", Some(&images), "");
        stage.up_and_say();

        let guest = ["--kernel", "vmlinux", "--initrd", "initrd.img", "--root", "root.ext4"];
        let create = ["vm", "create", VM, "--memory", "128M", "--wait"];
        stage.banger(&[&create[..], &guest].concat());
        let running = stage.json(&["vm", "get", VM]);
        assert_eq!(running["status"]["devices"]["vmm"], "qemu");
        let address = running["status"]["guestAddress"].as_str().expect("it has an address");
        let id = running["id"].as_str().expect("it has an id").to_owned();
        stage.until_it_answers(address, &id);
        let greeting = "A guest of banger: ";
        stage.until_console(&id, |text| text.contains(greeting) && text.contains(address));

        // Everything of it is in the inventory of the host, and nothing is nobody's.
        let objects = stage.objects(false);
        let kinds: BTreeSet<&str> = objects.iter().map(|[kind, ..]| kind.as_str()).collect();
        let whole = BTreeSet::from(["process", "jail", "rule", "tap", "directory"]);
        assert!(kinds.is_superset(&whole), "{objects:?}");
        assert!(objects.iter().all(|[.., s]| s == "HOST_OBJECT_STATE_OWNED"), "{objects:?}");
        // The guest agent: it says that the guest is ready and which boot this is, and runs
        // programs.
        stage.banger(&["vm", "wait", VM, "--ready", "--timeout", "2m"]);
        let guest = stage.json(&["vm", "get", VM])["status"]["guest"].clone();
        println!("guest: {guest}");
        assert_eq!(guest["transport"], "virtio-serial");
        assert_eq!(guest["hostname"], VM);
        let boot_id = guest["bootId"].as_str().expect("it says so").to_owned();
        let exec = |program: &[&str]| stage.exec(VM, program);
        let shows_its_boot = || exec(&["cat", "/proc/sys/kernel/random/boot_id"]);
        assert_eq!(shows_its_boot(), done(&format!("{boot_id}\n"), "", 0));
        assert_eq!(exec(&["cat", "/etc/hostname"]), done(&format!("{VM}\n"), "", 0));
        let told = stage::DNS.map(|server| format!("nameserver {server}\n")).concat();
        assert_eq!(exec(&["cat", "/etc/resolv.conf"]), done(&told, "", 0));
        // Where memory is short, the guest's programs go before the guest agent.
        let scores = "cat /proc/$(pidof banger-guest)/oom_score_adj /proc/self/oom_score_adj";
        assert_eq!(exec(&["sh", "-c", scores]), done("-1000\n0\n", "", 0));
        let both = "echo to one; echo to the other >&2; exit 7";
        assert_eq!(exec(&["sh", "-c", both]), done("to one\n", "to the other\n", 7));
        assert_eq!(exec(&["sh", "-c", "kill -9 $$"]), done("", "", 137));
        let piped = stage.exec_with(VM, &[b'x'; 100_000], &["wc", "-c"]);
        assert_eq!(piped, done("100000\n", "", 0));
        stage.copies_there_and_back(VM);

        // Its console is a keyboard, too: what is seen is the shell's answer, not the echo.
        stage.type_and_see(VM, "echo answer-$((6*7))", "answer-42");

        // The jail: a user of its own, no capabilities, a filter of system calls, another root.
        let (pid, _) = identity(&running);
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("it lives");
        let line = |name: &str| {
            let found = status.lines().find(|line| line.starts_with(name));
            found.unwrap_or_default().split_whitespace().skip(1).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(line("Uid:"), "200002 200002 200002 200002");
        assert_eq!((line("CapEff:"), line("Groups:")), ("0000000000000000".into(), String::new()));
        assert_eq!((line("NoNewPrivs:"), line("Seccomp:")), ("1".to_owned(), "2".to_owned()));
        assert!(!std::fs::exists(format!("/proc/{pid}/root/home")).expect("root may look"));

        stage.banger(&["vm", "pause", VM, "--wait"]);
        assert!(!stage.answers(address), "a paused guest answers");
        stage.banger(&["vm", "resume", VM, "--wait"]);
        stage.until_it_answers(address, &id);

        // The agent dies and loses its hints; the guest does not notice.
        let agent = stage.agent_pid();
        kill(Pid::from_raw(agent), Signal::SIGKILL).expect("the agent is ours");
        stage.until_dead(agent);
        assert!(stage.answers(address), "the guest needs its agent");
        std::fs::remove_file(stage.vm_file(&id, "handles.json")).expect("it was there");
        stage.up();
        stage.until_adopted(VM);
        let adopted = stage.json(&["vm", "get", VM]);
        assert_eq!(identity(&adopted), identity(&running));
        assert_eq!(adopted["status"]["devices"]["vmm"], "qemu");
        assert!(stage.answers(address));
        // The channel to the guest came back by itself, and it is the same boot.
        stage.until_connected(VM);
        let after = stage.json(&["vm", "get", VM])["status"]["guest"].clone();
        assert_eq!(after["bootId"], boot_id.as_str());
        assert_eq!(shows_its_boot(), done(&format!("{boot_id}\n"), "", 0));
        println!("the boot id before and after a kill -9 of the agent: {boot_id}");
        let boots = stage.console(&id).matches("Linux version").count();
        assert_eq!(boots, 1, "{}", stage.console(&id));

        // The new agent reads the console, types into it, and the guest hears it.
        stage.type_and_see(VM, "echo again-$((6*7))", "again-42");
        // The new agent reads the console, too, and stops the guest by its guest agent: without it
        // the console would not have the line.
        stage.banger(&["vm", "stop", VM, "--grace", "60s", "--wait"]);
        let stopped = stage.json(&["vm", "get", VM]);
        assert_eq!(stopped["status"]["state"], "VM_STATE_STOPPED");
        let log = std::fs::read_to_string(stage.vm_file(&id, "qemu.log")).expect("QEMU has a log");
        assert!(log.contains("SHUTDOWN guest-reset exit_code=0"), "{log}");
        let console = stage.console(&id);
        assert!(console.contains("the host asked for a shutdown"), "{console}");
        assert!(console.contains("Restarting system"), "{console}");

        // Its disk is the one it wrote to, and it starts again from it.
        stage.banger(&["vm", "start", VM, "--wait"]);
        stage.until_it_answers(address, &id);
        stage.banger(&["vm", "rm", VM, "--yes", "--wait"]);
        assert_eq!(stage.left_of(&id), Vec::<String>::new());
        assert_eq!(stage.objects(false), Vec::<[String; 3]>::new());
        stage.down();
    });
}

#[test]
fn priv_images_that_people_have_boot_and_a_program_gets_a_guest_of_its_own() {
    let demo = stage::demo();
    stage::in_network_of_its_own(move || {
        let stage = Stage::new("images", None, "");
        stage.configure("server", &format!("[images]\nguest_agent = {:?}\n", demo.agent));
        stage.up_and_say();
        let text = |path: &Path| path.to_str().expect("paths here are text").to_owned();
        let (packages, agent) = (text(&demo.packages), text(&demo.agent));
        stage.banger(&["image", "build-demo", &packages, "--guest-agent", &agent]);
        // The same kernel by itself, as people have it: in its distribution's package.
        let package = text(&demo.kernel_package().expect("it was fetched"));
        stage.banger(&["image", "import", "debian", &package, "--kind", "kernel"]);
        // An image without an init: the guest agent becomes process 1.
        let archive = stage.scratch("layers.tar");
        let busybox = std::fs::read("/bin/busybox").expect("busybox-static is installed");
        std::fs::write(&archive, oci::image(&busybox).expect("in memory")).expect("there is room");
        stage.banger(&["image", "import", "layers", &text(&archive)]);
        let image = stage.banger(&["image", "get", "layers"]);
        assert!(image.contains("the guest agent is started by being /sbin/init"), "{image}");

        // One program, one VM, and nothing afterwards.
        let (before, spec) =
            (stage.objects(false), ["--initrd", "demo-initrd", "--memory", "128M"]);
        let ran =
            stage.try_banger(&["vm", "run", "hello", "--rm", "--", "cat", "/etc/hostname"], b"");
        let note = "No image was named: the demo guest is booted (--image demo).\n";
        assert_eq!(ran, done("hello\n", note, 0));
        assert_eq!(stage.objects(false), before);
        assert_eq!(stage.try_banger(&["vm", "get", "hello"], b"").code, 3, "it is still there");

        let create = ["vm", "create", "oci", "--kernel", "debian", "--root", "layers", "--wait"];
        stage.banger(&[&create[..], &spec].concat());
        let id = stage.json(&["vm", "get", "oci"])["id"].as_str().expect("text").to_owned();
        let ready = stage.try_banger(&["vm", "wait", "oci", "--ready", "--timeout", "2m"], b"");
        assert_eq!(ready.code, 0, "{ready:?}\n{}", stage.console(&id));
        assert_eq!(stage.exec("oci", &oci::SHOW), done(oci::SHOWN, "", 0));
        assert_eq!(stage.exec("oci", &["cat", "/etc/hostname"]), done("oci\n", "", 0));
        let told = stage::DNS.map(|server| format!("nameserver {server}\n")).concat();
        assert_eq!(stage.exec("oci", &["cat", "/etc/resolv.conf"]), done(&told, "", 0));
        // Here it is a child of process 1, which the kernel never ends.
        let scores = ["sh", "-c", "cat /proc/$PPID/oom_score_adj /proc/self/oom_score_adj"];
        assert_eq!(stage.exec("oci", &scores), done("-1000\n0\n", "", 0));
        let guest = stage.json(&["vm", "get", "oci"])["status"]["guest"].clone();
        println!("an OCI image of two layers: {guest}");
        // The image's own program, with its environment, in its directory.
        stage.until_console(&id, |text| text.contains(oci::PRINTED));
        // And so has a program that is run in it.
        let show = ["sh", "-c", "echo \"$GREETING, $PATH\"; pwd"];
        assert_eq!(stage.exec("oci", &show), done("hello from the image, /bin\n/work\n", "", 0));
        // The root is as large as its disk, not as its image.
        stage.until_console(&id, |text| text.contains("banger-guest: the root grew from "));
        let running = stage.json(&["vm", "get", "oci"]);
        stage.until_it_answers(running["status"]["guestAddress"].as_str().expect("text"), &id);

        // Process 1 ends it when the guest agent asks it to.
        stage.banger(&["vm", "stop", "oci", "--grace", "60s", "--wait"]);
        let log = std::fs::read_to_string(stage.vm_file(&id, "qemu.log")).expect("QEMU has a log");
        assert!(log.contains("SHUTDOWN guest-reset exit_code=0"), "{log}{}", stage.console(&id));
        stage.banger(&["vm", "rm", "oci", "--yes", "--wait"]);
        assert_eq!(stage.left_of(&id), Vec::<String>::new());
        assert_eq!(stage.objects(false), before);
        stage.down();
    });
}

#[test]
fn priv_a_qemu_in_a_jail_that_nobody_knows_goes_when_people_ask_and_one_beside_it_stays() {
    stage::in_network_of_its_own(move || {
        let config = "[sweep]\ngrace_secs = 1\ninterval_secs = 1\n";
        let stage = Stage::new("sweep", None, config);
        stage.up_and_say();
        // Another agent's, for all that ours can know: the same name, and a jail elsewhere.
        let name = format!("banger-{LOST}");
        let elsewhere = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a directory");
        let mut theirs = Machine::start(elsewhere.path(), &name);
        assert_eq!(stage.objects(false), Vec::<[String; 3]>::new());

        let mut lost = Machine::start(&stage.jail_root(LOST), &name);
        let orphan =
            |kind: &str, name: &str| [kind, name, "HOST_OBJECT_STATE_ORPHAN"].map(str::to_owned);
        let pid = lost.pid().to_string();
        assert_eq!(stage.objects(true), [orphan("process", &pid), orphan("jail", LOST)]);
        // The agent alone ends no process, and a dry run nothing.
        let sweep = ["host", "sweep", "b0", "--dry-run"];
        stage::until("the grace period is over", || {
            let dry = stage.json(&sweep);
            let removed = dry["removed"].as_array().map_or(0, Vec::len);
            if removed == 2 { Ok(()) } else { Err(dry.to_string()) }
        });
        assert!(lost.lives());
        let said = stage.banger(&["host", "sweep", "b0", "--yes"]);
        assert_eq!(said.matches("REMOVED").count(), 2, "{said}");
        assert!(!lost.lives(), "{said}");
        assert!(theirs.lives());
        assert!(!stage.jail_root(LOST).exists(), "{said}");
        assert_eq!(stage.objects(false), Vec::<[String; 3]>::new());
        stage.down();
    });
}

//! A real guest under a real QEMU, by way of the programs that a person uses: `banger dev`, server,
//! agent and command line. Software emulation is enough, so that it runs wherever root is.
//!
//! Everything is in a network namespace of its own with an uplink that leads nowhere, and in a
//! directory of its own. Kernel and guest are those of `make up`, made once from Debian's packages
//! and kept beside the build. Needs root, QEMU and what `deploy/dev/images.sh` needs.

#[path = "qemu/agent.rs"]
mod agent;
#[path = "qemu/stage.rs"]
mod stage;

use std::collections::BTreeSet;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use stage::{Machine, Stage};

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
        let stage = Stage::new("qemu", &images, "");
        stage.up();
        let host = stage.json(&["host", "get", "b0"]);
        let vmm = host["status"]["vmm"].as_str().expect("the host says what it runs");
        assert!(vmm.starts_with("qemu "), "{vmm}");
        println!("vmm: {vmm}");

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
        // The guest agent: it says that the guest is ready and which boot this is, and runs programs.
        stage.banger(&["vm", "wait", VM, "--ready", "--timeout", "2m"]);
        let guest = stage.json(&["vm", "get", VM])["status"]["guest"].clone();
        println!("guest: {guest}");
        assert_eq!(guest["transport"], "virtio-serial");
        assert_eq!(guest["hostname"], VM);
        let boot_id = guest["bootId"].as_str().expect("it says so").to_owned();
        let exec = |command: &[&str]| stage.exec(&host, &id, command);
        assert_eq!(exec(&["cat", "/proc/sys/kernel/random/boot_id"]), (format!("{boot_id}\n"), 0));
        assert_eq!(exec(&["cat", "/etc/hostname"]), (format!("{VM}\n"), 0));
        assert_eq!(exec(&["sh", "-c", "echo to nobody >&2; exit 7"]), (String::new(), 7));

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
        assert_eq!(exec(&["cat", "/proc/sys/kernel/random/boot_id"]), (format!("{boot_id}\n"), 0));
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
fn priv_a_qemu_in_a_jail_that_nobody_knows_goes_when_people_ask_and_one_beside_it_stays() {
    let images = stage::make_images();
    stage::in_network_of_its_own(move || {
        let config = "[sweep]\ngrace_secs = 1\ninterval_secs = 1\n";
        let stage = Stage::new("sweep", &images, config);
        stage.up();
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

//! The upgrade contract: whatever is done to banger, its guests do not notice.
//!
//! One host with systemd, on which banger is installed by the commands of docs/FIRST-FLEET.md and
//! deploy/README.md, which are typed as they are there (limits of time are added), and one VM runs.
//! Both units are restarted, stopped and started, killed, updated to another build and to broken
//! ones, uninstalled and installed again; after each the process, its start, its control group, the
//! guest's boot id and its disk are what they were. One host for all of it, because each step
//! stands on the one before, as in the life of a machine.
//!
//! What the "newer build" is: the same programs with a few bytes more at their end. That proves the
//! way of an update, files, units, restarts and checks, and nothing about what two versions of
//! banger think of each other's records; fixtures of older records are tested where those are read.

mod installed;

use std::collections::BTreeSet;

use banger_client::v1::Vm;
use installed::{Installed, Proof, UNITS, block, command, given, package};

/// Where programs are laid down.
const INSTALLED: &str = "/usr/local/bin";

/// How often at least the history has a new agent that took the VM over. Two more start while no
/// server may be there to write it down.
const LIVES: usize = 5;

/// Programs that differ from those installed, in a directory of their own.
fn other_build(host: &Installed, directory: &str) {
    host.sh(&format!(
        "mkdir {directory}; for p in banger banger-server banger-agent; do \
         cp /data/bin/$p {directory}/$p; printf 'built later\\n' >>{directory}/$p; done"
    ));
}

/// The same as in `/data/new`, but for what the script does there.
fn worse_build(host: &Installed, directory: &str, script: &str) {
    host.sh(&format!(
        "mkdir {directory}; ln /data/new/banger* {directory}/; cd {directory}; {script}; chmod 755 *"
    ));
}

/// The very same VM, by everybody's word: the server's, the kernel's, the guest's.
async fn is_the_same(host: &Installed, vm: &Vm, was: &Proof, epoch: u64, after: &str) {
    let now = host.running(vm, epoch).await;
    assert_eq!(host.proof(&now), *was, "after {after}");
    host.note(&format!("the same VM after {after}"));
}

/// The programs in a directory are, byte by byte, those of a build.
fn is_build(host: &Installed, directory: &str, build: &str) {
    host.sh(&format!(
        "for p in banger banger-server banger-agent; do cmp {directory}/$p {build}/$p || exit 1; done"
    ));
}

/// Every file where an installation lays some.
fn files(host: &Installed) -> String {
    host.sh("find /usr/local /etc /usr/lib/systemd /usr/lib/sysusers.d /usr/lib/tmpfiles.d \
         /usr/lib/udev/rules.d /var/lib/banger* ! -type d 2>/dev/null | \
         grep -v -F /etc/.pwd.lock | grep -v -e '^/etc/passwd' -e '^/etc/group' -e '^/etc/.*shadow' | sort")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_vm_outlives_every_restart_update_and_removal_of_banger() {
    let host = Installed::boot("upgrade");
    let sum = given(&host);
    let clean = files(&host);

    let types = |lines: &str| host.ends(0, &format!("set -e; cd /root; {lines}"));
    let first = "docs/FIRST-FLEET.md";
    let said = types(&block(first, "apt-get update && apt-get install -y ./banger_*.deb openssl"));
    assert!(said.contains("enabled banger-server.service"), "{said}");
    host.sh("systemctl is-enabled banger-server && ! systemctl is-active banger-server && \
         ! test -e /usr/local/bin/banger-agent && systemctl start banger-server");
    // The command that is installed now brings the other part, from the package.
    let host_block = block(first, "apt-get update && apt-get install -y ./banger_*.deb curl");
    let said = types(&host_block.replace("HEX", &sum));
    assert!(said.contains("this host has joined no fleet yet"), "{said}");
    assert!(said.contains("installed /usr/local/bin/firecracker"), "{said}");
    is_build(&host, INSTALLED, "/data/bin");
    // The other page's words for a host say the same, and ask what guests of several people need.
    let again = block("deploy/README.md", "deploy/get-firecracker.sh --sha256 HEX");
    let (before, doctor) = again.split_once("banger-agent doctor --production").expect("it asks");
    types(&before.replace("HEX", &sum));
    let (_, said) = host.try_sh(&format!("banger-agent doctor --production{doctor}"));
    assert!(said.contains("Firecracker's recommendations for hosts in production:"), "{said}");
    host.join().await;
    host.sh("cp /data/agent/images/* /var/lib/banger-agent/images/");
    let vm = Box::pin(host.create("kept")).await;
    let was = host.proof(&vm);
    assert!(was.cgroup.contains("/banger.slice/banger-guests.slice/"), "{}", was.cgroup);
    assert!(was.disk.starts_with("boots 1 "), "{}", was.disk);
    let pid = was.process.pid;

    // Restarted, stopped and started, killed.
    let mut epoch = host.epoch().await;
    for unit in UNITS {
        host.sh(&format!("systemctl restart {unit}"));
    }
    is_the_same(&host, &vm, &was, epoch, "restart").await;
    epoch = host.epoch().await;
    host.sh("systemctl stop banger-agent banger-server");
    host.sh(&format!("test \"$(cat /proc/{pid}/comm)\" = firecracker"));
    host.sh("systemctl start banger-server banger-agent");
    is_the_same(&host, &vm, &was, epoch, "stop and start").await;
    for unit in UNITS.iter().rev() {
        epoch = host.epoch().await;
        host.sh(&format!("systemctl kill --kill-whom=main -s KILL {unit}"));
        let after = if *unit == "banger-agent" { epoch } else { 0 };
        is_the_same(&host, &vm, &was, after, &format!("kill -9 of {unit}")).await;
    }

    // Updated by another build, with a unit that is older than the build's.
    let unit = "/etc/systemd/system/banger-agent.service";
    host.sh(&format!(
        "sed -i 's/^Type=notify/Type=notify\\nEnvironment=OLDER=yes/' {unit}; \
         systemctl daemon-reload"
    ));
    epoch = host.epoch().await;
    other_build(&host, "/data/new");
    let update = block("deploy/README.md", "NEW/banger system update");
    let update = command(&update).replace("NEW", "/data/new");
    let said = host.ends(0, &format!("{update} --timeout 3m"));
    assert!(said.contains("the VM kept its process: same pid, same start"), "{said}");
    is_the_same(&host, &vm, &was, epoch, "update").await;
    is_build(&host, INSTALLED, "/data/new");
    let shown = host.sh("systemctl show -p Environment -p NeedDaemonReload banger-agent");
    assert_eq!(shown, "Environment=\nNeedDaemonReload=no");
    host.sh(&format!("grep -q OLDER {unit}.old"));
    let said = host.ends(0, "banger system status");
    assert!(said.contains("1 VM runs."), "{said}");
    assert!(!said.contains("ANOTHER") && !said.contains("another release"), "{said}");

    // A build that does not even start changes nothing; one that ends at once is taken back.
    worse_build(
        &host,
        "/data/dead",
        "rm banger-server; printf '#!/bin/sh\\nexit 1\\n' >banger-server",
    );
    epoch = host.epoch().await;
    let said = host.ends(1, "banger system update --from /data/dead");
    assert!(said.contains("nothing was changed"), "{said}");
    is_build(&host, INSTALLED, "/data/new");
    assert_eq!(host.epoch().await, epoch, "nothing was restarted");
    worse_build(
        &host,
        "/data/broken",
        "cp banger-server newer; printf 'later still\\n' >>newer; mv newer banger-server; \
         rm banger-agent; printf '#!/bin/sh\\n[ \"$1\" != run ] && exec /data/bin/banger-agent \"$@\"\\nexit 1\\n' \
         >banger-agent",
    );
    let said = host.ends(1, "banger system update --from /data/broken --timeout 3m");
    assert!(said.contains("the update was rolled back"), "{said}");
    is_build(&host, INSTALLED, "/data/new");
    is_the_same(&host, &vm, &was, epoch, "an update that was rolled back").await;

    // The build before is still there to go back to.
    is_build(&host, "/var/lib/banger-system/previous", "/data/bin");
    let back = block("deploy/README.md", "banger system update --from /var/lib");
    for build in ["/data/bin", "/data/new"] {
        epoch = host.epoch().await;
        host.ends(0, &format!("{} --timeout 3m", command(&back)));
        is_build(&host, INSTALLED, build);
        is_the_same(&host, &vm, &was, epoch, &format!("going back to {build}")).await;
    }

    // As a package: its scripts do what the commands do, and no more.
    package(&host, "0.1.1", "/data/banger.deb");
    epoch = host.epoch().await;
    host.ends(0, "dpkg -i /data/banger.deb");
    is_build(&host, INSTALLED, "/data/bin");
    is_the_same(&host, &vm, &was, epoch, "an upgrade of the package").await;
    let (code, said) = host.try_sh("dpkg -r banger");
    assert!(code != 0 && said.contains("guests run here, those of 1 VM"), "{code}: {said}");
    host.sh("dpkg -s banger | grep -q '^Status: .* installed'; test -x /usr/local/bin/banger");
    is_the_same(&host, &vm, &was, 0, "a removal of the package that was refused").await;

    // Not uninstalled under a VM, unless told; installed again, the VM is taken over again.
    let said = host.ends(4, "banger system uninstall --yes");
    assert!(said.contains("guests run here, those of 1 VM"), "{said}");
    epoch = host.epoch().await;
    host.ends(0, "banger system uninstall --yes --vms-may-keep-running");
    host.sh(&format!("test \"$(cat /proc/{pid}/comm)\" = firecracker; ! test -e {unit}"));
    host.ends(0, "/data/bin/banger system install");
    is_the_same(&host, &vm, &was, epoch, "uninstall and install").await;

    // systemd never ended a guest.
    let journal = host.sh("journalctl --no-pager -q -o cat _PID=1");
    assert!(journal.contains("Stopping banger-agent.service"), "the journal has it:\n{journal}");
    let touched = |line: &&str| {
        let stops = ["Stopping", "Stopped", "Removed", "Killing", "Sent signal", "oom"];
        stops.iter().any(|word| line.contains(word))
            && ["slice", "firecracker", &vm.id].iter().any(|word| line.contains(word))
            && line.contains("banger")
    };
    let touched: Vec<_> = journal.lines().filter(touched).collect();
    assert!(touched.is_empty(), "{touched:#?}");
    // And banger neither: after it ran, agents took it over, and that is all of its history.
    let history = host.history(&vm).await;
    let first = history.iter().position(|(event, _)| event == "RUNNING").expect("it ran");
    let adopted = ("RUNNING".to_owned(), "ADOPTED".to_owned());
    assert!(history[first + 1..].iter().all(|event| *event == adopted), "{history:?}");
    assert!(history.len() > first + LIVES, "{history:?}");

    // A guest that does not outlive an update, here by the hand of whoever wrote this drop-in: the
    // update is taken back, and says which VM was lost.
    host.sh(&format!(
        "mkdir /etc/systemd/system/banger-agent.service.d; touch /run/fault; \
         printf '[Service]\\nExecStartPre=-+/bin/sh -c \"rm /run/fault && kill -9 {pid}\"\\n' \
         >/etc/systemd/system/banger-agent.service.d/fault.conf; systemctl daemon-reload"
    ));
    let said = host.ends(1, "banger system update --from /data/new --timeout 3m");
    assert!(said.contains(&format!("VM {} is LOST: pid {pid} is gone", vm.id)), "{said}");
    assert!(said.contains("error: the update was rolled back"), "{said}");
    is_build(&host, INSTALLED, "/data/bin");
    host.sh("rm -r /etc/systemd/system/banger-agent.service.d; systemctl daemon-reload");

    // And nothing stays of it when it is told so; the package can go then.
    let said = host.ends(2, "banger system uninstall --yes --purge --vms-may-keep-running");
    assert!(said.contains("cannot be used with"), "{said}");
    host.delete(&vm).await;
    // Typed as the page says, to a terminal on which it asks.
    let uninstall = block("deploy/README.md", "banger system uninstall --purge");
    host.sh("echo y >/root/answer");
    let typed = format!("script -qec '{}' /dev/null </root/answer", command(&uninstall));
    let said = host.ends(0, &typed);
    // The images that were put there above.
    let kept = "kept what banger did not make: /var/lib/banger-agent/images/";
    assert!(said.contains(kept), "{said}");
    host.sh("rm -r /var/lib/banger-agent/images; rmdir /var/lib/banger-agent");
    host.ends(0, "dpkg -r banger");
    let left = files(&host);
    let (left, clean): (BTreeSet<_>, BTreeSet<_>) =
        (left.lines().collect(), clean.lines().collect());
    let left: Vec<_> = left.symmetric_difference(&clean).collect();
    let theirs = [format!("{unit}.old")];
    let vmm = ["firecracker", "jailer"].map(|program| format!("{INSTALLED}/{program}"));
    let all: Vec<&str> = theirs.iter().chain(&vmm).map(String::as_str).collect();
    assert_eq!(left, all.iter().collect::<Vec<_>>(), "nothing but what somebody put there");
    host.sh("! id banger 2>/dev/null; ! pgrep -l banger; ! pgrep firecracker; test -z \"$(losetup -a)\"");
    host.host.power_off().expect("powers off");
}

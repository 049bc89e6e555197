//! Uninstalling on a machine that runs, with a VM on it.

use super::*;
use crate::args::RootDir;
use crate::fixtures::{Fake, VM};
use crate::laydown::Laydown;
use crate::payload;
use banger_terminal::args::Format;
use banger_terminal::args::Yes;

const YES: Yes = Yes { yes: true };

/// A machine on which everything was laid down by a release.
fn installed() -> Fake {
    let fake = Fake::new();
    let disk = fake.disk();
    let from = fake.release("release 1", "release 1");
    let earlier = Record::default();
    let plan = Laydown::plan(&disk, payload::own(), &from, &Part::ALL, &earlier).unwrap();
    plan.apply(&disk).unwrap();
    plan.record(&Part::ALL, &earlier).save(&disk).unwrap();
    std::fs::create_dir_all(fake.dir.path().join("var/lib/banger-agent/vms").join(VM)).unwrap();
    fake
}

async fn uninstall_with(fake: &Fake, keep: bool, purge: bool) -> Result<(), Failure> {
    let root = RootDir { root: None };
    let args = UninstallArgs { vms_may_keep_running: keep, purge, yes: YES, root };
    uninstall(fake, &fake.disk(), Printer::new(Format::Name), args).await
}

#[tokio::test]
async fn a_vm_that_runs_forbids_it_and_nothing_is_done() {
    let fake = installed();
    for purge in [false, true] {
        let failure = uninstall_with(&fake, false, purge).await.unwrap_err();
        assert!(matches!(failure, Failure::Conflict(_)), "{failure:?}");
        assert!(
            failure.message().starts_with("guests run here, those of 1 VM:"),
            "{}",
            failure.message()
        );
    }
    assert!(fake.state.borrow().calls.is_empty());
    assert!(fake.has("usr/local/bin/banger-agent"));
}

#[tokio::test]
async fn told_so_it_goes_and_the_vm_stays() {
    let fake = installed();
    uninstall_with(&fake, true, false).await.unwrap();
    assert_eq!(
        fake.state.borrow().calls,
        [
            "systemctl disable --now banger-agent.service banger-server.service",
            "systemctl daemon-reload"
        ]
    );
    assert!(!fake.has("usr/local/bin/banger-agent"));
    assert!(!fake.has("etc/systemd/system/banger-guests.slice"));
    assert_eq!(fake.text("etc/banger/server.toml"), "# mine\n", "changed by somebody");
    assert!(!fake.has("etc/banger/server.toml.new"), "put beside it by us");
    assert!(fake.has(&format!("var/lib/banger-agent/vms/{VM}")));
    assert_eq!(fake.text("var/lib/banger-server/banger.db"), "format 1");
}

#[tokio::test]
async fn a_purge_takes_state_and_user_once_there_is_no_vm() {
    let fake = installed();
    fake.state.borrow_mut().guests.clear();
    let failure = uninstall_with(&fake, false, true).await.unwrap_err();
    assert!(
        failure
            .message()
            .ends_with("has the disks of 1 VM: delete them first, so that the server knows"),
        "{}",
        failure.message()
    );
    let vms = fake.dir.path().join("var/lib/banger-agent/vms");
    std::fs::remove_dir(vms.join(VM)).unwrap();
    std::fs::write(vms.join("ballast"), "the agent's own").unwrap();
    fake.put("etc/passwd", "root:x:0:0::/:/bin/sh\nbanger:x:990:990::/:/sbin/nologin\n");
    uninstall_with(&fake, false, true).await.unwrap();
    for path in
        ["var/lib/banger-agent", "var/lib/banger-server", "var/lib/banger-system", "etc/banger"]
    {
        assert!(!fake.has(path), "{path}");
    }
    assert_eq!(fake.state.borrow().calls.last().unwrap(), "userdel banger");
}

/// Somebody gave the services directories that they had files in.
#[tokio::test]
async fn a_purge_takes_what_banger_made_and_leaves_and_names_the_rest() {
    let fake = installed();
    fake.state.borrow_mut().guests.clear();
    fake.put("etc/banger/server.toml", "state_dir = \"/srv/data\"\n");
    std::fs::remove_dir(fake.dir.path().join("var/lib/banger-agent/vms").join(VM)).unwrap();
    let made = [
        "srv/data/banger.db",
        "srv/data/banger.db-wal",
        "srv/data/banger.lock",
        "srv/data/ca/ca.key",
        "srv/data/images/sha256/abc",
        "srv/data/before-restore-2026-01-01/banger.db",
        "var/lib/banger-agent/agent.json",
        "var/lib/banger-agent/images/sha256-abc",
        "var/lib/banger-agent/jails/firecracker/x/root/y",
    ];
    let theirs = [
        "srv/data/precious",
        "srv/data/ca/of-somebody.pem",
        "srv/data/photos/banger.db",
        "srv/elsewhere/banger.db",
        "var/lib/banger-agent/images/vmlinux-mine",
    ];
    made.iter().chain(&theirs).for_each(|path| fake.put(path, "x"));
    let link = fake.dir.path().join("srv/data/images/blobs");
    std::os::unix::fs::symlink(fake.dir.path().join("srv/elsewhere"), &link).unwrap();
    // And one in place of a directory of its own leads no further either.
    fake.put("srv/other/host.json", "x");
    let room = fake.dir.path().join("var/lib/banger-agent/identity");
    let _ = std::fs::remove_dir_all(&room);
    std::os::unix::fs::symlink(fake.dir.path().join("srv/other"), &room).unwrap();
    let disk = fake.disk();
    let (server, agent) = (Path::new("/srv/data"), Path::new("/var/lib/banger-agent"));
    uninstall_with(&fake, false, true).await.unwrap();
    for path in made {
        assert!(!fake.has(path), "{path}");
    }
    for path in theirs {
        assert!(fake.has(path), "{path}");
    }
    assert!(link.symlink_metadata().is_err() && !fake.has("srv/data/images"));
    let left = |part, dir| state::purge(&disk, part, dir).unwrap();
    let of_server = ["ca/of-somebody.pem", "photos", "precious"].map(|path| server.join(path));
    assert_eq!(left(Part::Server, server), Purged { removed: false, left: of_server.to_vec() });
    assert!(fake.has("srv/other/host.json") && room.symlink_metadata().is_ok());
    let of_agent = vec![agent.join("identity"), agent.join("images/vmlinux-mine")];
    assert_eq!(left(Part::Agent, agent), Purged { removed: false, left: of_agent.clone() });
    assert_eq!(named(&of_agent[1..]), "/var/lib/banger-agent/images/vmlinux-mine");
    let many: Vec<_> = (0..12).map(|n| PathBuf::from(format!("/{n}"))).collect();
    assert!(named(&many).ends_with("/9 and 2 more"), "{}", named(&many));
}

#[tokio::test]
async fn an_install_that_ended_half_way_is_undone_also_where_systemd_does_not_run() {
    for without_systemd in [false, true] {
        let fake = Fake::new();
        let disk = fake.disk();
        let from = fake.release("release 1", "release 1");
        let earlier = Record::default();
        let plan = Laydown::plan(&disk, payload::own(), &from, &Part::ALL, &earlier).unwrap();
        plan.record(&Part::ALL, &earlier).save(&disk).unwrap();
        let unit = include_str!("../../../systemd/banger-server.service");
        fake.put("etc/systemd/system/banger-server.service", unit);
        crate::links::enable(&disk, &[Part::Server]).unwrap();
        {
            let mut state = fake.state.borrow_mut();
            state.guests.clear();
            state.without_systemd = without_systemd;
        }
        uninstall_with(&fake, false, true).await.unwrap();
        for path in ["etc/systemd/system/banger-server.service", "var/lib/banger-system"] {
            assert!(!fake.has(path), "{path}");
        }
        let calls = fake.state.borrow().calls.join(", ");
        assert!(!calls.contains("userdel"), "there is no such user: {calls}");
        if without_systemd {
            assert_eq!(calls, "");
            let link = "etc/systemd/system/multi-user.target.wants/banger-server.service";
            assert!(fake.dir.path().join(link).symlink_metadata().is_err(), "still enabled");
        }
    }
}

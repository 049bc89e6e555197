//! Updates that go well, and every way in which they do not, on a machine that keeps its word or
//! breaks it (`fixtures`).

use std::path::PathBuf;

use super::*;
use crate::fixtures::{Fake, VM};
use crate::payload;
use banger_terminal::args::Format;

const GOOD: &str = "release 2";

/// One update; how it ended and what it told.
async fn update(fake: &Fake, from: PathBuf) -> (Result<(), Failure>, String) {
    let disk = fake.disk();
    let earlier = Record::load(&disk).unwrap().unwrap_or_default();
    let parts = installed(&disk).unwrap();
    let plan = Laydown::plan(&disk, payload::own(), &from, &parts, &earlier).unwrap();
    let limit = Duration::from_secs(1);
    let update = Update { machine: fake, disk: &disk, plan, parts, limit };
    let mut journal = Journal::new(Printer::new(Format::Name), "update");
    let done = update.run(&from, &earlier, &mut journal).await;
    (done, journal.text().replace(&fake.dir.path().display().to_string(), ""))
}

/// The machine is as before: programs, units, VM.
fn is_as_before(fake: &Fake) {
    for program in ["banger", "banger-server", "banger-agent"] {
        assert_eq!(fake.text(&format!("usr/local/bin/{program}")), "release 1");
    }
    for unit in ["banger-server.service", "banger-agent.service", "banger-guests.slice"] {
        assert!(!fake.has(&format!("etc/systemd/system/{unit}")), "{unit} was not there");
    }
    assert_eq!(fake.text("etc/banger/server.toml"), "# mine\n");
    assert!(!fake.has("etc/banger/server.toml.new"));
    assert!(!fake.has("var/lib/banger-system/saving"));
    assert!(!fake.has("var/lib/banger-system/installed.json"));
}

fn calls(fake: &Fake) -> Vec<String> {
    fake.state.borrow().calls.clone()
}

#[tokio::test]
async fn a_good_update_keeps_every_vm_and_says_so() {
    let fake = Fake::new();
    let (done, told) = update(&fake, fake.release(GOOD, GOOD)).await;
    assert!(done.is_ok(), "{told}");
    insta::assert_snapshot!("a_good_update", told);
    insta::assert_snapshot!("a_good_update_runs", calls(&fake).join("\n"));
    assert_eq!(fake.text("usr/local/bin/banger-agent"), GOOD);
    assert_eq!(fake.text("etc/banger/server.toml"), "# mine\n");
    assert_eq!(fake.text("var/lib/banger-system/previous/banger-agent"), "release 1");
    assert_eq!(fake.text("var/lib/banger-system/previous/database/banger.db"), "format 1");
}

#[tokio::test]
async fn no_call_ever_stops_a_guest() {
    for agent in [GOOD, "release 2 crashes", "release 2 ends VMs", "release 2 never ready"] {
        let fake = Fake::new();
        update(&fake, fake.release(GOOD, agent)).await.0.ok();
        for call in calls(&fake) {
            let stops = ["stop", "kill", "isolate"].iter().any(|word| call.contains(word));
            let servers = call == "systemctl stop banger-server.service";
            assert!(!stops || servers, "{call}");
            assert!(!call.contains("slice"), "{call}");
        }
    }
}

#[tokio::test]
async fn a_program_that_does_not_run_or_take_the_configuration_changes_nothing() {
    for (server, agent) in [
        ("release 2 does not run", GOOD),
        (GOOD, "release 2 does not run"),
        ("release 2 is picky", GOOD),
    ] {
        let fake = Fake::new();
        let (done, told) = update(&fake, fake.release(server, agent)).await;
        let error = done.unwrap_err().message();
        assert!(error.starts_with("nothing was changed: "), "{error}\n{told}");
        is_as_before(&fake);
        assert!(!calls(&fake).iter().any(|call| call.starts_with("systemctl")));
    }
}

#[tokio::test]
async fn whatever_is_wrong_with_a_new_program_everything_is_put_back() {
    for (server, agent, why) in [
        (GOOD, "release 2 crashes", "Job for banger-agent.service failed."),
        (GOOD, "release 2 never ready", "banger-agent.service is not well: connection refused"),
        (GOOD, "release 2 tells nothing", "the server says UNKNOWN"),
        ("release 2 crashes", GOOD, "Job for banger-server.service failed."),
        ("release 2 never ready", GOOD, "banger-server.service is not well: connection refused"),
    ] {
        let fake = Fake::new();
        let (done, told) = update(&fake, fake.release(server, agent)).await;
        let error = done.unwrap_err().message();
        assert!(error.starts_with("the update was rolled back: "), "{error}\n{told}");
        assert!(error.contains(why), "{error}\n{told}");
        assert!(told.contains("the VM kept its process"), "{told}");
        is_as_before(&fake);
        let fleet = fake.fleet("h").await.unwrap();
        assert!(fleet.online && fleet.vms[VM].process == Some((77, 1234)), "{fleet:?}");
    }
}

#[tokio::test]
async fn a_vm_that_is_lost_is_named_and_the_update_taken_back() {
    let fake = Fake::new();
    let (done, told) = update(&fake, fake.release(GOOD, "release 2 ends VMs")).await;
    let error = done.unwrap_err().message();
    assert!(error.contains(&format!("VM {VM} is LOST: pid 77 is gone")), "{error}");
    assert!(told.contains("0 of 1 VM kept the process it had"), "{told}");
    is_as_before(&fake);
}

#[tokio::test]
async fn without_the_server_the_agents_own_count_decides() {
    for (agent, good) in [(GOOD, true), ("release 2 tells nothing", false)] {
        let fake = Fake::new();
        fake.state.borrow_mut().api = false;
        let (done, told) = update(&fake, fake.release(GOOD, agent)).await;
        assert!(told.contains("the server cannot be asked (no token)"), "{told}");
        assert_eq!(done.is_ok(), good, "{told}");
        if let Err(failure) = done {
            let error = failure.message();
            assert!(error.contains("the agent has taken over 0 of 1 VM"), "{error}");
        }
    }
}

#[tokio::test]
async fn a_database_that_the_old_server_reads_is_not_turned_back() {
    let fake = Fake::new();
    let (done, told) = update(&fake, fake.release(GOOD, "release 2 crashes")).await;
    assert!(done.is_err());
    assert!(!told.contains("forgotten"), "{told}");
    assert!(!calls(&fake).iter().any(|call| call.contains("new-epoch")));
}

#[tokio::test]
async fn a_database_that_the_old_server_cannot_read_comes_back_with_a_new_epoch() {
    let fake = Fake::new();
    let server = "release 2 migrates";
    let (done, told) = update(&fake, fake.release(server, "release 2 crashes")).await;
    assert!(done.unwrap_err().message().starts_with("the update was rolled back: "), "{told}");
    assert!(told.contains("what was asked of the server since then is forgotten"), "{told}");
    assert_eq!(fake.text("var/lib/banger-server/banger.db"), "format 1");
    let epoch = "runuser -u banger -- /usr/local/bin/banger-server new-epoch --config \
                 /etc/banger/server.toml";
    assert!(calls(&fake).contains(&epoch.to_owned()), "{:#?}", calls(&fake));
    is_as_before(&fake);
}

#[tokio::test]
async fn what_does_not_run_is_not_started() {
    let fake = Fake::new();
    fake.stop("banger-server.service");
    let (done, told) = update(&fake, fake.release("release 2 crashes", GOOD)).await;
    assert!(done.is_ok(), "{told}");
    assert!(told.contains("banger-server.service does not run, and is not started"), "{told}");
    assert!(!calls(&fake).iter().any(|call| call.contains("start banger-server")));
}

#[tokio::test]
async fn what_was_before_is_a_release_to_go_back_to() {
    let fake = Fake::new();
    update(&fake, fake.release(GOOD, GOOD)).await.0.unwrap();
    let previous = fake.dir.path().join("var/lib/banger-system/previous");
    let (done, told) = update(&fake, previous).await;
    assert!(done.is_ok(), "{told}");
    assert_eq!(fake.text("usr/local/bin/banger-server"), "release 1");
    assert_eq!(fake.text("var/lib/banger-system/previous/banger-server"), GOOD);
}

#[tokio::test]
async fn an_update_that_was_cut_off_does_not_lose_what_was_good() {
    let fake = Fake::new();
    let disk = fake.disk();
    let from = fake.release("release 2 crashes", GOOD);
    let parts = installed(&disk).unwrap();
    let plan = Laydown::plan(&disk, payload::own(), &from, &parts, &Record::default()).unwrap();
    // The power fails with half of the files swapped.
    Saved::take(&disk, &plan, &parts).unwrap();
    fake.put("usr/local/bin/banger-server", "release 2 crashes");
    let (done, told) = update(&fake, from).await;
    assert!(done.is_err(), "{told}");
    is_as_before(&fake);
}

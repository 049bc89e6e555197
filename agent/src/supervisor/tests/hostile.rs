//! Those who may run programs on the host and mean no good: a VMM that was taken over, in its jail;
//! and somebody who may log in.

use super::*;
use crate::inventory::sweep::Asker;
use crate::inventory::{Kind, Standing};

/// How the agent comes to look.
#[derive(Debug, Clone, Copy)]
enum Life {
    /// It goes on.
    Same,
    /// It was started again.
    Restarted,
    /// It was started again and has lost its hints.
    Forgetful,
}

/// VM 1 runs, its VMM is taken over and disguised, with children beside it.
async fn taken_over(life: Life) -> World {
    let mut world = World::running().await;
    let jail = names(1).jail;
    assert!(world.kernel.disguise(&jail, "kworker/u4:1"));
    world.kernel.fork_in_jail(&jail, "sh").expect("a child");
    world.kernel.fork_in_jail(&jail, "firecracker").expect("a child");
    match life {
        Life::Same => {}
        Life::Restarted => world.restart().await,
        Life::Forgetful => {
            world
                .dead_while(vm_id(1), async |kernel| {
                    kernel.set_file(&names(1).dir, &part(file::HANDLES), None);
                })
                .await;
        }
    }
    world
}

#[tokio::test(start_paused = true)]
async fn a_vmm_that_was_taken_over_is_kept_as_the_vms_process_whatever_it_calls_itself() {
    for life in [Life::Same, Life::Restarted, Life::Forgetful] {
        let mut world = taken_over(life).await;
        let before = world.kernel.process_of(&names(1).jail).map(|process| process.pid);
        // An assignment that changes nothing makes it look.
        world.assign(assignment_of(1, 1, 2, Power::Running)).await;
        let report = world.settles(1, Phase::Running).await;
        assert_eq!(report.process.as_ref().map(|process| process.pid), before, "{life:?}");
        assert_eq!(world.kernel.violations(), Vec::<String>::new(), "{life:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_vmm_that_was_taken_over_ends_with_all_it_started_when_its_vm_is_stopped_or_deleted() {
    for life in [Life::Same, Life::Restarted, Life::Forgetful] {
        for power in [Power::Stopped, Power::Absent] {
            let mut world = taken_over(life).await;
            world.assign(assignment_of(1, 1, 2, power)).await;
            match power {
                Power::Absent => world.gone(1).await,
                _ => drop(world.settles(1, Phase::Stopped).await),
            }
            assert_eq!(world.kernel.members(&names(1).jail), 0, "{life:?} {power:?}");
            assert_eq!(world.left_beside_files(), Vec::<String>::new(), "{life:?} {power:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn what_a_dead_vmm_started_does_not_keep_its_vm_from_being_started_again() {
    let mut world = World::running().await;
    let jail = names(1).jail;
    world.kernel.fork_in_jail(&jail, "sh").expect("a child");
    assert!(world.kernel.crash(&jail, ExitStatus::Signal(11)));
    let mut again = assignment_of(1, 1, 2, Power::Running);
    again.boot_number = 2;
    world.assign(again).await;
    world.settles(1, Phase::Running).await;
    assert_eq!(world.kernel.members(&jail), 1);
    assert_eq!(world.kernel.violations(), Vec::<String>::new());
}

#[tokio::test(start_paused = true)]
async fn a_local_user_who_imitates_a_vmm_keeps_no_vm_from_anything() {
    let id = names(1).jail.to_string();
    let named = format!("banger-{id}");
    for restarts in [false, true] {
        let mut world = World::new().await;
        let socket = world.kernel.host().jails.api_socket_path(&names(1).jail);
        let socket = socket.to_string_lossy().into_owned();
        let forgeries: [(&str, &[&str]); 4] = [
            ("firecracker", &["firecracker", "--api-sock", &socket, "--id", &id]),
            ("jailer", &["jailer", "--id", &id]),
            ("banger-agent", &["banger-agent", "jail-qemu", "--id", &id]),
            ("qemu-system-x86", &["qemu-system-x86_64", "-name", &named]),
        ];
        let forgers: Vec<_> = forgeries
            .iter()
            .map(|(comm, words)| world.kernel.spawn_as(1000, comm, words))
            .collect();
        world.assign(assignment_of(1, 1, 1, Power::Stopped)).await;
        world.settles(1, Phase::Stopped).await;
        let mut generation = 1;
        for (power, phase) in [(Power::Running, Phase::Running), (Power::Stopped, Phase::Stopped)] {
            if restarts {
                world.restart().await;
            }
            generation += 1;
            world.assign(assignment_of(1, 1, generation, power)).await;
            let report = world.settles_well(1, phase).await;
            let pid = report.process.as_ref().map(|process| process.pid);
            assert!(forgers.iter().all(|forger| Some(forger.pid) != pid), "{report:?}");
        }
        if restarts {
            world.restart().await;
        }
        let listed = world.agent.inventory(&BTreeSet::new()).await.expect("the host is read").0;
        assert!(listed.iter().all(|listed| listed.object.kind() != Kind::Process), "{listed:?}");
        world.assign(assignment_of(1, 1, 9, Power::Absent)).await;
        world.gone(1).await;
        // None of them was signalled, which the machine would have told.
        assert_eq!(world.kernel.violations(), Vec::<String>::new());
        for forger in forgers {
            assert!(world.kernel.end_process(forger.pid), "it was there to the end");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_disguised_vmm_whose_record_is_lost_is_listed_and_ends_when_people_ask() {
    let mut world = taken_over(Life::Same).await;
    world
        .dead_while(vm_id(1), async |kernel| {
            kernel.host().files.remove_dir(&names(1).dir).await.expect("removed");
        })
        .await;
    let listed = world.agent.inventory(&BTreeSet::new()).await.expect("the host is read").0;
    let processes = listed.iter().filter(|listed| listed.object.kind() == Kind::Process);
    let standings: Vec<_> = processes.map(|listed| listed.object.standing.clone()).collect();
    assert_eq!(standings, [Standing::Lost], "the first stands for all");
    tokio::time::sleep(SweepSettings::default().grace).await;
    let asker = Asker::People { actor: "ann".to_owned(), claimed: BTreeSet::new() };
    world.agent.sweep(&asker, false).await.expect("the host is read");
    assert_eq!(world.kernel.members(&names(1).jail), 0);
}

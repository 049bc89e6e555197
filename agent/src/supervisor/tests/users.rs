//! Guests that run while their agent comes to give out other user ids.

use super::super::harness::{World, names, start_with};
use super::*;

const OTHERS: u32 = 300_000;

/// The user that VM 1 is pinned as.
async fn pinned_user(world: &World) -> u32 {
    let pin = world.kernel.host().pins.observe(&names(1).rules).await.unwrap();
    pin.expect("it is pinned").uid
}

#[tokio::test(start_paused = true)]
async fn a_guest_keeps_its_user_when_its_agent_gives_out_others() {
    for hints in [None, Some("as they are"), Some("of an agent that noted no user")] {
        let mut world = World::running().await;
        let before = world.report(vm_id(1)).unwrap();
        let user = world.kernel.process_of(&names(1).jail).unwrap().user.unwrap();
        assert_eq!(pinned_user(&world).await, user);
        world.agent.shutdown(Duration::from_secs(1)).await;
        let (dir, handles) = (&names(1).dir, part(file::HANDLES));
        match hints {
            None => assert!(world.kernel.set_file(dir, &handles, None)),
            Some("as they are") => {}
            Some(_) => {
                let text = String::from_utf8(world.kernel.file(dir, &handles).unwrap()).unwrap();
                let mut hints: serde_json::Value = serde_json::from_str(&text).unwrap();
                let process = hints["process"].as_object_mut().unwrap();
                assert_eq!(process.remove("user"), Some(user.into()));
                assert!(world.kernel.set_file(dir, &handles, Some(hints.to_string().as_bytes())));
            }
        }
        world.kernel.clear_trace();
        world.kernel.new_agent();
        world.agent = start_with(&world.kernel, |parts| parts.settings.uid_base = OTHERS).await;
        let after = world.settles_well(1, Phase::Running).await;
        assert_eq!(after.process, before.process, "{hints:?}");
        assert_eq!(pinned_user(&world).await, user, "{hints:?}");
        assert!(!traced(&world, "pins.ensure"), "{hints:?}: {:#?}", world.kernel.trace());
        assert!(!traced(&world, "taps.ensure "), "{hints:?}: {:#?}", world.kernel.trace());
        // A process that is started from now on is one of the others.
        world.assign(assignment_of(1, 1, 2, Power::Stopped)).await;
        world.settles(1, Phase::Stopped).await;
        world.assign(assignment_of(1, 1, 3, Power::Running)).await;
        world.settles(1, Phase::Running).await;
        let user = world.kernel.process_of(&names(1).jail).unwrap().user;
        assert_eq!(user, Some(OTHERS + 2), "{hints:?}");
        assert_eq!(pinned_user(&world).await, OTHERS + 2, "{hints:?}");
    }
}

//! An image that a VM stands on is not taken away.

use super::*;
use crate::host::{Change, ImageKind, ImageName};

fn name(text: &str) -> ImageName {
    ImageName::new(text).expect("a name")
}

#[tokio::test(start_paused = true)]
async fn an_image_goes_only_when_no_vm_refers_to_it_and_no_device_lies_over_it() {
    let mut world = World::running().await;
    let record = assignment_of(1, 1, 1, Power::Running).shape.expect("given");
    let busy = async |world: &World| {
        for image in [&record.kernel.name, &record.root_image.name] {
            let refused = world.agent.remove_image(image).await.expect_err("in use");
            assert_eq!(refused.kind, HostErrorKind::Busy, "{image}");
        }
    };
    busy(&world).await;
    world.assign(assignment_of(1, 1, 2, Power::Stopped)).await;
    world.settles(1, Phase::Stopped).await;
    // It may be started again.
    busy(&world).await;
    world.restart().await;
    busy(&world).await;
    world.assign(assignment_of(1, 1, 3, Power::Absent)).await;
    world.gone(1).await;
    for image in [&record.kernel.name, &record.root_image.name] {
        assert_eq!(world.agent.remove_image(image).await.expect("unused"), Change::Made);
        assert_eq!(world.agent.remove_image(image).await.expect("gone"), Change::AlreadySo);
    }
}

#[tokio::test(start_paused = true)]
async fn an_image_that_no_vm_of_the_host_names_goes_beside_those_that_are_used() {
    let mut world = World::running().await;
    world.kernel.add_image(&name("unrelated"), ImageKind::Root, b"root");
    let removed = world.agent.remove_image(&name("unrelated")).await.expect("unused");
    assert_eq!(removed, Change::Made);
    world.settles(1, Phase::Running).await;
}

#[tokio::test(start_paused = true)]
async fn while_a_record_is_lost_nobody_knows_what_is_used_and_nothing_goes() {
    let mut world = World::running().await;
    world.agent.shutdown(Duration::from_secs(1)).await;
    assert!(world.kernel.set_file(&names(1).dir, &part(file::RECORD), Some(b"torn")));
    world.restart().await;
    world.kernel.add_image(&name("unrelated"), ImageKind::Root, b"root");
    let refused = world.agent.remove_image(&name("unrelated")).await.expect_err("unknown");
    assert_eq!(refused.kind, HostErrorKind::Busy);
}

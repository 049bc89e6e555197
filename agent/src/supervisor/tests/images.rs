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
async fn the_image_below_a_disk_stays_though_the_spec_names_another() {
    let mut world = World::running().await;
    let newer = |generation, power| {
        let mut other = assignment_of(1, 1, generation, power);
        let shape = other.shape.as_mut().expect("given");
        shape.root_image.name = name("newer");
        shape.root_image.sha256 = None;
        other
    };
    let old = assignment_of(1, 1, 1, Power::Running).shape.expect("given").root_image.name;
    // Until it is started over the other one its disk is what the guest wrote, over the old one:
    // the spec may yet be changed back.
    world.assign(newer(2, Power::Stopped)).await;
    world.settles(1, Phase::Stopped).await;
    for restarted in [false, true] {
        if restarted {
            world.restart().await;
        }
        let refused = world.agent.remove_image(&old).await.expect_err("its disk lies over it");
        assert_eq!(refused.kind, HostErrorKind::Busy, "restarted: {restarted}");
    }
    // With the start it has moved, and then the old one is nobody's.
    let digest = "5e".repeat(32);
    world.kernel.add_sized_image(&name("newer"), ImageKind::Root, 8 << 20, &digest);
    world.assign(newer(3, Power::Running)).await;
    world.settles(1, Phase::Running).await;
    assert_eq!(world.agent.remove_image(&old).await.expect("unused"), Change::Made);
    let refused = world.agent.remove_image(&name("newer")).await.expect_err("in use");
    assert_eq!(refused.kind, HostErrorKind::Busy);
}

#[tokio::test(start_paused = true)]
async fn a_root_disk_outlives_an_assignment_with_an_image_that_is_not_there() {
    let mut world = World::running().await;
    let disk = async |world: &World| {
        let host = world.kernel.host();
        let seen = host.files.observe(&names(1).dir, &part(file::COW)).await;
        seen.expect("it can be seen").expect("it is there").id
    };
    let (wanted, before) = (assignment_of(1, 1, 1, Power::Running), disk(&world).await);
    let mut other = assignment_of(1, 1, 2, Power::Running);
    other.boot_number += 1;
    other.shape.as_mut().expect("given").root_image.name = name("mistyped");
    world.assign(other).await;
    let report = world.sees(1, Phase::Failed).await;
    assert_eq!(report.fault.as_ref().map(|fault| fault.reason), Some(Reason::RootImageMissing));
    world.passes(Duration::from_secs(300)).await;
    assert_eq!(disk(&world).await, before);
    let old = &wanted.shape.as_ref().expect("given").root_image.name;
    let refused = world.agent.remove_image(old).await.expect_err("the disk lies over it");
    assert_eq!(refused.kind, HostErrorKind::Busy);
    // Set right, it goes on with the disk that it had.
    let mut again = assignment_of(1, 1, 3, Power::Running);
    again.boot_number += 1;
    world.assign(again).await;
    world.settles(1, Phase::Running).await;
    assert_eq!(disk(&world).await, before);
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

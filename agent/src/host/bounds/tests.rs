use super::*;

fn disk() -> DeviceNumber {
    DeviceNumber { major: 253, minor: 4 }
}

fn wanted() -> JailBounds {
    let rates = IoRates { write_bytes: 1 << 20, ..IoRates::default() };
    JailBounds {
        cpu_millis: 500,
        io: IoBounds { rates, devices: vec![disk()] },
        ..JailBounds::of(VmmKind::Firecracker, 2, 512)
    }
}

#[test]
fn what_is_held_as_wanted_differs_in_nothing_and_one_bound_that_moved_does() {
    let (wanted, held) = (wanted(), wanted().held());
    assert!(!wanted.differs(&held));
    assert_eq!((held.cpu_weight, wanted.unheld(&held).len()), (Some(USUAL_WEIGHT), 0));
    for moved in [
        BoundsSeen { memory_bytes: Some(0), ..held.clone() },
        BoundsSeen { tasks: Some(0), ..held.clone() },
        BoundsSeen { cpu_weight: Some(1), ..held.clone() },
        BoundsSeen { cpu_millis: Some(0), ..held.clone() },
        BoundsSeen { io: Some(Vec::new()), ..held.clone() },
    ] {
        assert!(wanted.differs(&moved), "{moved:?}");
    }
    let unasked = JailBounds::of(VmmKind::Firecracker, 2, 512);
    assert!(unasked.differs(&held), "a bound that is wanted no longer goes");
}

#[test]
fn a_controller_that_is_not_there_is_a_reason_only_for_who_asked_for_it() {
    let nothing = BoundsSeen::default();
    let unasked = JailBounds::of(VmmKind::Qemu, 1, 256);
    assert!(!wanted().differs(&nothing) && !unasked.differs(&nothing));
    assert_eq!(wanted().unheld(&nothing), ["cpu", "io"]);
    assert!(unasked.unheld(&nothing).is_empty());
    assert_eq!(nothing.missing(), ["cpu", "io", "memory", "pids"]);
    let mut on_no_device = wanted();
    on_no_device.io.devices.clear();
    assert_eq!(on_no_device.unheld(&on_no_device.held()), ["io"]);
}

use super::*;

fn good() -> wire::Assignment {
    wire::Assignment {
        vm_id: "0192f0c1-2d3e-7a4b-8c5d-6e7f8091a2b3".to_owned(),
        version: Some(wire::Version { epoch: 1, generation: 1 }),
        desired: wire::Power::Running.into(),
        shape: Some(wire::Shape {
            name: "web".to_owned(),
            vcpus: 1,
            memory_mib: 128,
            kernel: Some(wire::Image { name: "vmlinux".to_owned(), sha256: String::new() }),
            root_image: Some(wire::Image {
                name: "debian.ext4".to_owned(),
                sha256: "a".repeat(64),
            }),
            root_disk_mib: 64,
            network: Some(wire::Network {
                guest_address: "10.64.0.2".to_owned(),
                gateway: "10.64.0.1".to_owned(),
                prefix_length: 20,
                mac_address: "02:fc:0a:40:00:02".to_owned(),
                vsock_cid: 3,
                nat: true,
                dns_name: "web.banger".to_owned(),
            }),
            ..wire::Shape::default()
        }),
        boot_number: 1,
        root_disk_number: 1,
        ..wire::Assignment::default()
    }
}

#[test]
fn a_good_assignment_is_read() {
    let read = assignment(Some(good())).expect("good");
    assert_eq!(read.power, Power::Running);
    assert_eq!(read.shape.expect("given").network.address, Ipv4Addr::new(10, 64, 0, 2));
}

#[test]
fn a_shape_that_makes_no_sense_is_refused_with_the_field_named() {
    type Spoil = fn(&mut wire::Assignment, &mut wire::Shape, &mut wire::Network);
    let cases: [(&str, Spoil); 20] = [
        ("assignment.vm_id", |a, _, _| a.vm_id = "../x".to_owned()),
        ("assignment.version", |a, _, _| a.version = None),
        ("assignment.desired", |a, _, _| a.desired = 99),
        ("assignment.stop_grace", |a, _, _| {
            a.stop_grace = Some(prost_types::Duration { seconds: -1, nanos: 0 });
        }),
        ("assignment.shape.name", |_, s, _| s.name = "-rf".to_owned()),
        ("assignment.shape.name", |_, s, _| s.name = "we\u{0431}".to_owned()),
        ("assignment.shape.vcpus", |_, s, _| s.vcpus = 0),
        ("assignment.shape.memory_mib", |_, s, _| s.memory_mib = u32::MAX),
        ("assignment.shape.kernel", |_, s, _| s.kernel = None),
        ("assignment.shape.kernel.name", |_, s, _| {
            s.kernel =
                Some(wire::Image { name: "../../etc/shadow".to_owned(), ..Default::default() });
        }),
        ("assignment.shape.root_image.name", |_, s, _| {
            s.root_image = Some(wire::Image { name: "--help".to_owned(), ..Default::default() });
        }),
        ("assignment.shape.root_image.sha256", |_, s, _| {
            s.root_image = Some(wire::Image { name: "a".to_owned(), sha256: "A".repeat(64) });
        }),
        ("assignment.shape.root_disk_mib", |_, s, _| s.root_disk_mib = 0),
        ("assignment.shape.boot_args", |_, s, _| s.boot_args = "a\nb".to_owned()),
        ("assignment.shape.boot_args", |_, s, _| s.boot_args = "a".repeat(2049)),
        ("assignment.shape.metadata_json", |_, s, _| s.metadata_json = "[1]".to_owned()),
        ("assignment.shape.network.gateway", |_, _, n| n.gateway = "192.0.2.1".to_owned()),
        ("assignment.shape.network.guest_address", |_, _, n| n.guest_address = String::new()),
        ("assignment.shape.network.mac_address", |_, _, n| n.mac_address = "x".to_owned()),
        ("assignment.shape.network.vsock_cid", |_, _, n| n.vsock_cid = 2),
    ];
    for (field, spoil) in cases {
        let mut bad = good();
        let mut shape = bad.shape.take().expect("good");
        let mut network = shape.network.take().expect("good");
        spoil(&mut bad, &mut shape, &mut network);
        shape.network = Some(network);
        bad.shape = Some(shape);
        assert_eq!(assignment(Some(bad)).expect_err(field).field, field);
    }
}

#[test]
fn only_absence_needs_no_shape() {
    let mut without = good();
    without.shape = None;
    assert_eq!(assignment(Some(without.clone())).expect_err("no shape").field, "assignment.shape");
    without.desired = wire::Power::Absent.into();
    assert!(assignment(Some(without)).is_ok());
}

#[test]
fn a_traceparent_that_is_none_is_dropped_and_refuses_nothing() {
    let mut odd = good();
    odd.traceparent = "$(reboot)".to_owned();
    assert_eq!(assignment(Some(odd)).expect("good otherwise").traceparent, "");
}

/// What a server, or whoever has its certificate, may send to a root process: what is accepted is
/// within every bound and is no path, no option and no second line.
#[test]
fn fuzz_an_assignment_that_is_accepted_is_safe_to_act_upon() {
    use prost::Message as _;
    let seed = good().encode_to_vec();
    let pool = banger_proto::FILE_DESCRIPTOR_SET;
    banger_fuzz::fuzz_message("assignment", pool, "banger.agent.v1.Assignment", &seed, |input| {
        let message = wire::Assignment::decode(input).expect("it was encoded");
        let Ok(read) = assignment(Some(message)) else { return };
        assert!(read.version.epoch.0 > 0 && read.version.generation.0 > 0);
        assert!(read.stop_grace <= MAX_STOP_GRACE);
        let Some(shape) = read.shape else {
            assert_eq!(read.power, Power::Absent);
            return;
        };
        for image in [Some(&shape.kernel), shape.initrd.as_ref(), Some(&shape.root_image)] {
            let Some(image) = image else { continue };
            let name = image.name.as_str();
            assert!(!name.contains('/') && !name.starts_with(['.', '-']), "{name:?}");
            assert!(image.sha256.as_ref().is_none_or(|digest| digest.len() == 64));
        }
        let printable = |text: &str| text.bytes().all(|byte| matches!(byte, b' '..=b'~'));
        assert!(printable(&shape.boot_args) && printable(&shape.network.dns_name), "{shape:?}");
        assert!(shape.boot_args.len() <= MAX_COMMAND_LINE_BYTES);
        assert!((1..=32).contains(&shape.vcpus) && shape.root_disk_mib > 0);
        assert!(shape.metadata_json.is_none_or(|json| json.len() <= MAX_METADATA_BYTES));
        let network = &shape.network;
        let subnet = crate::host::Subnet::containing(network.gateway, network.prefix);
        assert!(subnet.is_some_and(|subnet| subnet.contains(network.address)), "{network:?}");
        assert!(network.vsock_cid >= 3 && network.address != network.gateway);
    });
}

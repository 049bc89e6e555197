//! How much of a host one message tells.

use banger_proto::ids::HostId;

use super::*;
use crate::host::{Capacity, FileId, ImageFacts, ImageName};
use crate::report::phase::{Fault, Phase, Reason};
use crate::vm::fixtures;

#[test]
fn no_part_of_an_inventory_is_larger_than_a_message_whatever_a_vmm_said() {
    let reports: Vec<_> = (1..=1_200)
        .map(|n| {
            let mut report = (*fixtures::report(n, Phase::Running)).clone();
            let said = "\u{7f}".repeat(100_000);
            let mut fault = Fault::new(Reason::VmmUnresponsive, "ask the state of", said.clone());
            fault.left_behind = vec![said; 20];
            report.fault = Some(fault);
            Arc::new(report)
        })
        .collect();
    let parts = inventory_parts(&reports);
    for part in &parts {
        assert!(part.encoded_len() < MAX_MESSAGE_BYTES, "{} bytes", part.encoded_len());
        assert!(part.vms.len() <= INVENTORY_PART_VMS, "{} VMs", part.vms.len());
    }
    let told = parts.iter().flat_map(|part| &part.vms).map(|vm| vm.vm_id.clone());
    assert!(told.eq(reports.iter().map(|report| report.vm.to_string())), "each once, in order");
    let last: Vec<_> = parts.iter().map(|part| part.last).collect();
    assert_eq!(last.iter().filter(|last| **last).count(), 1);
    assert_eq!(last.last(), Some(&true));
}

#[test]
fn a_change_of_a_vm_is_a_small_message_whatever_a_vmm_said() {
    let mut report = (*fixtures::report(1, Phase::Running)).clone();
    let said = "x".repeat(8 << 20);
    report.fault = Some(Fault::new(Reason::VmmUnresponsive, "ask the state of", said));
    let Event::Vm(vm) = change_event(Reported::Vm(Arc::new(report))) else { panic!("a VM") };
    assert!(vm.encoded_len() < 4096, "{} bytes", vm.encoded_len());
}

#[test]
fn a_host_tells_of_no_more_images_than_its_server_takes() {
    let image = |n: usize| ImageFacts {
        name: ImageName::new(format!("{n:0>128}")).expect("a name"),
        id: FileId { device: 1, inode: 1 },
        size_bytes: u64::MAX,
        kind: ImageKind::Root,
        sha256: Some("0".repeat(64)),
    };
    let facts = HostFacts {
        host: HostId::from_uuid(uuid::Uuid::from_u128(7)),
        boot_id: String::new(),
        agent_epoch: 3,
        simulated: false,
        vmm: String::new(),
        root_disks: String::new(),
        kernel_release: String::new(),
        capacity: Capacity { vcpus: 4, memory_mib: 1024, disk_mib: 1024 },
        images: (0..=MAX_HOST_IMAGES).map(image).collect(),
        heartbeat_interval: std::time::Duration::from_secs(2),
        certificate: None,
    };
    let told = host_facts(&facts);
    assert_eq!(told.images.len(), MAX_HOST_IMAGES);
    assert!(told.encoded_len() < MAX_MESSAGE_BYTES, "{} bytes", told.encoded_len());
}

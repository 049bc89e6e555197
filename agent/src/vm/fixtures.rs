//! Values the tests of the agent start from.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use banger_proto::ids::{Epoch, Generation, Version, VmId};
use jiff::Timestamp;

use crate::assignment::{
    Assignment, GuestNetwork, Image, Limits, Power, Resources, RestartPolicy, Shape,
};
use crate::host::fakes::{DEMO_KERNEL, DEMO_ROOT};
use crate::report::phase::Phase;
use crate::report::{Devices, VmReport};

pub(crate) fn vm_id(n: u32) -> VmId {
    VmId::from_uuid(uuid::Uuid::from_u128(
        0x0193_a7e2_3f40_7c21_9d5e_0000_0000_0000 | u128::from(n),
    ))
}

pub(crate) fn version(epoch: u64, generation: u64) -> Version {
    Version { epoch: Epoch(epoch), generation: Generation(generation) }
}

pub(crate) fn image(name: &str) -> Image {
    Image { name: name.parse().expect("a test image"), sha256: None }
}

pub(crate) fn shape(n: u32) -> Shape {
    Shape {
        name: format!("vm-{n}"),
        vcpus: 1,
        memory_mib: 256,
        kernel: image(DEMO_KERNEL),
        initrd: None,
        root_image: image(DEMO_ROOT),
        root_disk_mib: 64,
        work_disk_mib: 0,
        boot_args: "console=ttyS0 reboot=k panic=1".to_owned(),
        metadata_json: None,
        network: GuestNetwork {
            address: std::net::Ipv4Addr::from(0x0a40_0001 + n),
            gateway: "10.64.0.1".parse().expect("an address"),
            prefix: 20,
            mac: "02:fc:0a:40:00:02".parse().expect("an Ethernet address"),
            vsock_cid: 3 + n,
            nat: true,
            dns_name: String::new(),
        },
        limits: Limits::default(),
        resources: Resources::default(),
        restart: RestartPolicy::Never,
    }
}

/// VM 1, wanted running.
pub(crate) fn assignment(epoch: u64, generation: u64) -> Assignment {
    assignment_of(1, epoch, generation, Power::Running)
}

pub(crate) fn assignment_of(n: u32, epoch: u64, generation: u64, power: Power) -> Assignment {
    Assignment {
        vm: vm_id(n),
        version: version(epoch, generation),
        power,
        shape: Some(shape(n)),
        stop_grace: Duration::from_secs(5),
        boot_number: 1,
        root_disk_number: 1,
        traceparent: String::new(),
    }
}

pub(crate) fn report(n: u32, phase: Phase) -> Arc<VmReport> {
    Arc::new(VmReport {
        vm: vm_id(n),
        name: format!("vm-{n}"),
        guest_address: None,
        accepted: version(1, 1),
        settled: None,
        phase,
        phase_since: Timestamp::UNIX_EPOCH,
        observed_at: Timestamp::UNIX_EPOCH,
        fault: None,
        process: None,
        process_started_at: None,
        boot_id: String::new(),
        exit: None,
        restart_count: 0,
        adopted_at: None,
        next_attempt_at: None,
        guest: None,
        devices: Devices::default(),
        bounds: None,
    })
}

/// Waits until something holds; at the limit it panics with the last state.
pub(crate) async fn wait_for<T, F>(what: &str, mut look: impl FnMut() -> F) -> T
where
    F: Future<Output = Result<T, String>>,
{
    let mut last = String::new();
    let waiting = async {
        loop {
            match look().await {
                Ok(value) => return value,
                Err(state) => last = state,
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    let limit = Duration::from_secs(120);
    match tokio::time::timeout(limit, waiting).await {
        Ok(value) => value,
        Err(_) => panic!("waited for {what} in vain; last state: {last}"),
    }
}

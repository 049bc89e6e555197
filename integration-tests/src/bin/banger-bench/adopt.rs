//! Line d: from the start of an agent to every VM of the host adopted and reported.
//!
//! In this process, on the fake kernel, with the real supervisor: the directories are listed, the
//! records read, the processes matched, the reports made. What a real kernel adds, a look at
//! `/proc` for each process, is not in it. There is no peer that could be run beside it.

use std::time::{Duration, Instant};

use anyhow::ensure;
use banger_agent::assignment::{
    Assignment, GuestNetwork, Image, Limits, Power, Resources, RestartPolicy, Shape,
};
use banger_agent::clock::Clock;
use banger_agent::host::fakes::{DEMO_KERNEL, DEMO_ROOT, FakeKernel};
use banger_agent::naming::{InstanceTag, Naming};
use banger_agent::report::phase::Phase;
use banger_agent::supervisor::Supervisor;
use banger_agent::supervisor::adoption::Parts;
use banger_proto::ids::{Epoch, Generation, Version, VmId};

use crate::Run;
use crate::pairs::{Line, Samples};

fn assignment(n: u32) -> anyhow::Result<Assignment> {
    let image = |name: &str| anyhow::Ok(Image { name: name.parse()?, sha256: None });
    let bytes = n.to_be_bytes();
    Ok(Assignment {
        vm: VmId::from_uuid(uuid::Uuid::from_u128(u128::from(n) + 1)),
        version: Version { epoch: Epoch(1), generation: Generation(1) },
        power: Power::Running,
        shape: Some(Shape {
            name: format!("vm-{n}"),
            vcpus: 1,
            memory_mib: 128,
            kernel: image(DEMO_KERNEL)?,
            initrd: None,
            root_image: image(DEMO_ROOT)?,
            root_disk_mib: 64,
            work_disk_mib: 0,
            boot_args: String::new(),
            metadata_json: None,
            network: GuestNetwork {
                address: std::net::Ipv4Addr::from(0x0a40_0002 + n),
                gateway: std::net::Ipv4Addr::new(10, 64, 0, 1),
                prefix: 16,
                mac: format!(
                    "02:fc:{:02x}:{:02x}:{:02x}:{:02x}",
                    bytes[0], bytes[1], bytes[2], bytes[3]
                )
                .parse()?,
                vsock_cid: 3 + n,
                nat: true,
                dns_name: String::new(),
            },
            limits: Limits::default(),
            resources: Resources::default(),
            restart: RestartPolicy::Never,
        }),
        stop_grace: Duration::from_secs(1),
        boot_number: 1,
        root_disk_number: 1,
        traceparent: String::new(),
    })
}

fn parts(kernel: &FakeKernel) -> anyhow::Result<Parts> {
    let naming = Naming::new(InstanceTag::default());
    Ok(Parts::new(kernel.host(), naming, Clock::system()))
}

fn running(supervisor: &Supervisor, adopted: bool) -> usize {
    let all = supervisor.reporter().all();
    let fits = |phase, at: bool| phase == Phase::Running && at == adopted;
    all.iter().filter(|report| fits(report.phase, report.adopted_at.is_some())).count()
}

async fn one(vms: u32) -> anyhow::Result<f64> {
    let kernel = FakeKernel::new();
    let first = Supervisor::start(parts(&kernel)?).await?;
    for vm in 0..vms {
        first.accept(assignment(vm)?).await?;
    }
    let wanted = usize::try_from(vms)?;
    while running(&first, false) < wanted {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    first.shutdown(Duration::from_secs(10)).await;
    kernel.new_agent();
    let parts = parts(&kernel)?;
    let begun = Instant::now();
    let second = Supervisor::start(parts).await?;
    let took = begun.elapsed().as_secs_f64() * 1000.0;
    let adopted = running(&second, true);
    ensure!(adopted == wanted, "{adopted} of {wanted} VMs were adopted when the start was over");
    second.shutdown(Duration::from_secs(10)).await;
    Ok(took)
}

pub(crate) async fn run(run: &Run, sizes: &[u32]) -> anyhow::Result<Vec<Line>> {
    let mut lines = Vec::new();
    for vms in sizes {
        let mut ours = Samples::default();
        for _ in 0..run.pairs {
            ours.push(one(*vms).await?);
        }
        let what = format!("d. start of an agent until {vms} VMs are adopted, in ms");
        lines.push(Line { what, ours, peer: None });
    }
    Ok(lines)
}

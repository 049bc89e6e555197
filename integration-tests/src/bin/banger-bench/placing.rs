//! Line p: how many VMs a second are placed in a fleet of 1,000 hosts and 100,000 VMs.
//!
//! In this process, by the ledger alone: what a decision costs of the time in which nothing else is
//! decided. The commit that comes after it is in line a. There is no peer that decides with what is
//! stored and could be run beside it.

use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context as _, ensure};
use banger_proto::ids::{HostId, VmId};
use banger_server::model::affinity::AffinityDraft;
use banger_server::model::caller::{Caller, Ended, Grants, Role};
use banger_server::model::capacity::AcceptedCapacity;
use banger_server::model::host::Resources;
use banger_server::model::intent::Desired;
use banger_server::model::ledger::{
    AnyMutation, CreateJoinToken, CreateVm, JoinHost, JoinToken, Ledger, LedgerConfig, Outcome,
};
use banger_server::model::project::ProjectName;
use banger_server::model::spec::{ImageDraft, VmSpec, VmSpecDraft};
use jiff::Timestamp;
use uuid::Uuid;

use crate::Run;
use crate::pairs::{Line, Samples};

/// VMs of the fleet for each host; also for each decision of one sample.
const VMS_OF_HOST: u32 = 100;

const ROOM: Resources =
    Resources { vcpus: 256, memory_mib: 1 << 20, disk_mib: 1 << 24, guests: 1023 };

fn caller() -> Caller {
    Caller {
        actor: "bench".into(),
        grants: Grants::fleet(Role::Admin),
        trace: String::new(),
        at: Timestamp::UNIX_EPOCH,
        token: None,
        vouched: None,
        ended: Ended::default(),
        call: None,
    }
}

fn make(ledger: &mut Ledger, mutation: impl Into<AnyMutation>) -> anyhow::Result<Outcome> {
    let decided = ledger.decide(&caller(), &mutation.into())?;
    ledger.apply(&decided.changes);
    Ok(decided.outcome)
}

fn spec(n: u32, apart: bool) -> anyhow::Result<Arc<VmSpec>> {
    let image = |name: &str| Some(ImageDraft { name: name.to_owned(), sha256: String::new() });
    let app = format!("app-{}", n % 1_000);
    let rule = AffinityDraft {
        vm_selector: format!("app={app}"),
        anti: true,
        weight: 50,
        ..AffinityDraft::default()
    };
    let draft = VmSpecDraft {
        kernel: image("vmlinux"),
        root_image: image("root.ext4"),
        labels: [("app".to_owned(), app)].into(),
        affinity: if apart { vec![rule] } else { Vec::new() },
        ..VmSpecDraft::default()
    };
    let spec = draft.check().map_err(|why| anyhow::anyhow!("no spec: {why:?}"))?;
    Ok(Arc::new(spec))
}

fn create(n: u32, apart: bool) -> anyhow::Result<CreateVm> {
    Ok(CreateVm {
        id: VmId::from_uuid(Uuid::from_u128(u128::from(n) + 1)),
        id_is_given: true,
        request_id: None,
        name: format!("vm-{n}"),
        project: ProjectName::default(),
        spec: spec(n, apart)?,
        desired: Desired::Running,
    })
}

fn fleet(vms: u32) -> anyhow::Result<Ledger> {
    // Small subnets, so that the pool has one for each host.
    let config = LedgerConfig { guest_prefix: 22, ..LedgerConfig::default() };
    let mut ledger = Ledger::new(config);
    for n in 0..vms / VMS_OF_HOST {
        let (name, id) = (format!("host-{n}"), HostId::from_uuid(Uuid::from_u128(n.into())));
        let token = JoinToken {
            id: name.clone(),
            secret_sha256: [7; 32],
            host_name: None,
            labels: [("zone".to_owned(), format!("zone-{}", n % 10))].into(),
            capacity: AcceptedCapacity::default(),
            created_by_token: None,
            expires_at: Timestamp::MAX,
            used_for: None,
        };
        make(&mut ledger, CreateJoinToken(token))?;
        let join = JoinHost {
            token_id: name.clone(),
            secret_sha256: [7; 32],
            key_sha256: [9; 32],
            ca_sha256: [8; 32],
            new_id: id,
            known_id: None,
            name,
            agent_address: "192.0.2.7:7072".to_owned(),
            used_networks: Vec::new(),
            certificate_expires_at: Timestamp::MAX,
        };
        make(&mut ledger, join)?;
        ledger.set_capacity(id, Some(ROOM), true);
    }
    for n in 0..vms {
        make(&mut ledger, create(n, false)?)?;
    }
    Ok(ledger)
}

fn one(ledger: &Ledger, vms: u32, apart: bool) -> anyhow::Result<f64> {
    let decisions = vms / VMS_OF_HOST;
    let asked: Vec<AnyMutation> = (vms..vms + decisions)
        .map(|n| create(n, apart).map(AnyMutation::from))
        .collect::<anyhow::Result<_>>()?;
    let caller = caller();
    let begun = Instant::now();
    for create in &asked {
        let decided = ledger.decide(&caller, create)?;
        let Outcome::Vm { intent, .. } = decided.outcome else { anyhow::bail!("no VM") };
        ensure!(intent.host.is_some(), "{} has no host", intent.name);
    }
    Ok(f64::from(decisions) / begun.elapsed().as_secs_f64())
}

pub(crate) fn run(run: &Run, vms: u32) -> anyhow::Result<Vec<Line>> {
    let ledger = fleet(vms).context("make a fleet")?;
    let hosts = vms / VMS_OF_HOST;
    let mut lines = Vec::new();
    for (apart, how) in [(false, ""), (true, ", each with a rule about 100 others")] {
        let mut ours = Samples::default();
        for _ in 0..run.pairs {
            ours.push(one(&ledger, vms, apart)?);
        }
        let what = format!("p. placement decisions/s at {hosts} hosts and {vms} VMs{how}");
        lines.push(Line { what, ours, peer: None });
    }
    Ok(lines)
}

//! Values for tests of what lives: intents, hosts, and what agents say. Told apart by a number.

use std::net::Ipv4Addr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use banger_images::{ImportError, Kind, Made, Note, Options, Platform, Report, Source, Wanted};
use banger_proto::ids::{Epoch, Generation, Version};
use sha2::{Digest as _, Sha256};

use crate::images::importer::Importer;
use crate::model::fixtures::spec_with;
pub(crate) use crate::model::fixtures::{at, host_id, spec_of_root, vm_id};
use crate::model::host::{HostFacts, HostHealth, HostRecord, HostState, Resources};
use crate::model::image::{ImageRecord, StoredKind};
use crate::model::intent::{DEFAULT_STOP_GRACE, Desired, Fingerprint, NetAllocation, VmIntent};
use crate::model::labels::Labels;
use crate::model::observed::{DevicesSeen, ObservedVm, Phase};
use crate::model::project::ProjectName;
use crate::model::spec::VmSpec;
use crate::model::subnet::Subnet;

/// The epoch of every test's store.
pub(crate) const EPOCH: Epoch = Epoch(1);

pub(crate) fn subnet(number: u8) -> Subnet {
    Subnet::new(Ipv4Addr::new(10, 64, number << 4, 0), 20).expect("a /20")
}

pub(crate) fn spec(labels: &[(&str, &str)]) -> Arc<VmSpec> {
    spec_with(|draft| {
        draft.labels = labels.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
    })
}

/// VM number `number`, wanted running, on host 1 unless it is changed.
pub(crate) fn intent(number: u32) -> VmIntent {
    VmIntent {
        id: vm_id(number.into()),
        name: format!("vm-{number}"),
        project: ProjectName::default(),
        spec: spec(&[]),
        desired: Desired::Running,
        host: Some(host_id(1)),
        net: NetAllocation::of(subnet(1), number + 2),
        pending: None,
        generation: Generation(1),
        boot_number: 0,
        root_disk_number: 0,
        root_image_mib: 0,
        stop_grace: DEFAULT_STOP_GRACE,
        fingerprint: Fingerprint([0; 32]),
        request_id: None,
        created_at: at(0),
        updated_at: at(0),
        traceparent: String::new(),
        actor: "test".to_owned(),
    }
}

/// The same VM with the next generation and another wish.
pub(crate) fn wanting(intent: &VmIntent, desired: Desired) -> VmIntent {
    VmIntent { desired, generation: intent.generation.next(), ..intent.clone() }
}

pub(crate) fn version(generation: u64) -> Version {
    Version { epoch: EPOCH, generation: Generation(generation) }
}

/// A VM that holds and has reached this generation.
pub(crate) fn seen(phase: Phase, generation: u64) -> Box<ObservedVm> {
    Box::new(ObservedVm {
        accepted: version(generation),
        settled: version(generation),
        phase,
        fault: None,
        observed_at: at(1),
        phase_since: at(1),
        process: None,
        boot_id: "boot".to_owned(),
        exit: None,
        restart_count: 0,
        adopted_at: None,
        guest: None,
        devices: DevicesSeen::default(),
        next_attempt_at: None,
        name: String::new(),
        guest_address: None,
        limits: None,
    })
}

pub(crate) fn host_record(number: u32) -> Arc<HostRecord> {
    Arc::new(HostRecord {
        id: host_id(number.into()),
        name: format!("host-{number}"),
        agent_address: format!("192.0.2.{number}:7072"),
        labels: Labels::new(),
        cordoned: false,
        subnet: subnet(u8::try_from(number).expect("few hosts")),
        certificate_expires_at: at(1_000_000),
        key_sha256: Some([9; 32]),
        certificate_made_at: None,
        joined_by: None,
        ca_sha256: None,
        renewal: Default::default(),
        revoked: None,
        overcommit: crate::model::placement::HostOvercommit::default(),
        accepted: crate::model::capacity::AcceptedCapacity::default(),
        first_capacity: crate::model::capacity::AcceptedCapacity::default(),
        generation: 1,
        created_at: at(0),
        updated_at: at(0),
    })
}

pub(crate) fn facts() -> HostFacts {
    HostFacts {
        boot_id: "boot".to_owned(),
        agent_epoch: 1,
        agent_version: "0.1.0".to_owned(),
        simulated: true,
        vmm: "simulated".to_owned(),
        root_disks: "snapshot".to_owned(),
        kernel_release: "6.1".to_owned(),
        capacity: Resources { vcpus: 64, memory_mib: 65_536, disk_mib: 1_000_000, guests: 1023 },
        images: Vec::new(),
        heartbeat_interval: Duration::from_secs(1),
        trusted: Vec::new(),
    }
}

pub(crate) fn health(state: HostState) -> HostHealth {
    HostHealth {
        state,
        since: at(0),
        reason: if state.is_online() { "" } else { "HOST_UNREACHABLE" },
        message: String::new(),
        last_seen: Some(at(1)),
    }
}

/// Takes a file for what it is: an ELF kernel, an initial RAM disk that says so, else a root file
/// system. One that begins with `BAD` is refused.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct CopyImporter;

#[async_trait]
impl Importer for CopyImporter {
    async fn import(
        &self,
        source: Source,
        wanted: Wanted,
        options: Options,
        out: &Path,
        _report: Report,
    ) -> Result<Made, ImportError> {
        let Source::Path(path) = source else {
            let registry = "registry.example".to_owned();
            let what = "there is no such image".to_owned();
            return Err(ImportError::Registry { registry, what, status: Some(404), source: None });
        };
        let from = path.display().to_string();
        let read = std::fs::read(&path);
        let content = read.map_err(|source| ImportError::Read { from: from.clone(), source })?;
        if content.starts_with(b"BAD") {
            return Err(ImportError::NotUsable { from, what: "nothing that boots".to_owned() });
        }
        let kind = match wanted {
            Wanted::Kernel => Kind::Kernel,
            Wanted::Initrd => Kind::Initrd,
            Wanted::Root => Kind::Root,
            Wanted::Auto if content.starts_with(b"\x7fELF") => Kind::Kernel,
            Wanted::Auto if content.starts_with(b"INITRD") => Kind::Initrd,
            Wanted::Auto => Kind::Root,
        };
        std::fs::write(out, &content)
            .map_err(|source| ImportError::Write { path: out.to_owned(), source })?;
        let agent = options.guest.is_some() && kind == Kind::Root;
        let agent = agent.then_some(Note::GuestAgent("a test"));
        let foreign = (options.platform != Platform::default()).then_some(options.platform);
        Ok(Made {
            kind,
            sha256: Sha256::digest(&content).into(),
            size_bytes: content.len() as u64,
            notes: agent.into_iter().chain(foreign.map(Note::OtherMachine)).collect(),
        })
    }
}

/// An image of this name and content, and the digest of that.
pub(crate) fn image(name: &str, kind: StoredKind, content: &[u8]) -> (Arc<ImageRecord>, String) {
    let sha256 = hex::encode(Sha256::digest(content));
    let record = ImageRecord {
        name: name.to_owned(),
        project: ProjectName::default(),
        public: false,
        sha256: sha256.clone(),
        size_bytes: content.len() as u64,
        kind,
        origin: "a test".to_owned(),
        guest_agent: false,
        notes: Vec::new(),
        created_at: at(0),
        created_by: "alice".to_owned(),
        boot: None,
    };
    (Arc::new(record), sha256)
}

//! Values for tests: a spec, ids, times, a caller.

use std::sync::Arc;

use banger_proto::ids::{HostId, VmId};
use jiff::Timestamp;
use uuid::Uuid;

use super::caller::{Caller, Ended, Grants, ProjectRole, Rights, Role};
use super::history::{EventKind, HistoryEvent};
use super::intent::Desired;
use super::ledger::{CreateVm, JoinHost, JoinToken, VmRef};
use super::project::{Named, ProjectName, ProjectRecord, Quota};
use super::spec::{ImageDraft, ImageRef, VmSpec, VmSpecDraft};
use super::token::TokenRecord;

pub(crate) fn draft() -> VmSpecDraft {
    let image = |name: &str| Some(ImageDraft { name: name.to_owned(), sha256: String::new() });
    VmSpecDraft {
        kernel: image("vmlinux"),
        root_image: image("root.ext4"),
        ..VmSpecDraft::default()
    }
}

pub(crate) fn spec() -> VmSpec {
    draft().check().expect("valid")
}

pub(crate) fn spec_with(change: impl FnOnce(&mut VmSpecDraft)) -> Arc<VmSpec> {
    let mut draft = draft();
    change(&mut draft);
    Arc::new(draft.check().expect("valid"))
}

/// One whose root disk is made of a content that the server keeps.
pub(crate) fn spec_of_root(sha256: &str) -> Arc<VmSpec> {
    Arc::new(spec().map_images(|field, asked| match field {
        "spec.root_image" => {
            ImageRef { name: "alpine".to_owned(), sha256: Some(sha256.to_owned()), stored: true }
        }
        _ => asked.clone(),
    }))
}

pub(crate) fn vm_id(number: u128) -> VmId {
    VmId::from_uuid(Uuid::from_u128(0x0192_0000_0000_7000_8000_0000_0000_0000 + number))
}

pub(crate) fn host_id(number: u128) -> HostId {
    HostId::from_uuid(Uuid::from_u128(0x0191_0000_0000_7000_8000_0000_0000_0000 + number))
}

pub(crate) fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + seconds).expect("in range")
}

pub(crate) fn caller() -> Caller {
    Caller {
        actor: "alice".into(),
        grants: Grants::fleet(Role::Admin),
        trace: String::new(),
        at: at(0),
        token: None,
        vouched: None,
        ended: Ended::default(),
        call: None,
    }
}

/// A VM of the project `default`, by its name.
pub(crate) fn vm_named(name: &str) -> VmRef {
    VmRef::Name(Named::new(&ProjectName::default(), name))
}

pub(crate) fn project(name: &str) -> ProjectName {
    ProjectName::parse(name).expect("a label")
}

/// Somebody to whom nothing is there but this project.
pub(crate) fn caller_of(name: &str, role: ProjectRole) -> Caller {
    let grants = Grants::To(Rights::Project(project(name), role));
    Caller { actor: format!("{name}/ann").into(), grants, ..caller() }
}

pub(crate) fn project_record(name: &str) -> Arc<ProjectRecord> {
    let created_by = "alice".to_owned();
    let quota = Quota::default();
    Arc::new(ProjectRecord { name: project(name), created_at: at(0), created_by, quota })
}

pub(crate) fn create(number: u128, name: &str) -> CreateVm {
    CreateVm {
        id: vm_id(number),
        id_is_given: true,
        request_id: None,
        name: name.to_owned(),
        project: ProjectName::default(),
        spec: Arc::new(spec()),
        desired: Desired::Running,
    }
}

pub(crate) fn token(id: &str) -> JoinToken {
    JoinToken {
        id: id.to_owned(),
        secret_sha256: [7; 32],
        host_name: None,
        labels: [("zone".to_owned(), "a".to_owned())].into(),
        capacity: crate::model::capacity::AcceptedCapacity::default(),
        created_by_token: None,
        expires_at: at(900),
        used_for: None,
    }
}

/// A token of a caller, good for an hour.
pub(crate) fn record_of(number: u8, name: &str) -> TokenRecord {
    TokenRecord {
        id: format!("bgr_{number:016x}"),
        sha256: [number; 32],
        name: name.to_owned(),
        rights: Rights::Fleet(Role::Operator),
        created_by: "alice".to_owned(),
        created_by_token: None,
        goes_with: None,
        created_at: at(0),
        expires_at: at(3600),
        last_used_at: None,
    }
}

pub(crate) fn join(number: u128, token_id: &str, name: &str) -> JoinHost {
    JoinHost {
        token_id: token_id.to_owned(),
        secret_sha256: [7; 32],
        key_sha256: [9; 32],
        new_id: host_id(number),
        known_id: None,
        name: name.to_owned(),
        agent_address: "192.0.2.7:7072".to_owned(),
        used_networks: Vec::new(),
        certificate_expires_at: at(1_000_000),
        ca_sha256: [8; 32],
    }
}

pub(crate) fn line(vm: VmId, kind: EventKind, generation: u64) -> HistoryEvent {
    HistoryEvent {
        vm,
        generation: banger_proto::ids::Generation(generation),
        kind,
        reason: String::new(),
        message: String::new(),
        actor: "host one".to_owned(),
        at: at(1),
    }
}

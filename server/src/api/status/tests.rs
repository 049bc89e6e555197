use crate::fleet::guests::GuestError;
use banger_proto::ids::{HostId, VmId};

use super::*;
use crate::model::access::{Needed, Secrets};
use crate::model::audience::Audience;
use crate::model::caller::{Rights, Role};
use crate::model::fixtures::{host_id, vm_id};
use crate::model::intent::Desired;
use crate::model::ledger::HostRef;
use crate::model::placement::Shortage;
use crate::model::request::RequestId;
use crate::store::MutateError;

/// Somebody who sees all that there is.
const FLEET: Audience = Audience { secrets: Secrets::Shown, sees_hosts: true };

#[test]
fn a_caller_whose_role_does_not_do_is_told_which_would_in_words_and_as_metadata() {
    let (has, needed) = (Rights::Fleet(Role::Viewer), Needed::Fleet(Role::Operator));
    let refused = Refused::Role { who: "eve".into(), has, needed };
    let status = not_permitted(&refused);
    assert_eq!((status.code(), reason(&status)), (Code::PermissionDenied, "NOT_PERMITTED".into()));
    assert_eq!(status.message(), "eve is viewer; this needs the role operator");
    let info = status.get_details_error_info().expect("given");
    assert_eq!(info.metadata.get("role").map(String::as_str), Some("operator"));
}

fn reason(status: &Status) -> String {
    let info = status.get_details_error_info().expect("every error has a reason");
    assert_eq!(info.domain, "banger");
    info.reason
}

#[test]
fn what_an_agent_says_of_a_vm_by_its_id_is_told_by_its_name() {
    let (id, other): (VmId, VmId) = (vm_id(1), vm_id(2));
    let of = |simulated| GuestOf { vm: "web", id, host: "one", simulated, to: FLEET };
    let said = |message: String| GuestError::Said {
        code: Code::FailedPrecondition,
        reason: "GUEST_AGENT_UNREACHABLE".to_owned(),
        message,
    };
    let told = |simulated, message| guest_failed(&of(simulated), &said(message));
    let status = told(false, format!("VM {id}: nobody answers"));
    assert_eq!(status.message(), "VM web: nobody answers");
    assert_eq!(reason(&status), "GUEST_AGENT_UNREACHABLE");
    let status = told(true, format!("VM {id}: nobody answers"));
    let simulated = "VM web: nobody answers (host one is simulated: no guest runs there)";
    assert_eq!(status.message(), simulated);
    // Of another one nothing is known here.
    let others = format!("VM {other}: nobody answers");
    assert_eq!(told(false, others.clone()).message(), others);
}

#[test]
fn every_refusal_has_its_code_and_reason() {
    let unsuitable =
        |why| Refusal::HostUnsuitable { host: "one".to_owned(), why, also: Vec::new() };
    let name = || "web".to_owned();
    let (vm, host): (VmId, HostId) = (vm_id(1), host_id(1));
    let shortage = Shortage { resource: "vCPUs", wanted: 2, left: 1 };
    let cases = [
        (
            Refusal::VmNotFound(crate::model::fixtures::vm_named(&name())),
            Code::NotFound,
            "VM_NOT_FOUND",
        ),
        (Refusal::HostNotFound(HostRef::Id(host)), Code::NotFound, "HOST_NOT_FOUND"),
        (Refusal::VmIdTaken { id: vm, name: name() }, Code::AlreadyExists, "VM_ID_TAKEN"),
        (Refusal::VmIdUsedUp { id: vm }, Code::AlreadyExists, "VM_ID_TAKEN"),
        (
            Refusal::RequestIdTaken { id: RequestId(vm.uuid()) },
            Code::AlreadyExists,
            "REQUEST_ID_TAKEN",
        ),
        (Refusal::DoneAndGone { what: RequestTarget::Vm(vm) }, Code::NotFound, "VM_NOT_FOUND"),
        (Refusal::VmNameTaken { name: name(), by: vm }, Code::AlreadyExists, "VM_NAME_TAKEN"),
        (Refusal::HostNameTaken { name: name(), by: host }, Code::AlreadyExists, "HOST_NAME_TAKEN"),
        (Refusal::EtagMismatch { what: name() }, Code::Aborted, "ETAG_MISMATCH"),
        (Refusal::VmDeleting { name: name() }, Code::FailedPrecondition, "VM_DELETING"),
        (
            Refusal::NeedsStoppedVm {
                name: name(),
                desired: Desired::Running,
                fields: vec!["spec.vcpus"],
            },
            Code::FailedPrecondition,
            "NEEDS_STOPPED_VM",
        ),
        (
            Refusal::WrongDesiredState {
                name: name(),
                desired: Desired::Stopped,
                wish: "pause",
                needed: Desired::Running,
            },
            Code::FailedPrecondition,
            "WRONG_DESIRED_STATE",
        ),
        (
            Refusal::NotAbsent { name: name(), desired: Desired::Stopped },
            Code::FailedPrecondition,
            "WRONG_DESIRED_STATE",
        ),
        (
            Refusal::HostNotEmpty { host: name(), vms: 2 },
            Code::FailedPrecondition,
            "HOST_NOT_EMPTY",
        ),
        (Refusal::HostKeyRevoked { host: name() }, Code::FailedPrecondition, "HOST_KEY_REVOKED"),
        (unsuitable(Unsuitable::Cordoned), Code::FailedPrecondition, "HOST_UNSUITABLE"),
        (unsuitable(Unsuitable::LabelMismatch), Code::FailedPrecondition, "HOST_UNSUITABLE"),
        (unsuitable(Unsuitable::NotYetSeen), Code::Unavailable, "HOST_UNSUITABLE"),
        (unsuitable(Unsuitable::Unreachable), Code::Unavailable, "HOST_UNSUITABLE"),
        (unsuitable(Unsuitable::NoRoom(shortage)), Code::ResourceExhausted, "HOST_FULL"),
        (unsuitable(Unsuitable::NoFreeAddress), Code::ResourceExhausted, "HOST_FULL"),
        (Refusal::JoinTokenInvalid("used"), Code::Unauthenticated, "JOIN_TOKEN_INVALID"),
        (
            Refusal::JoinTokenForAnother { made_for: "two".to_owned(), name: "one".to_owned() },
            Code::Unauthenticated,
            "JOIN_TOKEN_INVALID",
        ),
        (Refusal::TokenNotFound { token: name() }, Code::NotFound, "TOKEN_NOT_FOUND"),
        (Refusal::CallerGone, Code::Unauthenticated, "TOKEN_INVALID"),
        (
            Refusal::TokenNameTaken { name: name(), by: name() },
            Code::AlreadyExists,
            "TOKEN_NAME_TAKEN",
        ),
        (
            Refusal::DoneAndGone { what: RequestTarget::Token(name()) },
            Code::NotFound,
            "TOKEN_NOT_FOUND",
        ),
        (Refusal::LimitReached { what: "VMs", limit: 1 }, Code::ResourceExhausted, "LIMIT_REACHED"),
        (Refusal::NoSubnetLeft { pool: name() }, Code::ResourceExhausted, "LIMIT_REACHED"),
        (
            Refusal::InvalidFields(vec![SpecProblem::new("spec.placement", "no")]),
            Code::InvalidArgument,
            "INVALID_FIELDS",
        ),
    ];
    for (refusal, code, word) in cases {
        let status = refused(&refusal);
        assert_eq!((status.code(), reason(&status)), (code, word.to_owned()), "{refusal:?}");
    }
}

#[test]
fn failures_of_the_store_say_whether_to_try_again() {
    let unavailable = MutateError::Unavailable { reason: "disk full".to_owned() };
    let status = mutation_failed(unavailable);
    assert_eq!((status.code(), &*reason(&status)), (Code::Unavailable, "STORE_UNAVAILABLE"));
    let status = mutation_failed(MutateError::Closed);
    assert_eq!((status.code(), &*reason(&status)), (Code::Unavailable, "SHUTTING_DOWN"));
    let status = mutation_failed(MutateError::Defect { reason: "?".to_owned() });
    assert_eq!((status.code(), &*reason(&status)), (Code::Internal, "INTERNAL"));
}

#[test]
fn all_wrong_fields_are_listed() {
    let problems = ["a", "b", "c", "d", "e"].map(|field| SpecProblem::new(field, "is wrong"));
    let status = invalid_fields(problems.to_vec());
    let violations = status.get_details_bad_request().expect("there").field_violations;
    assert_eq!(violations.len(), 5);
    assert_eq!(status.message(), "a is wrong; b is wrong; c is wrong; and 2 more");
}

#[test]
fn details_stay_below_what_a_header_can_hold() {
    let problems = vec![SpecProblem::new("f".repeat(700), "is wrong".repeat(20)); 100];
    let status = invalid_fields(problems);
    assert!(status.details().len() < 8 * 1024, "{} bytes", status.details().len());
    let violations = status.get_details_bad_request().expect("there").field_violations;
    assert!(violations.last().expect("some").description.starts_with("and "));
}

/// Reasons that the server itself never answers with, and why.
const ELSEWHERE: &[&str] = &[
    // Never sent.
    "UNSPECIFIED",
    // Of the edge, which names them; `of_the_edge` builds them.
    "ORIGIN_NOT_ALLOWED",
    "SERVICE_NOT_FOUND",
    "BROKEN_OFF",
    // Answers of agents.
    "STALE_GENERATION",
    "ASSIGNMENT_NOT_FOUND",
    "DISK_FULL",
    "CONSOLE_UNAVAILABLE",
    "CERTIFICATE_UNUSABLE",
    "IMAGE_MISMATCH",
    "GUEST_REFUSED",
    "GUEST_AGENT_LOST",
];

#[test]
fn every_reason_is_built_here_or_named_as_somebody_elses() {
    // What these files build is written in them.
    let source =
        concat!(include_str!("../status.rs"), include_str!("guests.rs"), include_str!("kept.rs"));
    // There are gaps: numbers are given out in blocks.
    for reason in (0..1000).filter_map(|number| ErrorReason::try_from(number).ok()) {
        let word = word(reason);
        let variant = format!("{reason:?}");
        let built = source.contains(&format!("ErrorReason::{variant}"))
            || source.contains(&format!("R::{variant}"));
        assert_ne!(built, ELSEWHERE.contains(&word), "{word}");
    }
}

#[test]
fn whatever_a_caller_has_put_into_an_error_it_fits_a_header() {
    let long = "é".repeat(300_000);
    let fields = || vec![SpecProblem::new(long.clone(), long.clone()); 10];
    for status in [
        invalid_fields(fields()),
        error(Code::NotFound, ErrorReason::VmNotFound, long.clone()),
        refused(&Refusal::InvalidFields(fields())),
        refused(&Refusal::VmNotFound(crate::model::fixtures::vm_named(&long))),
    ] {
        let response = status.into_http::<()>();
        let headers = response.headers().iter();
        let size: usize = headers.map(|(name, value)| name.as_str().len() + value.len() + 32).sum();
        assert!(size < 16 * 1024, "a client takes 16 KiB, and this has {size}");
    }
}

#[test]
fn what_an_agent_or_a_guest_refuses_is_no_refusal_of_the_caller() {
    let id = crate::testing::vm_id(1);
    let of = GuestOf { vm: "web", id, host: "b0", simulated: false, to: FLEET };
    for (said, code) in [
        (Code::PermissionDenied, Code::FailedPrecondition),
        (Code::Unauthenticated, Code::FailedPrecondition),
        (Code::NotFound, Code::NotFound),
        (Code::ResourceExhausted, Code::ResourceExhausted),
    ] {
        let (reason, message) = ("GUEST_REFUSED".to_owned(), "no".to_owned());
        let status = guest_failed(&of, &GuestError::Said { code: said, reason, message });
        assert_eq!((status.code(), status.message()), (code, "no"));
    }
}

//! Claims about how errors are told apart and what they say.

use std::sync::Arc;

use tonic_types::{ErrorDetails, StatusExt as _};

use super::*;

const CREATE: Call = Call::change("CreateVm");
const SERVER: &str = "http://127.0.0.1:7070";

fn from(status: tonic::Status) -> ClientError {
    ClientError::from_status(SERVER, CREATE, Some(Duration::from_secs(30)), status)
}

#[test]
fn a_refusal_carries_reason_metadata_and_every_bad_field() {
    let mut details = ErrorDetails::new();
    details.set_error_info("INVALID_FIELDS", "banger", [("vm".to_owned(), "web".to_owned())]);
    details.add_bad_request_violation("spec.vcpus", "must be 1 to 32");
    details.add_bad_request_violation("spec.kernel.name", "is required");
    let status =
        tonic::Status::with_error_details(Code::InvalidArgument, "2 fields are wrong", details);
    let error = from(status);
    let refusal = error.refusal().unwrap();
    assert!(refusal.is(banger_proto::v1::ErrorReason::InvalidFields));
    assert_eq!(refusal.metadata["vm"], "web");
    let fields: Vec<_> = refusal.fields.iter().map(|f| f.field.as_str()).collect();
    assert_eq!(fields, ["spec.vcpus", "spec.kernel.name"]);
    assert_eq!(error.to_string(), "2 fields are wrong (INVALID_FIELDS)");
    assert_eq!(error.code(), Code::InvalidArgument);
    assert!(!error.is_passing());
}

#[test]
fn a_reason_from_a_newer_server_is_kept_as_text() {
    let mut details = ErrorDetails::new();
    details.set_error_info("MOON_IS_FULL", "banger", std::collections::HashMap::new());
    let status = tonic::Status::with_error_details(Code::Aborted, "not tonight", details);
    let error = from(status);
    assert_eq!(error.refusal().unwrap().known_reason(), None);
    assert_eq!(error.to_string(), "not tonight (MOON_IS_FULL)");
}

#[test]
fn unavailable_from_the_server_is_a_refusal_and_not_a_transport_failure() {
    let error = from(tonic::Status::unavailable("the server is shutting down"));
    assert!(matches!(error, ClientError::Refused(_)), "{error:?}");
    assert!(error.is_passing());
}

#[test]
fn what_is_not_there_yet_is_said_plainly() {
    let error = from(tonic::Status::unimplemented(""));
    assert_eq!(error.to_string(), "the server does not have CreateVm yet");
}

#[test]
fn a_broken_connection_during_a_change_says_that_the_outcome_is_unknown() {
    let mut status = tonic::Status::unknown("transport error");
    status.set_source(Arc::new(std::io::Error::from(std::io::ErrorKind::ConnectionReset)));
    let error = from(status);
    assert_eq!(
        error.to_string(),
        "the connection to http://127.0.0.1:7070 broke during CreateVm: the connection was \
         closed; whether it took effect is not known"
    );
}

#[test]
fn an_answer_that_is_not_grpc_is_named_as_such() {
    let error = from(tonic::Status::unknown(
        "grpc-status header missing, mapped from HTTP status code 404",
    ));
    assert!(matches!(error, ClientError::NotBanger { .. }), "{error:?}");
}

#[test]
fn no_reason_of_the_contract_lacks_a_name_the_client_can_read() {
    for number in 1.. {
        let Ok(reason) = banger_proto::v1::ErrorReason::try_from(number) else { break };
        let name = reason.as_str_name().strip_prefix("ERROR_REASON_").unwrap();
        let mut details = ErrorDetails::new();
        details.set_error_info(name, "banger", std::collections::HashMap::new());
        let status = tonic::Status::with_error_details(Code::Internal, "x", details);
        assert!(from(status).refusal().unwrap().is(reason), "{name}");
    }
}

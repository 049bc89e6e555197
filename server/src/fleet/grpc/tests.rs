//! What an agent's status says about one VM.

use std::collections::HashMap;

use tonic_types::ErrorDetails;

use tonic_types::StatusExt as _;

use super::*;

fn status(code: Code, reason: &str) -> Status {
    let details = ErrorDetails::with_error_info(reason, "banger", HashMap::new());
    Status::with_error_details(code, "no", details)
}

#[test]
fn a_refusal_for_a_full_disk_is_known_and_any_other_is_one() {
    for (status, reason) in [
        (status(Code::ResourceExhausted, "DISK_FULL"), RefusalReason::DiskFull),
        (status(Code::ResourceExhausted, "LIMIT_REACHED"), RefusalReason::Other),
        (status(Code::FailedPrecondition, "FROM_A_NEWER_AGENT"), RefusalReason::Other),
        (Status::invalid_argument("no"), RefusalReason::Other),
    ] {
        let refused = Delivery::Refused { reason, message: "no".to_owned() };
        let message = status.message().to_owned();
        assert_eq!(answers::about_the_vm(&status), Some(refused), "{message}");
    }
}

#[test]
fn an_agent_that_is_going_away_has_said_nothing_about_the_vm() {
    assert_eq!(answers::about_the_vm(&status(Code::Unavailable, "SHUTTING_DOWN")), None);
}

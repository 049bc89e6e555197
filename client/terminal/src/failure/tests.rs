//! Claims about exit codes and what is said.

use super::*;

#[test]
fn every_grpc_code_has_its_exit_code() {
    let of = |code: i32| Exit::of_code(Code::from(code)) as u8;
    let all: Vec<u8> = (0..=16).map(of).collect();
    // OK CANCELLED UNKNOWN INVALID_ARGUMENT DEADLINE_EXCEEDED NOT_FOUND ALREADY_EXISTS
    // PERMISSION_DENIED RESOURCE_EXHAUSTED FAILED_PRECONDITION ABORTED OUT_OF_RANGE UNIMPLEMENTED
    // INTERNAL UNAVAILABLE DATA_LOSS UNAUTHENTICATED
    assert_eq!(all, [0, 6, 1, 5, 6, 3, 4, 9, 4, 4, 4, 5, 8, 1, 6, 1, 9]);
}

#[test]
fn a_closed_pipe_is_not_an_error() {
    let failure = Failure::from(io::Error::from(io::ErrorKind::BrokenPipe));
    assert_eq!(failure.exit(), Exit::Ok);
}

#[test]
fn control_characters_of_a_server_never_reach_the_terminal() {
    let lines = Failure::Invalid("a\x1b[2Jb\nc".to_owned()).lines(None);
    let plain = anstream::adapter::strip_str(&lines).to_string();
    assert_eq!(plain, "error: a\\u{1b}[2Jb c\n");
    assert!(!lines.contains("\x1b[2J"), "{lines:?}");
}

#[test]
fn a_program_gets_the_error_as_one_json_object() {
    let failure = Failure::NotReached("web is FAILED".to_owned());
    assert_eq!(
        failure.json(Some("web")),
        serde_json::json!({"error": {"message": "web is FAILED", "exitCode": 7, "about": "web"}})
    );
}

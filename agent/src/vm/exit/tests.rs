//! How an end is told.

use super::*;

fn exit(status: ExitStatus, log: &str) -> Exit {
    exit_from(status, log, Timestamp::UNIX_EPOCH)
}

#[test]
fn status_zero_is_a_guest_that_shut_down() {
    let exit = exit(ExitStatus::Code(0), "whatever");
    assert!(!exit.crashed);
    assert_eq!((exit.code, exit.message.as_str()), (Some(0), "the guest shut down"));
}

#[test]
fn a_signal_is_a_crash_and_the_logs_last_line_is_told() {
    let exit = exit(ExitStatus::Signal(9), "first\nRunning out of \u{1b}[31mluck\n\n");
    assert!(exit.crashed);
    assert_eq!(exit.signal, Some(9));
    assert!(exit.message.ends_with("its log ends: Running out of [31mluck"), "{}", exit.message);
}

#[test]
fn the_exit_of_a_process_that_was_no_child_is_read_from_its_log() {
    let log = "2026-01-01 [anonymous-instance:main] Firecracker exiting successfully. exit_code=0";
    assert!(!exit(ExitStatus::Unknown, log).crashed);
    let log = "... Firecracker exiting with error. exit_code=1";
    assert_eq!(exit(ExitStatus::Unknown, log).code, Some(1));
}

#[test]
fn an_exit_that_nobody_saw_counts_as_a_crash() {
    let exit = exit(ExitStatus::Unknown, "");
    assert!(exit.crashed);
    assert_eq!((exit.code, exit.signal), (None, None));
}

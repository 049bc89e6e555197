//! How an end is told.

use super::*;

fn exit(status: ExitStatus, log: &str, console: &str) -> Exit {
    exit_from(status, LastWords { log, console }, false, Timestamp::UNIX_EPOCH)
}

const REBOOTED: &str = "[    9.1] reboot: Restarting system\r\n";
const PANIC: &str = "[    0.0] Linux version 6.1.0 (gcc)\r\n\
    [    1.2] VFS: Cannot open root device \"vda\"\r\n\
    [    1.3] Kernel panic - not syncing: VFS: Unable to mount root fs\r\n\
    [    1.4] CPU: 0 PID: 1\u{1b}[31m Comm: swapper/0\r\n\
    [    1.5] Rebooting in 1 seconds..\r\n";

#[test]
fn status_zero_after_the_kernels_last_words_is_a_guest_that_shut_down() {
    for console in [REBOOTED, "[ 3.0] reboot: Power down\n", "x\nreboot: System halted\n"] {
        let exit = exit(ExitStatus::Code(0), "whatever", console);
        assert!(!exit.crashed);
        assert_eq!((exit.code, exit.cause), (Some(0), ExitCause::GuestShutdown));
        assert_eq!(exit.message, "the guest shut down");
    }
    // QEMU tells a guest that turned itself off from one that was reset.
    let off = exit(ExitStatus::Code(0), "qmp: SHUTDOWN guest-shutdown exit_code=0\n", "");
    assert_eq!((off.crashed, off.cause), (false, ExitCause::GuestShutdown));
}

#[test]
fn a_panic_is_no_shutdown_whatever_the_status_and_its_words_are_told() {
    let qemu = "qmp: GUEST_PANICKED\nqmp: SHUTDOWN guest-panic exit_code=1\n";
    for (status, log, console) in [
        (ExitStatus::Code(0), "", PANIC),
        (ExitStatus::Code(1), qemu, PANIC),
        (ExitStatus::Unknown, "… exit_code=0", PANIC),
        (ExitStatus::Unknown, "", PANIC),
    ] {
        let exit = exit(status, log, console);
        assert!(exit.crashed);
        assert_eq!(exit.cause, ExitCause::GuestPanic);
        // Whatever the guest has printed is behind the words by which the server cuts.
        let words = "the guest's kernel panicked; its console ends: Kernel panic - not syncing: \
                     VFS: Unable to mount root fs … | ";
        assert!(exit.message.starts_with(words), "{}", exit.message);
        assert!(exit.message.ends_with("Rebooting in 1 seconds.."), "{}", exit.message);
        assert!(!exit.message.chars().any(char::is_control), "{}", exit.message);
    }
    // With its driver but without a word on the console.
    let quiet = exit(ExitStatus::Code(1), qemu, "");
    assert_eq!(quiet.cause, ExitCause::GuestPanic);
}

#[test]
fn an_end_that_nobody_asked_for_or_heard_of_is_unexplained_and_a_crash() {
    for console in ["", "starting services\nready\n"] {
        let exit = exit(ExitStatus::Code(0), "", console);
        assert_eq!((exit.crashed, exit.cause), (true, ExitCause::Unexplained));
        assert!(exit.message.contains("nobody asked for a shutdown"), "{}", exit.message);
    }
}

#[test]
fn what_an_earlier_run_said_explains_nothing_of_this_one() {
    let silent = format!("{REBOOTED}{PANIC}[ 0.0] Linux version 6.1.0\nready\n");
    assert_eq!(exit(ExitStatus::Code(0), "", &silent).cause, ExitCause::Unexplained);
    let again = format!("{PANIC}[ 0.0] Linux version 6.1.0\n{REBOOTED}");
    assert_eq!(exit(ExitStatus::Code(0), "", &again).cause, ExitCause::GuestShutdown);
}

#[test]
fn an_end_that_was_asked_for_is_told_as_that() {
    let at = Timestamp::UNIX_EPOCH;
    for status in [ExitStatus::Signal(9), ExitStatus::Code(0), ExitStatus::Unknown] {
        let exit = exit_from(status, LastWords { log: "", console: PANIC }, true, at);
        assert_eq!((exit.crashed, exit.cause), (false, ExitCause::Asked), "{status:?}");
        assert!(exit.message.contains("as it was"), "{}", exit.message);
    }
}

#[test]
fn a_signal_is_a_crash_and_the_logs_last_line_is_told() {
    let log = "first\nRunning out of \u{1b}[31mluck\n\n";
    let exit = exit(ExitStatus::Signal(9), log, REBOOTED);
    assert!(exit.crashed);
    assert_eq!((exit.signal, exit.cause), (Some(9), ExitCause::VmmEnded));
    assert!(exit.message.ends_with("its log ends: Running out of [31mluck"), "{}", exit.message);
}

#[test]
fn the_exit_of_a_process_that_was_no_child_is_read_from_its_log() {
    let log = "2026-01-01 [anonymous-instance:main] Firecracker exiting successfully. exit_code=0";
    assert!(!exit(ExitStatus::Unknown, log, REBOOTED).crashed);
    let log = "... Firecracker exiting with error. exit_code=1";
    assert_eq!(exit(ExitStatus::Unknown, log, REBOOTED).code, Some(1));
}

#[test]
fn an_exit_that_nobody_saw_counts_as_a_crash() {
    let exit = exit(ExitStatus::Unknown, "", "");
    assert!(exit.crashed);
    assert_eq!((exit.code, exit.signal), (None, None));
}

//! Back-off, and what is remembered of a failure.

use super::*;

fn at(seconds: u64) -> Moment {
    Moment(Duration::from_secs(seconds))
}

fn exit() -> Exit {
    Exit {
        cause: crate::assignment::ExitCause::default(),
        crashed: true,
        code: None,
        signal: Some(9),
        message: String::new(),
        at: jiff::Timestamp::UNIX_EPOCH,
    }
}

#[test]
fn back_off_doubles_from_one_second_to_sixty() {
    let waits: Vec<u64> = (1..=9).map(|n| backoff(n).as_secs()).collect();
    assert_eq!(waits, [1, 2, 4, 8, 16, 32, 60, 60, 60]);
    assert_eq!(backoff(u32::MAX).as_secs(), 60);
}

#[test]
fn a_failed_attempt_remembers_the_files_it_made_and_forgets_those_it_found() {
    let mut memory = Memory::default();
    let done = Success { now: at(0), stop_grace: Duration::ZERO, metadata: None };
    memory.begin(EffectKind::CheckHost);
    memory.done(EffectKind::MakeCowFile, Change::Made, &done);
    memory.done(EffectKind::MakeWorkDisk, Change::AlreadySo, &done);
    memory.failed(EffectKind::AttachCow, Reason::ToolFailed, "no".to_owned(), at(1));
    assert_eq!(memory.attempt, None);
    assert_eq!(memory.undo, BTreeSet::from([EffectKind::MakeCowFile]));
    assert_eq!(memory.failure.unwrap().fault.retry_at, Some(at(2)));
}

#[test]
fn a_failure_that_no_retry_can_help_waits_for_a_new_assignment() {
    let mut memory = Memory::default();
    memory.begin(EffectKind::CheckHost);
    memory.failed(EffectKind::CheckHost, Reason::NotRoot, "no".to_owned(), at(1));
    assert_eq!(memory.failure.as_ref().unwrap().fault.retry_at, None);
    memory.assignment_changed(Power::Running, Duration::ZERO, at(2));
    assert_eq!(memory.failure, None);
}

#[test]
fn ends_in_a_row_wait_longer_and_a_steady_life_starts_anew() {
    let mut memory = Memory::default();
    memory.restart.alive_since = Some(at(0));
    memory.ended_by_itself(exit(), at(1));
    assert_eq!(memory.restart.not_before, Some(at(2)));
    memory.restart.alive_since = Some(at(2));
    memory.ended_by_itself(exit(), at(3));
    assert_eq!(memory.restart.not_before, Some(at(5)));
    memory.restart.alive_since = Some(at(5));
    memory.ended_by_itself(exit(), at(65));
    assert_eq!(memory.restart.not_before, Some(at(66)));
}

#[test]
fn a_guest_that_cannot_be_asked_to_stop_is_ended_without() {
    let mut memory = Memory::default();
    let reason = Reason::VmmUnresponsive;
    memory.failed(EffectKind::AskGuestToStop, reason, "no".to_owned(), at(7));
    assert_eq!(memory.stop_by, Some(at(7)));
}

#[test]
fn asking_again_with_less_patience_shortens_the_wait() {
    let mut memory = Memory { stop_by: Some(at(100)), ..Memory::default() };
    memory.assignment_changed(Power::Stopped, Duration::from_secs(500), at(10));
    assert_eq!(memory.stop_by, Some(at(100)));
    memory.assignment_changed(Power::Stopped, Duration::from_secs(5), at(10));
    assert_eq!(memory.stop_by, Some(at(15)));
}

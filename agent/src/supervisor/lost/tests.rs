//! As whom a guest runs is told by its own processes, whatever others say.

use proptest::prelude::*;

use super::WordOfRecords::{Future, Nothing};
use super::*;

const ROOT: u32 = 0;
const GUESTS: u32 = 200_002;
const STRANGERS: u32 = 1000;

/// A process as it is found: whether it is in the jail's group, whether it is a jailer, and its
/// user.
#[derive(Debug, Clone)]
struct Process {
    member: bool,
    jailer: bool,
    user: Option<u32>,
}

fn found(processes: &[Process]) -> UsersFound {
    let mut found = UsersFound::default();
    for (n, process) in processes.iter().enumerate() {
        let pid = Pid::new(100 + n as u32).unwrap();
        if process.member {
            found.member(pid, process.user);
        } else {
            found.claim(pid, process.user, process.jailer);
        }
    }
    found
}

fn member(user: u32) -> Process {
    Process { member: true, jailer: false, user: Some(user) }
}

fn claim(user: u32) -> Process {
    Process { member: false, ..member(user) }
}

#[test]
fn a_strangers_word_does_not_tell_the_user_of_a_guest_that_is_roots_still() {
    let jailer = Process { jailer: true, ..claim(ROOT) };
    for on_its_way in [member(ROOT), jailer, Process { user: None, ..member(ROOT) }] {
        assert!(
            found(std::slice::from_ref(&on_its_way)).beside(None, Nothing).is_err(),
            "{on_its_way:?}"
        );
        let beside_a_stranger = found(&[claim(STRANGERS), on_its_way.clone()]);
        assert!(beside_a_stranger.beside(None, Nothing).is_err(), "{on_its_way:?}");
        assert!(beside_a_stranger.beside(Some(GUESTS), Nothing).is_err(), "{on_its_way:?}");
        let another = found(&[member(GUESTS), on_its_way]);
        assert_eq!(another.beside(None, Nothing), Ok(BTreeSet::from([GUESTS])));
    }
    // What says that it is a jailer and is not root's is nobody's reason to wait.
    let forged = Process { jailer: true, ..claim(STRANGERS) };
    assert_eq!(found(&[forged]).beside(None, Nothing), Ok(BTreeSet::from([STRANGERS])));
}

#[test]
fn a_guest_whose_record_says_another_user_keeps_the_one_that_it_runs_as() {
    let runs = found(&[member(GUESTS)]);
    assert_eq!(runs.beside(Some(GUESTS), Nothing), Ok(BTreeSet::new()));
    for word in [Nothing, Future] {
        assert_eq!(runs.beside(Some(GUESTS + 1), word), Ok(BTreeSet::from([GUESTS])));
    }
    // Started by the record that is there now.
    assert_eq!(found(&[member(ROOT)]).beside(Some(GUESTS), Future), Ok(BTreeSet::new()));
}

fn process() -> impl Strategy<Value = Process> {
    let user = prop_oneof![Just(None), Just(Some(ROOT)), (1_u32..5).prop_map(Some)];
    (any::<bool>(), any::<bool>(), user).prop_map(|(member, jailer, user)| Process {
        member,
        jailer,
        user,
    })
}

proptest! {
    #[test]
    fn no_user_of_a_guests_own_process_is_free_and_nobody_elses_word_changes_that(
        processes in prop::collection::vec(process(), 0..6),
        held in prop::option::of(1_u32..5),
        future in any::<bool>(),
    ) {
        let word = if future { Future } else { Nothing };
        let is_untold = |process: &Process| match process.user {
            None => process.member,
            Some(user) => user == ROOT && (process.member || process.jailer),
        };
        let own: BTreeSet<u32> = processes.iter()
            .filter(|process| process.member)
            .filter_map(|process| process.user.filter(|user| *user != ROOT))
            .collect();
        let told = found(&processes).beside(held, word);
        // With strangers or without, it can be told or not.
        let without: Vec<Process> = processes.iter()
            .filter(|process| process.member || is_untold(process)).cloned().collect();
        prop_assert_eq!(told.is_err(), found(&without).beside(held, word).is_err());
        match told {
            Err(_) => {
                prop_assert!(own.is_empty() && processes.iter().any(is_untold));
                prop_assert!(held.is_none() || word == Nothing);
            }
            Ok(kept) => {
                let kept_or_held = |user: &u32| kept.contains(user) || Some(*user) == held;
                prop_assert!(own.iter().all(kept_or_held), "{kept:?}");
                let untold = processes.iter().any(is_untold) && own.is_empty();
                prop_assert!(!untold || held.is_some() && word == Future);
            }
        }
    }
}

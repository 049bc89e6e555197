//! How large a host counts as: as it said first, or as an operator has accepted; never as more.

use super::*;
use crate::model::capacity::AcceptedCapacity;
use crate::model::labels::LabelChange;

const HUGE: Resources =
    Resources { vcpus: 1 << 16, memory_mib: 1 << 26, disk_mib: 1 << 40, guests: u32::MAX };

fn accept(ledger: &mut Ledger, host: HostId, accepted: AcceptedCapacity) {
    let update = UpdateHost {
        host: HostRef::Id(host),
        etag: None,
        labels: LabelChange::Some { put: Default::default(), remove: Default::default() },
        agent_address: None,
        vcpu_overcommit: None,
        memory_overcommit: None,
        accepted: Some(accepted),
    };
    make(ledger, update.into()).expect("accepted");
}

fn counts(ledger: &Ledger, host: HostId) -> Resources {
    let entry = ledger.hosts.get(&host).expect("it is there");
    entry.counted().expect("it was heard")
}

fn keep(ledger: &mut Ledger) {
    make(ledger, KeepFirstCapacities.into()).expect("kept");
}

/// How many of sixty VMs, none of which asks for a host, go to this one.
fn drawn(ledger: &mut Ledger, host: HostId) -> usize {
    let vms = (0..60).map(|number| add_vm(ledger, number, &format!("vm-{number}")));
    vms.filter(|vm| vm.host == Some(host)).count()
}

fn four_hosts() -> Ledger {
    let mut ledger = Ledger::new(LedgerConfig::default());
    for number in 1..=4 {
        add_host(&mut ledger, number, &format!("host-{number}"));
        let large = Resources { vcpus: 64, memory_mib: 65_536, ..ROOM };
        set_room(&mut ledger, host_id(number), large);
    }
    ledger
}

#[test]
fn a_host_that_grows_by_its_own_word_takes_no_more_than_its_share() {
    for stored in [false, true] {
        let mut ledger = four_hosts();
        if stored {
            keep(&mut ledger);
            assert!(!ledger.has_first_capacities());
        }
        ledger.set_capacity(host_id(4), Some(HUGE), true);
        assert_eq!(drawn(&mut ledger, host_id(4)), 15, "stored: {stored}");
    }
}

#[test]
fn a_host_that_says_from_the_first_that_it_is_huge_is_preferred_for_twice_the_usual_at_most() {
    let mut ledger = four_hosts();
    add_host(&mut ledger, 5, "liar");
    set_room(&mut ledger, host_id(5), HUGE);
    keep(&mut ledger);
    assert_eq!(drawn(&mut ledger, host_id(5)), 20, "two of six parts");
    // Whom an operator has believed is as large as it says.
    let mut ledger = four_hosts();
    add_host(&mut ledger, 5, "large");
    accept(&mut ledger, host_id(5), AcceptedCapacity::of(HUGE));
    ledger.set_capacity(host_id(5), Some(HUGE), true);
    assert_eq!(drawn(&mut ledger, host_id(5)), 60);
}

#[test]
fn what_a_host_says_shrinks_it_at_once_and_never_grows_it() {
    let mut ledger = with_host();
    let one = host_id(1);
    ledger.set_capacity(one, Some(Resources { vcpus: 1, ..ROOM }), true);
    assert_eq!(counts(&ledger, one).vcpus, 1);
    ledger.set_capacity(one, Some(HUGE), true);
    assert_eq!(counts(&ledger, one), ROOM);
    keep(&mut ledger);
    let record = ledger.host(&HostRef::Id(one)).expect("there");
    assert_eq!(record.first_capacity, AcceptedCapacity::of(ROOM), "and not what it said last");
    assert_eq!(record.generation, 1, "nobody has changed it");
    // More by an operator's word, and back.
    accept(&mut ledger, one, AcceptedCapacity { vcpus: Some(32), ..Default::default() });
    assert_eq!(counts(&ledger, one), Resources { vcpus: 32, ..ROOM });
    accept(&mut ledger, one, AcceptedCapacity::default());
    assert_eq!(counts(&ledger, one), ROOM);
}

#[test]
fn what_does_not_count_is_no_room_that_came() {
    let mut ledger = with_host();
    ledger.place_pending(&caller());
    ledger.note_outcome(&Outcome::Placed { placed: 0, pending: 0, rest_after: None });
    assert!(!ledger.search.room_came());
    ledger.set_capacity(host_id(1), Some(HUGE), true);
    assert!(!ledger.search.room_came(), "else a host could have all that wait looked at again");
    ledger.set_capacity(host_id(1), Some(Resources { vcpus: 1, ..ROOM }), true);
    ledger.set_capacity(host_id(1), Some(ROOM), true);
    assert!(ledger.search.room_came());
}

#[test]
fn a_join_token_says_how_large_a_host_is_at_most_and_one_that_does_not_changes_nothing() {
    let mut ledger = Ledger::new(LedgerConfig::default());
    let some = AcceptedCapacity { vcpus: Some(2), ..AcceptedCapacity::default() };
    let first = JoinToken { capacity: some, ..token("one") };
    make(&mut ledger, CreateJoinToken(first).into()).expect("kept");
    make(&mut ledger, join(1, "one", "one").into()).expect("joined");
    let one = host_id(1);
    ledger.set_capacity(one, Some(ROOM), true);
    assert_eq!(counts(&ledger, one), Resources { vcpus: 2, ..ROOM });
    let again = |ledger: &mut Ledger, id: &str, capacity: AcceptedCapacity| {
        let token = JoinToken { host_name: Some("one".to_owned()), capacity, ..token(id) };
        make(ledger, CreateJoinToken(token).into()).expect("kept");
        let join = JoinHost { known_id: Some(one), ..join(1, id, "one") };
        make(ledger, join.into()).expect("joined again");
        ledger.set_capacity(one, None, false);
        ledger.set_capacity(one, Some(HUGE), true);
    };
    again(&mut ledger, "silent", AcceptedCapacity::default());
    assert_eq!(counts(&ledger, one), Resources { vcpus: 2, ..ROOM });
    again(&mut ledger, "more", AcceptedCapacity { vcpus: Some(9), ..Default::default() });
    assert_eq!(counts(&ledger, one), Resources { vcpus: 9, ..ROOM });
}

#[test]
fn a_fact_that_could_not_be_read_at_first_pins_nobody_to_nothing() {
    let mut ledger = Ledger::new(LedgerConfig::default());
    make(&mut ledger, CreateJoinToken(token("one")).into()).expect("kept");
    make(&mut ledger, join(1, "one", "one").into()).expect("joined");
    ledger.set_capacity(host_id(1), Some(Resources::default()), true);
    keep(&mut ledger);
    ledger.set_capacity(host_id(1), Some(ROOM), true);
    assert!(ledger.has_first_capacities());
    keep(&mut ledger);
    assert_eq!(counts(&ledger, host_id(1)), ROOM);
}

use super::*;

const ROOM: Room = Room { connections: 8, per_address: 4, unproven: 2 };

fn address(n: u8) -> IpAddr {
    IpAddr::from([192, 0, 2, n])
}

fn gave_way(place: &Place) -> bool {
    place.give_way().is_cancelled()
}

#[tokio::test]
async fn connections_that_say_nothing_keep_nobody_out() {
    let places = Places::new(ROOM);
    let start = Instant::now();
    let silent: Vec<_> = (0..100).filter_map(|_| places.take(address(1), start)).collect();
    assert_eq!(silent.len(), 100, "each was taken, and pushed out an older one");
    assert_eq!(silent.iter().filter(|place| !gave_way(place)).count(), ROOM.per_address);
    let honest = places.take(address(2), start).expect("there is room");
    let more: Vec<_> = (0..100).filter_map(|_| places.take(address(1), start)).collect();
    assert_eq!(more.len(), 100);
    assert!(!gave_way(&honest), "another address has more of them");
}

#[tokio::test]
async fn an_honest_one_of_the_same_address_outlives_the_silent_ones_once_it_is_proven() {
    let places = Places::new(ROOM);
    let start = Instant::now();
    let honest = places.take(address(1), start).expect("there is room");
    honest.prove();
    honest.prove();
    let silent: Vec<_> = (0..100).filter_map(|_| places.take(address(1), start)).collect();
    assert_eq!(silent.len(), 100);
    assert!(!gave_way(&honest));
    assert_eq!(places.taken(), (ROOM.per_address, ROOM.per_address - 1));
    drop((honest, silent));
    assert_eq!(places.taken(), (0, 0), "all are given back");
}

#[tokio::test]
async fn many_that_come_at_once_are_left_their_time_to_show_who_they_are() {
    let places = Places::new(ROOM);
    let start = Instant::now();
    let herd: Vec<_> = (1..=8).filter_map(|n| places.take(address(n), start)).collect();
    assert!(!herd.iter().any(gave_way), "more than may be unproven, but all have just come");
    let later = start + GRACE;
    let late = places.take(address(9), later).expect("an old one gives way");
    assert!(!gave_way(&late));
    assert!(gave_way(&herd[0]), "the oldest goes first");
    let (taken, unproven) = places.taken();
    assert!(taken <= 5 && unproven <= 5, "a few at once: {taken} {unproven}");
}

#[tokio::test]
async fn those_that_stay_unproven_end_without_a_newcomer_and_the_others_do_not() {
    let places = Places::new(Room { connections: 64, per_address: 32, unproven: 3 });
    let start = Instant::now();
    let take = |n, at| places.take(address(n), at).expect("there is room");
    let flood: Vec<_> = (0..10).map(|_| take(1, start)).collect();
    let few: Vec<_> = (0..2).map(|_| take(2, start)).collect();
    let proven = take(3, start);
    proven.prove();
    places.end_overdue(start + GRACE / 2);
    assert!(!flood.iter().chain(&few).any(gave_way), "they have their time");
    let late = take(1, start + GRACE);
    places.end_overdue(start + GRACE);
    // Of the flood's address one is left that has just come; the other address has few.
    let stayed: Vec<_> = flood.iter().map(|place| !gave_way(place)).collect();
    assert_eq!(stayed, [false; 10], "the oldest of the address with the most go");
    assert!(!few.iter().chain([&late, &proven]).any(gave_way));
    assert_eq!(places.taken(), (4, 3), "as many as may be unproven, and the proven one");
    places.end_overdue(start + GRACE * 100);
    assert_eq!(places.taken(), (4, 3), "so few may stay");
}

#[tokio::test]
async fn places_of_proven_connections_are_bounded_in_all_and_per_address() {
    let places = Places::new(ROOM);
    let now = Instant::now();
    let prove = |place: Place| {
        place.prove();
        place
    };
    let mut held: Vec<_> = (0..4).filter_map(|_| places.take(address(1), now)).map(prove).collect();
    assert!(places.take(address(1), now).is_none(), "the address has all it may have");
    held.extend((0..4).filter_map(|_| places.take(address(2), now)).map(prove));
    assert!(places.take(address(3), now).is_none(), "all places are taken");
    drop(held.pop());
    assert!(places.take(address(3), now).is_some());
}

#[test]
fn all_of_a_machines_ipv6_addresses_are_one() {
    let of = |text: &str| network(text.parse().expect("an address"));
    assert_eq!(of("2001:db8::1"), of("2001:db8::ffff:1:2:3"));
    assert_ne!(of("2001:db8::1"), of("2001:db8:0:1::1"));
    assert_eq!(of("::ffff:192.0.2.1"), of("192.0.2.1"));
}

use super::*;

const ROOM: Room = Room { connections: 8, per_address: 4, unproven: 2, per_party: 8 };

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
    honest.prove(None);
    honest.prove(None);
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
    let places = Places::new(Room { connections: 64, per_address: 32, unproven: 3, per_party: 64 });
    let start = Instant::now();
    let take = |n, at| places.take(address(n), at).expect("there is room");
    let flood: Vec<_> = (0..10).map(|_| take(1, start)).collect();
    let few: Vec<_> = (0..2).map(|_| take(2, start)).collect();
    let proven = take(3, start);
    proven.prove(None);
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
        place.prove(None);
        place
    };
    let mut held: Vec<_> = (0..4).filter_map(|_| places.take(address(1), now)).map(prove).collect();
    assert!(places.take(address(1), now).is_none(), "the address has all it may have");
    held.extend((0..4).filter_map(|_| places.take(address(2), now)).map(prove));
    assert!(places.take(address(3), now).is_none(), "all places are taken");
    drop(held.pop());
    assert!(places.take(address(3), now).is_some());
}

fn of(places: &Places, from: u8, party: &str, now: Instant) -> Place {
    let place = places.take(address(from), now).expect("there is room for newcomers");
    place.prove(Some(party.into()));
    place
}

#[tokio::test]
async fn a_party_that_is_past_its_share_loses_its_oldest_where_it_has_the_most() {
    let places = Places::new(Room { connections: 64, per_address: 32, unproven: 8, per_party: 4 });
    let now = Instant::now();
    let other = of(&places, 1, "lab/", now);
    let alone = of(&places, 2, "shop/", now);
    let many: Vec<_> = (0..10).map(|_| of(&places, 1, "shop/", now)).collect();
    let stayed: Vec<_> = many.iter().map(|place| !gave_way(place)).collect();
    let oldest_went = [[false; 7].as_slice(), &[true; 3]].concat();
    assert_eq!(stayed, oldest_went, "whoever comes gets in, and the oldest go");
    assert!(!gave_way(&alone), "its people elsewhere have few");
    assert!(!gave_way(&other), "another party's");
    drop(many);
    assert!(!gave_way(&of(&places, 1, "shop/", now)), "they are given back");
}

#[tokio::test]
async fn however_many_parties_fill_all_places_one_that_has_few_gets_in_and_stays() {
    let places = Places::new(Room { connections: 16, per_address: 16, unproven: 4, per_party: 5 });
    let now = Instant::now();
    let nobodys = places.take(address(9), now).expect("there is room");
    nobodys.prove(None);
    let mut greedy = Vec::new();
    for party in ["a/", "b/", "c/"] {
        greedy.extend((0..20).map(|n| of(&places, n, party, now)));
    }
    assert_eq!(places.taken(), (12, 0), "a quarter is left for newcomers");
    let modest: Vec<_> = (0..2).map(|n| of(&places, 100 + n, "d/", now)).collect();
    greedy.extend((0..20).map(|n| of(&places, n, "a/", now)));
    assert!(!modest.iter().any(gave_way) && !gave_way(&nobodys));
    assert_eq!(places.taken(), (12, 0));
    // Strangers push out each other alone.
    let strangers: Vec<_> = (0..50).filter_map(|n| places.take(address(n), now)).collect();
    assert_eq!(strangers.len(), 50);
    assert_eq!(places.taken(), (16, 4));
    assert!(!modest.iter().any(gave_way));
}

#[tokio::test]
async fn behind_one_address_no_party_keeps_out_another() {
    let places = Places::new(Room { connections: 64, per_address: 8, unproven: 8, per_party: 32 });
    let now = Instant::now();
    let greedy: Vec<_> = (0..30).map(|_| of(&places, 1, "shop/", now)).collect();
    assert_eq!(greedy.iter().filter(|place| !gave_way(place)).count(), 7);
    let modest = of(&places, 1, "lab/", now);
    let more: Vec<_> = (0..30).map(|_| of(&places, 1, "shop/", now)).collect();
    assert!(!gave_way(&modest), "as behind a proxy, where every peer is the proxy");
    assert_eq!(more.iter().filter(|place| !gave_way(place)).count(), 6);
}

#[tokio::test]
async fn a_connection_whose_identity_went_is_no_partys() {
    let places = Places::new(Room { connections: 64, per_address: 32, unproven: 8, per_party: 2 });
    let now = Instant::now();
    let first = of(&places, 1, "shop/", now);
    first.unprove();
    let two = [of(&places, 1, "shop/", now), of(&places, 1, "shop/", now)];
    assert!(!two.iter().any(gave_way) && !gave_way(&first));
    first.prove(Some("shop/".into()));
    assert!(gave_way(&first), "the oldest of them again");
}

#[test]
fn all_of_a_machines_ipv6_addresses_are_one() {
    let of = |text: &str| network(text.parse().expect("an address"));
    assert_eq!(of("2001:db8::1"), of("2001:db8::ffff:1:2:3"));
    assert_ne!(of("2001:db8::1"), of("2001:db8:0:1::1"));
    assert_eq!(of("::ffff:192.0.2.1"), of("192.0.2.1"));
}

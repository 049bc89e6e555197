use super::*;

fn attempts() -> Vec<Attempt> {
    let attempt = |name, reach| Attempt { name, frames: vec![vec![0; 60]; 2], reach };
    vec![attempt("to be another", Reach::NotItsOwn), attempt("to be routed", Reach::Router)]
}

#[test]
fn an_attempt_that_was_not_made_answered_or_cut_its_guest_off_is_named() {
    let good = "hostile 000 answers 0, itself answered\r\nhostile 001 answers 0, itself answered\n";
    assert_eq!(of_said(&attempts(), good), Vec::<String>::new());
    let missing = "hostile 001 answers 0, itself answered";
    assert_eq!(of_said(&attempts(), missing), ["to be another: never made"]);
    for bad in
        ["failed: no such device", "answers 1, itself answered 00", "answers 0, itself cut off"]
    {
        let said = good.replace("001 answers 0, itself answered", &format!("001 {bad}"));
        assert_eq!(of_said(&attempts(), &said), [format!("to be routed: hostile 001 {bad}")]);
    }
}

#[test]
fn what_arrives_where_it_may_not_and_what_was_never_sent_is_named() {
    let seen = |sights: &[(&str, u16)]| -> BTreeSet<Sight> {
        sights.iter().map(|(place, n)| ((*place).to_owned(), *n)).collect()
    };
    let good =
        [("tap0", 0), ("tap0", 1), ("br0", 1), ("tcp", 0), ("udp", CONTROL), ("up1", CONTROL + 1)];
    assert_eq!(of_seen(&attempts(), &seen(&good), "br0", "tap0"), Vec::<String>::new());
    let nothing = [
        "to be routed never came to the router",
        "to be another never left its guest",
        "to be routed never left its guest",
    ];
    assert_eq!(of_seen(&attempts(), &seen(&[]), "br0", "tap0"), nothing);
    for (bad, words) in [
        (("br0", 0), "to be another (0) arrived at br0"),
        (("up1", 1), "to be routed (1) arrived at up1"),
        (("udp", 1), "to be routed (1) arrived at udp"),
        (("tcp", 1), "a connection (1) arrived at tcp"),
        (("up1", 77), "a control (77) arrived at up1"),
    ] {
        let all = [&good[..], &[bad]].concat();
        assert_eq!(of_seen(&attempts(), &seen(&all), "br0", "tap0"), [words]);
    }
    assert_eq!(frames(&attempts(), Reach::Router), 2);
}

#[test]
fn an_attempt_of_which_a_frame_never_left_its_guest_is_named() {
    let tap = |n, times| (("tap0".to_owned(), n), times);
    let all = BTreeMap::from([tap(0, 2), tap(1, 3)]);
    assert_eq!(of_sent(&attempts(), &all, "tap0"), Vec::<String>::new());
    let fewer = BTreeMap::from([tap(0, 2), tap(1, 1), (("br0".to_owned(), 1), 2)]);
    let short = ["to be routed: 1 of 2 frames left its guest"];
    assert_eq!(of_sent(&attempts(), &fewer, "tap0"), short);
}

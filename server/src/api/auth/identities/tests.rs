use super::*;
use crate::model::caller::{Rights, Role};
use crate::model::fixtures::at;

fn record(number: u8, name: &str, expires: i64) -> Arc<TokenRecord> {
    Arc::new(TokenRecord {
        id: format!("bgr_{number:016x}"),
        sha256: digest(&text(number)),
        name: name.to_owned(),
        rights: Rights::Fleet(Role::Operator),
        created_by: "alice".to_owned(),
        created_by_token: None,
        goes_with: None,
        created_at: at(0),
        expires_at: at(expires),
        last_used_at: None,
    })
}

fn text(number: u8) -> String {
    format!("bgr_{number:016x}_{}", "ab".repeat(32))
}

fn known(identities: &Identities, number: u8, now: i64) -> Option<Arc<Identity>> {
    match identities.find(&text(number), at(now)) {
        Found::Known(identity) => Some(identity),
        Found::Foreign | Found::Unknown => None,
    }
}

fn file(lines: &[(&str, &str, Role)]) -> BTreeMap<String, Principal> {
    let line = |(token, name, role): &(&str, &str, Role)| {
        ((*token).to_owned(), Principal { name: (*name).into(), rights: Rights::Fleet(*role) })
    };
    lines.iter().map(line).collect()
}

#[test]
fn a_token_is_good_from_its_commit_to_its_revocation_which_ends_what_goes_on() {
    let identities = Identities::default();
    let token = record(1, "ci", 100);
    assert!(known(&identities, 1, 0).is_none());
    identities.committed(&[Change::put(Arc::clone(&token))]);
    let identity = known(&identities, 1, 0).expect("let in");
    let Principal { name, rights } = &identity.principal;
    assert_eq!((&**name, rights), ("ci", &Rights::Fleet(Role::Operator)));
    // That it was used is written down: nobody is cut off for it.
    let used = TokenRecord { last_used_at: Some(at(1)), ..TokenRecord::clone(&token) };
    identities.committed(&[Change::put(Arc::new(used))]);
    assert!(!identity.gone.is_cancelled());
    assert!(known(&identities, 1, 0).is_some());
    identities.committed(&[Change::remove(token, at(2))]);
    assert!(identity.gone.is_cancelled());
    assert!(known(&identities, 1, 0).is_none());
    assert!(!identities.are_asked_for(), "only a file asks for tokens");
}

#[test]
fn a_token_is_good_to_the_microsecond_before_it_expires_and_its_calls_end_then() {
    let identities = Identities::default();
    identities.load([&record(1, "short", 10), &record(2, "long", 11)]);
    let (short, long) = (known(&identities, 1, 9), known(&identities, 2, 9));
    let (short, long) = (short.expect("good"), long.expect("good"));
    assert!(known(&identities, 1, 10).is_none(), "before anybody has looked");
    identities.expire(at(10));
    assert!(short.gone.is_cancelled() && !long.gone.is_cancelled());
    assert!(matches!(identities.find(&text(1), at(9)), Found::Unknown), "never good again");
}

#[test]
fn a_reload_of_the_file_ends_those_that_it_changes_and_nobody_else() {
    let identities = Identities::default();
    identities.load([&record(1, "made", 100)]);
    let (a, b, c) = ("a-0123456789abcdef", "b-0123456789abcdef", "c-0123456789abcdef");
    identities.set_file(&file(&[
        (a, "alice", Role::Admin),
        (b, "bob", Role::Operator),
        (c, "carol", Role::Admin),
    ]));
    let of = |token: &str| match identities.find(token, at(0)) {
        Found::Known(identity) => Some(identity),
        Found::Foreign | Found::Unknown => None,
    };
    let before = [a, b, c].map(|token| of(token).expect("let in"));
    let made = known(&identities, 1, 0).expect("let in");
    assert!(identities.are_asked_for());
    identities.set_file(&file(&[(a, "alice", Role::Admin), (b, "bob", Role::Viewer)]));
    let ended = before.map(|identity| identity.gone.is_cancelled());
    assert_eq!(ended, [false, true, true]);
    assert!(!made.gone.is_cancelled());
    assert_eq!(of(b).expect("let in").principal.rights, Rights::Fleet(Role::Viewer));
    assert!(of(c).is_none());
}

#[test]
fn uses_are_told_once_and_only_of_tokens_that_were_made() {
    let identities = Identities::default();
    identities.load([&record(1, "ci", 100), &record(2, "idle", 100)]);
    identities.set_file(&file(&[("a-0123456789abcdef", "alice", Role::Admin)]));
    assert!(identities.take_uses().is_empty());
    for now in [3, 5, 4] {
        assert!(known(&identities, 1, now).is_some());
    }
    identities.find("a-0123456789abcdef", at(9));
    assert_eq!(identities.take_uses(), [("bgr_0000000000000001".to_owned(), at(5))]);
    assert!(identities.take_uses().is_empty(), "they are told already");
    assert_eq!(identities.last_use(&record(1, "ci", 100)), Some(at(5)));
    assert_eq!(identities.last_use(&record(2, "idle", 100)), None);
}

#[test]
fn a_text_that_begins_as_ours_and_is_unknown_is_told_from_one_of_somebody_else() {
    let identities = Identities::default();
    assert!(matches!(identities.find("bgr_what", at(0)), Found::Unknown));
    assert!(matches!(identities.find("eyJhbGciOi", at(0)), Found::Foreign));
}

#[test]
fn one_is_found_among_a_hundred_thousand_and_no_other_for_it() {
    let identities = Identities::default();
    let tokens: Vec<_> = (0..100_000)
        .map(|number: u32| {
            let record = TokenRecord::clone(&record(0, "many", 100));
            let sha256 = digest(&number.to_string());
            Arc::new(TokenRecord { id: number.to_string(), sha256, ..record })
        })
        .collect();
    identities.load(&tokens);
    identities.load([&record(1, "ci", 100)]);
    assert!(known(&identities, 1, 0).is_some());
    assert!(known(&identities, 2, 0).is_none());
}

/// Somebody whom a provider vouches for until a time, by a key.
fn vouched(all: &Identities, number: u32, until: i64, key: u8) -> Result<Arc<Identity>, String> {
    let principal = Principal {
        name: format!("https://login.example.org#{number}").into(),
        rights: crate::model::caller::Rights::Fleet(crate::model::caller::Role::Viewer),
    };
    let expires_at = at(until);
    let vouch = Vouch { id: "jwt_".into(), by: "https://login.example.org".into(), expires_at };
    let vouched = all.vouch(digest(&number.to_string()), principal, (vouch, Basis::Key([key; 32])));
    vouched.map_err(|full| full.to_string())
}

#[test]
fn of_those_who_are_vouched_for_whoever_has_no_call_makes_room_and_no_others() {
    let all = Identities::default();
    let held: Vec<_> = (0..10_000).map(|n| vouched(&all, n, 60, 1).expect("room")).collect();
    assert!(vouched(&all, 10_000, 60, 1).is_err(), "all of them have calls");
    assert!(vouched(&all, 7, 60, 1).is_ok(), "who is known needs no room");
    drop(held);
    assert!(vouched(&all, 10_000, 60, 1).is_ok());
}

#[test]
fn who_is_vouched_for_ends_with_their_time_and_with_their_key_and_is_not_found_after() {
    let all = Identities::default();
    let (short, long) = (vouched(&all, 1, 10, 1), vouched(&all, 2, 60, 1));
    let other = vouched(&all, 3, 60, 2).expect("room");
    let (short, long) = (short.expect("room"), long.expect("room"));
    assert!(matches!(all.find("1", at(9)), Found::Known(_)));
    assert!(matches!(all.find("1", at(10)), Found::Foreign), "it is judged again");
    all.expire(at(10));
    assert!(short.gone.is_cancelled() && short.ended.is_set() && !long.gone.is_cancelled());
    all.keep_shown(|key| key[0] == 2);
    assert!(long.gone.is_cancelled() && !other.gone.is_cancelled());
    assert!(matches!(all.find("2", at(11)), Found::Foreign));
    assert!(matches!(all.find("3", at(11)), Found::Known(_)));
}

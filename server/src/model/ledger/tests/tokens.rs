//! Decisions about the tokens of callers.

use super::*;
use crate::model::audit::{AuditObject, AuditRecord};
use crate::model::caller::{CallOf, Caller, Rights, Role, SERVER};
use crate::model::fixtures::record_of;
use crate::model::request::{RequestId, RequestKey, RequestTarget};

fn create(number: u8, name: &str) -> AnyMutation {
    CreateToken(Arc::new(record_of(number, name))).into()
}

fn revoke(token: &str) -> AnyMutation {
    RevokeToken { token: token.to_owned(), keep_made: false }.into()
}

/// As the answer to a revocation that took nothing along.
fn revoked(token: TokenRecord) -> Revoked {
    Revoked { token: Arc::new(token), made: Vec::new(), join_tokens: 0 }
}

fn ledger() -> Ledger {
    Ledger::new(LedgerConfig::default())
}

#[test]
fn a_token_is_taken_back_by_its_id_or_by_its_name_and_then_its_name_is_free() {
    let mut ledger = ledger();
    for by in ["bgr_0000000000000001", "ci"] {
        make(&mut ledger, create(1, "ci")).expect("kept");
        let refused = make(&mut ledger, create(2, "ci"));
        assert!(matches!(refused, Err(Refusal::TokenNameTaken { .. })), "{refused:?}");
        let gone = make(&mut ledger, revoke(by)).expect("it is there");
        assert_eq!(gone, Outcome::TokenGone(revoked(record_of(1, "ci"))));
        assert_eq!(ledger.tokens().count(), 0);
        let again = make(&mut ledger, revoke(by));
        assert!(matches!(again, Err(Refusal::TokenNotFound { .. })), "{again:?}");
    }
}

#[test]
fn a_token_that_has_expired_goes_with_the_next_and_keeps_no_name() {
    let mut ledger = ledger();
    make(&mut ledger, create(1, "ci")).expect("kept");
    let expired = record_of(1, "ci").expires_at;
    let late = expired.as_second() - at(0).as_second();
    let new = TokenRecord {
        rights: Rights::Fleet(Role::Viewer),
        expires_at: at(late + 9),
        ..record_of(2, "ci")
    };
    make_at(&mut ledger, CreateToken(Arc::new(new.clone())).into(), late).expect("kept");
    assert_eq!(ledger.tokens().map(|token| &**token).collect::<Vec<_>>(), [&new]);
}

#[test]
fn a_token_that_is_added_leaves_those_that_have_expired_and_takes_no_name_of_theirs() {
    let mut ledger = ledger();
    make(&mut ledger, create(1, "admin")).expect("kept");
    let late = record_of(1, "").expires_at.as_second() - at(0).as_second();
    let add = |number, name| AddToken(Arc::new(record_of(number, name))).into();
    let refused = make_at(&mut ledger, add(2, "admin"), late);
    assert!(matches!(refused, Err(Refusal::TokenNameTaken { .. })), "{refused:?}");
    make_at(&mut ledger, add(2, "admin-2"), late).expect("kept");
    assert_eq!(names(&ledger), ["admin", "admin-2"]);
}

/// A join token that was made with this token.
fn join_token(id: &str, maker: u8) -> JoinToken {
    JoinToken { created_by_token: Some(record_of(maker, "").id), ..token(id) }
}

#[test]
fn a_join_token_goes_with_the_token_it_was_made_with_unless_a_host_has_used_it() {
    let mut ledger = ledger();
    for (number, name) in [(1, "ci"), (2, "other")] {
        make(&mut ledger, create(number, name)).expect("kept");
    }
    let mut nobodys = token("nobodys");
    nobodys.expires_at = at(9000);
    for kept in [join_token("used", 1), join_token("unused", 1), join_token("others", 2), nobodys] {
        make(&mut ledger, CreateJoinToken(kept).into()).expect("kept");
    }
    make(&mut ledger, join(1, "used", "one").into()).expect("joined");
    make(&mut ledger, revoke("ci")).expect("it is there");
    let refused = make(&mut ledger, join(2, "unused", "two").into());
    assert_eq!(refused, Err(Refusal::JoinTokenInvalid("unknown")));
    // The host that has joined, and lost the answer, gets it again.
    make(&mut ledger, join(1, "used", "one").into()).expect("joined already");
    make(&mut ledger, join(3, "others", "three").into()).expect("joined");
    make(&mut ledger, join(4, "nobodys", "four").into()).expect("joined");
}

#[test]
fn a_join_token_is_good_no_longer_than_the_token_it_was_made_with() {
    let mut ledger = ledger();
    make(&mut ledger, create(1, "ci")).expect("kept");
    let late = record_of(1, "ci").expires_at.as_second() - at(0).as_second();
    let long = JoinToken { expires_at: at(late + 900), ..join_token("t", 1) };
    make(&mut ledger, CreateJoinToken(long).into()).expect("kept");
    let refused = make_at(&mut ledger, join(1, "t", "one").into(), late);
    let why = "made with a token that has expired or was taken back since";
    assert_eq!(refused, Err(Refusal::JoinTokenInvalid(why)));
    // Both go with the next that is made.
    let new = TokenRecord { expires_at: at(late + 900), ..record_of(2, "new") };
    make_at(&mut ledger, CreateToken(Arc::new(new)).into(), late).expect("kept");
    let refused = make_at(&mut ledger, join(1, "t", "one").into(), late);
    assert_eq!(refused, Err(Refusal::JoinTokenInvalid("unknown")));
}

/// A token that was made with another.
fn made_with(maker: u8, number: u8, name: &str) -> TokenRecord {
    let maker = Some(record_of(maker, "").id);
    TokenRecord { created_by_token: maker.clone(), goes_with: maker, ..record_of(number, name) }
}

/// A ledger in which "ci" has made "bot", which has made "deep"; "other" has made "neighbour".
fn family() -> Ledger {
    let mut ledger = ledger();
    for token in [
        record_of(1, "ci"),
        made_with(1, 2, "bot"),
        made_with(2, 3, "deep"),
        record_of(4, "other"),
        made_with(4, 5, "neighbour"),
    ] {
        make(&mut ledger, CreateToken(Arc::new(token)).into()).expect("kept");
    }
    ledger
}

fn names(ledger: &Ledger) -> Vec<&str> {
    ledger.tokens().map(|token| &*token.name).collect()
}

fn gone(outcome: Result<Outcome, Refusal>) -> (Vec<String>, usize) {
    let Ok(Outcome::TokenGone(gone)) = outcome else { panic!("{outcome:?}") };
    (gone.made.iter().map(|made| made.name.clone()).collect(), gone.join_tokens)
}

#[test]
fn tokens_go_with_the_one_that_they_were_made_with_and_those_that_they_made_too() {
    let mut ledger = family();
    for (id, maker) in [("first", 1), ("third", 3), ("others", 5)] {
        make(&mut ledger, CreateJoinToken(join_token(id, maker)).into()).expect("kept");
    }
    let along = gone(make(&mut ledger, revoke("ci")));
    assert_eq!(along, (vec!["bot".to_owned(), "deep".to_owned()], 2));
    assert_eq!(names(&ledger), ["other", "neighbour"]);
    make(&mut ledger, join(1, "others", "one").into()).expect("joined");
}

#[test]
fn tokens_that_are_kept_go_with_the_next_before_the_one_that_left_them() {
    let mut ledger = family();
    let keep = RevokeToken { token: "bot".to_owned(), keep_made: true };
    assert_eq!(gone(make(&mut ledger, keep.into())).0, ["deep"]);
    assert_eq!(names(&ledger), ["ci", "deep", "other", "neighbour"]);
    let deep = ledger.token("deep").expect("kept");
    assert_eq!(deep.created_by_token, Some(record_of(2, "").id), "who made it is as it was");
    // Whoever had "bot" made by theirs gained nothing by leaving it.
    assert_eq!(gone(make(&mut ledger, revoke("ci"))).0, ["deep"]);
    assert_eq!(names(&ledger), ["other", "neighbour"]);
}

#[test]
fn nobody_keeps_what_their_own_token_takes_along() {
    let ledger = family();
    let by = |number| Caller { token: Some(record_of(number, "").id.into()), ..caller() };
    let asked = |keep_made| RevokeToken { token: "bot".to_owned(), keep_made }.into();
    // "bot" itself, and "deep", which it has made.
    for number in [2, 3] {
        let refused = ledger.decide(&by(number), &asked(true));
        assert_eq!(refused, Err(Refusal::KeepsOwn { token: "bot".to_owned() }), "{number}");
        assert!(ledger.decide(&by(number), &asked(false)).is_ok(), "{number}");
    }
    // "ci", with which "bot" goes, "other", and whoever has no token that was made by a call.
    for caller in [by(1), by(4), caller()] {
        assert!(ledger.decide(&caller, &asked(true)).is_ok(), "{caller:?}");
    }
}

/// What the audit gets of a revocation: object, effect and cause of each record.
fn audited(ledger: &Ledger, token: &str, keep_made: bool) -> Vec<String> {
    let call = CallOf { method: "a/RevokeToken", peer: None };
    let by = Caller { call: Some(call.into()), ..caller() };
    let revoke = RevokeToken { token: token.to_owned(), keep_made }.into();
    let decided = ledger.decide_once(&by, &revoke, None).expect("it is there");
    let records = decided.changes.iter().filter_map(|change| match change {
        Change::Audit(record) => Some(record),
        _ => None,
    });
    let line = |record: &Arc<AuditRecord>| {
        let named = |object: &AuditObject| format!("{} {}", object.kind, object.name);
        let object = named(record.object.as_ref().expect("a token"));
        match &record.because_of {
            Some((effect, cause)) => format!("{object} {} {}", effect.as_str(), named(cause)),
            None => object,
        }
    };
    records.map(line).collect()
}

#[test]
fn each_token_that_goes_along_or_is_kept_has_a_record_that_names_the_one_taken_back() {
    let mut ledger = family();
    for (id, maker) in [("first", 1), ("third", 3), ("others", 5)] {
        let token = JoinToken { host_name: Some(id.to_owned()), ..join_token(id, maker) };
        make(&mut ledger, CreateJoinToken(token).into()).expect("kept");
    }
    assert_eq!(
        audited(&ledger, "ci", false),
        [
            "token ci",
            "token bot WENT_ALONG token ci",
            "token deep WENT_ALONG token ci",
            "join-token first WENT_ALONG token ci",
            "join-token third WENT_ALONG token ci",
        ]
    );
    assert_eq!(
        audited(&ledger, "ci", true),
        [
            "token ci",
            "join-token first WENT_ALONG token ci",
            "token bot KEPT token ci",
            "token deep KEPT token ci",
        ]
    );
    assert_eq!(
        audited(&ledger, "deep", true),
        ["token deep", "join-token third WENT_ALONG token deep"]
    );
}

#[test]
fn what_was_left_to_a_token_does_not_cut_itself_loose_either() {
    let mut ledger = family();
    let keep = |token: &str| RevokeToken { token: token.to_owned(), keep_made: true };
    make(&mut ledger, keep("bot").into()).expect("it is there");
    // "deep" was made with "bot" and goes with "ci" since.
    let by_deep = Caller { token: Some(record_of(3, "").id.into()), ..caller() };
    let refused = ledger.decide(&by_deep, &keep("ci").into());
    assert_eq!(refused, Err(Refusal::KeepsOwn { token: "ci".to_owned() }));
}

#[test]
fn what_the_first_admins_token_has_made_is_kept_by_whom_it_was_made_for() {
    let mut ledger = ledger();
    let first = TokenRecord { created_by: SERVER.to_owned(), ..record_of(1, "admin") };
    assert!(first.is_the_servers());
    // Nobody is taken for the server who was only made by one that it has made.
    let of_it = TokenRecord { created_by: SERVER.to_owned(), ..made_with(1, 2, "alice") };
    assert!(!of_it.is_the_servers());
    for token in [first, made_with(1, 2, "alice")] {
        make(&mut ledger, CreateToken(Arc::new(token)).into()).expect("kept");
    }
    let keep = AnyMutation::from(RevokeToken { token: "admin".to_owned(), keep_made: true });
    for number in [1, 2] {
        let by = Caller { token: Some(record_of(number, "").id.into()), ..caller() };
        assert!(ledger.decide(&by, &keep).is_ok(), "{number}");
    }
}

#[test]
fn no_chain_of_makers_is_cut_by_tokens_that_expire_in_its_middle() {
    let mut ledger = ledger();
    let good_until = |second, token| TokenRecord { expires_at: at(second), ..token };
    for token in [
        good_until(9000, record_of(1, "ci")),
        good_until(60, made_with(1, 2, "short")),
        good_until(60, made_with(2, 3, "shorter")),
        good_until(9000, made_with(3, 4, "long")),
    ] {
        make(&mut ledger, CreateToken(Arc::new(token)).into()).expect("kept");
    }
    let next = good_until(9000, record_of(5, "next"));
    make_at(&mut ledger, CreateToken(Arc::new(next)).into(), 61).expect("kept");
    assert_eq!(names(&ledger), ["ci", "long", "next"]);
    assert_eq!(gone(make(&mut ledger, revoke("ci"))).0, ["long"]);
    assert_eq!(names(&ledger), ["next"]);
}

#[test]
fn a_use_is_written_down_where_it_is_newer_and_the_token_is_there() {
    let mut ledger = ledger();
    make(&mut ledger, create(1, "ci")).expect("kept");
    let id = record_of(1, "ci").id;
    for (used, last) in [(5, 5), (3, 5), (7, 7)] {
        let uses = vec![(id.clone(), at(used)), ("bgr_00000000000000ff".to_owned(), at(used))];
        make(&mut ledger, NoteTokenUses { uses }.into()).expect("noted");
        let tokens: Vec<_> = ledger.tokens().map(|token| token.last_used_at).collect();
        assert_eq!(tokens, [Some(at(last))]);
    }
}

#[test]
fn whoever_calls_with_a_token_that_is_gone_changes_nothing_and_may_take_back_their_own() {
    let mut ledger = ledger();
    let id = |number| record_of(number, "").id;
    let by = |number| Caller { token: Some(id(number).into()), ..caller() };
    let key = RequestKey { id: RequestId(uuid::Uuid::from_u128(1)), fingerprint: [0; 32] };
    for (number, name) in [(1, "taken"), (2, "own")] {
        make(&mut ledger, create(number, name)).expect("kept");
    }
    // As the writer does with what waits: one after the other, in one transaction.
    let mut once = |caller: &Caller,
                    mutation: AnyMutation,
                    key: Option<&RequestKey>|
     -> Result<Outcome, Refusal> {
        let decided = ledger.decide_once(caller, &mutation, key)?;
        ledger.apply(&decided.changes);
        Ok(decided.outcome)
    };
    assert!(once(&by(1), create(3, "before"), Some(&key)).is_ok());
    assert!(once(&caller(), revoke("taken"), None).is_ok());
    for (mutation, key) in [
        (create(4, "after"), None),
        // Nor are they told again of what they made.
        (create(3, "before"), Some(&key)),
        (revoke("own"), None),
        (AnyMutation::from(CreateJoinToken(token("t"))), None),
        (AnyMutation::from(Record { events: Vec::new() }), None),
    ] {
        assert_eq!(once(&by(1), mutation, key), Err(Refusal::CallerGone));
    }
    // What was done for them is written down all the same.
    let record = Record { events: Vec::new() };
    assert_eq!(once(&by(1).for_the_record(), record.into(), None), Ok(Outcome::Recorded));
    assert!(once(&by(2), revoke("own"), None).is_ok());
    assert_eq!(once(&by(2), create(5, "late"), None), Err(Refusal::CallerGone));
}

#[test]
fn whoever_calls_with_a_token_that_is_there_and_has_expired_or_with_a_line_that_is_gone_changes_nothing()
 {
    let mut ledger = ledger();
    make(&mut ledger, create(1, "ci")).expect("kept");
    let own = record_of(1, "ci");
    let by = Caller { token: Some(own.id.as_str().into()), ..caller() };
    let wish = AnyMutation::from(CreateJoinToken(token("t")));
    assert!(
        ledger.decide(&by.at(own.expires_at - jiff::SignedDuration::from_micros(1)), &wish).is_ok()
    );
    let late = by.at(own.expires_at);
    assert_eq!(ledger.decide(&late, &wish), Err(Refusal::CallerGone));
    assert!(ledger.token("ci").is_some(), "it is there");
    // What was done for them is written down all the same.
    let record = AnyMutation::from(Record { events: Vec::new() });
    assert_eq!(ledger.decide(&late, &record), Err(Refusal::CallerGone));
    assert!(ledger.decide(&late.for_the_record(), &record).is_ok());

    let line = caller();
    let held = line.at(at(9));
    assert!(ledger.decide(&held, &wish).is_ok());
    line.ended.set();
    assert_eq!(ledger.decide(&held, &wish), Err(Refusal::CallerGone));
    assert!(ledger.decide(&held.for_the_record(), &record).is_ok());
}

#[test]
fn a_create_and_a_revocation_that_name_themselves_are_done_once() {
    let mut ledger = ledger();
    let key = |number: u128| RequestKey {
        id: RequestId(uuid::Uuid::from_u128(number)),
        fingerprint: [0; 32],
    };
    let mut once = |mutation: &AnyMutation, number: u128| {
        let key = key(number);
        let decided = ledger.decide_once(&caller(), mutation, Some(&key))?;
        ledger.apply(&decided.changes);
        Ok(decided.outcome)
    };
    let first = Outcome::Token(Arc::new(record_of(1, "ci")));
    assert_eq!(once(&create(1, "ci"), 1), Ok(first.clone()));
    // The repetition was made with another id and secret, and is answered with the first.
    assert_eq!(once(&create(2, "ci"), 1), Ok(first));
    assert!(once(&revoke("ci"), 2).is_ok());
    let gone = Refusal::DoneAndGone { what: RequestTarget::Token(record_of(1, "ci").id) };
    assert_eq!(once(&revoke("ci"), 2), Err(gone.clone()));
    assert_eq!(once(&create(3, "ci"), 1), Err(gone), "it is not made anew");
    // The name is another's now: the repetition means the first.
    assert!(once(&create(4, "ci"), 3).is_ok());
    let taken = once(&revoke("ci"), 2);
    assert!(matches!(taken, Err(Refusal::RequestIdTaken { .. })), "{taken:?}");
}

#[test]
fn where_the_audit_is_full_tokens_are_taken_back_and_none_is_kept() {
    let mut ledger = family();
    ledger.set_audit_records(ledger.audit_room().max, HashMap::new());
    let call = CallOf { method: "a/RevokeToken", peer: None };
    let by = Caller { call: Some(call.into()), ..caller() };
    let decide = |keep_made| {
        let revoke = RevokeToken { token: "ci".to_owned(), keep_made }.into();
        ledger.decide_once(&by, &revoke, None).map(|decided| decided.outcome)
    };
    assert!(matches!(decide(true), Err(Refusal::AuditFull { .. })));
    assert!(matches!(decide(false), Ok(Outcome::TokenGone(_))));
}

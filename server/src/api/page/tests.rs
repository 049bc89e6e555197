use banger_proto::v1;
use tonic_types::StatusExt as _;

use super::*;

fn pages() -> Pages {
    Pages::new([7; 32])
}

fn query(page_size: u32) -> PageQuery {
    PageQuery::of("ListVms", &v1::ListVmsRequest { page_size, ..Default::default() })
}

const CURSOR: Cursor = Cursor { revision: Revision(5), after: 1 << 100, total: 9 };

fn snapshot(revision: u64) -> Snapshot {
    Snapshot::empty(Revision(revision))
}

#[test]
fn a_token_round_trips_and_the_first_page_has_none() {
    let token = pages().token(&query(10), CURSOR);
    assert_eq!(pages().read(&query(10), &token).expect("its own"), Some(CURSOR));
    assert_eq!(pages().read(&query(10), "").expect("the first page"), None);
}

#[test]
fn a_token_is_good_for_its_query_and_its_server_only() {
    let token = pages().token(&query(10), CURSOR);
    let refused = |pages: &Pages, query: &PageQuery, token: &str| {
        let status = pages.read(query, token).expect_err(token);
        assert_eq!(status.code(), tonic::Code::InvalidArgument);
        status.message().to_owned()
    };
    assert!(refused(&pages(), &query(11), &token).contains("another query"));
    let other =
        PageQuery::of("ListHosts", &v1::ListVmsRequest { page_size: 10, ..Default::default() });
    assert!(refused(&pages(), &other, &token).contains("another query"));
    assert!(refused(&Pages::new([8; 32]), &query(10), &token).contains("not from this server"));
}

#[test]
fn a_token_that_was_changed_anywhere_is_refused() {
    let token = pages().token(&query(10), CURSOR);
    let bytes = URL_SAFE_NO_PAD.decode(&token).expect("base64");
    for index in 0..bytes.len() {
        let mut changed = bytes.clone();
        changed[index] ^= 1;
        let changed = URL_SAFE_NO_PAD.encode(changed);
        assert!(pages().read(&query(10), &changed).is_err(), "byte {index}");
    }
    for garbage in ["x", "!!!!", "../../etc", &"A".repeat(10_000), &token[..token.len() - 2]] {
        assert!(pages().read(&query(10), garbage).is_err(), "{garbage:?}");
    }
}

fn caller(name: &str) -> Arc<str> {
    name.into()
}

#[test]
fn snapshots_live_for_a_minute_after_their_last_use() {
    let (pages, start, me) = (pages(), Instant::now(), caller("me"));
    pages.keep(&me, &snapshot(1), start);
    let later = |seconds| start + Duration::from_secs(seconds);
    pages.snapshot(&me, Revision(1), later(59)).expect("kept");
    pages.snapshot(&me, Revision(1), later(118)).expect("used again");
    let expired = pages.snapshot(&me, Revision(1), later(179)).expect_err("too late");
    assert_eq!(expired.code(), tonic::Code::Aborted, "to be tried again: {expired:?}");
    let reason = expired.get_details_error_info().expect("it has one").reason;
    assert_eq!(reason, "PAGE_TOKEN_EXPIRED");
    // With the bounds that callers are told.
    let page = include_str!("../../../../docs/ERRORS.md");
    let told = page.lines().find(|line| line.contains(&reason)).expect("it is explained");
    for bound in [
        format!("{MAX_SNAPSHOTS_OF_ONE} other lists"),
        format!("all callers together {MAX_SNAPSHOTS})"),
    ] {
        assert!(told.contains(&bound), "{bound}: {told}");
    }
    pages.expire(later(179));
    assert!(pages.snapshots.lock().is_empty());
}

#[test]
fn lists_of_others_end_nobodys_list_and_ones_own_only_past_a_bound() {
    let (pages, start, me) = (pages(), Instant::now(), caller("me"));
    pages.keep(&me, &snapshot(0), start);
    let others = u64::try_from(MAX_SNAPSHOTS).expect("a number");
    for revision in 1..others {
        let other = caller(&format!("other-{}", revision % 40));
        pages.keep(&other, &snapshot(revision), start + Duration::from_millis(revision));
    }
    let now = start + Duration::from_secs(5);
    pages.snapshot(&me, Revision(0), now).expect("others have begun thousands");
    for revision in 1..=300 {
        pages.keep(&me, &snapshot(revision), now + Duration::from_millis(revision));
    }
    let now = now + Duration::from_millis(300);
    assert!(pages.snapshot(&me, Revision(0), now).is_err(), "the one used longest ago");
    pages.snapshot(&me, Revision(300), now).expect("the newest");
    assert!(pages.snapshots.lock().len() <= MAX_SNAPSHOTS);
    let mine = |key: &&(Arc<str>, Revision)| key.0 == me;
    assert!(pages.snapshots.lock().keys().filter(mine).count() <= MAX_SNAPSHOTS_OF_ONE);
}

#[test]
fn a_page_has_a_default_size_and_a_largest() {
    assert_eq!(page_size(0).expect("the default"), 100);
    assert_eq!(page_size(1000).expect("the largest"), 1000);
    assert!(page_size(1001).is_err());
}

/// A token that was not made here for this query is refused, whatever it is made of.
#[test]
fn fuzz_a_page_token_is_one_of_ours_to_the_letter_or_refused() {
    let (pages, query) = (pages(), query(10));
    let ours = pages.token(&query, CURSOR);
    let theirs = Pages::new([8; 32]).token(&query, CURSOR);
    let seeds = [ours.as_bytes(), theirs.as_bytes()];
    banger_fuzz::fuzz("page_token", &seeds, |input| {
        let Ok(text) = std::str::from_utf8(input) else { return };
        match pages.read(&query, text) {
            Ok(None) => assert_eq!(text, ""),
            Ok(Some(cursor)) => assert_eq!(pages.token(&query, cursor), text),
            Err(status) => assert!(status.message().len() < 1000),
        }
    });
}

use banger_proto::v1;

use super::*;

fn pages() -> Pages {
    Pages::new([7; 32])
}

fn query(page_size: u32) -> Query {
    Query::of("ListVms", &v1::ListVmsRequest { page_size, ..Default::default() })
}

const CURSOR: Cursor = Cursor { revision: Revision(5), after: 1 << 100, total: 9 };

fn snapshot(revision: u64) -> Snapshot {
    Snapshot { revision: Revision(revision), vms: Default::default() }
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
    let refused = |pages: &Pages, query: &Query, token: &str| {
        let status = pages.read(query, token).expect_err(token);
        assert_eq!(status.code(), tonic::Code::InvalidArgument);
        status.message().to_owned()
    };
    assert!(refused(&pages(), &query(11), &token).contains("another query"));
    let other = Query::of("ListHosts", &v1::ListVmsRequest { page_size: 10, ..Default::default() });
    assert!(refused(&pages(), &other, &token).contains("another query"));
    assert!(refused(&Pages::new([8; 32]), &query(10), &token).contains("not of this server"));
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

#[test]
fn snapshots_live_for_a_minute_after_their_last_use() {
    let (pages, start) = (pages(), Instant::now());
    pages.keep(&snapshot(1), start);
    let later = |seconds| start + Duration::from_secs(seconds);
    pages.snapshot(Revision(1), later(59)).expect("kept");
    pages.snapshot(Revision(1), later(118)).expect("used again");
    assert!(pages.snapshot(Revision(1), later(179)).is_err());
    pages.expire(later(179));
    assert!(pages.snapshots.lock().is_empty());
}

#[test]
fn only_so_many_snapshots_are_kept() {
    let (pages, start) = (pages(), Instant::now());
    for revision in 0..100 {
        pages.keep(&snapshot(revision), start + Duration::from_millis(revision));
    }
    let now = start + Duration::from_millis(100);
    assert_eq!(pages.snapshots.lock().len(), MAX_SNAPSHOTS);
    assert!(pages.snapshot(Revision(0), now).is_err());
    pages.snapshot(Revision(99), now).expect("the newest");
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

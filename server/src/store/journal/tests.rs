use super::*;

fn full() -> Journal {
    let row = |commit: usize| JournalRow {
        commit: commit as u64,
        entries: 1,
        after: Some(Revision(10 * commit as u64)),
    };
    let rows: VecDeque<_> = (1..=MAX_ROWS).map(row).collect();
    Journal { entries: rows.len(), rows, ..Journal::default() }
}

fn entries(count: usize) -> Entries {
    Entries { json: "[]".to_owned(), count }
}

#[test]
fn old_rows_make_room_for_new_ones_and_only_such_as_have_their_revisions() {
    assert_eq!(full().to_drop(&entries(1)), 1);
    assert_eq!(full().to_drop(&entries(MAX_ENTRIES - MAX_ROWS)), 1);
    assert_eq!(full().to_drop(&entries(MAX_ENTRIES - MAX_ROWS + 7)), 7);
    assert_eq!(full().to_drop(&entries(2 * MAX_ENTRIES)), MAX_ROWS, "one commit may have more");
    let mut unknown = full();
    unknown.rows[3].after = None;
    assert_eq!(unknown.to_drop(&entries(MAX_ENTRIES)), 3, "nobody knows from where on to refuse");
    let few = Journal::default();
    assert_eq!(few.to_drop(&entries(1)), 0);
}

#[test]
fn a_commit_has_its_revisions_when_it_is_published_and_keeps_them_until_they_are_written() {
    let mut journal = full();
    journal.written(20_000, &entries(2));
    assert!(!journal.has_marks());
    journal.published(20_000, Revision(90_000)..Revision(90_003));
    assert_eq!(journal.marks, [(20_000, Revision(90_000)..Revision(90_003))]);
    // One without entries has no row, and one that showed nothing a row of one revision.
    journal.written(20_001, &entries(0));
    assert!(!journal.has_marks(), "written along");
    journal.published(20_001, Revision(90_003)..Revision(90_004));
    assert!(!journal.has_marks());
    journal.written(20_002, &entries(1));
    journal.published(20_002, Revision(90_004)..Revision(90_004));
    assert_eq!(journal.marks, [(20_002, Revision(90_004)..Revision(90_005))]);
}

//! Claims about the record.

use super::*;

fn layout(dir: &tempfile::TempDir) -> Layout {
    Layout { root: dir.path().to_owned() }
}

fn record() -> Record {
    let at = |port| SocketAddr::from(([127, 0, 0, 1], port));
    let server = Service::new("server".to_owned(), at(7070), at(7071));
    let mut record = Record::new(true, "a test".to_owned(), Share::of_a_simulation(), server);
    record.agents.push(Service::new("b0".to_owned(), at(7072), at(7073)));
    record
}

#[test]
fn a_record_reads_back_as_it_was_written() {
    let dir = tempfile::tempdir().unwrap();
    assert_eq!(Record::load(&layout(&dir)).unwrap(), None);
    let mut record = record();
    record.server.process = Identity::of(std::process::id()).unwrap();
    record.save(&layout(&dir)).unwrap();
    let read = Record::load(&layout(&dir)).unwrap().unwrap();
    assert_eq!(read, record);
    assert!(read.server.lives() && !read.agents[0].lives());
}

#[test]
fn a_broken_record_is_an_error_that_says_what_to_do() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(layout(&dir).record(), "{\"version\": 1").unwrap();
    let failure = Record::load(&layout(&dir)).unwrap_err();
    assert!(format!("{failure:?}").contains("if nothing of it runs any more, remove"));
}

#[test]
fn a_record_of_another_version_is_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let mut record = record();
    record.version = 9;
    record.save(&layout(&dir)).unwrap();
    assert!(Record::load(&layout(&dir)).is_err());
}

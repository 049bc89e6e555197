use tempfile::TempDir;

use super::*;
use crate::model::fixtures::at;
use crate::model::fixtures::project;

fn library(directory: &TempDir) -> Library {
    Library::open(directory.path().join("images"), 1000, 0).expect("made")
}

fn upload(library: &Library, name: &str, data: &[u8]) -> String {
    let mut upload = library.begin(name).expect("begun");
    library.append(&mut upload, data).expect("appended");
    library.keep_blob(upload, &ProjectName::default(), at(0), |_| {}).expect("kept").0
}

fn files(library: &Library) -> Vec<String> {
    let mut found = Vec::new();
    for dir in [library.incoming(), library.contents(), library.blobs()] {
        for entry in fs::read_dir(&dir).expect("readable") {
            let entry = entry.expect("readable");
            let dir = dir.file_name().expect("a name").to_string_lossy().into_owned();
            found.push(format!("{dir}/{}", entry.file_name().to_string_lossy()));
        }
    }
    found.sort();
    found
}

#[test]
fn an_upload_is_found_by_its_digest_for_a_day_and_readable_by_its_owner_only() {
    let directory = TempDir::new().expect("a directory");
    let library = library(&directory);
    let digest = upload(&library, "a", b"content");
    assert_eq!(digest, hex::encode(Sha256::digest(b"content")));
    assert_eq!(files(&library), [format!("blobs/{digest}")]);
    let path =
        library.blob(&ProjectName::default(), &digest, at(24 * 3600)).expect("a day is not over");
    assert_eq!(fs::read(&path).expect("readable"), b"content");
    assert_eq!(fs::metadata(&path).expect("there").mode() & 0o7777, 0o600);
    assert_eq!(library.blob(&ProjectName::default(), &digest, at(24 * 3600 + 1)), None);
    assert_eq!(library.expire(at(24 * 3600)).expect("readable"), 0);
    assert_eq!(library.expire(at(24 * 3600 + 1)).expect("readable"), 1);
    assert_eq!(files(&library), [""; 0]);
}

#[test]
fn an_upload_that_is_given_up_or_too_large_leaves_nothing() {
    let directory = TempDir::new().expect("a directory");
    let library = library(&directory);
    let mut upload = library.begin("a").expect("begun");
    library.append(&mut upload, &[1; 1000]).expect("as large as may be");
    let refused = library.append(&mut upload, &[1]).expect_err("too large");
    assert!(matches!(refused, KeepError::TooLarge { limit: 1000 }), "{refused}");
    assert_eq!(files(&library), ["incoming/a"]);
    drop(upload);
    assert_eq!(files(&library), [""; 0]);
}

#[test]
fn a_disk_without_room_beside_the_reserve_takes_nothing() {
    let directory = TempDir::new().expect("a directory");
    let root = directory.path().join("images");
    let library = Library::open(root, 1000, u64::MAX / 2).expect("made");
    let refused = library.begin("a").expect_err("no room");
    assert!(matches!(refused, KeepError::Full(_)), "{refused}");
    assert_eq!(files(&library), [""; 0]);
}

#[test]
fn a_start_removes_what_was_not_finished_and_keeps_what_was() {
    let directory = TempDir::new().expect("a directory");
    let first = library(&directory);
    let digest = upload(&first, "a", b"content");
    fs::write(first.incoming().join("torn"), b"half").expect("written");
    fs::create_dir(first.incoming().join(".banger-import-x")).expect("made");
    drop(first);
    assert_eq!(files(&library(&directory)), [format!("blobs/{digest}")]);
}

#[test]
fn only_contents_that_nothing_refers_to_are_collected() {
    let directory = TempDir::new().expect("a directory");
    let library = library(&directory);
    let mut digests = Vec::new();
    for content in [b"kept", b"gone"] {
        let place = library.place("made");
        fs::write(place.path(), content).expect("written");
        let digest = hex::encode(Sha256::digest(content));
        library.keep_content(place, &digest).expect("kept");
        digests.push(digest);
    }
    fs::write(library.contents().join("README"), b"not ours").expect("written");
    let kept = BTreeSet::from([digests[0].clone()]);
    assert_eq!(library.collect(&kept).expect("readable"), [digests[1].clone()]);
    let content = library.content(&digests[0]).expect("still there");
    assert_eq!((content.size_bytes, content.data_bytes), (4, 4));
    assert!(library.content(&digests[1]).is_err());
    assert!(library.contents().join("README").exists());
}

#[test]
fn a_digest_that_is_none_reaches_no_file() {
    let directory = TempDir::new().expect("a directory");
    let library = library(&directory);
    for hostile in ["", "..", "../../etc/passwd", "/etc/passwd", &"a/".repeat(32)] {
        assert_eq!(library.blob(&ProjectName::default(), hostile, at(0)), None, "{hostile}");
        assert!(library.content(hostile).is_err(), "{hostile}");
    }
}

#[test]
fn an_upload_to_one_project_is_not_there_for_another_and_goes_with_its_own() {
    let directory = TempDir::new().expect("a directory");
    let library = library(&directory);
    let (shop, lab) = (project("shop"), project("lab"));
    let mut digest = String::new();
    for of in [&shop, &lab] {
        let mut upload = library.begin("a").expect("begun");
        library.append(&mut upload, b"content").expect("appended");
        digest = library.keep_blob(upload, of, at(0), |_| {}).expect("kept").0;
    }
    assert_eq!(library.blob(&ProjectName::default(), &digest, at(0)), None);
    library.remove_blobs(&shop).expect("removed");
    library.remove_blobs(&ProjectName::default()).expect("of this one nothing is removed at once");
    assert_eq!(library.blob(&shop, &digest, at(0)), None);
    assert!(library.blob(&lab, &digest, at(0)).is_some());
    assert_eq!(library.expire(at(24 * 3600 + 1)).expect("readable"), 1, "below its directory too");
    assert_eq!(library.blob(&lab, &digest, at(0)), None);
}

#[test]
fn uploads_of_projects_that_are_gone_go_at_the_start() {
    let directory = TempDir::new().expect("a directory");
    let library = library(&directory);
    let (shop, lab) = (project("shop"), project("lab"));
    let digest = upload(&library, "a", b"content");
    for of in [&shop, &lab] {
        let mut upload = library.begin("a").expect("begun");
        library.append(&mut upload, b"content").expect("appended");
        library.keep_blob(upload, of, at(0), |_| {}).expect("kept");
    }
    // The server was killed between the end of shop and that of its uploads.
    assert_eq!(library.keep_blobs_of(&BTreeSet::from([lab.clone()])).expect("looked at"), 1);
    assert_eq!(library.blob(&shop, &digest, at(0)), None, "the next shop is another");
    for of in [&lab, &ProjectName::default()] {
        assert!(library.blob(of, &digest, at(0)).is_some(), "{of}");
    }
}

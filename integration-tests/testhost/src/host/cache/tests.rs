use super::*;

fn cache(directory: &tempfile::TempDir) -> Cache {
    let root = directory.path().to_owned();
    Cache { target: root.clone(), profile: root.clone(), root }
}

#[test]
fn boundaries_between_inputs_count() {
    assert_ne!(hash(&[b"ab", b"c"]), hash(&[b"a", b"bc"]));
    assert_eq!(hash(&[b"ab"]).len(), HASH_DIGITS);
}

#[test]
fn a_product_is_made_once_and_again_when_an_input_changes() {
    let directory = tempfile::tempdir().expect("a directory");
    let cache = cache(&directory);
    let mut made = 0;
    let mut make = |inputs: &[&[u8]]| {
        cache
            .product("thing", inputs, 1, |into| {
                made += 1;
                fs::write(into.join("number"), made.to_string())
                    .map_err(HostError::file("write", into))
            })
            .expect("made")
    };
    let first = make(&[b"one"]);
    assert_eq!(make(&[b"one"]), first);
    let second = make(&[b"two"]);
    assert_ne!(first, second);
    assert_eq!(fs::read(second.join("number")).expect("there"), b"2");
}

#[test]
fn a_build_that_fails_leaves_nothing_that_looks_finished() {
    let directory = tempfile::tempdir().expect("a directory");
    let cache = cache(&directory);
    let failed = cache.product("thing", &[b"x"], 1, |into| {
        fs::write(into.join("half"), b"").map_err(HostError::file("write", into))?;
        Err(HostError::Unfit("on purpose".to_owned()))
    });
    assert!(failed.is_err());
    let left: Vec<_> = fs::read_dir(directory.path())
        .expect("there")
        .flatten()
        .map(|entry| entry.file_name())
        .collect();
    assert_eq!(left, ["lock"]);
}

#[test]
fn only_the_newest_of_a_kind_are_kept() {
    let directory = tempfile::tempdir().expect("a directory");
    let cache = cache(&directory);
    for number in 0..4_u8 {
        cache.product("thing", &[&[number]], 1, |_| Ok(())).expect("made");
    }
    cache.product("other", &[b"y"], 1, |_| Ok(())).expect("made");
    let mut left: Vec<_> = fs::read_dir(directory.path())
        .expect("there")
        .flatten()
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .map(|name| name.split('-').next().unwrap_or_default().to_owned())
        .collect();
    left.sort();
    // The one just made and the newest before it.
    assert_eq!(left, ["lock", "other", "thing", "thing"]);
}

//! The committed code in `proto/src/gen` is what the `.proto` files give.

#[path = "../examples/gen/generate.rs"]
mod generate;

use std::collections::BTreeMap;
use std::path::Path;

/// Every file of a directory by its name.
fn files(dir: &Path) -> std::io::Result<BTreeMap<String, Vec<u8>>> {
    std::fs::read_dir(dir)?
        .map(|entry| {
            let entry = entry?;
            Ok((entry.file_name().to_string_lossy().into_owned(), std::fs::read(entry.path())?))
        })
        .collect()
}

#[test]
fn what_is_committed_is_what_the_proto_files_give() {
    let out = tempfile::tempdir().unwrap();
    generate::generate(out.path()).unwrap();
    let given = files(out.path()).unwrap();
    let committed = files(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src/gen")).unwrap();
    let names = |files: &BTreeMap<String, Vec<u8>>| files.keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(&given), names(&committed), "run: make proto");
    for (name, given) in given {
        assert!(
            committed[&name] == given,
            "proto/src/gen/{name} is not up to date; run: make proto"
        );
    }
}

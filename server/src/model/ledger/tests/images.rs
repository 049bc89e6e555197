//! Names of images, and what a VM is pinned to.

use super::*;
use crate::model::image::{ImageRecord, StoredKind};
use crate::model::spec::{ImageRef, VmSpec};
use crate::testing::image;

fn put(ledger: &mut Ledger, name: &str, kind: StoredKind, content: &[u8]) -> String {
    let (record, digest) = image(name, kind, content);
    make(ledger, Mutation::PutImage { image: record, replace: true }).expect("stored");
    digest
}

fn naming(kernel: &str, root: &str, digest: &str) -> Arc<VmSpec> {
    let draft = |name: &str, sha256: &str| {
        Some(ImageDraft { name: name.to_owned(), sha256: sha256.to_owned() })
    };
    let (kernel, root) = (draft(kernel, ""), draft(root, digest));
    spec_with(|d| (d.kernel, d.root_image) = (kernel, root))
}

fn create_with(number: u128, name: &str, spec: Arc<VmSpec>) -> Mutation {
    Mutation::CreateVm(CreateVm { spec, ..create(number, name) })
}

/// A host, a kernel `k` and a root file system `r`, and VM `web` of both.
fn with_web() -> (Ledger, String, String) {
    let mut ledger = with_host();
    let kernel = put(&mut ledger, "k", StoredKind::Kernel, b"kernel");
    let root = put(&mut ledger, "r", StoredKind::Root, b"root");
    vm(make(&mut ledger, create_with(1, "web", naming("k", "r", ""))));
    (ledger, kernel, root)
}

fn web(ledger: &Ledger) -> Arc<VmIntent> {
    Arc::clone(ledger.vm(&VmRef::Name("web".to_owned())).expect("there"))
}

#[test]
fn a_vm_is_pinned_to_the_content_that_its_images_have_when_it_is_created() {
    let (mut ledger, kernel, root) = with_web();
    let spec = Arc::clone(&web(&ledger).spec);
    assert_eq!(*spec.kernel(), ImageRef::stored("k", &kernel));
    assert_eq!(*spec.root_image(), ImageRef::stored("r", &root));
    let newer = put(&mut ledger, "r", StoredKind::Root, b"newer");
    assert_eq!(*web(&ledger).spec.root_image(), ImageRef::stored("r", &root));
    let (db, _) = vm(make(&mut ledger, create_with(2, "db", naming("k", "r", ""))));
    assert_eq!(*db.spec.root_image(), ImageRef::stored("r", &newer));
}

#[test]
fn the_same_create_again_matches_though_the_name_stands_for_other_content() {
    let (mut ledger, _, _) = with_web();
    put(&mut ledger, "r", StoredKind::Root, b"newer");
    let (again, changed) = vm(make(&mut ledger, create_with(1, "web", naming("k", "r", ""))));
    assert_eq!((again.id, changed), (vm_id(1), false));
}

#[test]
fn a_name_that_is_no_image_stays_a_file_of_the_host_also_when_it_becomes_one_later() {
    let mut ledger = with_host();
    let spec = naming("vmlinux", "root.ext4", "");
    let (made, _) = vm(make(&mut ledger, create_with(1, "web", Arc::clone(&spec))));
    assert_eq!(made.spec, spec);
    put(&mut ledger, "root.ext4", StoredKind::Root, b"root");
    let (same, changed) = vm(make(&mut ledger, update("web", spec, false)));
    assert!(!changed && same.spec.root_image().stored_digest().is_none());
}

#[test]
fn an_update_keeps_the_content_unless_it_names_another() {
    let (mut ledger, kernel, root) = with_web();
    let newer = put(&mut ledger, "r", StoredKind::Root, b"newer");
    // By name alone, and as GetVm shows it.
    for digest in ["", &root] {
        let (same, changed) = vm(make(&mut ledger, update("web", naming("k", "r", digest), false)));
        assert!(!changed, "{:?}", same.spec);
    }
    let (moved, _) = vm(make(&mut ledger, update("web", naming("k", "r", &newer), true)));
    assert_eq!(*moved.spec.root_image(), ImageRef::stored("r", &newer));
    assert_eq!((moved.root_disk_number, moved.boot_number), (2, 2));
    assert_eq!(ledger.kept_contents(), BTreeSet::from([kernel, newer]));
}

#[test]
fn an_image_of_the_wrong_kind_or_digest_is_a_problem_with_its_field() {
    let (mut ledger, _, root) = with_web();
    put(&mut ledger, "r", StoredKind::Root, b"newer");
    let fields = |outcome: Result<Outcome, Refusal>| match outcome {
        Err(Refusal::InvalidFields(problems)) => {
            problems.into_iter().map(|problem| problem.field).collect::<Vec<_>>()
        }
        other => panic!("accepted: {other:?}"),
    };
    let swapped = make(&mut ledger, create_with(2, "db", naming("r", "k", "")));
    assert_eq!(fields(swapped), ["spec.kernel.name", "spec.root_image.name"]);
    let stale = make(&mut ledger, create_with(2, "db", naming("k", "r", &root)));
    assert_eq!(fields(stale), ["spec.root_image.sha256"]);
}

#[test]
fn an_image_goes_only_when_no_vm_uses_it_and_the_refusal_names_those_that_do() {
    let (mut ledger, _, _) = with_web();
    for number in 2..9 {
        let name = format!("db-{number}");
        vm(make(&mut ledger, create_with(number, &name, naming("k", "vmlinux", ""))));
    }
    let forget = |name: &str| Mutation::DeleteImage { name: name.to_owned() };
    let refused = make(&mut ledger, forget("k")).expect_err("in use");
    let words = "image k is used by VM db-2, db-3, db-4, db-5, db-6 and 3 more";
    assert_eq!(refused.to_string(), words);
    let refused = make(&mut ledger, forget("r")).expect_err("in use");
    assert_eq!(refused.to_string(), "image r is used by VM web");
    // Of a VM that is being deleted only the content is still needed.
    make(&mut ledger, delete("web")).expect("deleted");
    make(&mut ledger, forget("r")).expect("no living VM uses it");
    assert_eq!(ledger.kept_contents().len(), 2);
    make(&mut ledger, Mutation::Forget { vm: vm_id(1) }).expect("gone");
    assert_eq!(ledger.kept_contents().len(), 1);
    let missing = make(&mut ledger, forget("r")).expect_err("gone");
    assert_eq!(missing, Refusal::ImageNotFound { name: "r".to_owned() });
}

#[test]
fn a_name_whose_content_no_vm_uses_goes_though_a_vm_has_what_it_was_before() {
    let (mut ledger, _, _) = with_web();
    put(&mut ledger, "r", StoredKind::Root, b"newer");
    make(&mut ledger, Mutation::DeleteImage { name: "r".to_owned() }).expect("unused");
    // web goes on with what it has, also through an update of something else.
    let mut spec = naming("k", "r", "");
    spec = Arc::new(
        VmSpec::from_json(&spec.to_json().replace("\"vcpus\":1", "\"vcpus\":2")).expect("a spec"),
    );
    let (grown, changed) = vm(make(&mut ledger, update("web", spec, true)));
    assert!(changed && grown.spec.root_image().stored_digest().is_some());
}

#[test]
fn the_same_image_again_changes_nothing() {
    let (mut ledger, _, _) = with_web();
    let (record, _) = image("r", StoredKind::Root, b"root");
    let later = ImageRecord { origin: "elsewhere".to_owned(), ..ImageRecord::clone(&record) };
    let again = Mutation::PutImage { image: Arc::new(later), replace: false };
    match make(&mut ledger, again) {
        Ok(Outcome::Image { image, changed: false }) => assert_eq!(image, record),
        other => panic!("{other:?}"),
    }
}

//! Names of images, and what a VM is pinned to.

use super::*;
use crate::model::image::{Boot, ImageRecord, StoredKind};
use crate::model::project::{Named, ProjectName};
use crate::model::spec::{ImageRef, VmSpec};
use crate::testing::image;

fn put(ledger: &mut Ledger, name: &str, kind: StoredKind, content: &[u8]) -> String {
    let (record, digest) = image(name, kind, content);
    make(ledger, AnyMutation::PutImage(PutImage { image: record, replace: true, public: None }))
        .expect("stored");
    digest
}

fn naming(kernel: &str, root: &str, digest: &str) -> Arc<VmSpec> {
    let draft = |name: &str, sha256: &str| {
        Some(ImageDraft { name: name.to_owned(), sha256: sha256.to_owned() })
    };
    let (kernel, root) = (draft(kernel, ""), draft(root, digest));
    spec_with(|d| (d.kernel, d.root_image) = (kernel, root))
}

fn create_with(number: u128, name: &str, spec: Arc<VmSpec>) -> AnyMutation {
    AnyMutation::CreateVm(CreateVm { spec, ..create(number, name) })
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
    Arc::clone(ledger.vm(&crate::model::fixtures::vm_named("web")).expect("there"))
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
    let forget = |name: &str| {
        AnyMutation::DeleteImage(DeleteImage { image: Named::new(&ProjectName::default(), name) })
    };
    let refused = make(&mut ledger, forget("k")).expect_err("in use");
    let words = "image k is used by VM db-2, db-3, db-4, db-5, db-6 and 3 more";
    assert_eq!(refused.to_string(), words);
    let refused = make(&mut ledger, forget("r")).expect_err("in use");
    assert_eq!(refused.to_string(), "image r is used by VM web");
    // Of a VM that is being deleted only the content is still needed.
    make(&mut ledger, delete("web")).expect("deleted");
    make(&mut ledger, forget("r")).expect("no living VM uses it");
    assert_eq!(ledger.kept_contents().len(), 2);
    make(&mut ledger, AnyMutation::Forget(Forget { vm: vm_id(1) })).expect("gone");
    assert_eq!(ledger.kept_contents().len(), 1);
    let missing = make(&mut ledger, forget("r")).expect_err("gone");
    assert_eq!(missing, Refusal::ImageNotFound { name: "r".to_owned() });
}

#[test]
fn a_name_whose_content_no_vm_uses_goes_though_a_vm_has_what_it_was_before() {
    let (mut ledger, _, _) = with_web();
    put(&mut ledger, "r", StoredKind::Root, b"newer");
    make(
        &mut ledger,
        AnyMutation::DeleteImage(DeleteImage { image: Named::new(&ProjectName::default(), "r") }),
    )
    .expect("unused");
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
    let again =
        AnyMutation::PutImage(PutImage { image: Arc::new(later), replace: false, public: None });
    match make(&mut ledger, again) {
        Ok(Outcome::Image { image, changed: false }) => assert_eq!(image, record),
        other => panic!("{other:?}"),
    }
}

/// `demo`, which is booted with `k` and a file `i` of the hosts; and a create that names it alone.
fn with_demo(ledger: &mut Ledger) -> Arc<VmSpec> {
    put_booted(ledger, b"demo", Some("i")).expect("stored");
    spec_with(|draft| {
        draft.kernel = None;
        draft.root_image = Some(ImageDraft { name: "demo".to_owned(), sha256: String::new() });
    })
}

fn put_booted(
    ledger: &mut Ledger,
    content: &[u8],
    initrd: Option<&str>,
) -> Result<Outcome, Refusal> {
    let (record, _) = image("demo", StoredKind::Root, content);
    let boot = Boot {
        kernel: "k".to_owned(),
        initrd: initrd.map(str::to_owned),
        boot_args: String::new(),
    };
    let image = Arc::new(ImageRecord { boot: Some(boot), ..ImageRecord::clone(&record) });
    make(ledger, AnyMutation::PutImage(PutImage { image, replace: true, public: None }))
}

#[test]
fn an_image_that_carries_its_kernel_is_all_that_a_vm_needs_and_the_vm_stays_what_it_was() {
    let (mut ledger, kernel, _) = with_web();
    let open = with_demo(&mut ledger);
    let (made, _) = vm(make(&mut ledger, create_with(2, "db", Arc::clone(&open))));
    let initrd = |vm: &VmIntent| vm.spec.initrd().map(|image| image.name.clone());
    assert_eq!(*made.spec.kernel(), ImageRef::stored("k", &kernel));
    assert_eq!(initrd(&made).as_deref(), Some("i"));
    // Whatever the image carries later: the same create is known, and the same spec changes
    // nothing.
    put_booted(&mut ledger, b"demo", None).expect("another boot");
    put(&mut ledger, "k", StoredKind::Kernel, b"newer");
    let (again, changed) = vm(make(&mut ledger, create_with(2, "db", Arc::clone(&open))));
    assert_eq!((again.id, changed), (vm_id(2), false));
    let (same, changed) = vm(make(&mut ledger, update("db", Arc::clone(&open), false)));
    assert!(!changed && same.spec == made.spec, "{:?}", same.spec);
    let (newer, _) = vm(make(&mut ledger, create_with(3, "newer", open)));
    assert_eq!(initrd(&newer), None);
    assert_ne!(newer.spec.kernel(), made.spec.kernel());
}

#[test]
fn a_vm_that_moves_to_an_image_that_carries_its_kernel_boots_with_that() {
    let (mut ledger, _, _) = with_web();
    let open = with_demo(&mut ledger);
    let (moved, _) = vm(make(&mut ledger, update("web", open, true)));
    assert_eq!(moved.spec.initrd().map(|image| image.name.as_str()), Some("i"));
}

#[test]
fn a_kernel_that_nobody_names_is_missed_with_the_reason() {
    let (mut ledger, _, _) = with_web();
    let open = |root: &str| {
        let root = Some(ImageDraft { name: root.to_owned(), sha256: String::new() });
        spec_with(|draft| (draft.kernel, draft.root_image) = (None, root))
    };
    let bare = make(&mut ledger, create_with(2, "db", open("r")));
    let Err(Refusal::InvalidFields(problems)) = bare else { panic!("{bare:?}") };
    assert_eq!(problems[0].field, "spec.kernel");
    assert!(problems[0].description.contains("\"r\" carries none"), "{problems:?}");
    let nothing = make(&mut ledger, create_with(2, "db", open("demo")));
    assert_eq!(nothing, Err(Refusal::NothingCarried { root: "demo".to_owned() }));
}

#[test]
fn what_an_image_boots_with_fits_stays_unless_said_otherwise_and_is_not_deleted_before_it() {
    let (mut ledger, _, _) = with_web();
    with_demo(&mut ledger);
    let refused = put_booted(&mut ledger, b"demo", Some("r"));
    let Err(Refusal::InvalidFields(problems)) = refused else { panic!("{refused:?}") };
    assert_eq!(problems[0].field, "boot.initrd");
    put(&mut ledger, "demo", StoredKind::Root, b"newer content, and nothing said of its boot");
    let boot = ledger
        .image(&Named::new(&ProjectName::default(), "demo"))
        .and_then(|image| image.boot.clone());
    assert_eq!(boot.map(|boot| boot.kernel).as_deref(), Some("k"));
    make(&mut ledger, delete("web")).expect("deleted");
    let forget = |name: &str| {
        AnyMutation::DeleteImage(DeleteImage { image: Named::new(&ProjectName::default(), name) })
    };
    let refused = make(&mut ledger, forget("k")).expect_err("carried");
    assert_eq!(refused.to_string(), "image k is what demo boots with");
    make(&mut ledger, forget("demo")).expect("unused");
    make(&mut ledger, forget("k")).expect("nothing boots with it");
}

/// What a host has been heard to have in its image directory.
fn has_files(ledger: &mut Ledger, host: u128, names: &[&str]) {
    let files = names.iter().map(|name| (*name).to_owned()).collect();
    ledger.set_image_files(host_id(host), Arc::new(files));
}

#[test]
fn an_image_that_neither_the_server_nor_any_host_has_is_refused_with_what_is_near() {
    let (mut ledger, _, _) = with_web();
    put(&mut ledger, "alpine", StoredKind::Root, b"alpine");
    has_files(
        &mut ledger,
        1,
        &["alpine-old", "demo-root", &crate::model::image::host_file(&"0".repeat(64))],
    );
    let mistyped = |ledger: &mut Ledger, root| {
        make(ledger, create_with(9, "new", naming("k", root, ""))).expect_err("nobody has it")
    };
    let near = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
    let nowhere = |name: &str, near| Refusal::ImageNowhere {
        field: "spec.root_image",
        name: name.to_owned(),
        near,
    };
    assert_eq!(mistyped(&mut ledger, "alpin"), nowhere("alpin", near(&["alpine", "alpine-old"])));
    assert_eq!(mistyped(&mut ledger, "demo-rot"), nowhere("demo-rot", near(&["demo-root"])));
    let said = mistyped(&mut ledger, "demo-rot").to_string();
    assert!(said.ends_with("; did you mean \"demo-root\"?"), "{said}");
    let strange = mistyped(&mut ledger, "windows");
    assert_eq!(strange, nowhere("windows", Vec::new()));
    // A host that tells as many files as any may tell may have this one as well.
    let mut full = ledger.clone();
    let all: Vec<String> = (0..MAX_HOST_IMAGES).map(|n| format!("file-{n}")).collect();
    has_files(&mut full, 1, &all.iter().map(String::as_str).collect::<Vec<_>>());
    let (placed, _) = vm(make(&mut full, create_with(8, "new", naming("k", "windows", ""))));
    assert_eq!(placed.host, Some(host_id(1)));
    assert!(strange.to_string().ends_with("neither the server nor any host has"), "{strange}");
    // A file of a host is an image, too; and an update is asked the same.
    vm(make(&mut ledger, create_with(2, "db", naming("k", "demo-root", ""))));
    let update = AnyMutation::UpdateVm(UpdateVm {
        vm: crate::model::fixtures::vm_named("db"),
        etag: None,
        spec: NewSpec::Whole(naming("kk", "demo-root", "")),
        allow_restart: true,
    });
    let refused = make(&mut ledger, update).expect_err("nobody has it");
    assert!(matches!(refused, Refusal::ImageNowhere { field: "spec.kernel", .. }), "{refused:?}");
}

#[test]
fn an_image_that_may_be_on_a_host_that_was_not_heard_is_taken() {
    // No host has joined: whichever joins may bring it.
    let mut ledger = Ledger::new(LedgerConfig::default());
    vm(make(&mut ledger, create_with(1, "early", naming("k", "r", ""))));
    // Of two hosts one has not been heard.
    let mut ledger = with_host();
    add_host(&mut ledger, 2, "two");
    has_files(&mut ledger, 1, &["other"]);
    vm(make(&mut ledger, create_with(1, "web", naming("k", "r", ""))));
    has_files(&mut ledger, 2, &[]);
    make(&mut ledger, create_with(2, "db", naming("k", "r", ""))).expect_err("both were heard");
    // What was created is the same create still, and keeps its images in an update.
    let (_, changed) = vm(make(&mut ledger, create_with(1, "web", naming("k", "r", ""))));
    assert!(!changed);
    // Files are known again after a ledger was loaded anew.
    let mut anew = ledger.clone();
    anew.keep_capacities_of(&ledger);
    make(&mut anew, create_with(2, "db", naming("k", "r", ""))).expect_err("both were heard");
}

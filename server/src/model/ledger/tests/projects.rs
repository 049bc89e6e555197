//! Projects: names within them, and what is not there for whom.

use super::*;
use crate::model::audit::{AuditObject, AuditRecord};
use crate::model::caller::{CallOf, ProjectRole, Rights};
use crate::model::fixtures::{caller_of, project, project_record, record_of};
use crate::model::image::{ImageRecord, StoredKind};
use crate::model::project::{Named, ProjectName};
use crate::model::request::{RequestId, RequestKey};
use crate::model::spec::VmSpecDraft;
use crate::model::token::TokenRecord;
use crate::testing::image;

/// A host, and two projects besides the one that is always there.
pub(super) fn with_projects() -> Ledger {
    let mut ledger = with_host();
    for name in ["shop", "lab"] {
        make(&mut ledger, CreateProject(project_record(name)).into()).expect("made");
    }
    let kernel = image("vmlinux", StoredKind::Kernel, b"kernel").0;
    let root = image("root.ext4", StoredKind::Root, b"root").0;
    for image in [kernel, root] {
        let put = PutImage { image, replace: false, public: Some(true) };
        make(&mut ledger, put.into()).expect("stored");
    }
    ledger
}

pub(super) fn developer(of: &str) -> Caller {
    caller_of(of, ProjectRole::Developer)
}

pub(super) fn make_as(
    ledger: &mut Ledger,
    caller: &Caller,
    mutation: impl Into<AnyMutation>,
) -> Result<Outcome, Refusal> {
    let decided = ledger.decide(caller, &mutation.into())?;
    ledger.apply(&decided.changes);
    Ok(decided.outcome)
}

pub(super) fn vm_of(number: u128, name: &str, of: &str) -> CreateVm {
    CreateVm { project: project(of), ..create(number, name) }
}

fn named(of: &str, name: &str) -> VmRef {
    VmRef::Name(Named::new(&project(of), name))
}

pub(super) fn remove(vm: VmRef) -> DeleteVm {
    DeleteVm { vm, etag: None }
}

#[test]
fn a_name_is_taken_in_its_own_project_alone() {
    let mut ledger = with_projects();
    for (number, of) in [(1, "default"), (2, "shop"), (3, "lab")] {
        vm(make(&mut ledger, vm_of(number, "web", of).into()));
    }
    let taken = make_as(&mut ledger, &developer("shop"), vm_of(4, "web", "shop"));
    assert_eq!(taken, Err(Refusal::VmNameTaken { name: "web".to_owned(), by: vm_id(2) }));
    // Whose name goes is whose VM goes.
    make(&mut ledger, remove(named("shop", "web")).into()).expect("wanted gone");
    make(&mut ledger, Forget { vm: vm_id(2) }.into()).expect("forgotten");
    let left = |of: &str| ledger.vm(&named(of, "web")).map(|vm| vm.id);
    assert_eq!(["default", "shop", "lab"].map(left), [Some(vm_id(1)), None, Some(vm_id(3))]);
}

#[test]
fn what_is_another_projects_is_refused_as_what_is_missing_whatever_is_asked() {
    let mut ledger = with_projects();
    vm(make(&mut ledger, vm_of(1, "web", "lab").into()));
    let before = ledger.vm(&VmRef::Id(vm_id(1))).cloned();
    let foreign = [VmRef::Id(vm_id(1)), named("lab", "web")];
    let missing = [VmRef::Id(vm_id(9)), named("lab", "wib")];
    for role in ProjectRole::ALL {
        let caller = caller_of("shop", role);
        for vm in foreign.iter().chain(&missing) {
            let etag = || Some("any".to_owned());
            let spec = spec_with(|draft| draft.vcpus = 2);
            let asked: [AnyMutation; 4] = [
                remove(vm.clone()).into(),
                DeleteVm { vm: vm.clone(), etag: etag() }.into(),
                SetPower { vm: vm.clone(), etag: etag(), power: STOP }.into(),
                UpdateVm {
                    vm: vm.clone(),
                    etag: None,
                    spec: NewSpec::Whole(spec),
                    allow_restart: true,
                }
                .into(),
            ];
            for mutation in asked {
                let refused = make_as(&mut ledger, &caller, mutation.clone());
                assert_eq!(refused, Err(Refusal::VmNotFound(vm.clone())), "{mutation:?}");
            }
        }
    }
    assert_eq!(ledger.vm(&VmRef::Id(vm_id(1))).cloned(), before);
}

#[test]
fn an_id_that_another_project_uses_is_refused_as_one_that_was_used_up() {
    let mut ledger = with_projects();
    let first = CreateVm { request_id: Some(vm_id(8)), ..vm_of(1, "web", "lab") };
    vm(make(&mut ledger, first.into()));
    ledger.note_used_up([vm_id(2)]);
    let shop = developer("shop");
    let ids = [vm_id(1), vm_id(2), vm_id(8)];
    for id in ids {
        // The same request as that of the other project, too.
        let refused = make_as(&mut ledger, &shop, CreateVm { id, ..vm_of(1, "web", "shop") });
        assert_eq!(refused, Err(Refusal::VmIdUsedUp { id }));
    }
    let asked = CreateVm { request_id: Some(vm_id(8)), ..vm_of(3, "web", "shop") };
    let refused = make_as(&mut ledger, &shop, asked);
    assert_eq!(refused, Err(Refusal::VmIdUsedUp { id: vm_id(8) }));
}

#[test]
fn a_project_that_is_not_the_callers_is_refused_as_one_that_is_missing() {
    let mut ledger = with_projects();
    for role in ProjectRole::ALL {
        let shop = caller_of("shop", role);
        for of in ["lab", "lob", "default"] {
            let missing = Refusal::ProjectNotFound { name: of.to_owned() };
            let refused = make_as(&mut ledger, &shop, vm_of(1, "web", of));
            assert_eq!(refused.as_ref().err(), of.ne("none").then_some(&missing));
            let (record, _) = image("pic", StoredKind::Root, b"pic");
            let record = ImageRecord { project: project(of), ..ImageRecord::clone(&record) };
            let put = PutImage { image: Arc::new(record), replace: true, public: None };
            assert_eq!(make_as(&mut ledger, &shop, put), Err(missing));
        }
    }
    let nobody = make(&mut ledger, vm_of(1, "web", "lob").into());
    assert_eq!(nobody, Err(Refusal::ProjectNotFound { name: "lob".to_owned() }));
}

#[test]
fn a_repetition_by_another_project_shows_nothing() {
    let mut ledger = with_projects();
    vm(make(&mut ledger, vm_of(1, "web", "lab").into()));
    let id = RequestId(vm_id(50).uuid());
    let key = RequestKey { id, fingerprint: [1; 32] };
    let stop: AnyMutation = SetPower { vm: VmRef::Id(vm_id(1)), etag: None, power: STOP }.into();
    let decided = ledger.decide_once(&developer("lab"), &stop, Some(&key)).expect("done");
    ledger.apply(&decided.changes);
    assert!(ledger.decide_once(&developer("lab"), &stop, Some(&key)).is_ok());
    let shown = ledger.decide_once(&developer("shop"), &stop, Some(&key));
    assert_eq!(shown.err(), Some(Refusal::RequestIdTaken { id }));
    // Nor once it is gone, which is theirs to know who asked, and the fleet's.
    make(&mut ledger, remove(VmRef::Id(vm_id(1))).into()).expect("wanted gone");
    make(&mut ledger, Forget { vm: vm_id(1) }.into()).expect("forgotten");
    let shown = ledger.decide_once(&developer("shop"), &stop, Some(&key));
    assert_eq!(shown.err(), Some(Refusal::RequestIdTaken { id }));
    for caller in [developer("lab"), caller()] {
        let shown = ledger.decide_once(&caller, &stop, Some(&key));
        assert!(matches!(shown, Err(Refusal::DoneAndGone { .. })), "{shown:?}");
    }
}

#[test]
fn of_two_ids_the_first_that_is_taken_is_named_whether_its_vm_lives_or_not() {
    let asked = |id, request_id| CreateVm {
        request_id: Some(vm_id(request_id)),
        spec: spec_with(|draft| draft.placement_host = String::new()),
        ..vm_of(id, "", "shop")
    };
    let mut ledger = with_projects();
    let first = CreateVm { request_id: Some(vm_id(8)), ..vm_of(1, "web", "lab") };
    vm(make(&mut ledger, first.into()));
    ledger.note_used_up([vm_id(2), vm_id(9)]);
    let shop = developer("shop");
    // Of lab, 1 and 8 are living and 2 and 9 gone; 3 is free.
    for (id, request_id, named) in
        [(1, 8, 1), (2, 9, 2), (1, 9, 1), (2, 8, 2), (3, 8, 8), (3, 9, 9), (8, 1, 8), (9, 2, 9)]
    {
        let create = asked(id, request_id);
        let used_up = Err(Refusal::VmIdUsedUp { id: vm_id(named) });
        assert_eq!(ledger.decide(&shop, &create.clone().into()).map(drop), used_up);
        assert_eq!(ledger.check_create(&create, &shop, &[]).map(drop), used_up);
    }
}

// === hosts ===

#[test]
fn a_project_places_by_labels_and_hears_nothing_of_what_others_use() {
    let mut ledger = with_projects();
    let shop = developer("shop");
    for host in ["one", "none"] {
        let spec = spec_with(|draft| draft.placement_host = host.to_owned());
        let refused = make_as(&mut ledger, &shop, CreateVm { spec, ..vm_of(1, "web", "shop") });
        let Err(Refusal::InvalidFields(problems)) = refused else { panic!("{refused:?}") };
        assert_eq!(problems[0].field, "spec.placement.host");
    }
    vm(make_as(&mut ledger, &shop, vm_of(1, "web", "shop")));
    let grow = |vcpus| UpdateVm {
        vm: VmRef::Id(vm_id(1)),
        etag: None,
        spec: NewSpec::Whole(spec_with(|draft| draft.vcpus = vcpus)),
        allow_restart: true,
    };
    // Nor by a change while it waits, nor before others, whatever there is of either.
    let nowhere = |draft: &mut VmSpecDraft| draft.pool = "none".to_owned();
    let waits = CreateVm { spec: spec_with(nowhere), ..vm_of(2, "waits", "shop") };
    vm(make_as(&mut ledger, &shop, waits));
    let change = |to: fn(&mut VmSpecDraft)| UpdateVm {
        vm: VmRef::Id(vm_id(2)),
        etag: None,
        spec: NewSpec::Whole(spec_with(to)),
        allow_restart: true,
    };
    for (field, asked) in [
        ("spec.placement.host", change(|draft| draft.placement_host = "one".to_owned())),
        ("spec.placement.host", change(|draft| draft.placement_host = "none".to_owned())),
        ("spec.placement.priority", change(|draft| draft.priority = 1)),
    ] {
        let refused = make_as(&mut ledger, &shop, asked);
        let Err(Refusal::InvalidFields(problems)) = refused else { panic!("{refused:?}") };
        assert_eq!(problems[0].field, field);
    }
    vm(make_as(&mut ledger, &shop, change(|draft| draft.priority = -1)));
    let full = make_as(&mut ledger, &shop, grow(32));
    let why = Unsuitable::Full;
    assert_eq!(
        full,
        Err(Refusal::HostUnsuitable { host: "one".to_owned(), why, also: Vec::new() })
    );
    let full = make(&mut ledger, grow(32).into());
    let Err(Refusal::HostUnsuitable { why: Unsuitable::NoRoom(_), .. }) = full else {
        panic!("{full:?}")
    };
}

// === images ===

fn put_image(ledger: &mut Ledger, of: &str, name: &str, kind: StoredKind, content: &[u8]) {
    let (record, _) = image(name, kind, content);
    let record = ImageRecord { project: project(of), ..ImageRecord::clone(&record) };
    let put = PutImage { image: Arc::new(record), replace: true, public: None };
    make(ledger, put.into()).expect("stored");
}

pub(super) fn booting(number: u128, of: &str, kernel: &str, root: &str) -> CreateVm {
    let image = |name: &str| Some(ImageDraft { name: name.to_owned(), sha256: String::new() });
    let (kernel, root) = (image(kernel), image(root));
    let spec = spec_with(|draft| (draft.kernel, draft.root_image) = (kernel, root));
    CreateVm { spec, ..vm_of(number, "", of) }
}

#[test]
fn a_vm_boots_from_images_of_its_project_and_from_public_ones_and_from_nothing_else() {
    let mut ledger = with_projects();
    put_image(&mut ledger, "lab", "alpine", StoredKind::Root, b"of lab");
    put_image(&mut ledger, "default", "private", StoredKind::Root, b"of the operators");
    put_image(&mut ledger, "shop", "vmlinux", StoredKind::Kernel, b"of shop");
    let lab = image("alpine", StoredKind::Root, b"of lab").1;
    let shop = developer("shop");
    // Its own goes before the public one of the name.
    let (own, _) = vm(make_as(&mut ledger, &shop, booting(1, "shop", "vmlinux", "root.ext4")));
    let of_shop = image("vmlinux", StoredKind::Kernel, b"of shop").1;
    assert_eq!(own.spec.kernel().sha256.as_deref(), Some(of_shop.as_str()));
    let (lab_vm, _) = vm(make(&mut ledger, booting(2, "lab", "vmlinux", "alpine").into()));
    assert_ne!(lab_vm.spec.kernel().sha256.as_deref(), Some(of_shop.as_str()));
    // The host has what another project brought there, and a file of its own.
    let brought = crate::model::image::host_file(&lab);
    let files = [brought.clone(), "file.ext4".to_owned()].into();
    ledger.set_image_files(host_id(1), Arc::new(files));
    for name in ["alpine", "private", "nothing", "alpin", "file.ext4", &brought] {
        let refused = make_as(&mut ledger, &shop, booting(3, "shop", "vmlinux", name));
        let nowhere = Refusal::ImageNowhere {
            field: "spec.root_image",
            name: name.to_owned(),
            near: Vec::new(),
        };
        assert_eq!(refused, Err(nowhere), "{name}");
    }
    vm(make(&mut ledger, booting(4, "default", "vmlinux", "file.ext4").into()));
    let refused = make(&mut ledger, booting(5, "default", "vmlinux", &brought).into());
    assert!(matches!(refused, Err(Refusal::ImageNowhere { .. })), "{refused:?}");
    // What is one's own and public is suggested.
    let near = make_as(&mut ledger, &shop, booting(3, "shop", "vmlinux", "root.ext5"));
    let Err(Refusal::ImageNowhere { near, .. }) = near else { panic!("{near:?}") };
    assert_eq!(near, ["root.ext4"]);
}

#[test]
fn an_image_is_counted_deleted_and_replaced_within_its_project() {
    let mut ledger = with_projects();
    let (shop, lab) = (developer("shop"), developer("lab"));
    for (number, of) in [(1, "shop"), (2, "lab")] {
        put_image(&mut ledger, of, "alpine", StoredKind::Root, b"the same");
        vm(make(&mut ledger, booting(number, of, "vmlinux", "alpine").into()));
    }
    let digest = image("alpine", StoredKind::Root, b"the same").1;
    let users = [&shop, &lab, &caller()].map(|caller| ledger.image_users(&digest, caller));
    assert_eq!(users, [1, 1, 2]);
    let rm = |of: &str| DeleteImage { image: Named::new(&project(of), "alpine") };
    let missing = make_as(&mut ledger, &shop, rm("lab"));
    assert_eq!(missing, Err(Refusal::ImageNotFound { name: "lab/alpine".to_owned() }));
    let used = make_as(&mut ledger, &shop, rm("shop"));
    let Err(Refusal::ImageInUse { vms, more: 0, .. }) = used else { panic!("{used:?}") };
    assert_eq!(vms.len(), 1, "the other project's is not named: {vms:?}");
    make(&mut ledger, remove(VmRef::Id(vm_id(1))).into()).expect("wanted gone");
    make_as(&mut ledger, &shop, rm("shop")).expect("nobody of shop uses it");
    assert!(ledger.image(&Named::new(&project("lab"), "alpine")).is_some());
}

#[test]
fn what_everybody_boots_from_is_for_operators_of_the_fleet() {
    let mut ledger = with_projects();
    let of_default = caller_of("default", ProjectRole::Admin);
    let vmlinux = Named::new(&ProjectName::default(), "vmlinux");
    let refused = make_as(&mut ledger, &of_default, DeleteImage { image: vmlinux.clone() });
    assert!(matches!(refused, Err(Refusal::NotPermitted(_))), "{refused:?}");
    let put = |name: &str, public| {
        let (image, _) = image(name, StoredKind::Kernel, b"other");
        PutImage { image, replace: true, public }
    };
    for asked in [put("vmlinux", None), put("vmlinux", Some(false)), put("new", Some(true))] {
        let refused = make_as(&mut ledger, &of_default, asked);
        assert!(matches!(refused, Err(Refusal::NotPermitted(_))), "{refused:?}");
    }
    let record = ImageRecord {
        project: project("shop"),
        ..ImageRecord::clone(&image("k", StoredKind::Kernel, b"k").0)
    };
    let of_shop = PutImage { image: Arc::new(record), replace: true, public: Some(true) };
    let refused = make(&mut ledger, of_shop.into());
    assert!(matches!(refused, Err(Refusal::InvalidFields(_))), "{refused:?}");
    // VMs of others use it: whoever may delete it sees them.
    vm(make(&mut ledger, vm_of(1, "web", "shop").into()));
    let used = make(&mut ledger, DeleteImage { image: vmlinux.clone() }.into());
    let Err(Refusal::ImageInUse { vms, .. }) = used else { panic!("{used:?}") };
    assert_eq!(vms, ["shop/web"]);
    // Once it is public no longer it is there for nobody else, and who has it keeps it.
    let (same, _) = image("vmlinux", StoredKind::Kernel, b"kernel");
    let shut = PutImage { image: same, replace: false, public: Some(false) };
    make(&mut ledger, shut.into()).expect("the same content");
    let refused = make_as(&mut ledger, &developer("shop"), vm_of(2, "db", "shop"));
    assert!(matches!(refused, Err(Refusal::ImageNowhere { .. })), "{refused:?}");
}

// === their end ===

#[test]
fn a_project_goes_when_it_is_empty_and_its_tokens_with_it() {
    let mut ledger = with_projects();
    let rights = Rights::Project(project("shop"), ProjectRole::Admin);
    let token = TokenRecord { rights, ..record_of(1, "ann") };
    make(&mut ledger, CreateToken(Arc::new(token)).into()).expect("made");
    make(&mut ledger, CreateToken(Arc::new(record_of(2, "ann"))).into()).expect("of the fleet");
    vm(make(&mut ledger, vm_of(1, "web", "shop").into()));
    let rm = |name: &str| AnyMutation::from(DeleteProject(project(name)));
    let refused = make(&mut ledger, rm("shop"));
    let name = "shop".to_owned();
    assert_eq!(refused, Err(Refusal::ProjectNotEmpty { name, vms: 1, images: 0 }));
    make(&mut ledger, remove(VmRef::Id(vm_id(1))).into()).expect("wanted gone");
    assert!(make(&mut ledger, rm("shop")).is_err(), "its host may still have it");
    make(&mut ledger, Forget { vm: vm_id(1) }.into()).expect("forgotten");
    make(&mut ledger, rm("shop")).expect("empty");
    let left: Vec<String> = ledger.tokens().map(|token| token.principal()).collect();
    assert_eq!(left, ["ann"]);
    let gone = make(&mut ledger, vm_of(2, "web", "shop").into());
    assert_eq!(gone, Err(Refusal::ProjectNotFound { name: "shop".to_owned() }));
    let stays = make(&mut ledger, rm("default"));
    assert!(matches!(stays, Err(Refusal::ProjectStays { .. })), "{stays:?}");
    let taken = make(&mut ledger, CreateProject(project_record("default")).into());
    assert!(matches!(taken, Err(Refusal::ProjectNameTaken { .. })), "{taken:?}");
}

#[test]
fn what_goes_with_a_project_has_a_record_each_and_objects_are_named_with_theirs() {
    let mut ledger = with_projects();
    let rights = Rights::Project(project("shop"), ProjectRole::Admin);
    let token = TokenRecord { rights, ..record_of(1, "ann") };
    make(&mut ledger, CreateToken(Arc::new(token)).into()).expect("made");
    let call = CallOf { method: "a/Any", peer: None };
    let by = Caller { call: Some(call.into()), ..caller() };
    let audited = |ledger: &mut Ledger, mutation: AnyMutation| -> Vec<String> {
        let decided = ledger.decide_once(&by, &mutation, None).expect("done");
        ledger.apply(&decided.changes);
        let records = decided.changes.iter().filter_map(|change| match change {
            Change::Audit(record) => Some(record),
            _ => None,
        });
        let named = |object: &AuditObject| format!("{} {}", object.kind, object.name);
        let line = |record: &Arc<AuditRecord>| match (&record.object, &record.because_of) {
            (Some(object), Some((effect, cause))) => {
                format!("{} {} {}", named(object), effect.as_str(), named(cause))
            }
            (object, _) => object.as_ref().map(named).unwrap_or_default(),
        };
        records.map(line).collect()
    };
    assert_eq!(audited(&mut ledger, vm_of(1, "web", "shop").into()), ["vm shop/web"]);
    assert_eq!(audited(&mut ledger, vm_of(2, "web", "default").into()), ["vm web"]);
    assert_eq!(audited(&mut ledger, remove(VmRef::Id(vm_id(1))).into()), ["vm shop/web"]);
    make(&mut ledger, Forget { vm: vm_id(1) }.into()).expect("forgotten");
    assert_eq!(
        audited(&mut ledger, DeleteProject(project("shop")).into()),
        ["project shop", "token shop/ann WENT_ALONG project shop"]
    );
}

#[test]
fn tokens_of_a_project_are_made_listed_and_taken_back_in_it() {
    let mut ledger = with_projects();
    let admin = caller_of("shop", ProjectRole::Admin);
    let of = |number, name: &str, rights| {
        CreateToken(Arc::new(TokenRecord { rights, ..record_of(number, name) }))
    };
    let of_shop = || Rights::Project(project("shop"), ProjectRole::Developer);
    let of_lab = || Rights::Project(project("lab"), ProjectRole::Developer);
    make(&mut ledger, of(1, "ci", of_lab()).into()).expect("made");
    // The name is free here, as nobody here knows of the other.
    make_as(&mut ledger, &admin, of(2, "ci", of_shop())).expect("made");
    let refused = make_as(&mut ledger, &admin, of(3, "x", of_lab()));
    assert_eq!(refused, Err(Refusal::ProjectNotFound { name: "lab".to_owned() }));
    let refused = make_as(&mut ledger, &admin, of(3, "x", record_of(3, "x").rights));
    assert!(matches!(refused, Err(Refusal::NotPermitted(_))), "{refused:?}");
    let revoke = |token: &str| RevokeToken { token: token.to_owned(), keep_made: false };
    for foreign in ["lab/ci", "bgr_0000000000000001"] {
        let refused = make_as(&mut ledger, &admin, revoke(foreign));
        assert_eq!(refused, Err(Refusal::TokenNotFound { token: foreign.to_owned() }));
    }
    make_as(&mut ledger, &admin, revoke("shop/ci")).expect("its own");
    let left: Vec<String> = ledger.tokens().map(|token| token.principal()).collect();
    assert_eq!(left, ["lab/ci"]);
}

#[test]
fn no_project_holds_what_there_are_few_of_for_all() {
    let mut ledger = with_projects();
    // Tokens, which its admin makes.
    for number in 4_096..5_096_u32 {
        let (id, rights) = (
            format!("bgr_{number:016x}"),
            Rights::Project(project("shop"), ProjectRole::Developer),
        );
        let token = TokenRecord { id, rights, ..record_of(1, &format!("t{number}")) };
        make(&mut ledger, CreateToken(Arc::new(token)).into()).expect("there is room");
    }
    let token = |number, of: &str| {
        let rights = Rights::Project(project(of), ProjectRole::Developer);
        CreateToken(Arc::new(TokenRecord { rights, ..record_of(number, "more") })).into()
    };
    let refused = make(&mut ledger, token(254, "shop"));
    assert!(matches!(refused, Err(Refusal::LimitReached { limit: 1_000, .. })), "{refused:?}");
    make(&mut ledger, token(255, "lab")).expect("another has room");
    // Images by their names.
    let named = |name: &str, of: &str| {
        let (record, _) = image(name, StoredKind::Root, b"root");
        let record = ImageRecord { project: project(of), ..ImageRecord::clone(&record) };
        PutImage { image: Arc::new(record), replace: false, public: None }.into()
    };
    for number in 0..1_000 {
        make(&mut ledger, named(&format!("i{number}"), "shop")).expect("there is room");
    }
    let refused = make(&mut ledger, named("more", "shop"));
    assert!(matches!(refused, Err(Refusal::LimitReached { limit: 1_000, .. })), "{refused:?}");
    make(&mut ledger, named("more", "lab")).expect("another has room");
    make(&mut ledger, named("more", "default")).expect("so have the operators");
}

#[test]
fn a_token_of_a_project_takes_no_name_from_the_first_admin() {
    let mut ledger = with_projects();
    let rights = Rights::Project(project("shop"), ProjectRole::Admin);
    let theirs = TokenRecord { rights, ..record_of(1, "admin") };
    make(&mut ledger, CreateToken(Arc::new(theirs)).into()).expect("made");
    make(&mut ledger, AddToken(Arc::new(record_of(2, "admin"))).into()).expect("made beside it");
}

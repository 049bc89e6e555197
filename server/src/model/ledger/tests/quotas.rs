//! Quotas: what the VMs of a project may come to, and how that is counted.

use super::projects::{booting, developer, make_as, remove, vm_of, with_projects};
use super::*;
use crate::model::fixtures::project;
use crate::model::image::{ImageRecord, StoredKind};
use crate::model::project::{Named, OverQuota, ProjectName, Quota};
use crate::testing::image;

#[test]
fn of_many_creates_at_the_last_of_a_quota_one_is_made() {
    let mut ledger = with_projects();
    let quota = Quota { vms: 3, ..Quota::default() };
    let update = UpdateProject { name: project("shop"), quota };
    make(&mut ledger, update.into()).expect("it is there");
    let shop = developer("shop");
    for number in [1, 2] {
        vm(make_as(&mut ledger, &shop, vm_of(number, "", "shop")));
    }
    let made =
        (10..210).filter(|number| make_as(&mut ledger, &shop, vm_of(*number, "", "shop")).is_ok());
    assert_eq!(made.count(), 1);
    let passed = OverQuota { what: "VMs", allowed: 3, used: 3, wanted: 1 };
    let full = Refusal::QuotaExceeded { project: "shop".to_owned(), passed };
    assert_eq!(make_as(&mut ledger, &shop, vm_of(300, "", "shop")), Err(full.clone()));
    // A repetition is no further VM, others have their own, and what goes makes room.
    vm(make_as(&mut ledger, &shop, vm_of(1, "", "shop")));
    vm(make_as(&mut ledger, &developer("lab"), vm_of(301, "", "lab")));
    make_as(&mut ledger, &shop, remove(VmRef::Id(vm_id(1)))).expect("wanted gone");
    assert_eq!(make_as(&mut ledger, &shop, vm_of(300, "", "shop")), Err(full), "it may be there");
    make(&mut ledger, Forget { vm: vm_id(1) }.into()).expect("forgotten");
    vm(make_as(&mut ledger, &shop, vm_of(300, "", "shop")));
}

#[test]
fn a_vm_grows_within_its_quota_alone() {
    let mut ledger = with_projects();
    vm(make(&mut ledger, vm_of(1, "web", "shop").into()));
    let vcpus = u64::from(ledger.vm(&VmRef::Id(vm_id(1))).expect("there").spec.vcpus()) + 1;
    let quota = Quota { vcpus, ..Quota::default() };
    make(&mut ledger, UpdateProject { name: project("shop"), quota }.into()).expect("there");
    let to = |vcpus: u64| UpdateVm {
        vm: VmRef::Id(vm_id(1)),
        etag: None,
        spec: NewSpec::Whole(spec_with(|draft| draft.vcpus = vcpus as u32)),
        allow_restart: true,
    };
    make(&mut ledger, to(vcpus).into()).expect("the last of it");
    let refused = make(&mut ledger, to(vcpus + 1).into());
    assert!(matches!(refused, Err(Refusal::QuotaExceeded { .. })), "{refused:?}");
    make(&mut ledger, to(1).into()).expect("less");
    let name = ProjectName::default();
    let refused = make(&mut ledger, UpdateProject { name, quota }.into());
    assert!(matches!(refused, Err(Refusal::InvalidFields(_))), "{refused:?}");
}

/// An image of a project, so many MiB long.
fn image_of(of: &str, name: &str, mib: u64) -> PutImage {
    let (image, _) = image(name, StoredKind::Root, format!("{of}/{name}/{mib}").as_bytes());
    let image = ImageRecord { project: project(of), size_bytes: mib << 20, ..(*image).clone() };
    PutImage { image: Arc::new(image), replace: true, public: None }
}

#[test]
fn images_of_a_project_pass_no_quota_whoever_commits_first() {
    let mut ledger = with_projects();
    let quota = Quota { image_mib: 10, ..Quota::default() };
    make(&mut ledger, UpdateProject { name: project("shop"), quota }.into()).expect("there");
    let shop = developer("shop");
    let mut put = |of: &str, name: &str, mib: u64| {
        make_as(&mut ledger, &developer(of), image_of(of, name, mib)).map(drop)
    };
    // Each would fit, were it alone.
    let made = (0..200).filter(|number| put("shop", &format!("i{number}"), 4).is_ok());
    assert_eq!(made.count(), 2);
    let what = "MiB of images and uploads";
    let passed = OverQuota { what, allowed: 10, used: 8, wanted: 3 };
    let full = Err(Refusal::QuotaExceeded { project: "shop".to_owned(), passed });
    assert_eq!(put("shop", "one", 3), full);
    assert_eq!(put("shop", "one", 2), Ok(()), "to the last of it");
    assert_eq!(put("lab", "one", 3), Ok(()), "another's");
    // One that takes the place of another counts in its stead; a shorter one always fits.
    assert_eq!(put("shop", "i0", 4), Ok(()), "as it is");
    assert!(put("shop", "i0", 5).is_err());
    let quota = Quota { image_mib: 1, ..quota };
    make(&mut ledger, UpdateProject { name: project("shop"), quota }.into()).expect("there");
    let mut put =
        |name: &str, mib: u64| make_as(&mut ledger, &shop, image_of("shop", name, mib)).map(drop);
    assert_eq!(put("i0", 3), Ok(()));
    assert!(put("i0", 4).is_err());
    let uses = ledger.project_use(&project("shop")).images;
    assert_eq!((uses.images, uses.bytes), (3, 9 << 20));
    let gone = DeleteImage { image: Named::new(&project("shop"), "i0") };
    make_as(&mut ledger, &shop, gone).expect("unused");
    assert_eq!(ledger.project_use(&project("shop")).images.bytes, 6 << 20);
}

#[test]
fn a_root_disk_counts_for_as_long_as_its_image_is() {
    let mut ledger = with_projects();
    let image_of = |name: &str, mib: u64| {
        let (image, _) = image(name, StoredKind::Root, name.as_bytes());
        // A MiB that is begun counts.
        let size_bytes = (mib << 20) - 1;
        let image = ImageRecord { project: project("shop"), size_bytes, ..(*image).clone() };
        PutImage { image: Arc::new(image), replace: true, public: None }
    };
    for (name, mib) in [("small", 100), ("large", 3000), ("larger", 5000)] {
        make(&mut ledger, image_of(name, mib).into()).expect("stored");
    }
    let quota = Quota { disk_mib: 4100, ..Quota::default() };
    make(&mut ledger, UpdateProject { name: project("shop"), quota }.into()).expect("there");
    let shop = developer("shop");
    let of = |number, root| booting(number, "shop", "vmlinux", root);
    let used = |ledger: &Ledger| ledger.project_use(&project("shop")).booked.disk_mib;
    // Its spec says 1024 MiB, as that of each.
    vm(make_as(&mut ledger, &shop, of(1, "large")));
    assert_eq!(used(&ledger), 3000);
    let passed = OverQuota { what: "MiB of disk", allowed: 4100, used: 3000, wanted: 3000 };
    let full = Err(Refusal::QuotaExceeded { project: "shop".to_owned(), passed });
    assert_eq!(make_as(&mut ledger, &shop, of(2, "large")), full);
    vm(make_as(&mut ledger, &shop, of(2, "small")));
    assert_eq!(used(&ledger), 4024);
    // Another image is another disk; what keeps its own keeps its length, under no name as well.
    let to = |root: &str, vcpus| {
        let name = root.to_owned();
        let spec = spec_with(|draft| {
            draft.vcpus = vcpus;
            draft.root_image = Some(ImageDraft { name, sha256: String::new() });
        });
        let vm = VmRef::Id(vm_id(2));
        UpdateVm { vm, etag: None, spec: NewSpec::Whole(spec), allow_restart: true }
    };
    let refused = make_as(&mut ledger, &shop, to("larger", 1));
    assert!(matches!(refused, Err(Refusal::QuotaExceeded { .. })), "{refused:?}");
    let quota = Quota { disk_mib: 9000, ..Quota::default() };
    make(&mut ledger, UpdateProject { name: project("shop"), quota }.into()).expect("there");
    vm(make_as(&mut ledger, &shop, to("larger", 1)));
    assert_eq!(used(&ledger), 8000);
    let (other, _) = image("larger", StoredKind::Root, b"other");
    let other = ImageRecord { project: project("shop"), ..(*other).clone() };
    let put = PutImage { image: Arc::new(other), replace: true, public: None };
    make(&mut ledger, put.into()).expect("replaced");
    vm(make_as(&mut ledger, &shop, to("larger", 2)));
    assert_eq!(used(&ledger), 8000);
    for number in [1, 2] {
        make_as(&mut ledger, &shop, remove(VmRef::Id(vm_id(number)))).expect("wanted gone");
        make(&mut ledger, Forget { vm: vm_id(number) }.into()).expect("forgotten");
    }
    assert_eq!(used(&ledger), 0);
}

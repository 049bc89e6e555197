use serde_json::json;

use super::*;
use crate::model::fixtures::{draft, spec, spec_with};
use crate::model::image::Boot;

fn fields(refusal: SpecRefusal) -> Vec<String> {
    match refusal {
        SpecRefusal::Invalid(problems) => problems.into_iter().map(|p| p.field).collect(),
        SpecRefusal::NotImplemented(fields) => panic!("not implemented: {fields:?}"),
    }
}

#[test]
fn defaults_are_filled_in() {
    let spec = spec();
    assert_eq!((spec.vcpus(), spec.memory_mib(), spec.root_disk_mib()), (1, 256, 1024));
    assert_eq!(spec.boot_args(), DEFAULT_BOOT_ARGS);
    assert_eq!(spec.egress(), Egress::Nat);
    assert_eq!(spec.restart_policy(), RestartPolicy::Never);
    assert_eq!(spec.work_disk_mib(), None);
}

#[test]
fn an_empty_draft_lacks_kernel_and_root_image_only() {
    let refusal = VmSpecDraft::default().check().expect_err("nothing is given");
    assert_eq!(fields(refusal), ["spec.root_image.name"], "the kernel may be the root image's");
}

#[test]
fn what_is_left_open_of_the_boot_is_taken_and_what_is_said_stays() {
    let boot = Boot {
        kernel: "k".to_owned(),
        initrd: Some("i".to_owned()),
        boot_args: "quiet".to_owned(),
    };
    let names = |spec: &VmSpec| {
        let initrd = spec.initrd().map(|image| image.name.clone());
        (spec.kernel().name.clone(), initrd, spec.boot_args().to_owned())
    };
    let of = |kernel: &str, initrd: Option<&str>, args: &str| {
        (kernel.to_owned(), initrd.map(str::to_owned), args.to_owned())
    };
    let open = spec_with(|draft| draft.kernel = None);
    assert!(open.leaves_boot_open());
    assert_eq!(names(&open.booted_with(&boot)), of("k", Some("i"), "quiet"));
    assert!(!open.booted_with(&boot).leaves_boot_open());
    let bare = Boot { initrd: None, boot_args: String::new(), ..boot.clone() };
    assert_eq!(names(&open.booted_with(&bare)), of("k", None, DEFAULT_BOOT_ARGS));
    let said = spec_with(|draft| {
        draft.kernel = None;
        draft.initrd = Some(named("mine"));
        draft.boot_args = "debug".to_owned();
    });
    assert_eq!(names(&said.booted_with(&boot)), of("k", Some("mine"), "debug"));
    assert_eq!(spec().boot_args(), DEFAULT_BOOT_ARGS, "a kernel that is said has the default");
}

#[test]
fn all_problems_are_listed_at_once() {
    let mut draft = draft();
    draft.vcpus = 33;
    draft.memory_mib = 63;
    draft.kernel = Some(ImageDraft { name: "../vmlinux".to_owned(), sha256: "abc".to_owned() });
    draft.root_image = None;
    draft.initrd = Some(ImageDraft { name: "-initrd".to_owned(), sha256: String::new() });
    draft.root_disk_mib = 15;
    draft.work_disk_mib = Some(0);
    draft.boot_args = "a\nb".to_owned();
    draft.metadata = json!({"key": "x".repeat(40_000)}).as_object().cloned();
    draft.labels.insert("bad key".to_owned(), String::new());
    draft.placement_host = "../host".to_owned();
    draft.placement_labels.insert("k".to_owned(), "bad value".to_owned());
    draft.unreadable.push(SpecProblem::new("spec.restart_policy", "is 9"));
    draft.port_count = 1;
    draft.allow_host_metadata = true;
    draft.limits.cpu_weight = 10_001;
    draft.limits.cpu_millis = 9;
    draft.limits.io_write_bytes_per_second = 1;
    draft.limits.io_read_ops_per_second = 9;
    let refusal = draft.check().expect_err("nothing is right");
    assert_eq!(
        fields(refusal),
        [
            "spec.restart_policy",
            "spec.vcpus",
            "spec.memory_mib",
            "spec.kernel.name",
            "spec.kernel.sha256",
            "spec.root_image.name",
            "spec.initrd.name",
            "spec.root_disk_mib",
            "spec.work_disk.size_mib",
            "spec.boot_args",
            "spec.metadata",
            "spec.limits.cpu_weight",
            "spec.limits.cpu_millis",
            "spec.limits.io_write_bytes_per_second",
            "spec.limits.io_read_ops_per_second",
            "spec.network.allow_host_metadata",
            r#"spec.labels["bad key"]"#,
            "spec.placement.host",
            r#"spec.placement.host_labels["k"]"#,
        ]
    );
}

#[test]
fn the_limits_themselves_are_accepted() {
    for (vcpus, memory, root, work) in [(1, 64, 16, 1), (32, 1_048_576, 4_194_304, 4_194_304)] {
        let mut draft = draft();
        draft.vcpus = vcpus;
        draft.memory_mib = memory;
        draft.root_disk_mib = root;
        draft.work_disk_mib = Some(work);
        draft.check().expect("within the limits");
    }
}

#[test]
fn fields_that_are_not_there_yet_are_told_apart_from_wrong_ones() {
    let mut draft = draft();
    draft.port_count = 2;
    assert_eq!(draft.check(), Err(SpecRefusal::NotImplemented(vec!["spec.network.ports"])));
}

#[test]
fn a_digest_is_kept_in_lower_case() {
    let digest = "AB".repeat(32);
    let spec = spec_with(|draft| {
        draft.kernel = Some(ImageDraft { name: "vmlinux".to_owned(), sha256: digest.clone() });
    });
    assert_eq!(spec.kernel().sha256.as_deref(), Some(digest.to_lowercase().as_str()));
}

#[test]
fn each_changed_field_says_when_it_takes_effect() {
    use TakesEffect::{BeforePlaced, Live, NeedsStoppedVm};
    type Case = (fn(&mut VmSpecDraft), &'static str, TakesEffect);
    let cases: &[Case] = &[
        (|d| d.vcpus = 2, "spec.vcpus", NeedsStoppedVm),
        (|d| d.memory_mib = 512, "spec.memory_mib", NeedsStoppedVm),
        (|d| d.kernel = Some(named("other")), "spec.kernel", NeedsStoppedVm),
        (|d| d.root_image = Some(named("other")), "spec.root_image", NeedsStoppedVm),
        (|d| d.initrd = Some(named("initrd")), "spec.initrd", NeedsStoppedVm),
        (|d| d.root_disk_mib = 2048, "spec.root_disk_mib", NeedsStoppedVm),
        (|d| d.work_disk_mib = Some(1), "spec.work_disk", NeedsStoppedVm),
        (|d| d.boot_args = "quiet".to_owned(), "spec.boot_args", NeedsStoppedVm),
        (|d| d.metadata = Some(serde_json::Map::new()), "spec.metadata", Live),
        (|d| d.egress = Egress::None, "spec.network.egress", Live),
        (|d| d.rate_limits.disk_ops_per_second = 1, "spec.rate_limits", NeedsStoppedVm),
        (|d| drop(d.labels.insert("a".to_owned(), String::new())), "spec.labels", Live),
        (|d| d.placement_host = "one".to_owned(), "spec.placement", BeforePlaced),
        (|d| d.restart_policy = RestartPolicy::Always, "spec.restart_policy", Live),
    ];
    for (change, field, takes_effect) in cases {
        let changes = spec().changes(&spec_with(change));
        assert_eq!(changes, [FieldChange { field, takes_effect: *takes_effect }]);
    }
    assert_eq!(spec().changes(&spec()), []);
}

fn named(name: &str) -> ImageDraft {
    ImageDraft { name: name.to_owned(), sha256: String::new() }
}

#[test]
fn only_another_root_image_costs_the_root_disk() {
    let with_digest = |digit: &str| {
        spec_with(|draft| {
            let sha256 = digit.repeat(64);
            draft.root_image = Some(ImageDraft { name: "root.ext4".to_owned(), sha256 });
        })
    };
    assert!(spec().root_disk_is_lost(&spec_with(|draft| draft.root_image = Some(named("other")))));
    assert!(with_digest("a").root_disk_is_lost(&with_digest("b")));
    assert!(!spec().root_disk_is_lost(&with_digest("a")), "the same file, its digest named");
    assert!(!spec().root_disk_is_lost(&spec_with(|draft| draft.vcpus = 8)));
}

#[test]
fn disks_that_are_kept_can_not_shrink() {
    let old = spec_with(|draft| draft.work_disk_mib = Some(64));
    let smaller = spec_with(|draft| {
        draft.root_disk_mib = 512;
        draft.work_disk_mib = Some(32);
    });
    assert_eq!(
        old.shrunk_disks(&smaller),
        [("spec.root_disk_mib", 1024, 512), ("spec.work_disk.size_mib", 64, 32)]
    );
    let other_image = spec_with(|draft| {
        draft.root_image = Some(named("other"));
        draft.root_disk_mib = 512;
    });
    assert_eq!(old.shrunk_disks(&other_image), [], "the root disk is made anew anyway");
}

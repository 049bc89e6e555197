use super::*;
use crate::model::fixtures::{draft, spec_with};
use crate::model::spec::Egress;

fn mask(paths: &[&str]) -> SpecMask {
    let paths: Vec<String> = paths.iter().map(|path| (*path).to_owned()).collect();
    SpecMask::parse(&paths).expect("fields of a spec")
}

fn everything() -> VmSpecDraft {
    let mut draft = draft();
    draft.vcpus = 3;
    draft.memory_mib = 333;
    draft.initrd = Some(ImageDraft { name: "initrd".to_owned(), sha256: "a".repeat(64) });
    draft.root_disk_mib = 3333;
    draft.work_disk_mib = Some(33);
    draft.boot_args = "three".to_owned();
    draft.metadata = serde_json::json!({"three": 3}).as_object().cloned();
    draft.egress = Egress::None;
    draft.rate_limits.disk_bytes_per_second = 3;
    draft.rate_limits.net_tx_bytes_per_second = 33;
    draft.limits.cpu_weight = 3;
    draft.limits.io_write_ops_per_second = 33;
    draft.labels.insert("three".to_owned(), "3".to_owned());
    draft.placement_host = "three".to_owned();
    draft.placement_labels.insert("zone".to_owned(), "three".to_owned());
    draft.restart_policy = crate::model::spec::RestartPolicy::Always;
    draft
}

/// Each part of a spec that can be named by itself, and its form.
fn parts(spec: &VmSpec) -> Vec<(&'static str, String)> {
    let limits = spec.rate_limits;
    vec![
        ("spec.vcpus", spec.vcpus.to_string()),
        ("spec.memory_mib", spec.memory_mib.to_string()),
        ("spec.kernel", format!("{:?}", spec.kernel)),
        ("spec.root_image", format!("{:?}", spec.root_image)),
        ("spec.initrd", format!("{:?}", spec.initrd)),
        ("spec.root_disk_mib", spec.root_disk_mib.to_string()),
        ("spec.work_disk", format!("{:?}", spec.work_disk_mib)),
        ("spec.boot_args", spec.boot_args.clone()),
        ("spec.metadata", format!("{:?}", spec.metadata)),
        ("spec.network.egress", format!("{:?}", spec.egress)),
        ("spec.rate_limits.disk_bytes_per_second", limits.disk_bytes_per_second.to_string()),
        ("spec.rate_limits.disk_ops_per_second", limits.disk_ops_per_second.to_string()),
        ("spec.rate_limits.net_rx_bytes_per_second", limits.net_rx_bytes_per_second.to_string()),
        ("spec.rate_limits.net_tx_bytes_per_second", limits.net_tx_bytes_per_second.to_string()),
        ("spec.limits.cpu_weight", spec.limits.cpu_weight.to_string()),
        ("spec.limits.cpu_millis", spec.limits.cpu_millis.to_string()),
        ("spec.limits.io_write_ops_per_second", spec.limits.io_write_ops_per_second.to_string()),
        ("spec.labels", format!("{:?}", spec.labels)),
        ("spec.placement.host", format!("{:?}", spec.placement.host)),
        ("spec.placement.host_labels", format!("{:?}", spec.placement.host_labels)),
        ("spec.restart_policy", format!("{:?}", spec.restart_policy)),
    ]
}

#[test]
fn what_is_named_is_new_and_everything_else_is_kept_to_the_letter() {
    let (few, many) = (draft().check().expect("valid"), everything().check().expect("valid"));
    for (old, new) in [(&few, everything()), (&many, draft())] {
        let whole = new.clone().check().expect("valid");
        for named in FIELDS {
            let merged = new.clone().over(old, &mask(&[named])).expect("valid");
            for (((field, is), (_, was)), (_, asked)) in
                parts(&merged).into_iter().zip(parts(old)).zip(parts(&whole))
            {
                let named =
                    field.strip_prefix(named).is_some_and(|r| r.is_empty() || r.starts_with('.'));
                assert_eq!(is, if named { asked } else { was }, "{field}");
            }
        }
        for all in ["*", "spec"] {
            assert_eq!(new.clone().over(old, &mask(&[all])).expect("valid"), whole);
        }
    }
}

#[test]
fn labels_that_two_have_changed_from_one_reading_are_both_there() {
    let old = spec_with(|draft| {
        draft.labels.insert("kept".to_owned(), "yes".to_owned());
        draft.labels.insert("example.com/gone".to_owned(), "soon".to_owned());
    });
    let change = |key: &str| {
        let mut draft = VmSpecDraft::default();
        draft.labels.insert(key.to_owned(), "new".to_owned());
        draft
    };
    let one = change("one").over(&old, &mask(&["spec.labels.one"])).expect("valid");
    let both = change("two").over(&one, &mask(&["spec.labels.two"])).expect("valid");
    let gone = VmSpecDraft::default().over(&both, &mask(&["spec.labels.`example.com/gone`"]));
    let labels: Vec<String> = gone.expect("valid").labels.into_keys().collect();
    assert_eq!(labels, ["kept", "one", "two"]);
}

#[test]
fn what_is_pinned_and_what_was_written_stays_as_it_is() {
    let old = draft().check().expect("valid");
    let mut old = old.map_images(|_, image| ImageRef::stored(&image.name, &"b".repeat(64)));
    old.metadata = Some("{\"b\": 1.0, \"a\":2}".to_owned());
    let change = VmSpecDraft { vcpus: 2, ..VmSpecDraft::default() };
    let new = change.over(&old, &mask(&["spec.vcpus"])).expect("valid");
    assert_eq!(
        (new.kernel, new.root_image, new.metadata),
        (old.kernel, old.root_image, old.metadata)
    );
}

#[test]
fn a_named_part_is_checked_and_an_unnamed_one_is_not_even_read() {
    let old = draft().check().expect("valid");
    let unreadable = vec![SpecProblem::new("spec.restart_policy", "is 9")];
    let bad = VmSpecDraft { vcpus: 99, unreadable, ..VmSpecDraft::default() };
    let fields = |mask: SpecMask| match bad.clone().over(&old, &mask) {
        Ok(_) => Vec::new(),
        Err(SpecRefusal::Invalid(problems)) => {
            problems.into_iter().map(|problem| problem.field).collect()
        }
        Err(other) => panic!("{other:?}"),
    };
    assert_eq!(fields(mask(&["spec.memory_mib"])), Vec::<String>::new());
    assert_eq!(fields(mask(&["spec.vcpus"])), ["spec.vcpus"]);
    assert_eq!(fields(mask(&["spec.restart_policy"])), ["spec.restart_policy"]);
}

#[test]
fn paths_that_name_nothing_are_refused_all_at_once() {
    let paths = ["vcpus", "spec.cpus", "spec.vcpus", "spec.labels.", "spec.labels.-", "status", ""];
    let paths: Vec<String> = paths.iter().map(|path| (*path).to_owned()).collect();
    let problems = SpecMask::parse(&paths).expect_err("bad paths");
    assert_eq!(problems.len(), paths.len() - 1, "{problems:?}");
    assert!(problems.iter().all(|problem| problem.field == "update_mask"));
    let said = &problems[2].description;
    assert!(said.starts_with("has \"spec.labels.\", which names no label: the key must"), "{said}");
    let many = vec!["spec.vcpus".to_owned(); MAX_PATHS + 1];
    assert_eq!(SpecMask::parse(&many).expect_err("too many").len(), 1);
}

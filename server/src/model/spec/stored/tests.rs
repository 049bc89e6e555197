use super::*;
use crate::model::fixtures::{spec, spec_of_root, spec_with};
use crate::model::intent::{Desired, Fingerprint};
use crate::model::spec::ImageDraft;

fn full() -> std::sync::Arc<VmSpec> {
    spec_with(|draft| {
        draft.vcpus = 4;
        draft.memory_mib = 512;
        draft.initrd = Some(ImageDraft { name: "initrd".to_owned(), sha256: "0a".repeat(32) });
        draft.root_disk_mib = 2048;
        draft.work_disk_mib = Some(64);
        draft.boot_args = "quiet".to_owned();
        draft.metadata = serde_json::json!({"b": [1, null], "a": "é"}).as_object().cloned();
        draft.egress = Egress::None;
        draft.rate_limits = RateLimits {
            disk_bytes_per_second: 1,
            disk_ops_per_second: 2,
            net_rx_bytes_per_second: 3,
            net_tx_bytes_per_second: 4,
        };
        draft.labels.insert("app".to_owned(), "web".to_owned());
        draft.placement_host = "one".to_owned();
        draft.placement_labels.insert("zone".to_owned(), "a".to_owned());
        draft.restart_policy = RestartPolicy::OnFailure;
    })
}

/// The text of every field, as databases hold it. A line here never changes: whoever has to change
/// one reads the head of the module first.
#[test]
fn the_first_form_is_what_it_always_was_with_every_field_and_with_none() {
    assert_eq!(
        spec().to_json(),
        r#"{"vcpus":1,"memory_mib":256,"kernel":{"name":"vmlinux"},"root_image":{"name":"root.ext4"},"root_disk_mib":1024,"boot_args":"console=ttyS0 reboot=k panic=1","egress":"NAT","restart_policy":"NEVER"}"#
    );
    assert_eq!(
        full().to_json(),
        r#"{"vcpus":4,"memory_mib":512,"kernel":{"name":"vmlinux"},"root_image":{"name":"root.ext4"},"initrd":{"name":"initrd","sha256":"0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a"},"root_disk_mib":2048,"work_disk_mib":64,"boot_args":"quiet","metadata":"{\"a\":\"é\",\"b\":[1,null]}","egress":"NONE","rate_limits":{"disk_bytes_per_second":1,"disk_ops_per_second":2,"net_rx_bytes_per_second":3,"net_tx_bytes_per_second":4},"labels":{"app":"web"},"placement":{"host":"one","host_labels":{"zone":"a"}},"restart_policy":"ON_FAILURE"}"#
    );
    assert_eq!(
        spec_of_root(&"ab".repeat(32)).to_json(),
        r#"{"vcpus":1,"memory_mib":256,"kernel":{"name":"vmlinux"},"root_image":{"name":"alpine","sha256":"abababababababababababababababababababababababababababababababab","stored":true},"root_disk_mib":1024,"boot_args":"console=ttyS0 reboot=k panic=1","egress":"NAT","restart_policy":"NEVER"}"#
    );
    let always = spec_with(|draft| draft.restart_policy = RestartPolicy::Always);
    assert!(always.to_json().ends_with(r#""restart_policy":"ALWAYS"}"#));
}

/// What creates of earlier servers hashed to. A value here never changes.
#[test]
fn a_create_hashes_to_what_it_always_did() {
    let hash = |name, spec: &VmSpec, desired| hex::encode(Fingerprint::of(name, spec, desired).0);
    assert_eq!(
        hash("web", &spec(), Desired::Running),
        "2c9f55881a2572cc55b9bba9e14d2a7edc8b5884589920e3b1ab3e03ddf7e5e9"
    );
    assert_eq!(
        hash("", &full(), Desired::Stopped),
        "5ae3870293d9f1a04853210b5dfb04e0ad1170ca1b681e3b0d2360542da683da"
    );
}

#[test]
fn every_field_comes_back_as_it_was() {
    for spec in [&*full(), &spec(), &*spec_of_root(&"ab".repeat(32))] {
        assert_eq!(VmSpec::from_json(&spec.to_json()).expect("its own form"), *spec);
    }
}

/// The text of what the first form can't say. A line here never changes.
#[test]
fn the_second_form_is_the_first_with_what_that_could_not_say() {
    let pack = spec_with(|draft| draft.placement_strategy = Some(Strategy::Pack));
    assert_eq!(
        pack.to_json(),
        r#"{"form":2,"vcpus":1,"memory_mib":256,"kernel":{"name":"vmlinux"},"root_image":{"name":"root.ext4"},"root_disk_mib":1024,"boot_args":"console=ttyS0 reboot=k panic=1","egress":"NAT","restart_policy":"NEVER","scheduling":{"strategy":"PACK"}}"#
    );
    let all = spec_with(|draft| {
        draft.affinity = vec![
            AffinityDraft {
                vm_selector: "app in (web,db)".to_owned(),
                topology: "zone".to_owned(),
                anti: true,
                ..AffinityDraft::default()
            },
            AffinityDraft {
                host_selector: "!spot".to_owned(),
                weight: 7,
                ..AffinityDraft::default()
            },
        ];
        draft.priority = -3;
        draft.pool = "gpu".to_owned();
        draft.scheduler = "mine".to_owned();
    });
    assert!(all.to_json().ends_with(
        r#""scheduling":{"affinity":[{"vms":"app in (web,db)","topology":"zone","anti":true},{"hosts":"!spot","weight":7}],"priority":-3,"pool":"gpu","scheduler":"mine"}}"#
    ));
    for spec in [&pack, &all] {
        assert_eq!(VmSpec::from_json(&spec.to_json()).expect("its own form"), **spec);
    }
    let later = spec().to_json().replacen('{', r#"{"form":4,"#, 1);
    let refused = VmSpec::from_json(&later).expect_err("of a later release");
    assert!(refused.to_string().contains("form 4"), "{refused}");
}

/// The text of what the second form can't say. A line here never changes.
#[test]
fn the_third_form_is_the_second_with_what_that_could_not_say() {
    let half = spec_with(|draft| draft.limits.cpu_millis = 500);
    assert!(half.to_json().starts_with(r#"{"form":3,"vcpus":1,"#), "{}", half.to_json());
    assert!(half.to_json().ends_with(
        r#""restart_policy":"NEVER","scheduling":{},"host":{"limits":{"cpu_weight":0,"cpu_millis":500,"io_read_bytes_per_second":0,"io_write_bytes_per_second":0,"io_read_ops_per_second":0,"io_write_ops_per_second":0}}}"#
    ));
    let all = spec_with(|draft| {
        draft.pool = "gpu".to_owned();
        draft.limits = crate::model::spec::ResourceLimits {
            cpu_weight: 7,
            cpu_millis: 1500,
            io_read_bytes_per_second: 65_536,
            io_write_bytes_per_second: 65_537,
            io_read_ops_per_second: 10,
            io_write_ops_per_second: 11,
        };
    });
    for spec in [&half, &all] {
        assert_eq!(VmSpec::from_json(&spec.to_json()).expect("its own form"), **spec);
    }
}

//! Claims about spec files and flags.

use banger_client::v1::{DesiredState, ImageRef, RestartPolicy};

use super::*;

fn parse(text: &str) -> anyhow::Result<Document> {
    document(value(Path::new("-"), text)?)
}

fn image(name: &str) -> Option<ImageRef> {
    Some(ImageRef { name: name.to_owned(), sha256: String::new() })
}

#[test]
fn a_spec_reads_the_same_from_json_yaml_and_toml() {
    let json = r#"{"vcpus": 2, "memoryMib": 512, "kernel": {"name": "k"}, "labels": {"a": "b"}}"#;
    let yaml = "vcpus: 2\nmemory_mib: 512\nkernel: {name: k}\nlabels: {a: b}\n";
    let toml = "vcpus = 2\nmemory_mib = 512\n[kernel]\nname = 'k'\n[labels]\na = 'b'\n";
    let spec = |text| parse(text).unwrap().request.spec.unwrap();
    let expected = VmSpec {
        vcpus: 2,
        memory_mib: 512,
        kernel: image("k"),
        labels: [("a".to_owned(), "b".to_owned())].into(),
        ..VmSpec::default()
    };
    assert_eq!(spec(json), expected);
    assert_eq!(spec(yaml), expected);
    assert_eq!(spec(toml), expected);
}

#[test]
fn a_request_brings_name_and_wanted_state() {
    let text = "name: web\ndesiredState: DESIRED_STATE_STOPPED\nspec: {vcpus: 1}\n";
    let request = parse(text).unwrap().request;
    assert_eq!(request.name, "web");
    assert_eq!(request.desired_state(), DesiredState::Stopped);
}

#[test]
fn a_vm_as_it_was_printed_can_be_created_again_as_another_vm() {
    let vm = banger_client::v1::Vm {
        id: "0192f0c1-0000-7000-8000-000000000001".to_owned(),
        name: "web".to_owned(),
        spec: Some(VmSpec { vcpus: 3, ..VmSpec::default() }),
        generation: 7,
        revision: 9,
        etag: "7".to_owned(),
        create_time: Some(prost_types::Timestamp { seconds: 1, nanos: 0 }),
        update_time: Some(prost_types::Timestamp { seconds: 1, nanos: 0 }),
        status: Some(banger_client::v1::VmStatus { simulated: true, ..Default::default() }),
        ..Default::default()
    };
    for text in [proto::json(&vm, true).unwrap(), proto::yaml(&vm).unwrap()] {
        let document = parse(&text).unwrap();
        assert_eq!(document.etag, "7");
        assert_eq!((document.request.id.as_str(), document.request.name.as_str()), ("", "web"));
        assert_eq!(document.request.spec.unwrap().vcpus, 3);
    }
}

#[test]
fn a_field_that_no_spec_has_is_an_error_that_names_it() {
    let said = |text| format!("{:#}", parse(text).unwrap_err());
    assert!(said("memory: 512").contains("memory"), "{}", said("memory: 512"));
    assert!(said("name: web\nvcpus: 1").contains("no \"spec\""));
    assert!(said("spec: {vcpus: lots}").contains("spec.vcpus"), "{}", said("spec: {vcpus: lots}"));
}

#[test]
fn a_document_that_is_no_object_is_refused_in_plain_words() {
    for text in ["", "just words", "[1, 2]", "42", "{"] {
        let said = format!("{:#}", parse(text).unwrap_err());
        assert!(!said.is_empty() && !said.contains("panicked"), "{text:?}: {said}");
    }
}

#[test]
fn flags_win_over_the_file_and_leave_the_rest() {
    let mut spec = VmSpec {
        vcpus: 2,
        memory_mib: 512,
        labels: [("a".to_owned(), "1".to_owned()), ("b".to_owned(), "2".to_owned())].into(),
        ..VmSpec::default()
    };
    let flags = SpecArgs {
        memory: Some(1024),
        root: image("r"),
        work_disk: Some(5),
        no_nat: true,
        labels: vec![("b".to_owned(), "3".to_owned())],
        restart: Some(RestartPolicy::Always),
        ..SpecArgs::default()
    };
    apply(&mut spec, &flags).unwrap();
    assert_eq!((spec.vcpus, spec.memory_mib), (2, 1024));
    assert_eq!(spec.root_image, image("r"));
    assert_eq!(spec.work_disk, Some(WorkDisk { size_mib: 5 }));
    assert_eq!(spec.network.as_ref().unwrap().egress(), EgressPolicy::None);
    assert_eq!(spec.labels["a"], "1");
    assert_eq!(spec.labels["b"], "3");
    assert_eq!(spec.restart_policy(), RestartPolicy::Always);
}

//! The API through Python's grpcio, which knows it by reflection v1alpha alone.

use std::path::Path;

use banger_integration_tests::fleet::Fleet;
use banger_integration_tests::programs::{command, tool};
use banger_integration_tests::specs::create;
use banger_proto::bounds::MAX_METADATA_DEPTH;
use banger_proto::v1::ListVmsRequest;
use prost_types::value::Kind;
use prost_types::{ListValue, Struct, Value as Field};
use serde_json::Value;

use super::tools::demo;

#[tokio::test]
async fn a_python_client_lives_the_whole_life_of_a_vm_by_reflection_alone() {
    let fleet = Fleet::of(1).await;
    demo(&fleet);
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("clients/python/client.py");
    // The interpreter beside the pinned libraries; a python3 elsewhere may lack them.
    let output = command(&tool("python3"))
        .arg(script)
        .arg(fleet.api().to_string())
        .output()
        .expect("python3 can be started");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success(),
        "client.py: {said}{}",
        String::from_utf8_lossy(&output.stderr),
    );

    let steps: Vec<Value> = said
        .lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{line}: {e}")))
        .collect();
    let names: Vec<_> = steps.iter().filter_map(|step| step["step"].as_str()).collect();
    assert_eq!(
        names,
        [
            "services", "created", "refused", "running", "refused", "refused", "stopped", "waited",
            "removed", "refused", "done",
        ]
    );
    let reasons: Vec<_> = steps
        .iter()
        .filter(|step| step["step"] == "refused")
        .filter_map(|step| step["details"]["google.rpc.ErrorInfo"]["reason"].as_str())
        .collect();
    assert_eq!(reasons, ["VM_ID_TAKEN", "INVALID_FIELDS", "VM_NOT_FOUND", "VM_NOT_FOUND"]);
}

#[tokio::test]
async fn a_python_client_whose_vm_finds_no_room_says_so_and_leaves_nothing_behind() {
    let fleet = Fleet::without_hosts().await;
    demo(&fleet);
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("clients/python/client.py");
    let output = command(&tool("python3"))
        .arg(script)
        .arg(fleet.api().to_string())
        .args(["--wait", "1"])
        .output()
        .expect("python3 can be started");
    let said = [&output.stdout[..], &output.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains(r#""step": "created""#), "it came so far: {said}");
    assert!(said.contains("not within 1.0 seconds; it was ['PENDING']"), "{said}");
    assert!(!said.contains("Traceback"), "{said}");
    let left = fleet.vms().list_vms(ListVmsRequest::default()).await.expect("it answers");
    assert_eq!(left.into_inner().vms, []);
}

/// A document of so many levels.
fn nested(levels: usize, lists: bool) -> Struct {
    let leaf = Field { kind: Some(Kind::StringValue("end".to_owned())) };
    let value = (1..levels).fold(leaf, |value, _| {
        let kind = match lists {
            true => Kind::ListValue(ListValue { values: vec![value] }),
            false => Kind::StructValue(Struct { fields: [("a".to_owned(), value)].into() }),
        };
        Field { kind: Some(kind) }
    });
    Struct { fields: [("a".to_owned(), value)].into() }
}

#[tokio::test]
async fn the_deepest_metadata_that_is_taken_is_read_by_python_in_every_answer() {
    let fleet = Fleet::without_hosts().await;
    for (name, lists) in [("objects", false), ("lists", true)] {
        let mut request = create(name);
        request.spec.get_or_insert_default().metadata = Some(nested(MAX_METADATA_DEPTH, lists));
        fleet.vms().create_vm(request.clone()).await.expect("it is taken");
        request.name = format!("{name}-deeper");
        request.spec.get_or_insert_default().metadata = Some(nested(MAX_METADATA_DEPTH + 1, lists));
        fleet.vms().create_vm(request).await.expect_err("it is too deep");
    }
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("clients/python/deep.py");
    let output = command(&tool("python3"))
        .arg(script)
        .arg(fleet.api().to_string())
        .output()
        .expect("python3 can be started");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    let read: Value = serde_json::from_str(&said).expect("one object");
    let both = serde_json::json!({ "objects": MAX_METADATA_DEPTH, "lists": MAX_METADATA_DEPTH });
    for call in ["ListVms", "WatchVms", "GetVm", "ExplainVm", "WaitVm", "UpdateVm"] {
        assert_eq!(read[call], both, "{call}");
    }
}

//! The API through Python's grpcio, which knows it by reflection v1alpha alone.

use std::path::Path;

use banger_integration_tests::fleet::Fleet;
use banger_integration_tests::programs::command;
use banger_integration_tests::specs::{KERNEL, ROOT};
use serde_json::Value;

use super::tools::tool;

#[tokio::test]
async fn a_python_client_lives_the_whole_life_of_a_vm_by_reflection_alone() {
    let fleet = Fleet::of(1).await;
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("clients/python/client.py");
    // The interpreter beside the pinned libraries; a python3 elsewhere may lack them.
    let output = command(&tool("python3"))
        .arg(script)
        .arg(fleet.api().to_string())
        .args(["--kernel", KERNEL, "--root", ROOT])
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

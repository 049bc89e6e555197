//! The API through `buf curl`, which knows it by reflection v1 alone.

use std::time::Duration;

use banger_integration_tests::fleet::Fleet;
use banger_integration_tests::specs::{KERNEL, ROOT};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD as BASE64;
use prost::Message as _;
use serde_json::{Value, json};
use tonic_types::pb::ErrorInfo;
use uuid::Uuid;

use super::buf::{self, Stream};

const WAIT: Duration = Duration::from_secs(60);

fn spec() -> Value {
    json!({
        "vcpus": 1,
        "memoryMib": 128,
        "kernel": {"name": KERNEL},
        "rootImage": {"name": ROOT},
    })
}

fn state_is<'a>(id: &'a str, state: &'a str) -> impl Fn(&Value) -> bool + 'a {
    move |event| {
        event["vm"]["id"] == id && event["vm"]["status"]["state"] == format!("VM_STATE_{state}")
    }
}

/// The reason of an error, from its details, which buf shows as they came.
fn reason(error: &Value) -> String {
    let details = error["details"].as_array().map(Vec::as_slice).unwrap_or_default();
    details
        .iter()
        .find(|detail| detail["type"] == "google.rpc.ErrorInfo")
        .and_then(|detail| BASE64.decode(detail["value"].as_str()?).ok())
        .and_then(|bytes| ErrorInfo::decode(bytes.as_slice()).ok())
        .unwrap_or_else(|| panic!("no ErrorInfo that could be decoded in {error:#}"))
        .reason
}

#[tokio::test]
async fn buf_curl_creates_watches_stops_and_deletes_a_vm_by_reflection_alone() {
    let fleet = Fleet::of(1).await;
    let api = fleet.api();
    let services = buf::services(api);
    for service in ["banger.v1.VmService", "banger.v1.HostService", "grpc.health.v1.Health"] {
        assert!(services.contains(service), "{service} is not in {services}");
    }

    // From the list's revision on, the stream has no gap.
    let listed = buf::call(api, "VmService/ListVms", &json!({})).expect("listing works");
    let revision = listed["revision"].clone();
    let mut watch = Stream::open(api, "VmService/WatchVms", &json!({"afterRevision": revision}));

    let id = Uuid::from_u128(0x0b0f_0c04_0000_4000_8000_0000_0000_0001).to_string();
    let create = json!({"id": id, "name": "by-buf", "spec": spec()});
    let created = buf::call(api, "VmService/CreateVm", &create).expect("creating works");
    assert_eq!(created["generation"], "1", "{created:#}");
    watch.until(WAIT, state_is(&id, "RUNNING"));

    let got = buf::call(api, "VmService/GetVm", &json!({"vm": "by-buf"})).expect("it is there");
    assert_eq!(got["status"]["simulated"], true);
    assert_eq!(got["status"]["observedGeneration"], "1");

    buf::call(api, "VmService/StopVm", &json!({"vm": id, "gracePeriod": "1s"})).expect("stop");
    watch.until(WAIT, state_is(&id, "STOPPED"));

    buf::call(api, "VmService/DeleteVm", &json!({"vm": id})).expect("delete");
    let events = watch.until(WAIT, |event| {
        event["vm"]["id"] == id.as_str() && event["type"] == "VM_EVENT_TYPE_REMOVED"
    });
    let revisions: Vec<u64> = events
        .iter()
        .map(|event| event["revision"].as_str().and_then(|r| r.parse().ok()).expect("a number"))
        .collect();
    assert!(revisions.is_sorted_by(|a, b| a < b), "out of order: {revisions:?}");
}

#[tokio::test]
async fn buf_curl_reads_the_reason_and_every_wrong_field_of_an_error() {
    let fleet = Fleet::of(1).await;
    let api = fleet.api();

    let missing = buf::refused(api, "VmService/GetVm", &json!({"vm": "nobody"}));
    assert_eq!(missing["code"], "not_found");
    assert_eq!(reason(&missing), "VM_NOT_FOUND");

    let wrong = buf::refused(
        api,
        "VmService/CreateVm",
        &json!({"name": "-bad-", "spec": {"vcpus": 999, "kernel": {"name": "../vmlinux"}}}),
    );
    assert_eq!(wrong["code"], "invalid_argument");
    assert_eq!(reason(&wrong), "INVALID_FIELDS");
    let message = wrong["message"].as_str().unwrap_or_default();
    for field in ["name", "spec.vcpus", "spec.kernel.name"] {
        assert!(message.contains(field), "{field} is not named in {message:?}");
    }

    let images = buf::call(api, "ImageService/ListImages", &json!({})).expect("there are none");
    assert_eq!(images["images"], json!([]), "{images:#}");
    let missing = buf::refused(api, "ImageService/GetImage", &json!({"name": "nothing"}));
    assert_eq!((&missing["code"], &*reason(&missing)), (&json!("not_found"), "IMAGE_NOT_FOUND"));

    let later = buf::refused(api, "HostService/DrainHost", &json!({"host": "host-0"}));
    assert_eq!(later["code"], "unimplemented");
    assert_eq!(reason(&later), "NOT_IMPLEMENTED");
}

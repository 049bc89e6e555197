//! What the API refuses, and that nothing is left of it.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;

use banger_integration_tests::fleet::Fleet;
use banger_integration_tests::programs::{command, ours};
use banger_integration_tests::specs::{create, image, spec};
use banger_proto::v1;
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

/// Texts that are no name of anything, each hostile in its own way.
const HOSTILE: [&str; 16] = [
    "../../etc/passwd",
    "/dev/sda",
    "--help",
    "-rf",
    "a b",
    "a\nb",
    "a\0b",
    "a;reboot",
    "$(reboot)",
    "`id`",
    "'; DROP TABLE vms; --",
    "we\u{0431}",
    "\u{202e}gnp.exe",
    "a\u{200b}",
    "%2e%2e%2f",
    ".hidden",
];

fn fields(error: &Status) -> Vec<String> {
    let violations = error.get_details_bad_request().map(|details| details.field_violations);
    violations.into_iter().flatten().map(|violation| violation.field).collect()
}

fn reason(error: &Status) -> String {
    error.get_details_error_info().map(|info| info.reason).unwrap_or_default()
}

#[tokio::test]
async fn admit_hostile_texts_are_refused_with_the_field_named_and_nothing_is_stored() {
    type Put = fn(&mut v1::CreateVmRequest, &mut v1::VmSpec, &str);
    let places: [(&str, Put); 9] = [
        ("id", |r, _, text| r.id = text.to_owned()),
        ("request_id", |r, _, text| r.request_id = text.to_owned()),
        ("name", |r, _, text| r.name = text.to_owned()),
        ("spec.kernel.name", |_, s, text| s.kernel = image(text)),
        ("spec.root_image.name", |_, s, text| s.root_image = image(text)),
        ("spec.initrd.name", |_, s, text| s.initrd = image(text)),
        ("spec.kernel.sha256", |_, s, text| {
            s.kernel = Some(v1::ImageRef { name: "k".to_owned(), sha256: text.to_owned() });
        }),
        ("spec.labels", |_, s, text| {
            s.labels.insert(text.to_owned(), "x".to_owned());
        }),
        ("spec.placement.host_labels", |_, s, text| {
            let labels = [(text.to_owned(), "x".to_owned())].into();
            s.placement = Some(v1::Placement { host_labels: labels, ..Default::default() });
        }),
    ];
    let fleet = Fleet::without_hosts().await;
    for (field, put) in places {
        for text in HOSTILE {
            let mut request = create("fine");
            let mut spec = spec();
            put(&mut request, &mut spec, text);
            request.spec = Some(spec);
            let error = fleet.vms().create_vm(request).await.expect_err(field);
            assert_eq!(error.code(), Code::InvalidArgument, "{field} {text:?}: {error:?}");
            assert_eq!(reason(&error), "INVALID_FIELDS", "{field} {text:?}");
            let named = fields(&error);
            assert!(named.iter().any(|n| n.starts_with(field)), "{field} {text:?}: {named:?}");
        }
    }
    for text in HOSTILE {
        let error = fleet.get(text).await.expect_err("names nothing");
        let code = error.code();
        assert!(matches!(code, Code::InvalidArgument | Code::NotFound), "{text:?}: {error:?}");
    }
    let listed = fleet.vms().list_vms(v1::ListVmsRequest::default()).await.expect("lists");
    assert_eq!(listed.into_inner().vms, Vec::new());
}

#[tokio::test]
async fn admit_all_problems_are_told_at_once() {
    let fleet = Fleet::without_hosts().await;
    let request = v1::CreateVmRequest {
        name: "Not A Name".to_owned(),
        spec: Some(v1::VmSpec { vcpus: 33, memory_mib: 1, ..v1::VmSpec::default() }),
        ..v1::CreateVmRequest::default()
    };
    let error = fleet.vms().create_vm(request).await.expect_err("all wrong");
    let named = fields(&error);
    for field in ["name", "spec.vcpus", "spec.memory_mib", "spec.root_image"] {
        assert!(named.iter().any(|n| n.starts_with(field)), "{field} is missing in {named:?}");
    }
}

#[tokio::test]
async fn admit_a_create_is_idempotent_by_its_id_and_by_its_request_id() {
    let fleet = Fleet::without_hosts().await;
    let id = "0192f0c1-2d3e-7a4b-8c5d-6e7f8091a2b3".to_owned();
    let request = v1::CreateVmRequest { id: id.clone(), ..create("web") };
    let first = fleet.create(request.clone()).await;
    let again = fleet.create(request.clone()).await;
    assert_eq!((first.id, first.generation), (again.id, again.generation));
    let mut other = request;
    other.spec.as_mut().expect("given").vcpus = 2;
    let error = fleet.vms().create_vm(other).await.expect_err("another spec");
    assert_eq!((error.code(), reason(&error).as_str()), (Code::AlreadyExists, "VM_ID_TAKEN"));

    let by_request = v1::CreateVmRequest {
        request_id: "0192f0c1-2d3e-7a4b-8c5d-6e7f8091a2b4".to_owned(),
        ..create("db")
    };
    let first = fleet.create(by_request.clone()).await;
    let again = fleet.create(by_request).await;
    assert_eq!(first.id, again.id);

    let error = fleet.vms().create_vm(create("web")).await.expect_err("the name is taken");
    assert_eq!((error.code(), reason(&error).as_str()), (Code::AlreadyExists, "VM_NAME_TAKEN"));
}

#[tokio::test]
async fn admit_an_etag_that_is_not_the_present_one_changes_nothing() {
    let fleet = Fleet::of(1).await;
    let old = fleet.create(create("web")).await;
    let stop = v1::StopVmRequest { vm: "web".to_owned(), ..Default::default() };
    let new = fleet.vms().stop_vm(stop).await.expect("stops").into_inner();
    let start = v1::StartVmRequest { vm: "web".to_owned(), etag: old.etag, ..Default::default() };
    let error = fleet.vms().start_vm(start).await.expect_err("an old etag");
    assert_eq!((error.code(), reason(&error).as_str()), (Code::Aborted, "ETAG_MISMATCH"));
    assert_eq!(fleet.get("web").await.expect("is there").generation, new.generation);
    let start = v1::StartVmRequest { vm: "web".to_owned(), etag: new.etag, ..Default::default() };
    fleet.vms().start_vm(start).await.expect("the present etag");
}

#[tokio::test]
async fn admit_a_token_is_asked_for_when_one_is_configured() {
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("tokens");
    std::fs::write(&file, "ops 0123456789abcdef0123456789abcdef\n").expect("written");
    std::fs::set_permissions(&file, Permissions::from_mode(0o600)).expect("it is ours");
    let fleet =
        Fleet::with_config(&format!("[auth]\ntoken_file = {:?}\n", file.display().to_string()))
            .await;
    let list = || tonic::Request::new(v1::ListVmsRequest::default());
    let error = fleet.vms().list_vms(list()).await.expect_err("no token");
    assert_eq!((error.code(), reason(&error).as_str()), (Code::Unauthenticated, "TOKEN_INVALID"));
    let with = |token: &str| {
        let mut request = list();
        let value = format!("Bearer {token}").parse().expect("ASCII");
        request.metadata_mut().insert("authorization", value);
        request
    };
    let error = fleet.vms().list_vms(with("wrong")).await.expect_err("a wrong token");
    assert_eq!(error.code(), Code::Unauthenticated);
    fleet.vms().list_vms(with("0123456789abcdef0123456789abcdef")).await.expect("the right token");
}

#[tokio::test]
async fn admit_what_is_not_there_yet_says_so() {
    let fleet = Fleet::of(1).await;
    fleet.create(create("web")).await;
    let drain = v1::DrainHostRequest { host: "host-0".to_owned(), ..Default::default() };
    let mut ports = create("ports");
    ports.spec.as_mut().expect("given").network = Some(v1::NetworkSpec {
        ports: vec![v1::PortForward { host_port: 80, guest_port: 80 }],
        ..Default::default()
    });
    let errors = [
        fleet.hosts().drain_host(drain).await.map(drop).expect_err("later"),
        fleet.vms().create_vm(ports).await.map(drop).expect_err("later"),
    ];
    for error in errors {
        assert_eq!(error.code(), Code::Unimplemented, "{error:?}");
        assert_eq!(reason(&error), "NOT_IMPLEMENTED");
    }
}

#[tokio::test]
async fn admit_labels_that_many_commands_set_at_once_are_all_there() {
    let fleet = Fleet::of(1).await;
    fleet.create(create("web")).await;
    let update = |number: usize| {
        let mut banger = command(&ours("banger"));
        banger.args(["vm", "update", "web", "--label", &format!("k{number}=v")]);
        banger.env("HOME", fleet.dir()).env("BANGER_SERVER", format!("http://{}", fleet.api()));
        banger.stdout(std::process::Stdio::null()).spawn().expect("banger can be started")
    };
    let updates: Vec<_> = (0..12).map(update).collect();
    for mut update in updates {
        assert!(update.wait().expect("it ends").success());
    }
    let spec = fleet.get("web").await.expect("there").spec.expect("it has one");
    assert_eq!(spec.labels.len(), 12, "{:?}", spec.labels);
}

//! Hostile texts in every text field of every call: refused with the field named, before anything
//! is made, and never a panic.

use super::*;

const CORPUS: &[&str] = &[
    "../../etc/passwd",
    "/etc/passwd",
    "--help",
    "-rf",
    "a b",
    "a\nb",
    "a\0b",
    "\x1b[2J",
    "wеb",
    "web\u{202e}",
    "'; DROP TABLE vms; --",
    "\"); DELETE FROM vms; --",
    "$(reboot)",
    "`reboot`",
    "%00",
    "{\"a\":1}",
    "*",
];

fn refused<T>(result: Result<Response<T>, Status>, field: &str, text: &str) {
    let status = match result {
        Ok(_) => panic!("{field} took {text:?}"),
        Err(status) => status,
    };
    assert_eq!(status.code(), Code::InvalidArgument, "{field} {text:?}: {status}");
    assert!(
        fields(&status).iter().any(|f| f.starts_with(field)),
        "{text:?}: {:?}",
        fields(&status)
    );
}

#[tokio::test]
async fn hostile_texts_are_refused_with_their_field_in_every_call() {
    let fixture = fixture().await;
    let (vms, hosts) = (&fixture.vms, &fixture.hosts);
    let long = "x".repeat(100_000);
    for text in CORPUS.iter().copied().chain([long.as_str()]) {
        let t = || text.to_owned();
        macro_rules! vm_call {
            ($method:ident, $request:ident) => {
                let request = v1::$request { vm: t(), ..Default::default() };
                refused(vms.$method(asked(request)).await.map(|_| Response::new(())), "vm", text);
            };
        }
        macro_rules! host_call {
            ($method:ident, $request:ident) => {
                let request = v1::$request { host: t(), ..Default::default() };
                refused(hosts.$method(asked(request)).await, "host", text);
            };
        }
        refused(vms.get_vm(asked(v1::GetVmRequest { vm: t() })).await, "vm", text);
        refused(vms.explain_vm(asked(v1::ExplainVmRequest { vm: t() })).await, "vm", text);
        vm_call!(update_vm, UpdateVmRequest);
        vm_call!(delete_vm, DeleteVmRequest);
        vm_call!(start_vm, StartVmRequest);
        vm_call!(stop_vm, StopVmRequest);
        vm_call!(reboot_vm, RebootVmRequest);
        vm_call!(pause_vm, PauseVmRequest);
        vm_call!(resume_vm, ResumeVmRequest);
        vm_call!(bind_vm, BindVmRequest);
        vm_call!(wait_vm, WaitVmRequest);
        vm_call!(list_vm_events, ListVmEventsRequest);
        refused(hosts.get_host(asked(v1::GetHostRequest { host: t() })).await, "host", text);
        host_call!(update_host, UpdateHostRequest);
        host_call!(delete_host, DeleteHostRequest);
        host_call!(revoke_host, RevokeHostRequest);
        host_call!(cordon_host, CordonHostRequest);
        host_call!(uncordon_host, UncordonHostRequest);
        let filter = v1::VmFilter { host: t(), ..Default::default() };
        let list = v1::ListVmsRequest { filter: Some(filter), ..Default::default() };
        refused(vms.list_vms(asked(list)).await, "filter.host", text);
    }
    assert_eq!(fixture.list(v1::ListVmsRequest::default()).await.expect("empty").total_size, 0);
}

#[tokio::test]
async fn hostile_texts_in_a_new_vm_are_refused_with_their_field() {
    let fixture = fixture().await;
    type Change = fn(&mut v1::CreateVmRequest, String);
    fn spec_of(request: &mut v1::CreateVmRequest) -> &mut v1::VmSpec {
        request.spec.get_or_insert_default()
    }
    fn image_of(text: String) -> Option<v1::ImageRef> {
        Some(v1::ImageRef { name: text, sha256: String::new() })
    }
    let fields: &[(&str, Change)] = &[
        ("id", |request, text| request.id = text),
        ("name", |request, text| request.name = text),
        ("request_id", |request, text| request.request_id = text),
        ("spec.kernel.name", |request, text| spec_of(request).kernel = image_of(text)),
        ("spec.root_image.name", |request, text| spec_of(request).root_image = image_of(text)),
        ("spec.initrd.name", |request, text| spec_of(request).initrd = image_of(text)),
        ("spec.kernel.sha256", |request, text| {
            spec_of(request).kernel = Some(v1::ImageRef { name: "k".to_owned(), sha256: text });
        }),
        ("spec.labels", |request, text| {
            spec_of(request).labels.insert(text, String::new());
        }),
        ("spec.labels", |request, text| {
            spec_of(request).labels.insert("key".to_owned(), text);
        }),
        ("spec.placement.host", |request, text| {
            spec_of(request).placement = Some(v1::Placement { host: text, ..Default::default() });
        }),
        ("spec.placement.host_labels", |request, text| {
            let host_labels = [("key".to_owned(), text)].into();
            spec_of(request).placement = Some(v1::Placement { host_labels, ..Default::default() });
        }),
    ];
    let long = "x".repeat(100_000);
    for text in CORPUS.iter().copied().chain([long.as_str()]) {
        for (field, change) in fields {
            let mut request = named("web");
            change(&mut request, text.to_owned());
            refused(fixture.vms.create_vm(asked(request)).await, field, text);
        }
    }
    for text in ["a\nb", "a\0b", "\x1b[2J", "wеb", long.as_str()] {
        let mut request = named("web");
        spec_of(&mut request).boot_args = text.to_owned();
        refused(fixture.vms.create_vm(asked(request)).await, "spec.boot_args", text);
    }
    assert_eq!(fixture.list(v1::ListVmsRequest::default()).await.expect("empty").total_size, 0);
}

#[tokio::test]
async fn hostile_tokens_and_etags_are_refused_and_change_nothing() {
    let fixture = fixture().await;
    fixture.create(named("web")).await.expect("created");
    for text in CORPUS {
        let page = v1::ListVmsRequest { page_token: (*text).to_owned(), ..Default::default() };
        assert_eq!(reason(&fixture.list(page).await.expect_err(text)), "PAGE_TOKEN_INVALID");
        let join = v1::JoinHostRequest { token: (*text).to_owned(), ..Default::default() };
        let status = fixture.hosts.join_host(asked(join)).await.expect_err(text);
        assert_eq!(reason(&status), "JOIN_TOKEN_INVALID");
        let delete = v1::DeleteVmRequest {
            vm: "web".to_owned(),
            etag: (*text).to_owned(),
            ..Default::default()
        };
        let status = fixture.vms.delete_vm(asked(delete)).await.expect_err(text);
        assert_eq!(reason(&status), "ETAG_MISMATCH");
    }
    assert_eq!(fixture.get("web").await.expect("there").generation, 1);
}

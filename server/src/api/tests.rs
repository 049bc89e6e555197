//! The services over a real store and a real view, without agents.

use banger_proto::ids::Revision;
use banger_proto::v1;
use banger_proto::v1::host_service_server::HostService as _;
use banger_proto::v1::vm_service_server::VmService as _;
use tempfile::TempDir;
use tokio::sync::mpsc;
use tonic::{Code, Response};
use tonic_types::StatusExt as _;

use super::hosts::Hosts;
use super::vms::Vms;
use super::*;
use crate::clock::ManualClock;
use crate::images::ImageSettings;
use crate::images::library::Library;
use crate::model::caller::{Principal, Rights, Role};
use crate::model::fixtures::at;
use crate::model::host::Resources;
use crate::model::ledger::{Change, LedgerConfig};
use crate::store::OpenStore;
use crate::testing::CopyImporter;
use crate::watch::Limits;

mod hostile;
mod hosts_of_the_api;
mod images_of_the_api;
mod looks_of_the_api;
mod repeated;
mod told_of_the_api;
mod uses_of_the_api;

/// A request of an admin, as the layer hands it on.
fn asked<T>(message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.extensions_mut().insert(crate::model::fixtures::caller());
    request
}

struct Fixture {
    api: Api,
    vms: Vms,
    hosts: Hosts,
    _directory: TempDir,
}

async fn fixture() -> Fixture {
    let directory = TempDir::new().expect("a directory");
    let open = OpenStore::open(&directory.path().join("banger.db"), LedgerConfig::default())
        .await
        .expect("opens");
    let clock: SharedClock = Arc::new(ManualClock::at(at(0)));
    let (history, _) = mpsc::channel(16);
    let first = Revision(open.revisions().start);
    let view = View::new(open.epoch(), first, Arc::clone(&clock), history, Limits::default());
    view.load(open.past(), open.hosts(), open.vms());
    let sink = Arc::clone(&view);
    let store =
        open.start(Arc::new(move |changes: &[Change]| sink.committed(changes)), Arc::new(|_| {}));
    let cas = Authorities::open_or_make(&directory.path().join("ca"), at(0)).expect("made");
    let objects = HostObjects::new(
        Arc::clone(&view),
        crate::fleet::Fleet::default(),
        store.clone(),
        Arc::clone(&clock),
    );
    let library = Library::open(directory.path().join("images"), 1 << 20, 0).expect("made");
    let library = Arc::new(library);
    let images = Images::new(
        store.clone(),
        Arc::clone(&library),
        Arc::new(CopyImporter),
        Arc::clone(&clock),
        ImageSettings {
            import_dirs: vec![directory.path().join("imports")],
            guest_agent: directory.path().join("banger-guest"),
            ..ImageSettings::default()
        },
    );
    let stop = tokio_util::sync::CancellationToken::new();
    let delivery = ImageDelivery::new(library, Arc::clone(&view), 1, stop);
    let fleet = crate::fleet::Fleet::default();
    let api = Api {
        certificate_validity: crate::pki::AGENT_VALIDITY,
        knowledge: crate::reconcile::Knowledge::new(fleet, Arc::clone(&delivery), view.epoch()),
        images: Arc::new(images),
        delivery,
        objects,
        store,
        view,
        clock,
        cas: Arc::new(arc_swap::ArcSwap::from_pointee(cas)),
        domain: "banger.internal".into(),
        overcommit: crate::model::placement::Overcommit::default(),
        pages: Arc::new(Pages::new([7; 32])),
        fleet: crate::fleet::Fleet::default(),
        streams: guests::streams::Streams::default(),
        endings: uses::Endings::default(),
    };
    Fixture {
        vms: Vms::new(api.clone()),
        hosts: Hosts::new(api.clone()),
        api,
        _directory: directory,
    }
}

fn reason(status: &Status) -> String {
    status.get_details_error_info().map(|info| info.reason).unwrap_or_default()
}

fn fields(status: &Status) -> Vec<String> {
    let details = status.get_details_bad_request();
    details
        .map(|details| details.field_violations.into_iter().map(|v| v.field).collect())
        .unwrap_or_default()
}

fn image(name: &str) -> Option<v1::ImageRef> {
    Some(v1::ImageRef { name: name.to_owned(), sha256: String::new() })
}

fn spec() -> Option<v1::VmSpec> {
    Some(v1::VmSpec {
        kernel: image("vmlinux"),
        root_image: image("root.ext4"),
        ..Default::default()
    })
}

fn named(name: &str) -> v1::CreateVmRequest {
    v1::CreateVmRequest { name: name.to_owned(), spec: spec(), ..Default::default() }
}

const ID: &str = "0192f0c1-2d3e-7a4b-8c5d-6e7f8091a2b3";

impl Fixture {
    async fn create(&self, request: v1::CreateVmRequest) -> Result<v1::Vm, Status> {
        self.vms.create_vm(asked(request)).await.map(Response::into_inner)
    }

    async fn list(&self, request: v1::ListVmsRequest) -> Result<v1::ListVmsResponse, Status> {
        // Of somebody who sees all that there is of a VM.
        let mut request = asked(request);
        request.extensions_mut().insert(crate::model::fixtures::caller());
        self.vms.list_vms(request).await.map(Response::into_inner)
    }

    async fn get(&self, vm: &str) -> Result<v1::Vm, Status> {
        let request = v1::GetVmRequest { vm: vm.to_owned() };
        self.vms.get_vm(asked(request)).await.map(Response::into_inner)
    }
}

#[tokio::test]
async fn a_created_vm_is_pending_with_its_reason_until_there_is_a_host() {
    let fixture = fixture().await;
    let vm = fixture.create(named("web")).await.expect("created");
    let status = vm.status.clone().expect("there");
    assert_eq!((status.state(), &*status.reason), (v1::VmState::Pending, "NO_HOST"));
    assert_eq!((vm.generation, vm.desired_state()), (1, v1::DesiredState::Running));
    assert_eq!(status.dns_name, "web.banger.internal");
    assert_eq!(vm.spec.as_ref().expect("there").memory_mib, 256, "defaults are shown");
    assert_eq!(fixture.get("web").await.expect("by name"), vm);
    assert_eq!(fixture.get(&vm.id).await.expect("by id"), vm);
}

#[tokio::test]
async fn who_asks_for_a_vm_is_told_when_it_was_confirmed_and_a_list_is_of_its_revision() {
    use crate::fleet::observed::FleetSink as _;
    use crate::model::observed::Phase;
    use crate::testing::{facts, health, host_id, host_record, intent, seen, vm_id};
    let fixture = fixture().await;
    let view = &fixture.api.view;
    view.committed(&[Change::put(host_record(1)), Change::put(Arc::new(intent(1)))]);
    view.host_facts(host_id(1), Arc::new(facts()));
    let listed = [(vm_id(1), seen(Phase::Running, 1))].into_iter().collect();
    view.inventory(host_id(1), listed, health(crate::model::host::HostState::Online));
    let confirmed = |vm: &v1::Vm| {
        vm.status.as_ref().and_then(|status| status.confirmed_at.map(|at| at.seconds))
    };
    let id = vm_id(1).to_string();
    let vm = fixture.get(&id).await.expect("there");
    assert_eq!(confirmed(&vm), Some(at(1).as_second()), "{vm:?}");
    let explain = asked(v1::ExplainVmRequest { vm: id });
    let explained = fixture.vms.explain_vm(explain).await.expect("there").into_inner();
    assert_eq!(explained.vm.as_ref().and_then(confirmed), Some(at(1).as_second()));
    let list = fixture.list(v1::ListVmsRequest::default()).await.expect("lists");
    assert_eq!(list.vms.iter().map(confirmed).collect::<Vec<_>>(), [None]);
}

#[tokio::test]
async fn a_viewer_reads_that_a_guest_ended_and_not_how_its_console_ends() {
    use crate::fleet::observed::FleetSink as _;
    use crate::model::history::{EventKind, HistoryEvent};
    use crate::model::ledger::Record;
    use crate::model::observed::{ExitCause, ExitSeen, Fault, Phase};
    use crate::testing::{facts, health, host_id, host_record, intent, seen, vm_id};
    let fixture = fixture().await;
    let view = &fixture.api.view;
    view.committed(&[Change::put(host_record(1)), Change::put(Arc::new(intent(1)))]);
    view.host_facts(host_id(1), Arc::new(facts()));
    let message = "the guest ended; its console ends: password: | hunter2".to_owned();
    let mut ended = seen(Phase::Crashed, 1);
    ended.exit = Some(ExitSeen {
        cause: ExitCause::Unexplained,
        crashed: true,
        code: None,
        signal: None,
        message: message.clone(),
        time: None,
    });
    // So it is of a VMM that did not come up.
    ended.fault = Some(Fault {
        reason: "VMM_EXITED".to_owned(),
        step: "start the VMM".to_owned(),
        message: message.clone(),
        left_behind: Vec::new(),
        retrying: false,
    });
    let listed = [(vm_id(1), ended)].into_iter().collect();
    view.inventory(host_id(1), listed, health(crate::model::host::HostState::Online));
    let event = HistoryEvent {
        vm: vm_id(1),
        generation: banger_proto::ids::Generation(1),
        kind: EventKind::Exec,
        reason: "UNEXPLAINED_END".to_owned(),
        message,
        actor: "host b1".to_owned(),
        at: at(1),
    };
    let caller = crate::model::fixtures::caller();
    let kept = fixture.api.store.submit(caller, Record { events: vec![event] }).await;
    kept.expect("kept");
    let vm = || vm_id(1).to_string();
    for (role, sees) in [(Role::Viewer, false), (Role::Operator, true), (Role::Admin, true)] {
        fn by<T>(role: Role, message: T) -> Request<T> {
            let grants = Grants::fleet(role);
            let mut request = asked(message);
            let caller = Caller { grants, ..crate::model::fixtures::caller() };
            request.extensions_mut().insert(caller);
            request
        }
        let get = by(role, v1::GetVmRequest { vm: vm() });
        let got = fixture.vms.get_vm(get).await.expect("there").into_inner();
        let list = by(role, v1::ListVmsRequest::default());
        let listed = fixture.vms.list_vms(list).await.expect("listed").into_inner();
        let explain = by(role, v1::ExplainVmRequest { vm: vm() });
        let explained = fixture.vms.explain_vm(explain).await.expect("there").into_inner();
        let events = by(role, v1::ListVmEventsRequest { vm: vm(), ..Default::default() });
        let events = fixture.vms.list_vm_events(events).await.expect("a history").into_inner();
        let status = got.status.clone().expect("it has one");
        let exit = status.exit.clone().expect("it ended");
        assert_eq!(exit.message.contains("hunter2"), sees, "{role}: {exit:?}");
        assert!(exit.message.starts_with("the guest ended"), "{exit:?}");
        assert_eq!(status.message.contains("hunter2"), sees, "{role}: {status:?}");
        for answer in [
            format!("{listed:?}"),
            format!("{:?}", explained.explanation),
            format!("{explained:?}"),
            format!("{events:?}"),
        ] {
            assert_eq!(answer.contains("hunter2"), sees, "{role}: {answer}");
            assert!(answer.contains("the guest ended"), "{role}: {answer}");
        }
    }
}

#[tokio::test]
async fn a_repeated_create_answers_the_same_vm_and_another_is_refused() {
    let fixture = fixture().await;
    let request = || v1::CreateVmRequest { id: ID.to_owned(), ..named("web") };
    let first = fixture.create(request()).await.expect("created");
    assert_eq!(fixture.create(request()).await.expect("repeated"), first);
    let other = v1::CreateVmRequest { name: "db".to_owned(), ..request() };
    let refused = fixture.create(other).await.expect_err("another");
    assert_eq!((refused.code(), &*reason(&refused)), (Code::AlreadyExists, "VM_ID_TAKEN"));
}

#[tokio::test]
async fn a_request_id_makes_a_create_without_an_id_repeatable() {
    let fixture = fixture().await;
    let request = || v1::CreateVmRequest { request_id: ID.to_owned(), ..named("") };
    let first = fixture.create(request()).await.expect("created");
    assert_eq!(first.id, ID);
    assert_eq!(fixture.create(request()).await.expect("repeated").id, ID);
    let without = (fixture.create(named("")).await, fixture.create(named("")).await);
    let ids = (without.0.expect("created").id, without.1.expect("created").id);
    assert_ne!(ids.0, ids.1);
}

#[tokio::test]
async fn all_problems_of_a_request_are_listed_at_once() {
    let fixture = fixture().await;
    let request = v1::CreateVmRequest {
        id: "no".to_owned(),
        request_id: "no".to_owned(),
        name: "../web".to_owned(),
        spec: None,
        desired_state: 4,
        ..Default::default()
    };
    let refused = fixture.create(request).await.expect_err("nothing is right");
    assert_eq!((refused.code(), &*reason(&refused)), (Code::InvalidArgument, "INVALID_FIELDS"));
    assert_eq!(
        fields(&refused),
        ["id", "request_id", "name", "desired_state", "spec.root_image.name"]
    );
}

#[tokio::test]
async fn what_is_not_there_yet_says_so() {
    let fixture = fixture().await;
    let network = v1::NetworkSpec {
        ports: vec![v1::PortForward { host_port: 80, guest_port: 80 }],
        ..Default::default()
    };
    let spec = spec().map(|spec| v1::VmSpec { network: Some(network), ..spec });
    let with_ports = v1::CreateVmRequest { spec, ..named("web") };
    let answers = [
        fixture.create(with_ports).await.err(),
        fixture.hosts.drain_host(asked(v1::DrainHostRequest::default())).await.err(),
    ];
    for answer in answers {
        let status = answer.expect("not there yet");
        assert_eq!((status.code(), &*reason(&status)), (Code::Unimplemented, "NOT_IMPLEMENTED"));
    }
}

#[tokio::test]
async fn validating_stores_nothing() {
    let fixture = fixture().await;
    let request = v1::CreateVmRequest { validate_only: true, ..named("web") };
    let vm = fixture.create(request).await.expect("valid");
    assert_eq!((vm.generation, vm.revision, &*vm.name), (1, 0, "web"));
    let missing = fixture.get("web").await.expect_err("not stored");
    assert_eq!((missing.code(), &*reason(&missing)), (Code::NotFound, "VM_NOT_FOUND"));
    let request = v1::CreateVmRequest { validate_only: true, ..Default::default() };
    assert_eq!(fixture.create(request).await.expect_err("invalid").code(), Code::InvalidArgument);
}

#[tokio::test]
async fn all_pages_of_a_list_are_of_one_revision() {
    let fixture = fixture().await;
    for number in 0..7 {
        fixture.create(named(&format!("vm{number}"))).await.expect("created");
    }
    let mut request = v1::ListVmsRequest { page_size: 3, ..Default::default() };
    let mut names = Vec::new();
    let mut revision = None;
    loop {
        let page = fixture.list(request.clone()).await.expect("a page");
        assert_eq!(*revision.get_or_insert(page.revision), page.revision);
        assert_eq!(page.total_size, 7);
        names.extend(page.vms.into_iter().map(|vm| vm.name));
        // What changes in between is not seen by the pages to come.
        fixture.create(named("")).await.expect("created");
        let request_id = v1::DeleteVmRequest { vm: "vm6".to_owned(), ..Default::default() };
        let _ = fixture.vms.delete_vm(asked(request_id)).await;
        if page.next_page_token.is_empty() {
            break;
        }
        request.page_token = page.next_page_token;
    }
    names.sort();
    assert_eq!(names, ["vm0", "vm1", "vm2", "vm3", "vm4", "vm5", "vm6"]);
}

#[tokio::test]
async fn a_page_token_of_another_query_is_refused() {
    let fixture = fixture().await;
    for name in ["a", "b"] {
        fixture.create(named(name)).await.expect("created");
    }
    let first = v1::ListVmsRequest { page_size: 1, ..Default::default() };
    let page_token = fixture.list(first).await.expect("a page").next_page_token;
    let other = v1::ListVmsRequest { page_size: 2, page_token, ..Default::default() };
    let refused = fixture.list(other).await.expect_err("another query");
    assert_eq!((refused.code(), &*reason(&refused)), (Code::InvalidArgument, "PAGE_TOKEN_INVALID"));
}

#[tokio::test]
async fn a_list_shows_what_its_filter_matches() {
    let fixture = fixture().await;
    for (name, app) in [("a", "web"), ("b", "db"), ("c", "web")] {
        let labels = [("app".to_owned(), app.to_owned())].into();
        let spec = spec().map(|spec| v1::VmSpec { labels, ..spec });
        fixture.create(v1::CreateVmRequest { spec, ..named(name) }).await.expect("created");
    }
    let listed = async |filter: v1::VmFilter| {
        let request = v1::ListVmsRequest { filter: Some(filter), ..Default::default() };
        let response = fixture.list(request).await?;
        assert_eq!(response.total_size, response.vms.len() as u64);
        Ok::<_, Status>(response.vms.into_iter().map(|vm| vm.name).collect::<Vec<_>>())
    };
    let by_label =
        |text: &str| v1::VmFilter { label_selector: text.to_owned(), ..Default::default() };
    assert_eq!(listed(by_label("app=web")).await.expect("fine").len(), 2);
    assert_eq!(listed(by_label("app!=web")).await.expect("fine").len(), 1);
    let pending = v1::VmFilter { states: vec![1], ..Default::default() };
    assert_eq!(listed(pending).await.expect("fine").len(), 3);
    let running = v1::VmFilter { states: vec![4], ..Default::default() };
    assert_eq!(listed(running).await.expect("fine").len(), 0);
    let nowhere = v1::VmFilter { host: "nowhere".to_owned(), ..Default::default() };
    assert_eq!(reason(&listed(nowhere).await.expect_err("no such host")), "HOST_NOT_FOUND");
}

#[tokio::test]
async fn a_page_never_outgrows_a_message() {
    let fixture = fixture().await;
    let text = prost_types::Value {
        kind: Some(prost_types::value::Kind::StringValue("x".repeat(32_000))),
    };
    let metadata = Some(prost_types::Struct { fields: [("t".to_owned(), text)].into() });
    let spec = spec().map(|spec| v1::VmSpec { metadata, ..spec });
    for _ in 0..150 {
        let request = v1::CreateVmRequest { spec: spec.clone(), ..Default::default() };
        fixture.create(request).await.expect("created");
    }
    let mut request = v1::ListVmsRequest { page_size: 1000, ..Default::default() };
    let first = fixture.list(request.clone()).await.expect("a page");
    let size = prost::Message::encoded_len(&first);
    assert!(size < banger_proto::bounds::MAX_MESSAGE_BYTES, "{size} bytes");
    request.page_token = first.next_page_token;
    let second = fixture.list(request).await.expect("the rest");
    assert_eq!((first.vms.len() + second.vms.len(), second.next_page_token), (150, String::new()));
}

#[tokio::test]
async fn power_follows_the_wishes_and_a_stale_etag_is_refused() {
    let fixture = fixture().await;
    let created = fixture.create(named("web")).await.expect("created");
    let stop = |etag: &str, grace_period| {
        let request = v1::StopVmRequest {
            vm: "web".to_owned(),
            etag: etag.to_owned(),
            grace_period,
            ..Default::default()
        };
        fixture.vms.stop_vm(asked(request))
    };
    let stopped = stop(&created.etag, None).await.expect("stopped").into_inner();
    assert_eq!((stopped.generation, stopped.desired_state()), (2, v1::DesiredState::Stopped));
    let stale = stop(&created.etag, None).await.expect_err("stale");
    assert_eq!((stale.code(), &*reason(&stale)), (Code::Aborted, "ETAG_MISMATCH"));
    let long = Some(prost_types::Duration { seconds: 3601, nanos: 0 });
    assert_eq!(fields(&stop("", long).await.expect_err("too long")), ["grace_period"]);
    let pause = v1::PauseVmRequest { vm: "web".to_owned(), ..Default::default() };
    let refused = fixture.vms.pause_vm(asked(pause)).await.expect_err("stopped");
    assert_eq!(reason(&refused), "WRONG_DESIRED_STATE");
    let start = v1::StartVmRequest { vm: "web".to_owned(), ..Default::default() };
    let started = fixture.vms.start_vm(asked(start.clone())).await.expect("started");
    let again = fixture.vms.start_vm(asked(start)).await.expect("a repetition");
    assert_eq!((started.get_ref().generation, again.get_ref().generation), (3, 3));
}

#[tokio::test]
async fn deleting_what_is_gone_succeeds_when_that_is_allowed() {
    let fixture = fixture().await;
    let created = fixture.create(named("web")).await.expect("created");
    let delete = |allow_missing| {
        let request =
            v1::DeleteVmRequest { vm: created.id.clone(), allow_missing, ..Default::default() };
        fixture.vms.delete_vm(asked(request))
    };
    let gone = delete(false).await.expect("deleted").into_inner();
    assert_eq!(gone.status.expect("there").state(), v1::VmState::Deleted);
    assert_eq!(reason(&delete(false).await.expect_err("gone")), "VM_NOT_FOUND");
    assert_eq!(delete(true).await.expect("allowed").into_inner(), v1::Vm::default());
}

#[tokio::test]
async fn history_is_paged_and_outlives_the_vm() {
    let fixture = fixture().await;
    let created = fixture.create(named("web")).await.expect("created");
    let delete = v1::DeleteVmRequest { vm: "web".to_owned(), ..Default::default() };
    fixture.vms.delete_vm(asked(delete)).await.expect("deleted");
    let mut request =
        v1::ListVmEventsRequest { vm: created.id.clone(), page_size: 3, ..Default::default() };
    let mut kinds = Vec::new();
    loop {
        let response = fixture.vms.list_vm_events(asked(request.clone())).await;
        let response = response.expect("a page").into_inner();
        kinds.extend(response.events.into_iter().map(|event| (event.r#type, event.actor)));
        request.page_token = response.next_page_token;
        if request.page_token.is_empty() {
            break;
        }
    }
    let expected = ["CREATED", "UNPLACED", "DELETE_REQUESTED", "DELETED"];
    assert_eq!(kinds, expected.map(|kind| (kind.to_owned(), "alice".to_owned())));
    let of = |vm: &str| v1::ListVmEventsRequest { vm: vm.to_owned(), ..Default::default() };
    // The name that it had still finds it, as nobody else has it.
    let by_name = fixture.vms.list_vm_events(asked(of("web"))).await.expect("by name");
    assert_eq!(by_name.into_inner().events.len(), expected.len());
    for vm in ["never-there", "0192f0c1-2d3e-7a4b-8c5d-6e7f8091a2b4"] {
        let missing = fixture.vms.list_vm_events(asked(of(vm))).await;
        assert_eq!(reason(&missing.expect_err("no such VM")), "VM_NOT_FOUND");
    }
}

#[tokio::test]
async fn an_update_names_the_fields_that_need_a_stopped_vm() {
    let fixture = fixture().await;
    let created = fixture.create(named("web")).await.expect("created");
    let update = |allow_restart| {
        let spec = created.spec.clone().map(|spec| v1::VmSpec { vcpus: 2, ..spec });
        let vm = "web".to_owned();
        let request = v1::UpdateVmRequest { vm, spec, allow_restart, ..Default::default() };
        fixture.vms.update_vm(asked(request))
    };
    let refused = update(false).await.expect_err("running");
    assert_eq!(
        (refused.code(), &*reason(&refused)),
        (Code::FailedPrecondition, "NEEDS_STOPPED_VM")
    );
    assert!(refused.message().contains("spec.vcpus"), "{}", refused.message());
    let updated = update(true).await.expect("allowed").into_inner();
    assert_eq!((updated.generation, updated.spec.expect("there").vcpus), (2, 2));
}

#[tokio::test]
async fn the_explanation_of_a_vm_without_a_host_says_why() {
    let fixture = fixture().await;
    fixture.create(named("web")).await.expect("created");
    let request = v1::ExplainVmRequest { vm: "web".to_owned() };
    let explained = fixture.vms.explain_vm(asked(request)).await.expect("explained");
    let explained = explained.into_inner();
    assert_eq!((&*explained.decision, &*explained.reason), ("WAIT", "NO_HOST"));
    assert!(!explained.explanation.is_empty());
}

#[tokio::test]
async fn a_vm_that_is_gone_is_explained_by_id_and_by_the_name_it_had() {
    let fixture = fixture().await;
    let id = fixture.create(named("web")).await.expect("created").id;
    let delete = v1::DeleteVmRequest { vm: "web".to_owned(), ..v1::DeleteVmRequest::default() };
    fixture.vms.delete_vm(asked(delete)).await.expect("deleted");
    let explain = async |vm: &str| {
        let request = v1::ExplainVmRequest { vm: vm.to_owned() };
        fixture.vms.explain_vm(asked(request)).await.map(tonic::Response::into_inner)
    };
    for vm in ["web", &*id] {
        let explained = explain(vm).await.expect("it was there");
        let gone = explained.vm.expect("given");
        assert_eq!((&*explained.decision, &*gone.id), ("GONE", &*id));
        assert_eq!(gone.status.expect("given").state(), v1::VmState::Deleted);
    }
    assert_eq!(explain("other").await.expect_err("never there").code(), Code::NotFound);
}

#[tokio::test]
async fn who_asked_is_kept_in_the_history() {
    let fixture = fixture().await;
    let created = {
        let layer = auth::AuthLayer::new(true, fixture.api.clock.clone());
        let rights = Rights::Fleet(Role::Operator);
        let alice = Principal { name: "alice".into(), rights };
        layer.admit(&[("t".repeat(16), alice)].into());
        let vms = fixture.vms.clone();
        let service = tower::Layer::layer(
            &layer,
            tower::service_fn(move |request: http::Request<()>| {
                let vms = vms.clone();
                async move {
                    let (parts, ()) = request.into_parts();
                    let mut request = asked(named("web"));
                    *request.extensions_mut() = parts.extensions;
                    let vm = vms.create_vm(request).await.expect("created");
                    let mut response = http::Response::new(tonic::body::Body::empty());
                    response.extensions_mut().insert(vm.into_inner());
                    Ok::<_, std::convert::Infallible>(response)
                }
            }),
        );
        let request = http::Request::builder()
            .uri("/banger.v1.VmService/CreateVm")
            .header("authorization", format!("Bearer {}", "t".repeat(16)))
            .body(())
            .expect("a request");
        let mut answer = tower::ServiceExt::oneshot(service, request).await.expect("answers");
        answer.extensions_mut().remove::<v1::Vm>()
    };
    let id = created.expect("created").id.parse().expect("an id");
    let events = fixture.api.store.vm_events(id, 0, 10).await.expect("readable");
    assert!(events.iter().all(|event| event.actor == "alice"), "{events:?}");
}

#[tokio::test]
async fn a_change_sent_again_with_its_request_id_is_answered_and_done_once() {
    let fixture = fixture().await;
    let vm = fixture.create(named("web")).await.expect("created");
    let request_id = "0192a000-0000-7000-8000-000000000001".to_owned();
    let reboot = |vm: &str| v1::RebootVmRequest {
        vm: vm.to_owned(),
        request_id: request_id.clone(),
        ..Default::default()
    };
    let rebooted = fixture.vms.reboot_vm(asked(reboot("web"))).await.expect("rebooted");
    let again = fixture.vms.reboot_vm(asked(reboot(&vm.id))).await.expect("known");
    assert_eq!(again.get_ref().generation, rebooted.get_ref().generation);

    // With the etag that its own success has made an old one.
    let mut spec = vm.spec.clone().expect("given");
    spec.labels.insert("app".to_owned(), "web".to_owned());
    let update = v1::UpdateVmRequest {
        vm: "web".to_owned(),
        spec: Some(spec),
        etag: rebooted.get_ref().etag.clone(),
        request_id: "0192a000-0000-7000-8000-000000000002".to_owned(),
        ..Default::default()
    };
    let updated = fixture.vms.update_vm(asked(update.clone())).await.expect("updated");
    let again = fixture.vms.update_vm(asked(update.clone())).await.expect("known");
    assert_eq!(again.get_ref().etag, updated.get_ref().etag);
    let other = v1::UpdateVmRequest { allow_restart: true, ..update.clone() };
    let refused = fixture.vms.update_vm(asked(other)).await.expect_err("another request");
    assert_eq!(reason(&refused), "REQUEST_ID_TAKEN");
    let nonsense = v1::UpdateVmRequest { request_id: "x".to_owned(), ..update };
    let refused = fixture.vms.update_vm(asked(nonsense)).await.expect_err("no UUID");
    assert_eq!(reason(&refused), "INVALID_FIELDS");

    // Its VM has no host, so that the first delete is the end of it.
    let delete = v1::DeleteVmRequest {
        vm: "web".to_owned(),
        request_id: "0192a000-0000-7000-8000-000000000003".to_owned(),
        ..Default::default()
    };
    for time in ["first", "again"] {
        let gone = fixture.vms.delete_vm(asked(delete.clone())).await.expect(time);
        let gone = gone.into_inner();
        let state = gone.status.as_ref().map(v1::VmStatus::state);
        assert_eq!((&gone.id, state), (&vm.id, Some(v1::VmState::Deleted)), "{time}");
    }
}

#[tokio::test]
async fn two_updates_of_different_fields_without_an_etag_do_not_meet() {
    let fixture = fixture().await;
    fixture.create(named("web")).await.expect("created");
    let update = |paths: &[&str], spec: v1::VmSpec| {
        let paths = paths.iter().map(|path| (*path).to_owned()).collect();
        asked(v1::UpdateVmRequest {
            vm: "web".to_owned(),
            spec: Some(spec),
            update_mask: Some(prost_types::FieldMask { paths }),
            ..Default::default()
        })
    };
    let label = |key: &str| v1::VmSpec {
        labels: [(key.to_owned(), "x".to_owned())].into(),
        ..Default::default()
    };
    let (one, two) = tokio::join!(
        fixture.vms.update_vm(update(&["spec.labels.one"], label("one"))),
        fixture.vms.update_vm(update(&["spec.labels.two"], label("two"))),
    );
    one.expect("updated");
    two.expect("updated");
    let vm = fixture.get("web").await.expect("there");
    let labels = vm.spec.expect("given").labels;
    assert!(labels.contains_key("one") && labels.contains_key("two"), "{labels:?}");
    let unknown = fixture.vms.update_vm(update(&["spec.nothing"], v1::VmSpec::default())).await;
    assert_eq!(reason(&unknown.expect_err("no field")), "INVALID_FIELDS");
}

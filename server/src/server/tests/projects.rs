//! Two projects on one server: every call, by every role of one, about what is its own, what is the
//! other's and what is missing.

use std::os::unix::fs::PermissionsExt as _;

use banger_proto::v1::image_service_client::ImageServiceClient;
use banger_proto::v1::project_service_client::ProjectServiceClient;
use banger_proto::v1::token_service_client::TokenServiceClient;
use banger_proto::v1::watch_service_client::WatchServiceClient;
use tonic::{Request, Status};
use tonic_types::StatusExt as _;

use super::*;
use crate::api::auth::METHODS;
use crate::clock::{SharedClock, SystemClock};
use crate::config::{AuthConfig, LimitsConfig};
use crate::model::access::Resource;
use crate::model::fixtures::caller;
use crate::model::image::StoredKind;
use crate::model::ledger::PutImage;
use crate::testing::image;

pub(super) const ROOT: &str = "root-0123456789abcdef";

/// The roles of a project, the least first.
const ROLES: [v1::Role; 3] = [v1::Role::Viewer, v1::Role::Developer, v1::Role::Admin];

pub(super) struct Stage {
    pub(super) server: RunningServer,
    pub(super) channel: Channel,
    _directory: tempfile::TempDir,
}

pub(super) fn by<T>(token: &str, message: T) -> Request<T> {
    let mut request = Request::new(message);
    let value = format!("Bearer {token}").parse().expect("plain characters");
    request.metadata_mut().insert("authorization", value);
    request
}

/// A server with the projects `shop` and `lab`, and public images to boot from.
pub(super) async fn stage() -> Stage {
    stage_with(LimitsConfig::default()).await
}

/// The same with other limits.
pub(super) async fn stage_with(limits: LimitsConfig) -> Stage {
    stage_at(limits, Arc::new(SystemClock)).await
}

/// The same by another clock.
pub(super) async fn stage_at(limits: LimitsConfig, clock: SharedClock) -> Stage {
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("tokens");
    std::fs::write(&file, format!("root {ROOT}\n")).expect("there is room");
    let private = std::fs::Permissions::from_mode(0o600);
    std::fs::set_permissions(&file, private).expect("it is ours");
    let config = ServerConfig {
        auth: AuthConfig { token_file: Some(file), ..AuthConfig::default() },
        limits,
        ..config(&directory)
    };
    let server = Server::start_with(config, clock, None).await.expect("it starts");
    let channel = channel(&server).await;
    for (name, kind) in [("vmlinux", StoredKind::Kernel), ("root.ext4", StoredKind::Root)] {
        let (image, _) = image(name, kind, name.as_bytes());
        let put = PutImage { image, replace: false, public: Some(true) };
        server.store().submit(caller(), put).await.expect("stored");
    }
    let mut projects = ProjectServiceClient::new(channel.clone());
    for name in ["shop", "lab"] {
        let create = v1::CreateProjectRequest { name: name.to_owned(), ..Default::default() };
        projects.create_project(by(ROOT, create)).await.expect("made");
    }
    Stage { server, channel, _directory: directory }
}

impl Stage {
    pub(super) fn vms(&self) -> VmServiceClient<Channel> {
        VmServiceClient::new(self.channel.clone())
    }

    pub(super) async fn token(&self, project: &str, name: &str, role: v1::Role) -> String {
        let request = v1::CreateTokenRequest {
            name: name.to_owned(),
            role: role.into(),
            project: project.to_owned(),
            ..Default::default()
        };
        let mut tokens = TokenServiceClient::new(self.channel.clone());
        tokens.create_token(by(ROOT, request)).await.expect("made").into_inner().secret
    }

    pub(super) async fn vm(&self, token: &str, name: &str) -> v1::Vm {
        self.vms().create_vm(by(token, create(name))).await.expect("created").into_inner()
    }

    /// Puts a picture of a project, and answers the digest of an upload to it.
    async fn image_and_upload(&self, token: &str, content: &[u8]) -> String {
        let mut images = ImageServiceClient::new(self.channel.clone());
        let part = v1::UploadBlobRequest { data: content.to_vec(), ..Default::default() };
        let parts = tokio_stream::iter([part]);
        let kept = images.upload_blob(by(token, parts)).await.expect("kept").into_inner();
        kept.sha256
    }
}

/// What a call is about, in each way in which one can say it.
#[derive(Debug, Clone)]
struct About {
    vm: String,
    image: String,
    project: String,
    token: String,
    digest: String,
}

/// Makes a call about something; `None`: the method is about nothing that belongs to a project.
async fn ask(
    channel: &Channel,
    token: &str,
    method: &str,
    about: &About,
) -> Option<Result<(), Status>> {
    let mut vms = VmServiceClient::new(channel.clone());
    let mut images = ImageServiceClient::new(channel.clone());
    let mut tokens = TokenServiceClient::new(channel.clone());
    let mut projects = ProjectServiceClient::new(channel.clone());
    let mut watches = WatchServiceClient::new(channel.clone());
    let About { vm, image, project, token: held, digest } = about.clone();
    macro_rules! call {
        ($client:ident . $call:ident($message:expr)) => {
            $client.$call(by(token, $message)).await.map(drop)
        };
    }
    macro_rules! about_vm {
        ($call:ident, $message:ident) => {
            call!(vms.$call(v1::$message { vm, ..Default::default() }))
        };
    }
    macro_rules! stream_of_vm {
        ($call:ident, $message:ident { $($field:ident: $value:expr),* }) => {{
            let first = v1::$message { vm, $($field: $value,)* ..Default::default() };
            call!(vms.$call(tokio_stream::iter([first])))
        }};
    }
    let exec = v1::ExecInput {
        input: Some(v1::exec_input::Input::Start(v1::ExecStart {
            command: vec!["true".to_owned()],
            ..Default::default()
        })),
    };
    Some(match method.rsplit('/').next().expect("a name") {
        "CreateVm" => call!(vms.create_vm(v1::CreateVmRequest { project, ..create("new") })),
        "GetVm" => call!(vms.get_vm(v1::GetVmRequest { vm })),
        "ListVms" => {
            let filter = Some(v1::VmFilter { project, ..Default::default() });
            call!(vms.list_vms(v1::ListVmsRequest { filter, ..Default::default() }))
        }
        "WatchVms" => {
            let filter = Some(v1::VmFilter { project, ..Default::default() });
            call!(vms.watch_vms(v1::WatchVmsRequest { filter, after_revision: None }))
        }
        "Watch" => {
            let vms = Some(v1::VmFilter { project, ..Default::default() });
            call!(watches.watch(v1::WatchRequest { vms, ..Default::default() }))
        }
        "UpdateVm" => {
            let spec = create("x").spec;
            call!(vms.update_vm(v1::UpdateVmRequest { vm, spec, ..Default::default() }))
        }
        "DeleteVm" => about_vm!(delete_vm, DeleteVmRequest),
        "StartVm" => about_vm!(start_vm, StartVmRequest),
        "StopVm" => about_vm!(stop_vm, StopVmRequest),
        "RebootVm" => about_vm!(reboot_vm, RebootVmRequest),
        "PauseVm" => about_vm!(pause_vm, PauseVmRequest),
        "ResumeVm" => about_vm!(resume_vm, ResumeVmRequest),
        "BindVm" => {
            let host = "one".to_owned();
            call!(vms.bind_vm(v1::BindVmRequest { vm, host, ..Default::default() }))
        }
        "WaitVm" => {
            let timeout = Some(prost_types::Duration { seconds: 0, nanos: 1_000_000 });
            call!(vms.wait_vm(v1::WaitVmRequest { vm, timeout, ..Default::default() }))
        }
        "ListVmEvents" => about_vm!(list_vm_events, ListVmEventsRequest),
        "ExplainVm" => call!(vms.explain_vm(v1::ExplainVmRequest { vm })),
        "ReadConsole" => about_vm!(read_console, ReadConsoleRequest),
        "AttachConsole" => stream_of_vm!(attach_console, AttachConsoleRequest {}),
        "ExecVm" => {
            let first = v1::ExecVmRequest { vm, input: Some(exec) };
            call!(vms.exec_vm(tokio_stream::iter([first])))
        }
        "CopyToVm" => {
            stream_of_vm!(copy_to_vm, CopyToVmRequest { directory: "/tmp".to_owned() })
        }
        "CopyFromVm" => {
            call!(vms.copy_from_vm(v1::CopyFromVmRequest { vm, path: "/etc".to_owned() }))
        }
        "ForwardVm" => stream_of_vm!(forward_vm, ForwardVmRequest { port: 80 }),
        "ImportImage" | "ImportImageWithProgress" => {
            let request = v1::ImportImageRequest {
                name: "made".to_owned(),
                blob_sha256: digest,
                project: String::new(),
                ..Default::default()
            };
            let of_upload = call!(images.import_image(request.clone()));
            let elsewhere = v1::ImportImageRequest { project, ..request };
            match of_upload {
                Ok(()) => call!(images.import_image(elsewhere)),
                Err(refused) => Err(refused),
            }
        }
        "UploadBlob" => {
            let first = v1::UploadBlobRequest { project, data: vec![1], ..Default::default() };
            call!(images.upload_blob(tokio_stream::iter([first])))
        }
        "GetImage" => call!(images.get_image(v1::GetImageRequest { name: image })),
        "ListImages" => {
            call!(images.list_images(v1::ListImagesRequest { project, ..Default::default() }))
        }
        "DeleteImage" => {
            let name = image;
            call!(images.delete_image(v1::DeleteImageRequest { name, ..Default::default() }))
        }
        "CreateToken" => {
            let (name, role) = ("new".to_owned(), v1::Role::Viewer.into());
            let request = v1::CreateTokenRequest { name, role, project, ..Default::default() };
            call!(tokens.create_token(request))
        }
        "ListTokens" => {
            call!(tokens.list_tokens(v1::ListTokensRequest { project, ..Default::default() }))
        }
        "RevokeToken" => {
            let request = v1::RevokeTokenRequest { token: held, ..Default::default() };
            call!(tokens.revoke_token(request))
        }
        "GetProject" => call!(projects.get_project(v1::GetProjectRequest { name: project })),
        "UpdateProject" => {
            let request = v1::UpdateProjectRequest { name: project, ..Default::default() };
            call!(projects.update_project(request))
        }
        "DeleteProject" => {
            let request = v1::DeleteProjectRequest { name: project, ..Default::default() };
            call!(projects.delete_project(request))
        }
        _ => return None,
    })
}

/// Methods that are about nothing of a project: the fleet's, everybody's, or the caller's own.
const OF_NO_PROJECT: [&str; 6] = [
    "/banger.v1.HostService/",
    "/banger.v1.AuditService/",
    "/banger.v1.ProjectService/CreateProject",
    "/banger.v1.ProjectService/ListProjects",
    "/banger.v1.TokenService/WhoAmI",
    "/grpc.",
];

/// An answer, with what was asked for taken out of it.
fn answer(outcome: &Result<(), Status>, about: &About) -> String {
    let text = match outcome {
        Ok(()) => "ok".to_owned(),
        Err(status) => {
            let details = String::from_utf8_lossy(status.details()).into_owned();
            format!("{:?} {} {details}", status.code(), status.message())
        }
    };
    let About { vm, image, project, token, digest } = about;
    [vm, image, token, digest, project]
        .into_iter()
        .filter(|word| !word.is_empty())
        .fold(text, |text, word| text.replace(word.as_str(), "<it>"))
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_another_projects_answers_as_what_is_missing_in_every_call() {
    let stage = stage().await;
    let lab = stage.token("lab", "own", v1::Role::Admin).await;
    let foreign_vm = stage.vm(&lab, "web").await;
    let digest = stage.image_and_upload(&lab, b"of lab").await;
    let mut tokens = TokenServiceClient::new(stage.channel.clone());
    let list = by(&lab, v1::ListTokensRequest::default());
    let of_lab = tokens.list_tokens(list).await.expect("listed").into_inner().tokens;
    let foreign_token = of_lab[0].id.clone();
    let import = v1::ImportImageRequest {
        name: "pic".to_owned(),
        blob_sha256: digest.clone(),
        kind: v1::ImageKind::Root.into(),
        ..Default::default()
    };
    // What is no file system is refused by the conversion, so it is put as it is.
    let mut images = ImageServiceClient::new(stage.channel.clone());
    assert!(images.import_image(by(&lab, import)).await.is_err());
    let (pic, _) = image("pic", StoredKind::Root, b"pic");
    let project = crate::model::fixtures::project("lab");
    let pic = crate::model::image::ImageRecord { project, ..(*pic).clone() };
    let put = PutImage { image: Arc::new(pic), replace: false, public: None };
    stage.server.store().submit(caller(), put).await.expect("stored");

    let about = |vm: &str, image: &str, project: &str, token: &str, digest: &str| About {
        vm: vm.to_owned(),
        image: image.to_owned(),
        project: project.to_owned(),
        token: token.to_owned(),
        digest: digest.to_owned(),
    };
    let other_digest = "0".repeat(64);
    // Texts of one length each, so that the details of errors are as long.
    let pairs = [
        (
            about("lab/web", "lab/pic", "lab", "lab/own", &digest),
            about("lab/wib", "lab/pip", "lob", "lab/oen", &other_digest),
        ),
        (
            about(&foreign_vm.id, "lab/pic", "lab", &foreign_token, &digest),
            about(
                "01920000-0000-7000-8000-000000000001",
                "lob/pic",
                "lob",
                "bgr_0123456789abcdef",
                &other_digest,
            ),
        ),
    ];
    for role in ROLES {
        let token = stage.token("shop", &format!("r{}", role as i32), role).await;
        for (path, _, _) in METHODS {
            if OF_NO_PROJECT.iter().any(|prefix| path.starts_with(prefix)) {
                continue;
            }
            for (foreign, missing) in &pairs {
                let of_foreign = ask(&stage.channel, &token, path, foreign).await;
                let of_foreign = of_foreign.unwrap_or_else(|| panic!("{path} is not asked here"));
                let of_missing = ask(&stage.channel, &token, path, missing).await.expect("asked");
                let (code, reason) = match &of_foreign {
                    Ok(()) => panic!("{path} {role:?}: {foreign:?} was let in"),
                    Err(status) => {
                        let info = status.get_details_error_info().expect("a reason");
                        (status.code(), info.reason)
                    }
                };
                assert!(
                    code == Code::NotFound || reason == "NOT_PERMITTED",
                    "{path} {role:?} {foreign:?}: {of_foreign:?}"
                );
                assert_eq!(
                    answer(&of_foreign, foreign),
                    answer(&of_missing, missing),
                    "{path} {role:?} {foreign:?}"
                );
            }
        }
    }
    // What is one's own is there, wherever the role does.
    for role in ROLES {
        let token = stage.token("shop", &format!("own{}", role as i32), role).await;
        let admin = stage.token("shop", &format!("maker{}", role as i32), v1::Role::Admin).await;
        let own = about("web", "vmlinux", "", "shop/nobody", &other_digest);
        // Of what a role may do at all: a VM is bound by whoever changes hosts.
        let of_vms = METHODS.iter().filter(|(path, _, _)| path.contains("VmService"));
        for (path, _, _) in of_vms.filter(|(_, _, resource)| *resource != Resource::Host) {
            // A deletion takes it away at once: it has no host.
            let _ = stage.vms().create_vm(by(&admin, create("web"))).await;
            let outcome = ask(&stage.channel, &token, path, &own).await.expect("asked");
            let code = outcome.as_ref().err().map(Status::code);
            assert_ne!(code, Some(Code::NotFound), "{path} {role:?}: {outcome:?}");
            if role != v1::Role::Viewer {
                assert_ne!(code, Some(Code::PermissionDenied), "{path} {role:?}: {outcome:?}");
            }
        }
    }
    let unchanged = stage.vms().get_vm(by(&lab, v1::GetVmRequest { vm: "web".to_owned() })).await;
    assert_eq!(unchanged.expect("there").into_inner().etag, foreign_vm.etag);
    stage.server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_project_sees_its_own_alone_in_lists_watches_and_histories() {
    let stage = stage().await;
    let shop = stage.token("shop", "ann", v1::Role::Developer).await;
    let lab = stage.token("lab", "bob", v1::Role::Developer).await;
    let mut watching = stage.vms();
    let watch = by(&shop, v1::WatchVmsRequest::default());
    let mut stream = watching.watch_vms(watch).await.expect("a stream").into_inner();
    // The same names, one after the other.
    for name in ["web", "db"] {
        stage.vm(&lab, name).await;
        stage.vm(&shop, name).await;
    }
    let gone = v1::DeleteVmRequest { vm: "db".to_owned(), ..Default::default() };
    stage.vms().delete_vm(by(&lab, gone.clone())).await.expect("gone at once: it has no host");
    stage.vms().delete_vm(by(&shop, gone)).await.expect("gone at once");
    let removed = |event: &v1::VmEvent| event.r#type() == v1::VmEventType::Removed;
    let events = until_event(&mut stream, removed).await;
    for event in &events {
        assert_eq!(event.vm.as_ref().map(|vm| vm.project.as_str()), Some("shop"), "{event:?}");
    }
    for (token, project) in [(&shop, "shop"), (&lab, "lab")] {
        let list = by(token, v1::ListVmsRequest::default());
        let page = stage.vms().list_vms(list).await.expect("listed").into_inner();
        let vms: Vec<_> = page.vms.iter().map(|vm| (&*vm.name, &*vm.project)).collect();
        assert_eq!((vms, page.total_size), (vec![("web", project)], 1));
        let dns = page.vms[0].status.as_ref().map(|status| status.dns_name.clone());
        assert!(dns.expect("a status").starts_with(&format!("web.{project}.")));
        let events = v1::ListVmEventsRequest { vm: "db".to_owned(), ..Default::default() };
        let events = stage.vms().list_vm_events(by(token, events)).await.expect("a history");
        let actors: Vec<String> =
            events.into_inner().events.into_iter().map(|event| event.actor).collect();
        assert!(actors.iter().all(|actor| actor.starts_with(&format!("{project}/"))), "{actors:?}");
    }
    // Of hosts a project is told nothing, and that it may not ask.
    let mut watches = WatchServiceClient::new(stage.channel.clone());
    let all = watches.watch(by(&shop, v1::WatchRequest::default())).await.expect("a stream");
    let first = all.into_inner().message().await.expect("it goes on").expect("the state");
    assert!(first.events.iter().all(|event| event.host.is_none()), "{first:?}");
    assert_eq!(first.events.len(), 1);
    let hosts = v1::WatchRequest { kinds: vec![v1::WatchKind::Host.into()], ..Default::default() };
    let refused = watches.watch(by(&shop, hosts)).await.expect_err("the fleet's");
    assert_eq!(refused.code(), Code::PermissionDenied, "{refused:?}");
    // Callers of the fleet see all, and one project where they ask for it.
    for (project, count) in [("", 2), ("shop", 1), ("default", 0)] {
        let filter = Some(v1::VmFilter { project: project.to_owned(), ..Default::default() });
        let list = by(ROOT, v1::ListVmsRequest { filter, ..Default::default() });
        let page = stage.vms().list_vms(list).await.expect("listed").into_inner();
        assert_eq!((page.vms.len(), page.total_size), (count, count as u64), "{project:?}");
    }
    let named = v1::GetVmRequest { vm: "shop/web".to_owned() };
    let got = stage.vms().get_vm(by(ROOT, named)).await.expect("there").into_inner();
    assert_eq!(got.project, "shop");
    let in_default = v1::GetVmRequest { vm: "web".to_owned() };
    assert!(stage.vms().get_vm(by(ROOT, in_default)).await.is_err(), "of `default` there is none");
    let mut images = ImageServiceClient::new(stage.channel.clone());
    let list = by(&shop, v1::ListImagesRequest::default());
    let shown = images.list_images(list).await.expect("listed").into_inner().images;
    assert!(shown.iter().all(|image| image.public && image.hosts.is_empty()), "{shown:?}");
    assert_eq!(shown.iter().map(|image| image.vm_count).collect::<Vec<_>>(), [1, 1]);
    let mut projects = ProjectServiceClient::new(stage.channel.clone());
    let list = by(&shop, v1::ListProjectsRequest::default());
    let seen = projects.list_projects(list).await.expect("listed").into_inner().projects;
    assert_eq!(seen.iter().map(|p| (&*p.name, p.vm_count)).collect::<Vec<_>>(), [("shop", 1)]);
    stage.server.shutdown().await;
}

/// A token of the page of who sees more would say how much there is.
#[tokio::test(flavor = "multi_thread")]
async fn a_page_token_of_the_fleet_is_none_of_a_project() {
    let stage = stage().await;
    let shop = stage.token("shop", "ann", v1::Role::Developer).await;
    for name in ["a", "b"] {
        stage.vms().create_vm(by(ROOT, create(name))).await.expect("created");
    }
    let mut list = v1::ListVmsRequest { page_size: 1, ..Default::default() };
    let first = stage.vms().list_vms(by(ROOT, list.clone())).await.expect("listed").into_inner();
    list.page_token = first.next_page_token;
    let refused = stage.vms().list_vms(by(&shop, list)).await.expect_err("another's");
    assert!(refused.message().contains("belongs to another query"), "{refused:?}");
    stage.server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_says_whose_it_is_and_ends_with_its_project() {
    let stage = stage().await;
    let admin = stage.token("shop", "ann", v1::Role::Admin).await;
    let mut tokens = TokenServiceClient::new(stage.channel.clone());
    let who = tokens.who_am_i(by(&admin, v1::WhoAmIRequest {})).await.expect("known").into_inner();
    assert_eq!((&*who.principal, who.role(), &*who.project), ("shop/ann", v1::Role::Admin, "shop"));
    assert!(who.expire_time.is_some() && who.token_id.starts_with("bgr_"));
    let who = tokens.who_am_i(by(ROOT, v1::WhoAmIRequest {})).await.expect("known").into_inner();
    assert_eq!((&*who.principal, who.role(), &*who.project), ("root", v1::Role::Admin, ""));
    // Its admin makes tokens of it, and of nothing else, whatever is asked for.
    let make = |role: v1::Role, name: &str| v1::CreateTokenRequest {
        name: name.to_owned(),
        role: role.into(),
        ..Default::default()
    };
    let made = tokens.create_token(by(&admin, make(v1::Role::Developer, "ci"))).await;
    let made = made.expect("made").into_inner();
    assert_eq!(made.token.expect("shown").project, "shop");
    let refused = tokens.create_token(by(&admin, make(v1::Role::Operator, "x"))).await;
    assert_eq!(refused.expect_err("of the fleet").code(), Code::InvalidArgument);
    let refused = tokens.create_token(by(ROOT, make(v1::Role::Developer, "x"))).await;
    let refused = refused.expect_err("of no project");
    assert!(refused.message().contains("no project is named"), "{refused:?}");
    let listed = tokens.list_tokens(by(&admin, v1::ListTokensRequest::default())).await;
    let listed = listed.expect("listed").into_inner().tokens;
    assert!(listed.iter().all(|token| token.project == "shop"), "{listed:?}");
    // A role of one project, asked for what is the fleet's.
    let mut hosts = HostServiceClient::new(stage.channel.clone());
    let refused = hosts.list_hosts(by(&admin, v1::ListHostsRequest::default())).await;
    let refused = refused.expect_err("the fleet's");
    let words = "shop/ann is admin of project shop; this needs the role viewer of the whole fleet";
    assert_eq!((refused.code(), refused.message()), (Code::PermissionDenied, words));

    let mut watching = stage.vms();
    let watch = by(&made.secret, v1::WatchVmsRequest::default());
    let mut stream = watching.watch_vms(watch).await.expect("a stream").into_inner();
    let mut projects = ProjectServiceClient::new(stage.channel.clone());
    let rm = v1::DeleteProjectRequest { name: "shop".to_owned(), ..Default::default() };
    projects.delete_project(by(ROOT, rm)).await.expect("empty");
    let ended = async {
        while stream.message().await?.is_some() {}
        Ok::<_, Status>(())
    };
    let ended = timeout(PATIENCE, ended).await.expect("it ends");
    assert_eq!(ended.expect_err("with its project").code(), Code::Unauthenticated);
    for token in [&admin, &made.secret] {
        let refused = stage.vms().list_vms(by(token, v1::ListVmsRequest::default())).await;
        assert_eq!(refused.expect_err("gone").code(), Code::Unauthenticated);
    }
    stage.server.shutdown().await;
}

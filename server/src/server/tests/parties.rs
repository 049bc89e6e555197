//! What the callers of one project may have open, and that they keep out nobody else by it.

use banger_proto::v1::image_service_client::ImageServiceClient;
use banger_proto::v1::project_service_client::ProjectServiceClient;
use tonic::Status;
use tonic_types::StatusExt as _;

use super::projects::{ROOT, Stage, by, stage, stage_with};
use super::*;
use crate::config::LimitsConfig;

impl Stage {
    async fn quota(&self, project: &str, quota: v1::ProjectResources) {
        let mut projects = ProjectServiceClient::new(self.channel.clone());
        let name = project.to_owned();
        let update = v1::UpdateProjectRequest { name, quota: Some(quota), ..Default::default() };
        projects.update_project(by(ROOT, update)).await.expect("changed");
    }

    /// As it is shown to whoever calls with this token.
    async fn project(&self, token: &str, name: &str) -> v1::Project {
        let mut projects = ProjectServiceClient::new(self.channel.clone());
        let get = v1::GetProjectRequest { name: name.to_owned() };
        projects.get_project(by(token, get)).await.expect("there").into_inner()
    }

    async fn watch(&self, token: &str) -> Result<Streaming<v1::WatchVmsResponse>, Status> {
        let watch = by(token, v1::WatchVmsRequest::default());
        self.vms().watch_vms(watch).await.map(tonic::Response::into_inner)
    }
}

fn reason(refused: &Status) -> String {
    refused.get_details_error_info().map(|info| info.reason).unwrap_or_default()
}

/// The watches and streams that a project has open.
fn open(project: &v1::Project) -> (u64, u64) {
    project.used.as_ref().map_or((0, 0), |used| (used.watches, used.streams))
}

async fn until_open(stage: &Stage, project: &str, wanted: (u64, u64)) {
    let look = async {
        while open(&stage.project(ROOT, project).await) != wanted {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    if timeout(PATIENCE, look).await.is_err() {
        panic!("{wanted:?}: {:?}", stage.project(ROOT, project).await);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_project_has_as_many_watches_as_its_quota_says_and_another_has_its_own() {
    let limits = LimitsConfig { project_watches: 2, ..LimitsConfig::default() };
    let stage = stage_with(limits).await;
    stage.quota("shop", v1::ProjectResources { watches: 3, ..Default::default() }).await;
    let shop = stage.token("shop", "ann", v1::Role::Developer).await;
    let second = stage.token("shop", "bob", v1::Role::Viewer).await;
    let lab = stage.token("lab", "eve", v1::Role::Developer).await;
    stage.vm(&shop, "web").await;
    let mut held = Vec::new();
    for token in [&shop, &second] {
        held.push(stage.watch(token).await.expect("within its quota"));
    }
    // One that waits is one of them.
    let wait = v1::WaitVmRequest { vm: "web".to_owned(), ..Default::default() };
    let (mut vms, request) = (stage.vms(), by(&shop, wait));
    let waiting = tokio::spawn(async move { vms.wait_vm(request).await });
    until_open(&stage, "shop", (3, 0)).await;
    for token in [&shop, &second] {
        let refused = stage.watch(token).await.expect_err("its project has all it may have");
        assert_eq!(
            (refused.code(), &*reason(&refused)),
            (Code::ResourceExhausted, "QUOTA_EXCEEDED")
        );
        assert!(refused.message().contains("3 of 3 watches of project shop"), "{refused:?}");
    }
    let shown = stage.project(&shop, "").await;
    assert_eq!((&*shown.name, &*shown.created_by), ("shop", ""), "who made it is the fleet's");
    assert_eq!(shown.quota.expect("one").watches, 3);
    assert!(shown.used.expect("shown").calls_per_second < 200);
    // What the server is set to is for whoever has no number of their own.
    let own: Vec<_> = [stage.watch(&lab).await, stage.watch(&lab).await].into();
    assert!(own.iter().all(Result::is_ok));
    assert!(stage.watch(&lab).await.is_err());
    for _ in 0..8 {
        drop(stage.watch(ROOT).await.expect("the fleet's"));
    }
    // What ends is given back, and so is what is given up.
    waiting.abort();
    drop(held.pop());
    until_open(&stage, "shop", (1, 0)).await;
    held.push(stage.watch(&second).await.expect("one was given back"));
    stage.server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_of_guests_and_uploads_are_counted_together() {
    let stage = stage().await;
    stage.quota("shop", v1::ProjectResources { streams: 1, ..Default::default() }).await;
    let shop = stage.token("shop", "ann", v1::Role::Developer).await;
    stage.vm(&shop, "web").await;
    let (sender, parts) = tokio::sync::mpsc::channel(1);
    let parts = tokio_stream::wrappers::ReceiverStream::new(parts);
    let mut images = ImageServiceClient::new(stage.channel.clone());
    let upload = by(&shop, parts);
    let uploading = tokio::spawn(async move { images.upload_blob(upload).await });
    until_open(&stage, "shop", (0, 1)).await;
    let console = v1::ReadConsoleRequest { vm: "web".to_owned(), ..Default::default() };
    let refused = stage.vms().read_console(by(&shop, console)).await.expect_err("one is open");
    assert_eq!(reason(&refused), "QUOTA_EXCEEDED");
    sender.send(v1::UploadBlobRequest { data: vec![1], ..Default::default() }).await.expect("sent");
    drop(sender);
    uploading.await.expect("no panic").expect("kept");
    until_open(&stage, "shop", (0, 0)).await;
    stage.server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn uploads_and_images_of_a_project_take_no_more_than_its_quota_before_they_are_sent() {
    let stage = stage().await;
    stage.quota("shop", v1::ProjectResources { image_mib: 2, ..Default::default() }).await;
    let shop = stage.token("shop", "ann", v1::Role::Developer).await;
    let lab = stage.token("lab", "eve", v1::Role::Developer).await;
    let mut images = ImageServiceClient::new(stage.channel.clone());
    let part = |mib: u64, byte: u8| v1::UploadBlobRequest {
        size_bytes: mib << 20,
        data: vec![byte; 1000],
        ..Default::default()
    };
    // What it says that it will have counts before it has it.
    let (sender, parts) = tokio::sync::mpsc::channel(1);
    sender.send(part(2, 1)).await.expect("sent");
    let mut uploads = images.clone();
    let upload = by(&shop, tokio_stream::wrappers::ReceiverStream::new(parts));
    let uploading = tokio::spawn(async move { uploads.upload_blob(upload).await });
    let reserved = async {
        while stage.project(ROOT, "shop").await.used.map(|used| used.image_mib) != Some(2) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(PATIENCE, reserved).await.expect("it is reserved");
    let refused = images.upload_blob(by(&shop, tokio_stream::iter([part(1, 2)]))).await;
    let refused = refused.expect_err("the other has it all");
    assert_eq!((refused.code(), &*reason(&refused)), (Code::ResourceExhausted, "QUOTA_EXCEEDED"));
    assert!(refused.message().contains("2 MiB of images and uploads, 2 of them"), "{refused:?}");
    images.upload_blob(by(&lab, tokio_stream::iter([part(1, 3)]))).await.expect("another's");
    // It sends less than it has said, and what is kept is what it has sent.
    drop(sender);
    uploading.await.expect("no panic").expect("kept");
    assert_eq!(stage.project(&shop, "shop").await.used.expect("shown").image_mib, 1);
    images.upload_blob(by(&shop, tokio_stream::iter([part(1, 4)]))).await.expect("room");
    // An import that could not be named begins no transfer.
    let import = v1::ImportImageRequest {
        name: "large".to_owned(),
        registry_reference: "registry.invalid/large:1".to_owned(),
        root_size_mib: 3,
        ..Default::default()
    };
    let refused = images.import_image(by(&shop, import)).await.expect_err("it would not fit");
    assert_eq!(reason(&refused), "QUOTA_EXCEEDED", "{refused:?}");
    stage.server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_of_one_project_have_a_share_and_push_out_their_own() {
    let limits = LimitsConfig {
        max_connections: 16,
        max_connections_per_address: 16,
        ..LimitsConfig::default()
    };
    let stage = stage_with(limits).await;
    let shop = stage.token("shop", "ann", v1::Role::Developer).await;
    let lab = stage.token("lab", "eve", v1::Role::Developer).await;
    let watch = async |token: &str| {
        let mut vms = VmServiceClient::new(channel(&stage.server).await);
        let watch = by(token, v1::WatchVmsRequest::default());
        let stream = vms.watch_vms(watch).await.expect("it gets in").into_inner();
        (vms, stream)
    };
    let (_client, mut others) = watch(&lab).await;
    let mut own = Vec::new();
    for _ in 0..24 {
        own.push(watch(&shop).await);
    }
    // A quarter of all may be its own.
    let mut alive = 0;
    for (_, stream) in &mut own {
        let over = async {
            while stream.message().await?.is_some() {}
            Ok::<_, Status>(())
        };
        match timeout(Duration::from_millis(300), over).await {
            Ok(ended) => assert!(ended.is_err(), "it broke off"),
            Err(_) => alive += 1,
        }
    }
    assert_eq!(alive, 4);
    // And the other's goes on, on the connection that it had.
    stage.vm(&lab, "web").await;
    until_event(&mut others, |event| event.vm.as_ref().is_some_and(|vm| vm.name == "web")).await;
    stage.server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_hundred_creates_at_the_last_of_a_quota_one_is_made() {
    let stage = stage().await;
    let shop = stage.token("shop", "ann", v1::Role::Developer).await;
    stage.vm(&shop, "first").await;
    stage.quota("shop", v1::ProjectResources { vms: 2, ..Default::default() }).await;
    let creates = (0..200).map(|number| {
        let (mut vms, request) = (stage.vms(), by(&shop, create(&format!("vm-{number}"))));
        async move { vms.create_vm(request).await }
    });
    let answers = futures_util::future::join_all(creates).await;
    let made = answers.iter().filter(|answer| answer.is_ok()).count();
    assert_eq!(made, 1);
    for refused in answers.into_iter().filter_map(Result::err) {
        assert_eq!(
            (refused.code(), &*reason(&refused)),
            (Code::ResourceExhausted, "QUOTA_EXCEEDED")
        );
    }
    let shown = stage.project(&shop, "shop").await;
    assert_eq!(shown.used.expect("shown").vms, 2);
    stage.server.shutdown().await;
}

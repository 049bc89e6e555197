//! Uploads over the real API, and images on their way to an agent over the real protocol.

use banger_proto::v1::image_service_client::ImageServiceClient;
use tonic_types::StatusExt as _;

use super::agent::PutFate;
use super::*;
use crate::model::fixtures::caller;
use crate::model::image::{StoredKind, host_file};
use crate::model::ledger::{AnyMutation, PutImage};
use crate::testing::image;

/// Has the server keep an image of this content. Answers its digest.
pub(super) async fn keep(
    server: &RunningServer,
    directory: &tempfile::TempDir,
    name: &str,
    kind: StoredKind,
    content: &[u8],
) -> String {
    let (record, digest) = image(name, kind, content);
    let put = AnyMutation::PutImage(PutImage { image: record, replace: true, public: None });
    // Named first, so that it is not taken for one that nothing refers to.
    server.store().submit(caller(), put).await.expect("stored");
    let path = directory.path().join("state/images/sha256").join(&digest);
    std::fs::write(path, content).expect("written");
    digest
}

pub(super) fn using(name: &str, root: &str) -> v1::CreateVmRequest {
    let mut request = create(name);
    let image = v1::ImageRef { name: root.to_owned(), sha256: String::new() };
    request.spec.as_mut().expect("given").root_image = Some(image);
    request
}

/// Waits until a VM is as asked; answers what was seen of it until then, as state and reason.
async fn until(
    server: &RunningServer,
    name: &str,
    check: impl Fn(&v1::Vm) -> bool,
) -> Vec<(String, String, String)> {
    let mut vms = VmServiceClient::new(channel(server).await);
    let mut stream = watched(&mut vms, v1::WatchVmsRequest::default()).await;
    let events = until_event(&mut stream, |event| {
        event.vm.as_ref().is_some_and(|vm| vm.name == name && check(vm))
    })
    .await;
    let of = |event: v1::VmEvent| {
        let vm = event.vm.filter(|vm| vm.name == name)?;
        let status = vm.status?;
        Some((status.state().as_str_name().to_owned(), status.reason, status.message))
    };
    events.into_iter().filter_map(of).collect()
}

fn runs(vm: &v1::Vm) -> bool {
    vm.status.as_ref().is_some_and(|status| status.state() == v1::VmState::Running)
}

/// More than one message and not a whole number of them.
fn content() -> Vec<u8> {
    (0..700_001_u32).map(|at| (at % 251) as u8).collect()
}

#[tokio::test]
async fn an_image_is_brought_before_its_vm_is_told_and_only_once_for_all_of_them() {
    let directory = tempfile::tempdir().expect("a directory");
    let server = started(&directory).await;
    let channel = channel(&server).await;
    let host = join(channel.clone(), "b0").await;
    until_online(&server).await;
    let digest = keep(&server, &directory, "alpine", StoredKind::Root, &content()).await;
    let mut vms = VmServiceClient::new(channel.clone());
    for name in ["web", "db"] {
        vms.create_vm(using(name, "alpine")).await.expect("created");
    }
    until(&server, "web", runs).await;
    until(&server, "db", runs).await;
    assert_eq!(host.agent.images(), (vec![host_file(&digest)], 1));
    let get = v1::GetImageRequest { name: "alpine".to_owned() };
    let shown = ImageServiceClient::new(channel).get_image(get).await.expect("there").into_inner();
    assert_eq!(shown.vm_count, 2);
    assert_eq!((&*shown.hosts[0].host_name, shown.hosts[0].bytes_present), ("b0", 700_001));
    server.shutdown().await;
}

#[tokio::test]
async fn a_transfer_that_breaks_off_or_finds_no_room_is_tried_again_and_shown_meanwhile() {
    let directory = tempfile::tempdir().expect("a directory");
    let server = started(&directory).await;
    let channel = channel(&server).await;
    let host = join(channel.clone(), "b0").await;
    until_online(&server).await;
    host.agent.expect_puts([PutFate::CutAfter(300_000), PutFate::DiskFull, PutFate::CutAfter(0)]);
    let digest = keep(&server, &directory, "alpine", StoredKind::Root, &content()).await;
    let mut vms = VmServiceClient::new(channel);
    let mut stream = watched(&mut vms, v1::WatchVmsRequest::default()).await;
    vms.create_vm(using("web", "alpine")).await.expect("created");
    let events = until_event(&mut stream, |event| event.vm.as_ref().is_some_and(runs)).await;
    let status = |event: &v1::VmEvent| event.vm.clone().and_then(|vm| vm.status);
    let waited: Vec<v1::VmStatus> = events
        .iter()
        .filter_map(status)
        .filter(|status| status.reason == "IMAGE_TRANSFER")
        .collect();
    assert!(waited.iter().all(|status| status.state() == v1::VmState::Preparing), "{waited:#?}");
    let said = |text: &str| waited.iter().any(|status| status.message.contains(text));
    assert!(said("image alpine waits to be brought to host b0"), "{waited:#?}");
    assert!(said("could not be brought to host b0") && said("the disk is full"), "{waited:#?}");
    assert_eq!(host.agent.images(), (vec![host_file(&digest)], 4));
    server.shutdown().await;
}

#[tokio::test]
async fn a_host_that_takes_an_image_slowly_holds_up_none_of_its_other_vms() {
    let directory = tempfile::tempdir().expect("a directory");
    let server = started(&directory).await;
    let channel = channel(&server).await;
    let host = join(channel.clone(), "b0").await;
    until_online(&server).await;
    host.agent.expect_puts([PutFate::Hang]);
    keep(&server, &directory, "alpine", StoredKind::Root, &content()).await;
    let mut vms = VmServiceClient::new(channel);
    vms.create_vm(using("web", "alpine")).await.expect("created");
    let waits =
        |vm: &v1::Vm| vm.status.as_ref().is_some_and(|status| status.reason == "IMAGE_TRANSFER");
    until(&server, "web", waits).await;
    vms.create_vm(create("db")).await.expect("created");
    until(&server, "db", runs).await;
    // It needs no image to go.
    let gone = v1::DeleteVmRequest { vm: "web".to_owned(), ..Default::default() };
    vms.delete_vm(gone).await.expect("deleted");
    let wait = v1::WaitVmRequest {
        vm: "web".to_owned(),
        state: v1::VmState::Deleted.into(),
        ..Default::default()
    };
    match vms.wait_vm(wait).await {
        Ok(answer) => assert_eq!(answer.into_inner().outcome(), v1::WaitOutcome::Reached),
        Err(status) => assert_eq!(status.code(), Code::NotFound, "{status:?}"),
    }
    server.shutdown().await;
}

#[tokio::test]
async fn a_restart_of_the_server_in_the_middle_of_a_transfer_brings_the_image_all_the_same() {
    let directory = tempfile::tempdir().expect("a directory");
    let server = started(&directory).await;
    let channel = channel(&server).await;
    let host = join(channel.clone(), "b0").await;
    until_online(&server).await;
    host.agent.expect_puts([PutFate::Hang]);
    let digest = keep(&server, &directory, "alpine", StoredKind::Root, &content()).await;
    let mut vms = VmServiceClient::new(channel);
    vms.create_vm(using("web", "alpine")).await.expect("created");
    let waits =
        |vm: &v1::Vm| vm.status.as_ref().is_some_and(|status| status.reason == "IMAGE_TRANSFER");
    until(&server, "web", waits).await;
    // In the middle, and not before it.
    wait_for("the host is brought it", || host.agent.images().1 == 1).await;
    drop(vms);
    server.shutdown().await;
    let server = started(&directory).await;
    until(&server, "web", runs).await;
    assert_eq!(host.agent.images().0, [host_file(&digest)]);
    server.shutdown().await;
}

#[tokio::test]
async fn an_image_that_nothing_needs_any_more_is_taken_from_its_host_once_that_lets_it_go() {
    let directory = tempfile::tempdir().expect("a directory");
    let server = started(&directory).await;
    let channel = channel(&server).await;
    let host = join(channel.clone(), "b0").await;
    until_online(&server).await;
    let digest = keep(&server, &directory, "alpine", StoredKind::Root, &content()).await;
    let mut vms = VmServiceClient::new(channel.clone());
    vms.create_vm(using("web", "alpine")).await.expect("created");
    until(&server, "web", runs).await;
    let mut images = ImageServiceClient::new(channel);
    let rm = |name: &str| v1::DeleteImageRequest {
        name: name.to_owned(),
        allow_missing: false,
        ..Default::default()
    };
    let used = images.delete_image(rm("alpine")).await.expect_err("in use");
    assert_eq!(used.get_details_error_info().expect("given").reason, "IMAGE_IN_USE");
    host.agent.use_images(true);
    let gone = v1::DeleteVmRequest { vm: "web".to_owned(), ..Default::default() };
    vms.delete_vm(gone).await.expect("deleted");
    images.delete_image(rm("alpine")).await.expect("unused");
    let path = directory.path().join("state/images/sha256").join(&digest);
    let here = || path.exists();
    // The server's own goes although the host holds on to its.
    wait_for("the content is gone", || !here()).await;
    assert_eq!(host.agent.images().0, [host_file(&digest)]);
    host.agent.use_images(false);
    // Deleting any image makes the server look again.
    keep(&server, &directory, "other", StoredKind::Root, b"other").await;
    images.delete_image(rm("other")).await.expect("unused");
    wait_for("the host's is gone", || host.agent.images().0.is_empty()).await;
    server.shutdown().await;
}

async fn wait_for(what: &str, holds: impl Fn() -> bool) {
    let poll = async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    assert!(timeout(PATIENCE, poll).await.is_ok(), "{what}: never");
}

// === uploads ===

fn part(data: Vec<u8>) -> v1::UploadBlobRequest {
    v1::UploadBlobRequest { file_name: "disk.img".to_owned(), data, ..Default::default() }
}

#[tokio::test]
async fn an_upload_answers_its_digest_and_one_cut_off_leaves_nothing() {
    let directory = tempfile::tempdir().expect("a directory");
    let mut small = config(&directory);
    small.images.max_upload_bytes = 2 << 20;
    let server = Server::start(small).await.expect("it starts");
    let mut images = ImageServiceClient::new(channel(&server).await);
    let parts: Vec<_> = content().chunks(100_000).map(|chunk| part(chunk.to_vec())).collect();
    let answer = images.upload_blob(tokio_stream::iter(parts)).await.expect("kept").into_inner();
    assert_eq!(
        (answer.size_bytes, answer.sha256),
        (700_001, image("x", StoredKind::Root, &content()).1)
    );

    let incoming = directory.path().join("state/images/incoming");
    let left = || std::fs::read_dir(&incoming).expect("readable").count();
    let (send, parts) = tokio::sync::mpsc::channel(1);
    let upload = {
        let mut images = images.clone();
        let parts = tokio_stream::wrappers::ReceiverStream::new(parts);
        tokio::spawn(async move { images.upload_blob(parts).await })
    };
    send.send(part(vec![1; 1000])).await.expect("taken");
    wait_for("the upload has begun", || left() == 1).await;
    upload.abort();
    wait_for("nothing is left", || left() == 0).await;

    // One that says how large it will be is refused before any of it was sent.
    let (send, parts) = tokio::sync::mpsc::channel(1);
    let announced = v1::UploadBlobRequest { size_bytes: (2 << 20) + 1, ..part(Vec::new()) };
    send.send(announced).await.expect("taken");
    let parts = tokio_stream::wrappers::ReceiverStream::new(parts);
    let refused = timeout(PATIENCE, images.upload_blob(parts)).await.expect("at once");
    let refused = refused.expect_err("too large");
    assert_eq!(refused.code(), Code::ResourceExhausted, "{refused}");
    drop(send);

    let large: Vec<_> = (0..3).map(|_| part(vec![0; 1 << 20])).collect();
    let refused = images.upload_blob(tokio_stream::iter(large)).await.expect_err("too large");
    let reason = refused.get_details_error_info().expect("given").reason;
    assert_eq!((refused.code(), &*reason), (Code::ResourceExhausted, "LIMIT_REACHED"));
    wait_for("nothing is left", || left() == 0).await;
    server.shutdown().await;
}

#[tokio::test]
async fn a_full_disk_refuses_an_upload_by_its_reason_and_keeps_nothing_of_it() {
    let directory = tempfile::tempdir().expect("a directory");
    let mut full = config(&directory);
    full.images.reserve_mib = u64::MAX / (1 << 30);
    let server = Server::start(full).await.expect("it starts");
    let mut images = ImageServiceClient::new(channel(&server).await);
    let parts = tokio_stream::iter([part(vec![1; 1000])]);
    let refused = images.upload_blob(parts).await.expect_err("no room");
    let reason = refused.get_details_error_info().expect("given").reason;
    assert_eq!((refused.code(), &*reason), (Code::ResourceExhausted, "IMAGE_STORE_FULL"));
    for dir in ["incoming", "blobs"] {
        let dir = directory.path().join("state/images").join(dir);
        assert_eq!(std::fs::read_dir(dir).expect("readable").count(), 0);
    }
    server.shutdown().await;
}

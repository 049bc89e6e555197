//! An image's whole way: uploaded, imported, brought to a host, used, and gone.

use banger_integration_tests::fleet::{Fleet, HostOptions, status};
use banger_integration_tests::specs::{create, image};
use banger_integration_tests::wait::until;
use banger_proto::v1;
use banger_proto::v1::image_service_client::ImageServiceClient;
use tonic::transport::Channel;
use tonic_types::StatusExt as _;

/// The smallest thing that is an uncompressed x86-64 kernel to whoever looks at its headers: an ELF
/// file with one segment (elf(5)).
fn kernel(mark: u8) -> Vec<u8> {
    let mut file = vec![0; 4096];
    file[..8].copy_from_slice(b"\x7fELF\x02\x01\x01\x00");
    let fields: [(usize, &[u8]); 12] = [
        (16, &[2, 0]),
        (18, &[62, 0]),
        (20, &[1, 0, 0, 0]),
        (24, &0x100_0000_u64.to_le_bytes()),
        (32, &64_u64.to_le_bytes()),
        (52, &[64, 0, 56, 0, 1, 0]),
        (64, &[1, 0, 0, 0, 5, 0, 0, 0]),
        (80, &0x100_0000_u64.to_le_bytes()),
        (88, &0x100_0000_u64.to_le_bytes()),
        (96, &4096_u64.to_le_bytes()),
        (104, &4096_u64.to_le_bytes()),
        (112, &4096_u64.to_le_bytes()),
    ];
    for (at, bytes) in fields {
        file[at..at + bytes.len()].copy_from_slice(bytes);
    }
    file[4000] = mark;
    file
}

fn images(fleet: &Fleet) -> ImageServiceClient<Channel> {
    ImageServiceClient::new(fleet.channel())
}

async fn import(fleet: &Fleet, name: &str, content: Vec<u8>, replace: bool) -> v1::Image {
    let part = |data: &[u8]| v1::UploadBlobRequest {
        file_name: format!("{name}.bin"),
        data: data.to_vec(),
        size_bytes: 0,
    };
    let parts: Vec<_> = content.chunks(1000).map(part).collect();
    let blob = images(fleet).upload_blob(tokio_stream::iter(parts)).await.expect("uploaded");
    let request = v1::ImportImageRequest {
        name: name.to_owned(),
        blob_sha256: blob.into_inner().sha256,
        replace,
        ..Default::default()
    };
    images(fleet).import_image(request).await.expect("imported").into_inner()
}

async fn files_of(fleet: &Fleet, host: &str) -> Vec<String> {
    let request = v1::GetHostRequest { host: host.to_owned() };
    let host = fleet.hosts().get_host(request).await.expect("there").into_inner();
    host.status.expect("given").images.into_iter().map(|image| image.name).collect()
}

async fn until_files(fleet: &Fleet, host: &str, what: &str, are: impl Fn(&[String]) -> bool) {
    until(what, || async {
        let files = files_of(fleet, host).await;
        if are(&files) { Ok(()) } else { Err(format!("{files:?}")) }
    })
    .await;
}

#[tokio::test]
async fn converge_an_image_is_imported_brought_used_and_gone_without_a_trace() {
    let mut fleet = Fleet::without_hosts().await;
    let config = "[limits]\nheartbeat_secs = 1\n".to_owned();
    fleet.add_host_with("host-0", HostOptions { config, ..HostOptions::default() }).await;
    let first = import(&fleet, "k", kernel(1), false).await;
    assert_eq!((first.kind(), &*first.origin), (v1::ImageKind::Kernel, "upload k.bin"));

    let mut request = create("web");
    request.spec.as_mut().expect("given").kernel = image("k");
    let made = fleet.create(request.clone()).await;
    let digest = |vm: &v1::Vm| {
        let spec = vm.spec.clone().expect("given");
        (spec.kernel.expect("given").sha256, spec.root_image.expect("given").sha256)
    };
    // The root file system is the host's own and stays so.
    assert_eq!(digest(&made), (first.sha256.clone(), String::new()));
    let running = fleet.until_state("web", v1::VmState::Running).await;
    assert_eq!(digest(&running), (first.sha256.clone(), String::new()));
    let file = format!("sha256-{}", first.sha256);
    until_files(&fleet, "host-0", "the host lists it", |files| files.contains(&file)).await;
    let get = v1::GetImageRequest { name: "k".to_owned() };
    let shown = images(&fleet).get_image(get).await.expect("there").into_inner();
    assert_eq!((shown.vm_count, shown.hosts.len()), (1, 1));
    assert_eq!(shown.hosts[0].bytes_present, shown.size_bytes);

    // The name goes to other content: web keeps what it has, over a restart of everything too.
    let second = import(&fleet, "k", kernel(2), true).await;
    assert_ne!(second.sha256, first.sha256);
    fleet.stop_server();
    fleet.start_server().await;
    let reboot = v1::RebootVmRequest { vm: "web".to_owned(), ..Default::default() };
    let reboot = fleet.vms().reboot_vm(reboot).await.expect("ok").into_inner();
    let again = fleet
        .until_vm("web", "rebooted", |vm| {
            let status = status(vm);
            status.state() == v1::VmState::Running
                && status.observed_generation == reboot.generation
        })
        .await;
    assert_eq!(digest(&again).0, first.sha256);
    request.name = "db".to_owned();
    let other = fleet.create(request).await;
    assert_eq!(digest(&other).0, second.sha256);
    fleet.until_state("db", v1::VmState::Running).await;

    let rm = || v1::DeleteImageRequest {
        name: "k".to_owned(),
        allow_missing: false,
        ..Default::default()
    };
    let used = images(&fleet).delete_image(rm()).await.expect_err("db uses it");
    assert_eq!(used.get_details_error_info().expect("given").reason, "IMAGE_IN_USE");
    assert!(used.message().contains("db"), "{}", used.message());
    for name in ["web", "db"] {
        let delete = v1::DeleteVmRequest { vm: name.to_owned(), ..Default::default() };
        fleet.vms().delete_vm(delete).await.expect("ok");
        fleet.until_gone(name).await;
    }
    images(&fleet).delete_image(rm()).await.expect("unused");
    until_files(&fleet, "host-0", "the host has neither content any more", |files| {
        files.iter().all(|file| !file.starts_with("sha256-")) && files.len() == 2
    })
    .await;
    let kept = fleet.dir().join("server/images/sha256");
    assert_eq!(std::fs::read_dir(kept).expect("readable").count(), 0);
}

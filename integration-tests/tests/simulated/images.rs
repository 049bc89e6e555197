//! An image's whole way: uploaded, imported, brought to a host, used, and gone.

use std::path::Path;

use banger_integration_tests::fleet::{Fleet, HostOptions, status};
use banger_integration_tests::ports::free_addresses;
use banger_integration_tests::programs::{Running, ours};
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
        ..Default::default()
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

/// The first line of the next request to a proxy that refuses it.
async fn asked(proxy: &tokio::net::TcpListener) -> String {
    use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
    let (stream, _) = proxy.accept().await.expect("it is asked");
    let mut stream = BufReader::new(stream);
    let mut line = String::new();
    stream.read_line(&mut line).await.expect("a request");
    let no = b"HTTP/1.1 403 No\r\nContent-Length: 0\r\n\r\n";
    stream.get_mut().write_all(no).await.expect("it is read");
    line.trim_end().to_owned()
}

#[tokio::test]
async fn converge_a_registry_is_asked_by_way_of_the_proxy_of_the_environment_but_for_its_exceptions()
 {
    let proxy = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
    let [api, metrics] = free_addresses();
    let dir = tempfile::tempdir().expect("a directory");
    let at = |name: &str| dir.path().join(name).display().to_string();
    std::fs::write(at("server.toml"), "").expect("written");
    // env(1) becomes the server.
    let arguments = [
        format!("HTTPS_PROXY=http://{}", proxy.local_addr().expect("it has one")),
        "NO_PROXY=direct.invalid".to_owned(),
        ours("banger-server").display().to_string(),
        format!("--config={}", at("server.toml")),
        format!("--state-dir={}", at("server")),
        format!("--listen={api}"),
        format!("--metrics-listen={metrics}"),
    ];
    let log = dir.path().join("server.log");
    let _server = Running::start(Path::new("/usr/bin/env"), &arguments, log);
    until("the server listens", || async { tokio::net::TcpStream::connect(api).await }).await;
    let channel = tonic::transport::Endpoint::from_shared(format!("http://{api}"));
    let channel = channel.expect("an address makes a URL").connect_lazy();
    let import = async |reference: &str| {
        let request = v1::ImportImageRequest {
            name: "app".to_owned(),
            registry_reference: reference.to_owned(),
            ..Default::default()
        };
        ImageServiceClient::new(channel.clone()).import_image(request).await.expect_err("refused")
    };
    let asking = import("registry.invalid/app:1");
    tokio::pin!(asking);
    // As often as the server tries.
    let mut lines = Vec::new();
    let error = loop {
        tokio::select! {
            line = asked(&proxy) => lines.push(line),
            error = &mut asking => break error,
        }
    };
    let all = lines.iter().all(|line| line == "CONNECT registry.invalid:443 HTTP/1.1");
    assert!(all && !lines.is_empty(), "{lines:?}: {error:?}");
    // Whoever is excepted is asked without it, and here not found.
    let error = tokio::select! {
        line = asked(&proxy) => panic!("the proxy was asked: {line}"),
        error = import("direct.invalid/app:1") => error,
    };
    assert_eq!(error.code(), tonic::Code::Unavailable, "{error:?}");
}

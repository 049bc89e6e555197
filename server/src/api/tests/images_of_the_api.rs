//! ImageApi through the service: what is asked, what is answered, what is refused.

use banger_proto::v1::image_service_server::ImageService as _;

use super::*;
use crate::api::images::ImageApi as Service;

impl Fixture {
    fn images(&self) -> Service {
        Service::new(self.api.clone())
    }

    async fn upload(&self, content: &[u8]) -> String {
        let mut upload =
            self.api.images.begin_upload("alice", Default::default()).await.expect("begun");
        upload.append(bytes::Bytes::copy_from_slice(content)).await.expect("appended");
        upload.finish("file".to_owned()).await.expect("kept").0
    }

    async fn import(&self, request: v1::ImportImageRequest) -> Result<v1::Image, Status> {
        self.images().import_image(asked(request)).await.map(Response::into_inner)
    }

    async fn imported(&self, name: &str, content: &[u8]) -> v1::Image {
        let blob_sha256 = self.upload(content).await;
        let name = name.to_owned();
        let request = v1::ImportImageRequest { name, blob_sha256, ..Default::default() };
        self.import(request).await.expect("imported")
    }

    async fn rm(&self, name: &str, allow_missing: bool) -> Result<v1::Image, Status> {
        let request =
            v1::DeleteImageRequest { name: name.to_owned(), allow_missing, ..Default::default() };
        self.images().delete_image(asked(request)).await.map(Response::into_inner)
    }
}

fn naming(kernel: &str, root: &str) -> v1::CreateVmRequest {
    v1::CreateVmRequest {
        name: "web".to_owned(),
        spec: Some(v1::VmSpec {
            kernel: image(kernel),
            root_image: image(root),
            ..spec().expect("given")
        }),
        ..Default::default()
    }
}

#[tokio::test]
async fn an_image_is_imported_shown_used_and_deleted() {
    let fixture = fixture().await;
    let kernel = fixture.imported("k", b"\x7fELF").await;
    let root = fixture.imported("r", b"root").await;
    assert_eq!((kernel.kind(), root.kind()), (v1::ImageKind::Kernel, v1::ImageKind::Root));
    assert_eq!(root.origin, "upload file");
    let made = fixture.vms.create_vm(asked(naming("k", "r"))).await.expect("created");
    let spec = made.into_inner().spec.expect("given");
    assert_eq!(spec.root_image.expect("given").sha256, root.sha256);
    assert_eq!(spec.kernel.expect("given").sha256, kernel.sha256);
    let request = asked(v1::GetImageRequest { name: "r".to_owned() });
    let shown = fixture.images().get_image(request).await.expect("there").into_inner();
    assert_eq!((shown.vm_count, shown.hosts.len()), (1, 0));

    let used = fixture.rm("r", false).await.expect_err("in use");
    assert_eq!((used.code(), &*reason(&used)), (Code::FailedPrecondition, "IMAGE_IN_USE"));
    assert!(used.message().contains("web"), "{}", used.message());
    let gone = v1::DeleteVmRequest { vm: "web".to_owned(), ..Default::default() };
    fixture.vms.delete_vm(asked(gone)).await.expect("deleted");
    fixture.rm("r", false).await.expect("unused");
    let missing = fixture.rm("r", false).await.expect_err("gone");
    assert_eq!((missing.code(), &*reason(&missing)), (Code::NotFound, "IMAGE_NOT_FOUND"));
    fixture.rm("r", true).await.expect("allowed");
}

#[tokio::test]
async fn an_import_that_names_no_image_or_not_one_source_is_refused_with_every_field() {
    let fixture = fixture().await;
    let blob = fixture.upload(b"root").await;
    for name in ["", "../x", "a/b", ".x", "-x", "a\0", "é", &"x".repeat(129), "sha256-x"] {
        let request = v1::ImportImageRequest {
            name: name.to_owned(),
            blob_sha256: blob.clone(),
            ..Default::default()
        };
        let refused = fixture.import(request).await.expect_err("no name");
        assert_eq!(fields(&refused), ["name"], "{name:?}");
    }
    let none = v1::ImportImageRequest { name: "/".to_owned(), kind: 9, ..Default::default() };
    let refused = fixture.import(none).await.expect_err("nothing is right");
    assert_eq!(fields(&refused), ["name", "kind", "source"]);
    let two = v1::ImportImageRequest {
        name: "x".to_owned(),
        blob_sha256: blob,
        registry_reference: "registry.example/x".to_owned(),
        ..Default::default()
    };
    assert_eq!(fields(&fixture.import(two).await.expect_err("two sources")), ["source"]);
    for (field, text) in [("blob_sha256", "../x"), ("registry_reference", "-oUser/../x")] {
        let mut request = v1::ImportImageRequest { name: "x".to_owned(), ..Default::default() };
        match field {
            "blob_sha256" => request.blob_sha256 = text.to_owned(),
            _ => request.registry_reference = text.to_owned(),
        }
        assert_eq!(fields(&fixture.import(request).await.expect_err("hostile")), [field]);
    }
    for platform in ["amd64", "windows/amd64", "linux/am\u{202e}d64", "linux/a/b/c"] {
        let request = v1::ImportImageRequest {
            name: "x".to_owned(),
            registry_reference: "registry.example/x".to_owned(),
            platform: platform.to_owned(),
            ..Default::default()
        };
        assert_eq!(fields(&fixture.import(request).await.expect_err("none")), ["platform"]);
    }
    for source in ["/etc/passwd", "../x", "imports/../../etc/passwd", "a\0b"] {
        let request = v1::ImportImageRequest {
            name: "x".to_owned(),
            source: source.to_owned(),
            ..Default::default()
        };
        assert_eq!(fields(&fixture.import(request).await.expect_err("outside")), ["source"]);
    }
}

#[tokio::test]
async fn an_import_is_of_the_platform_that_is_asked_for_and_else_of_the_servers() {
    let fixture = fixture().await;
    let blob = fixture.upload(b"root").await;
    let of = |name: &str, platform: &str| v1::ImportImageRequest {
        name: name.to_owned(),
        blob_sha256: blob.clone(),
        platform: platform.to_owned(),
        ..Default::default()
    };
    let other = fixture.import(of("x", "linux/s390x")).await.expect("imported");
    assert!(other.notes.iter().any(|note| note.starts_with("it is for linux/s390x")), "{other:?}");
    let own = fixture.import(of("y", "")).await.expect("imported");
    assert!(!own.notes.iter().any(|note| note.starts_with("it is for")), "{own:?}");
}

#[tokio::test]
async fn every_failure_of_an_import_has_its_reason() {
    let fixture = fixture().await;
    let of = |blob_sha256: String, reference: &str| v1::ImportImageRequest {
        name: "x".to_owned(),
        blob_sha256,
        registry_reference: reference.to_owned(),
        ..Default::default()
    };
    let bad = fixture.upload(b"BAD").await;
    let refused = fixture.import(of(bad, "")).await.expect_err("refused");
    let refusal = (refused.code(), reason(&refused));
    assert_eq!(refusal, (Code::InvalidArgument, "IMAGE_NOT_ACCEPTED".to_owned()));
    let refused = fixture.import(of("0".repeat(64), "")).await.expect_err("no upload");
    assert_eq!((refused.code(), &*reason(&refused)), (Code::NotFound, "BLOB_NOT_FOUND"));
    let refused = fixture.import(of(String::new(), "registry.example/x")).await.expect_err("none");
    assert_eq!((refused.code(), &*reason(&refused)), (Code::NotFound, "IMAGE_SOURCE_NOT_FOUND"));
    fixture.imported("x", b"one").await;
    let other = fixture.upload(b"two").await;
    let refused = fixture.import(of(other, "")).await.expect_err("taken");
    assert_eq!((refused.code(), &*reason(&refused)), (Code::AlreadyExists, "IMAGE_NAME_TAKEN"));
}

#[tokio::test]
async fn a_list_of_images_pages_through_all_of_them_once() {
    let fixture = fixture().await;
    for number in 0..7 {
        fixture.imported(&format!("image-{number}"), format!("root {number}").as_bytes()).await;
    }
    let (mut names, mut page_token) = (Vec::new(), String::new());
    loop {
        let request = v1::ListImagesRequest { page_size: 3, page_token, ..Default::default() };
        let page = fixture.images().list_images(asked(request)).await.expect("listed");
        let page = page.into_inner();
        assert!(page.images.len() <= 3);
        names.extend(page.images.into_iter().map(|image| image.name));
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    names.sort();
    let all: Vec<String> = (0..7).map(|number| format!("image-{number}")).collect();
    assert_eq!(names, all);
    let page_token = "AAAA".to_owned();
    let foreign = v1::ListImagesRequest { page_size: 3, page_token, ..Default::default() };
    let refused = fixture.images().list_images(asked(foreign)).await.expect_err("foreign");
    assert_eq!(reason(&refused), "PAGE_TOKEN_INVALID");
}

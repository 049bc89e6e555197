use std::collections::BTreeSet;

use async_trait::async_trait;
use banger_proto::ids::{Epoch, VmId};
use tokio_util::sync::CancellationToken;
use tonic::Code;
use tonic_types::StatusExt as _;

use super::*;
use crate::assignment::Assignment;
use crate::guests::{GuestClient, NoGuest};
use crate::host::fakes::FakeKernel;
use crate::host::{Change, Host, HostError, HostErrorKind, HostResult, Receiving};
use crate::inventory::sweep::{Asker, Listed, Policy, Swept};
use crate::report::Reporter;
use crate::rpc::{Assigned, HostFacts, NotAssigned, VmConsole};

/// An agent API over a fake machine.
struct FakeApi {
    host: Host,
    reserve: u64,
    in_use: bool,
    draining: CancellationToken,
}

#[async_trait]
impl AgentApi for FakeApi {
    async fn assign(&self, _offered: Assignment) -> Result<Assigned, NotAssigned> {
        Err(NotAssigned::ShuttingDown)
    }

    async fn host_facts(&self) -> HostFacts {
        unreachable!("nobody asks")
    }

    async fn inventory(&self, _claimed: BTreeSet<VmId>) -> HostResult<(Vec<Listed>, Policy)> {
        unreachable!("nobody asks")
    }

    async fn sweep(&self, _asker: Asker, _dry_run: bool) -> HostResult<(Vec<Swept>, Policy)> {
        unreachable!("nobody asks")
    }

    async fn receive_image(&self, announced: Announced) -> HostResult<Option<Receiving>> {
        Receiving::begin(&*self.host.images, announced, self.reserve).await
    }

    async fn remove_image(&self, name: &ImageName) -> HostResult<Change> {
        if self.in_use {
            return Err(HostError::new(HostErrorKind::Busy, "remove image", name));
        }
        self.host.images.remove(name).await
    }

    fn reporter(&self) -> &Reporter {
        unreachable!("nobody asks")
    }

    async fn server_seen(&self, _name: &str, _epoch: Epoch) {}

    async fn console(&self, _vm: VmId, _past: u64) -> HostResult<Option<VmConsole>> {
        unreachable!("nobody asks")
    }

    async fn type_in(&self, _vm: VmId, _bytes: &[u8]) -> HostResult<()> {
        unreachable!("nobody asks")
    }

    fn guest(&self, _vm: VmId) -> Option<Result<GuestClient, NoGuest>> {
        unreachable!("nobody asks")
    }

    fn draining(&self) -> CancellationToken {
        self.draining.clone()
    }
}

fn api() -> FakeApi {
    let host = FakeKernel::new().host();
    FakeApi { host, reserve: 0, in_use: false, draining: CancellationToken::new() }
}

const CONTENT: &[u8] = b"\x7fELF kernel";
fn digest() -> String {
    use sha2::Digest as _;
    hex::encode(sha2::Sha256::digest(CONTENT))
}

fn first(name: &str, sha256: &str, size_bytes: u64) -> wire::PutImageRequest {
    let (name, sha256) = (name.to_owned(), sha256.to_owned());
    let image = wire::ImageFile { name, sha256, size_bytes, ..wire::ImageFile::default() };
    wire::PutImageRequest { image: Some(image), ..wire::PutImageRequest::default() }
}

fn good() -> wire::PutImageRequest {
    first(&format!("sha256-{}", digest()), &digest(), CONTENT.len() as u64)
}

fn part(data: &[u8]) -> wire::PutImageRequest {
    wire::PutImageRequest { data: data.to_vec(), ..wire::PutImageRequest::default() }
}

async fn send(
    api: &FakeApi,
    messages: impl IntoIterator<Item = Result<wire::PutImageRequest, Status>>,
) -> Result<bool, Status> {
    let messages: Vec<_> = messages.into_iter().collect();
    put(api, tokio_stream::iter(messages)).await.map(|answer| answer.present)
}

fn reason(status: &Status) -> String {
    status.get_details_error_info().map(|info| info.reason).unwrap_or_default()
}

async fn is_there(api: &FakeApi) -> bool {
    let name = ImageName::new(format!("sha256-{}", digest())).unwrap();
    api.host.images.observe(&name).await.unwrap().is_some()
}

#[tokio::test]
async fn an_image_is_taken_once_and_the_second_time_answered_at_once() {
    let api = api();
    let messages = [Ok(good()), Ok(part(&CONTENT[..4])), Ok(part(&[])), Ok(part(&CONTENT[4..]))];
    assert!(!send(&api, messages).await.unwrap());
    assert!(is_there(&api).await);
    // Nothing more of the stream is waited for.
    let never =
        tokio_stream::StreamExt::chain(tokio_stream::iter([Ok(good())]), tokio_stream::pending());
    assert!(put(&api, Box::pin(never)).await.unwrap().present);
}

#[tokio::test]
async fn what_is_not_the_image_announced_or_breaks_off_is_refused_and_not_kept() {
    let api = api();
    for wrong in [&b"\x7fELF kernex"[..], b"\x7fELF", b"\x7fELF kernel and more"] {
        let refused = send(&api, [Ok(good()), Ok(part(wrong))]).await.unwrap_err();
        let refusal = (refused.code(), reason(&refused));
        assert_eq!(refusal, (Code::InvalidArgument, "IMAGE_MISMATCH".to_owned()));
    }
    let broken = super::status::shutting_down();
    let refused = send(&api, [Ok(good()), Ok(part(CONTENT)), Err(broken)]).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unavailable);
    assert!(!is_there(&api).await);
}

#[tokio::test]
async fn a_host_without_room_says_so_before_anything_is_sent() {
    let api = FakeApi { reserve: u64::MAX, ..api() };
    let refused = send(&api, [Ok(good())]).await.unwrap_err();
    assert_eq!((refused.code(), &*reason(&refused)), (Code::ResourceExhausted, "DISK_FULL"));
}

#[tokio::test]
async fn only_names_that_are_the_digest_are_written_or_removed() {
    let api = api();
    let (digest, size) = (digest(), CONTENT.len() as u64);
    let named = format!("sha256-{digest}");
    let upper = digest.to_ascii_uppercase();
    let upper_name = format!("sha256-{upper}");
    let climbing = format!("../sha256-{digest}");
    let short = (String::from("sha256-ab"), String::from("ab"));
    for (name, sha256) in [
        ("demo-kernel", &*digest),
        (&climbing, &digest),
        ("", &digest),
        (&upper_name, &upper),
        (&short.0, &short.1),
        (&named, ""),
        ("sha256-../../../etc/passwd", "../../../etc/passwd"),
    ] {
        let refused = send(&api, [Ok(first(name, sha256, size)), Ok(part(CONTENT))]).await;
        assert_eq!(refused.unwrap_err().code(), Code::InvalidArgument, "{name}");
        let request = wire::RemoveImageRequest { name: name.to_owned(), sha256: sha256.to_owned() };
        let refused = remove(&api, request).await.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument, "{name}");
    }
    let demo = ImageName::new("demo-kernel").unwrap();
    assert!(api.host.images.observe(&demo).await.unwrap().is_some());
    for wrong in [
        vec![],
        vec![Ok(part(CONTENT))],
        vec![Ok(wire::PutImageRequest { data: CONTENT.to_vec(), ..good() })],
    ] {
        assert_eq!(send(&api, wrong).await.unwrap_err().code(), Code::InvalidArgument);
    }
}

#[tokio::test]
async fn an_image_in_use_is_refused_by_its_reason() {
    let api = FakeApi { in_use: true, ..api() };
    let request =
        wire::RemoveImageRequest { name: format!("sha256-{}", digest()), sha256: digest() };
    let refused = remove(&api, request).await.unwrap_err();
    assert_eq!((refused.code(), &*reason(&refused)), (Code::FailedPrecondition, "IMAGE_IN_USE"));
}

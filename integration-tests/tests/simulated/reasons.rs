//! Every error that leaves the server says its reason, also those that are not of its own making.

use banger_integration_tests::fleet::Fleet;
use banger_integration_tests::specs::create;
use banger_proto::v1;
use http::uri::PathAndQuery;
use prost_reflect::DescriptorPool;
use tonic::client::Grpc;
use tonic::codec::CompressionEncoding;
use tonic::transport::Channel;
use tonic::{Code, Request, Status};
use tonic_types::StatusExt as _;

use super::hostile::Raw;
use super::page::{WEB, ask, framed};

/// All methods of the API and of the services beside it, and some that are not there.
fn methods() -> Vec<String> {
    let pool = DescriptorPool::decode(banger_proto::FILE_DESCRIPTOR_SET).expect("descriptors");
    let ours = pool.services().filter(|service| service.full_name().starts_with("banger.v1."));
    let methods = ours.flat_map(|service| service.methods().collect::<Vec<_>>());
    let paths =
        methods.map(|method| format!("/{}/{}", method.parent_service().full_name(), method.name()));
    let beside = [
        "/grpc.health.v1.Health/Check",
        "/grpc.health.v1.Health/Watch",
        "/grpc.health.v1.Health/None",
        "/grpc.reflection.v1.ServerReflection/None",
        "/banger.v1.VmService/None",
        "/banger.v1.NoService/None",
        "/none",
    ];
    paths.chain(beside.map(str::to_owned)).collect()
}

async fn call(channel: &Channel, path: &str, message: Vec<u8>, packed: bool) -> Result<(), Status> {
    let mut grpc = Grpc::new(channel.clone());
    if packed {
        grpc = grpc.send_compressed(CompressionEncoding::Gzip);
    }
    grpc.ready().await.expect("the server is there");
    let path: PathAndQuery = path.parse().expect("a path");
    let mut answers = grpc.server_streaming(Request::new(message), path, Raw).await?.into_inner();
    // Streams that are fine go on; what is wrong with a request is said first.
    answers.message().await.map(drop)
}

fn check(error: &Status, what: &str) {
    let info = error.get_details_error_info();
    let info = info.unwrap_or_else(|| panic!("{what}: {error:?} has no reason"));
    assert_eq!(info.domain, "banger", "{what}");
    let known = v1::ErrorReason::from_str_name(&format!("ERROR_REASON_{}", info.reason));
    assert!(known.is_some(), "{what}: {} is not documented", info.reason);
    assert!(!error.message().is_empty(), "{what}: a sentence");
    let own_fault = matches!(error.code(), Code::Internal | Code::Unknown | Code::OutOfRange);
    assert!(!own_fault, "{what}: {error:?}, and it is the caller's fault");
}

#[tokio::test]
async fn admit_whatever_is_wrong_with_a_request_its_error_says_a_reason() {
    let fleet = Fleet::without_hosts().await;
    let large = [&[0x0a, 0xc0, 0xcf, 0x24][..], &vec![b'x'; 600_000]].concat();
    let requests: [(&str, Vec<u8>, bool); 6] = [
        ("no message", vec![0xff; 3], false),
        ("half a message", b"\x0a\xff\x01x".to_vec(), false),
        ("no text", b"\x0a\x02\xc3\x28".to_vec(), false),
        ("too large", large.clone(), false),
        ("too large, packed", large, true),
        ("nested too deep", [0x12, 0x7e].repeat(200), false),
    ];
    for path in methods() {
        for (what, message, packed) in &requests {
            let (channel, message) = (fleet.channel(), message.clone());
            let called = call(&channel, &path, message, *packed);
            let answered = tokio::time::timeout(std::time::Duration::from_secs(30), called).await;
            let what = format!("{path}: {what}");
            match answered.unwrap_or_else(|_| panic!("{what}: no answer")) {
                Ok(()) => {}
                Err(error) => check(&error, &what),
            }
        }
    }
}

#[tokio::test]
async fn admit_a_deadline_a_size_and_a_method_that_is_not_there_have_their_codes() {
    let fleet = Fleet::without_hosts().await;
    let channel = fleet.channel();
    let of = |error: &Status| {
        check(error, "");
        let reason = error.get_details_error_info().expect("checked").reason;
        (error.code(), reason)
    };
    let large = vec![0; 300_000];
    let error = call(&channel, "/banger.v1.VmService/CreateVm", large, false).await;
    let error = error.expect_err("too large");
    assert_eq!(of(&error), (Code::ResourceExhausted, "LIMIT_REACHED".to_owned()));
    let error = call(&channel, "/banger.v1.HostService/JoinHost", vec![0; 16 * 1024 + 1], false);
    let error = error.await.expect_err("too large for a call without a token");
    assert_eq!(of(&error), (Code::ResourceExhausted, "LIMIT_REACHED".to_owned()));
    let error = call(&channel, "/banger.v1.VmService/None", Vec::new(), false).await;
    assert_eq!(of(&error.expect_err("none")), (Code::Unimplemented, "NOT_IMPLEMENTED".to_owned()));
    let error = call(&channel, "/banger.v1.VmService/CreateVm", vec![0xff; 3], false).await;
    let malformed = (Code::InvalidArgument, "REQUEST_MALFORMED".to_owned());
    assert_eq!(of(&error.expect_err("no message")), malformed);
    fleet.create(create("pending")).await;
    // Not by tonic's client, which would look at the clock itself.
    let forever = v1::WaitVmRequest { vm: "pending".to_owned(), ..Default::default() };
    let headers = [("Host", "localhost"), ("Content-Type", WEB), ("Grpc-Timeout", "1m")];
    let line = "POST /banger.v1.VmService/WaitVm";
    let answer = ask(fleet.api(), line, &headers, &framed(&forever)).await;
    assert_eq!(answer.code().as_deref(), Some("4"), "DEADLINE_EXCEEDED");
    assert!(answer.headers.contains_key("grpc-status-details-bin"), "and its reason");
}

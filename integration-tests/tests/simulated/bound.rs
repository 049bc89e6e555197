//! Whatever a client sends, the server stays small and goes on serving others.

use std::net::SocketAddr;
use std::time::Duration;

use banger_integration_tests::fleet::Fleet;
use banger_integration_tests::specs::create;
use banger_proto::bounds::MAX_METADATA_DEPTH;
use banger_proto::v1;
use banger_proto::v1::vm_service_client::VmServiceClient;
use prost_types::value::Kind;
use prost_types::{ListValue, Struct, Value};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tonic::Code;
use tonic::codec::CompressionEncoding;
use tonic::transport::{Channel, Endpoint};

/// How much the server may grow by any of this, in KiB. What a Rust program of this size frees is
/// not all given back, so that it is not nothing.
const GROWTH_KIB: u64 = 96 * 1024;

/// The most memory a process ever had, in KiB.
pub(super) fn peak(pid: u32) -> u64 {
    let path = format!("/proc/{pid}/status");
    let status = std::fs::read_to_string(path).expect("it runs");
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).expect("Linux says it");
    let number = line.split_whitespace().nth(1).and_then(|number| number.parse().ok());
    number.expect("a number")
}

async fn connected(api: SocketAddr) -> VmServiceClient<Channel> {
    let endpoint = Endpoint::from_shared(format!("http://{api}")).expect("a URL");
    VmServiceClient::new(endpoint.connect().await.expect("it listens"))
}

/// Another client is served while all that goes on.
pub(super) async fn serves(fleet: &Fleet) {
    let mut vms = connected(fleet.api()).await;
    let listing = vms.list_vms(v1::ListVmsRequest::default());
    let listed = tokio::time::timeout(Duration::from_secs(30), listing).await;
    listed.expect("in time").expect("lists");
}

async fn still_small(fleet: &Fleet, before: u64) {
    serves(fleet).await;
    let grown = peak(fleet.server_pid()).saturating_sub(before);
    assert!(grown < GROWTH_KIB, "the server grew by {grown} KiB");
}

#[tokio::test]
async fn bound_messages_that_are_too_large_or_explode_when_unpacked_are_refused() {
    let fleet = Fleet::without_hosts().await;
    serves(&fleet).await;
    let before = peak(fleet.server_pid());
    for (megabytes, packed) in [(1, false), (5, false), (64, true)] {
        let mut calls = tokio::task::JoinSet::new();
        for _ in 0..8 {
            let mut vms = connected(fleet.api()).await.max_encoding_message_size(usize::MAX);
            if packed {
                vms = vms.send_compressed(CompressionEncoding::Gzip);
            }
            let mut request = create("large");
            request.spec.get_or_insert_default().boot_args = "a".repeat(megabytes << 20);
            calls.spawn(async move { vms.create_vm(request).await });
        }
        while let Some(refused) = calls.join_next().await {
            let error = refused.expect("no panic").expect_err("too large");
            assert_eq!(error.code(), Code::ResourceExhausted, "{megabytes} MiB: {error:?}");
        }
    }
    still_small(&fleet, before).await;
}

#[tokio::test]
async fn bound_a_document_nested_too_deep_is_refused_and_one_at_the_limit_survives_a_restart() {
    let mut fleet = Fleet::without_hosts().await;
    let nested = |depth: usize| {
        let leaf = Value { kind: Some(Kind::NumberValue(1.0)) };
        let value = (0..depth).fold(leaf, |value, _| Value {
            kind: Some(Kind::ListValue(ListValue { values: vec![value] })),
        });
        Struct { fields: [("deep".to_owned(), value)].into() }
    };
    let mut accepted = 0;
    for depth in [1, 8, 20, 30, 40, 50, 100, 1_000] {
        let mut request = create(&format!("depth-{depth}"));
        request.spec.get_or_insert_default().metadata = Some(nested(depth));
        match fleet.vms().create_vm(request).await {
            Ok(_) => accepted = depth,
            Err(error) => {
                assert_eq!(error.code(), Code::InvalidArgument, "{depth}: {error:?}");
            }
        }
    }
    assert!((8..MAX_METADATA_DEPTH).contains(&accepted), "{accepted}");
    // What was taken can be read again, also by those who read everything.
    let listed = fleet.vms().list_vms(v1::ListVmsRequest::default()).await;
    assert!(!listed.expect("all can be read").into_inner().vms.is_empty());
    fleet.stop_server();
    fleet.start_server().await;
    fleet.get(&format!("depth-{accepted}")).await.expect("is there");
}

#[tokio::test]
async fn bound_connections_that_say_nothing_or_half_a_word_cost_little() {
    let fleet = Fleet::without_hosts().await;
    serves(&fleet).await;
    let before = peak(fleet.server_pid());
    let mut held = Vec::new();
    for n in 0..400_usize {
        let mut stream = TcpStream::connect(fleet.api()).await.expect("it listens");
        let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
        let half = [
            &preface[..0],
            &preface[..12],
            &preface[..],
            // A frame of 16,000 bytes of which ten come; headers that do not end.
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0\0\x3e\x80\0\0\0\0\0\x010123456789",
            b"POST /banger.v1.VmService/ListVms HTTP/1.1\r\nhost: localhost\r\nx: ",
        ];
        // The server may have hung up on what makes no sense.
        let _ = stream.write_all(half[n % half.len()]).await;
        held.push(stream);
    }
    still_small(&fleet, before).await;
}

#[tokio::test]
async fn bound_headers_without_end_are_refused() {
    let fleet = Fleet::without_hosts().await;
    serves(&fleet).await;
    let before = peak(fleet.server_pid());
    for _ in 0..8 {
        let mut stream = TcpStream::connect(fleet.api()).await.expect("it listens");
        let _ = stream.write_all(b"POST / HTTP/1.1\r\nhost: localhost\r\n").await;
        let line = format!("x: {}\r\n", "a".repeat(8_000));
        let mut sent = 0_usize;
        // Until the server hangs up; it does not read for ever.
        while sent < 64 << 20 && stream.write_all(line.as_bytes()).await.is_ok() {
            sent += line.len();
        }
        assert!(sent < 64 << 20, "64 MiB of headers were taken");
        let mut answer = Vec::new();
        let _ =
            tokio::time::timeout(Duration::from_secs(10), stream.read_to_end(&mut answer)).await;
    }
    still_small(&fleet, before).await;
}

#[tokio::test]
async fn bound_a_flood_of_calls_on_one_connection_is_answered_or_refused() {
    let fleet = Fleet::without_hosts().await;
    fleet.create(create("one")).await;
    serves(&fleet).await;
    let before = peak(fleet.server_pid());
    let vms = connected(fleet.api()).await;
    let mut calls = tokio::task::JoinSet::new();
    for n in 0..5_000_usize {
        let mut vms = vms.clone();
        calls.spawn(async move {
            match n % 3 {
                0 => vms.list_vms(v1::ListVmsRequest::default()).await.map(drop),
                1 => vms.get_vm(v1::GetVmRequest { vm: "one".to_owned() }).await.map(drop),
                _ => vms.get_vm(v1::GetVmRequest { vm: "none".to_owned() }).await.map(drop),
            }
        });
    }
    while let Some(answer) = calls.join_next().await {
        if let Err(error) = answer.expect("no panic") {
            let codes = [Code::NotFound, Code::ResourceExhausted, Code::Unavailable];
            assert!(codes.contains(&error.code()), "{error:?}");
        }
    }
    still_small(&fleet, before).await;
}

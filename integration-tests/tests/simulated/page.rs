//! A hostile page: what a browser sends for a program of somebody else, header by header.
//!
//! The page is on another site (`Origin`), or its own name was made to point here after it was
//! loaded (`Host`, DNS rebinding). It may send what needs no preflight, and it may ask by one. What
//! is asked: nothing is done, nothing is told, and a page that may call still does.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use banger_integration_tests::fleet::Fleet;
use banger_integration_tests::specs::create;
use banger_proto::v1;
use prost::Message;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

pub(super) const WEB: &str = "application/grpc-web+proto";

/// One answer: the HTTP status, the headers by their names in lower case, and the body.
pub(super) struct Answer {
    status: u16,
    pub(super) headers: BTreeMap<String, String>,
    body: Vec<u8>,
}

impl Answer {
    /// The gRPC code, from the headers or the trailers in the body of gRPC-Web.
    pub(super) fn code(&self) -> Option<String> {
        let trailers = String::from_utf8_lossy(&self.body).into_owned();
        let in_body = trailers.split("grpc-status:").nth(1).map(str::trim_start);
        let in_body = in_body.and_then(|rest| rest.split("\r\n").next()).map(str::to_owned);
        self.headers.get("grpc-status").cloned().or(in_body)
    }
}

/// A request as a browser writes it: `fetch` of HTTP/1.1.
pub(super) async fn ask(
    to: SocketAddr,
    line: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> Answer {
    let mut request = format!("{line} HTTP/1.1\r\nconnection: close\r\n");
    for (name, value) in headers {
        request.push_str(&format!("{name}: {value}\r\n"));
    }
    if !body.is_empty() {
        request.push_str(&format!("content-length: {}\r\n", body.len()));
    }
    request.push_str("\r\n");
    let mut stream = TcpStream::connect(to).await.expect("it listens");
    stream.write_all(&[request.as_bytes(), body].concat()).await.expect("it is read");
    let mut bytes = Vec::new();
    // It may hang up on what it does not want to read.
    let _ = stream.read_to_end(&mut bytes).await;
    let text = String::from_utf8_lossy(&bytes).into_owned();
    let (head, _) = text.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no answer: {text:?}"));
    let mut lines = head.lines();
    let status = lines.next().and_then(|line| line.split(' ').nth(1)?.parse().ok());
    let headers = lines.filter_map(|line| line.split_once(": "));
    let headers = headers.map(|(name, value)| (name.to_lowercase(), value.to_owned())).collect();
    let body = bytes[head.len() + 4..].to_vec();
    Answer { status: status.expect("a status"), headers, body }
}

/// A message with its prefix.
pub(super) fn framed(message: &impl Message) -> Vec<u8> {
    let bytes = message.encode_to_vec();
    let length = u32::try_from(bytes.len()).expect("small");
    [&[0][..], &length.to_be_bytes(), &bytes].concat()
}

fn calls() -> Vec<(&'static str, Vec<u8>)> {
    let exec = v1::ExecVmRequest::default();
    vec![
        ("VmService/CreateVm", framed(&create("evil"))),
        ("VmService/ListVms", framed(&v1::ListVmsRequest::default())),
        ("VmService/ExecVm", framed(&exec)),
        ("HostService/CreateJoinToken", framed(&v1::CreateJoinTokenRequest::default())),
        ("HostService/ListHosts", framed(&v1::ListHostsRequest::default())),
    ]
}

async fn nothing_was_done(fleet: &Fleet) {
    let listed = fleet.vms().list_vms(v1::ListVmsRequest::default()).await.expect("lists");
    assert_eq!(listed.into_inner().vms, [], "no page has created a VM");
}

fn refused(answer: &Answer, status: u16, what: &str) {
    let said = String::from_utf8_lossy(&answer.body).into_owned();
    assert_eq!(answer.status, status, "{what}: {said}");
    assert!(answer.headers.contains_key("grpc-status-details-bin"), "{what}: it has its reason");
    assert!(!answer.headers.contains_key("access-control-allow-origin"), "{what}: it is told");
    assert!(said.lines().count() == 1 && said.len() > 20, "{what}: a sentence, not {said:?}");
}

#[tokio::test]
async fn admit_a_page_whose_name_was_made_to_point_here_commands_nothing() {
    let fleet = Fleet::of(1).await;
    let port = fleet.api().port();
    for host in ["evil.example", "127.0.0.1.evil.example", "localhost.evil.example"] {
        let host = format!("{host}:{port}");
        let origin = format!("http://{host}");
        for (call, body) in calls() {
            // To its own origin, as it thinks: no preflight, whatever the content type.
            let line = format!("POST /banger.v1.{call}");
            let headers = [
                ("Host", host.as_str()),
                ("Origin", &origin),
                ("Content-Type", WEB),
                ("X-Grpc-Web", "1"),
                ("Sec-Fetch-Site", "same-origin"),
                ("Sec-Fetch-Mode", "cors"),
            ];
            refused(&ask(fleet.api(), &line, &headers, &body).await, 421, call);
        }
        for (to, path) in [
            (fleet.api(), "/"),
            (fleet.metrics(), "/metrics"),
            (fleet.agent_addresses(0).1, "/metrics"),
        ] {
            let answer = ask(to, &format!("GET {path}"), &[("Host", &host)], &[]).await;
            refused(&answer, 421, path);
            let cross = [("Host", "localhost"), ("Origin", "http://evil.example")];
            refused(&ask(to, &format!("GET {path}"), &cross, &[]).await, 403, path);
        }
    }
    nothing_was_done(&fleet).await;
}

#[tokio::test]
async fn admit_a_page_of_another_site_commands_nothing_and_is_told_nothing() {
    let fleet = Fleet::without_hosts().await;
    let host = format!("127.0.0.1:{}", fleet.api().port());
    for origin in ["http://evil.example", "https://evil.example", "null", "http://127.0.0.1:1"] {
        for (call, body) in calls() {
            let path = format!("/banger.v1.{call}");
            // What needs no preflight, and what does, should a browser forget it.
            for kind in ["text/plain;charset=UTF-8", "application/grpc", WEB] {
                let headers = [("Host", host.as_str()), ("Origin", origin), ("Content-Type", kind)];
                let answer = ask(fleet.api(), &format!("POST {path}"), &headers, &body).await;
                if kind == "application/grpc" {
                    assert_eq!(answer.code().as_deref(), Some("7"), "PERMISSION_DENIED");
                } else {
                    refused(&answer, 403, call);
                }
            }
            let preflight = [
                ("Host", host.as_str()),
                ("Origin", origin),
                ("Access-Control-Request-Method", "POST"),
                ("Access-Control-Request-Headers", "content-type,x-grpc-web"),
            ];
            let answer = ask(fleet.api(), &format!("OPTIONS {path}"), &preflight, &[]).await;
            refused(&answer, 403, call);
        }
    }
    // Without an Origin, such as an old browser's form: the content type alone gives it away.
    for kind in ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data"] {
        for (call, body) in calls() {
            let headers = [("Host", host.as_str()), ("Content-Type", kind)];
            let line = format!("POST /banger.v1.{call}");
            refused(&ask(fleet.api(), &line, &headers, &body).await, 415, call);
        }
    }
    nothing_was_done(&fleet).await;
}

/// The gRPC code of a call over HTTP/2, which has the host in its `:authority`.
async fn over_http2(api: SocketAddr, authority: &str, kind: &str) -> (u16, String) {
    let stream = TcpStream::connect(api).await.expect("it listens");
    let (mut calls, connection) = h2::client::handshake(stream).await.expect("HTTP/2");
    tokio::spawn(async move { connection.await.map_err(drop) });
    let request = http::Request::post(format!("http://{authority}/banger.v1.VmService/CreateVm"))
        .header("content-type", kind)
        .body(())
        .expect("a request");
    let (answer, mut body) = calls.send_request(request, false).expect("it is open");
    let _ = body.send_data(framed(&create("evil")).into(), true);
    let response = answer.await.expect("it answers");
    let code = response.headers().get("grpc-status").expect("it is refused at once");
    (response.status().as_u16(), code.to_str().expect("a number").to_owned())
}

#[tokio::test]
async fn admit_http2_is_held_to_the_same_as_http1() {
    let fleet = Fleet::without_hosts().await;
    let ours = format!("127.0.0.1:{}", fleet.api().port());
    for kind in ["text/plain", "application/json", "application/grpc+json", ""] {
        assert_eq!(over_http2(fleet.api(), &ours, kind).await, (415, "3".to_owned()), "{kind}");
    }
    let denied = over_http2(fleet.api(), "evil.example:7070", "application/grpc").await;
    assert_eq!(denied, (200, "7".to_owned()), "a status, for a program that speaks gRPC");
    let denied = over_http2(fleet.api(), "evil.example:7070", WEB).await;
    assert_eq!(denied, (421, "7".to_owned()));
    nothing_was_done(&fleet).await;
}

#[tokio::test]
async fn admit_pages_and_names_that_are_configured_may_call() {
    let config =
        "names = [\"fleet.example.org\"]\ncors_origins = [\"https://board.example.org\"]\n";
    let fleet = Fleet::with_config(config).await;
    let own = format!("127.0.0.1:{}", fleet.api().port());
    let line = "POST /banger.v1.VmService/ListVms";
    let body = framed(&v1::ListVmsRequest::default());
    for (host, origin) in [
        (own.as_str(), format!("http://{own}")),
        ("fleet.example.org", "https://fleet.example.org".to_owned()),
        (&own, "https://board.example.org".to_owned()),
    ] {
        let headers = [("Host", host), ("Origin", &origin), ("Content-Type", WEB)];
        let answer = ask(fleet.api(), line, &headers, &body).await;
        assert_eq!((answer.status, answer.code().as_deref()), (200, Some("0")), "{origin}");
    }
    let preflight = [
        ("Host", own.as_str()),
        ("Origin", "https://board.example.org"),
        ("Access-Control-Request-Method", "POST"),
        ("Access-Control-Request-Headers", "content-type,x-grpc-web"),
    ];
    let answer = ask(fleet.api(), "OPTIONS /banger.v1.VmService/ListVms", &preflight, &[]).await;
    let allowed = answer.headers.get("access-control-allow-origin").map(String::as_str);
    assert_eq!((answer.status, allowed), (200, Some("https://board.example.org")));
    // A name of the configuration holds for metrics, too.
    let named = [("Host", "fleet.example.org")];
    assert_eq!(ask(fleet.metrics(), "GET /metrics", &named, &[]).await.status, 200);
}

#[tokio::test]
async fn admit_a_browser_at_the_api_finds_a_page_with_programs_of_the_server_alone() {
    let fleet = Fleet::without_hosts().await;
    let answer = ask(fleet.api(), "GET /", &[("Host", "localhost")], &[]).await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.headers["content-type"], "text/html; charset=utf-8");
    assert!(answer.headers["content-security-policy"].starts_with("default-src 'none'"));
    let text = String::from_utf8(answer.body).expect("text");
    let mut programs = text.split("<script").skip(1).peekable();
    assert!(programs.peek().is_some(), "the dashboard: {text}");
    for program in programs {
        assert!(program.starts_with(" type=\"module\" crossorigin src=\"/assets/"), "{program}");
        assert!(program.split_once('>').is_some_and(|(_, rest)| rest.starts_with("</script>")));
    }
}

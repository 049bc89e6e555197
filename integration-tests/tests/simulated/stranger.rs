//! A hostile client: speaks HTTP itself, so that it can stop in the middle of everything.
//!
//! It has no identity. What is asked: the processes stay small, by the memory that Linux counts,
//! and others are served meanwhile.

use std::net::SocketAddr;
use std::time::Duration;

use banger_integration_tests::fleet::Fleet;
use banger_integration_tests::wait::until;
use banger_proto::v1;
use h2::client::SendRequest;
use h2::{RecvStream, SendStream};
use prost::bytes::Bytes;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::bound::{peak, serves};

/// How much a process may grow by any of this, in KiB.
const GROWTH_KIB: u64 = 48 * 1024;

const JOIN: &str = "/banger.v1.HostService/JoinHost";
const HEALTH: &str = "/grpc.health.v1.Health/Check";
const REFLECTION: &str = "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo";
const CREATE: &str = "/banger.v1.VmService/CreateVm";

/// One connection of it.
pub(super) struct Stranger {
    calls: SendRequest<Bytes>,
    /// What its calls carry as `authorization`; empty for nothing.
    authorization: String,
    pub(super) held: Vec<(h2::client::ResponseFuture, SendStream<Bytes>)>,
}

impl Stranger {
    async fn connect(api: SocketAddr) -> Self {
        Self::connect_from([127, 0, 0, 1], api).await
    }

    async fn connect_from(address: [u8; 4], api: SocketAddr) -> Self {
        let socket = TcpSocket::new_v4().expect("a socket");
        socket.bind((address, 0).into()).expect("all of 127.0.0.0/8 is this machine");
        let stream = socket.connect(api).await.expect("it listens");
        Self::speak(stream, h2::client::Builder::new().initial_max_send_streams(4096)).await
    }

    /// One with a token, which lets so many bytes of an answer come before it says more.
    pub(super) async fn known(api: SocketAddr, token: &str, window: u32) -> Self {
        let stream = TcpStream::connect(api).await.expect("it listens");
        let mut http = h2::client::Builder::new();
        http.initial_max_send_streams(4096).initial_window_size(window);
        let known = Self::speak(stream, &http).await;
        Self { authorization: format!("Bearer {token}"), ..known }
    }

    async fn speak(stream: TcpStream, http: &h2::client::Builder) -> Self {
        let (calls, connection) = http.handshake(stream).await.expect("it speaks HTTP/2");
        // Ends with the connection.
        tokio::spawn(async move { connection.await.map_err(drop) });
        Self { calls, authorization: String::new(), held: Vec::new() }
    }

    /// Begins a call and sends these bytes of its request, but not its end. Answers whether it
    /// could.
    async fn begin(&mut self, path: &str, bytes: &Bytes) -> bool {
        self.call(path, bytes, false).await
    }

    /// The same, with the request's end where it is said.
    pub(super) async fn call(&mut self, path: &str, bytes: &Bytes, whole: bool) -> bool {
        let Ok(mut ready) = self.calls.clone().ready().await else { return false };
        let mut request = http::Request::post(format!("http://localhost{path}"))
            .header("content-type", "application/grpc")
            .header("te", "trailers");
        if !self.authorization.is_empty() {
            request = request.header("authorization", &self.authorization);
        }
        let request = request.body(()).expect("a request");
        let Ok((answer, mut body)) = ready.send_request(request, false) else { return false };
        if !bytes.is_empty() {
            // What the window has no room for waits in our own memory.
            let _ = body.send_data(bytes.clone(), whole);
        }
        self.held.push((answer, body));
        true
    }

    /// What was answered since the last time; calls without an answer stay.
    pub(super) async fn answered(&mut self) -> Vec<Result<http::Response<RecvStream>, h2::Error>> {
        let mut answered = Vec::new();
        for (mut answer, body) in std::mem::take(&mut self.held) {
            match tokio::time::timeout(Duration::from_millis(1), &mut answer).await {
                Ok(answer) => answered.push(answer),
                Err(_) => self.held.push((answer, body)),
            }
        }
        answered
    }
}

/// The prefix of a message of this length, and its first kilobyte: smaller parts are taken for an
/// attack by the HTTP/2 library itself.
fn begun(length: u32) -> Bytes {
    [&[0][..], &length.to_be_bytes(), &[b'x'; 1024]].concat().into()
}

fn open_files(pid: u32) -> usize {
    std::fs::read_dir(format!("/proc/{pid}/fd")).expect("it runs").count()
}

#[tokio::test]
async fn bound_requests_that_never_end_hold_little_whoever_sends_them() {
    let fleet = Fleet::without_hosts().await;
    serves(&fleet).await;
    let before = peak(fleet.server_pid());
    // What of them is answered, at least, and within how many seconds.
    let floods: [(&str, usize, Bytes, usize, u64); 4] = [
        (JOIN, 1_000, begun(200 * 1024), 250, 60),
        (JOIN, 1_000, begun(16 * 1024), 250, 60),
        (HEALTH, 100, Bytes::from(vec![0_u8; 4 << 20]), 25, 60),
        // Where no token is configured everybody on this machine has an identity. All that these
        // hold is the kilobyte that has come of each, for which there is room, so that none is
        // refused at once: all of them end when their minute is over.
        (CREATE, 2_000, begun(250 * 1024), 2_000, 85),
    ];
    let mut strangers = Vec::new();
    for (path, calls, bytes, least, seconds) in floods {
        let mut stranger = Stranger::connect(fleet.api()).await;
        let late = Instant::now() + Duration::from_secs(seconds);
        let mut begun = 0;
        while begun < calls && stranger.begin(path, &bytes).await {
            begun += 1;
        }
        assert!(begun > 16, "{path}: only {begun} calls could be begun");
        serves(&fleet).await;
        let mut answered = 0;
        while answered < least.min(begun) {
            answered += stranger.answered().await.len();
            assert!(Instant::now() < late, "{path}: {answered} of {begun} were answered");
        }
        serves(&fleet).await;
        strangers.push(stranger);
    }
    let grown = peak(fleet.server_pid()).saturating_sub(before);
    assert!(grown < GROWTH_KIB, "the server grew by {grown} KiB");
}

/// A message that asks reflection for the file of the API's largest service.
fn asks_for_descriptors() -> Vec<u8> {
    let symbol = b"banger.v1.VmService";
    let request = [&[0x22, 19][..], symbol].concat();
    [&[0, 0, 0, 0, 21][..], &request].concat()
}

#[tokio::test]
async fn bound_answers_that_nobody_reads_hold_little() {
    const CONNECTIONS: usize = 300;
    let fleet = Fleet::without_hosts().await;
    serves(&fleet).await;
    let before = peak(fleet.server_pid());
    let asked = Bytes::from(asks_for_descriptors().repeat(50));
    let mut strangers = Vec::new();
    for _ in 0..CONNECTIONS {
        let mut stranger = Stranger::connect(fleet.api()).await;
        for _ in 0..16 {
            stranger.begin(REFLECTION, &asked).await;
        }
        strangers.push(stranger);
    }
    // Others are served, and those of other addresses with streams too.
    serves(&fleet).await;
    let mut honest = Stranger::connect_from([127, 0, 0, 2], fleet.api()).await;
    assert!(honest.begin(REFLECTION, &Bytes::from(asks_for_descriptors())).await, "it is open");
    let (answer, _body) = honest.held.pop().expect("it began");
    let response = answer.await.expect("it is answered");
    assert!(response.headers().get("grpc-status").is_none(), "{response:?}");
    let part = response.into_body().data().await.expect("it goes on").expect("it is open");
    assert!(!part.is_empty());
    until("few connections that read nothing are left", || async {
        let files = open_files(fleet.server_pid());
        if files < 128 { Ok(()) } else { Err(format!("{files} files are open")) }
    })
    .await;
    let grown = peak(fleet.server_pid()).saturating_sub(before);
    // Three MiB for each of 64 streams: some answers of a hundred KiB and what HTTP/2 buffers of
    // them.
    assert!(grown < 4 * GROWTH_KIB, "the server grew by {grown} KiB");
}

#[tokio::test]
async fn bound_pages_that_nobody_reads_are_few_for_each_connection() {
    let fleet = Fleet::without_hosts().await;
    let stream = TcpStream::connect(fleet.api()).await.expect("it listens");
    let (calls, connection) = h2::client::Builder::new()
        // No byte of an answer may be sent.
        .initial_window_size(0)
        .handshake::<_, Bytes>(stream)
        .await
        .expect("it speaks HTTP/2");
    tokio::spawn(async move { connection.await.map_err(drop) });
    let mut pages = Vec::new();
    let mut refused = 0;
    for _ in 0..32 {
        let mut ready = calls.clone().ready().await.expect("it is open");
        let request = http::Request::get(format!("http://{}/", fleet.api()));
        let request = request.body(()).expect("a request");
        let (answer, _) = ready.send_request(request, true).expect("it is open");
        let response = answer.await.expect("it is answered");
        if response.status() == http::StatusCode::TOO_MANY_REQUESTS {
            refused += 1;
        }
        pages.push(response);
    }
    assert_eq!(refused, 16, "sixteen are open, the others are refused");
}

#[tokio::test]
async fn bound_a_few_calls_without_a_token_are_answered_at_a_time_and_all_after_each_other() {
    let fleet = Fleet::without_hosts().await;
    let mut stranger = Stranger::connect(fleet.api()).await;
    for _ in 0..200 {
        stranger.begin(HEALTH, &Bytes::new()).await;
    }
    // None of them ends, so that all but four are refused.
    let late = Instant::now() + Duration::from_secs(60);
    let mut refused = 0;
    while refused < 196 {
        assert!(Instant::now() < late, "only {refused} of 196 calls were refused");
        for response in stranger.answered().await {
            let response = response.expect("it is answered");
            let code = response.headers().get("grpc-status").expect("it is refused");
            assert_eq!(code, "8", "RESOURCE_EXHAUSTED");
            refused += 1;
        }
    }
    assert_eq!(stranger.held.len(), 4, "these are open");
    // The server gives their places back when it has read that nobody waits for them any more. Then
    // 64 one after the other are all served.
    stranger.held.clear();
    let late = Instant::now() + Duration::from_secs(60);
    while !serves_health(&mut stranger).await {
        assert!(Instant::now() < late, "no place was given back");
    }
    for _ in 0..64 {
        assert!(serves_health(&mut stranger).await, "a place is free");
    }
}

/// Whether a call is served; for want of a place it may be refused.
async fn serves_health(stranger: &mut Stranger) -> bool {
    assert!(stranger.begin(HEALTH, &Bytes::from_static(&[0; 5])).await, "it is open");
    let (answer, mut body) = stranger.held.pop().expect("it began");
    // Refused already, perhaps.
    let _ = body.send_data(Bytes::new(), true);
    let response = answer.await.expect("it is answered");
    if let Some(status) = response.headers().get("grpc-status") {
        assert_eq!(status, "8", "RESOURCE_EXHAUSTED: {response:?}");
        return false;
    }
    let mut data = response.into_body();
    while let Some(part) = data.data().await {
        part.expect("it goes on");
    }
    let trailers = data.trailers().await.expect("it ends").expect("with a status");
    assert_eq!(trailers["grpc-status"], "0");
    true
}

/// Until the other side ends a connection that sends one byte now and then.
async fn drips(to: SocketAddr, begin: Vec<u8>) -> Vec<u8> {
    let mut stream = TcpStream::connect(to).await.expect("it listens");
    stream.write_all(&begin).await.expect("it is open");
    let mut said = Vec::new();
    loop {
        let mut part = [0; 4096];
        match tokio::time::timeout(Duration::from_secs(1), stream.read(&mut part)).await {
            Ok(Ok(0) | Err(_)) => return said,
            Ok(Ok(read)) => said.extend(&part[..read]),
            // Nothing was said for a second: the next byte.
            Err(_) => {
                if !begin.is_empty() && stream.write_all(b"x").await.is_err() {
                    return said;
                }
            }
        }
    }
}

#[tokio::test]
async fn bound_connections_that_are_silent_or_drip_do_not_stay() {
    let fleet = Fleet::of(1).await;
    let (agent, agent_metrics) = fleet.agent_addresses(0);
    let head = b"POST /banger.v1.HostService/JoinHost HTTP/1.1\r\nhost: localhost\r\n";
    let body = [
        &head[..],
        b"content-type: application/grpc-web+proto\r\ncontent-length: 1000\r\n\r\n",
        &[0, 0, 0, 3, 0xe3],
    ];
    let mut connections = JoinSet::new();
    for (to, begin) in [
        (fleet.api(), Vec::new()),
        (fleet.api(), head.to_vec()),
        (fleet.api(), body.concat()),
        (fleet.metrics(), Vec::new()),
        (fleet.metrics(), b"GET /metrics HTTP/1.1\r\nhost: localhost\r\nx: ".to_vec()),
        (agent_metrics, Vec::new()),
        (agent_metrics, b"GET /metrics HTTP/1.1\r\nhost: localhost\r\nx: ".to_vec()),
        (agent, Vec::new()),
        // The head of a TLS record of 16 KiB.
        (agent, vec![22, 3, 1, 64, 0]),
    ] {
        connections.spawn(async move {
            let what = String::from_utf8_lossy(&begin).into_owned();
            let over = tokio::time::timeout(Duration::from_secs(120), drips(to, begin)).await;
            over.unwrap_or_else(|_| panic!("{to} {what:?} stays"));
        });
    }
    while let Some(over) = connections.join_next().await {
        over.expect("it ended");
    }
    serves(&fleet).await;
}

#[tokio::test]
async fn bound_listeners_take_no_more_connections_than_they_have_room_for() {
    let fleet = Fleet::of(1).await;
    serves(&fleet).await;
    let (agent, agent_metrics) = fleet.agent_addresses(0);
    let cases = [
        (fleet.metrics(), fleet.server_pid(), 128),
        (agent_metrics, fleet.agent_pid(0), 64),
        (agent, fleet.agent_pid(0), 512),
        (fleet.api(), fleet.server_pid(), 2048),
    ];
    for (to, pid, room) in cases {
        let (files, memory) = (open_files(pid), peak(pid));
        let mut held = Vec::new();
        for _ in 0..room + 400 {
            held.push(TcpStream::connect(to).await.expect("it listens"));
        }
        until(&format!("{to} has let some go"), || async {
            let more = open_files(pid).saturating_sub(files);
            if more <= room { Ok(()) } else { Err(format!("{more} files more for {room} places")) }
        })
        .await;
        let grown = peak(pid).saturating_sub(memory);
        assert!(grown < 2 * GROWTH_KIB, "{to}: it grew by {grown} KiB");
        // The newest are taken, so that somebody who asks is answered.
        serves(&fleet).await;
    }
}

#[tokio::test]
async fn bound_handshakes_that_hang_keep_the_server_from_no_agent() {
    let mut fleet = Fleet::of(1).await;
    let (agent, _) = fleet.agent_addresses(0);
    let mut silent = Vec::new();
    for _ in 0..1_600 {
        silent.push(TcpStream::connect(agent).await.expect("it listens"));
    }
    fleet.stop_server();
    for _ in 0..1_600 {
        silent.push(TcpStream::connect(agent).await.expect("it listens"));
    }
    fleet.start_server().await;
    fleet.until_host("host-0", v1::HostState::Online).await;
}

use std::convert::Infallible;
use std::net::IpAddr;

use rcgen::{CertificateParams, ExtendedKeyUsagePurpose, KeyPair};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex};
use tokio::sync::{mpsc, oneshot};
use tokio_rustls::TlsConnector;
use tonic::Code;
use tower::{Layer as _, service_fn};

use super::super::reasons::ReasonsLayer;
use super::*;
use crate::tls::public_side;
use banger_proto::v1::ErrorReason;

const ROOM: Room = Room { connections: 64, per_address: 32, unproven: 8, per_party: 64 };

/// Connections that a test makes.
struct Made(mpsc::UnboundedReceiver<(DuplexStream, SocketAddr)>);

impl Accept for Made {
    type Io = DuplexStream;

    async fn accept_one(&mut self) -> io::Result<(DuplexStream, SocketAddr)> {
        match self.0.recv().await {
            Some(made) => Ok(made),
            None => std::future::pending().await,
        }
    }
}

struct Stage {
    made: mpsc::UnboundedSender<(DuplexStream, SocketAddr)>,
    stop: CancellationToken,
    cut: CancellationToken,
    task: JoinHandle<()>,
}

impl Stage {
    fn connect(&self, from: [u8; 4]) -> DuplexStream {
        let (ours, theirs) = duplex(64 * 1024);
        let peer = SocketAddr::new(IpAddr::from(from), 1000);
        self.made.send((theirs, peer)).expect("it is served");
        ours
    }
}

/// A service of which `/known` shows an identity, `/refused` is refused, and `/open` answers
/// without end until the sender of the last body goes.
fn stage(tls: Option<Tls>) -> (Stage, mpsc::UnboundedReceiver<oneshot::Sender<()>>) {
    let (made, connections) = mpsc::unbounded_channel();
    let (opened, open) = mpsc::unbounded_channel();
    let (stop, cut) = (CancellationToken::new(), CancellationToken::new());
    let listener = Listener {
        accept: Made(connections),
        tls,
        bounds: Bounds::of(ROOM),
        stop: stop.clone(),
        cut: cut.clone(),
    };
    let service = service_fn(move |request: Request<Body>| {
        let connection = request.extensions().get::<Connection>().expect("every request has it");
        match request.uri().path() {
            "/known" => connection.prove(Proof::Lasting, None),
            "/refused" => connection.refused(),
            _ => {}
        }
        let body = if request.uri().path() == "/open" {
            let (sender, end) = oneshot::channel();
            opened.send(sender).expect("somebody counts");
            let end = futures_util::stream::once(async move {
                let _ = end.await;
                Ok::<_, tonic::Status>(http_body::Frame::data(bytes::Bytes::from_static(b"end")))
            });
            Body::new(http_body_util::StreamBody::new(end))
        } else {
            Body::empty()
        };
        std::future::ready(Ok::<_, Infallible>(Response::new(body)))
    });
    let refuse = |_: Code, _: ErrorReason, words: String| tonic::Status::unknown(words);
    let task = serve(listener, ReasonsLayer(refuse).layer(service));
    (Stage { made, stop, cut, task }, open)
}

/// Until the other side ends the connection.
async fn ended(stream: &mut DuplexStream) -> Vec<u8> {
    let mut said = Vec::new();
    let _ = stream.read_to_end(&mut said).await;
    said
}

async fn get(stream: &mut DuplexStream, path: &str) {
    let request = format!("GET {path} HTTP/1.1\r\nhost: x\r\n\r\n");
    stream.write_all(request.as_bytes()).await.expect("it is open");
    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n\r\n") {
        answer.push(stream.read_u8().await.expect("it answers"));
    }
    assert!(answer.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&answer));
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_says_nothing_or_half_a_word_is_over_in_time() {
    let (stage, _open) = stage(None);
    let settings: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
    for said in [&b""[..], b"PRI * HT", settings, b"GET / HTTP/1.1\r\nhost: x\r\nx: "] {
        let mut stream = stage.connect([192, 0, 2, 1]);
        stream.write_all(said).await.expect("it is open");
        let over = timeout(Duration::from_secs(60), ended(&mut stream));
        assert!(over.await.is_ok(), "{:?} stays for ever", String::from_utf8_lossy(said));
    }
    // Byte by byte, so that it is never silent.
    let mut stream = stage.connect([192, 0, 2, 1]);
    let drip = async {
        stream.write_all(b"GET / HTTP/1.1\r\nhost: x\r\nx: ").await.expect("it is open");
        while stream.write_all(b"x").await.is_ok() {
            sleep(Duration::from_secs(1)).await;
        }
    };
    assert!(timeout(Duration::from_secs(90), drip).await.is_ok(), "a head may drip for ever");
}

#[tokio::test(start_paused = true)]
async fn a_connection_with_an_identity_stays_and_a_call_lasts_as_long_as_it_lasts() {
    let (stage, mut open) = stage(None);
    // Of a stranger, for a week.
    let mut stranger = stage.connect([192, 0, 2, 1]);
    get(&mut stranger, "/open").await;
    let end = open.recv().await.expect("it is open");
    sleep(Duration::from_secs(7 * 24 * 3600)).await;
    end.send(()).expect("it is open still");
    let said = ended(&mut stranger).await;
    assert!(String::from_utf8_lossy(&said).contains("end"), "{said:?}");

    // HTTP/2, where a connection without a call is usual: only pings go back and forth.
    let mut known = stage.connect([192, 0, 2, 1]);
    get(&mut known, "/known").await;
    sleep(Duration::from_secs(20)).await;
    get(&mut known, "/known").await;
}

#[tokio::test(start_paused = true)]
async fn answers_that_nobody_reads_are_kept_for_few_and_the_others_end_by_themselves() {
    let (stage, mut open) = stage(None);
    let mut held = Vec::new();
    for n in 0..24 {
        let mut stream = stage.connect([192, 0, 2, n]);
        get(&mut stream, "/open").await;
        held.push((stream, open.recv().await.expect("it is open")));
    }
    // Nobody comes any more, and nobody reads.
    let alive = |held: &[(DuplexStream, oneshot::Sender<()>)]| {
        held.iter().filter(|(_, end)| !end.is_closed()).count()
    };
    assert_eq!(alive(&held), 24, "they have just come");
    for (_, end) in held.iter_mut().take(24 - ROOM.unproven) {
        timeout(Duration::from_secs(60), end.closed()).await.expect("the oldest end");
    }
    assert_eq!(alive(&held), ROOM.unproven, "so many may stay unproven");
}

#[tokio::test(start_paused = true)]
async fn refusals_without_end_end_the_connection() {
    let (stage, _open) = stage(None);
    let mut stream = stage.connect([192, 0, 2, 1]);
    let mut known = stage.connect([192, 0, 2, 1]);
    get(&mut known, "/known").await;
    for _ in 0..200 {
        get(&mut known, "/refused").await;
    }
    let mut asked = 0;
    let request = b"GET /refused HTTP/1.1\r\nhost: x\r\n\r\n";
    while stream.write_all(request).await.is_ok() && asked < 1000 {
        asked += 1;
        tokio::task::yield_now().await;
    }
    assert!(asked < 1000, "refused for ever");
}

#[tokio::test]
async fn a_listener_that_stops_waits_for_calls_and_one_that_is_cut_for_nothing() {
    let (stage, mut open) = stage(None);
    let mut call = stage.connect([192, 0, 2, 1]);
    get(&mut call, "/open").await;
    let end = open.recv().await.expect("it is open");
    let mut silent = stage.connect([192, 0, 2, 1]);
    stage.stop.cancel();
    ended(&mut silent).await;
    assert!(!stage.task.is_finished(), "a call is under way");
    end.send(()).expect("it is open still");
    assert!(String::from_utf8_lossy(&ended(&mut call).await).contains("end"));
    stage.task.await.expect("it ends with its last call");

    let (stage, mut open) = super::tests::stage(None);
    let mut call = stage.connect([192, 0, 2, 1]);
    get(&mut call, "/open").await;
    let _end = open.recv().await.expect("it is open");
    stage.cut.cancel();
    ended(&mut call).await;
    stage.task.await.expect("it ends at once");
}

fn tls() -> (Tls, TlsConnector) {
    let key = KeyPair::generate().expect("a key");
    let mut params = CertificateParams::new(vec!["localhost".to_owned()]).expect("a name");
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    let certificate = params.self_signed(&key).expect("signed");
    let public = public_side(certificate.pem().as_bytes(), key.serialize_pem().as_bytes(), None);
    let config = Arc::new(ArcSwap::from_pointee(public.expect("they fit")));
    let mut roots = rustls::RootCertStore::empty();
    roots.add(certificate.der().clone()).expect("a certificate");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let client = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("TLS")
        .with_root_certificates(roots)
        .with_no_client_auth();
    (Tls { config, admit: Admit::Anybody }, TlsConnector::from(Arc::new(client)))
}

#[tokio::test(start_paused = true)]
async fn handshakes_that_hang_delay_nobodys() {
    let (tls, connector) = tls();
    let (stage, _open) = stage(Some(tls));
    let mut silent: Vec<_> = (0..1600).map(|_| stage.connect([192, 0, 2, 1])).collect();
    // The time only goes on when everybody waits: so what needs none waits for nobody's deadline.
    let began = Instant::now();
    for from in [[192, 0, 2, 1], [192, 0, 2, 2]] {
        let name = rustls_pki_types::ServerName::try_from("localhost").expect("a name");
        let shaken = connector.connect(name, stage.connect(from)).await;
        shaken.expect("it is let in beside 1,600 that say nothing");
        assert_eq!(began.elapsed(), Duration::ZERO, "it waited");
    }
    for stream in &mut silent {
        let over = timeout(Duration::from_secs(60), ended(stream)).await;
        over.expect("a handshake that hangs is given up");
    }
}

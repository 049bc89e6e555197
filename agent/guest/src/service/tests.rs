//! The service over the link itself, in this process: programs are processes of this machine.

use std::collections::BTreeMap;

use banger_proto::guest_v1::guest_service_client::GuestServiceClient;
use banger_proto::v1::exec_output::Output;
use banger_proto::v1::{ExecExited, ExecInput, ExecStart, ExecStdinClosed, TerminalSize};
use banger_wire::guest_link::Nonce;
use banger_wire::guest_link::session::{Link, serve as serve_link};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, duplex, split};
use tokio::net::UnixStream;
use tonic::Code;
use tonic::transport::{Channel, Endpoint};

use super::*;

/// A guest on one end of a socket pair; the other end is the host's.
fn guest() -> (tempfile::TempDir, UnixStream) {
    let etc = tempfile::tempdir().expect("a directory can be made");
    let uid = nix::unistd::geteuid();
    let passwd = format!("root:x:{uid}:0::/:/bin/sh\nnobody:x:65534:65534::/nonexistent:/bin/sh\n");
    std::fs::write(etc.path().join("passwd"), passwd).expect("it can be written");
    std::fs::write(etc.path().join("group"), "extra:x:4242:nobody\n").expect("it can be written");
    let (host, guest) = UnixStream::pair().expect("the kernel has some");
    let (reader, writer) = guest.into_split();
    let (sender, sessions) = mpsc::channel(1);
    tokio::spawn(serve_link(Link::new(reader, writer), None, sender));
    tokio::spawn(serve(Guest::new(etc.path().to_owned()), sessions));
    (etc, host)
}

/// What a host's end of a session is.
struct Host {
    client: GuestServiceClient<Channel>,
    carrying: tokio::task::JoinHandle<()>,
}

/// Begins a session on a stream that others may have used before.
async fn host<S>(stream: S, nonce: u128) -> Host
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let (reader, writer) = split(stream);
    let mut link = Link::new(reader, writer);
    link.begin(Nonce(nonce)).await.expect("the guest answers");
    let (ours, theirs) = duplex(64 * 1024);
    let carrying = tokio::spawn(async move {
        let _ = link.carry(theirs).await;
    });
    let mut stream = Some(TokioIo::new(ours));
    let channel = Endpoint::from_static("http://guest")
        .connect_with_connector(tower::service_fn(move |_| {
            std::future::ready(
                stream.take().ok_or_else(|| std::io::Error::from(std::io::ErrorKind::BrokenPipe)),
            )
        }))
        .await
        .expect("HTTP/2 begins");
    Host { client: GuestServiceClient::new(channel), carrying }
}

fn start(command: &[&str]) -> ExecStart {
    ExecStart { command: command.iter().map(ToString::to_string).collect(), ..Default::default() }
}

fn input(input: Input) -> ExecRequest {
    ExecRequest { input: Some(ExecInput { input: Some(input) }) }
}

/// How a program ended and what it wrote.
#[derive(Debug, Default, PartialEq)]
struct Done {
    out: String,
    err: String,
    code: Option<i32>,
    signal: Option<i32>,
}

async fn collect(mut outputs: Streaming<ExecResponse>) -> Done {
    let mut done = Done::default();
    let mut ended = false;
    while let Some(message) = outputs.message().await.expect("it goes on") {
        assert!(!ended, "something came after the end");
        let text = |data: Vec<u8>| String::from_utf8(data).expect("tests print text");
        match message.output.and_then(|output| output.output).expect("it says something") {
            Output::Started(started) => assert!(started.pid > 0),
            Output::Stdout(data) => done.out += &text(data),
            Output::Stderr(data) => done.err += &text(data),
            Output::Exited(ExecExited { code, signal }) => {
                (done.code, done.signal, ended) = (code, signal, true);
            }
        }
    }
    assert!(ended, "its end was not told: {done:?}");
    done
}

/// Runs a program to its end, with all its input given at once.
async fn run(start: ExecStart, stdin: &[u8]) -> Result<Done, Status> {
    let (_etc, stream) = guest();
    let mut host = host(stream, 1).await;
    let inputs = [
        input(Input::Start(start)),
        input(Input::Stdin(stdin.to_vec())),
        input(Input::StdinClosed(ExecStdinClosed {})),
    ];
    let outputs = host.client.exec(tokio_stream::iter(inputs)).await?.into_inner();
    let done = collect(outputs).await;
    host.carrying.abort();
    Ok(done)
}

async fn sh(script: &str) -> Done {
    run(start(&["sh", "-c", script]), b"").await.expect("it runs")
}

#[tokio::test]
async fn a_guest_says_who_it_is() {
    let (_etc, stream) = guest();
    let mut host = host(stream, 1).await;
    let said = host.client.hello(HelloRequest::default()).await.expect("it answers").into_inner();
    let boot_id = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").expect("it is there");
    assert_eq!(said.boot_id, boot_id.trim());
    assert_eq!(said.agent_version, env!("CARGO_PKG_VERSION"));
}

#[tokio::test]
async fn a_program_is_heard_on_both_outputs_and_its_code_is_told() {
    let done = sh("echo out; echo err >&2; exit 7").await;
    assert_eq!((done.out.as_str(), done.err.as_str()), ("out\n", "err\n"));
    assert_eq!((done.code, done.signal), (Some(7), None));
    let killed = sh("kill -9 $$").await;
    assert_eq!((killed.code, killed.signal), (None, Some(9)));
}

#[tokio::test]
async fn much_input_comes_back_whole_from_a_program_that_copies_it() {
    let data = "0123456789abcdef".repeat(10_000);
    let (_etc, stream) = guest();
    let mut host = host(stream, 1).await;
    let mut inputs = vec![input(Input::Start(start(&["cat"])))];
    let pieces = data.as_bytes().chunks(60_000).map(|data| input(Input::Stdin(data.to_vec())));
    inputs.extend(pieces);
    // The end of the requests is the end of its input, too.
    let outputs = host.client.exec(tokio_stream::iter(inputs)).await.expect("it runs");
    let done = collect(outputs.into_inner()).await;
    assert!(done.out == data, "{} bytes came back", done.out.len());
    assert_eq!(done.code, Some(0));
}

#[tokio::test]
async fn a_program_gets_the_environment_and_the_directory_it_was_given() {
    let environment = BTreeMap::from([("A".to_owned(), "b c".to_owned())]);
    let script = "echo $A $USER $HOME; pwd";
    let given =
        ExecStart { environment, directory: "/proc".to_owned(), ..start(&["sh", "-c", script]) };
    assert_eq!(run(given, b"").await.expect("it runs").out, "b c root /\n/proc\n");
}

#[tokio::test]
async fn what_cannot_be_run_is_refused_with_its_reason() {
    let refused = async |start: ExecStart| run(start, b"").await.expect_err("it is refused");
    let with = |change: fn(&mut ExecStart)| {
        let mut wanted = start(&["true"]);
        change(&mut wanted);
        wanted
    };
    for (wanted, code) in [
        (start(&[]), Code::InvalidArgument),
        (start(&[""]), Code::InvalidArgument),
        (start(&["no-such-program"]), Code::NotFound),
        (start(&["/no/such/program"]), Code::NotFound),
        (start(&["/proc/version"]), Code::PermissionDenied),
        (with(|start| start.user = "stranger".to_owned()), Code::NotFound),
        (with(|start| start.directory = "/nonexistent".to_owned()), Code::NotFound),
        (with(|start| start.directory = "proc".to_owned()), Code::InvalidArgument),
        (
            with(|start| drop(start.environment.insert("A=B".to_owned(), String::new()))),
            Code::InvalidArgument,
        ),
    ] {
        let said = refused(wanted.clone()).await;
        assert_eq!(said.code(), code, "{wanted:?}: {said:?}");
    }
}

#[tokio::test]
async fn what_a_program_leaves_in_the_background_is_not_waited_for() {
    let done = sh("sleep 1000 & echo $!").await;
    assert_eq!(done.code, Some(0));
    let left: i32 = done.out.trim().parse().expect("a number");
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(left), nix::sys::signal::Signal::SIGKILL)
        .expect("it still runs");
}

#[tokio::test]
async fn a_signal_reaches_the_program_and_what_it_started() {
    let (_etc, stream) = guest();
    let mut host = host(stream, 1).await;
    let (sender, inputs) = mpsc::channel(4);
    let script = "trap 'echo got it; exit 3' USR1; echo ready; while :; do sleep 0.01; done";
    sender.send(input(Input::Start(start(&["sh", "-c", script])))).await.expect("it is read");
    let mut outputs =
        host.client.exec(ReceiverStream::new(inputs)).await.expect("it runs").into_inner();
    loop {
        let message = outputs.message().await.expect("it goes on").expect("it goes on");
        if matches!(message.output.and_then(|o| o.output), Some(Output::Stdout(_))) {
            break;
        }
    }
    sender.send(input(Input::Signal(10))).await.expect("it is read");
    let done = collect(outputs).await;
    // Its child was signalled with it, and ended the loop's sleep.
    assert_eq!((done.code, done.out.as_str()), (Some(3), "got it\n"));
}

/// A program that leaves a file if it ever sees the end of its input; it is deaf to being asked.
/// Prints the first line of it and its own number.
fn end_sensitive(directory: &std::path::Path) -> ExecStart {
    let script = "trap '' TERM HUP; read half; echo $half $$; cat >rest && mv rest all";
    let directory = directory.to_str().expect("text").to_owned();
    ExecStart { directory, ..start(&["sh", "-c", script]) }
}

/// Reads what a program prints up to its first line; answers its last word.
async fn line_of_program(outputs: &mut Streaming<ExecResponse>) -> String {
    let mut printed = String::new();
    while !printed.ends_with('\n') {
        let message = outputs.message().await.expect("it goes on").expect("it goes on");
        if let Some(Output::Stdout(data)) = message.output.and_then(|o| o.output) {
            printed += std::str::from_utf8(&data).expect("text");
        }
    }
    printed.split_whitespace().last().expect("words").to_owned()
}

#[tokio::test]
async fn a_program_whose_input_is_broken_off_never_sees_its_end() {
    // By a reset, which tonic takes for an end, and with the connection.
    for cancelled in [true, false] {
        let work = tempfile::tempdir().expect("a directory can be made");
        let (_etc, stream) = guest();
        let mut host = host(stream, 1).await;
        let (sender, inputs) = mpsc::channel(4);
        for message in [Input::Start(end_sensitive(work.path())), Input::Stdin(b"half\n".to_vec())]
        {
            sender.send(input(message)).await.expect("it is read");
        }
        let mut request = Request::new(ReceiverStream::new(inputs));
        let cancel = request.cancellation_handle();
        let mut outputs = host.client.exec(request).await.expect("it runs").into_inner();
        let pid = line_of_program(&mut outputs).await;
        sender.send(input(Input::Stdin(b"more".to_vec()))).await.expect("it is read");
        if cancelled {
            // RST_STREAM with CANCEL, while somebody reads the answers.
            cancel.cancel();
            until_gone(&pid).await;
            drop((outputs, sender));
        } else {
            // The connection is lost, as when the agent of the host is killed.
            host.carrying.abort();
            until_gone(&pid).await;
            drop((outputs, sender));
        }
        assert!(!work.path().join("all").exists(), "it took half for all");
    }
}

#[tokio::test]
async fn a_program_with_an_error_in_its_input_is_ended_and_that_is_told() {
    let (etc, work) = (tempfile::tempdir().expect("one"), tempfile::tempdir().expect("another"));
    let passwd = format!("root:x:{}:0::/:/bin/sh\n", nix::unistd::geteuid());
    std::fs::write(etc.path().join("passwd"), passwd).expect("it can be written");
    let users = Users::of(etc.path().to_owned());
    let running = exec::start(&users, end_sensitive(work.path())).expect("it runs");
    let (outputs, mut said) = mpsc::channel(8);
    let half = Ok(input(Input::Stdin(b"half\nmore".to_vec())));
    let inputs = [half, Err(status::failed("reset"))];
    running.attend(tokio_stream::iter(inputs), outputs).await;
    let mut last = None;
    while let Some(message) = said.recv().await {
        last = Some(message);
    }
    let why = last.expect("it says something").expect_err("it did not end by itself");
    assert_eq!(why.message(), "reset");
    assert!(!work.path().join("all").exists(), "it took half for all");
}

#[tokio::test]
async fn a_program_whose_input_ended_sees_its_end() {
    let work = tempfile::tempdir().expect("a directory can be made");
    let inputs = [
        input(Input::Start(end_sensitive(work.path()))),
        input(Input::Stdin(b"half\nmore".to_vec())),
    ];
    let (_etc, stream) = guest();
    let mut host = host(stream, 1).await;
    let outputs = host.client.exec(tokio_stream::iter(inputs)).await.expect("it runs");
    assert_eq!(collect(outputs.into_inner()).await.code, Some(0));
    assert_eq!(std::fs::read(work.path().join("all")).expect("it is there"), b"more");
}

/// Waits until a process is gone or a zombie.
async fn until_gone(pid: &str) {
    loop {
        match std::fs::read_to_string(format!("/proc/{pid}/stat")) {
            Ok(stat) if !stat.contains(") Z ") => {
                tokio::time::sleep(std::time::Duration::from_millis(5)).await;
            }
            Ok(_) | Err(_) => return,
        }
    }
}

#[tokio::test]
async fn a_program_whose_stream_is_dropped_is_ended_with_all_it_started() {
    let (_etc, stream) = guest();
    let mut host = host(stream, 1).await;
    // Deaf to being asked, and with a child.
    let script = "trap '' TERM HUP; sh -c 'echo $$; exec sleep 1000' & echo $$; wait";
    let (sender, inputs) = mpsc::channel(4);
    sender.send(input(Input::Start(start(&["sh", "-c", script])))).await.expect("it is read");
    let mut outputs =
        host.client.exec(ReceiverStream::new(inputs)).await.expect("it runs").into_inner();
    let mut printed = String::new();
    while printed.lines().count() < 2 || !printed.ends_with('\n') {
        let message = outputs.message().await.expect("it goes on").expect("it goes on");
        if let Some(Output::Stdout(data)) = message.output.and_then(|o| o.output) {
            printed += std::str::from_utf8(&data).expect("numbers");
        }
    }
    // Both directions: HTTP/2 keeps a stream of which one is still open.
    drop((outputs, sender));
    for pid in printed.lines() {
        until_gone(pid).await;
    }
}

#[tokio::test]
async fn a_terminal_has_its_size_and_is_the_one_that_signals_come_from() {
    let (_etc, stream) = guest();
    let mut host = host(stream, 1).await;
    let (sender, inputs) = mpsc::channel(4);
    let terminal = Some(TerminalSize { rows: 12, columns: 34 });
    let script = "stty size; read line; stty size; echo $TERM $line; tty >/dev/null && read more";
    let wanted = ExecStart { terminal, ..start(&["sh", "-c", script]) };
    sender.send(input(Input::Start(wanted))).await.expect("it is read");
    let mut outputs =
        host.client.exec(ReceiverStream::new(inputs)).await.expect("it runs").into_inner();
    let mut printed = String::new();
    let mut step = 0;
    let done = loop {
        let message = outputs.message().await.expect("it goes on").expect("it goes on");
        match message.output.and_then(|o| o.output) {
            Some(Output::Stdout(data)) => printed += std::str::from_utf8(&data).expect("text"),
            Some(Output::Exited(exited)) => break exited,
            _ => {}
        }
        if step == 0 && printed.contains("12 34") {
            let size = TerminalSize { rows: 56, columns: 78 };
            sender.send(input(Input::Resize(size))).await.expect("it is read");
            sender.send(input(Input::Stdin(b"typed\n".to_vec()))).await.expect("it is read");
            step = 1;
        }
        if step == 1 && printed.contains("xterm typed") {
            // Ctrl-C.
            sender.send(input(Input::Stdin(vec![3]))).await.expect("it is read");
            step = 2;
        }
    };
    assert!(printed.contains("56 78"), "{printed}");
    assert_eq!(done.signal, Some(2), "{printed}");
}

#[tokio::test]
async fn a_program_runs_as_the_user_that_was_asked_for() {
    if !nix::unistd::geteuid().is_root() {
        println!("not root: users can't be changed");
        return;
    }
    let wanted =
        ExecStart { user: "nobody".to_owned(), ..start(&["sh", "-c", "id -u; id -G; pwd"]) };
    let done = run(wanted, b"").await.expect("it runs");
    // Its home is not there.
    assert_eq!(done.out, "65534\n65534 4242\n/\n", "{done:?}");
}

#[tokio::test]
async fn a_program_is_ended_for_memory_like_any_other_whatever_the_guest_agent_is() {
    // What anybody may do; lowering it is root's.
    std::fs::write("/proc/self/oom_score_adj", "300").unwrap();
    let done = sh("cat /proc/self/oom_score_adj").await;
    assert_eq!(done.out, "0\n", "{done:?}");
}

#[tokio::test]
async fn priv_the_guest_agent_is_the_last_to_be_ended_for_memory() {
    let read = |path: &str| std::fs::read_to_string(path).unwrap();
    let before = read("/proc/self/oom_score_adj");
    // A container's root may lack it: CAP_SYS_RESOURCE, bit 24 of capabilities(7).
    let status = read("/proc/self/status");
    let line = status.lines().find_map(|line| line.strip_prefix("CapEff:")).unwrap();
    let may = u64::from_str_radix(line.trim(), 16).unwrap() >> 24 & 1 == 1;
    let score = match crate::memory::be_spared() {
        Ok(()) => "-1000\n".to_owned(),
        Err(error) => {
            assert_eq!((error.kind(), may), (std::io::ErrorKind::PermissionDenied, false));
            before
        }
    };
    assert_eq!(read("/proc/self/oom_score_adj"), score);
    let done = sh("cat /proc/self/oom_score_adj").await;
    assert_eq!(done.out, "0\n", "{done:?}");
}

#[tokio::test]
async fn a_forwarded_connection_carries_both_ways_until_both_have_ended() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = listener.local_addr().expect("it has one").port();
    tokio::spawn(async move {
        let (mut peer, _) = listener.accept().await.expect("it is connected to");
        let mut all = Vec::new();
        peer.read_to_end(&mut all).await.expect("it ends");
        peer.write_all(&all).await.expect("it is read");
    });
    let (_etc, stream) = guest();
    let mut host = host(stream, 1).await;
    let first = ForwardRequest { port: port.into(), data: b"one ".to_vec() };
    let second = ForwardRequest { port: 0, data: b"two".to_vec() };
    let outputs = host.client.forward(tokio_stream::iter([first, second])).await;
    let mut outputs = outputs.expect("it connects").into_inner();
    let mut back = Vec::new();
    while let Some(message) = outputs.message().await.expect("it goes on") {
        back.extend(message.data);
    }
    assert_eq!(back, b"one two");
    let nobody = ForwardRequest { port: 0, data: Vec::new() };
    let refused = host.client.forward(tokio_stream::iter([nobody])).await;
    assert_eq!(refused.expect_err("there is no such port").code(), Code::InvalidArgument);
}

/// What the agent of a host that is killed leaves behind: half a frame, and a program that runs.
#[tokio::test]
async fn after_a_host_that_was_killed_the_next_one_begins_cleanly() {
    let (_etc, stream) = guest();
    // The pipe outlives the hosts, as a virtio-serial port does.
    let (pipe, far) = duplex(64 * 1024);
    let (mut from_guest, mut to_guest) = stream.into_split();
    let (mut from_host, mut to_host) = split(far);
    tokio::spawn(async move { tokio::io::copy(&mut from_host, &mut to_guest).await });
    tokio::spawn(async move { tokio::io::copy(&mut from_guest, &mut to_host).await });
    let pipe = SharedPipe::new(pipe);

    let mut first = host(pipe.clone(), 1).await;
    let (sender, inputs) = mpsc::channel(4);
    let script = "echo $$; yes | head -c 1000000; sleep 1000";
    sender.send(input(Input::Start(start(&["sh", "-c", script])))).await.expect("it is read");
    let mut outputs =
        first.client.exec(ReceiverStream::new(inputs)).await.expect("it runs").into_inner();
    let pid = loop {
        let message = outputs.message().await.expect("it goes on").expect("it goes on");
        if let Some(Output::Started(started)) = message.output.and_then(|o| o.output) {
            break started.pid;
        }
    };
    // Killed: nothing more is said, and what came is not read. Then bytes of a frame that never
    // ends.
    first.carrying.abort();
    let _ = first.carrying.await;
    pipe.clone()
        .write_all(&[0, 0x3f, 0xff, 0, 0, 0, 0, 0, 5, b'x', 0x7d])
        .await
        .expect("it is taken");

    let mut second = host(pipe, 2).await;
    let said = second.client.hello(HelloRequest::default()).await.expect("it answers");
    assert!(!said.into_inner().boot_id.is_empty());
    let inputs = [input(Input::Start(start(&["echo", "clean"])))];
    let outputs = second.client.exec(tokio_stream::iter(inputs)).await.expect("it runs");
    assert_eq!(collect(outputs.into_inner()).await.out, "clean\n");
    // The program of the first one does not outlive its session.
    until_gone(&pid.to_string()).await;
}

/// One end of a pipe that one host after the other uses.
#[derive(Clone)]
struct SharedPipe(Arc<std::sync::Mutex<DuplexStream>>);

impl SharedPipe {
    fn new(pipe: DuplexStream) -> Self {
        Self(Arc::new(std::sync::Mutex::new(pipe)))
    }

    fn with<T>(&self, act: impl FnOnce(std::pin::Pin<&mut DuplexStream>) -> T) -> T {
        act(std::pin::Pin::new(&mut *self.0.lock().expect("nobody panics")))
    }
}

impl AsyncRead for SharedPipe {
    fn poll_read(
        self: std::pin::Pin<&mut Self>,
        context: &mut std::task::Context<'_>,
        into: &mut tokio::io::ReadBuf<'_>,
    ) -> std::task::Poll<std::io::Result<()>> {
        self.with(|pipe| pipe.poll_read(context, into))
    }
}

impl AsyncWrite for SharedPipe {
    fn poll_write(
        self: std::pin::Pin<&mut Self>,
        context: &mut std::task::Context<'_>,
        data: &[u8],
    ) -> std::task::Poll<std::io::Result<usize>> {
        self.with(|pipe| pipe.poll_write(context, data))
    }

    fn poll_flush(
        self: std::pin::Pin<&mut Self>,
        context: &mut std::task::Context<'_>,
    ) -> std::task::Poll<std::io::Result<()>> {
        self.with(|pipe| pipe.poll_flush(context))
    }

    fn poll_shutdown(
        self: std::pin::Pin<&mut Self>,
        _context: &mut std::task::Context<'_>,
    ) -> std::task::Poll<std::io::Result<()>> {
        // The pipe outlives whoever closes it.
        std::task::Poll::Ready(Ok(()))
    }
}

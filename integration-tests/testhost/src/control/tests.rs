use std::net::TcpListener;
use std::time::{Duration, Instant};

use super::client::Client;
use super::*;

const LIMIT: Duration = Duration::from_secs(20);

fn host() -> Client {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("bound");
    std::thread::spawn(move || server::serve(&listener, "secret"));
    Client { address, token: "secret".to_owned() }
}

#[test]
fn a_frame_comes_back_as_it_was_sent() {
    let mut bytes = Vec::new();
    write_frame(&mut bytes, Frame::OUTPUT, b"abc").expect("memory");
    write_frame(&mut bytes, Frame::EXIT, b"").expect("memory");
    let mut from = bytes.as_slice();
    assert_eq!(
        read_frame(&mut from).expect("whole"),
        Some(Frame { kind: Frame::OUTPUT, payload: b"abc".to_vec() })
    );
    assert_eq!(
        read_frame(&mut from).expect("whole"),
        Some(Frame { kind: Frame::EXIT, payload: vec![] })
    );
    assert_eq!(read_frame(&mut from).expect("end"), None);
}

#[test]
fn an_absurd_length_is_refused_before_memory_is_taken() {
    let mut from = &[Frame::OUTPUT, 0xff, 0xff, 0xff, 0xff][..];
    let error = read_frame(&mut from).expect_err("too long");
    assert_eq!(error.kind(), io::ErrorKind::InvalidData);
}

#[test]
fn a_command_gets_its_input_and_gives_output_and_code() {
    let output =
        host().run(&["sh", "-c", "cat; echo oops >&2; exit 7"], b"hello", LIMIT).expect("runs");
    assert_eq!(output.stdout, b"hello");
    assert_eq!(output.stderr, b"oops\n");
    assert_eq!(output.code, 7);
}

#[test]
fn megabytes_go_through_both_ways_at_once() {
    let input = vec![b'x'; 3 << 20];
    let output = host().run(&["cat"], &input, LIMIT).expect("runs");
    assert!(output.stdout == input, "{} bytes came back", output.stdout.len());
}

#[test]
fn a_signal_shows_as_128_plus_its_number() {
    let output = host().run(&["sh", "-c", "kill -9 $$"], b"", LIMIT).expect("runs");
    assert_eq!(output.code, 137);
}

#[test]
fn a_missing_program_is_a_sentence() {
    let error = host().run(&["/no/such/program"], b"", LIMIT).expect_err("missing");
    assert!(error.to_string().contains("/no/such/program"), "{error}");
}

#[test]
fn a_wrong_token_runs_nothing() {
    let client = Client { token: "guess".to_owned(), ..host() };
    let error = client.run(&["true"], b"", LIMIT).expect_err("refused");
    assert!(error.to_string().contains("wrong token"), "{error}");
}

#[test]
fn a_command_past_its_limit_is_ended_with_its_children() {
    let marker = format!("{}.{}", 30000 + std::process::id() % 1000, std::process::id());
    let start = Instant::now();
    let error = host()
        .run(&["sh", "-c", &format!("sleep {marker} & wait")], b"", Duration::from_millis(300))
        .expect_err("too slow");
    assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    assert!(start.elapsed() < LIMIT);
    let running = || {
        std::fs::read_dir("/proc").expect("proc").flatten().any(|process| {
            let line = std::fs::read(process.path().join("cmdline")).unwrap_or_default();
            line.starts_with(format!("sleep\0{marker}\0").as_bytes())
        })
    };
    while running() {
        assert!(start.elapsed() < LIMIT, "sleep {marker} is still there");
        std::thread::yield_now();
    }
}

#[test]
fn a_port_of_the_loopback_is_forwarded() {
    let echo = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = echo.local_addr().expect("bound").port();
    std::thread::spawn(move || {
        let (mut stream, _) = echo.accept().expect("one");
        let mut back = stream.try_clone().expect("clone");
        io::copy(&mut stream, &mut back).expect("echo");
    });
    let mut stream = host().connect(port, LIMIT).expect("connects");
    stream.write_all(b"ping").expect("write");
    stream.shutdown(std::net::Shutdown::Write).expect("half close");
    let mut back = String::new();
    stream.read_to_string(&mut back).expect("read");
    assert_eq!(back, "ping");
}

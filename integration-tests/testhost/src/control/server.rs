//! The host's side: one thread per connection, one command per connection.
//!
//! Driven by `bin/testhost-control`, which the host's init starts before anything else. Each
//! command is the leader of its own process group, so that it can be ended whole when its
//! connection breaks; what it started with `setsid` stays.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

use super::{Frame, read_frame, write_frame};

/// Serves connections until the listener fails.
///
/// # Errors
///
/// The listener's.
pub fn serve(listener: &TcpListener, token: &str) -> io::Result<()> {
    loop {
        let (stream, _) = listener.accept()?;
        let token = token.to_owned();
        thread::spawn(move || {
            // A broken connection is the driver's business; there is nobody else to tell.
            drop(serve_one(stream, &token));
        });
    }
}

fn serve_one(mut stream: TcpStream, token: &str) -> io::Result<()> {
    stream.set_nodelay(true)?;
    match read_frame(&mut stream)? {
        Some(frame) if frame.kind == Frame::TOKEN && frame.payload == token.as_bytes() => {}
        Some(_) => return write_frame(&mut stream, Frame::REFUSED, b"wrong token"),
        None => return Ok(()),
    }
    match read_frame(&mut stream)? {
        Some(Frame { kind: Frame::RUN, payload }) => run(stream, &payload),
        Some(Frame { kind: Frame::CONNECT, payload }) => connect(stream, &payload),
        Some(_) => write_frame(&mut stream, Frame::REFUSED, b"no such request"),
        None => Ok(()),
    }
}

fn run(mut stream: TcpStream, line: &[u8]) -> io::Result<()> {
    let line = String::from_utf8_lossy(line).into_owned();
    let words: Vec<&str> = line.split_terminator('\0').collect();
    let Some((program, arguments)) = words.split_first() else {
        return write_frame(&mut stream, Frame::REFUSED, b"no command");
    };
    #[expect(clippy::disallowed_methods, reason = "spawning is what this program is for")]
    let spawned = Command::new(program)
        .args(arguments)
        .process_group(0)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let mut child = match spawned {
        Ok(child) => child,
        Err(error) => {
            let sentence = format!("cannot start {program}: {error}");
            return write_frame(&mut stream, Frame::REFUSED, sentence.as_bytes());
        }
    };
    let answers = Arc::new(Mutex::new(stream.try_clone()?));
    let outputs = [
        pump(child.stdout.take(), Frame::OUTPUT, &answers),
        pump(child.stderr.take(), Frame::ERROR, &answers),
    ];
    let over = Arc::new(AtomicBool::new(false));
    feed(stream, &mut child, &over);
    let status = child.wait()?;
    for output in outputs {
        drop(output.join());
    }
    // From here on the pid may be somebody else's.
    over.store(true, Ordering::SeqCst);
    let text = match (status.code(), status.signal()) {
        (Some(code), _) => format!("code {code}"),
        (None, Some(signal)) => format!("signal {signal}"),
        (None, None) => "code -1".to_owned(),
    };
    let mut stream = answers.lock().unwrap_or_else(PoisonError::into_inner);
    write_frame(&mut *stream, Frame::EXIT, text.as_bytes())
}

/// Passes input frames on to the command, and ends it when the connection breaks.
fn feed(mut stream: TcpStream, child: &mut Child, over: &Arc<AtomicBool>) {
    let mut input = child.stdin.take();
    let group = Pid::from_raw(child.id().cast_signed());
    let over = Arc::clone(over);
    thread::spawn(move || {
        loop {
            match read_frame(&mut stream) {
                Ok(Some(Frame { kind: Frame::INPUT, payload })) => {
                    // A command that closed its input does not want the rest.
                    let refused = input.as_mut().is_none_or(|to| to.write_all(&payload).is_err());
                    if refused {
                        input = None;
                    }
                }
                Ok(Some(_)) => input = None,
                Ok(None) | Err(_) => break,
            }
        }
        if !over.load(Ordering::SeqCst) {
            // It may be over already.
            let _ = killpg(group, Signal::SIGKILL);
        }
    });
}

fn pump(
    from: Option<impl Read + Send + 'static>,
    kind: u8,
    answers: &Arc<Mutex<TcpStream>>,
) -> thread::JoinHandle<()> {
    let answers = Arc::clone(answers);
    thread::spawn(move || {
        let Some(mut from) = from else { return };
        let mut piece = vec![0; 1 << 16];
        while let Ok(length @ 1..) = from.read(&mut piece) {
            let mut stream = answers.lock().unwrap_or_else(PoisonError::into_inner);
            if write_frame(&mut *stream, kind, &piece[..length]).is_err() {
                return;
            }
        }
    })
}

fn connect(mut stream: TcpStream, port: &[u8]) -> io::Result<()> {
    let port = String::from_utf8_lossy(port).parse::<u16>();
    let target = match port {
        Ok(port) => TcpStream::connect(("127.0.0.1", port)).map_err(|error| error.to_string()),
        Err(error) => Err(error.to_string()),
    };
    let mut target = match target {
        Ok(target) => target,
        Err(sentence) => return write_frame(&mut stream, Frame::REFUSED, sentence.as_bytes()),
    };
    target.set_nodelay(true)?;
    write_frame(&mut stream, Frame::READY, &[])?;
    let mut back_to = stream.try_clone()?;
    let mut back_from = target.try_clone()?;
    let back = thread::spawn(move || {
        drop(io::copy(&mut back_from, &mut back_to));
        drop(back_to.shutdown(Shutdown::Write));
    });
    drop(io::copy(&mut stream, &mut target));
    drop(target.shutdown(Shutdown::Write));
    drop(back.join());
    Ok(())
}

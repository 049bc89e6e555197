//! Attending to a program that runs: input in, output out, and its end.
//!
//! Driven by [`Running::attend`]. A program is at its end when its process is; what it started and
//! left behind in the background runs on, and is not waited for. A program whose input is broken
//! off is ended before it could take the half of it for all.

use std::time::Duration;

use banger_proto::guest_v1::{ExecRequest, ExecResponse};
use banger_proto::v1::exec_input::Input;
use banger_proto::v1::exec_output::Output;
use banger_proto::v1::{ExecStarted, TerminalSize};
use nix::sys::signal::Signal;
use nix::unistd::Pid;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::{ChildStderr, ChildStdin, ChildStdout};
use tokio::sync::{mpsc, watch};
use tokio::time::timeout;
use tokio_stream::{Stream, StreamExt as _};
use tonic::Status;

use super::terminal::Terminal;
use super::{Running, exited, say};

/// How much output is sent at once.
const PIECE: usize = 32 * 1024;

/// How long an empty pipe of a program that has ended is waited for: what it wrote is in there,
/// and only what it left behind can add to it.
const DRAIN: Duration = Duration::from_millis(100);

/// How much is read of a pipe after the end of its program: more than a pipe holds.
const DRAIN_BYTES: usize = 1024 * 1024;

/// How long a program whose stream was closed has to end by itself.
const GRACE: Duration = Duration::from_secs(2);

type Outputs = mpsc::Sender<Result<ExecResponse, Status>>;

/// Its outputs, as seen from here.
struct Pipes {
    stdout: Option<ChildStdout>,
    stderr: Option<ChildStderr>,
}

pub(super) async fn attend(
    running: Running,
    mut inputs: impl Stream<Item = Result<ExecRequest, Status>> + Unpin,
    outputs: Outputs,
) {
    let Running { mut child, pid, terminal } = running;
    let started = ExecStarted { pid: pid.as_raw().unsigned_abs() };
    let told = outputs.send(say(Output::Started(started))).await.is_ok();
    // Dropped after the program's end only: closing it is said to the program.
    let mut stdin = child.stdin.take();
    let pipes = Pipes { stdout: child.stdout.take(), stderr: child.stderr.take() };
    let (ended, end) = watch::channel(false);
    let mut feeding = std::pin::pin!(feed(&mut inputs, &mut stdin, terminal.as_ref(), pid));
    let mut reading = std::pin::pin!(async {
        tokio::join!(
            read_pipe(pipes.stdout, &outputs, Output::Stdout, end.clone()),
            read_pipe(pipes.stderr, &outputs, Output::Stderr, end.clone()),
            read_terminal(terminal.as_ref(), &outputs, end.clone()),
        );
    });
    let (mut fed, mut read, mut exit) = (false, false, None);
    let mut broken = None;
    while told && !(read && exit.is_some()) {
        // Each arm is cancel-safe: waiting has no effect, and the two futures go on where they
        // were.
        tokio::select! {
            () = outputs.closed() => break,
            status = child.wait(), if exit.is_none() => {
                exit = Some(status);
                ended.send_replace(true);
            }
            // Not after its end: its number may then be another's.
            how = &mut feeding, if !fed && exit.is_none() => match how {
                Fed::All => fed = true,
                Fed::Broken(why) => {
                    broken = Some(why);
                    break;
                }
            },
            () = &mut reading, if !read => read = true,
        }
    }
    match exit {
        Some(Ok(status)) => {
            let _ = outputs.send(say(Output::Exited(exited(status)))).await;
        }
        Some(Err(error)) => {
            let _ = outputs.send(Err(crate::status::io("wait for the program", &error))).await;
        }
        None => {
            if let Some(why) = broken {
                // Most likely nobody listens any more, and it is not worth waiting for.
                let _ = outputs.try_send(Err(why));
            }
            for signal in [Signal::SIGHUP, Signal::SIGTERM] {
                Running::signal_all(pid, signal);
            }
            let _ = timeout(GRACE, child.wait()).await;
            // Also whatever is left of its group, which keeps its number as long.
            Running::signal_all(pid, Signal::SIGKILL);
            let _ = child.wait().await;
        }
    }
}

/// How the input of a program came to its end.
enum Fed {
    /// Nothing more can come.
    All,
    /// It was broken off.
    Broken(Status),
}

/// Hands on what comes for the program until nothing more can. What is broken off is not closed.
async fn feed(
    inputs: &mut (impl Stream<Item = Result<ExecRequest, Status>> + Unpin),
    stdin: &mut Option<ChildStdin>,
    terminal: Option<&Terminal>,
    pid: Pid,
) -> Fed {
    while let Some(request) = inputs.next().await {
        let request = match request {
            Ok(request) => request,
            Err(why) => return Fed::Broken(why),
        };
        match request.input.and_then(|input| input.input) {
            Some(Input::Stdin(data)) => {
                if let Some(terminal) = terminal {
                    let _ = terminal.write_all(&data).await;
                } else if let Some(pipe) = stdin
                    && pipe.write_all(&data).await.is_err()
                {
                    // It has closed its input, or ended; signals may still come.
                    *stdin = None;
                }
            }
            Some(Input::StdinClosed(_)) => close(stdin, terminal).await,
            Some(Input::Resize(size)) => resize(terminal, &size),
            Some(Input::Signal(number)) => {
                let signal = i32::try_from(number).ok().filter(|number| (1..=64).contains(number));
                if let Some(signal) = signal {
                    signal_group(pid, signal);
                }
            }
            // A second start, or an input of a newer host.
            Some(Input::Start(_)) | None => {}
        }
    }
    close(stdin, terminal).await;
    Fed::All
}

/// Any signal, the real-time ones too, for which nix has no name.
fn signal_group(pid: Pid, signal: i32) {
    #[expect(unsafe_code, reason = "nix and rustix know no real-time signals")]
    // SAFETY: kill(2) has no precondition. The group is the program's, which was not reaped yet.
    unsafe {
        nix::libc::kill(-pid.as_raw(), signal);
    }
}

async fn close(stdin: &mut Option<ChildStdin>, terminal: Option<&Terminal>) {
    // A terminal has no end; what stands for it is a character at the beginning of a line.
    const END_OF_TRANSMISSION: u8 = 4;
    if stdin.take().is_none()
        && let Some(terminal) = terminal
    {
        let _ = terminal.write_all(&[END_OF_TRANSMISSION]).await;
    }
}

fn resize(terminal: Option<&Terminal>, size: &TerminalSize) {
    if let Some(terminal) = terminal {
        // The program has ended; nobody looks any more.
        let _ = terminal.resize(size);
    }
}

/// What is left to read of a program's output.
struct Rest {
    end: watch::Receiver<bool>,
    bytes: usize,
}

impl Rest {
    /// One reading, as long as there may be something to read.
    async fn next(&mut self, read: impl Future<Output = std::io::Result<usize>>) -> usize {
        let mut read = std::pin::pin!(read);
        if !*self.end.borrow() {
            // Cancel-safe: a reading that is not done goes on below.
            tokio::select! {
                biased;
                done = &mut read => return done.unwrap_or(0),
                _ = self.end.wait_for(|ended| *ended) => {}
            }
        }
        let left = match timeout(DRAIN, read).await {
            Ok(Ok(read)) if self.bytes < DRAIN_BYTES => read,
            Ok(_) | Err(_) => 0,
        };
        self.bytes += left;
        left
    }
}

async fn read_pipe(
    pipe: Option<impl AsyncRead + Unpin>,
    outputs: &Outputs,
    which: fn(Vec<u8>) -> Output,
    end: watch::Receiver<bool>,
) {
    let Some(mut pipe) = pipe else { return };
    let (mut rest, mut data) = (Rest { end, bytes: 0 }, vec![0; PIECE]);
    loop {
        match rest.next(pipe.read(&mut data)).await {
            0 => return,
            read if outputs.send(say(which(data[..read].to_vec()))).await.is_err() => return,
            _ => {}
        }
    }
}

async fn read_terminal(terminal: Option<&Terminal>, outputs: &Outputs, end: watch::Receiver<bool>) {
    let Some(terminal) = terminal else { return };
    let (mut rest, mut data) = (Rest { end, bytes: 0 }, vec![0; PIECE]);
    loop {
        match rest.next(terminal.read(&mut data)).await {
            0 => return,
            read if outputs.send(say(Output::Stdout(data[..read].to_vec()))).await.is_err() => {
                return;
            }
            _ => {}
        }
    }
}

//! The API socket: connections, one request at a time over all of them.
//!
//! Driven by [`super::run`]. The process ends with the guest. The real one serves all connections
//! from one thread; here each has a thread and they take turns at the machine, which a client
//! cannot tell apart. An eleventh connection is turned away, as there.

use std::io::Write;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use super::action;
use super::http::{NoRequest, Response, read_request};
use super::lock;
use super::machine::Machine;

const MAX_CONNECTIONS: usize = 10;

/// How often the real one writes its metrics.
const METRICS_PERIOD: Duration = Duration::from_secs(60);

/// Serves until the guest has ended.
///
/// # Errors
///
/// A sentence, when the socket cannot be made.
pub fn run(machine: Arc<Mutex<Machine>>, socket: &Path, body_limit: usize) -> Result<(), String> {
    let listener = UnixListener::bind(socket).map_err(|error| match error.kind() {
        std::io::ErrorKind::AddrInUse => format!(
            "RunWithApi(FailedToBindSocket({socket:?})): Failed to open the API socket at: {}. \
             Check that it is not already used.",
            socket.display()
        ),
        _ => format!("RunWithApi(FailedToBindAndRunHttpServer({error}))"),
    })?;
    lock(&machine).log(&format!("Listening on API socket ({socket:?})."));
    let (ended, wait_for_end) = channel();
    let accepting = Arc::clone(&machine);
    thread::spawn(move || accept(&listener, &accepting, &ended, body_limit));
    lock(&machine).log("API server started.");
    loop {
        match wait_for_end.recv_timeout(METRICS_PERIOD) {
            Ok(()) => break,
            Err(std::sync::mpsc::RecvTimeoutError::Timeout) => lock(&machine).write_metrics(),
            Err(std::sync::mpsc::RecvTimeoutError::Disconnected) => {
                return Err("the API socket broke".to_owned());
            }
        }
    }
    let mut machine = lock(&machine);
    machine.write_metrics();
    machine.log("Firecracker exiting successfully. exit_code=0");
    Ok(())
}

fn accept(
    listener: &UnixListener,
    machine: &Arc<Mutex<Machine>>,
    ended: &Sender<()>,
    body_limit: usize,
) {
    let open = Arc::new(AtomicUsize::new(0));
    for stream in listener.incoming() {
        let Ok(mut stream) = stream else { return };
        if open.fetch_add(1, Ordering::SeqCst) >= MAX_CONNECTIONS {
            let body = r#"{ "error": "Too many open connections." }"#.to_owned();
            let answer = Response { status: 503, body: Some(body), deprecated: false };
            let _ = answer.write(&mut stream);
            open.fetch_sub(1, Ordering::SeqCst);
            continue;
        }
        let (machine, ended, open) = (Arc::clone(machine), ended.clone(), Arc::clone(&open));
        thread::spawn(move || {
            serve_one(&mut stream, &machine, &ended, body_limit);
            open.fetch_sub(1, Ordering::SeqCst);
        });
    }
}

fn serve_one(
    stream: &mut UnixStream,
    machine: &Mutex<Machine>,
    ended: &Sender<()>,
    body_limit: usize,
) {
    let mut kept = Vec::new();
    loop {
        let request = match read_request(stream, &mut kept, body_limit) {
            Ok(request) => request,
            Err(NoRequest::Closed) => return,
            Err(NoRequest::Bad(answer)) => {
                let _ = answer.write(stream);
                return;
            }
        };
        let mut machine = lock(machine);
        machine.log(&format!(
            "The API server received a {} request on {:?}.",
            request.method, request.path
        ));
        let answer = match action::parse(&request) {
            Ok(asked) => {
                let ended = ended.clone();
                let mut answer = machine.act(asked.action, move || {
                    // Nobody listens only when the process is ending anyway.
                    let _ = ended.send(());
                });
                answer.deprecated = asked.deprecated;
                answer
            }
            Err(answer) => answer,
        };
        drop(machine);
        if answer.write(stream).is_err() || stream.flush().is_err() {
            return;
        }
    }
}

//! `buf curl`: calls by reflection, JSON in and out.

use std::io::BufReader;
use std::net::SocketAddr;
use std::process::{Child, Output, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::{Duration, Instant};

use banger_integration_tests::programs::{command, tool};
use serde_json::Value;

fn arguments(api: SocketAddr, method: &str, request: &Value) -> Vec<String> {
    vec![
        "curl".to_owned(),
        "--protocol=grpc".to_owned(),
        "--http2-prior-knowledge".to_owned(),
        "--emit-defaults".to_owned(),
        "--data".to_owned(),
        request.to_string(),
        format!("http://{api}/banger.v1.{method}"),
    ]
}

fn run(arguments: &[String]) -> Output {
    command(&tool("buf")).args(arguments).output().expect("buf can be started")
}

/// A call of one answer; an error is what buf printed.
pub(super) fn call(api: SocketAddr, method: &str, request: &Value) -> Result<Value, String> {
    let output = run(&arguments(api, method, request));
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into_owned());
    }
    serde_json::from_slice(&output.stdout).map_err(|error| format!("{method}: {error}"))
}

/// A call that must fail: the error as buf prints it, with code and decoded details.
pub(super) fn refused(api: SocketAddr, method: &str, request: &Value) -> Value {
    let output = run(&arguments(api, method, request));
    assert!(!output.status.success(), "{method} succeeded and should not have");
    serde_json::from_slice(&output.stderr).unwrap_or_else(|error| {
        panic!("{method}: {error}: {}", String::from_utf8_lossy(&output.stderr))
    })
}

/// The services that reflection lists.
pub(super) fn services(api: SocketAddr) -> String {
    let arguments = ["curl", "--protocol=grpc", "--http2-prior-knowledge", "--list-services"];
    let arguments: Vec<_> =
        arguments.iter().map(|a| (*a).to_owned()).chain([format!("http://{api}")]).collect();
    let output = run(&arguments);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// A stream that is open; ended when this goes.
#[derive(Debug)]
pub(super) struct Stream {
    child: Child,
    responses: Receiver<Value>,
}

impl Stream {
    /// Opens one.
    pub(super) fn open(api: SocketAddr, method: &str, request: &Value) -> Self {
        let mut child = command(&tool("buf"))
            .args(arguments(api, method, request))
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("buf can be started");
        let out = BufReader::new(child.stdout.take().expect("it is piped"));
        let (sender, responses) = mpsc::channel();
        // Ends with the pipe, which ends with the child.
        thread::spawn(move || {
            let values = serde_json::Deserializer::from_reader(out).into_iter::<Value>();
            for value in values.map_while(Result::ok) {
                if sender.send(value).is_err() {
                    break;
                }
            }
        });
        Self { child, responses }
    }

    /// Reads on until `found` holds for an event; answers all events read, it included.
    pub(super) fn until(&mut self, limit: Duration, found: impl Fn(&Value) -> bool) -> Vec<Value> {
        let began = Instant::now();
        let mut seen = Vec::new();
        loop {
            let left = limit.saturating_sub(began.elapsed());
            let Ok(response) = self.responses.recv_timeout(left) else {
                panic!("the stream gave no such event within {limit:?}; it gave {seen:#?}");
            };
            for event in response["events"].as_array().into_iter().flatten() {
                seen.push(event.clone());
                if found(event) {
                    return seen;
                }
            }
        }
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

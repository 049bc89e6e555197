//! Firecracker's API: `src/firecracker/swagger/firecracker.yaml` of 1.16, over a Unix socket in the
//! jail.
//!
//! One connection for each call: the API is one thread of the VMM, calls are few, and a connection
//! that is held across a call that timed out would answer the next with the wrong reply.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use banger_proto::words;
use bytes::Bytes;
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use serde_json::{Value, json};

use super::sockets::connect_in;
use super::until_ready;
use crate::host::linux::jails::JailTree;
use crate::host::{
    HostError, HostErrorKind, HostResult, JailId, Vmm, VmmConfig, VmmKind, VmmState, in_jail,
};

mod body;
pub(in crate::host::linux) mod launcher;

use body::Put;

/// The largest answer that is read; the description of a machine is a few KiB.
const ANSWER_LIMIT: usize = 1024 * 1024;

/// The pause between two attempts to reach an API that is not there yet.
const READY_PAUSE: Duration = Duration::from_millis(2);

/// The APIs of the VMMs in the jails.
pub(crate) struct FirecrackerApi {
    tree: Arc<JailTree>,
    limit: Duration,
}

#[derive(Deserialize)]
struct FaultMessage {
    fault_message: String,
}

#[derive(Deserialize)]
struct InstanceInfo {
    state: String,
}

impl FirecrackerApi {
    pub(crate) fn new(tree: Arc<JailTree>, limit: Duration) -> Self {
        Self { tree, limit }
    }

    async fn exchange(
        &self,
        id: &JailId,
        verb: &'static str,
        request: Request<Full<Bytes>>,
    ) -> HostResult<(StatusCode, Bytes)> {
        let broken = |error: hyper::Error| {
            HostError::new(HostErrorKind::Other, verb, id)
                .detail("the API broke off the connection")
                .because(error)
        };
        let socket = in_jail::api_socket(VmmKind::Firecracker);
        let stream = TokioIo::new(connect_in(&self.tree, id, socket, verb).await?);
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(stream).await.map_err(broken)?;
        // Ends when `sender` and the answer are dropped, at the end of this call.
        let driver = tokio::spawn(connection);
        let answer = async {
            let response = sender.send_request(request).await.map_err(broken)?;
            let status = response.status();
            let body = Limited::new(response.into_body(), ANSWER_LIMIT);
            let body = body.collect().await.map_err(|error| {
                HostError::new(HostErrorKind::Other, verb, id)
                    .detail("the API's answer could not be read")
                    .because(error)
            })?;
            Ok((status, body.to_bytes()))
        }
        .await;
        driver.abort();
        answer
    }

    /// One call within its time limit; what the VMM refuses is an error in its words.
    async fn call(
        &self,
        id: &JailId,
        verb: &'static str,
        method: Method,
        path: &str,
        body: Option<String>,
    ) -> HostResult<Bytes> {
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header(http::header::HOST, "localhost")
            .header(http::header::ACCEPT, "application/json");
        if body.is_some() {
            request = request.header(http::header::CONTENT_TYPE, "application/json");
        }
        let request = request
            .body(Full::new(Bytes::from(body.unwrap_or_default())))
            .map_err(|error| HostError::new(HostErrorKind::Invalid, verb, id).because(error))?;
        let exchange = self.exchange(id, verb, request);
        let (status, body) = tokio::time::timeout(self.limit, exchange).await.map_err(|_| {
            HostError::new(HostErrorKind::TimedOut, verb, id)
                .detail(format!("no answer from {path} within {:?}", self.limit))
        })??;
        if status.is_success() {
            return Ok(body);
        }
        let words = serde_json::from_slice::<FaultMessage>(&body).map_or_else(
            |_| format!("status {status}"),
            |fault| words::clean(fault.fault_message, 500),
        );
        Err(HostError::new(HostErrorKind::Refused, verb, id)
            .detail(format!("{path} answered: {words}")))
    }

    async fn put(
        &self,
        id: &JailId,
        verb: &'static str,
        path: &str,
        body: &Value,
    ) -> HostResult<()> {
        self.call(id, verb, Method::PUT, path, Some(body.to_string())).await.map(drop)
    }

    async fn action(&self, id: &JailId, verb: &'static str, action: &str) -> HostResult<()> {
        self.put(id, verb, "/actions", &json!({ "action_type": action })).await
    }

    async fn set_state(&self, id: &JailId, verb: &'static str, state: &str) -> HostResult<()> {
        let body = json!({ "state": state }).to_string();
        self.call(id, verb, Method::PATCH, "/vm", Some(body)).await.map(drop)
    }
}

#[async_trait]
impl Vmm for FirecrackerApi {
    async fn wait_ready(&self, id: &JailId, limit: Duration) -> HostResult<()> {
        until_ready(self, id, READY_PAUSE, limit).await
    }

    async fn configure(&self, id: &JailId, config: &VmmConfig) -> HostResult<()> {
        let verb = "configure the VMM of";
        for Put { path, body, again } in body::puts(config)
            .map_err(|error| HostError::new(HostErrorKind::Invalid, verb, id).because(error))?
        {
            match self.put(id, verb, &path, &body).await {
                Err(error)
                    if error.kind == HostErrorKind::Refused
                        && again.is_some_and(|words| error.detail.contains(words)) => {}
                other => other?,
            }
        }
        Ok(())
    }

    async fn start(&self, id: &JailId) -> HostResult<()> {
        self.action(id, "start the guest of", "InstanceStart").await
    }

    async fn pause(&self, id: &JailId) -> HostResult<()> {
        self.set_state(id, "pause the guest of", "Paused").await
    }

    async fn resume(&self, id: &JailId) -> HostResult<()> {
        self.set_state(id, "resume the guest of", "Resumed").await
    }

    async fn send_ctrl_alt_del(&self, id: &JailId) -> HostResult<()> {
        self.action(id, "press Ctrl-Alt-Del in the guest of", "SendCtrlAltDel").await
    }

    async fn describe(&self, id: &JailId) -> HostResult<VmmState> {
        let verb = "ask the state of";
        let odd = |words: String| HostError::new(HostErrorKind::Other, verb, id).detail(words);
        let body = self.call(id, verb, Method::GET, "/", None).await?;
        // What a parser says of an answer quotes it, however long it is.
        let info: InstanceInfo = serde_json::from_slice(&body)
            .map_err(|_| odd("the API's answer is no description".to_owned()))?;
        match info.state.as_str() {
            "Not started" => Ok(VmmState::NotStarted),
            "Running" => Ok(VmmState::Running),
            "Paused" => Ok(VmmState::Paused),
            other => Err(odd(format!("it says it is {}", words::word(other.to_owned())))),
        }
    }

    async fn put_metadata(&self, id: &JailId, json: &str) -> HostResult<()> {
        let verb = "replace the metadata of";
        self.call(id, verb, Method::PUT, "/mmds", Some(json.to_owned())).await.map(drop)
    }
}

#[cfg(test)]
pub(crate) mod tests;

//! QEMU, where there is no KVM: [`arguments`] what it is told, [`jail`] where it is put,
//! [`launcher`] who starts it, and here its API over [`qmp`].
//!
//! A machine is told wholly by the command line; QEMU starts with its processors stopped, so that
//! "configured and not started" is a state of it as it is of Firecracker. Adoption, liveness and
//! teardown know nothing of any of this.
//!
//! What QEMU does not do here: limits on the network, the metadata document and vsock (its guest
//! agent is reached by a virtio-serial port). A VM whose spec asks for them runs without them;
//! docs/adr/0010 says why.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use parking_lot::Mutex;
use serde_json::Value;

use super::firecracker::launcher::open_fifo;
use super::outputs::FifoOutputs;
use super::sockets::connect_in;
use super::until_ready;
use crate::host::linux::jails::JailTree;
use crate::host::{
    HostError, HostErrorKind, HostResult, JailId, NetInterface, RateLimit, Vmm, VmmConfig, VmmKind,
    VmmState, in_jail,
};

pub(super) mod arguments;
mod filter;
pub mod jail;
pub(in crate::host::linux) mod launcher;
mod qmp;
mod session;

use session::{Session, Unanswered};

/// The pause between two attempts to reach an API that is not there yet.
const READY_PAUSE: Duration = Duration::from_millis(10);

/// The APIs of the QEMUs in the jails.
pub(crate) struct QemuApi {
    tree: Arc<JailTree>,
    outputs: Arc<FifoOutputs>,
    limit: Duration,
    sessions: Mutex<HashMap<JailId, Arc<Session>>>,
}

impl QemuApi {
    pub(crate) fn new(tree: Arc<JailTree>, outputs: Arc<FifoOutputs>, limit: Duration) -> Self {
        Self { tree, outputs, limit, sessions: Mutex::default() }
    }

    /// The session with a VM's QEMU, begun if there is none.
    async fn session(&self, id: &JailId, verb: &'static str) -> HostResult<Arc<Session>> {
        if let Some(session) = self.sessions.lock().get(id).filter(|session| session.is_open()) {
            return Ok(session.clone());
        }
        // One that is over is dropped first: QEMU serves one client at a time.
        self.sessions.lock().remove(id);
        let stream = connect_in(&self.tree, id, in_jail::api_socket(VmmKind::Qemu), verb).await?;
        let (tree, jail) = (self.tree.clone(), id.clone());
        let session = Session::begin(stream, move |event| {
            if let Some(line) = event.log_line() {
                write_log(&tree, &jail, &line);
            }
        });
        let session = Arc::new(session.await.map_err(|error| unanswered(verb, id, error))?);
        let mut sessions = self.sessions.lock();
        // Those of VMs that are gone.
        sessions.retain(|_, session| session.is_open());
        sessions.insert(id.clone(), session.clone());
        drop(sessions);
        Ok(session)
    }

    /// One command within its time limit.
    async fn ask(
        &self,
        id: &JailId,
        verb: &'static str,
        command: &str,
        arguments: Value,
    ) -> HostResult<Value> {
        let asked = async {
            let session = self.session(id, verb).await?;
            session.ask(command, &arguments).await.map_err(|error| unanswered(verb, id, error))
        };
        let answer = tokio::time::timeout(self.limit, asked).await.unwrap_or_else(|_| {
            Err(HostError::new(HostErrorKind::TimedOut, verb, id)
                .detail(format!("no answer to {command} within {:?}", self.limit)))
        });
        if answer.as_ref().is_err_and(|error| error.kind != HostErrorKind::Refused) {
            self.sessions.lock().remove(id);
        }
        answer
    }

    async fn started(&self, id: &JailId, verb: &'static str) -> HostResult<()> {
        match self.describe(id).await? {
            VmmState::Running | VmmState::Paused => Ok(()),
            VmmState::NotStarted => Err(HostError::new(HostErrorKind::Refused, verb, id)
                .detail("the guest was not started yet")),
        }
    }
}

fn unanswered(verb: &'static str, id: &JailId, error: Unanswered) -> HostError {
    match error {
        Unanswered::Refused(words) => {
            HostError::new(HostErrorKind::Refused, verb, id).detail(format!("QEMU says: {words}"))
        }
        // As for a socket that nobody listens on: the process is about to be found dead.
        Unanswered::Over | Unanswered::Send(_) => {
            HostError::new(HostErrorKind::NotFound, verb, id).because(error)
        }
    }
}

/// Puts a line into the VMM's own log, beside what it says itself. Lost when the FIFO is full.
fn write_log(tree: &JailTree, id: &JailId, line: &str) {
    match open_fifo(tree, id, in_jail::LOG) {
        Ok(Some(fifo)) => {
            if let Err(error) = rustix::io::write(&fifo, line.as_bytes()) {
                tracing::debug!(jail = %id, %error, line, "an event of QEMU was not logged");
            }
        }
        Ok(None) => {}
        Err(error) => tracing::debug!(jail = %id, error = error.chain(), line, "not logged"),
    }
}

#[async_trait]
impl Vmm for QemuApi {
    async fn wait_ready(&self, id: &JailId, limit: Duration) -> HostResult<()> {
        until_ready(self, id, READY_PAUSE, limit).await
    }

    async fn configure(&self, id: &JailId, config: &VmmConfig) -> HostResult<()> {
        // It was told at its launch. What is left: nothing that the guest prints is to be missed.
        self.outputs.connect_console(id).await?;
        let limited = |net: &NetInterface| {
            [net.receive, net.send].iter().any(|limit| *limit != RateLimit::default())
        };
        if config.interface.as_ref().is_some_and(limited) {
            tracing::warn!(jail = %id, "QEMU has no limits on the network: the guest has none");
        }
        Ok(())
    }

    async fn start(&self, id: &JailId) -> HostResult<()> {
        let verb = "start the guest of";
        match self.describe(id).await? {
            VmmState::NotStarted => self.ask(id, verb, "cont", Value::Null).await.map(drop),
            VmmState::Running | VmmState::Paused => {
                Err(HostError::new(HostErrorKind::Refused, verb, id)
                    .detail("it was started before"))
            }
        }
    }

    async fn pause(&self, id: &JailId) -> HostResult<()> {
        let verb = "pause the guest of";
        self.started(id, verb).await?;
        self.ask(id, verb, "stop", Value::Null).await.map(drop)
    }

    async fn resume(&self, id: &JailId) -> HostResult<()> {
        let verb = "resume the guest of";
        self.started(id, verb).await?;
        self.ask(id, verb, "cont", Value::Null).await.map(drop)
    }

    async fn send_ctrl_alt_del(&self, id: &JailId) -> HostResult<()> {
        let verb = "press Ctrl-Alt-Del in the guest of";
        self.ask(id, verb, "send-key", qmp::ctrl_alt_del()).await.map(drop)
    }

    async fn describe(&self, id: &JailId) -> HostResult<VmmState> {
        let verb = "ask the state of";
        let answer = self.ask(id, verb, "query-status", Value::Null).await?;
        qmp::state(&answer)
            .map_err(|words| HostError::new(HostErrorKind::Other, verb, id).detail(words))
    }

    async fn put_metadata(&self, id: &JailId, _json: &str) -> HostResult<()> {
        tracing::info!(jail = %id, "QEMU has no metadata service: seen from the next start on");
        Ok(())
    }
}

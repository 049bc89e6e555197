//! Streams to a guest, by way of the agent of its host: its console, programs, files, connections.
//!
//! Driven by the API, which joins the streams of a client with those of a link. Both ends are
//! pulled: a reader that does not read stops the writer at the other end, over all hops, and nobody
//! in between holds more than a few messages. Dropping a stream ends the call at the agent. What
//! can go wrong: the agent is not there or goes away, or says no; what it says goes on to the
//! client.

use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use banger_proto::ids::VmId;
use futures_util::stream::BoxStream;
use tonic::Code;

use super::error::LinkError;
use crate::model::guest::{Copied, CopyTo, ExecIn, ExecOut};

/// What a client sends; its end is the end of the input.
pub type Input<T> = BoxStream<'static, T>;

/// What comes from the guest.
pub type Output<T> = BoxStream<'static, Result<T, GuestError>>;

/// Why a stream came to nothing, or to an end.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GuestError {
    /// The agent was not reached, or was lost.
    #[error(transparent)]
    Link(#[from] LinkError),
    /// The agent was reached, and the guest did not begin to answer.
    #[error("no answer within {after:?}")]
    Silent {
        /// How long it was waited.
        after: Duration,
    },
    /// The agent says no.
    #[error("{message}")]
    Said {
        code: Code,
        /// Its reason code; empty from agents that gave none.
        reason: String,
        /// Its sentence.
        message: String,
    },
}

/// The guests of one host.
#[async_trait]
pub trait GuestLink: fmt::Debug + Send + Sync + 'static {
    /// The console of a VM from `past` bytes ago on; with `follow` also what comes.
    async fn read_console(
        &self,
        vm: VmId,
        past: u64,
        follow: bool,
    ) -> Result<Output<Vec<u8>>, GuestError>;

    /// The same, followed, while the input is typed.
    async fn attach_console(
        &self,
        vm: VmId,
        past: u64,
        input: Input<Vec<u8>>,
    ) -> Result<Output<Vec<u8>>, GuestError>;

    /// Runs a program. The input begins with [`ExecIn::Start`].
    async fn exec(&self, vm: VmId, input: Input<ExecIn>) -> Result<Output<ExecOut>, GuestError>;

    /// Unpacks a tar stream.
    async fn copy_in(
        &self,
        vm: VmId,
        to: CopyTo,
        input: Input<Vec<u8>>,
    ) -> Result<Copied, GuestError>;

    /// Packs a file or directory into a tar stream.
    async fn copy_out(&self, vm: VmId, path: String) -> Result<Output<Vec<u8>>, GuestError>;

    /// A connection to a TCP port.
    async fn forward(
        &self,
        vm: VmId,
        port: u16,
        input: Input<Vec<u8>>,
    ) -> Result<Output<Vec<u8>>, GuestError>;
}

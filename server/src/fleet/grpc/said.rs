//! One observation of an agent, message by message, at the pace that it is let in at.

use banger_proto::agent_v1 as wire;
use banger_proto::words;
use futures_util::StreamExt as _;
use tokio::time::{Instant, sleep};

use crate::fleet::convert::entrance::Entrance;
use crate::fleet::link::{LinkError, Message};

/// What an agent says on one observation, as it is let in.
pub(super) struct Said {
    pub(super) address: String,
    pub(super) stream: tonic::Streaming<wire::ObserveResponse>,
    pub(super) entrance: Entrance,
}

impl Said {
    pub(super) async fn next(&mut self) -> Option<Result<Message, LinkError>> {
        let address = self.address.clone();
        let response = match self.stream.next().await? {
            Ok(response) => response,
            Err(status) => {
                let message = format!("{:?}: {}", status.code(), status.message());
                let message = words::sentence(message);
                return Some(Err(LinkError::OutcomeUnknown { address, message }));
            }
        };
        match self.entrance.take(response, Instant::now()) {
            Ok((message, wait)) => {
                if !wait.is_zero() {
                    // Whoever says too much waits here, and HTTP/2 makes the agent wait.
                    sleep(wait).await;
                }
                Some(Ok(message))
            }
            Err(breach) => Some(Err(LinkError::Protocol { address, message: breach.to_string() })),
        }
    }
}

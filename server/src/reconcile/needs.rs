//! Which images an assignment waits for, in words for its VM.
//!
//! Asked by the driver before it sends. What is to run needs its images on the host; what is to
//! stop or to go needs none. Begins transfers by asking for them, and decides nothing else.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::spread::{Spread, Standing};
use crate::fleet::link::{AgentLink, Command};
use crate::model::host::HostView;
use crate::model::intent::Desired;
use crate::model::status::Trouble;
use crate::watch::VmRecord;

/// The reason shown while an image is on its way.
pub(super) const IMAGE_TRANSFER: &str = "IMAGE_TRANSFER";

/// Whether a VM is shown to wait for an image.
pub(super) fn is_shown(record: &VmRecord) -> bool {
    record.trouble.as_ref().is_some_and(|trouble| trouble.reason == IMAGE_TRANSFER)
}

/// How often to look how far a transfer is.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// What an assignment waits for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Waits {
    /// In words.
    pub(super) trouble: Trouble,
    /// When to look again.
    pub(super) again: Instant,
}

/// What this command waits for; `None`: it can be sent.
pub(super) fn waits(
    spread: &Arc<Spread>,
    link: &Arc<dyn AgentLink>,
    host: &HostView,
    command: &Command,
    now: Instant,
) -> Option<Waits> {
    match command.intent.desired {
        Desired::Running | Desired::Paused => {}
        Desired::Stopped | Desired::Absent => return None,
    }
    // All of them are asked for, so that the next is under way when the first is there.
    let missing: Vec<(String, Instant)> = command
        .intent
        .spec
        .images()
        .filter_map(|(_, image)| Some((image, image.stored_digest()?)))
        .filter_map(|(image, digest)| {
            let facts = host.facts.as_deref();
            let standing = spread.need(host.record.id, link, facts, digest, now);
            sentence(&image.name, &host.record.name, standing, now)
        })
        .collect();
    let again = missing.iter().map(|(_, again)| *again).min()?;
    let message = missing.into_iter().map(|(text, _)| text).collect::<Vec<_>>().join("; ");
    Some(Waits { trouble: Trouble { reason: IMAGE_TRANSFER, message }, again })
}

/// In steps of ten per cent: every change is one for each VM that waits.
fn sentence(
    image: &str,
    host: &str,
    standing: Standing,
    now: Instant,
) -> Option<(String, Instant)> {
    let look_again = now + LOOK_AGAIN;
    match standing {
        Standing::Here => None,
        Standing::Missing | Standing::Coming { of: 0, .. } => {
            Some((format!("image {image} waits to be brought to host {host}"), look_again))
        }
        Standing::Coming { sent, of } => {
            let tenths = sent.saturating_mul(10) / of;
            let (done, mib) = (tenths.min(10) * 10, of.div_ceil(1 << 20));
            let text = format!("image {image} is brought to host {host}: {done} % of {mib} MiB");
            Some((text, look_again))
        }
        Standing::Failed { error, again } => {
            let text = format!(
                "image {image} could not be brought to host {host}: {error}; it is tried again"
            );
            Some((text, again))
        }
    }
}

#[cfg(test)]
mod tests;

//! Which images an assignment needs on its host, how they stand there, and that in words. Pure.
//!
//! What is to run needs its images; what is to stop or to go needs none.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::model::audience::TRANSFER_FAILED;
use crate::model::host::HostFacts;
use crate::model::image::host_file;
use crate::model::intent::{Desired, VmIntent};
use crate::model::status::Trouble;

/// The reason shown while an image is on its way.
pub(super) const IMAGE_TRANSFER: &str = "IMAGE_TRANSFER";

/// How often to look how far a transfer is.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// How an image stands on a host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ImageStanding {
    /// It is there.
    Here,
    /// It is on its way, or waits for others.
    Coming {
        /// Bytes sent.
        sent: u64,
        /// Bytes in all; zero while it is not begun.
        of: u64,
    },
    /// The last try came to nothing.
    Failed {
        error: String,
        /// When it is tried again.
        again: Instant,
    },
    /// It is not there, and nobody has asked for it.
    Missing,
}

/// The images of a host: what its facts list, and what has become of them since.
#[derive(Debug, Default)]
pub struct HostImages {
    facts: Option<Arc<HostFacts>>,
    since: HashMap<String, ImageStanding>,
}

impl HostImages {
    pub(super) fn new(
        facts: Option<&Arc<HostFacts>>,
        since: HashMap<String, ImageStanding>,
    ) -> Self {
        Self { facts: facts.map(Arc::clone), since }
    }

    /// How an image stands there, by its digest.
    pub(super) fn standing(&self, sha256: &str) -> ImageStanding {
        match self.since.get(sha256) {
            Some(standing) => standing.clone(),
            None if in_facts(self.facts.as_deref(), sha256) => ImageStanding::Here,
            None => ImageStanding::Missing,
        }
    }
}

/// Whether the facts of a host list an image.
pub(super) fn in_facts(facts: Option<&HostFacts>, sha256: &str) -> bool {
    let name = host_file(sha256);
    facts.is_some_and(|facts| facts.images.iter().any(|file| file.name == name))
}

/// The images that keep an assignment back. At least one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fetch {
    /// The digests of those to be sent off now. The others are on their way, or failed and are not
    /// due again.
    pub begin: Vec<String>,
    /// When to look again how they stand.
    pub again: Instant,
    /// How each of them stands, for people.
    pub message: String,
}

impl Fetch {
    /// As it is shown with the VM.
    pub(super) fn trouble(&self) -> Trouble {
        Trouble { reason: IMAGE_TRANSFER, message: self.message.clone() }
    }
}

/// What the assignment of this intent waits for; `None`: nothing, it can be sent.
pub(super) fn missing(
    intent: &VmIntent,
    host: &str,
    images: &HostImages,
    now: Instant,
) -> Option<Fetch> {
    match intent.desired {
        Desired::Running | Desired::Paused => {}
        Desired::Stopped | Desired::Absent => return None,
    }
    let mut begin = Vec::new();
    let mut again = None;
    let mut sentences = Vec::new();
    // All of them are looked at, so that the next is under way when the first is there.
    for (_, image) in intent.spec.images() {
        let Some(digest) = image.stored_digest() else { continue };
        let mut standing = images.standing(digest);
        let due = match &standing {
            ImageStanding::Missing => true,
            ImageStanding::Failed { again, .. } => *again <= now,
            ImageStanding::Here | ImageStanding::Coming { .. } => false,
        };
        if due {
            begin.push(digest.to_owned());
            standing = ImageStanding::Missing;
        }
        let Some((sentence, look)) = sentence(&image.name, host, standing, now) else { continue };
        sentences.push(sentence);
        again = Some(again.map_or(look, |again: Instant| again.min(look)));
    }
    Some(Fetch { begin, again: again?, message: sentences.join("; ") })
}

/// In steps of ten per cent: every change is one for each VM that waits.
fn sentence(
    image: &str,
    host: &str,
    standing: ImageStanding,
    now: Instant,
) -> Option<(String, Instant)> {
    let look_again = now + LOOK_AGAIN;
    match standing {
        ImageStanding::Here => None,
        ImageStanding::Missing | ImageStanding::Coming { of: 0, .. } => {
            Some((format!("image {image} waits to be brought to host {host}"), look_again))
        }
        ImageStanding::Coming { sent, of } => {
            let tenths = sent.saturating_mul(10) / of;
            let (done, mib) = (tenths.min(10) * 10, of.div_ceil(1 << 20));
            let text = format!("image {image} is brought to host {host}: {done} % of {mib} MiB");
            Some((text, look_again))
        }
        ImageStanding::Failed { error, again } => {
            let text = format!("image {image}{TRANSFER_FAILED}{host}: {error}; it is tried again");
            Some((text, again))
        }
    }
}

#[cfg(test)]
mod tests;

//! Hosts: what is stored of them, what their agents say, and how they fare.
//!
//! A [`HostRecord`] is a row. [`HostFacts`] and [`HostHealth`] live in memory only and are gone
//! with the server: facts come anew with each session, health is judged from heartbeats.

use std::fmt;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use banger_proto::ids::HostId;
use jiff::Timestamp;

use super::capacity::AcceptedCapacity;
pub use super::capacity::Resources;
use super::etag::etag;
use super::labels::Labels;
use super::subnet::Subnet;

/// What a ratio of an overcommit may be, in thousandths.
pub const MILLIS: RangeInclusive<u32> = 100..=100_000;

/// Where one host is booked otherwise than the others, in thousandths.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct HostOvercommit {
    /// For vCPUs; `None`: as all hosts.
    pub vcpus_milli: Option<u32>,
    /// For memory; `None`: as all hosts.
    pub memory_milli: Option<u32>,
}

impl HostOvercommit {
    /// A ratio of a request in thousandths; 0 is `None`.
    ///
    /// # Errors
    /// A sentence, when it is no ratio that may be.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "checked to be 0.1 to 100 before"
    )]
    pub fn millis(ratio: f64) -> Result<Option<u32>, &'static str> {
        if ratio == 0.0 {
            return Ok(None);
        }
        if !(0.1..=100.0).contains(&ratio) {
            return Err("must be 0.1 to 100, or 0 for what the server is set to");
        }
        Ok(Some((ratio * 1000.0).round() as u32))
    }

    /// A ratio as a request has it; `None` is 0.
    pub fn ratio(millis: Option<u32>) -> f64 {
        f64::from(millis.unwrap_or(0)) / 1000.0
    }
}

/// sha256 of a public key, as a certificate request and a certificate have it.
pub type KeyDigest = [u8; 32];

/// What is stored of a host: a row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostRecord {
    /// Made by the server at the first join; in the agent's certificate.
    pub id: HostId,
    /// DNS label, unique.
    pub name: String,
    /// Where the server dials the agent: `address:port`.
    pub agent_address: String,
    pub labels: Labels,
    /// Whether further VMs are kept off it.
    pub cordoned: bool,
    /// Where its guests' addresses come from.
    pub subnet: Subnet,
    /// Where it is booked otherwise than the server is set.
    pub overcommit: HostOvercommit,
    /// What an operator has accepted of what it says that it has.
    pub accepted: AcceptedCapacity,
    /// What its agent said first that it has.
    pub first_capacity: AcceptedCapacity,
    /// When the present certificate of its agent expires.
    pub certificate_expires_at: Timestamp,
    /// When it was made, by the clock of then; `None`: not kept.
    pub certificate_made_at: Option<Timestamp>,
    /// sha256 of the CA that signed it; `None`: the one that the fleet began with.
    pub ca_sha256: Option<[u8; 32]>,
    /// The key of that certificate: whoever has another is not this host. `None` for a host
    /// that joined before keys were kept, until it joins again or its certificate is renewed.
    pub key_sha256: Option<KeyDigest>,
    /// The id of the token that it joined with last; `None`: not kept. Whatever key it has had
    /// since came by renewals.
    pub joined_by: Option<String>,
    /// How far the renewal of its certificate has come.
    pub renewal: Renewal,
    /// That somebody has shut it out; `None`: nobody has.
    pub revoked: Option<Revocation>,
    /// Counts changes of this record that somebody asked for, from 1. A renewal is none.
    pub generation: u64,
    /// When it joined first.
    pub created_at: Timestamp,
    /// When this record last changed.
    pub updated_at: Timestamp,
}

/// The exchange of an agent's certificate for the next, as it is stored.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Renewal {
    /// The certificate that was offered: its key is as good as the present one until the agent has
    /// shown it, and the only one from then on.
    pub next: Option<OfferedCertificate>,
    /// The key before the present one, where that came by a renewal: what was begun with it goes
    /// on.
    pub renewed_from: Option<KeyDigest>,
}

/// A certificate that is offered to an agent, and not known to be in use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OfferedCertificate {
    pub key_sha256: KeyDigest,
    pub made_at: Timestamp,
    pub expires_at: Timestamp,
    /// sha256 of the CA that signs it.
    pub ca_sha256: [u8; 32],
}

/// A host that was shut out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Revocation {
    pub at: Timestamp,
    /// Who did.
    pub by: String,
    /// As they say it.
    pub reason: String,
}

/// A key of an agent that is good for no host any more, whatever became of the one that had it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RevokedKey {
    pub key_sha256: KeyDigest,
    /// Whose it was.
    pub host: HostId,
    pub host_name: String,
    pub revoked_at: Timestamp,
}

/// The certificate that an agent shows, and how its renewal goes. Not stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateSeen {
    /// When it expires.
    pub not_after: Timestamp,
    /// Why the newest try to renew it failed.
    pub failure: Option<RenewalFailure>,
}

/// Why a certificate is not renewed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RenewalFailure {
    /// A sentence.
    pub message: String,
    /// When the first of the tries failed that have failed since.
    pub since: Timestamp,
    /// It goes on for so long that somebody has to look.
    pub is_fault: bool,
}

impl HostRecord {
    /// What counts at most of what its agent says.
    pub fn ceiling(&self) -> AcceptedCapacity {
        self.accepted.or(self.first_capacity)
    }

    /// Whether an agent that shows this key is the host's.
    pub fn accepts(&self, shown: KeyDigest) -> bool {
        if self.revoked.is_some() {
            return false;
        }
        let offered = self.renewal.next.map(|next| next.key_sha256);
        self.key_sha256.is_none_or(|key| key == shown) || offered == Some(shown)
    }

    /// Whether what was begun while the host had this key goes on: it has it still, or has
    /// exchanged it.
    pub fn follows(&self, key: Option<KeyDigest>) -> bool {
        self.key_sha256 == key || (key.is_some() && self.renewal.renewed_from == key)
    }

    /// The etag of this generation of the record.
    pub fn etag(&self) -> String {
        etag(b"host", &self.id.to_string(), self.generation)
    }
}

/// What an agent says is true of its host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostFacts {
    /// `/proc/sys/kernel/random/boot_id`.
    pub boot_id: String,
    /// Counts the starts of the agent on its host.
    pub agent_epoch: u64,
    pub agent_version: String,
    /// No kernel object is made there.
    pub simulated: bool,
    /// The VMM that runs new guests there.
    pub vmm: String,
    /// How new guests get their root disk.
    pub root_disks: String,
    pub kernel_release: String,
    /// What the kernel has, less what is reserved for the host.
    pub capacity: Resources,
    /// Files in the image directory.
    pub images: Vec<ImageFile>,
    /// How often the agent sends something at least.
    pub heartbeat_interval: Duration,
    /// sha256 of each CA whose server the agent lets in, sorted; empty: it does not say.
    pub trusted: Vec<[u8; 32]>,
}

/// A file in a host's image directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageFile {
    /// File name.
    pub name: String,
    pub size_bytes: u64,
    /// Digest in lower case; empty while it is being computed.
    pub sha256: String,
    /// What it is.
    pub kind: ImageKind,
}

/// What an image file is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ImageKind {
    /// Neither of the two below.
    Unknown,
    /// An ELF kernel.
    Kernel,
    /// An ext4 file system.
    Root,
}

/// How a host's agent is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HostState {
    /// Never reached since the server started.
    Connecting,
    /// Inventory in, heartbeat fresh.
    Online,
    /// The stream broke or the heartbeat is late; may come back any moment.
    Suspect,
    /// Not reached for longer than the limit.
    Offline,
    /// Somebody has shut it out.
    Revoked,
}

impl HostState {
    /// Whether what is known of the host's VMs may be believed.
    pub const fn is_online(self) -> bool {
        match self {
            Self::Online => true,
            Self::Connecting | Self::Suspect | Self::Offline | Self::Revoked => false,
        }
    }

    /// The word logged and counted.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Connecting => "CONNECTING",
            Self::Online => "ONLINE",
            Self::Suspect => "SUSPECT",
            Self::Offline => "OFFLINE",
            Self::Revoked => "REVOKED",
        }
    }
}

impl fmt::Display for HostState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// How a host fares, since when, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostHealth {
    /// How its agent is reached.
    pub state: HostState,
    /// Since when.
    pub since: Timestamp,
    /// Reason code, such as `HOST_UNREACHABLE`; empty when online.
    pub reason: &'static str,
    /// The same as a sentence, with the error of the last try.
    pub message: String,
    /// When the agent was last heard.
    pub last_seen: Option<Timestamp>,
}

impl HostHealth {
    /// Of a host that was shut out.
    pub fn revoked(record: &HostRecord, by: &Revocation, last_seen: Option<Timestamp>) -> Self {
        let why = if by.reason.is_empty() { String::new() } else { format!(": {}", by.reason) };
        Self {
            state: HostState::Revoked,
            since: by.at,
            reason: "HOST_REVOKED",
            message: format!("host {} was shut out by {}{why}", record.name, by.by),
            last_seen,
        }
    }

    /// Of a host when the server starts.
    pub fn connecting(since: Timestamp) -> Self {
        Self {
            state: HostState::Connecting,
            since,
            reason: "HOST_NOT_YET_SEEN",
            message: "the agent has not been reached since the server started".to_owned(),
            last_seen: None,
        }
    }
}

/// All that is known of a host now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostView {
    /// The stored record.
    pub record: Arc<HostRecord>,
    /// How it fares.
    pub health: HostHealth,
    /// What its agent said last in this life of the server.
    pub facts: Option<Arc<HostFacts>>,
}

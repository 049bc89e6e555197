//! Renews the certificates of agents, over the links that are up.
//!
//! ```text
//! due ─▶ ask the agent for a key ─▶ offer on record ─▶ sign, install ─▶ look ─▶ confirm on record
//! ```
//! A look is a connection of its own: what it is shown is what new connections are shown. From the
//! offer to the confirmation both keys are good, so that a crash of either side at any step leaves
//! the host served; each pass begins with what is on record and what the agent shows, and goes on
//! from there. What is asked for twice is answered the same.
//!
//! One task, which looks at all hosts every few seconds and decides by [`plan`]. What can go wrong:
//! the agent is too old, its disk is full, or what it shows is not what it was given. Then it is
//! tried again, more and more rarely, and the host shows why; close to the end it is a fault.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use banger_proto::ids::HostId;
use jiff::Timestamp;
use tokio::task::{JoinError, JoinSet};
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use super::Parts;
use crate::fleet::backoff::Backoff;
use crate::fleet::certificates::{CertificateLink, CertificateShown};
use crate::fleet::link::AgentLink;
use crate::model::caller::Caller;
use crate::model::host::{CertificateSeen, HostRecord, OfferedCertificate, RenewalFailure};
use crate::model::ledger::{ConfirmCertificate, Mutation, OfferCertificate};
use crate::pki::{AgentRequest, Authorities, later};

/// How often all hosts are looked at. Without I/O where nothing is due.
const EVERY: Duration = Duration::from_secs(2);

/// Hosts that are renewed at one time.
const AT_ONCE: usize = 8;

/// Between two tries of one host.
const RETRY: (Duration, Duration) = (Duration::from_secs(2), Duration::from_secs(1800));

const DAY: Duration = Duration::from_secs(24 * 3600);

/// Most steps of one pass over a host: a renewal has three.
const MAX_STEPS: usize = 4;

/// By what certificates are made.
#[derive(Debug, Clone)]
pub struct Certificates {
    pub cas: Arc<ArcSwap<Authorities>>,
    /// How long an agent's is good.
    pub validity: Duration,
}

/// What is to be done about the certificate of one host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Next {
    /// It is good for long enough.
    Nothing,
    /// What the agent shows is not known, or not on record: connect and see.
    Look,
    /// The agent shows the one that was offered: it is the only one from now on.
    Confirm,
    /// Give it another, from the beginning.
    Renew,
    /// It was made later than now: the clock was set back, then or since. One that is made by a
    /// clock that is behind has expired once that is set right, and the host would be lost.
    ClockIsBehind,
}

/// What is known of a host's certificate.
#[derive(Debug, Clone, Copy)]
struct CertificateSight {
    shown: Option<CertificateShown>,
    /// It was shown in this pass.
    looked: bool,
    /// The CA that signs now has signed it.
    newest_ca: bool,
}

/// What is next, by what is on record and what the agent shows.
fn plan(record: &HostRecord, sight: CertificateSight, now: Timestamp, validity: Duration) -> Next {
    let CertificateSight { shown, looked, newest_ca } = sight;
    let Some(shown) = shown.filter(|shown| looked || record.accepts(shown.key_sha256)) else {
        return Next::Look;
    };
    let made_at = record.renewal.next.map(|next| next.made_at).max(record.certificate_made_at);
    let next = match record.renewal.next {
        Some(next) if next.key_sha256 == shown.key_sha256 => Next::Confirm,
        // It may have been installed since.
        Some(_) if !looked => Next::Look,
        // It was not: the server or the agent died before.
        Some(_) => Next::Renew,
        None if is_due(shown.not_after, now, validity) || !newest_ca => Next::Renew,
        None => Next::Nothing,
    };
    match next {
        Next::Renew if made_at.is_some_and(|made| later(now, DAY) < made) => Next::ClockIsBehind,
        next => next,
    }
}

/// In the last third of its life. One that is good for longer than certificates are (by a day, for
/// clocks that are corrected) is due at once: it was made when they were good for longer.
fn is_due(not_after: Timestamp, now: Timestamp, validity: Duration) -> bool {
    let (end, third) = (later(now, validity + DAY), later(now, validity / 3));
    not_after <= third || not_after > end
}

/// Half of the time that there was for it has passed.
fn is_fault(not_after: Timestamp, now: Timestamp, validity: Duration) -> bool {
    not_after <= later(now, validity / 6)
}

/// What is remembered of a host whose renewal fails.
#[derive(Debug)]
struct Failing {
    since: Timestamp,
    backoff: Backoff,
    again_at: Instant,
}

/// Runs until it is cancelled.
pub(super) async fn run(parts: Arc<Parts>, cancel: CancellationToken) {
    let mut failing = HashMap::new();
    loop {
        // Cancel-safe: each pass goes on from what is on record and what the agent shows.
        tokio::select! {
            () = cancel.cancelled() => return,
            () = pass(&parts, &mut failing) => {}
        }
        tokio::select! {
            () = cancel.cancelled() => return,
            () = sleep(EVERY) => {}
        }
    }
}

async fn pass(parts: &Arc<Parts>, failing: &mut HashMap<HostId, Failing>) {
    let hosts = parts.view.hosts();
    failing.retain(|id, _| hosts.iter().any(|host| host.view.record.id == *id));
    // Dropped, it ends the tasks.
    let mut under_way = JoinSet::new();
    for host in hosts {
        let record = Arc::clone(&host.view.record);
        if failing.get(&record.id).is_some_and(|failing| failing.again_at > Instant::now()) {
            continue;
        }
        let link = parts.fleet.ready_link(record.id);
        let Some(link) = link.and_then(AgentLink::certificates) else { continue };
        if under_way.len() >= AT_ONCE {
            collect(parts, failing, under_way.join_next().await);
        }
        let trusted = host.view.facts.as_ref().map(|facts| facts.trusted.clone());
        let trusted = trusted.unwrap_or_default();
        under_way.spawn(one_host(Arc::clone(parts), record, trusted, link));
    }
    while !under_way.is_empty() {
        collect(parts, failing, under_way.join_next().await);
    }
}

fn collect(
    parts: &Parts,
    failing: &mut HashMap<HostId, Failing>,
    ended: Option<Result<Worked, JoinError>>,
) {
    match ended {
        Some(Ok(worked)) => note(parts, failing, worked),
        Some(Err(error)) => tracing::error!(error = %error, "a renewal ended by a defect"),
        None => {}
    }
}

/// What came of a pass over one host.
struct Worked {
    record: Arc<HostRecord>,
    /// What its agent shows.
    shown: Option<CertificateShown>,
    /// Why not more was done.
    failure: Option<String>,
}

/// Remembers what failed, and shows it.
fn note(parts: &Parts, failing: &mut HashMap<HostId, Failing>, worked: Worked) {
    let Worked { record, shown, failure } = worked;
    let now = parts.clock.now();
    let failure = failure.map(|message| {
        let failing = failing.entry(record.id).or_insert_with(|| Failing {
            since: now,
            backoff: Backoff::new(RETRY.0, RETRY.1, record.id.uuid().as_u128()),
            again_at: Instant::now(),
        });
        failing.again_at = Instant::now() + failing.backoff.next_delay();
        tracing::warn!(host.id = %record.id, host.name = %record.name, why = message,
            tries = failing.backoff.tries(), "the agent's certificate is not renewed yet");
        (message, failing.since)
    });
    if failure.is_none() {
        failing.remove(&record.id);
    }
    let Some(CertificateShown { not_after, .. }) = shown else { return };
    let failure = failure.map(|(message, since)| RenewalFailure {
        message: format!(
            "the certificate of host {}, good until {not_after:.0}, is not renewed: {message}",
            record.name
        ),
        since,
        is_fault: is_fault(not_after, now, parts.certificates.validity),
    });
    parts.view.certificate(record.id, CertificateSeen { not_after, failure });
}

/// Does what is next for one host until nothing is.
async fn one_host(
    parts: Arc<Parts>,
    record: Arc<HostRecord>,
    trusted: Vec<[u8; 32]>,
    link: Arc<dyn CertificateLink>,
) -> Worked {
    let mut worked = Worked { record, shown: link.shown(), failure: None };
    let mut looked = false;
    for _ in 0..MAX_STEPS {
        let (now, validity) = (parts.clock.now(), parts.certificates.validity);
        let cas = parts.certificates.cas.load();
        let newest_ca = cas.is_newest(worked.record.ca_sha256);
        drop(cas);
        let sight = CertificateSight { shown: worked.shown, looked, newest_ca };
        let step = match plan(&worked.record, sight, now, validity) {
            Next::Nothing => {
                let failure = trust(&parts, &trusted, &*link).await.err();
                return Worked { failure, ..worked };
            }
            Next::Look => {
                looked = true;
                let seen = link.look().await.map_err(|error| error.to_string());
                seen.map(|seen| worked.shown = Some(seen))
            }
            Next::Confirm => confirm(&parts, &mut worked).await,
            Next::ClockIsBehind => {
                Err("it was made later than the server's clock says that it is now".to_owned())
            }
            Next::Renew => {
                looked = true;
                renew(&parts, &mut worked, &*link).await
            }
        };
        if let Err(why) = step {
            return Worked { failure: Some(why), ..worked };
        }
    }
    let why = "the agent goes on showing other certificates than it is given".to_owned();
    Worked { failure: Some(why), ..worked }
}

/// From a new key to a look at what the agent shows with it.
async fn renew(
    parts: &Parts,
    worked: &mut Worked,
    link: &dyn CertificateLink,
) -> Result<(), String> {
    let Certificates { cas, validity } = &parts.certificates;
    let cas = cas.load_full();
    let ca = cas.signing();
    let host = worked.record.id;
    let asked = link.prepare().await.map_err(|error| error.to_string())?;
    let asked = AgentRequest::read(&asked).map_err(|why| format!("the agent's request {why}"))?;
    let now = parts.clock.now();
    let expires_at = later(now, *validity);
    let offer = OfferedCertificate {
        key_sha256: asked.key_sha256(),
        made_at: now,
        expires_at,
        ca_sha256: ca.fingerprint(),
    };
    // Before it is signed: whatever the agent comes to show is on record.
    worked.record = submitted(parts, OfferCertificate { host, offer }).await?;
    let signed = ca.sign_agent(&asked, host, now, expires_at).map_err(|error| error.to_string())?;
    let installed = link.install(&signed, &cas.trusted_pem()).await;
    // An answer that was lost says nothing: what it shows does.
    let seen = link.look().await.map_err(|error| error.to_string())?;
    worked.shown = Some(seen);
    match installed {
        _ if seen.key_sha256 == offer.key_sha256 => Ok(()),
        Err(error) => Err(error.to_string()),
        Ok(()) => Err("the agent does not show the certificate that it has taken".to_owned()),
    }
}

/// Tells the agent which CAs there are, where it says that it trusts others.
async fn trust(
    parts: &Parts,
    trusted: &[[u8; 32]],
    link: &dyn CertificateLink,
) -> Result<(), String> {
    let cas = parts.certificates.cas.load_full();
    if trusted.is_empty() || trusted == cas.digests() {
        return Ok(());
    }
    link.install("", &cas.trusted_pem()).await.map_err(|error| error.to_string())
}

async fn confirm(parts: &Parts, worked: &mut Worked) -> Result<(), String> {
    let Some(CertificateShown { key_sha256, not_after }) = worked.shown else { return Ok(()) };
    let host = worked.record.id;
    worked.record = submitted(parts, ConfirmCertificate { host, key_sha256 }).await?;
    tracing::info!(host.id = %host, host.name = %worked.record.name, until = %not_after,
        "the agent's certificate was renewed");
    Ok(())
}

async fn submitted<M>(parts: &Parts, mutation: M) -> Result<Arc<HostRecord>, String>
where
    M: Mutation<Answer = Arc<HostRecord>>,
{
    let caller = Caller::server(parts.clock.now());
    parts.store.submit(caller, mutation).await.map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests;

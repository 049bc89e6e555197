//! The certificate that the server shows to agents: made at the start, in memory, and again at two
//! thirds of its life. Each dial takes the one of the moment; connections that are open go on.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use jiff::Timestamp;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::clock::SharedClock;
use crate::fleet::grpc::ClientIdentity;
use crate::pki::{Authorities, CLIENT_VALIDITY, CaError, later};

/// How often it is looked at. Without I/O.
const EVERY: Duration = Duration::from_secs(2);

/// The certificate in use, and by what it is made.
#[derive(Debug)]
pub(super) struct OwnCertificate {
    cas: Arc<ArcSwap<Authorities>>,
    clock: SharedClock,
    in_use: Arc<ArcSwap<ClientIdentity>>,
    made_at: Timestamp,
    /// The CA that signed it, and those that it believes.
    made_of: ([u8; 32], Vec<[u8; 32]>),
}

impl OwnCertificate {
    /// Makes the first one.
    ///
    /// # Errors
    /// It can't be made.
    pub(super) fn make(
        cas: Arc<ArcSwap<Authorities>>,
        clock: SharedClock,
    ) -> Result<Self, CaError> {
        let (made_at, of) = (clock.now(), cas.load_full());
        let in_use = Arc::new(ArcSwap::from_pointee(made(&of, made_at)?));
        Ok(Self { cas, clock, in_use, made_at, made_of: parts_of(&of) })
    }

    /// What dials take.
    pub(super) fn in_use(&self) -> Arc<ArcSwap<ClientIdentity>> {
        Arc::clone(&self.in_use)
    }

    /// Renews it until it is told to stop. One that can't be made is tried again; the old one
    /// stays.
    pub(super) async fn keep(mut self, stop: CancellationToken) {
        loop {
            // Cancel-safe: nothing is under way.
            tokio::select! {
                () = stop.cancelled() => return,
                () = sleep(EVERY) => {}
            }
            let (now, cas) = (self.clock.now(), self.cas.load_full());
            if !is_due(self.made_at, now) && self.made_of == parts_of(&cas) {
                continue;
            }
            match made(&cas, now) {
                Ok(new) => {
                    self.in_use.store(Arc::new(new));
                    (self.made_at, self.made_of) = (now, parts_of(&cas));
                    tracing::info!("the server's certificate for agents was renewed");
                }
                Err(error) => tracing::error!(error = %error,
                    "the server's certificate for agents can't be renewed yet"),
            }
        }
    }
}

/// At two thirds of its life, and where the clock was set back before it was made.
fn is_due(made_at: Timestamp, now: Timestamp) -> bool {
    now >= later(made_at, CLIENT_VALIDITY / 3 * 2) || now < made_at
}

fn parts_of(cas: &Authorities) -> ([u8; 32], Vec<[u8; 32]>) {
    (cas.calling().fingerprint(), cas.digests())
}

fn made(cas: &Authorities, now: Timestamp) -> Result<ClientIdentity, CaError> {
    let own = cas.calling().client_certificate(now)?;
    Ok(ClientIdentity {
        ca_pem: cas.trusted_pem().into_bytes(),
        certificate_pem: own.certificate_pem.into_bytes(),
        key_pem: own.key_pem.into_bytes(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::ManualClock;
    use crate::model::fixtures::at;
    use crate::pki::CertificateAuthority;

    #[tokio::test(start_paused = true)]
    async fn the_servers_own_certificate_is_another_at_two_thirds_of_its_life_and_not_before() {
        let directory = tempfile::tempdir().expect("a directory");
        let clock = Arc::new(ManualClock::at(at(0)));
        let ca = CertificateAuthority::open_or_make(directory.path(), at(0)).expect("made");
        let cas = Arc::new(ArcSwap::from_pointee(Authorities::only(ca)));
        let own = OwnCertificate::make(cas, Arc::clone(&clock) as _).expect("made");
        let in_use = own.in_use();
        let (first, stop) = (in_use.load_full(), CancellationToken::new());
        let kept = tokio::spawn(own.keep(stop.clone()));
        let days = |days: i64| jiff::SignedDuration::from_hours(24 * days);
        clock.advance(days(59));
        sleep(EVERY * 3).await;
        assert_eq!(in_use.load().key_pem, first.key_pem, "not yet");
        clock.advance(days(1));
        sleep(EVERY * 3).await;
        let second = in_use.load_full();
        assert_ne!(second.key_pem, first.key_pem);
        // Somebody sets the clock back: what was made later is not good yet.
        clock.advance(days(-30));
        sleep(EVERY * 3).await;
        assert_ne!(in_use.load().key_pem, second.key_pem);
        stop.cancel();
        kept.await.expect("it ends");
    }
}

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
use crate::pki::{CLIENT_VALIDITY, CaError, CertificateAuthority, later};

/// How often it is looked at. Without I/O.
const EVERY: Duration = Duration::from_secs(2);

/// The certificate in use, and by what it is made.
#[derive(Debug)]
pub(super) struct OwnCertificate {
    ca: Arc<CertificateAuthority>,
    clock: SharedClock,
    in_use: Arc<ArcSwap<ClientIdentity>>,
    made_at: Timestamp,
}

impl OwnCertificate {
    /// Makes the first one.
    ///
    /// # Errors
    /// It can't be made.
    pub(super) fn make(ca: Arc<CertificateAuthority>, clock: SharedClock) -> Result<Self, CaError> {
        let made_at = clock.now();
        let in_use = Arc::new(ArcSwap::from_pointee(made(&ca, made_at)?));
        Ok(Self { ca, clock, in_use, made_at })
    }

    /// What dials take.
    pub(super) fn in_use(&self) -> Arc<ArcSwap<ClientIdentity>> {
        Arc::clone(&self.in_use)
    }

    /// Renews it until it is told to stop. One that can't be made is tried again; the old one stays.
    pub(super) async fn keep(mut self, stop: CancellationToken) {
        loop {
            // Cancel-safe: nothing is under way.
            tokio::select! {
                () = stop.cancelled() => return,
                () = sleep(EVERY) => {}
            }
            let now = self.clock.now();
            if !is_due(self.made_at, now) {
                continue;
            }
            match made(&self.ca, now) {
                Ok(new) => {
                    self.in_use.store(Arc::new(new));
                    self.made_at = now;
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

fn made(ca: &CertificateAuthority, now: Timestamp) -> Result<ClientIdentity, CaError> {
    let own = ca.client_certificate(now)?;
    Ok(ClientIdentity {
        ca_pem: ca.certificate_pem().as_bytes().to_vec(),
        certificate_pem: own.certificate_pem.into_bytes(),
        key_pem: own.key_pem.into_bytes(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::ManualClock;
    use crate::model::fixtures::at;

    #[tokio::test(start_paused = true)]
    async fn the_servers_own_certificate_is_another_at_two_thirds_of_its_life_and_not_before() {
        let directory = tempfile::tempdir().expect("a directory");
        let clock = Arc::new(ManualClock::at(at(0)));
        let ca = CertificateAuthority::open_or_make(directory.path(), at(0)).expect("made");
        let own = OwnCertificate::make(Arc::new(ca), Arc::clone(&clock) as _).expect("made");
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

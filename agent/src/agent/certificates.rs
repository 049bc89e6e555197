//! The agent's certificate as its API has it: writing is done on a thread that may block.

use std::sync::Arc;

use async_trait::async_trait;
use banger_wire::causes::with_causes;

use crate::join::renewal::{Credentials, RenewalError};
use crate::rpc::{Certificates, NotInstalled, ShownCertificate};

/// What is exchanged when the server says so.
pub(super) struct OwnCertificates(pub(super) Arc<Credentials>);

impl OwnCertificates {
    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Credentials) -> Result<T, RenewalError> + Send + 'static,
    ) -> Result<T, NotInstalled> {
        let credentials = Arc::clone(&self.0);
        // Goes on when the call is given up: what it began is whole at each step.
        let done = tokio::task::spawn_blocking(move || work(&credentials)).await;
        let done = done.map_err(|died| NotInstalled::NotKept(died.to_string()))?;
        done.map_err(|error| match error {
            RenewalError::Identity(_) | RenewalError::Request(_) => {
                NotInstalled::NotKept(with_causes(&error))
            }
            RenewalError::Unreadable
            | RenewalError::AnotherHost
            | RenewalError::AnotherKey
            | RenewalError::Trusted
            | RenewalError::Tls(_) => NotInstalled::Unusable(with_causes(&error)),
        })
    }
}

#[async_trait]
impl Certificates for OwnCertificates {
    async fn prepare(&self) -> Result<String, NotInstalled> {
        self.blocking(Credentials::prepare).await
    }

    async fn install(&self, certificate: String, trusted: String) -> Result<(), NotInstalled> {
        self.blocking(move |credentials| credentials.install(&certificate, &trusted)).await
    }

    fn shown(&self) -> ShownCertificate {
        let shown = self.0.shown();
        ShownCertificate { not_after: shown.not_after, trusted: shown.trusted.clone() }
    }
}

/// The same credentials; in builds with debug assertions they tell the failpoint of each step.
pub(super) fn watched(credentials: Credentials) -> Credentials {
    #[cfg(debug_assertions)]
    if let Some(failpoint) = crate::failpoint::Failpoint::from_environment_for("certificates") {
        return credentials.observed_by(move |step| {
            failpoint.before(step);
            failpoint.after(step);
        });
    }
    credentials
}

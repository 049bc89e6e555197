//! The calls about an agent's certificate, and the look at what it shows.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use banger_proto::agent_v1 as wire;
use banger_wire::limits;
use tokio::time::timeout;

use super::{COMMAND_TIMEOUT, GrpcLink, secured};
use crate::fleet::certificates::{CertificateLink, CertificateShown};
use crate::fleet::link::LinkError;

#[async_trait]
impl CertificateLink for GrpcLink {
    fn shown(&self) -> Option<CertificateShown> {
        *self.peer.shown.lock()
    }

    async fn look(&self) -> Result<CertificateShown, LinkError> {
        let identity = self.identity.load_full();
        let time = Arc::clone(&self.time);
        let looking = secured::look(self.peer.clone(), identity, self.connector.clone(), time);
        match timeout(2 * limits::CONNECT_TIMEOUT, looking).await {
            Ok(looked) => looked.map_err(|error| self.unreachable(&error)),
            Err(_) => Err(self.too_late()),
        }
    }

    async fn prepare(&self) -> Result<String, LinkError> {
        let mut client = self.client()?;
        let request = self.request_within(wire::PrepareCertificateRequest {}, COMMAND_TIMEOUT);
        let asking = client.prepare_certificate(request);
        let answer = within(COMMAND_TIMEOUT, asking).await.ok_or_else(|| self.too_late())?;
        Ok(answer.map_err(|status| self.failed(&status))?.into_inner().certificate_request_pem)
    }

    async fn install(&self, certificate_pem: &str, trusted_pem: &str) -> Result<(), LinkError> {
        let mut client = self.client()?;
        let message = wire::InstallCertificateRequest {
            certificate_pem: certificate_pem.to_owned(),
            trusted_ca_pem: trusted_pem.to_owned(),
        };
        let asking = client.install_certificate(self.request_within(message, COMMAND_TIMEOUT));
        let answer = within(COMMAND_TIMEOUT, asking).await.ok_or_else(|| self.too_late())?;
        answer.map(drop).map_err(|status| self.failed(&status))
    }
}

/// The deadline in a request bounds the agent; this bounds a connection that is silent.
async fn within<T>(limit: Duration, call: impl Future<Output = T>) -> Option<T> {
    timeout(limit, call).await.ok()
}

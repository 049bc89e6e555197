//! The calls about an agent's certificate, and the look at what it shows.

use std::sync::Arc;

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
        let message = wire::PrepareCertificateRequest {};
        let call = self.unary(message, COMMAND_TIMEOUT, "", |mut client, request| async move {
            client.prepare_certificate(request).await
        });
        let answer = call.await?.map_err(|status| self.failed(&status))?;
        Ok(answer.certificate_request_pem)
    }

    async fn install(&self, certificate_pem: &str, trusted_pem: &str) -> Result<(), LinkError> {
        let message = wire::InstallCertificateRequest {
            certificate_pem: certificate_pem.to_owned(),
            trusted_ca_pem: trusted_pem.to_owned(),
        };
        let call = self.unary(message, COMMAND_TIMEOUT, "", |mut client, request| async move {
            client.install_certificate(request).await
        });
        call.await?.map(drop).map_err(|status| self.failed(&status))
    }
}

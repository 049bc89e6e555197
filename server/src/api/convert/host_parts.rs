//! Parts of a host: why it is in its state, the certificate of its agent, its image files.

use banger_proto::v1;

use super::timestamp;
use crate::model::host::{CertificateSeen, HostHealth, ImageFile, ImageKind};

/// What is wrong with a host: how it is reached goes before a certificate that is not renewed.
pub(super) fn reason_of(
    health: &HostHealth,
    certificate: Option<&CertificateSeen>,
) -> (&'static str, String) {
    let failure = certificate.and_then(|seen| seen.failure.as_ref());
    match failure.filter(|failure| failure.is_fault && health.state.is_online()) {
        Some(failure) => ("CERTIFICATE_NOT_RENEWED", failure.message.clone()),
        None => (health.reason, health.message.clone()),
    }
}

pub(super) fn shown_certificate(seen: &CertificateSeen) -> v1::HostCertificate {
    let failure = seen.failure.as_ref();
    v1::HostCertificate {
        not_after: Some(timestamp(seen.not_after)),
        renewal_error: failure.map(|failure| failure.message.clone()).unwrap_or_default(),
        renewal_failing_since: failure.map(|failure| timestamp(failure.since)),
    }
}

pub(super) fn images(files: &[ImageFile]) -> Vec<v1::HostImage> {
    files
        .iter()
        .map(|file| v1::HostImage {
            name: file.name.clone(),
            size_bytes: file.size_bytes,
            sha256: file.sha256.clone(),
            kind: match file.kind {
                ImageKind::Unknown => v1::HostImageKind::Unspecified,
                ImageKind::Kernel => v1::HostImageKind::Kernel,
                ImageKind::Root => v1::HostImageKind::Root,
            }
            .into(),
        })
        .collect()
}

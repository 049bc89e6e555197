//! The two calls about images: one is brought, one is taken away.
//!
//! Only files that the server brings are touched: their name is their digest.

use std::time::Duration;

use banger_proto::agent_v1 as wire;
use banger_proto::bounds::MAX_CHUNK_BYTES;
use tokio_stream::{Stream, StreamExt as _};
use tonic::Status;

use super::convert::WireError;
use super::{AgentApi, status};
use crate::host::{Announced, ImageName};

/// How long the server may say nothing in the middle of an image.
const SILENCE: Duration = Duration::from_secs(120);

fn wrong(field: &str, problem: &str) -> Status {
    status::invalid(&WireError { field: field.to_owned(), problem: problem.to_owned() })
}

/// A name that is the digest, and nothing else.
fn checked(name: &str, sha256: &str) -> Result<ImageName, Status> {
    let hex = sha256.len() == 64
        && sha256.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
    if !hex {
        return Err(wrong("sha256", "is not 64 lower-case hexadecimal digits"));
    }
    match ImageName::new(name) {
        Ok(parsed) if name.strip_prefix("sha256-") == Some(sha256) => Ok(parsed),
        Ok(_) | Err(_) => Err(wrong("name", "is not sha256- and the digest")),
    }
}

fn announced(first: Option<wire::PutImageRequest>) -> Result<Announced, Status> {
    let first = first.ok_or_else(|| wrong("image", "is missing"))?;
    if !first.data.is_empty() {
        return Err(wrong("data", "must not come with the first message"));
    }
    let image = first.image.ok_or_else(|| wrong("image", "is missing"))?;
    Ok(Announced {
        name: checked(&image.name, &image.sha256)?,
        sha256: image.sha256,
        size_bytes: image.size_bytes,
        data_bytes: first.data_bytes,
    })
}

/// Takes an image. When this is dropped, or the stream breaks off, nothing of it is left.
pub(super) async fn put<A: AgentApi>(
    api: &A,
    mut stream: impl Stream<Item = Result<wire::PutImageRequest, Status>> + Unpin,
) -> Result<wire::PutImageResponse, Status> {
    let announced = announced(stream.next().await.transpose()?)?;
    let name = announced.name.clone();
    let failed = |error| status::image_not_kept(&error);
    let Some(mut receiving) = api.receive_image(announced).await.map_err(failed)? else {
        return Ok(wire::PutImageResponse { present: true });
    };
    let draining = api.draining();
    loop {
        // Cancel-safe: either way the image is given up.
        let next = tokio::select! {
            () = draining.cancelled() => return Err(status::shutting_down()),
            next = tokio::time::timeout(SILENCE, stream.next()) => next,
        };
        let Ok(next) = next else { return Err(status::silent()) };
        let Some(message) = next.transpose()? else { break };
        if message.data.len() > MAX_CHUNK_BYTES {
            return Err(wrong("data", "is larger than a message may be"));
        }
        receiving.append(message.data.into()).await.map_err(failed)?;
    }
    receiving.finish().await.map_err(failed)?;
    tracing::info!(image = %name, "an image was brought by the server");
    Ok(wire::PutImageResponse { present: false })
}

pub(super) async fn remove<A: AgentApi>(
    api: &A,
    request: wire::RemoveImageRequest,
) -> Result<wire::RemoveImageResponse, Status> {
    let name = checked(&request.name, &request.sha256)?;
    let change = api.remove_image(&name).await;
    let change = change.map_err(|error| status::image_not_removed(&error))?;
    tracing::info!(image = %name, ?change, "an image was taken away");
    Ok(wire::RemoveImageResponse {})
}

#[cfg(test)]
mod tests;

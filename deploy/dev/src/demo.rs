//! The image `demo` of a simulated set-up, so that the first commands are the same as on a machine
//! that runs guests.
//!
//! A root file system with a note in it; its kernel is the one that every simulated host has. One
//! that is there, whoever made it, is left as it is.

use banger_client::images::CHUNK_BYTES;
use banger_client::v1::{ErrorReason, ImageBoot, ImageKind, ImportImageRequest};
use banger_client::{Client, Endpoint};
use banger_terminal::failure::Failure;
use banger_terminal::progress::Progress;

use super::record::Record;

/// Its name: what `banger` boots where no image is named.
const DEMO: &str = "demo";

/// The kernel that is a file of every simulated host.
const KERNEL: &str = "demo-kernel";

const NOTE: &str = "Nothing of this is ever booted: the host is simulated.\n";

/// Makes the image, unless there is one of that name.
///
/// # Errors
/// The server does not answer, or refuses it.
pub(super) async fn ensure(record: &Record, progress: &Progress) -> Result<(), Failure> {
    let client = Client::connect(&Endpoint::new(&record.url())?).await?;
    let images = client.images();
    match images.get(DEMO).await {
        Ok(_) => return Ok(()),
        Err(error) if error.refusal().is_some_and(|r| r.is(ErrorReason::ImageNotFound)) => {}
        Err(error) => return Err(error.into()),
    }
    progress.say("making the image demo");
    let archive = archive().map_err(|error| Failure::io("pack the image demo", error))?;
    let size = archive.len() as u64;
    let parts: Vec<Vec<u8>> = archive.chunks(CHUNK_BYTES).map(<[u8]>::to_vec).collect();
    let blob = images.upload("demo.tar", Some(size), futures_util::stream::iter(parts)).await?;
    let request = ImportImageRequest {
        name: DEMO.to_owned(),
        blob_sha256: blob.sha256,
        kind: ImageKind::Root.into(),
        without_guest_agent: true,
        boot: Some(ImageBoot { kernel: KERNEL.to_owned(), ..ImageBoot::default() }),
        ..ImportImageRequest::default()
    };
    images.import(request).await?;
    Ok(())
}

fn archive() -> std::io::Result<Vec<u8>> {
    let dir = tempfile::tempdir()?;
    std::fs::write(dir.path().join("README"), NOTE)?;
    let mut archive = Vec::new();
    banger_images::pack_directory(dir.path(), &mut archive).map_err(std::io::Error::other)?;
    Ok(archive)
}

//! `banger image`: images of the server, brought there from files of this machine, from
//! registries, or made from packages.

use std::path::Path;
use std::time::Duration;

use banger_client::Images;
use banger_client::v1::{
    DeleteImageRequest, Image, ImageKind, ImportImageRequest, ListImagesResponse,
};

use super::for_each;
use crate::args::Global;
use crate::args::image::{DemoArgs, ImageCommand, ImportArgs, KindArg};
use crate::ask::confirm;
use crate::clock::now;
use crate::failure::Failure;
use crate::output::hosts::{server_image, server_images};
use crate::pack::{Broken, Pack};
use crate::progress::Progress;
use crate::session::Session;

pub(super) mod demo;

/// How often the line of an upload moves.
const STEP: Duration = Duration::from_millis(200);

pub(super) async fn run(global: &Global, command: ImageCommand) -> Result<(), Failure> {
    // The one command that can do without a server.
    if let ImageCommand::BuildDemo(DemoArgs { directory: Some(directory), .. }) = &command {
        let ImageCommand::BuildDemo(wanted) = &command else { return Ok(()) };
        return demo::write(wanted, directory).await;
    }
    let session = &Session::open(global).await?;
    let api = &session.client.images();
    match command {
        ImageCommand::Import(wanted) => {
            let image = import(api, wanted).await?;
            one_or_more(session, vec![image])
        }
        ImageCommand::BuildDemo(wanted) => {
            let images = demo::upload_all(api, &wanted).await?;
            print(session, images)
        }
        ImageCommand::Ls => print(session, api.list_all().await?),
        ImageCommand::Get { images } => {
            let read = |name: String| async move { Ok(api.get(&name).await?) };
            let (found, outcome) = for_each(&images, read).await;
            one_or_more(session, found)?;
            outcome
        }
        ImageCommand::Rm { images, allow_missing, yes } => {
            confirm(&format!("delete the images {}", images.join(", ")), yes)?;
            let call = |name: String| async move {
                Ok(api.delete(DeleteImageRequest { name, allow_missing }).await?)
            };
            let (gone, outcome) = for_each(&images, call).await;
            print(session, gone)?;
            outcome
        }
    }
}

fn kind(kind: KindArg) -> ImageKind {
    match kind {
        KindArg::Kernel => ImageKind::Kernel,
        KindArg::Initrd => ImageKind::Initrd,
        KindArg::Root => ImageKind::Root,
    }
}

async fn import(api: &Images, wanted: ImportArgs) -> Result<Image, Failure> {
    let progress = Progress::start();
    let mut request = ImportImageRequest {
        name: wanted.name,
        source: wanted.server_path.unwrap_or_default(),
        registry_reference: wanted.registry.unwrap_or_default(),
        kind: wanted.kind.map_or(ImageKind::Unspecified, kind).into(),
        without_guest_agent: wanted.no_guest_agent,
        root_size_mib: wanted.root_size.unwrap_or_default(),
        replace: wanted.replace,
        blob_sha256: String::new(),
    };
    if let Some(path) = &wanted.source {
        request.blob_sha256 = upload(api, path, &progress).await?;
    }
    progress.say(&format!("the server makes image {}", request.name));
    Ok(progress.during(api.import(request)).await??)
}

/// Brings a file or directory to the server. Answers its digest.
async fn upload(api: &Images, path: &Path, progress: &Progress) -> Result<String, Failure> {
    let pack = Pack::open(path)?;
    let (name, count) = (pack.name.clone(), pack.count.clone());
    let (parts, mut failed) = pack.into_parts();
    let mut upload = std::pin::pin!(api.upload(&name, parts));
    let work = async {
        let mut moves = tokio::time::interval(STEP);
        let mut can_fail = true;
        loop {
            // Cancel-safe: the upload goes on where it was, and a tick not taken is no loss.
            tokio::select! {
                biased;
                broken = &mut failed, if can_fail => match broken {
                    Ok(Broken { error, .. }) => return Err(Failure::other(error)),
                    // All of it was read.
                    Err(_) => can_fail = false,
                },
                done = &mut upload => return Ok(done?.sha256),
                _ = moves.tick() => progress.say(&count.sentence()),
            }
        }
    };
    progress.during(work).await?
}

fn one_or_more(session: &Session, images: Vec<Image>) -> Result<(), Failure> {
    let message = ListImagesResponse { images, next_page_token: String::new() };
    session.printer.whole(
        &message,
        |m| m.images.iter().map(|image| image.name.clone()).collect(),
        |m| m.images.iter().map(|image| server_image(image, now())).collect::<Vec<_>>().join("\n"),
    )
}

fn print(session: &Session, images: Vec<Image>) -> Result<(), Failure> {
    let message = ListImagesResponse { images, next_page_token: String::new() };
    session.printer.whole(
        &message,
        |m| m.images.iter().map(|image| image.name.clone()).collect(),
        |m| if m.images.is_empty() { String::new() } else { server_images(&m.images, now()) },
    )
}

//! `banger image`. Servers of today answer that they do not have it yet, and that is printed.

use banger_client::v1::{DeleteImageRequest, Image, ImportImageRequest, ListImagesResponse};

use super::for_each;
use crate::args::ImageCommand;
use crate::ask::confirm;
use crate::clock::now;
use crate::failure::Failure;
use crate::output::hosts::server_images;
use crate::session::Session;

pub(super) async fn run(session: &Session, command: ImageCommand) -> Result<(), Failure> {
    let api = session.client.images();
    let api = &api;
    match command {
        ImageCommand::Import { name, source } => {
            let image = api
                .import(ImportImageRequest { name, source, ..ImportImageRequest::default() })
                .await?;
            print(session, vec![image])
        }
        ImageCommand::Ls => print(session, api.list_all().await?),
        ImageCommand::Get { images } => {
            let read = |name: String| async move { Ok(api.get(&name).await?) };
            let (found, outcome) = for_each(&images, read).await;
            print(session, found)?;
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

fn print(session: &Session, images: Vec<Image>) -> Result<(), Failure> {
    let message = ListImagesResponse { images, next_page_token: String::new() };
    session.printer.whole(
        &message,
        |m| m.images.iter().map(|image| image.name.clone()).collect(),
        |m| if m.images.is_empty() { String::new() } else { server_images(&m.images, now()) },
    )
}

//! The calls about images: kernels, initial RAM disks and root file systems kept by the server.

use std::time::Duration;

use banger_proto::v1::image_service_client::ImageServiceClient;
use banger_proto::v1::{
    DeleteImageRequest, GetImageRequest, Image, ImportImageProgress, ImportImageRequest,
    ListImagesRequest, UploadBlobRequest, UploadBlobResponse,
};
use futures_util::{Stream, StreamExt as _};
use tonic::{Code, Request, Status};

use crate::connect::{Link, Transport};
use crate::error::{Call, ClientError};

/// What one message of an upload carries at most, in bytes. Small enough for any server's window.
pub const CHUNK_BYTES: usize = 256 * 1024;

/// How long an import may take: a large image is unpacked, written and read again.
const IMPORT_DEADLINE: Duration = Duration::from_secs(3600);

/// The calls about images. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Images {
    link: Link,
    rpc: ImageServiceClient<Transport>,
}

impl Images {
    pub(crate) fn over(link: Link) -> Self {
        let rpc = ImageServiceClient::new(link.transport.clone());
        Self { link, rpc }
    }

    /// Brings a file to the server, to import it from; it answers the digest to name it by. The
    /// parts are at most [`CHUNK_BYTES`] long and taken as fast as the server takes them. There is
    /// no deadline. A stream that ends early makes a shorter file: whoever cannot go on drops the
    /// call instead. A `size` that is known is said first, so that the server can refuse what it
    /// would not keep before it was sent.
    ///
    /// # Errors
    /// `LIMIT_REACHED` when it is too large, `IMAGE_STORE_FULL`.
    pub async fn upload(
        &self,
        file_name: &str,
        size: Option<u64>,
        parts: impl Stream<Item = Vec<u8>> + Send + 'static,
    ) -> Result<UploadBlobResponse, ClientError> {
        let first = UploadBlobRequest {
            file_name: file_name.to_owned(),
            size_bytes: size.unwrap_or(0),
            data: Vec::new(),
            project: self.link.project(""),
        };
        let rest = parts.map(|data| UploadBlobRequest { data, ..UploadBlobRequest::default() });
        let messages = futures_util::stream::iter([first]).chain(rest);
        let mut rpc = self.rpc.clone();
        match rpc.upload_blob(Request::new(messages)).await {
            Ok(answer) => Ok(answer.into_inner()),
            Err(status) => Err(self.link.error(Call::change("UploadBlob"), None, status)),
        }
    }

    /// Makes the server make an image. Waits until it has, an hour at most.
    ///
    /// # Errors
    /// `IMAGE_NAME_TAKEN`, `BLOB_NOT_FOUND`, `IMAGE_NOT_ACCEPTED`, `IMAGE_SOURCE_NOT_FOUND`,
    /// `IMAGE_SOURCE_UNAVAILABLE`, `IMAGE_SOURCE_DENIED`, `IMAGE_STORE_FULL`.
    pub async fn import(&self, mut request: ImportImageRequest) -> Result<Image, ClientError> {
        request.project = self.link.project(&request.project);
        let mut rpc = self.rpc.clone();
        let call = Call::change("ImportImage");
        self.link
            .unary_within(
                IMPORT_DEADLINE,
                call,
                request,
                |r| async move { rpc.import_image(r).await },
            )
            .await
    }

    /// The same, and says meanwhile how far it is. A server that can't is asked without.
    ///
    /// # Errors
    /// As of [`Images::import`].
    pub async fn import_with_progress(
        &self,
        mut request: ImportImageRequest,
        mut told: impl FnMut(&ImportImageProgress),
    ) -> Result<Image, ClientError> {
        request.project = self.link.project(&request.project);
        let call = Call::change("ImportImageWithProgress");
        let failed = |status| self.link.error(call, Some(IMPORT_DEADLINE), status);
        let mut rpc = self.rpc.clone();
        let work = async {
            let mut messages = rpc.import_image_with_progress(request.clone()).await?.into_inner();
            while let Some(message) = messages.message().await? {
                match message.image {
                    Some(image) => return Ok(image),
                    None => told(&message),
                }
            }
            Err(Status::unavailable("the server ended the import without a word"))
        };
        match tokio::time::timeout(IMPORT_DEADLINE, work).await {
            Ok(Ok(image)) => Ok(image),
            Ok(Err(status)) if status.code() == Code::Unimplemented => self.import(request).await,
            Ok(Err(status)) => Err(failed(status)),
            Err(_) => Err(failed(Status::deadline_exceeded("the import took too long"))),
        }
    }

    /// Reads one image's record.
    ///
    /// # Errors
    /// `IMAGE_NOT_FOUND`.
    pub async fn get(&self, name: &str) -> Result<Image, ClientError> {
        let request = GetImageRequest { name: self.link.named(name) };
        let mut rpc = self.rpc.clone();
        self.link
            .unary(Call::read("GetImage"), request, |r| async move { rpc.get_image(r).await })
            .await
    }

    /// Reads all images' records, by name.
    ///
    /// # Errors
    /// The server is not reached.
    pub async fn list_all(&self) -> Result<Vec<Image>, ClientError> {
        let mut all = Vec::new();
        let mut page_token = String::new();
        loop {
            let request = ListImagesRequest { page_token, ..ListImagesRequest::default() };
            let mut rpc = self.rpc.clone();
            let page =
                self.link
                    .unary(Call::read("ListImages"), request, |r| async move {
                        rpc.list_images(r).await
                    })
                    .await?;
            all.extend(page.images);
            page_token = page.next_page_token;
            if page_token.is_empty() {
                all.sort_by(|a, b| a.name.cmp(&b.name));
                return Ok(all);
            }
        }
    }

    /// Takes a name away. Its content goes when nothing uses it any more.
    ///
    /// # Errors
    /// `IMAGE_NOT_FOUND` unless `allow_missing`, `IMAGE_IN_USE`.
    pub async fn delete(&self, mut request: DeleteImageRequest) -> Result<Image, ClientError> {
        request.name = self.link.named(&request.name);
        self.link
            .change("DeleteImage", request, |r| {
                let mut rpc = self.rpc.clone();
                async move { rpc.delete_image(r).await }
            })
            .await
    }
}

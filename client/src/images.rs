//! The calls about images. Servers of today answer them with `NOT_IMPLEMENTED`.

use banger_proto::v1::image_service_client::ImageServiceClient;
use banger_proto::v1::{
    DeleteImageRequest, GetImageRequest, Image, ImportImageRequest, ListImagesRequest,
};

use crate::connect::{Link, Transport};
use crate::error::{Call, ClientError};

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

    /// Makes the server read an image from a source.
    ///
    /// # Errors
    /// `NOT_IMPLEMENTED` at present.
    pub async fn import(&self, request: ImportImageRequest) -> Result<Image, ClientError> {
        let mut rpc = self.rpc.clone();
        self.link
            .unary(
                Call::change("ImportImage"),
                request,
                |r| async move { rpc.import_image(r).await },
            )
            .await
    }

    /// Reads one image's record.
    ///
    /// # Errors
    /// `NOT_IMPLEMENTED` at present.
    pub async fn get(&self, name: &str) -> Result<Image, ClientError> {
        let request = GetImageRequest { name: name.to_owned() };
        let mut rpc = self.rpc.clone();
        self.link
            .unary(Call::read("GetImage"), request, |r| async move { rpc.get_image(r).await })
            .await
    }

    /// Reads all images' records.
    ///
    /// # Errors
    /// `NOT_IMPLEMENTED` at present.
    pub async fn list_all(&self) -> Result<Vec<Image>, ClientError> {
        let mut all = Vec::new();
        let mut page_token = String::new();
        loop {
            let request = ListImagesRequest { page_size: 0, page_token };
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
                return Ok(all);
            }
        }
    }

    /// Deletes an image from the server.
    ///
    /// # Errors
    /// `NOT_IMPLEMENTED` at present.
    pub async fn delete(&self, request: DeleteImageRequest) -> Result<Image, ClientError> {
        let mut rpc = self.rpc.clone();
        self.link
            .unary(
                Call::change("DeleteImage"),
                request,
                |r| async move { rpc.delete_image(r).await },
            )
            .await
    }
}

//! The image service. Not there yet: every call answers `UNIMPLEMENTED`.

use banger_proto::v1;
use banger_proto::v1::image_service_server::ImageService;
use tonic::{Request, Response, Status};

use super::status;

/// Answers every call with `UNIMPLEMENTED`.
#[derive(Debug, Clone, Copy, Default)]
pub struct Images;

#[tonic::async_trait]
impl ImageService for Images {
    async fn import_image(
        &self,
        _request: Request<v1::ImportImageRequest>,
    ) -> Result<Response<v1::Image>, Status> {
        Err(status::not_implemented("ImportImage"))
    }

    async fn get_image(
        &self,
        _request: Request<v1::GetImageRequest>,
    ) -> Result<Response<v1::Image>, Status> {
        Err(status::not_implemented("GetImage"))
    }

    async fn list_images(
        &self,
        _request: Request<v1::ListImagesRequest>,
    ) -> Result<Response<v1::ListImagesResponse>, Status> {
        Err(status::not_implemented("ListImages"))
    }

    async fn delete_image(
        &self,
        _request: Request<v1::DeleteImageRequest>,
    ) -> Result<Response<v1::Image>, Status> {
        Err(status::not_implemented("DeleteImage"))
    }

    async fn upload_blob(
        &self,
        _request: Request<tonic::Streaming<v1::UploadBlobRequest>>,
    ) -> Result<Response<v1::UploadBlobResponse>, Status> {
        Err(status::not_implemented("UploadBlob"))
    }
}

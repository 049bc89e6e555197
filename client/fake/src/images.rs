//! Images of the server in memory. An upload's digest is its number, in 64 digits.

use banger_proto::v1::image_service_server::ImageService;
use banger_proto::v1::*;
use tonic::{Code, Request, Response, Status};

use super::{Fake, Stream, refusal};

fn missing(name: &str) -> Status {
    refusal(Code::NotFound, "IMAGE_NOT_FOUND", &format!("there is no image {name:?}"))
}

#[tonic::async_trait]
impl ImageService for Fake {
    async fn import_image(
        &self,
        request: Request<ImportImageRequest>,
    ) -> Result<Response<Image>, Status> {
        let request = self.enter("ImportImage", request)?;
        let mut state = self.state();
        let from = [request.source, request.registry_reference, request.blob_sha256];
        let origin = from.into_iter().find(|text| !text.is_empty()).unwrap_or_default();
        let mut notes =
            vec![format!("root {} MiB, replace {}", request.root_size_mib, request.replace)];
        if !request.platform.is_empty() {
            notes.push(format!("for {}", request.platform));
        }
        let image = Image {
            name: request.name.clone(),
            sha256: "ab".repeat(32),
            size_bytes: state.uploads.last().map_or(0, |(_, content)| content.len() as u64),
            kind: request.kind,
            origin,
            guest_agent: !request.without_guest_agent,
            notes,
            vm_count: 2,
            boot: request.boot.clone(),
            hosts: vec![
                ImageHost {
                    host_name: "b0".to_owned(),
                    bytes_present: 1 << 40,
                    ..ImageHost::default()
                },
                ImageHost {
                    host_name: "b1".to_owned(),
                    error: "no room".to_owned(),
                    ..ImageHost::default()
                },
            ],
            ..Image::default()
        };
        state.images.insert(request.name, image.clone());
        Ok(Response::new(image))
    }

    type ImportImageWithProgressStream = Stream<ImportImageProgress>;

    async fn import_image_with_progress(
        &self,
        request: Request<ImportImageRequest>,
    ) -> Result<Response<Self::ImportImageWithProgressStream>, Status> {
        let image = self.import_image(request).await?.into_inner();
        let (fake, of) = (self.clone(), 16 << 20);
        Ok(Response::new(Box::pin(async_stream::try_stream! {
            let step = ImportStep::Pull.into();
            let mut pulled =
                ImportImageProgress { step, total_bytes: of, ..ImportImageProgress::default() };
            // A slow one is half done at most.
            while fake.pace("ImportImageWithProgress").await {
                pulled.done_bytes = (pulled.done_bytes + (1 << 16)).min(of / 2);
                yield pulled.clone();
            }
            pulled.done_bytes = of;
            yield pulled;
            yield ImportImageProgress { image: Some(image), ..ImportImageProgress::default() };
        })))
    }

    async fn get_image(
        &self,
        request: Request<GetImageRequest>,
    ) -> Result<Response<Image>, Status> {
        let name = self.enter("GetImage", request)?.name;
        if self.pace("GetImage").await
            && let Some(image) = self.state().images.get_mut(&name)
        {
            // On its way to the first of its hosts, and half there at most.
            let (of, sent) = (image.size_bytes, &mut image.hosts[0].bytes_present);
            *sent = (*sent + of / 100).min(of / 2);
        }
        self.state().images.get(&name).cloned().map(Response::new).ok_or_else(|| missing(&name))
    }

    async fn list_images(
        &self,
        request: Request<ListImagesRequest>,
    ) -> Result<Response<ListImagesResponse>, Status> {
        self.enter("ListImages", request)?;
        let images = self.state().images.values().cloned().collect();
        Ok(Response::new(ListImagesResponse { images, next_page_token: String::new() }))
    }

    async fn delete_image(
        &self,
        request: Request<DeleteImageRequest>,
    ) -> Result<Response<Image>, Status> {
        let name = self.enter("DeleteImage", request)?.name;
        self.state().images.remove(&name).map(Response::new).ok_or_else(|| missing(&name))
    }

    async fn upload_blob(
        &self,
        request: Request<tonic::Streaming<UploadBlobRequest>>,
    ) -> Result<Response<UploadBlobResponse>, Status> {
        let mut stream = self.enter("UploadBlob", request)?;
        let (mut name, mut content, mut announced) = (None, Vec::new(), None);
        while let Some(message) = stream.message().await? {
            self.pace("UploadBlob").await;
            name.get_or_insert(message.file_name);
            announced.get_or_insert(message.size_bytes);
            content.extend(message.data);
        }
        let size_bytes = content.len() as u64;
        let mut state = self.state();
        state.announced.push(announced.unwrap_or_default());
        state.uploads.push((name.unwrap_or_default(), content));
        let sha256 = format!("{:064}", state.uploads.len());
        Ok(Response::new(UploadBlobResponse { sha256, size_bytes }))
    }
}

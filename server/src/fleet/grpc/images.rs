//! What an agent is sent of an image: what it is to be, and then all of it.

use std::pin::Pin;
use std::task::{Context, Poll};

use banger_proto::agent_v1 as wire;
use banger_proto::agent_v1::agent_service_client::AgentServiceClient;
use banger_wire::trace;
use futures_util::{Stream, StreamExt as _};
use tonic::transport::Channel;
use tonic::{Request, Status};

use crate::fleet::link::{ImageContent, ImageToPut};
use crate::model::image::host_file;

/// What the image is to be, and then all of it. A type of its own: over a boxed stream alone the
/// compiler can't see that the call may move between threads.
struct ImageMessages {
    first: Option<wire::PutImageRequest>,
    content: ImageContent,
}

impl ImageMessages {
    fn of(image: &ImageToPut, content: ImageContent) -> Self {
        let first = wire::PutImageRequest {
            image: Some(wire::ImageFile {
                name: host_file(&image.sha256),
                size_bytes: image.size_bytes,
                sha256: image.sha256.clone(),
                ..wire::ImageFile::default()
            }),
            data_bytes: image.data_bytes,
            ..wire::PutImageRequest::default()
        };
        Self { first: Some(first), content }
    }
}

impl Stream for ImageMessages {
    type Item = wire::PutImageRequest;

    fn poll_next(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<wire::PutImageRequest>> {
        if let Some(first) = self.first.take() {
            return Poll::Ready(Some(first));
        }
        self.content.poll_next_unpin(context).map(|next| {
            next.map(|data| wire::PutImageRequest {
                data: data.into(),
                ..wire::PutImageRequest::default()
            })
        })
    }
}

pub(super) async fn put(
    mut client: AgentServiceClient<Channel>,
    image: &ImageToPut,
    content: ImageContent,
) -> Result<(), Status> {
    let mut request = Request::new(ImageMessages::of(image, content));
    trace::inject(request.metadata_mut());
    client.put_image(request).await.map(drop)
}

/// Which image is to go.
pub(super) fn removal(sha256: &str) -> wire::RemoveImageRequest {
    wire::RemoveImageRequest { name: host_file(sha256), sha256: sha256.to_owned() }
}

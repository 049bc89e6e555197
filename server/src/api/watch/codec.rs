//! Responses that are bytes already, behind the generated services.

use std::convert::Infallible;
use std::marker::PhantomData;
use std::task::{Context, Poll};

use banger_proto::bounds;
use bytes::{BufMut as _, Bytes};
use futures_util::future::BoxFuture;
use http::{Request, Response};
use tonic::body::Body;
use tonic::codec::{BufferSettings, Codec, CompressionEncoding, EncodeBuf, Encoder};
use tonic::server::{Grpc, NamedService, ServerStreamingService};
use tonic::{Status, codec};
use tonic_prost::ProstDecoder;
use tower::Service;

use super::encode::Frame;
use crate::api::{Api, ResponseStream};

/// A request that begins a stream of changes.
pub trait Begins: prost::Message + Default + 'static {
    /// Where it is served.
    const PATH: &'static str;

    /// Begins the stream.
    ///
    /// # Errors
    /// Whatever is wrong with the request, or who makes it.
    fn begin(api: &Api, request: tonic::Request<Self>) -> Result<ResponseStream<Frame>, Status>;
}

/// Serves the stream that such a request begins.
#[derive(Debug)]
struct Streaming<R>(Api, PhantomData<fn(R)>);

impl<R> Clone for Streaming<R> {
    fn clone(&self) -> Self {
        Self(self.0.clone(), PhantomData)
    }
}

impl<R: Begins> ServerStreamingService<R> for Streaming<R> {
    type Response = Frame;
    type ResponseStream = ResponseStream<Frame>;
    type Future = std::future::Ready<Result<tonic::Response<Self::ResponseStream>, Status>>;

    fn call(&mut self, request: tonic::Request<R>) -> Self::Future {
        std::future::ready(R::begin(&self.0, request).map(tonic::Response::new))
    }
}

/// A generated service, one of whose streams is served from here.
#[derive(Debug)]
pub struct WithWatch<S, R> {
    rest: S,
    watch: Streaming<R>,
}

impl<S: Clone, R> Clone for WithWatch<S, R> {
    fn clone(&self) -> Self {
        Self { rest: self.rest.clone(), watch: self.watch.clone() }
    }
}

impl<S, R> WithWatch<S, R> {
    /// Around the calls of `rest`.
    pub fn new(rest: S, api: Api) -> Self {
        Self { rest, watch: Streaming(api, PhantomData) }
    }
}

impl<S: NamedService, R> NamedService for WithWatch<S, R> {
    const NAME: &'static str = S::NAME;
}

impl<S, R> Service<Request<Body>> for WithWatch<S, R>
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible>,
    S::Future: Send + 'static,
    R: Begins,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Response<Body>, Infallible>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.rest.poll_ready(cx)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        if request.uri().path() != R::PATH {
            return Box::pin(self.rest.call(request));
        }
        let watch = self.watch.clone();
        Box::pin(async move {
            // Answers are not compressed: each stream would do it anew, for bytes that are shared.
            let mut grpc = Grpc::new(FrameCodec::<R>(PhantomData))
                .accept_compressed(CompressionEncoding::Gzip)
                .max_decoding_message_size(bounds::MAX_REQUEST_BYTES)
                .max_encoding_message_size(bounds::MAX_MESSAGE_BYTES);
            Ok(grpc.server_streaming(watch, request).await)
        })
    }
}

#[derive(Debug)]
struct FrameCodec<R>(PhantomData<fn(R)>);

#[derive(Debug, Clone, Copy, Default)]
struct FrameEncoder;

/// Buffers of a stream start small: most streams are idle, and there may be thousands.
fn buffers() -> BufferSettings {
    BufferSettings::new(512, 64 * 1024)
}

impl<R: Begins> Codec for FrameCodec<R> {
    type Encode = Frame;
    type Decode = R;
    type Encoder = FrameEncoder;
    type Decoder = ProstDecoder<R>;

    fn encoder(&mut self) -> Self::Encoder {
        FrameEncoder
    }

    fn decoder(&mut self) -> Self::Decoder {
        ProstDecoder::new(buffers())
    }
}

impl Encoder for FrameEncoder {
    type Item = Frame;
    type Error = Status;

    fn encode(&mut self, frame: Frame, out: &mut EncodeBuf<'_>) -> Result<(), Status> {
        out.reserve(frame.parts.iter().map(Bytes::len).sum());
        for part in frame.parts {
            out.put(part);
        }
        Ok(())
    }

    fn buffer_settings(&self) -> codec::BufferSettings {
        buffers()
    }
}

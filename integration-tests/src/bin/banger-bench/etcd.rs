//! The two calls of etcd's API that are compared with ours: `Put` and `Watch`.
//!
//! Only the fields that are used are declared; the numbers are those of etcd's public `rpc.proto`
//! and `kv.proto`. The connection is the same tonic channel that speaks to our server, so that
//! the client costs both sides the same.

use http::uri::PathAndQuery;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;
use tonic::{Request, Status, Streaming};

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct PutRequest {
    #[prost(bytes = "vec", tag = "1")]
    pub(crate) key: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    pub(crate) value: Vec<u8>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct PutResponse {}

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct WatchRequest {
    #[prost(message, optional, tag = "1")]
    pub(crate) create: Option<WatchCreate>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct WatchCreate {
    #[prost(bytes = "vec", tag = "1")]
    pub(crate) key: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    pub(crate) range_end: Vec<u8>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct WatchResponse {
    #[prost(bool, tag = "3")]
    pub(crate) created: bool,
    #[prost(message, repeated, tag = "11")]
    pub(crate) events: Vec<Event>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Event {
    #[prost(message, optional, tag = "2")]
    pub(crate) pair: Option<KeyValue>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct KeyValue {
    #[prost(bytes = "vec", tag = "1")]
    pub(crate) key: Vec<u8>,
    #[prost(bytes = "vec", tag = "5")]
    pub(crate) value: Vec<u8>,
}

/// One durable put.
pub(crate) async fn put(channel: &Channel, key: Vec<u8>, value: Vec<u8>) -> Result<(), Status> {
    let mut grpc = tonic::client::Grpc::new(channel.clone());
    grpc.ready().await.map_err(|e| Status::unavailable(e.to_string()))?;
    let path = PathAndQuery::from_static("/etcdserverpb.KV/Put");
    let codec = tonic_prost::ProstCodec::<PutRequest, PutResponse>::default();
    grpc.unary(Request::new(PutRequest { key, value }), path, codec).await.map(drop)
}

/// Watches every key of one letter. The sender returned keeps the stream open.
pub(crate) async fn watch(
    channel: &Channel,
    first: u8,
) -> Result<(tokio::sync::mpsc::Sender<WatchRequest>, Streaming<WatchResponse>), Status> {
    let mut grpc = tonic::client::Grpc::new(channel.clone());
    grpc.ready().await.map_err(|e| Status::unavailable(e.to_string()))?;
    let path = PathAndQuery::from_static("/etcdserverpb.Watch/Watch");
    let codec = tonic_prost::ProstCodec::<WatchRequest, WatchResponse>::default();
    let (send, requests) = tokio::sync::mpsc::channel(1);
    let create = WatchCreate { key: vec![first], range_end: vec![first + 1] };
    send.send(WatchRequest { create: Some(create) })
        .await
        .map_err(|_| Status::internal("the receiver is held below"))?;
    let request = Request::new(ReceiverStream::new(requests));
    let mut stream = grpc.streaming(request, path, codec).await?.into_inner();
    match stream.message().await? {
        Some(WatchResponse { created: true, .. }) => Ok((send, stream)),
        other => Err(Status::internal(format!("etcd did not confirm the watch: {other:?}"))),
    }
}

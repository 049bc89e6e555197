//! Every hostile text in every text field of every call of the API, by the descriptors of the API
//! itself: a call or a field that is added tomorrow is in it.
//!
//! What is asked: the call is answered, with a code that says whose fault it is and a message that
//! may be shown; the server is the same afterwards.

use std::time::Duration;

use banger_fuzz::{HOSTILE, text_fields};
use banger_integration_tests::fleet::Fleet;
use banger_integration_tests::specs::create;
use banger_proto::v1;
use http::uri::PathAndQuery;
use prost::Message as _;
use prost::bytes::{Buf as _, BufMut as _};
use prost_reflect::{DescriptorPool, DynamicMessage, MethodDescriptor, Value};
use tonic::client::Grpc;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::transport::Channel;
use tonic::{Code, Request, Status};

/// Messages as they are on the wire.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Raw;

impl Codec for Raw {
    type Encode = Vec<u8>;
    type Decode = Vec<u8>;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for Raw {
    type Item = Vec<u8>;
    type Error = Status;

    fn encode(&mut self, item: Vec<u8>, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        buffer.put_slice(&item);
        Ok(())
    }
}

impl Decoder for Raw {
    type Item = Vec<u8>;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<Vec<u8>>, Status> {
        Ok(Some(buffer.copy_to_bytes(buffer.remaining()).to_vec()))
    }
}

/// Calls a method of which only the description is known. Of a stream the first message counts.
async fn call(channel: Channel, method: &MethodDescriptor, request: Vec<u8>) -> Result<(), Status> {
    let path = format!("/{}/{}", method.parent_service().full_name(), method.name());
    let path = PathAndQuery::try_from(path).expect("names of services make a path");
    let mut client = Grpc::new(channel);
    client.ready().await.map_err(|why| Status::unavailable(why.to_string()))?;
    if method.is_server_streaming() {
        let answer = client.server_streaming(Request::new(request), path, Raw).await?;
        return answer.into_inner().message().await.map(drop);
    }
    client.unary(Request::new(request), path, Raw).await.map(drop)
}

/// A request that names the VM and the host there are, so that its other fields are looked at.
fn base(method: &MethodDescriptor) -> Vec<u8> {
    let mut request = DynamicMessage::new(method.input());
    for (field, value) in [("vm", "web"), ("host", "host-0")] {
        let is_text = method
            .input()
            .get_field_by_name(field)
            .is_some_and(|field| field.kind() == prost_reflect::Kind::String && !field.is_list());
        if is_text {
            request.set_field_by_name(field, Value::String(value.to_owned()));
        }
    }
    request.encode_to_vec()
}

#[tokio::test]
async fn admit_hostile_texts_in_every_text_field_of_every_call_are_answered_and_change_no_vm() {
    let fleet = Fleet::of(1).await;
    let made = fleet.vms().create_vm(create("web")).await.expect("created").into_inner();
    let pool = DescriptorPool::decode(banger_proto::FILE_DESCRIPTOR_SET).expect("descriptors");
    let methods: Vec<MethodDescriptor> = pool
        .services()
        .filter(|service| service.full_name().starts_with("banger.v1."))
        .flat_map(|service| service.methods().collect::<Vec<_>>())
        .collect();
    assert!(methods.len() > 25, "the API has become {} calls", methods.len());
    let mut cases = 0;
    for method in &methods {
        let base = base(method);
        // An empty text is what is not said, and that may well be carried out.
        for text in HOSTILE.iter().filter(|text| !text.is_empty()) {
            for (field, request) in text_fields(&pool, method.input().full_name(), &base, text) {
                let what = format!("{}.{field} {text:?}", method.name());
                let answer = call(fleet.channel(), method, request);
                let answer = tokio::time::timeout(Duration::from_secs(20), answer).await;
                let answer = answer.unwrap_or_else(|_| panic!("{what}: no answer"));
                cases += 1;
                let Err(status) = answer else { continue };
                let blames = !matches!(
                    status.code(),
                    Code::Internal | Code::Unknown | Code::Unavailable | Code::DataLoss
                );
                assert!(blames, "{what}: {status:?}");
                assert!(!status.message().contains(char::is_control), "{what}: {status:?}");
                assert!(status.message().len() < 4096, "{what}: {status:?}");
            }
        }
    }
    println!("sweep hostile texts × every text field of every call: {cases} cases");
    let list = v1::ListVmsRequest::default();
    let vms = fleet.vms().list_vms(list).await.expect("the server is there").into_inner().vms;
    let names: Vec<&str> = vms.iter().map(|vm| vm.name.as_str()).collect();
    assert_eq!(names, ["web"]);
    assert_eq!(vms[0].id, made.id);
}

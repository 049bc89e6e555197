//! Messages for programs and from files: the protobuf JSON mapping, driven by the descriptors.
//!
//! Enum names, RFC 3339 times, 64-bit numbers as strings, camelCase; fields with their default
//! value are left out. YAML is the same value. Reading takes camelCase and snake_case alike, and
//! a field that is not in the message is an error, not ignored.

use std::sync::LazyLock;

use anyhow::Context as _;
use banger_client::v1;
use prost::Message;
use prost_reflect::{
    DescriptorPool, DeserializeOptions, DynamicMessage, MessageDescriptor, SerializeOptions,
};
use serde::Serialize;

use crate::text::{clean_json, is_clean};

static POOL: LazyLock<DescriptorPool> = LazyLock::new(|| {
    DescriptorPool::decode(banger_proto::FILE_DESCRIPTOR_SET)
        .expect("the descriptors are generated together with the code, and a test decodes them")
});

/// A message with its full name, to find its descriptor by.
pub trait Described: Message + Default {
    /// Such as "banger.v1.Vm".
    const NAME: &'static str;
}

macro_rules! described {
    ($($message:ident),* $(,)?) => {
        $(impl Described for v1::$message {
            const NAME: &'static str = concat!("banger.v1.", stringify!($message));
        })*
        #[cfg(test)]
        const NAMES: &[&str] = &[$(v1::$message::NAME),*];
    };
}

described!(
    AuditRecord,
    CreateJoinTokenResponse,
    CreateTokenResponse,
    CreateVmRequest,
    ExplainVmResponse,
    GetHostInventoryResponse,
    Host,
    Image,
    ListHostsResponse,
    ListImagesResponse,
    ListProjectsResponse,
    ListTokensResponse,
    ListVmEventsResponse,
    ListVmsResponse,
    Project,
    SweepHostResponse,
    Vm,
    VmEvent,
    VmSpec,
    WhoAmIResponse,
);

impl Described for prost_types::Struct {
    const NAME: &'static str = "google.protobuf.Struct";
}

fn descriptor(name: &str) -> anyhow::Result<MessageDescriptor> {
    POOL.get_message_by_name(name).with_context(|| format!("no descriptor of {name}"))
}

/// Serializes as the protobuf JSON mapping, into any format.
struct Mapped(DynamicMessage);

impl Serialize for Mapped {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize_with_options(serializer, &SerializeOptions::new())
    }
}

fn mapped<M: Described>(message: &M) -> anyhow::Result<Mapped> {
    let bytes = message.encode_to_vec();
    let dynamic = DynamicMessage::decode(descriptor(M::NAME)?, bytes.as_slice())
        .with_context(|| format!("cannot read {} by its descriptor", M::NAME))?;
    Ok(Mapped(dynamic))
}

/// As JSON, over several lines or on one. No newline at the end.
pub fn json<M: Described>(message: &M, lines: bool) -> anyhow::Result<String> {
    let mapped = mapped(message)?;
    let text =
        if lines { serde_json::to_string_pretty(&mapped) } else { serde_json::to_string(&mapped) };
    text.map(clean_json).context("cannot write JSON")
}

/// As a YAML document, with a newline at the end.
pub fn yaml<M: Described>(message: &M) -> anyhow::Result<String> {
    let text = yaml_serde::to_string(&mapped(message)?).context("cannot write YAML")?;
    if is_clean(&text) {
        return Ok(text);
    }
    // JSON is YAML too, and has a way to write any character without its being there.
    Ok(json(message, true)? + "\n")
}

/// Reads a message from a value.
pub fn from_value<M: Described>(value: serde_json::Value) -> anyhow::Result<M> {
    let options = DeserializeOptions::new().deny_unknown_fields(true);
    let descriptor = descriptor(M::NAME)?;
    // The mapping's own errors say what is wrong, but not where.
    let mut track = serde_path_to_error::Track::new();
    let value = serde_path_to_error::Deserializer::new(value, &mut track);
    let read = DynamicMessage::deserialize_with_options(descriptor, value, &options);
    let dynamic = read.map_err(|error| match track.path().to_string().as_str() {
        "." => anyhow::Error::from(error),
        path => anyhow::anyhow!("{path}: {error}"),
    })?;
    Ok(dynamic.transcode_to()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_message_that_is_printed_has_a_descriptor() {
        for name in NAMES {
            assert!(descriptor(name).is_ok(), "{name}");
        }
    }
}

use std::collections::BTreeMap;

use banger_proto::v1;
use prost::Message;
use prost_types::field_descriptor_proto::Type;
use prost_types::{DescriptorProto, FileDescriptorSet};

use super::*;

/// Messages within each other that every decoder reads: the bound of prost, upb, Java and C++.
const DECODERS: usize = 100;

/// A document of so many levels: objects, lists, or both in turn below the first object.
fn nested(levels: usize, list_at: impl Fn(usize) -> bool) -> Struct {
    let leaf = Value { kind: Some(Kind::StringValue("end".to_owned())) };
    let value = (1..levels).rev().fold(leaf, |value, level| {
        let kind = if list_at(level) {
            Kind::ListValue(ListValue { values: vec![value] })
        } else {
            Kind::StructValue(Struct { fields: [("a".to_owned(), value)].into() })
        };
        Value { kind: Some(kind) }
    });
    Struct { fields: [("a".to_owned(), value)].into() }
}

fn shapes(levels: usize) -> [Struct; 3] {
    [nested(levels, |_| false), nested(levels, |_| true), nested(levels, |level| level % 2 == 0)]
}

fn carries(document: Struct) -> v1::Vm {
    let spec = v1::VmSpec { metadata: Some(document), ..v1::VmSpec::default() };
    v1::Vm { spec: Some(spec), ..v1::Vm::default() }
}

fn read_again<M: Message + Default + PartialEq + std::fmt::Debug>(message: &M) {
    let read = M::decode(message.encode_to_vec().as_slice()).expect("it can be read");
    assert_eq!(read, *message);
}

#[test]
fn the_deepest_document_that_is_taken_is_read_again_in_every_answer() {
    for document in shapes(MAX_METADATA_DEPTH) {
        let text = serde_json::Value::Object(to_json(document.clone()).expect("it is taken"));
        assert_eq!(to_struct(&text.to_string()), document);
        let vm = carries(document);
        read_again(&vm);
        read_again(&v1::ListVmsResponse { vms: vec![vm.clone()], ..Default::default() });
        let event = v1::VmEvent { vm: Some(vm), ..v1::VmEvent::default() };
        read_again(&v1::WatchVmsResponse { events: vec![event], ..Default::default() });
    }
}

#[test]
fn a_document_one_level_deeper_is_refused_with_the_bound_named() {
    for document in shapes(MAX_METADATA_DEPTH + 1) {
        let why = to_json(document).expect_err("it is too deep");
        assert!(why.contains(&MAX_METADATA_DEPTH.to_string()), "{why}");
    }
}

#[test]
fn a_document_that_an_older_server_took_is_shown_as_deep_as_can_be_read() {
    let deep = (0..33).fold("\"end\"".to_owned(), |text, _| format!("{{\"a\":{text}}}"));
    let shown = to_struct(&deep);
    read_again(&v1::WatchVmsResponse {
        events: vec![v1::VmEvent { vm: Some(carries(shown.clone())), ..Default::default() }],
        ..Default::default()
    });
    let shown = to_json(shown).expect("what is shown is taken");
    assert!(serde_json::Value::Object(shown).to_string().contains(TOO_DEEP));
}

/// Every message of our packages and of those that they use, by full name.
fn messages() -> BTreeMap<String, DescriptorProto> {
    fn add(all: &mut BTreeMap<String, DescriptorProto>, prefix: &str, message: &DescriptorProto) {
        let name = format!("{prefix}.{}", message.name());
        message.nested_type.iter().for_each(|nested| add(all, &name, nested));
        all.insert(name, message.clone());
    }
    let set = FileDescriptorSet::decode(banger_proto::FILE_DESCRIPTOR_SET).expect("descriptors");
    let mut all = BTreeMap::new();
    for file in &set.file {
        let prefix = format!(".{}", file.package());
        file.message_type.iter().for_each(|message| add(&mut all, &prefix, message));
    }
    all
}

/// How many messages are within each other down to the first of a `Struct`, at most. Fails for a
/// message that can contain itself in any other way.
fn levels_to_struct(
    all: &BTreeMap<String, DescriptorProto>,
    name: &str,
    path: &mut Vec<String>,
) -> usize {
    if name == ".google.protobuf.Struct" {
        return path.len();
    }
    assert!(!path.iter().any(|above| above == name), "{name} contains itself: bound it: {path:?}");
    path.push(name.to_owned());
    let fields = &all.get(name).unwrap_or_else(|| panic!("{name} is described")).field;
    let deepest = fields
        .iter()
        .filter(|field| field.r#type() == Type::Message)
        .map(|field| levels_to_struct(all, field.type_name(), path))
        .max()
        .unwrap_or(0);
    path.pop();
    deepest
}

#[test]
fn no_message_nests_deeper_than_decoders_read_whatever_it_carries() {
    let all = messages();
    let mut with_documents = 0;
    for name in all.keys().filter(|name| name.starts_with(".banger.")) {
        let above = levels_to_struct(&all, name, &mut Vec::new());
        with_documents += usize::from(above > 0);
        // A level is a `Struct`, an entry of its map, and a `Value`.
        let deepest = above + 3 * MAX_METADATA_DEPTH;
        assert!(deepest <= DECODERS, "{name}: {deepest} messages within each other");
    }
    assert!(with_documents >= 4, "VmSpec, Vm and what lists them: {with_documents}");
}

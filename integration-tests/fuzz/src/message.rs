//! Mangled protobuf messages: fields set to what nobody expects, by the description of the message,
//! so that a field added later is mangled without anybody thinking of it.

use proptest::prelude::*;
use proptest::sample::Index;
use prost_reflect::prost::Message as _;
use prost_reflect::{
    DescriptorPool, DynamicMessage, FieldDescriptor, Kind, MapKey, ReflectMessage as _, Value,
};

use super::{HOSTILE, run};

/// Deepest nesting that is mangled; the API has four levels, and metadata any number.
const DEPTH: usize = 8;

/// One field set to something: which is found by choosing among the fields at each level.
#[derive(Debug, Clone)]
struct Change {
    path: Vec<Index>,
    text: Index,
    number: i64,
    clear: bool,
}

fn any_change() -> impl Strategy<Value = Change> {
    let number = prop_oneof![
        Just(0),
        Just(1),
        Just(-1),
        Just(i64::MAX),
        Just(i64::MIN),
        Just(i64::from(u32::MAX)),
        any::<i64>(),
    ];
    (
        prop::collection::vec(any::<Index>(), DEPTH),
        any::<Index>(),
        number,
        prop::bool::weighted(0.1),
    )
        .prop_map(|(path, text, number, clear)| Change { path, text, number, clear })
}

/// Gives a reader of messages mangled forms of one message. `pool` is an encoded set of file
/// descriptors, `name` the message's full name, `seed` a well-formed one.
///
/// # Panics
/// With the smallest input found for which `check` panics, or when there is no such message.
pub fn fuzz_message(target: &str, pool: &[u8], name: &str, seed: &[u8], check: impl Fn(&[u8])) {
    let pool = DescriptorPool::decode(pool).expect("descriptors");
    let descriptor = pool.get_message_by_name(name).expect("a message of the descriptors");
    let seed = DynamicMessage::decode(descriptor, seed).expect("a well-formed seed");
    check(&seed.encode_to_vec());
    let strategy = prop::collection::vec(any_change(), 1..6).prop_map(move |changes| {
        let mut message = seed.clone();
        for change in &changes {
            apply(&mut message, change, &change.path);
        }
        message.encode_to_vec()
    });
    run(target, &strategy, 1, check);
}

fn apply(message: &mut DynamicMessage, change: &Change, path: &[Index]) {
    let Some((first, rest)) = path.split_first() else { return };
    let fields: Vec<FieldDescriptor> = message.descriptor().fields().collect();
    if fields.is_empty() {
        return;
    }
    let field = first.get(&fields);
    if change.clear && rest.len() < DEPTH - 1 {
        message.clear_field(field);
    } else if field.is_map() {
        let entry = field.kind();
        let entry = entry.as_message().expect("a map's entries are messages");
        let value = scalar(&entry.map_entry_value_field(), change, rest);
        let key = match entry.map_entry_key_field().kind() {
            Kind::String => MapKey::String((*change.text.get(HOSTILE)).to_owned()),
            _ => return,
        };
        if let (Some(map), Some(value)) = (message.get_field_mut(field).as_map_mut(), value) {
            map.insert(key, value);
        }
    } else if field.is_list() {
        let value = scalar(field, change, rest);
        if let (Some(list), Some(value)) = (message.get_field_mut(field).as_list_mut(), value) {
            list.push(value);
        }
    } else if let Kind::Message(_) = field.kind() {
        if let Some(inner) = message.get_field_mut(field).as_message_mut() {
            apply(inner, change, rest);
        }
    } else if let Some(value) = scalar(field, change, rest) {
        message.set_field(field, value);
    }
}

/// Any value of the type will do.
fn scalar(field: &FieldDescriptor, change: &Change, rest: &[Index]) -> Option<Value> {
    let (number, text) = (change.number, *change.text.get(HOSTILE));
    Some(match field.kind() {
        Kind::Double => Value::F64(number as f64),
        Kind::Float => Value::F32(number as f32),
        Kind::Int32 | Kind::Sint32 | Kind::Sfixed32 => Value::I32(number as i32),
        Kind::Int64 | Kind::Sint64 | Kind::Sfixed64 => Value::I64(number),
        Kind::Uint32 | Kind::Fixed32 => Value::U32(number as u32),
        Kind::Uint64 | Kind::Fixed64 => Value::U64(number as u64),
        Kind::Bool => Value::Bool(number & 1 == 1),
        Kind::String => Value::String(text.to_owned()),
        Kind::Bytes => Value::Bytes(text.as_bytes().to_vec().into()),
        Kind::Enum(_) => Value::EnumNumber(number as i32),
        Kind::Message(descriptor) => {
            let mut inner = DynamicMessage::new(descriptor);
            if rest.is_empty() {
                return None;
            }
            apply(&mut inner, change, rest);
            Value::Message(inner)
        }
    })
}

/// A message as its name wants it with one text field set to `text`, for each text field there is,
/// at any depth: the field's path and the encoded message. `base` has the others.
///
/// # Panics
/// When there is no such message, or the base is none of it.
#[must_use]
pub fn text_fields(
    pool: &DescriptorPool,
    name: &str,
    base: &[u8],
    text: &str,
) -> Vec<(String, Vec<u8>)> {
    let descriptor = pool.get_message_by_name(name).expect("a message of the descriptors");
    let base = DynamicMessage::decode(descriptor, base).expect("a well-formed base");
    let mut found = Vec::new();
    each_text(&base, text, "", DEPTH / 2, &mut |path, message| {
        found.push((path.to_owned(), message.encode_to_vec()));
    });
    found
}

fn each_text(
    message: &DynamicMessage,
    text: &str,
    path: &str,
    depth: usize,
    tell: &mut dyn FnMut(&str, DynamicMessage),
) {
    if depth == 0 {
        return;
    }
    for field in message.descriptor().fields() {
        let path = format!("{path}{}", field.name());
        let with = |value: Value| {
            let mut changed = message.clone();
            changed.set_field(&field, value);
            changed
        };
        if field.is_map() {
            let kind = field.kind();
            let entry = kind.as_message().expect("a map's entries are messages");
            let (key, value) = (entry.map_entry_key_field(), entry.map_entry_value_field());
            if (key.kind(), value.kind()) == (Kind::String, Kind::String) {
                for (key, value) in [(text, "value"), ("key", text)] {
                    let key = MapKey::String(key.to_owned());
                    let map = [(key, Value::String(value.to_owned()))];
                    tell(&path, with(Value::Map(map.into_iter().collect())));
                }
            }
            continue;
        }
        match field.kind() {
            Kind::String => {
                let value = Value::String(text.to_owned());
                let value = if field.is_list() { Value::List(vec![value]) } else { value };
                tell(&path, with(value));
            }
            Kind::Message(descriptor) => {
                let inner = match message.get_field(&field).as_ref() {
                    Value::Message(inner) => inner.clone(),
                    _ => DynamicMessage::new(descriptor),
                };
                each_text(&inner, text, &format!("{path}."), depth - 1, &mut |path, inner| {
                    let value = Value::Message(inner);
                    let value = if field.is_list() { Value::List(vec![value]) } else { value };
                    tell(path, with(value));
                });
            }
            _ => {}
        }
    }
}

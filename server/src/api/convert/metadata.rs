//! Metadata documents: `google.protobuf.Struct` to JSON and back.
//!
//! A struct's numbers are doubles; whole ones are written as integers, which is what a guest
//! expects to read. How deep a document may nest is bounded by the decoder of the message.

use std::collections::BTreeMap;

use prost_types::value::Kind;
use prost_types::{ListValue, Struct, Value};
use serde_json::{Map, Number};

/// As JSON.
///
/// # Errors
/// A sentence, when the document holds a number that JSON has not.
pub fn to_json(document: Struct) -> Result<Map<String, serde_json::Value>, &'static str> {
    document.fields.into_iter().map(|(key, value)| Ok((key, value_to_json(value)?))).collect()
}

fn value_to_json(value: Value) -> Result<serde_json::Value, &'static str> {
    Ok(match value.kind {
        None | Some(Kind::NullValue(_)) => serde_json::Value::Null,
        Some(Kind::BoolValue(value)) => serde_json::Value::Bool(value),
        Some(Kind::NumberValue(value)) => serde_json::Value::Number(number(value)?),
        Some(Kind::StringValue(value)) => serde_json::Value::String(value),
        Some(Kind::ListValue(list)) => serde_json::Value::Array(
            list.values.into_iter().map(value_to_json).collect::<Result<_, _>>()?,
        ),
        Some(Kind::StructValue(document)) => serde_json::Value::Object(to_json(document)?),
    })
}

fn number(value: f64) -> Result<Number, &'static str> {
    /// Up to here every whole number is a double of its own: 2^53.
    const EXACT: f64 = 9_007_199_254_740_992.0;
    if value.fract() == 0.0 && value.abs() <= EXACT {
        #[expect(clippy::cast_possible_truncation, reason = "whole and within 2^53")]
        return Ok(Number::from(value as i64));
    }
    Number::from_f64(value).ok_or("has a number that is not finite")
}

/// From stored JSON. What was stored is an object; anything else shows as an empty document.
pub fn to_struct(text: &str) -> Struct {
    match serde_json::from_str(text) {
        Ok(serde_json::Value::Object(object)) => object_to_struct(object),
        Ok(_) | Err(_) => Struct::default(),
    }
}

fn object_to_struct(object: Map<String, serde_json::Value>) -> Struct {
    let fields: BTreeMap<String, Value> =
        object.into_iter().map(|(key, value)| (key, json_to_value(value))).collect();
    Struct { fields }
}

fn json_to_value(value: serde_json::Value) -> Value {
    let kind = match value {
        serde_json::Value::Null => Kind::NullValue(0),
        serde_json::Value::Bool(value) => Kind::BoolValue(value),
        // A double by construction: it was one when it came in.
        serde_json::Value::Number(value) => Kind::NumberValue(value.as_f64().unwrap_or(0.0)),
        serde_json::Value::String(value) => Kind::StringValue(value),
        serde_json::Value::Array(values) => {
            Kind::ListValue(ListValue { values: values.into_iter().map(json_to_value).collect() })
        }
        serde_json::Value::Object(object) => Kind::StructValue(object_to_struct(object)),
    };
    Value { kind: Some(kind) }
}

//! Metadata documents: `google.protobuf.Struct` to JSON and back.
//!
//! A struct's numbers are doubles; whole ones are written as integers, which is what a guest
//! expects to read. A document nests at most [`MAX_METADATA_DEPTH`] levels, so that an answer that
//! has it can be read by every decoder; one that was stored deeper shows a note in its place.

use std::collections::BTreeMap;

use banger_proto::bounds::MAX_METADATA_DEPTH;
use prost_types::value::Kind;
use prost_types::{ListValue, Struct, Value};
use serde_json::{Map, Number};

/// Shown in place of what nests too deep.
const TOO_DEEP: &str = "(not shown: nested too deep)";

/// As JSON.
///
/// # Errors
/// A sentence, when the document holds a number that JSON has not, or nests too deep.
pub fn to_json(document: Struct) -> Result<Map<String, serde_json::Value>, String> {
    object_to_json(document, MAX_METADATA_DEPTH)
}

/// `levels`: how many of objects and lists may still come, this one counted.
fn object_to_json(
    document: Struct,
    levels: usize,
) -> Result<Map<String, serde_json::Value>, String> {
    let below = below(levels)?;
    document
        .fields
        .into_iter()
        .map(|(key, value)| Ok((key, value_to_json(value, below)?)))
        .collect()
}

fn below(levels: usize) -> Result<usize, String> {
    levels.checked_sub(1).ok_or_else(|| {
        format!("nests deeper than {MAX_METADATA_DEPTH} levels of objects and lists")
    })
}

fn value_to_json(value: Value, levels: usize) -> Result<serde_json::Value, String> {
    Ok(match value.kind {
        None | Some(Kind::NullValue(_)) => serde_json::Value::Null,
        Some(Kind::BoolValue(value)) => serde_json::Value::Bool(value),
        Some(Kind::NumberValue(value)) => serde_json::Value::Number(number(value)?),
        Some(Kind::StringValue(value)) => serde_json::Value::String(value),
        Some(Kind::ListValue(list)) => {
            let below = below(levels)?;
            let values = list.values.into_iter().map(|value| value_to_json(value, below));
            serde_json::Value::Array(values.collect::<Result<_, _>>()?)
        }
        Some(Kind::StructValue(document)) => {
            serde_json::Value::Object(object_to_json(document, levels)?)
        }
    })
}

fn number(value: f64) -> Result<Number, String> {
    /// Up to here every whole number is a double of its own: 2^53.
    const EXACT: f64 = 9_007_199_254_740_992.0;
    if value.fract() == 0.0 && value.abs() <= EXACT {
        #[expect(clippy::cast_possible_truncation, reason = "whole and within 2^53")]
        return Ok(Number::from(value as i64));
    }
    Number::from_f64(value).ok_or_else(|| "has a number that is not finite".to_owned())
}

/// From stored JSON. What was stored is an object; anything else shows as an empty document.
pub fn to_struct(text: &str) -> Struct {
    match serde_json::from_str(text) {
        Ok(serde_json::Value::Object(object)) => object_to_struct(object, MAX_METADATA_DEPTH - 1),
        Ok(_) | Err(_) => Struct::default(),
    }
}

/// `below`: how many levels may come below this one.
fn object_to_struct(object: Map<String, serde_json::Value>, below: usize) -> Struct {
    let fields: BTreeMap<String, Value> =
        object.into_iter().map(|(key, value)| (key, json_to_value(value, below))).collect();
    Struct { fields }
}

fn json_to_value(value: serde_json::Value, levels: usize) -> Value {
    let kind = match (value, levels.checked_sub(1)) {
        (serde_json::Value::Null, _) => Kind::NullValue(0),
        (serde_json::Value::Bool(value), _) => Kind::BoolValue(value),
        // A double by construction: it was one when it came in.
        (serde_json::Value::Number(value), _) => Kind::NumberValue(value.as_f64().unwrap_or(0.0)),
        (serde_json::Value::String(value), _) => Kind::StringValue(value),
        (serde_json::Value::Array(_) | serde_json::Value::Object(_), None) => {
            Kind::StringValue(TOO_DEEP.to_owned())
        }
        (serde_json::Value::Array(values), Some(below)) => {
            let values = values.into_iter().map(|value| json_to_value(value, below)).collect();
            Kind::ListValue(ListValue { values })
        }
        (serde_json::Value::Object(object), Some(below)) => {
            Kind::StructValue(object_to_struct(object, below))
        }
    };
    Value { kind: Some(kind) }
}

#[cfg(test)]
mod tests;

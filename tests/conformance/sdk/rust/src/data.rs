//! What data of the scenarios stands for.

use agentos_sdk::Payload;
use serde::{Serialize, Serializer, ser::SerializeMap};
use serde_json::{Map, Value, json};

/// `$name` in texts becomes what was saved, and `$repeat` a long text.
pub(crate) fn fill(value: &Value, saved: &[(&str, String)]) -> Value {
    match value {
        Value::String(text) => Value::String(filled(text, saved)),
        Value::Array(items) => items.iter().map(|item| fill(item, saved)).collect(),
        Value::Object(object) => {
            if let Some([times, Value::String(unit)]) = word(object, "$repeat").and_then(pair) {
                return json!(unit.repeat(times.as_u64().unwrap_or(0) as usize));
            }
            let filled = |(key, item): (&String, &Value)| (filled(key, saved), fill(item, saved));
            Value::Object(object.iter().map(filled).collect())
        }
        other => other.clone(),
    }
}

fn filled(text: &str, saved: &[(&str, String)]) -> String {
    saved.iter().fold(text.to_owned(), |text, (name, more)| {
        text.replace(&format!("${name}"), more)
    })
}

fn word<'a>(object: &'a Map<String, Value>, name: &str) -> Option<&'a Value> {
    object.get(name)
}

fn pair(value: &Value) -> Option<&[Value; 2]> {
    value.as_array()?.as_slice().try_into().ok()
}

/// The bytes that `value` stands for, if it does.
pub(crate) fn bytes(value: &Value) -> Option<Vec<u8>> {
    let object = value.as_object()?;
    if let Some(items) = word(object, "$bytes").and_then(Value::as_array) {
        return Some(
            items
                .iter()
                .map(|item| item.as_u64().unwrap_or(0) as u8)
                .collect(),
        );
    }
    let size = word(object, "$pattern")?.as_u64()? as usize;
    Some((0..=250).cycle().take(size).collect())
}

pub(crate) enum Sent {
    Payload(Payload),
    /// What the SDK is to refuse.
    Odd(Odd),
}

/// What is to be sent for `value`.
pub(crate) fn sent(value: &Value) -> Sent {
    if let Some(bytes) = bytes(value) {
        return Sent::Payload(Payload::binary(bytes));
    }
    let text = value.to_string();
    if text.contains("\"$nan\"") {
        Sent::Odd(Odd(value.clone()))
    } else {
        Sent::Payload(Payload::json(text))
    }
}

/// A value of which a part is no number.
pub(crate) struct Odd(Value);

impl Serialize for Odd {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        match &self.0 {
            Value::Object(object) if object.contains_key("$nan") => to.serialize_f64(f64::NAN),
            Value::Object(object) => {
                let mut map = to.serialize_map(Some(object.len()))?;
                for (key, item) in object {
                    map.serialize_entry(key, &Odd(item.clone()))?;
                }
                map.end()
            }
            Value::Array(items) => to.collect_seq(items.iter().cloned().map(Odd)),
            other => other.serialize(to),
        }
    }
}

//! Looking into a JSON value by OTLP's field names, however they are spelt.

use std::sync::Arc;

use serde_json::{Map, Value};

#[derive(Clone, Copy)]
pub(super) struct Node<'a>(pub(super) &'a Value);

impl<'a> Node<'a> {
    /// The field `camel`, or the same in snake case; null counts as missing.
    pub(super) fn get(self, camel: &str) -> Option<Node<'a>> {
        let fields = self.0.as_object()?;
        let field = fields.get(camel).or_else(|| {
            let has_humps = camel.bytes().any(|c| c.is_ascii_uppercase());
            has_humps.then(|| fields.get(&snake(camel)))?
        })?;
        (!field.is_null()).then_some(Node(field))
    }

    pub(super) fn items(self, camel: &str) -> impl Iterator<Item = Node<'a>> + use<'a> {
        let list = self.get(camel).and_then(|list| list.0.as_array());
        list.into_iter().flatten().map(Node)
    }

    pub(super) fn str(self, camel: &str) -> Option<&'a str> {
        self.get(camel)?.0.as_str()
    }

    /// A text that is there and not empty.
    pub(super) fn text(self, camel: &str) -> Option<Arc<str>> {
        self.str(camel)
            .filter(|text| !text.is_empty())
            .map(Arc::from)
    }

    pub(super) fn number(self, camel: &str) -> Option<u64> {
        whole(self.get(camel)?.0)
    }

    pub(super) fn float(self, camel: &str) -> Option<f64> {
        float(self.get(camel)?.0)
    }

    pub(super) fn numbers(self, camel: &str) -> Vec<u64> {
        self.items(camel).filter_map(|item| whole(item.0)).collect()
    }

    pub(super) fn floats(self, camel: &str) -> Vec<f64> {
        self.items(camel).filter_map(|item| float(item.0)).collect()
    }

    /// Keys and their `AnyValue`s.
    pub(super) fn attributes(self) -> impl Iterator<Item = (&'a str, &'a Value)> + use<'a> {
        const NONE: &Value = &Value::Null;
        self.items("attributes").filter_map(|pair| {
            let value = pair.get("value").map_or(NONE, |value| value.0);
            Some((pair.str("key")?, value))
        })
    }
}

/// An `AnyValue` as plain JSON. A value that is not wrapped is taken as it is.
pub(super) fn any_value(value: &Value) -> Value {
    let node = Node(value);
    if let Some(text) = node.get("stringValue") {
        return text.0.clone();
    }
    if let Some(flag) = node.get("boolValue") {
        return flag.0.clone();
    }
    if let Some(number) = node.get("intValue") {
        let parsed = number.0.as_str().and_then(|text| text.parse::<i64>().ok());
        return parsed.map_or_else(|| number.0.clone(), Value::from);
    }
    if let Some(number) = node.get("doubleValue") {
        return number.0.clone();
    }
    if let Some(list) = node.get("arrayValue") {
        return list.items("values").map(|item| any_value(item.0)).collect();
    }
    if let Some(map) = node.get("kvlistValue") {
        let pairs = map.items("values").filter_map(|pair| {
            let value = pair
                .get("value")
                .map_or(Value::Null, |value| any_value(value.0));
            Some((pair.str("key")?.to_owned(), value))
        });
        return Value::Object(pairs.collect::<Map<_, _>>());
    }
    if let Some(bytes) = node.get("bytesValue") {
        return bytes.0.clone();
    }
    match value {
        // An AnyValue that holds nothing.
        Value::Object(fields) if fields.is_empty() => Value::Null,
        plain => plain.clone(),
    }
}

/// An `AnyValue` as text: strings as they are, the rest as JSON.
pub(super) fn any_text(value: &Value) -> String {
    match any_value(value) {
        Value::String(text) => text,
        Value::Null => String::new(),
        other => other.to_string(),
    }
}

fn whole(value: &Value) -> Option<u64> {
    match value {
        Value::String(text) => text.trim().parse().ok(),
        number => number
            .as_u64()
            .or_else(|| number.as_f64().filter(|n| *n >= 0.0).map(|n| n as u64)),
    }
}

fn float(value: &Value) -> Option<f64> {
    match value {
        Value::String(text) => text.trim().parse().ok(),
        number => number.as_f64(),
    }
}

fn snake(camel: &str) -> String {
    let mut snake = String::with_capacity(camel.len() + 4);
    for c in camel.chars() {
        if c.is_ascii_uppercase() {
            snake.push('_');
        }
        snake.push(c.to_ascii_lowercase());
    }
    snake
}

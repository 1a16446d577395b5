//! A JSON value as text: checked to be JSON, not taken apart.

use std::{borrow::Cow, sync::Arc};

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Value, value::RawValue};

/// JSON text. Cheap to clone; written out as it came in.
#[derive(Clone, Debug, Serialize)]
#[serde(transparent)]
pub struct Doc(Arc<RawValue>);

impl Doc {
    /// # Errors
    /// When `text` is not JSON.
    pub fn parse(text: &[u8]) -> serde_json::Result<Doc> {
        serde_json::from_slice(text)
    }

    /// # Errors
    /// When `value` nests too deeply or has no JSON form.
    pub fn of(value: &Value) -> serde_json::Result<Doc> {
        serde_json::value::to_raw_value(value).map(|raw| Doc(raw.into()))
    }

    pub fn text(&self) -> &str {
        self.0.get()
    }

    /// # Errors
    /// When the value nests too deeply to be looked into.
    pub fn value(&self) -> serde_json::Result<Value> {
        serde_json::from_str(self.text())
    }
}

/// JSON `null`.
impl Default for Doc {
    fn default() -> Doc {
        let null: Box<RawValue> = RawValue::NULL.to_owned();
        Doc(null.into())
    }
}

impl PartialEq for Doc {
    fn eq(&self, other: &Doc) -> bool {
        self.text() == other.text()
    }
}

impl<'de> Deserialize<'de> for Doc {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        Box::<RawValue>::deserialize(from).map(|raw| Doc(raw.into()))
    }
}

impl JsonSchema for Doc {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "AnyJson".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        true.into()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// An update rewrites the whole document; numbers beside the change must not drift.
        #[test]
        fn numbers_survive_being_taken_apart(number in any::<f64>().prop_filter("JSON has no others", |n| n.is_finite())) {
            let doc = Doc::of(&Value::from(number)).unwrap();
            prop_assert_eq!(Doc::of(&doc.value().unwrap()).unwrap(), doc);
        }
    }
}

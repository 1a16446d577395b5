//! A JSON value as text: passed on as it came.

use std::borrow::Cow;

use agentos_sdk::{Encoding, Payload};
use base64::{Engine, prelude::BASE64_STANDARD};
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::value::RawValue;

/// JSON text, checked to be JSON.
#[derive(Debug, Serialize)]
#[serde(transparent)]
pub struct Json(Box<RawValue>);

impl Json {
    /// What `payload` says; bytes that are no JSON become a text, in base64.
    pub(super) fn of(payload: &Payload) -> serde_json::Result<Json> {
        match payload.encoding {
            Encoding::Json => serde_json::from_slice(payload.text()).map(Json),
            Encoding::Binary => {
                serde_json::value::to_raw_value(&BASE64_STANDARD.encode(&payload.bytes)).map(Json)
            }
        }
    }

    pub(super) fn into_payload(self) -> Payload {
        let text: Box<str> = self.0.into();
        Payload::json(String::from(text))
    }
}

impl<'de> Deserialize<'de> for Json {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        Box::<RawValue>::deserialize(from).map(Json)
    }
}

impl JsonSchema for Json {
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

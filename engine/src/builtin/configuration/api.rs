//! Function ids and shapes of `configuration::*`. Unknown keys are tolerated: SDKs add their own.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

pub(super) const REGISTER: &str = "configuration::register";
pub(super) const SET: &str = "configuration::set";
pub(super) const GET: &str = "configuration::get";
pub(super) const LIST: &str = "configuration::list";
pub(super) const SCHEMA: &str = "configuration::schema";
/// Ours; the event `configuration:deleted` comes of it.
pub(super) const DELETE: &str = "configuration::delete";

/// The trigger type, and the `type` of its payload.
pub(super) const TRIGGER_TYPE: &str = "configuration";

/// Input of [`REGISTER`].
#[derive(Deserialize, JsonSchema)]
pub(super) struct Register {
    /// 1 to 64 of `a` to `z`, `0` to `9`, `_` and `-`.
    pub(super) id: String,
    #[serde(default)]
    pub(super) name: String,
    #[serde(default)]
    pub(super) description: String,
    /// A JSON schema.
    pub(super) schema: Json,
    /// Its value until one is set.
    #[serde(default)]
    pub(super) initial_value: Option<Json>,
    #[serde(default)]
    pub(super) metadata: Option<Json>,
}

/// Input of [`SET`].
#[derive(Deserialize, JsonSchema)]
pub(super) struct Set {
    pub(super) id: String,
    /// Texts in it may hold `${VARIABLE}` and `${VARIABLE:default}`.
    pub(super) value: Json,
}

/// Output of [`SET`], variables replaced.
#[derive(Serialize, JsonSchema)]
pub(super) struct Written {
    pub(super) old_value: Json,
    pub(super) new_value: Json,
}

/// Input of [`GET`].
#[derive(Deserialize, JsonSchema)]
pub(super) struct Get {
    pub(super) id: String,
    /// With variables as they were written.
    #[serde(default)]
    pub(super) raw: Option<bool>,
}

/// Output of [`GET`] and [`REGISTER`].
#[derive(Serialize, JsonSchema)]
pub(super) struct Value {
    pub(super) id: String,
    pub(super) value: Json,
}

/// Input of [`SCHEMA`] and [`DELETE`].
#[derive(Deserialize, JsonSchema)]
pub(super) struct Id {
    pub(super) id: String,
}

/// Output of [`SCHEMA`].
#[derive(Serialize, JsonSchema)]
pub(super) struct SchemaOf {
    pub(super) id: String,
    pub(super) schema: Json,
}

/// Output of [`DELETE`].
#[derive(Serialize, JsonSchema)]
pub(super) struct Deleted {
    /// False when there was none.
    pub(super) deleted: bool,
}

/// Input of [`LIST`]: nothing.
#[derive(Deserialize, JsonSchema)]
pub(super) struct List {}

/// Output of [`LIST`], sorted by id.
#[derive(Serialize, JsonSchema)]
pub(super) struct Listed {
    pub(super) configurations: Vec<About>,
}

#[derive(Serialize, JsonSchema)]
pub(super) struct About {
    pub(super) id: String,
    pub(super) name: String,
    pub(super) description: String,
    pub(super) schema: Json,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) metadata: Option<Json>,
}

/// `config` of a trigger of type [`TRIGGER_TYPE`]; what is absent matches everything.
#[derive(Clone, Deserialize, JsonSchema, Default)]
#[serde(default)]
pub(super) struct TriggerConfig {
    pub(super) configuration_id: Option<String>,
    pub(super) event_types: Option<Vec<EventType>>,
    /// Asked first with the same payload; only the answer `false` keeps the event back.
    pub(super) condition_function_id: Option<String>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
pub(super) enum EventType {
    #[serde(rename = "configuration:registered")]
    Registered,
    #[serde(rename = "configuration:updated")]
    Updated,
    #[serde(rename = "configuration:deleted")]
    Deleted,
}

/// What a bound function gets. Values have their variables replaced.
#[derive(Serialize, JsonSchema)]
pub(super) struct Event<'a> {
    pub(super) r#type: &'static str,
    pub(super) event_type: EventType,
    pub(super) id: &'a str,
    pub(super) name: &'a str,
    pub(super) description: &'a str,
    pub(super) schema: &'a Json,
    pub(super) old_value: &'a Json,
    pub(super) new_value: &'a Json,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) metadata: Option<&'a Json>,
}

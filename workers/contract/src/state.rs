//! `state::*`: the durable store that workers keep their things in. Snake case, as iii has it.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Writes a value: [`Set`] to the old and the new one. Acknowledged means on disk.
pub const SET: &str = "state::set";
/// Reads a value: [`Key`] to the value, `null` when there is none.
pub const GET: &str = "state::get";
/// Changes a value in place, in one step with all others who do: scope, key and `ops`.
pub const UPDATE: &str = "state::update";
/// Removes a value: [`Key`] to what was there.
pub const DELETE: &str = "state::delete";
/// Pages through keys and values in order of keys: [`ListEntries`] to [`Entries`].
pub const ENTRIES: &str = "state::entries";

/// See [`SET`].
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Set<V = Value> {
    pub scope: String,
    pub key: String,
    pub value: V,
}

/// Names one value.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Key {
    pub scope: String,
    pub key: String,
}

/// See [`ENTRIES`].
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct ListEntries {
    pub scope: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prefix: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
    /// Where an earlier page ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
}

/// One page of a scope.
#[derive(Clone, PartialEq, Debug, Deserialize, JsonSchema)]
pub struct Entries<V = Value> {
    pub entries: Vec<Entry<V>>,
    /// Present when there is more.
    #[serde(default)]
    pub cursor: Option<String>,
}

/// A key and its value.
#[derive(Clone, PartialEq, Debug, Deserialize, JsonSchema)]
pub struct Entry<V = Value> {
    pub key: String,
    pub value: V,
}

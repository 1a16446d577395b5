//! How steps of an update are written.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// One step of an update.
#[derive(Clone, Deserialize, Serialize, JsonSchema)]
pub struct Op {
    #[serde(rename = "type")]
    pub kind: OpKind,
    /// One literal key, dots and all; `""` is the whole document. `merge` also takes a list of
    /// keys, which is a path.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<Path>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<serde_json::Value>,
    /// For `increment` and `decrement`; `value` is understood too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<i64>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OpKind {
    Set,
    Merge,
    Increment,
    Decrement,
    Append,
    Remove,
}

#[derive(Clone, Deserialize, Serialize, JsonSchema)]
#[serde(untagged)]
pub enum Path {
    Key(String),
    Keys(Vec<String>),
}

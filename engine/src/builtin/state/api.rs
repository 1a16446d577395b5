//! Function ids and shapes of `state::*`: the contract with every worker, of iii and of ours.
//!
//! Unknown keys are tolerated everywhere: SDKs add their own.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    builtin::document::{Doc, Op, OpError},
    storage::Version,
};

pub const SET: &str = "state::set";
pub const GET: &str = "state::get";
pub const DELETE: &str = "state::delete";
pub const UPDATE: &str = "state::update";
pub const LIST: &str = "state::list";
pub const LIST_GROUPS: &str = "state::list_groups";
pub const ENTRIES: &str = "state::entries";

/// The trigger type, and the `type` of its payload.
pub const TRIGGER_TYPE: &str = "state";

/// Input of [`SET`].
#[derive(Deserialize, JsonSchema)]
pub struct Set {
    pub scope: String,
    pub key: String,
    #[serde(alias = "data")]
    pub value: Doc,
    /// Write only if this is the value's version; 0 means that there must be no value.
    #[serde(default)]
    pub expected_version: Option<Version>,
    /// Say the version that was written, for `expected_version` of the next write. Said anyway to
    /// who expects one.
    #[serde(default)]
    pub versioned: bool,
    /// Forget the value after so many milliseconds.
    #[serde(default)]
    pub ttl_ms: Option<u64>,
}

/// Input of [`GET`].
#[derive(Deserialize, JsonSchema)]
pub struct Get {
    pub scope: String,
    pub key: String,
}

/// Input of [`DELETE`].
#[derive(Deserialize, JsonSchema)]
pub struct Delete {
    pub scope: String,
    pub key: String,
    /// Delete only if this is the value's version.
    #[serde(default)]
    pub expected_version: Option<Version>,
}

/// Input of [`UPDATE`].
#[derive(Deserialize, JsonSchema)]
pub struct Update {
    pub scope: String,
    pub key: String,
    #[serde(alias = "operations")]
    pub ops: Vec<Op>,
    /// Write only if this is the value's version; 0 means that there must be no value.
    #[serde(default)]
    pub expected_version: Option<Version>,
    /// Say the version that was written, for `expected_version` of the next write. Said anyway to
    /// who expects one.
    #[serde(default)]
    pub versioned: bool,
    /// Forget the value after so many milliseconds; without it an earlier term stays.
    #[serde(default)]
    pub ttl_ms: Option<u64>,
}

/// Output of [`SET`] and [`UPDATE`].
#[derive(Serialize, JsonSchema)]
pub struct Written {
    pub old_value: Option<Doc>,
    pub new_value: Option<Doc>,
    /// For `expected_version` of the next write; said to who asks for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<Version>,
    /// Steps of an update that were skipped, and why.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<OpError>,
}

/// Input of [`LIST`].
#[derive(Deserialize, JsonSchema)]
pub struct List {
    pub scope: String,
}

/// Input of [`LIST_GROUPS`]: nothing.
#[derive(Deserialize, JsonSchema, Default)]
pub struct ListGroups {}

/// Output of [`LIST_GROUPS`].
#[derive(Serialize, JsonSchema)]
pub struct Groups {
    /// Every scope that holds something, sorted.
    pub groups: Vec<String>,
}

/// Input of [`ENTRIES`].
#[derive(Deserialize, JsonSchema)]
pub struct ListEntries {
    pub scope: String,
    /// Only keys that begin with it.
    #[serde(default)]
    pub prefix: Option<String>,
    /// Entries per page, 1 to 1000; 100 unless given.
    #[serde(default)]
    pub limit: Option<usize>,
    /// Where an earlier page ended.
    #[serde(default)]
    pub cursor: Option<String>,
}

/// Output of [`ENTRIES`], in order of keys.
#[derive(Serialize, JsonSchema)]
pub struct Entries {
    pub entries: Vec<Entry>,
    /// Present when there is more.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
}

/// One value with its key and version.
#[derive(Serialize, JsonSchema)]
pub struct Entry {
    pub key: String,
    pub value: Doc,
    pub version: Version,
    /// When it is to be forgotten, in milliseconds since 1970; absent when never.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub due_ms: Option<u64>,
}

/// What a bound function gets.
#[derive(Serialize, JsonSchema)]
pub struct Event<'a> {
    pub r#type: &'static str,
    pub event_type: EventType,
    pub scope: &'a str,
    pub key: &'a str,
    pub old_value: Option<&'a Doc>,
    pub new_value: Option<&'a Doc>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, JsonSchema)]
pub enum EventType {
    #[serde(rename = "state:created")]
    Created,
    #[serde(rename = "state:updated")]
    Updated,
    #[serde(rename = "state:deleted")]
    Deleted,
}

/// `config` of a trigger of type [`TRIGGER_TYPE`]; what is absent matches everything.
#[derive(Clone, Deserialize, JsonSchema, Default)]
#[serde(default)]
pub struct TriggerConfig {
    pub scope: Option<String>,
    pub key: Option<String>,
    /// Asked first with the same payload; only the answer `false` keeps the event back.
    pub condition_function_id: Option<String>,
}

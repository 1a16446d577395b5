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
pub const HISTORY: &str = "state::history";
pub const TRANSACTION: &str = "state::transaction";

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

/// Input of [`TRANSACTION`]: all of it is done, or nothing.
#[derive(Deserialize, JsonSchema)]
pub struct Transaction {
    /// 1 to 256, each of another key.
    pub operations: Vec<Operation>,
}

/// A part of a [`Transaction`].
#[derive(Deserialize, JsonSchema)]
pub struct Operation {
    pub op: OperationKind,
    pub scope: String,
    pub key: String,
    /// To be set.
    #[serde(default, deserialize_with = "given")]
    pub value: Option<Doc>,
    /// Steps of an update.
    #[serde(default)]
    pub ops: Option<Vec<Op>>,
    /// Do all of it only if this is the value's version; 0 means that there must be no value.
    #[serde(default)]
    pub expected_version: Option<Version>,
    /// As in [`Set`] and [`Update`].
    #[serde(default)]
    pub ttl_ms: Option<u64>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum OperationKind {
    Set,
    Update,
    Delete,
    /// Only looks at the version.
    Check,
}

/// `null` is a value, too.
fn given<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Option<Doc>, D::Error> {
    Doc::deserialize(from).map(Some)
}

/// Output of [`TRANSACTION`].
#[derive(Serialize, JsonSchema)]
pub struct Transacted {
    /// In the order of the operations; a version of 0 means that there is no value.
    pub results: Vec<Written>,
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

/// Input of [`HISTORY`].
#[derive(Deserialize, JsonSchema)]
pub struct ListHistory {
    pub scope: String,
    pub key: String,
    /// Entries per page, 1 to 1000; 100 unless given.
    #[serde(default)]
    pub limit: Option<usize>,
    /// Only versions before it: the cursor of an earlier page.
    #[serde(default)]
    pub before: Option<Version>,
}

/// Output of [`HISTORY`], newest first. The value that is there now is not in it.
#[derive(Serialize, JsonSchema)]
pub struct History {
    pub entries: Vec<Former>,
    /// Present when there is more.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cursor: Option<Version>,
}

/// What a value was.
#[derive(Serialize, JsonSchema)]
pub struct Former {
    pub version: Version,
    pub value: Doc,
    /// When it was replaced, deleted or forgotten, in milliseconds since 1970.
    pub ended_ms: u64,
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

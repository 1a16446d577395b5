//! `memory::*`: what an agent remembers.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Remembers a text: [`StoreRequest`] to [`Stored`]. The same text again is not stored twice.
pub const STORE: &str = "memory::store";
/// Remembers many texts at once: [`StoreManyRequest`] to [`StoredMany`].
pub const STORE_MANY: &str = "memory::store_many";
/// Finds memories by meaning and by words: [`RecallRequest`] to [`Recalled`].
pub const RECALL: &str = "memory::recall";
/// Removes memories: [`ForgetRequest`] to [`Forgotten`].
pub const FORGET: &str = "memory::forget";
/// Lists memories, newest first: [`ListRequest`] to [`Listed`].
pub const LIST: &str = "memory::list";
/// Makes one memory of those that say the same: [`ConsolidateRequest`] to [`Consolidated`].
pub const CONSOLIDATE: &str = "memory::consolidate";
/// Embeds what was stored while nobody could: anything to [`Waiting`]. Bound to changes of functions.
pub const CATCH_UP: &str = "memory::catch_up";

/// See [`STORE`].
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct StoreRequest {
    /// Whose memory it is; agents do not share memories.
    pub agent_id: String,
    /// What to remember.
    pub content: String,
    /// Who said it, for instance `user` or `assistant`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<String>,
    /// The conversation it comes from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session_id: Option<String>,
    /// A drawer within the agent's memory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scope: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metadata: Option<Value>,
}

/// Exactly one of `stored` and `deduplicated` is there, and true.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Stored {
    pub id: String,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub stored: bool,
    /// The same text was there already, under this id.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub deduplicated: bool,
    /// The oldest memory, forgotten to make room.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub evicted: Option<String>,
}

/// See [`STORE_MANY`].
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct StoreManyRequest {
    pub agent_id: String,
    pub memories: Vec<NewMemory>,
}

/// One of many; the fields are those of [`StoreRequest`].
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct NewMemory {
    pub content: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session_id: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scope: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metadata: Option<Value>,
}

impl StoreRequest {
    /// Whose it is, and the rest.
    pub fn split(self) -> (String, NewMemory) {
        let memory = NewMemory {
            content: self.content,
            role: self.role,
            session_id: self.session_id,
            scope: self.scope,
            metadata: self.metadata,
        };
        (self.agent_id, memory)
    }
}

/// What became of each, in the order of the request.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct StoredMany {
    pub memories: Vec<Stored>,
    /// The oldest memories, forgotten to make room.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub evicted: Vec<String>,
}

/// See [`RECALL`].
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RecallRequest {
    pub agent_id: String,
    /// What to look for, in plain words.
    pub query: String,
    /// At most this many; 10 when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<usize>,
    /// Only from these drawers; absent means from all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scopes: Option<Vec<String>>,
    /// Only from this conversation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session_id: Option<String>,
}

/// What was found, best first.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Recalled {
    pub memories: Vec<Hit>,
    pub method: Method,
    /// Says plainly when meaning was not searched, and why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub notice: Option<String>,
}

/// How memories were searched.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Method {
    /// By words and by meaning, fused.
    Hybrid,
    /// By words only: nothing could be embedded.
    Keyword,
}

/// A memory that was found.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Hit {
    #[serde(flatten)]
    pub memory: Memory,
    /// Reciprocal rank fusion of the rankings in `sources`, less what time has taken; 1 is first in
    /// all of them and fresh.
    pub score: f64,
    /// Cosine of query and memory, when the memory is embedded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub similarity: Option<f64>,
    /// BM25 of query and memory, when they share a word.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keyword_score: Option<f64>,
    /// The rankings that named it.
    pub sources: Vec<Source>,
}

/// A ranking.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Source {
    Keyword,
    Vector,
}

/// A stored memory.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Memory {
    pub id: String,
    pub content: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session_id: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scope: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metadata: Option<Value>,
    /// Milliseconds since 1970.
    pub created_at: u64,
    /// When it was last recalled, to the day; milliseconds since 1970. Absent: on the day it was made
    /// at the latest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub used_at: Option<u64>,
    /// How many memories that said the same it has taken in.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub merged: u32,
}

fn is_zero(number: &u32) -> bool {
    *number == 0
}

/// Which memories to remove: by `id`, all of a `sessionId` or `scope`, or `all`.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ForgetRequest {
    pub agent_id: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session_id: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scope: Option<String>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub all: bool,
}

/// See [`FORGET`].
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Forgotten {
    pub forgotten: usize,
}

/// See [`LIST`].
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ListRequest {
    pub agent_id: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session_id: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scope: Option<String>,
    /// At most this many; 50 when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<usize>,
    /// Where an earlier page ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
}

/// One page of memories.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Listed {
    pub memories: Vec<Memory>,
    /// All that match, on all pages.
    pub total: usize,
    /// Present when there is more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
}

/// See [`CONSOLIDATE`].
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ConsolidateRequest {
    pub agent_id: String,
    /// Only in this drawer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scope: Option<String>,
    /// Only in this conversation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session_id: Option<String>,
    /// Cosine from which two memories may say the same, 0.5 to 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub similarity: Option<f64>,
    /// Only tell what would be merged.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub dry_run: bool,
}

/// What was merged, or would be.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Consolidated {
    /// Memories that are gone, their text being in another.
    pub merged: usize,
    pub groups: Vec<Merge>,
    /// Says plainly what was left out, and why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub notice: Option<String>,
}

/// Memories that became one.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Merge {
    /// The newest, which stays.
    pub kept: String,
    pub merged: Vec<String>,
}

/// Memories that wait for a vector, of agents whose memories are held ready.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Waiting {
    pub waiting: usize,
}

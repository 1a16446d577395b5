//! `memory::*`: what an agent remembers.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Remembers a text: [`StoreRequest`] to [`Stored`]. The same text again is not stored twice.
pub const STORE: &str = "memory::store";
/// Finds memories by meaning and by words: [`RecallRequest`] to [`Recalled`].
pub const RECALL: &str = "memory::recall";
/// Removes memories: [`ForgetRequest`] to [`Forgotten`].
pub const FORGET: &str = "memory::forget";
/// Lists memories, newest first: [`ListRequest`] to [`Listed`].
pub const LIST: &str = "memory::list";

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
    /// Reciprocal rank fusion of the rankings in `sources`; 1 is first in all of them.
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

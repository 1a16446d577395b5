//! `agent::*`: agents, and talking to them.

mod runs;

pub use runs::*;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    chat::{Extra, Message},
    llm::Usage,
};

/// Talks to an agent: [`ChatRequest`] to [`ChatReply`]; a streaming caller gets [`Event`]s before.
pub const CHAT: &str = "agent::chat";
/// Makes an agent: [`CreateRequest`] to [`Created`]; `conflict` when the name is taken.
pub const CREATE: &str = "agent::create";
/// One agent: [`AgentRef`] to [`Agent`].
pub const GET: &str = "agent::get";
/// All agents, by id: nothing to a list of [`Agent`].
pub const LIST: &str = "agent::list";
/// Changes an agent: [`UpdateRequest`] to [`Agent`].
pub const UPDATE: &str = "agent::update";
/// Removes an agent and its sessions: [`AgentRef`] to [`Deleted`].
pub const DELETE: &str = "agent::delete";
/// `reason` of the error when no agent has the id or name.
pub const UNKNOWN_AGENT: &str = "unknown_agent";

/// An agent: instructions, a model, and the functions it may call.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Agent {
    pub id: String,
    pub name: String,
    #[serde(default)]
    pub description: String,
    /// `provider/model`; empty for the default model.
    #[serde(default)]
    pub model: String,
    #[serde(default)]
    pub system_prompt: String,
    #[serde(default)]
    pub capabilities: Capabilities,
    /// Model calls per answer; absent means the worker's default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_iterations: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub temperature: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_tokens: Option<u64>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<String>,
    /// Comes with the system; can be changed, and changed back, but not removed.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub built_in: bool,
    /// Milliseconds since 1970; 0 for an untouched built-in.
    #[serde(default)]
    pub created_at: u64,
    #[serde(default)]
    pub updated_at: u64,
}

/// What an agent may do. Nothing that is not named here.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Capabilities {
    /// Function ids it may call, `*` standing for any text: `file::read`, `web::*`. Empty means
    /// none. `engine`, `agent`, `llm`, `state` and `api` must be named in full or as `agent::*`.
    #[serde(default)]
    pub functions: Vec<String>,
    /// Drawers of its memory that are recalled into each conversation. Absent means all, empty
    /// means none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_scopes: Option<Vec<String>>,
    /// Of the functions it may call, those that wait for a person's yes each time.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub approvals: Vec<String>,
}

/// See [`CREATE`].
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CreateRequest {
    /// Made from the name when absent. Lower-case letters, digits, `-`, `_`, `.`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    pub name: String,
    #[serde(default)]
    pub description: String,
    #[serde(default)]
    pub model: Option<ModelChoice>,
    #[serde(default)]
    pub system_prompt: String,
    #[serde(default)]
    pub capabilities: Capabilities,
    #[serde(default)]
    pub max_iterations: Option<u32>,
    #[serde(default)]
    pub temperature: Option<f64>,
    #[serde(default)]
    pub max_tokens: Option<u64>,
    #[serde(default)]
    pub tags: Vec<String>,
}

/// A model by name, or by its parts.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(untagged, rename_all_fields = "camelCase")]
pub enum ModelChoice {
    /// `provider/model`, or a model that one provider lists.
    Name(String),
    Parts {
        #[serde(default)]
        provider: Option<String>,
        model: String,
        #[serde(default)]
        max_tokens: Option<u64>,
    },
}

impl ModelChoice {
    /// `provider/model`, and the limit of tokens if one came with it.
    pub fn resolve(self) -> (String, Option<u64>) {
        match self {
            ModelChoice::Name(name) => (name, None),
            ModelChoice::Parts {
                provider: Some(provider),
                model,
                max_tokens,
            } => (format!("{provider}/{model}"), max_tokens),
            ModelChoice::Parts {
                provider: None,
                model,
                max_tokens,
            } => (model, max_tokens),
        }
    }
}

/// See [`CREATE`].
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Created {
    pub agent_id: String,
    pub agent: Agent,
}

/// Changes what is given and leaves the rest.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct UpdateRequest {
    /// Id or name.
    #[serde(alias = "id")]
    pub agent_id: String,
    #[serde(default)]
    pub name: Option<String>,
    #[serde(default)]
    pub description: Option<String>,
    #[serde(default)]
    pub model: Option<ModelChoice>,
    #[serde(default)]
    pub system_prompt: Option<String>,
    #[serde(default)]
    pub capabilities: Option<Capabilities>,
    #[serde(default)]
    pub max_iterations: Option<u32>,
    #[serde(default)]
    pub temperature: Option<f64>,
    #[serde(default)]
    pub max_tokens: Option<u64>,
    #[serde(default)]
    pub tags: Option<Vec<String>>,
}

/// Names an agent.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AgentRef {
    /// Id or name.
    #[serde(alias = "id", alias = "name")]
    pub agent_id: String,
}

/// See [`DELETE`].
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Deleted {
    pub agent_id: String,
    pub deleted: bool,
}

/// Asks for a list; there is nothing to say.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct ListRequest {}

/// A turn of a conversation with an agent.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ChatRequest {
    /// Id or name; empty for the default agent.
    #[serde(default, alias = "agent")]
    pub agent_id: String,
    /// What the user says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// Or a whole conversation that the caller keeps, in OpenAI's shape.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub messages: Vec<Message>,
    /// Keeps the conversation here, under this id, and goes on with it next time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session_id: Option<String>,
    /// In place of the agent's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub system_prompt: Option<String>,
    /// In place of the agent's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub temperature: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_tokens: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub top_p: Option<f64>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub stop: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub response_format: Option<Value>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seed: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// Other parameters for the model, by its provider's names.
    #[serde(default, skip_serializing_if = "Extra::is_empty")]
    pub extra: Extra,
}

/// A step of an agent's answer as it happens.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(
    tag = "type",
    rename_all = "camelCase",
    rename_all_fields = "camelCase"
)]
pub enum Event {
    /// The model has begun; first and once.
    Start { agent_id: String, model: String },
    /// A piece of the answer. All pieces together are the answer's `content`.
    Text { text: String },
    /// A piece of the model's thinking.
    Reasoning { text: String },
    /// A tool is being run.
    ToolStart {
        id: String,
        /// The function's id.
        name: String,
        /// JSON text, as the model wrote it.
        arguments: String,
    },
    /// A tool has run; in the order in which they end.
    ToolEnd {
        id: String,
        name: String,
        ok: bool,
        duration_ms: u64,
        /// The beginning of what it said.
        preview: String,
    },
    /// A tool waits for a person's word; see [`DECIDE`].
    ApprovalNeeded(Approval),
    /// The word was given, or the time for it passed.
    ApprovalDecided(Approval),
    /// Tokens of the whole answer so far.
    Usage(Usage),
    /// Last and once. A stream that fails has none.
    Finish { stop_reason: StopReason },
}

/// Why the agent stopped.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum StopReason {
    /// It was done.
    #[default]
    Stop,
    /// The model ran into its limit of tokens.
    Length,
    /// The provider withheld the answer.
    ContentFilter,
    /// The limit of model calls; the answer is partial.
    MaxIterations,
    /// It repeated itself and would not stop; the answer is partial.
    Loop,
    /// The caller's deadline was near; the answer is partial.
    Timeout,
    /// The limit of tool calls; the answer is partial.
    ToolLimit,
    /// The model said nothing, twice.
    Empty,
    /// Somebody ended the run; the answer is partial.
    Stopped,
}

/// An agent's answer.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ChatReply {
    /// Under which it is found in [`RUNS`].
    #[serde(default)]
    pub run_id: String,
    pub agent_id: String,
    /// Everything it said, between its tool calls too.
    pub content: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reasoning: Option<String>,
    pub model: String,
    pub usage: Usage,
    /// Model calls made.
    pub iterations: u32,
    pub duration_ms: u64,
    pub stop_reason: StopReason,
    pub tool_calls: Vec<ToolRun>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session_id: Option<String>,
    /// What the caller should know: memory searched by words only, tools left out.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notices: Vec<String>,
}

/// A tool call that was made, in the order in which the model asked.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ToolRun {
    pub id: String,
    /// The function's id.
    pub name: String,
    /// JSON text, as the model wrote it.
    pub arguments: String,
    pub ok: bool,
    pub duration_ms: u64,
    pub preview: String,
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_model_is_a_name_or_its_parts() {
        let check = |value: Value, name: &str, limit: Option<u64>| {
            let choice: ModelChoice = serde_json::from_value(value).unwrap();
            assert_eq!(choice.resolve(), (name.to_owned(), limit));
        };
        check(json!("openai/gpt"), "openai/gpt", None);
        check(
            json!({"provider": "openai", "model": "gpt", "maxTokens": 7}),
            "openai/gpt",
            Some(7),
        );
        check(json!({"model": "gpt"}), "gpt", None);
    }

    #[test]
    fn a_capability_that_nobody_enforces_is_refused() {
        let error =
            serde_json::from_value::<Capabilities>(json!({"networkHosts": ["*"]})).unwrap_err();
        assert!(error.to_string().contains("networkHosts"), "{error}");
    }

    #[test]
    fn an_agent_is_named_by_any_of_three_fields() {
        for field in ["agentId", "id", "name"] {
            let named: AgentRef = serde_json::from_value(json!({ field: "ada" })).unwrap();
            assert_eq!(named.agent_id, "ada");
        }
    }
}

//! Runs: answers under way and past ones; and what people are asked before a tool runs.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{StopReason, ToolRun};
use crate::llm::Usage;

/// Runs, newest first: [`RunsRequest`] to a list of [`Run`].
pub const RUNS: &str = "agent::runs";
/// One run, with its guard: [`RunRef`] to [`Run`].
pub const RUN: &str = "agent::run";
/// Ends runs with what they have: [`StopRequest`] to [`Stopped`].
pub const STOP: &str = "agent::stop";
/// What waits for a person's word, oldest first: [`ApprovalsRequest`] to a list of [`Approval`].
pub const APPROVALS: &str = "agent::approvals";
/// A person's word: [`Decide`] to the [`Approval`]; `conflict` when it has had one.
pub const DECIDE: &str = "agent::decide";
/// What was said in a conversation: [`HistoryRequest`] to a list of messages.
pub const HISTORY: &str = "agent::history";

/// An answer under way, or a past one.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Run {
    pub id: String,
    pub agent_id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session_id: Option<String>,
    pub status: RunStatus,
    /// Milliseconds since 1970.
    pub started_at: u64,
    pub updated_at: u64,
    /// Model calls made.
    pub iterations: u32,
    pub usage: Usage,
    pub tool_calls: Vec<ToolRun>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stop_reason: Option<StopReason>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// What it has said; of one under way, up to its latest step.
    pub content: String,
    /// Times it was gone on with after the engine ended in its midst.
    pub resumed: u32,
    pub guard: GuardState,
}

/// How a run is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RunStatus {
    #[default]
    Running,
    /// For a person's word.
    Waiting,
    Done,
    Failed,
    /// The caller went away, or the engine ended and there was nothing to go on from.
    Interrupted,
}

/// What the guard against loops has seen in a run.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct GuardState {
    /// Tool calls asked for, and how many more there may be before the run is ended.
    pub calls: u32,
    pub calls_left: u32,
    /// Calls that the model was warned about.
    pub warned: u32,
    /// Calls that were refused as repetitions.
    pub blocked: u32,
    /// The most often repeated call, with its arguments in canonical form.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub most_repeated: Option<Repeated>,
}

/// A call and how often it was made.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Repeated {
    pub name: String,
    pub arguments: String,
    pub times: u32,
}

/// Which runs to list.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct RunsRequest {
    /// Id of an agent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub agent_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session_id: Option<String>,
    /// Only those under way.
    pub active: bool,
    /// At most this many; 50 when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<usize>,
}

/// Names a run.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RunRef {
    #[serde(alias = "id")]
    pub run_id: String,
}

/// Which runs to end: one, those of a conversation, those of an agent, or all.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct StopRequest {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub run_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub agent_id: Option<String>,
    pub all: bool,
}

/// See [`STOP`].
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Stopped {
    /// Ids of the runs that are being ended.
    pub stopped: Vec<String>,
}

/// A tool call that a person is asked about.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Approval {
    pub id: String,
    pub run_id: String,
    pub agent_id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session_id: Option<String>,
    /// Id of the call in its conversation.
    pub call_id: String,
    /// The function's id.
    pub name: String,
    /// JSON text, as the model wrote it.
    pub arguments: String,
    pub status: ApprovalStatus,
    /// Milliseconds since 1970; from `expires_at` on the answer is no.
    pub created_at: u64,
    pub expires_at: u64,
    /// Who decided, and why, as they said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The call was begun, and will not be begun again.
    pub begun: bool,
}

/// What came of a question.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ApprovalStatus {
    #[default]
    Pending,
    Approved,
    Denied,
    /// Nobody answered in time, which is a no.
    Expired,
}

/// Which questions to list.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct ApprovalsRequest {
    /// Those that were answered too.
    pub all: bool,
}

/// See [`DECIDE`].
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Decide {
    #[serde(alias = "id")]
    pub approval_id: String,
    pub approve: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
    /// Told to the model when the answer is no.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// See [`HISTORY`].
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct HistoryRequest {
    /// Id or name; empty for the default agent.
    #[serde(default)]
    pub agent_id: String,
    pub session_id: String,
}

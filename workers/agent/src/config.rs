//! Limits of the agent worker, and the agents that come with it.

use agentos_contract::agent::{Agent, Capabilities};
use serde::Deserialize;

/// Settings, with units in the names.
#[derive(Clone, PartialEq, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Agents that are there without being created.
    pub agents: Vec<Agent>,
    /// Who answers when a request names nobody.
    pub default_agent: String,
    /// Model calls per answer, for agents that do not say.
    pub iterations_max: u32,
    /// Tool calls per answer; then it ends with what there is.
    pub tool_calls_max: u32,
    /// Times per answer that a model goes on after its own limit of tokens; not where the caller
    /// or the agent set the limit.
    pub continuations_max: u32,
    /// How long a person may think about a tool that needs a yes; then the answer is no.
    pub approval_timeout_ms: u64,
    /// Longest that one model call may take.
    pub model_timeout_ms: u64,
    /// Longest that one tool may take; then it is cancelled.
    pub tool_timeout_ms: u64,
    /// Tools of one reply that run at a time.
    pub tools_parallel_max: usize,
    /// Tools offered to a model; OpenAI takes no more than 128.
    pub tools_max: usize,
    /// Of a tool's result, what the model gets to see.
    pub result_bytes_max: usize,
    /// Of a conversation, what the model gets to see. About four bytes are a token.
    pub history_bytes_max: usize,
    /// Who tells in short what is longer; without it, the model that is asked.
    pub summary_model: Option<String>,
    /// How long that may take.
    pub summary_timeout_ms: u64,
    /// Memories put before the model; 0 recalls nothing.
    pub recall_limit: usize,
    pub recall_timeout_ms: u64,
    /// Agents that call agents: how deep.
    pub depth_max: u32,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            agents: vec![assistant()],
            default_agent: "assistant".to_owned(),
            iterations_max: 25,
            tool_calls_max: 100,
            continuations_max: 3,
            approval_timeout_ms: 24 * 60 * 60 * 1000,
            model_timeout_ms: 600_000,
            tool_timeout_ms: 120_000,
            tools_parallel_max: 8,
            tools_max: 128,
            result_bytes_max: 32_000,
            history_bytes_max: 400_000,
            summary_model: None,
            summary_timeout_ms: 60_000,
            recall_limit: 6,
            recall_timeout_ms: 3_000,
            depth_max: 5,
        }
    }
}

/// The agent that everybody has: it may look, fetch and remember, but change nothing.
fn assistant() -> Agent {
    let functions = [
        "file::read",
        "file::list",
        "web::fetch",
        "memory::store",
        "memory::recall",
    ];
    Agent {
        id: "assistant".to_owned(),
        name: "assistant".to_owned(),
        description: "A helpful assistant that can read files, fetch pages and remember."
            .to_owned(),
        system_prompt:
            "You are a helpful assistant. Use your tools when they help; say plainly when \
                        something failed or is unknown."
                .to_owned(),
        capabilities: Capabilities {
            functions: functions.map(str::to_owned).to_vec(),
            memory_scopes: None,
            approvals: Vec::new(),
        },
        built_in: true,
        ..Agent::default()
    }
}

//! `llm::usage`: what was consumed, by whom, at which price.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Sums of what was consumed: [`UsageRequest`] to [`UsageReport`].
pub const USAGE: &str = "llm::usage";

/// Who is charged for a completion. Says nothing about who may ask for it.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Account {
    /// Id of the agent that asks.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub agent: Option<String>,
    /// Public id of the API key that the request came with; never the key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
}

impl Account {
    pub fn is_empty(&self) -> bool {
        self.agent.is_none() && self.key.is_none()
    }
}

/// Which rows, and how to sum them. Days are UTC, `2026-08-21`.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct UsageRequest {
    /// First day; all when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// Last day.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub to: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub agent: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub provider: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// One row for each combination of these; without any, only the total.
    pub by: Vec<UsageBy>,
}

/// What rows can be told apart by.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum UsageBy {
    Day,
    Agent,
    Key,
    Provider,
    Model,
}

/// See [`USAGE`].
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct UsageReport {
    pub total: UsageRow,
    pub rows: Vec<UsageRow>,
}

/// A sum over completions. The names say which; those not asked for are absent.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct UsageRow {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub day: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub agent: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub provider: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    pub calls: u64,
    pub input_tokens: u64,
    pub output_tokens: u64,
    pub cached_tokens: u64,
    pub reasoning_tokens: u64,
    /// Of the calls whose price is known.
    pub cost_usd: f64,
    /// Calls whose price is not known: their cost is in no sum.
    pub unpriced_calls: u64,
    /// Calls whose provider did not say what they consumed.
    pub uncounted_calls: u64,
}

//! `llm::route` and `llm::discover`: which model would be asked, and which servers are near.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Tells who would be asked, and asks nobody: [`super::CompleteRequest`] to [`Routed`].
pub const ROUTE: &str = "llm::route";
/// Looks for model servers on this machine and makes those found providers: [`super::ListRequest`]
/// to [`Discovered`].
pub const DISCOVER: &str = "llm::discover";

/// The model name that leaves the choice to the rules.
pub const AUTO: &str = "auto";

/// How much a request asks of a model.
#[derive(
    Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "camelCase")]
pub enum Tier {
    /// A greeting, a fact, a short rewriting.
    Simple,
    #[default]
    Medium,
    /// Proofs, designs, long programs, long texts.
    Complex,
}

/// Who is asked, in order.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Routed {
    /// The first: `provider/model`.
    pub model: String,
    /// The others, should it not begin to answer.
    pub fallbacks: Vec<String>,
    /// What `auto` took the request for; absent when the model was named.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tier: Option<Tier>,
    /// Why, in words.
    pub why: Vec<String>,
}

/// See [`DISCOVER`].
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Discovered {
    pub servers: Vec<Server>,
}

/// A model server that answered.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Server {
    /// The provider's name: `ollama`, `vllm`, `llamacpp`, `lmstudio`, or `local-PORT`.
    pub name: String,
    pub base: String,
    pub models: Vec<String>,
}

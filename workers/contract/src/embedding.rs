//! `embedding::*`: sentences to vectors. The worker that offers it may be absent.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Embeds texts: [`GenerateRequest`] to [`Embeddings`].
pub const GENERATE: &str = "embedding::generate";

/// See [`GENERATE`].
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct GenerateRequest {
    pub texts: Vec<String>,
}

/// One vector per text, in order.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Embeddings {
    pub embeddings: Vec<Vec<f32>>,
    /// Vectors of different models cannot be compared.
    pub model: String,
    pub dimensions: usize,
    /// Tokens read, when the worker counts them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tokens: Option<u64>,
}

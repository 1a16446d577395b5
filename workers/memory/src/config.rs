//! Limits of the memory worker.

use serde::Deserialize;

/// Settings, with units in the names.
#[derive(Clone, PartialEq, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// How long a recall waits for `embedding::generate` before it goes by words alone.
    pub embed_timeout_ms: u64,
    /// How long a batch of memories may take to be embedded, which nobody waits for.
    pub embed_batch_timeout_ms: u64,
    /// After a failure, how long the embedder is left in peace.
    pub embed_retry_ms: u64,
    /// Texts per call of the embedder.
    pub embed_batch: usize,
    /// Cosine below which two texts have nothing to do with each other. Unrelated sentences of
    /// the MiniLM family score under 0.2, related ones over 0.3.
    pub similarity_min: f64,
    /// Memories per agent; beyond that the oldest is forgotten.
    pub records_max: usize,
    pub content_bytes_max: usize,
    /// Of a text, what is embedded: models read the beginning, the MiniLM family some 1,000
    /// characters.
    pub embed_bytes_max: usize,
    /// Agents whose memories are held ready; others are read again from the state.
    pub agents_max: usize,
    /// Largest `limit` of a recall or a list.
    pub limit_max: usize,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            embed_timeout_ms: 2_000,
            embed_batch_timeout_ms: 60_000,
            embed_retry_ms: 10_000,
            embed_batch: 32,
            similarity_min: 0.2,
            records_max: 10_000,
            content_bytes_max: 64 << 10,
            embed_bytes_max: 8 << 10,
            agents_max: 64,
            limit_max: 1_000,
        }
    }
}

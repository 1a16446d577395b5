//! Limits of the memory worker.

use agentos_contract::embedding::GENERATE;
use serde::Deserialize;

/// Settings, with units in the names.
#[derive(Clone, PartialEq, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// The function that makes vectors of texts, of the shapes of `embedding::generate`. Empty means
    /// that memories are found by words alone.
    pub embed_function: String,
    /// How long a recall waits for the embedder before it goes by words alone.
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
    /// Up to so many vectors are compared one by one, which is exact; of more a graph is made.
    pub exact_max: usize,
    /// What a memory that nobody needs loses with time, as a share of its score. In one ranking a
    /// tenth is the distance from the first place to the eighth (61/68): old memories give way to
    /// others that fit as well, and are still found.
    pub decay_max: f64,
    /// Days after which half of `decay_max` is lost. Park et al., "Generative Agents" (UIST 2023),
    /// count from the last use, too; their 0.995 per hour, 6 days, is for a simulated town.
    pub decay_half_life_days: f64,
    /// Cosine from which two memories may say the same, when nothing asked for another. High,
    /// because a merge too few costs a row and one too many a fact.
    pub merge_similarity_min: f64,
    /// Memories per agent; beyond that the oldest is forgotten.
    pub records_max: usize,
    /// Memories per call of `memory::store_many`.
    pub store_many_max: usize,
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
            embed_function: GENERATE.to_owned(),
            embed_timeout_ms: 2_000,
            embed_batch_timeout_ms: 60_000,
            embed_retry_ms: 10_000,
            embed_batch: 32,
            similarity_min: 0.2,
            exact_max: 16_384,
            decay_max: 0.1,
            decay_half_life_days: 30.0,
            merge_similarity_min: 0.95,
            records_max: 100_000,
            store_many_max: 1_000,
            content_bytes_max: 64 << 10,
            embed_bytes_max: 8 << 10,
            agents_max: 64,
            limit_max: 1_000,
        }
    }
}

//! Patience of the front door.

use serde::Deserialize;

/// Settings, with units in the names.
#[derive(Clone, PartialEq, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Longest that an answer may take.
    pub answer_timeout_ms: u64,
    /// How long the head of a stream waits for the model's first word. Until then an error is a
    /// plain HTTP error; after it, silence could make a proxy give up.
    pub head_wait_ms: u64,
    /// A stream that is silent for this long gets a comment. Proxies cut at about 60 s.
    pub ping_ms: u64,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            answer_timeout_ms: 30 * 60 * 1000,
            head_wait_ms: 15_000,
            ping_ms: 15_000,
        }
    }
}

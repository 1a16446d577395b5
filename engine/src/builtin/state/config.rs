//! Limits of the built-in state.

use serde::Deserialize;

use crate::storage::Durability;

/// Settings of `state`. Sizes are in bytes of UTF-8.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    pub scope_bytes_max: usize,
    pub key_bytes_max: usize,
    /// Larger things belong in files; a value travels in one message.
    pub value_bytes_max: usize,
    /// `state::list` answers with everything at once, so it needs an end.
    pub list_bytes_max: usize,
    /// Writes that may wait for one key before callers hear `overloaded`.
    pub writes_per_key_max: usize,
    /// Events that may wait for one trigger's condition; more are dropped, with a warning.
    pub events_per_trigger_max: usize,
    /// Whether writes fire triggers.
    pub triggers_enabled: bool,
    /// Scopes whose writes are acknowledged before they would survive a power cut; `cache*` stands for
    /// all that begin so.
    pub relaxed_scopes: Vec<String>,
    /// Scopes of which it is kept what values were before; the first that fits counts.
    pub history: Vec<History>,
    /// How often values past their `ttl_ms` are looked for. Readers never see them anyway.
    pub sweep_interval_ms: u64,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            scope_bytes_max: 512,
            key_bytes_max: 2048,
            value_bytes_max: 16 << 20,
            list_bytes_max: 32 << 20,
            writes_per_key_max: 1024,
            events_per_trigger_max: 1024,
            triggers_enabled: true,
            relaxed_scopes: Vec::new(),
            history: Vec::new(),
            sweep_interval_ms: 1000,
        }
    }
}

impl Config {
    /// What writes of `scope` are to outlive.
    pub(super) fn durability(&self, scope: &str) -> Durability {
        match self.relaxed_scopes.iter().any(|name| fits(name, scope)) {
            true => Durability::Relaxed,
            false => Durability::Durable,
        }
    }

    /// How much is kept of what values of `scope` were before; `None` is nothing.
    pub(super) fn history(&self, scope: &str) -> Option<&History> {
        self.history.iter().find(|rule| fits(&rule.scope, scope))
    }
}

/// Whether `name`, which may end with `*`, means `scope`.
fn fits(name: &str, scope: &str) -> bool {
    match name.strip_suffix('*') {
        Some(beginning) => scope.starts_with(beginning),
        None => scope == name,
    }
}

/// How much is kept of what values were before.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct History {
    /// `orders*` stands for all that begin so.
    pub scope: String,
    /// Former values of one key, at most; at least one is kept.
    #[serde(default = "entries_max")]
    pub entries_max: usize,
    /// Former values are forgotten after so long.
    #[serde(default = "age_ms_max")]
    pub age_ms_max: u64,
}

fn entries_max() -> usize {
    100
}

/// A week.
fn age_ms_max() -> u64 {
    7 * 24 * 60 * 60 * 1000
}

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
            sweep_interval_ms: 1000,
        }
    }
}

impl Config {
    /// What writes of `scope` are to outlive.
    pub(super) fn durability(&self, scope: &str) -> Durability {
        let named = |name: &String| match name.strip_suffix('*') {
            Some(beginning) => scope.starts_with(beginning),
            None => scope == name,
        };
        match self.relaxed_scopes.iter().any(named) {
            true => Durability::Relaxed,
            false => Durability::Durable,
        }
    }
}

//! Limits of the built-in configuration.

use serde::Deserialize;

/// Settings of `configuration`. Sizes are in bytes of JSON.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Configurations there may be; one more is refused.
    pub configurations_max: usize,
    pub value_bytes_max: usize,
    pub schema_bytes_max: usize,
    /// Events that may wait for one trigger's condition; more are dropped, with a warning.
    pub events_per_trigger_max: usize,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            configurations_max: 1000,
            value_bytes_max: 1 << 20,
            schema_bytes_max: 256 << 10,
            events_per_trigger_max: 1024,
        }
    }
}

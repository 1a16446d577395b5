//! Settings of `pubsub`.

use serde::Deserialize;

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Messages that wait for the condition of one subscriber; more are dropped and logged.
    pub waiting_per_subscriber_max: usize,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            waiting_per_subscriber_max: 1024,
        }
    }
}

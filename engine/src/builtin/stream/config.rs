//! Settings of `stream`.

use serde::Deserialize;

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Asked when a client connects; its `context` goes to the join and leave triggers. An error
    /// refuses the client.
    pub auth_function: Option<String>,
    /// Events that wait for one client; the oldest makes room.
    pub channel_size: usize,
    /// Largest item.
    pub value_bytes_max: usize,
    /// Largest answer of `stream::list`, and largest sync of a group.
    pub list_bytes_max: usize,
    /// Clients at one time; more are refused.
    pub clients_max: usize,
    /// Subscriptions of one client.
    pub subscriptions_max: usize,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            auth_function: None,
            channel_size: 256,
            value_bytes_max: 16 << 20,
            // The largest message of the bus is 64 MiB.
            list_bytes_max: 48 << 20,
            clients_max: 10_000,
            subscriptions_max: 1024,
        }
    }
}

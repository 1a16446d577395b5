//! Limits of the built-in streams, and whom their clients must convince.

use serde::Deserialize;

/// Settings of `stream`. Sizes are in bytes of UTF-8.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Asked about every client that connects; its failure refuses the client.
    pub auth_function: Option<String>,
    /// Of a stream, and of a group.
    pub name_bytes_max: usize,
    pub item_id_bytes_max: usize,
    /// Larger things belong in files; an item travels in one message.
    pub value_bytes_max: usize,
    /// A group is read, and synced, at once, so it needs an end.
    pub list_bytes_max: usize,
    /// Writes that may wait for one item before callers hear `overloaded`.
    pub writes_per_item_max: usize,
    /// Events that may wait for one trigger's condition; more are dropped, with a warning.
    pub events_per_trigger_max: usize,
    /// Clients at a time; more are turned away.
    pub clients_max: usize,
    /// Of one client.
    pub subscriptions_max: usize,
    /// Events that may wait for one client; the oldest makes room for the newest.
    pub channel_size: usize,
    /// As `channel_size`, in bytes.
    pub channel_bytes_max: usize,
    /// Events that a group remembers for clients that resume.
    pub history_events_max: usize,
    /// As `history_events_max`, in bytes.
    pub history_bytes_max: usize,
    /// How long it remembers one, and the group when nobody watches it any more.
    pub history_ms_max: u64,
    /// Largest message that a client may send.
    pub message_bytes_max: usize,
    /// How long everything that a join asks may take together.
    pub join_timeout_ms: u64,
    /// How long a client may take to take one message from the wire.
    pub write_timeout_ms: u64,
    /// A client that is not heard of for two of them is gone.
    pub ping_interval_ms: u64,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            auth_function: None,
            name_bytes_max: 4096,
            item_id_bytes_max: 4096,
            value_bytes_max: 16 << 20,
            // The largest message of the bus is 64 MiB.
            list_bytes_max: 48 << 20,
            writes_per_item_max: 1024,
            events_per_trigger_max: 1024,
            clients_max: 10_000,
            subscriptions_max: 1024,
            channel_size: 256,
            channel_bytes_max: 16 << 20,
            history_events_max: 1000,
            history_bytes_max: 4 << 20,
            history_ms_max: 300_000,
            message_bytes_max: 64 << 10,
            join_timeout_ms: 10_000,
            write_timeout_ms: 30_000,
            ping_interval_ms: 20_000,
        }
    }
}

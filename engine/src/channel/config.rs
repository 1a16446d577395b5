//! Bounds of the channels.

use std::time::Duration;

use serde::Deserialize;

use super::pipe::{Bounds, CHUNK_BYTES};

/// Items that may wait in a channel whose creator says nothing else.
const ITEMS_DEFAULT: u64 = 64;
/// Items that may wait in a channel at most.
const ITEMS_MAX: u64 = 1024;

/// The settings of the channels.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Channels at one time; more are `overloaded`.
    pub channels_max: usize,
    /// Bytes that may wait in one channel. One item larger than this still fits into an empty one.
    pub bytes_max: usize,
    /// How long a channel waits for an end that nobody has taken.
    pub untaken_ms: u64,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            channels_max: 10_000,
            // 256 of the pieces into which SDKs cut what they send.
            bytes_max: 16 << 20,
            // What SDKs of this family are used to.
            untaken_ms: 5 * 60 * 1000,
        }
    }
}

impl Config {
    /// The bounds of a channel for which `items` were asked; out of range is moved into it.
    pub(super) fn bounds(&self, items: Option<u64>) -> Bounds {
        let items = items.unwrap_or(ITEMS_DEFAULT).clamp(1, ITEMS_MAX) as usize;
        Bounds {
            items,
            bytes: (items * CHUNK_BYTES).min(self.bytes_max),
        }
    }

    pub(super) fn untaken(&self) -> Duration {
        Duration::from_millis(self.untaken_ms)
    }
}

//! What both ends of a WebSocket session share: the bounded [`Outbox`] and the [`pump`].
//!
//! One task per session reads and writes. Everything that waits in the outbox leaves in one write,
//! and all messages of one read are handled before the task yields. Knows neither dialect nor
//! router: [`Hooks`] turn messages into frames and frames into messages.

mod outbox;
mod pump;

pub use outbox::{Close, Limits, Outbox, Refusal, Refused};
pub use pump::{Ended, Hooks, Keepalive, pump};

use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;

/// The WebSocket settings of a session that takes messages of up to `message_bytes_max`.
pub fn websocket_config(message_bytes_max: usize) -> WebSocketConfig {
    let mut config = WebSocketConfig::default();
    config.max_message_size = Some(message_bytes_max);
    // A message in one frame is as welcome as the same message in fragments.
    config.max_frame_size = Some(message_bytes_max);
    config.read_buffer_size = 16 << 10;
    config.write_buffer_size = 64 << 10;
    config
}

//! What both ends of a WebSocket session share: the bounded [`Outbox`] and the [`pump`].
//!
//! One task per session reads and writes. Everything that waits in the outbox leaves in one write,
//! and all messages of one read are handled before the task yields. Knows neither dialect nor
//! router: [`Hooks`] turn messages into frames and frames into messages.

mod outbox;
mod pump;

pub use outbox::{Close, Limits, Outbox, Refusal, Refused};
pub use pump::{Ended, Hooks, Keepalive, pump};

use agentos_protocol::codec::MESSAGE_BYTES_MAX;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;

/// The WebSocket settings of every session.
pub fn websocket_config() -> WebSocketConfig {
    let mut config = WebSocketConfig::default();
    config.max_message_size = Some(MESSAGE_BYTES_MAX);
    // A message in one frame is as welcome as the same message in fragments.
    config.max_frame_size = Some(MESSAGE_BYTES_MAX);
    config.read_buffer_size = 16 << 10;
    config.write_buffer_size = 64 << 10;
    config
}

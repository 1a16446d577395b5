//! What both ends of a WebSocket session share: the bounded [`Outbox`] and the [`pump`].
//!
//! One task per session reads. Everything that waits in the outbox leaves in one write, by that
//! task or by the one that wrote it there, and all messages of one read are handled before the
//! task yields. Knows neither dialect nor router: [`Hooks`] take messages and write frames; only
//! how large messages of the binary dialect leave in parts is known here (`transfers`).

mod connect;
mod cork;
mod framing;
mod outbox;
mod pump;
mod reader;
mod sending;
mod socket;
mod transfers;

pub use connect::{Stream, connect};
pub use cork::is_in as is_corked;
pub use framing::Role;
pub use outbox::{Close, Held, Limits, Outbox, Refusal, Refused, Share, Unwritten};
pub use pump::{Ended, Hooks, Keepalive, pump};
pub use reader::{Incoming, Kind};
pub use socket::{HeadFirst, SharedTcp, Socket};

use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;

/// The settings with which tokio-tungstenite takes messages of up to `message_bytes_max`, where it
/// moves messages itself: channels, stream clients.
pub fn websocket_config(message_bytes_max: usize) -> WebSocketConfig {
    let mut config = WebSocketConfig::default();
    config.max_message_size = Some(message_bytes_max);
    // A message in one frame is as welcome as the same message in fragments.
    config.max_frame_size = Some(message_bytes_max);
    config.read_buffer_size = 16 << 10;
    config.write_buffer_size = 64 << 10;
    config
}

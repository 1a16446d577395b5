//! Frames to and from WebSocket messages, one module per dialect.
//!
//! A codec checks the shape of what it reads and nothing else: whether the sender may send it is
//! the router's business.

use bytes::Bytes;

mod draft;
pub mod iii;
#[cfg(any(test, feature = "oracle"))]
pub mod oracle;
pub mod v2;

pub use draft::{BODY_BYTES_MIN, Draft, Mark};

/// The WebSocket sub-protocol that chooses the binary dialect.
pub const SUBPROTOCOL: &str = "agentos.v2";

/// The WebSocket close code with which the engine tells a worker of `agentos.v2` not to connect again.
/// Of the private range: whoever does not know it connects again, as after any other.
pub const CLOSE_STOP: u16 = 4001;

/// Largest message either end takes, in bytes. As large as what existing SDKs of the JSON dialect
/// send and take.
pub const MESSAGE_BYTES_MAX: usize = 64 << 20;

/// Chunks a function may send before the caller has granted more credit.
///
/// Enough to keep a pipe with a few milliseconds of round trip busy, small enough that an absent
/// reader costs little.
pub const STREAM_WINDOW_CHUNKS: u32 = 64;

/// One WebSocket message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    /// UTF-8, checked by the WebSocket layer.
    Text(Bytes),
    Binary(Bytes),
}

impl Message {
    pub fn bytes(&self) -> &Bytes {
        match self {
            Message::Text(bytes) | Message::Binary(bytes) => bytes,
        }
    }
}

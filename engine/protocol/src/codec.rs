//! Frames to and from WebSocket messages, one module per dialect.

/// Chunks a function may send before the caller has granted more credit.
pub const STREAM_WINDOW_CHUNKS: u32 = 64;

//! Pipes between two sockets, or between a socket and the engine: bounded, in order, and with
//! back-pressure to the producer.
//!
//! Knows no bus and no HTTP. Who may use an end is said by the end's key alone.

mod config;
mod mint;
mod pipe;
mod registry;
mod socket;

pub use config::Config;
pub(crate) use pipe::{Bounds, CHUNK_BYTES, End, Item, Reader, Writer, filled, pipe};
pub(crate) use registry::{Channels, Ends, Hosted, Ref, Side, Taken, TakenEnd};
pub(crate) use socket::{drain, feed, keep_alive, refuse};

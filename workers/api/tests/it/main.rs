//! The API worker on a bus in memory.

#![expect(clippy::unwrap_used, reason = "a test fails by it")]

mod chat;
mod door;
mod forward;
mod rest;

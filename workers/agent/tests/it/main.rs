//! The agent worker on a bus in memory.

mod chat;
mod roster;
mod stage;

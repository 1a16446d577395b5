//! The API worker on a bus in memory.

mod chat;
mod door;
mod rest;

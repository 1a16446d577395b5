//! The native half of `@agentos/sdk`: conversion over [`agentos_sdk::mailbox`] and nothing more.
//!
//! JavaScript asks for batches of events and hands back batches of orders; this side never calls a
//! handler.

mod event;
mod mailbox;
mod orders;
mod payload;

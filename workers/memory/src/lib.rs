//! The memory worker: what agents remember, durable in the state, found by words and by meaning.
//!
//! It owns no files: both of its indexes are made of what the state holds. Meaning needs the function
//! that embeds; without it words still work, and every answer says so.

mod aside;
mod catch_up;
mod config;
mod consolidating;
mod decay;
mod embedder;
mod fuse;
mod handlers;
mod index;
mod record;
mod shelf;
mod shelves;
mod storing;
mod twins;

use std::sync::Arc;

use agentos_contract::memory::{CATCH_UP, CONSOLIDATE, FORGET, LIST, RECALL, STORE, STORE_MANY};
use agentos_sdk::{Registrar, Worker};
use serde_json::json;

use crate::{decay::Decay, embedder::Embedder, shelves::Shelves};

pub use config::Config;

/// What happens when functions come or go.
const FUNCTIONS_CHANGED: &str = "engine::functions-available";

/// Offers `memory::*`.
pub struct Memory {
    config: Config,
    decay: Decay,
    shelves: Shelves,
    embedder: Embedder,
}

impl Memory {
    pub fn new(config: Config) -> Arc<Self> {
        Arc::new(Memory {
            decay: Decay::new(&config),
            embedder: Embedder::new(&config),
            shelves: Shelves::new(&config),
            config,
        })
    }
}

impl Worker for Memory {
    fn register(self: Arc<Self>, registrar: &mut Registrar) {
        let memory = Arc::clone(&self);
        registrar
            .function(STORE, move |context, request| Arc::clone(&memory).store(context, request))
            .describe("Remember a text for later conversations. Storing the same text again changes nothing.")
            .idempotent();
        let memory = Arc::clone(&self);
        registrar
            .function(STORE_MANY, move |context, request| {
                Arc::clone(&memory).store_many(context, request)
            })
            .describe("Remember many texts at once. Those that are known already change nothing.")
            .idempotent();
        let memory = Arc::clone(&self);
        registrar
            .function(RECALL, move |context, request| {
                Arc::clone(&memory).recall(context, request)
            })
            .describe("Search what was remembered, by meaning and by words, best match first.")
            .idempotent();
        let memory = Arc::clone(&self);
        registrar
            .function(FORGET, move |context, request| {
                Arc::clone(&memory).forget(context, request)
            })
            .describe("Remove memories: one by id, those of a session or scope, or all.")
            .idempotent();
        let memory = Arc::clone(&self);
        registrar
            .function(LIST, move |context, request| {
                Arc::clone(&memory).list(context, request)
            })
            .describe("List memories, newest first.")
            .idempotent();
        let memory = Arc::clone(&self);
        registrar
            .function(CONSOLIDATE, move |context, request| {
                Arc::clone(&memory).consolidate(context, request)
            })
            .describe("Make one memory of those that say the same; the newest stays.")
            .idempotent();
        registrar
            .function(CATCH_UP, move |context, event| {
                Arc::clone(&self).catch_up(context, event)
            })
            .describe("Embed what was stored while no embedder was there.")
            .idempotent()
            .trigger(FUNCTIONS_CHANGED, json!({}));
    }
}

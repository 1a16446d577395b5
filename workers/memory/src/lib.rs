//! The memory worker: what agents remember, durable in the state, found by words and by meaning.
//!
//! It owns no files. Meaning needs the worker that offers `embedding::generate`; without it words
//! still work, and every answer says so.

mod catch_up;
mod config;
mod embedder;
mod fuse;
mod handlers;
mod index;
mod record;
mod shelf;

use std::sync::Arc;

use agentos_contract::memory::{FORGET, LIST, RECALL, STORE};
use agentos_sdk::{Registrar, Worker};

use crate::{embedder::Embedder, shelf::Shelves};

pub use config::Config;

/// Offers `memory::*`.
pub struct Memory {
    config: Config,
    shelves: Shelves,
    embedder: Embedder,
}

impl Memory {
    pub fn new(config: Config) -> Arc<Self> {
        let shelves = Shelves::new(config.agents_max);
        Arc::new(Memory {
            embedder: Embedder::new(&config),
            shelves,
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
        registrar
            .function(LIST, move |context, request| {
                Arc::clone(&self).list(context, request)
            })
            .describe("List memories, newest first.")
            .idempotent();
    }
}

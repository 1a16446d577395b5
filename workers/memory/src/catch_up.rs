//! Embedding: the query of a recall, and memories that have no vector yet.
//!
//! Nobody polls: what waits is embedded after a store, with a recall, when an agent's memories are
//! opened, and when the embedder comes. One batch at a time per agent.

use std::{sync::Arc, time::Duration};

use agentos_contract::memory::Waiting;
use agentos_sdk::{Bus, Context, Error};
use serde_json::Value;

use crate::{Memory, aside::aside, embedder::Embedded, index::Graph, shelf::Shelf};

impl Memory {
    /// Embeds the query, and meanwhile some memories that were stored while nobody could.
    pub(crate) async fn embed_query(
        self: &Arc<Self>,
        bus: &Bus,
        shelf: &Arc<Shelf>,
        query: &str,
    ) -> Result<Embedded, String> {
        let patience = Duration::from_millis(self.config.embed_timeout_ms);
        let catch_up = tokio::time::timeout(patience, self.catch_up_a_batch(bus, shelf));
        let (embedded, _) = tokio::join!(self.embedder.query(bus, query), catch_up);
        let embedded = embedded?;
        if shelf.index.read().await.model() != Some(&embedded.model) {
            shelf.index.write().await.set_model(&embedded.model);
        }
        if shelf.index.read().await.waiting() > 0 {
            self.embed_in_background(bus, shelf);
        }
        Ok(embedded)
    }

    /// Embeds one batch of what waits. Who waits for this may give up; the work goes on. While
    /// somebody is at it, only the last batch is worth waiting for.
    async fn catch_up_a_batch(self: &Arc<Self>, bus: &Bus, shelf: &Arc<Shelf>) {
        let waiting = shelf.index.read().await.waiting();
        if waiting == 0 {
            return;
        }
        let embedding = Arc::clone(&shelf.embedding);
        let turn = match embedding.clone().try_lock_owned() {
            Ok(turn) => turn,
            Err(_) if waiting > self.config.embed_batch => return,
            Err(_) => embedding.lock_owned().await,
        };
        let (memory, bus, shelf) = (Arc::clone(self), bus.detached(), Arc::clone(shelf));
        let work = tokio::spawn(async move {
            memory.embed_some(&bus, &shelf).await;
            drop(turn);
        });
        if let Err(error) = work.await {
            tracing::warn!(%error, "embedding ended early");
        }
    }

    /// Embeds all that waits, batch after batch, unless somebody is at it; and makes the graph that
    /// vectors are searched by, if it is time for one.
    pub(crate) fn embed_in_background(self: &Arc<Self>, bus: &Bus, shelf: &Arc<Shelf>) {
        let (memory, bus, shelf) = (Arc::clone(self), bus.detached(), Arc::clone(shelf));
        tokio::spawn(async move {
            memory.embed_all(&bus, &shelf).await;
            grow(&shelf).await;
        });
    }

    async fn embed_all(&self, bus: &Bus, shelf: &Shelf) {
        // Who came while the last batch was under way has found somebody at it, and gone.
        while shelf.index.read().await.waiting() > 0 {
            let Ok(turn) = shelf.embedding.try_lock() else {
                return;
            };
            let went_well = self.embed_some(bus, shelf).await;
            drop(turn);
            if !went_well {
                return;
            }
        }
    }

    /// Embeds one batch; false if it could not. Its caller has the turn.
    async fn embed_some(&self, bus: &Bus, shelf: &Shelf) -> bool {
        let (ids, texts): (Vec<_>, Vec<_>) = shelf
            .index
            .read()
            .await
            .pending(self.config.embed_batch)
            .into_iter()
            .unzip();
        if texts.is_empty() {
            return true;
        }
        let embedded = match self.embedder.batch(bus, texts).await {
            Ok(embedded) => embedded,
            Err(why) => {
                tracing::debug!(why, "memories wait to be embedded");
                return false;
            }
        };
        let _writing = shelf.writing.lock().await;
        let records = {
            let mut index = shelf.index.write().await;
            index.set_model(&embedded.model);
            ids.iter()
                .zip(embedded.vectors)
                .filter_map(|(id, vector)| index.embedded(id, vector))
                .collect()
        };
        shelf.save_vectors(bus, records).await;
        true
    }

    /// Hears of changes of functions. When the embedder has come, or when anybody asks, what waits
    /// is embedded.
    pub(crate) async fn catch_up(
        self: Arc<Self>,
        context: Context,
        event: Value,
    ) -> Result<Waiting, Error> {
        let functions = event["functions"].as_array();
        let ids = functions.map(|rows| rows.iter().filter_map(|row| row["function_id"].as_str()));
        if ids.is_some_and(|ids| !self.embedder.came(ids)) {
            return Ok(Waiting::default());
        }
        let mut waiting = 0;
        for shelf in self.shelves.all() {
            let here = shelf.index.read().await.waiting();
            if here > 0 {
                waiting += here;
                self.embed_in_background(context.bus(), &shelf);
            }
        }
        Ok(Waiting { waiting })
    }
}

/// Makes a graph of an agent's vectors, if it is time for one and nobody is at it.
async fn grow(shelf: &Arc<Shelf>) {
    let Ok(_turn) = shelf.growing.try_lock() else {
        return;
    };
    // A graph takes long to make, and what came meanwhile may ask for another.
    loop {
        let Some(wanted) = shelf.index.read().await.graph_wanted() else {
            return;
        };
        let made = aside(move || Graph::new(wanted.vectors)).await;
        match made.map_err(|error| error.message).flatten() {
            Ok(graph) => shelf
                .index
                .write()
                .await
                .install_graph(wanted.generation, graph),
            Err(why) => {
                tracing::warn!(why, "vectors are compared one by one: no graph was made");
                return;
            }
        }
    }
}

//! Embedding: the query of a recall, and memories that have no vector yet.

use std::{sync::Arc, time::Duration};

use agentos_sdk::Bus;

use crate::{Memory, embedder::Embedded, shelf::Shelf};

impl Memory {
    /// Embeds the query, and meanwhile some memories that were stored while nobody could.
    pub(crate) async fn embed_query(
        self: &Arc<Self>,
        bus: &Bus,
        shelf: &Arc<Shelf>,
        query: &str,
    ) -> Result<Embedded, String> {
        let patience = Duration::from_millis(self.config.embed_timeout_ms);
        let catch_up = tokio::time::timeout(patience, self.catch_up(bus, shelf));
        let (embedded, _) = tokio::join!(self.embedder.query(bus, query), catch_up);
        let embedded = embedded?;
        shelf.index.write().set_model(&embedded.model);
        Ok(embedded)
    }

    /// Embeds one batch of what waits. Who waits for this may give up; the work goes on.
    async fn catch_up(self: &Arc<Self>, bus: &Bus, shelf: &Arc<Shelf>) {
        let turn = Arc::clone(&shelf.embedding).lock_owned().await;
        if shelf.index.read().pending(1).is_empty() {
            return;
        }
        let (memory, bus, shelf) = (Arc::clone(self), bus.detached(), Arc::clone(shelf));
        let work = tokio::spawn(async move {
            memory.embed_some(&bus, &shelf).await;
            drop(turn);
        });
        if let Err(error) = work.await {
            tracing::warn!(%error, "embedding ended early");
        }
    }

    /// Embeds all that waits, batch after batch, unless somebody is at it.
    pub(crate) async fn embed_all(&self, bus: &Bus, shelf: &Shelf) {
        if let Ok(_turn) = shelf.embedding.try_lock() {
            while self.embed_some(bus, shelf).await {}
        }
    }

    /// Embeds one batch; true if there was any and it went well. Its caller has the turn.
    async fn embed_some(&self, bus: &Bus, shelf: &Shelf) -> bool {
        let (ids, texts): (Vec<_>, Vec<_>) = shelf
            .index
            .read()
            .pending(self.config.embed_batch)
            .into_iter()
            .unzip();
        if texts.is_empty() {
            return false;
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
            let mut index = shelf.index.write();
            index.set_model(&embedded.model);
            ids.iter()
                .zip(embedded.vectors)
                .filter_map(|(id, vector)| index.embedded(id, vector))
                .collect()
        };
        shelf.save_vectors(bus, records).await;
        true
    }
}

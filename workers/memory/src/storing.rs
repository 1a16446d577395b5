//! Storing, one memory or many: checked, deduplicated, written, and embedded afterwards.

use std::{collections::HashSet, sync::Arc};

use agentos_contract::memory::{NewMemory, StoreManyRequest, StoreRequest, Stored, StoredMany};
use agentos_sdk::{Bus, Context, Error};

use crate::{
    Memory,
    aside::to_the_end,
    handlers::{NAME_BYTES_MAX, check_agent, invalid, now_ms},
    index::Index,
    record::{self, Record},
    shelf::Shelf,
};

impl Memory {
    pub(crate) async fn store(
        self: Arc<Self>,
        context: Context,
        request: StoreRequest,
    ) -> Result<Stored, Error> {
        let (agent, memory) = request.split();
        self.check("", &memory)?;
        let mut written = self.store_all(&context, &agent, vec![memory]).await?;
        let mut stored = written.memories.pop().unwrap_or_default();
        stored.evicted = written.evicted.pop();
        Ok(stored)
    }

    pub(crate) async fn store_many(
        self: Arc<Self>,
        context: Context,
        request: StoreManyRequest,
    ) -> Result<StoredMany, Error> {
        let (count, max) = (request.memories.len(), self.config.store_many_max);
        if count > max {
            let message =
                format!("{count} memories, and at most {max} are taken: send them in parts");
            return Err(invalid("memories", message));
        }
        for (at, memory) in request.memories.iter().enumerate() {
            self.check(&format!("memories[{at}]."), memory)?;
        }
        self.store_all(&context, &request.agent_id, request.memories)
            .await
    }

    fn check(&self, place: &str, memory: &NewMemory) -> Result<(), Error> {
        let (bytes, max) = (memory.content.len(), self.config.content_bytes_max);
        if memory.content.trim().is_empty() {
            let field = format!("{place}content");
            return Err(invalid(&field, "there is nothing to remember"));
        }
        if bytes > max {
            let message = format!("{bytes} bytes, and at most {max} are kept: store it in parts");
            return Err(invalid(&format!("{place}content"), message));
        }
        for (field, name) in [("scope", &memory.scope), ("sessionId", &memory.session_id)] {
            if name
                .as_ref()
                .is_some_and(|name| name.len() > NAME_BYTES_MAX)
            {
                let message = format!("must have at most {NAME_BYTES_MAX} bytes");
                return Err(invalid(&format!("{place}{field}"), message));
            }
        }
        Ok(())
    }

    async fn store_all(
        self: Arc<Self>,
        context: &Context,
        agent: &str,
        memories: Vec<NewMemory>,
    ) -> Result<StoredMany, Error> {
        check_agent(agent)?;
        let bus = context.bus().detached();
        let shelf = self.open(&bus, agent).await?;
        // Half a write would leave the state ahead of the index, so it outlives its caller.
        let write = Arc::clone(&self).write(bus.clone(), Arc::clone(&shelf), memories);
        let written = to_the_end(write).await?;
        if written.memories.iter().any(|memory| memory.stored) {
            self.embed_in_background(&bus, &shelf);
        }
        Ok(written)
    }

    async fn write(
        self: Arc<Self>,
        bus: Bus,
        shelf: Arc<Shelf>,
        memories: Vec<NewMemory>,
    ) -> Result<StoredMany, Error> {
        let _turn = shelf.writing.lock().await;
        let (memories, records) = sort_out(&*shelf.index.read().await, memories);
        if records.is_empty() {
            let evicted = Vec::new();
            return Ok(StoredMany { memories, evicted });
        }
        let added = shelf.add(&bus, records).await;
        let evicted = self.make_room(&bus, &shelf).await;
        // Counted in any case: a part of them may be there.
        shelf.written(&bus).await?;
        added?;
        Ok(StoredMany { memories, evicted })
    }

    /// Forgets the oldest memories when there are too many. What was stored stays stored even if
    /// this fails; the next store tries again.
    async fn make_room(&self, bus: &Bus, shelf: &Shelf) -> Vec<String> {
        let oldest = {
            let index = shelf.index.read().await;
            index.oldest(index.len().saturating_sub(self.config.records_max))
        };
        match shelf.delete(bus, oldest.clone()).await {
            Ok(()) => oldest,
            Err(error) => {
                tracing::warn!(%error, "the oldest memories could not be forgotten");
                Vec::new()
            }
        }
    }
}

/// What becomes of each, and records of those that are new.
fn sort_out(index: &Index, memories: Vec<NewMemory>) -> (Vec<Stored>, Vec<Record>) {
    // Two in one millisecond have an order too.
    let mut created_at = now_ms().max(index.newest_age() + 1);
    let (mut fates, mut records, mut seen) = (Vec::new(), Vec::new(), HashSet::new());
    for memory in memories {
        let id = record::id(&memory);
        let is_new = index.get(&id).is_none() && seen.insert(id.clone());
        fates.push(Stored {
            id,
            stored: is_new,
            deduplicated: !is_new,
            evicted: None,
        });
        if is_new {
            records.push(Record::new(memory, created_at));
            created_at += 1;
        }
    }
    (fates, records)
}

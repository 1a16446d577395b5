//! One agent's memories on the bus: read from the state, written through to it.
//!
//! Several instances of this worker may write to one agent's memories, during a swap for instance. So
//! whoever has written counts on in the state, and whoever finds a count that is not its own reads
//! again before it answers.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use agentos_contract::state::{self, Entries, ListEntries};
use agentos_sdk::{Bus, Error};
use futures_util::{StreamExt, TryStreamExt, stream};
use serde_json::{Value, json};
use tokio::sync::RwLock;

use crate::{
    aside::aside,
    index::{self, Index},
    record::Record,
};

/// Rows per page while an agent's memories are read.
const PAGE: u32 = 500;

/// State calls under way at once; the state commits them together.
const WRITES_MAX: usize = 32;

/// Where it is counted how often each agent's memories were written.
const COUNTS: &str = "memory-counts";

/// Not a count: the memories were not read yet.
const UNREAD: u64 = u64::MAX;

/// The memories of one agent.
pub(crate) struct Shelf {
    agent: String,
    scope: String,
    /// The count up to which `index` knows what was written.
    read: AtomicU64,
    /// A lock that is waited for without keeping a thread: it is held while there is a search.
    pub(crate) index: RwLock<Index>,
    /// Held while the state is written or read as a whole, so that index and state agree.
    pub(crate) writing: tokio::sync::Mutex<()>,
    /// Held while memories are embedded, so that none is embedded twice.
    pub(crate) embedding: Arc<tokio::sync::Mutex<()>>,
    /// Held while a graph of vectors is made.
    pub(crate) growing: Arc<tokio::sync::Mutex<()>>,
    pub(crate) used: AtomicU64,
}

impl Shelf {
    pub(crate) fn new(agent: &str, exact_max: usize) -> Self {
        Shelf {
            agent: agent.to_owned(),
            scope: format!("memory:{agent}"),
            read: AtomicU64::new(UNREAD),
            index: RwLock::new(Index::new(exact_max)),
            writing: tokio::sync::Mutex::default(),
            embedding: Arc::default(),
            growing: Arc::default(),
            used: AtomicU64::new(0),
        }
    }

    // ── Reading ─────────────────────────────────────────────────────────────────────────────

    /// Reads what the index does not know, if there is anything. True if there was.
    pub(crate) async fn refresh(self: &Arc<Self>, bus: &Bus) -> Result<bool, Error> {
        if self.count(bus).await? == self.read.load(Ordering::Acquire) {
            return Ok(false);
        }
        let _turn = self.writing.lock().await;
        // What is written while the rows are read is read then or the next time.
        let count = self.count(bus).await?;
        if count == self.read.load(Ordering::Acquire) {
            return Ok(false);
        }
        let records = self.records(bus).await?;
        let shelf = Arc::clone(self);
        aside(move || {
            index::reconcile(&shelf.index, records);
            // What fails here is seen, and mended, by the first search.
            let _ = shelf.index.blocking_read().flush();
        })
        .await?;
        self.read.store(count, Ordering::Release);
        Ok(true)
    }

    async fn count(&self, bus: &Bus) -> Result<u64, Error> {
        let key = state::Key {
            scope: COUNTS.to_owned(),
            key: self.agent.clone(),
        };
        let row: Value = bus.trigger(state::GET, &key).await?;
        Ok(row["writes"].as_u64().unwrap_or_default())
    }

    async fn records(&self, bus: &Bus) -> Result<Vec<Record>, Error> {
        let mut request = ListEntries {
            scope: self.scope.clone(),
            limit: Some(PAGE),
            ..ListEntries::default()
        };
        let mut records = Vec::new();
        loop {
            let page: Entries = bus.trigger(state::ENTRIES, &request).await?;
            for row in page.entries {
                match serde_json::from_value::<Record>(row.value) {
                    Ok(record) => records.push(record),
                    Err(error) => {
                        tracing::warn!(scope = self.scope, key = row.key, %error, "a memory cannot be read");
                    }
                }
            }
            request.cursor = page.cursor;
            if request.cursor.is_none() {
                return Ok(records);
            }
        }
    }

    // ── Writing ─────────────────────────────────────────────────────────────────────────────

    /// Tells other instances that something was written. Its caller has the turn to write.
    pub(crate) async fn written(&self, bus: &Bus) -> Result<(), Error> {
        let step = json!({ "type": "increment", "path": "writes", "by": 1 });
        let update = json!({ "scope": COUNTS, "key": self.agent, "ops": [step] });
        let written: Value = bus.trigger(state::UPDATE, &update).await?;
        let count = written["new_value"]["writes"].as_u64();
        if let Some((before, count)) = count.and_then(|count| Some((count.checked_sub(1)?, count)))
        {
            // If somebody else has counted meanwhile, the next call reads again.
            let swap = (Ordering::AcqRel, Ordering::Acquire);
            let _ = self.read.compare_exchange(before, count, swap.0, swap.1);
        }
        Ok(())
    }

    /// Writes one record; on disk when this returns.
    async fn save(&self, bus: &Bus, record: &Record) -> Result<(), Error> {
        let set = state::Set {
            scope: self.scope.clone(),
            key: record.memory.id.clone(),
            value: record,
        };
        bus.trigger::<Value>(state::SET, &set).await.map(drop)
    }

    /// Writes new records; those that were written before an error stay so, in the index too.
    pub(crate) async fn add(&self, bus: &Bus, records: Vec<Record>) -> Result<(), Error> {
        stream::iter(records)
            .map(|record| async move {
                self.save(bus, &record).await?;
                self.index.write().await.insert(record);
                Ok(())
            })
            .buffer_unordered(WRITES_MAX)
            .try_collect()
            .await
    }

    /// Writes what has been embedded. A vector that is not kept is made again after a restart.
    pub(crate) async fn save_vectors(&self, bus: &Bus, records: Vec<Record>) {
        let save = async |record: Record| {
            if let Err(error) = self.save(bus, &record).await {
                tracing::warn!(scope = self.scope, id = record.memory.id, %error, "a vector was not kept");
            }
        };
        stream::iter(records)
            .for_each_concurrent(WRITES_MAX, save)
            .await;
    }

    /// Writes down that these memories were of use. What is not kept is only younger in memory.
    pub(crate) async fn save_uses(&self, bus: &Bus, ids: Vec<String>) {
        let _turn = self.writing.lock().await;
        let records = {
            let index = self.index.read().await;
            let records = ids.iter().filter_map(|id| index.get(id).cloned());
            records.collect()
        };
        self.save_vectors(bus, records).await;
    }

    /// Removes rows; those that were removed before an error stay so, in the index too.
    pub(crate) async fn delete(&self, bus: &Bus, ids: Vec<String>) -> Result<(), Error> {
        stream::iter(ids)
            .map(|id| self.delete_one(bus, id))
            .buffer_unordered(WRITES_MAX)
            .try_collect()
            .await
    }

    async fn delete_one(&self, bus: &Bus, id: String) -> Result<(), Error> {
        let key = state::Key {
            scope: self.scope.clone(),
            key: id,
        };
        bus.trigger::<Value>(state::DELETE, &key).await?;
        self.index.write().await.remove(&key.key);
        Ok(())
    }
}

//! One agent's memories on the bus: read once from the state, written through to it.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use agentos_contract::state::{self, Entries, ListEntries};
use agentos_sdk::{Bus, Error};
use futures_util::{StreamExt, TryStreamExt, stream};
use parking_lot::{Mutex, RwLock};
use serde_json::Value;
use tokio::sync::OnceCell;

use crate::{index::Index, record::Record};

/// Rows per page while an agent's memories are read.
const PAGE: u32 = 500;

/// State calls under way at once; the state commits them together.
const WRITES_MAX: usize = 32;

/// The memories of one agent.
pub(crate) struct Shelf {
    scope: String,
    loaded: OnceCell<()>,
    pub(crate) index: RwLock<Index>,
    /// Held while the state is written, so that index and state agree.
    pub(crate) writing: tokio::sync::Mutex<()>,
    /// Held while memories are embedded, so that none is embedded twice.
    pub(crate) embedding: Arc<tokio::sync::Mutex<()>>,
    used: AtomicU64,
}

impl Shelf {
    fn new(agent: &str) -> Self {
        Shelf {
            scope: format!("memory:{agent}"),
            loaded: OnceCell::new(),
            index: RwLock::default(),
            writing: tokio::sync::Mutex::default(),
            embedding: Arc::default(),
            used: AtomicU64::new(0),
        }
    }

    async fn load(&self, bus: &Bus) -> Result<(), Error> {
        let mut request = ListEntries {
            scope: self.scope.clone(),
            limit: Some(PAGE),
            ..ListEntries::default()
        };
        let mut index = Index::default();
        loop {
            let page: Entries = bus.trigger(state::ENTRIES, &request).await?;
            for row in page.entries {
                match serde_json::from_value::<Record>(row.value) {
                    Ok(record) => index.insert(record),
                    Err(error) => {
                        tracing::warn!(scope = self.scope, key = row.key, %error, "a memory cannot be read");
                    }
                }
            }
            request.cursor = page.cursor;
            if request.cursor.is_none() {
                break;
            }
        }
        *self.index.write() = index;
        Ok(())
    }

    /// Writes one record; on disk when this returns.
    pub(crate) async fn save(&self, bus: &Bus, record: &Record) -> Result<(), Error> {
        let set = state::Set {
            scope: self.scope.clone(),
            key: record.memory.id.clone(),
            value: record,
        };
        bus.trigger::<Value>(state::SET, &set).await.map(drop)
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
        self.index.write().remove(&key.key);
        Ok(())
    }
}

/// The shelves that are held ready.
pub(crate) struct Shelves {
    agents_max: usize,
    open: Mutex<std::collections::HashMap<String, Arc<Shelf>>>,
    clock: AtomicU64,
}

impl Shelves {
    pub(crate) fn new(agents_max: usize) -> Self {
        Shelves {
            agents_max: agents_max.max(1),
            open: Mutex::default(),
            clock: AtomicU64::new(0),
        }
    }

    /// The memories of `agent`, read from the state if need be.
    pub(crate) async fn open(&self, bus: &Bus, agent: &str) -> Result<Arc<Shelf>, Error> {
        let shelf = self.shelf(agent);
        shelf.loaded.get_or_try_init(|| shelf.load(bus)).await?;
        Ok(shelf)
    }

    fn shelf(&self, agent: &str) -> Arc<Shelf> {
        let now = self.clock.fetch_add(1, Ordering::Relaxed);
        let mut open = self.open.lock();
        if !open.contains_key(agent) {
            while open.len() >= self.agents_max {
                // A shelf in use must stay the only one of its agent.
                let idle = open
                    .iter()
                    .filter(|(_, shelf)| Arc::strong_count(shelf) == 1);
                let oldest = idle.min_by_key(|(_, shelf)| shelf.used.load(Ordering::Relaxed));
                let Some(agent) = oldest.map(|(agent, _)| agent.clone()) else {
                    break;
                };
                open.remove(&agent);
            }
        }
        let shelf = open
            .entry(agent.to_owned())
            .or_insert_with(|| Arc::new(Shelf::new(agent)));
        shelf.used.store(now, Ordering::Relaxed);
        Arc::clone(shelf)
    }
}

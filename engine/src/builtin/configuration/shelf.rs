//! Where configurations lie in the store: one record each, JSON, under its id.

use std::sync::Arc;

use agentos_sdk::Error;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::error;
use crate::storage::{self, Batch, Scan, Space, Storage, Version};

const CONFIGURATIONS: Space = Space::new("configurations");

/// One configuration.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub(super) struct Record {
    pub(super) name: String,
    pub(super) description: String,
    pub(super) schema: Value,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub(super) metadata: Option<Value>,
    /// As it was set, with variables in it; null when none has been.
    pub(super) value: Value,
}

/// All of them.
pub(super) struct Shelf {
    store: Arc<dyn Storage>,
}

impl Shelf {
    pub(super) fn new(store: Arc<dyn Storage>) -> Self {
        Shelf { store }
    }

    pub(super) async fn get(&self, id: &str) -> Result<Option<(Version, Record)>, Error> {
        if id.is_empty() {
            return Ok(None);
        }
        let record = self.store.get(CONFIGURATIONS, id.as_bytes()).await;
        record
            .map_err(error::from_storage)?
            .map(|record| Ok((record.version, decode(&record.value)?)))
            .transpose()
    }

    /// Writes over the record with `version`; 0 is none.
    pub(super) async fn put(
        &self,
        id: &str,
        version: Version,
        record: &Record,
    ) -> Result<(), Error> {
        let bytes = serde_json::to_vec(record).map_err(|error| {
            error::invalid(format!("the configuration has no JSON form: {error}"))
        })?;
        let mut batch = Batch::new();
        let key = id.as_bytes().to_vec();
        batch.expect(CONFIGURATIONS, key.clone(), version);
        batch.put(CONFIGURATIONS, key, bytes);
        self.commit(batch).await
    }

    pub(super) async fn delete(&self, id: &str, version: Version) -> Result<(), Error> {
        let mut batch = Batch::new();
        let key = id.as_bytes().to_vec();
        batch.expect(CONFIGURATIONS, key.clone(), version);
        batch.delete(CONFIGURATIONS, key);
        self.commit(batch).await
    }

    /// Refuses when there are `max` already.
    pub(super) async fn make_room(&self, max: usize) -> Result<(), Error> {
        match self.all().await?.len() < max {
            true => Ok(()),
            false => Err(error::full(max)),
        }
    }

    /// All, sorted by id.
    pub(super) async fn all(&self) -> Result<Vec<(String, Record)>, Error> {
        let mut all = Vec::new();
        let mut scan = Scan::all(CONFIGURATIONS);
        loop {
            let page = self.store.scan(scan.clone()).await;
            let page = page.map_err(error::from_storage)?;
            for entry in &page.entries {
                let id = String::from_utf8_lossy(&entry.key).into_owned();
                all.push((id, decode(&entry.record.value)?));
            }
            match page.entries.last() {
                Some(last) if page.more => scan = scan.after(&last.key),
                _ => return Ok(all),
            }
        }
    }

    async fn commit(&self, batch: Batch) -> Result<(), Error> {
        let committed = self.store.commit(batch).await;
        committed.map(|_| ()).map_err(error::from_storage)
    }
}

fn decode(bytes: &[u8]) -> Result<Record, Error> {
    serde_json::from_slice(bytes).map_err(|error| {
        let fault = format!("a stored configuration cannot be read: {error}");
        error::from_storage(storage::Error::Damaged { what: fault.into() })
    })
}

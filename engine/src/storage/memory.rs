//! A store that forgets: for tests, and for engines that are told to keep nothing.

use std::{
    collections::{BTreeMap, HashMap},
    ops::Bound,
    sync::Arc,
};

use async_trait::async_trait;
use bytes::Bytes;
use parking_lot::RwLock;

use super::{
    Batch, Committed, Copied, Entry, Error, Health, Page, Record, Scan, Snapshot, Space, Storage,
    Version, group::Group,
};

/// An empty store.
pub fn open() -> Arc<dyn Storage> {
    Arc::new(Memory {
        spaces: RwLock::new(Spaces {
            records: HashMap::new(),
            next: 1,
        }),
    })
}

struct Memory {
    spaces: RwLock<Spaces>,
}

struct Spaces {
    records: HashMap<Space, BTreeMap<Bytes, Record>>,
    next: Version,
}

impl Spaces {
    fn version(&self, space: Space, key: &[u8]) -> Version {
        let record = self
            .records
            .get(&space)
            .and_then(|records| records.get(key));
        record.map_or(0, |record| record.version)
    }

    fn commit(&mut self, batch: Batch) -> Result<Committed, Error> {
        let mut group = Group::new(self.next);
        let committed = group.admit(batch, |space, key| Ok(self.version(space, key)))?;
        self.next = group.next();
        for write in group.into_writes() {
            let records = self.records.entry(write.space).or_default();
            match write.record {
                Some(record) => records.insert(write.key, record),
                None => records.remove(&write.key),
            };
        }
        Ok(committed)
    }
}

#[async_trait]
impl Storage for Memory {
    async fn get(&self, space: Space, key: &[u8]) -> Result<Option<Record>, Error> {
        let spaces = self.spaces.read();
        Ok(spaces
            .records
            .get(&space)
            .and_then(|records| records.get(key))
            .cloned())
    }

    async fn scan(&self, scan: Scan) -> Result<Page, Error> {
        let spaces = self.spaces.read();
        let Some(records) = spaces.records.get(&scan.space) else {
            return Ok(Page::default());
        };
        if scan.is_empty() {
            return Ok(Page::default());
        }
        let end = scan.end.clone().map_or(Bound::Unbounded, Bound::Excluded);
        let mut filling = scan.filling();
        for (key, record) in records.range((Bound::Included(scan.start.clone()), end)) {
            if filling.is_full() {
                break;
            }
            filling.push(Entry {
                key: key.clone(),
                record: record.clone(),
            });
        }
        Ok(filling.page)
    }

    async fn commit(&self, batch: Batch) -> Result<Committed, Error> {
        self.spaces.write().commit(batch)
    }

    async fn snapshot(&self) -> Result<Snapshot, Error> {
        let copied = |space: &Space, key: &Bytes, record: &Record| Copied {
            space: space.name().into(),
            key: key.clone(),
            record: Ok(record.clone()),
        };
        let spaces = self.spaces.read();
        let records = spaces.records.iter();
        let all: Vec<Copied> = records
            .flat_map(|(space, records)| {
                let records = records.iter();
                records.map(move |(key, record)| copied(space, key, record))
            })
            .collect();
        Ok(Snapshot::of(|pages| {
            all.into_iter().try_for_each(|one| pages.push(one))
        }))
    }

    fn health(&self) -> Health {
        Health {
            adapter: "memory",
            read_only: None,
        }
    }
}

#[cfg(test)]
mod tests {
    crate::storage::conformance::conforms!((super::open(), ()));
}

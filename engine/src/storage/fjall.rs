//! The default store: an LSM tree on the local disk, one fsync per group of writers.
//!
//! Caches are small on purpose: an idle engine stays small. The commit path is `committer`'s; here
//! is only how its writes reach fjall, and how records are read back.

use std::{collections::HashMap, path::Path, sync::Arc};

use async_trait::async_trait;
use bytes::Bytes;
use fjall::{Database, Keyspace, KeyspaceCreateOptions, OwnedWriteBatch, PersistMode};
use parking_lot::RwLock;
use tokio::task::spawn_blocking;

use super::{
    Batch, Committed, Entry, Error, Page, Record, Scan, Space, Storage, Version,
    committer::{Committer, Disk},
    group::Write,
};

mod directory;
mod record;
#[cfg(test)]
mod tests;

/// Blocks and filters kept in memory. The page cache of the system holds the rest.
const CACHE_BYTES: u64 = 4 << 20;

/// Writes of one space kept in memory before they become a table.
const MEMTABLE_BYTES: u64 = 8 << 20;

/// Journals kept for spaces that are seldom written; the least that fjall takes. What is in them
/// is read again at every start.
const JOURNALS_BYTES: u64 = 64 << 20;

/// Open table files; far below the usual limit of 1024 per process.
const FILES_MAX: usize = 128;

/// Where the store keeps what it needs itself.
const OWN: Space = Space::new("store");

/// Versions below the number under this key may have been given out.
const VERSIONS: &[u8] = b"versions";

/// Versions set aside by one write of [`VERSIONS`], so that most commits need not touch it. At
/// most so many are skipped by a restart.
const VERSIONS_AHEAD: Version = 1 << 16;

/// Opens the store in the folder `path`, or makes one.
///
/// # Errors
/// `Locked` when another process has it open, `Format` when it is not a store of this version,
/// `Damaged` when its files are broken, `Io` when the disk fails.
pub fn open(path: &Path) -> Result<Arc<dyn Storage>, Error> {
    directory::prepare(path, |fresh| database(fresh).map(drop))?;
    let files = Arc::new(Files {
        database: database(path)?,
        spaces: RwLock::default(),
    });
    let reserved = reserved(&files)?;
    let disk = GroupWriter {
        files: Arc::clone(&files),
        reserved,
    };
    Ok(Arc::new(Fjall {
        committer: Committer::start(disk, reserved.max(1))?,
        files,
    }))
}

fn database(path: &Path) -> Result<Database, Error> {
    Database::builder(path)
        .cache_size(CACHE_BYTES)
        .worker_threads(1)
        .max_cached_files(Some(FILES_MAX))
        .max_journaling_size(JOURNALS_BYTES)
        .open()
        .map_err(|error| match error {
            fjall::Error::Locked => Error::Locked {
                path: path.to_owned(),
            },
            other => failure(other),
        })
}

/// Field order matters: the committer finishes before the files close.
struct Fjall {
    committer: Committer,
    files: Arc<Files>,
}

#[async_trait]
impl Storage for Fjall {
    /// Reads on the calling task: a hit in memory takes microseconds, less than to hand it over.
    async fn get(&self, space: Space, key: &[u8]) -> Result<Option<Record>, Error> {
        self.files.get(space, key)
    }

    async fn scan(&self, scan: Scan) -> Result<Page, Error> {
        let files = Arc::clone(&self.files);
        let page = spawn_blocking(move || files.scan(&scan)).await;
        page.unwrap_or_else(|error| Err(Error::Unavailable(error.to_string().into())))
    }

    async fn commit(&self, batch: Batch) -> Result<Committed, Error> {
        self.committer.commit(batch).await
    }
}

/// The open database; a space is a fjall keyspace, made at its first write.
struct Files {
    database: Database,
    spaces: RwLock<HashMap<Space, Keyspace>>,
}

impl Files {
    /// The keyspace of `space`, if anything was ever written to it.
    fn existing(&self, space: Space) -> Result<Option<Keyspace>, Error> {
        if let Some(keyspace) = self.spaces.read().get(&space) {
            return Ok(Some(keyspace.clone()));
        }
        let exists = self.database.keyspace_exists(space.name());
        exists.then(|| self.keyspace(space)).transpose()
    }

    fn keyspace(&self, space: Space) -> Result<Keyspace, Error> {
        if let Some(keyspace) = self.spaces.read().get(&space) {
            return Ok(keyspace.clone());
        }
        let options = || KeyspaceCreateOptions::default().max_memtable_size(MEMTABLE_BYTES);
        let keyspace = self
            .database
            .keyspace(space.name(), options)
            .map_err(failure)?;
        self.spaces.write().insert(space, keyspace.clone());
        Ok(keyspace)
    }

    fn get(&self, space: Space, key: &[u8]) -> Result<Option<Record>, Error> {
        let Some(keyspace) = self.existing(space)? else {
            return Ok(None);
        };
        let found = keyspace.get(key).map_err(failure)?;
        found
            .map(|bytes| record::decode(space, key, &bytes))
            .transpose()
    }

    fn scan(&self, scan: &Scan) -> Result<Page, Error> {
        let keyspace = match self.existing(scan.space)? {
            Some(keyspace) if !scan.is_empty() => keyspace,
            _ => return Ok(Page::default()),
        };
        let range = match &scan.end {
            Some(end) => keyspace.range(&scan.start[..]..&end[..]),
            None => keyspace.range(&scan.start[..]..),
        };
        scan.page(range.map(|guard| {
            let (key, bytes) = guard.into_inner().map_err(failure)?;
            let record = record::decode(scan.space, &key, &bytes)?;
            Ok(Entry {
                key: Bytes::copy_from_slice(&key),
                record,
            })
        }))
    }
}

/// The committer's way to the disk.
struct GroupWriter {
    files: Arc<Files>,
    /// Versions below may be given out without writing [`VERSIONS`] again.
    reserved: Version,
}

impl Disk for GroupWriter {
    fn version(&self, space: Space, key: &[u8]) -> Result<Version, Error> {
        Ok(self
            .files
            .get(space, key)?
            .map_or(0, |record| record.version))
    }

    fn write(
        &mut self,
        writes: &mut dyn Iterator<Item = Write>,
        next: Version,
    ) -> Result<(), Error> {
        let mut batch = self
            .files
            .database
            .batch()
            .durability(Some(PersistMode::SyncData));
        for Write { space, key, record } in writes {
            let keyspace = self.files.keyspace(space)?;
            match record {
                Some(record) => {
                    batch.insert(&keyspace, &key[..], record::encode(space, &key, &record));
                }
                None => batch.remove(&keyspace, &key[..]),
            }
        }
        let reserved = self.reserve(next, &mut batch)?;
        batch.commit().map_err(failure)?;
        self.reserved = reserved;
        Ok(())
    }
}

impl GroupWriter {
    /// Sets versions aside in `batch` if `next` has used them up. Returns where they end.
    fn reserve(&self, next: Version, batch: &mut OwnedWriteBatch) -> Result<Version, Error> {
        if next <= self.reserved {
            return Ok(self.reserved);
        }
        let reserved = next + VERSIONS_AHEAD;
        let value = Bytes::copy_from_slice(&reserved.to_le_bytes());
        let bytes = record::encode(
            OWN,
            VERSIONS,
            &Record {
                version: next,
                value,
            },
        );
        batch.insert(&self.files.keyspace(OWN)?, VERSIONS, bytes);
        Ok(reserved)
    }
}

/// The first version that no earlier run can have given out.
fn reserved(files: &Files) -> Result<Version, Error> {
    let Some(record) = files.get(OWN, VERSIONS)? else {
        return Ok(0);
    };
    let bytes = <[u8; 8]>::try_from(&record.value[..]);
    bytes
        .map(Version::from_le_bytes)
        .map_err(|_| Error::damaged("the version counter is unreadable"))
}

fn failure(error: fjall::Error) -> Error {
    match error {
        fjall::Error::Io(error) => error.into(),
        fjall::Error::Poisoned => Error::Io("an earlier write failed".into()),
        other => Error::damaged(other.to_string()),
    }
}

//! The default store: an LSM tree on the local disk.
//!
//! Caches are small on purpose: an idle engine stays small. Only how records reach fjall is here;
//! commits, checksums and versions are `local`'s.

use std::{collections::HashMap, io, ops::ControlFlow, path::Path};

use fjall::{Database, Keyspace, KeyspaceCreateOptions, PersistMode, Readable};
use parking_lot::RwLock;

use super::{
    Durability, Error,
    local::{Files, Raw, Visit, VisitAll},
};

/// Blocks and filters kept in memory. The page cache of the system holds the rest.
const CACHE_BYTES: u64 = 4 << 20;

/// Writes of one space kept in memory before they become a table.
const MEMTABLE_BYTES: u64 = 8 << 20;

/// Journals kept for spaces that are seldom written; the least that fjall takes. What is in them
/// is read again at every start.
const JOURNALS_BYTES: u64 = 64 << 20;

/// Open table files; far below the usual limit of 1024 per process.
const FILES_MAX: usize = 128;

/// The open database; a space is a fjall keyspace, made at its first write.
pub(super) struct Fjall {
    database: Database,
    spaces: RwLock<HashMap<String, Keyspace>>,
}

impl Files for Fjall {
    const NAME: &'static str = "fjall";
    type Value = fjall::UserValue;

    fn open(path: &Path) -> Result<Self, Error> {
        let database = Database::builder(path)
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
            })?;
        Ok(Fjall {
            database,
            spaces: RwLock::default(),
        })
    }

    fn get(&self, space: &str, key: &[u8]) -> Result<Option<Self::Value>, Error> {
        let Some(keyspace) = self.existing(space)? else {
            return Ok(None);
        };
        keyspace.get(key).map_err(failure)
    }

    fn visit(
        &self,
        space: &str,
        start: &[u8],
        end: Option<&[u8]>,
        visit: &mut Visit<'_>,
    ) -> Result<(), Error> {
        let Some(keyspace) = self.existing(space)? else {
            return Ok(());
        };
        let range = match end {
            Some(end) => keyspace.range(start..end),
            None => keyspace.range(start..),
        };
        for guard in range {
            let (key, bytes) = guard.into_inner().map_err(failure)?;
            if let ControlFlow::Break(()) = visit(&key, &bytes)? {
                break;
            }
        }
        Ok(())
    }

    fn copy(&self, visit: &mut VisitAll<'_>) -> Result<(), Error> {
        let moment = self.database.snapshot();
        for name in self.database.list_keyspace_names() {
            let keyspace = self.keyspace(&name)?;
            for guard in moment.iter(&keyspace) {
                let (key, bytes) = guard.into_inner().map_err(failure)?;
                visit(&name, &key, &bytes)?;
            }
        }
        Ok(())
    }

    fn write(&self, writes: Vec<Raw>, durability: Durability) -> Result<(), Error> {
        let mode = match durability {
            Durability::Durable => PersistMode::SyncData,
            Durability::Relaxed => PersistMode::Buffer,
        };
        let mut batch = self.database.batch().durability(Some(mode));
        for Raw { space, key, value } in writes {
            let keyspace = self.keyspace(&space)?;
            match value {
                Some(value) => batch.insert(&keyspace, &key[..], value),
                None => batch.remove(&keyspace, &key[..]),
            }
        }
        batch.commit().map_err(failure)
    }

    fn sync(&self) -> Result<(), Error> {
        self.database
            .persist(PersistMode::SyncData)
            .map_err(failure)
    }
}

impl Fjall {
    /// The keyspace of `space`, if anything was ever written to it.
    fn existing(&self, space: &str) -> Result<Option<Keyspace>, Error> {
        if let Some(keyspace) = self.spaces.read().get(space) {
            return Ok(Some(keyspace.clone()));
        }
        let exists = self.database.keyspace_exists(space);
        exists.then(|| self.keyspace(space)).transpose()
    }

    fn keyspace(&self, space: &str) -> Result<Keyspace, Error> {
        if let Some(keyspace) = self.spaces.read().get(space) {
            return Ok(keyspace.clone());
        }
        let options = || KeyspaceCreateOptions::default().max_memtable_size(MEMTABLE_BYTES);
        let keyspace = self.database.keyspace(space, options).map_err(failure)?;
        self.spaces
            .write()
            .insert(space.to_owned(), keyspace.clone());
        Ok(keyspace)
    }
}

fn failure(error: fjall::Error) -> Error {
    if let Some(error) = caused_by(&error) {
        return error.into();
    }
    match error {
        // A commit tells its own failure itself; this is one of the work behind it, which makes
        // tables of what the journal has, and can be made again.
        fjall::Error::Poisoned => Error::Short("work on its tables failed".into()),
        other => Error::damaged(other.to_string()),
    }
}

/// What the system said, however deep it is wrapped.
fn caused_by(error: &fjall::Error) -> Option<&io::Error> {
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        if let Some(error) = error.downcast_ref() {
            return Some(error);
        }
        cause = error.source();
    }
    None
}

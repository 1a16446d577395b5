//! A store in files of this machine, whichever library keeps them.
//!
//! What all of them have in common is here: one committer, records with a checksum of their own,
//! versions that never repeat, and a store that is opened again when a failed write has passed.
//! What a library is asked for is [`Files`].

use std::{
    borrow::Cow,
    ops::{ControlFlow, Deref},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use parking_lot::{Mutex, RwLock};
use tokio::task::spawn_blocking;

use super::{
    Batch, Committed, Copied, Durability, Entry, Error, Health, Page, Record, Scan, Snapshot,
    Space, Storage, Version,
    backup::Saved,
    committer::{Committer, Disk},
    group::Write,
    snapshot::Pages,
};

pub(super) mod directory;
mod probe;
mod record;
#[cfg(test)]
mod tests;

/// Where a store keeps what it needs itself.
const OWN: Space = Space::new("store");

/// Versions below the number under this key may have been given out.
const VERSIONS: &[u8] = b"versions";

/// Versions set aside by one write of [`VERSIONS`], so that most commits need not touch it. At
/// most so many are skipped by a restart.
const VERSIONS_AHEAD: Version = 1 << 16;

/// How long opening a store again waits for those who read it.
const READERS_WAIT: Duration = Duration::from_secs(1);

/// One write of a restored backup: as a large group commit.
const RESTORE_BYTES: usize = 1 << 20;
const RESTORE_RECORDS: usize = 4096;

/// A record on its way to the files, as it will lie there; `None` deletes.
pub(super) struct Raw {
    pub(super) space: Cow<'static, str>,
    pub(super) key: Bytes,
    pub(super) value: Option<Vec<u8>>,
}

/// Gets records in order, and says when it has enough.
pub(super) type Visit<'a> = dyn FnMut(&[u8], &[u8]) -> Result<ControlFlow<()>, Error> + 'a;

/// Gets the records of all spaces: space, key and bytes.
pub(super) type VisitAll<'a> = dyn FnMut(&str, &[u8], &[u8]) -> Result<(), Error> + 'a;

/// Ordered bytes in files: what a library must do.
pub(super) trait Files: Send + Sync + Sized + 'static {
    /// As settings and `status` name it.
    const NAME: &'static str;

    /// Bytes as the library hands them out.
    type Value: Deref<Target = [u8]>;

    /// Opens what lies in the folder `path`, or makes it there.
    fn open(path: &Path) -> Result<Self, Error>;

    fn get(&self, space: &str, key: &[u8]) -> Result<Option<Self::Value>, Error>;

    /// Visits the records from `start` up to, not including, `end`, in order of keys.
    fn visit(
        &self,
        space: &str,
        start: &[u8],
        end: Option<&[u8]>,
        visit: &mut Visit<'_>,
    ) -> Result<(), Error>;

    /// Visits every record of one moment, with its space.
    fn copy(&self, visit: &mut VisitAll<'_>) -> Result<(), Error>;

    /// Writes all or nothing. `Durable` returns when it would survive a power cut, `Relaxed` when
    /// it would survive the end of this process.
    fn write(&self, writes: Vec<Raw>, durability: Durability) -> Result<(), Error>;

    /// Returns when everything written before would survive a power cut.
    fn sync(&self) -> Result<(), Error>;
}

/// Opens the store in the folder `path`, or makes one.
///
/// # Errors
/// `Locked` when another process has it open, `Format` when it is not a store of this version and
/// adapter, `Damaged` when its files are broken, `Io` when the disk fails.
pub(super) fn open<F: Files>(path: &Path) -> Result<Arc<dyn Storage>, Error> {
    directory::prepare(path, F::NAME, |fresh| F::open(fresh).map(drop))?;
    let shared = Arc::new(Shared {
        files: RwLock::new(Some(F::open(path)?)),
        trouble: Mutex::default(),
    });
    let reserved = shared.reserved()?;
    let disk = Writer {
        shared: Arc::clone(&shared),
        path: path.to_owned(),
        reserved,
    };
    Ok(Arc::new(Local {
        committer: Committer::start(disk, reserved.max(1))?,
        shared,
    }))
}

/// Makes a store in the folder `path` of what a backup holds. It is there as a whole or not at all.
/// Tells `progress` how many records are written.
pub(super) fn restore<F: Files>(
    path: &Path,
    backup: &mut dyn Iterator<Item = Result<Saved, Error>>,
    progress: &mut dyn FnMut(u64),
) -> Result<u64, Error> {
    let mut records = 0;
    directory::prepare(path, F::NAME, |fresh| {
        let files = F::open(fresh)?;
        let (mut raws, mut bytes, mut next) = (Vec::new(), 0, 1);
        for saved in backup {
            let Saved { space, key, record } = saved?;
            next = next.max(record.version + 1);
            bytes += key.len() + record.value.len();
            raws.push(Raw {
                value: Some(record::encode(&space, &key, &record)),
                space: Cow::Owned(space),
                key,
            });
            records += 1;
            if bytes >= RESTORE_BYTES || raws.len() >= RESTORE_RECORDS {
                files.write(std::mem::take(&mut raws), Durability::Relaxed)?;
                bytes = 0;
                progress(records);
            }
        }
        raws.push(reservation(next, next));
        files.write(raws, Durability::Relaxed)?;
        files.sync()
    })?;
    Ok(records)
}

/// Field order matters: the committer finishes before the files close.
struct Local<F> {
    committer: Committer,
    shared: Arc<Shared<F>>,
}

/// What readers and the committer share.
struct Shared<F> {
    /// Absent while, and if, the store could not be opened again.
    files: RwLock<Option<F>>,
    /// Why nothing is written now.
    trouble: Mutex<Option<Arc<str>>>,
}

#[async_trait]
impl<F: Files> Storage for Local<F> {
    /// Reads on the calling task: a hit in memory takes microseconds, less than to hand it over.
    async fn get(&self, space: Space, key: &[u8]) -> Result<Option<Record>, Error> {
        self.shared.get(space, key)
    }

    async fn scan(&self, scan: Scan) -> Result<Page, Error> {
        let shared = Arc::clone(&self.shared);
        let page = spawn_blocking(move || shared.scan(&scan)).await;
        page.unwrap_or_else(|error| Err(Error::Unavailable(error.to_string().into())))
    }

    async fn commit(&self, batch: Batch) -> Result<Committed, Error> {
        self.committer.commit(batch).await
    }

    async fn snapshot(&self) -> Result<Snapshot, Error> {
        let shared = Arc::clone(&self.shared);
        Ok(Snapshot::of(move |pages| shared.copy(pages)))
    }

    fn health(&self) -> Health {
        Health {
            adapter: F::NAME,
            read_only: self.shared.trouble.lock().clone(),
        }
    }
}

impl<F: Files> Shared<F> {
    fn with<T>(&self, work: impl FnOnce(&F) -> Result<T, Error>) -> Result<T, Error> {
        match &*self.files.read() {
            Some(files) => work(files),
            None => Err(Error::Unavailable(
                "the store could not be opened again; the next write tries".into(),
            )),
        }
    }

    fn get(&self, space: Space, key: &[u8]) -> Result<Option<Record>, Error> {
        let found = self.with(|files| files.get(space.name(), key))?;
        found
            .map(|bytes| record::decode(space.name(), key, &bytes))
            .transpose()
    }

    fn scan(&self, scan: &Scan) -> Result<Page, Error> {
        let mut filling = scan.filling();
        if scan.is_empty() {
            return Ok(filling.page);
        }
        self.with(|files| {
            let mut take = |key: &[u8], bytes: &[u8]| -> Result<ControlFlow<()>, Error> {
                if filling.is_full() {
                    return Ok(ControlFlow::Break(()));
                }
                let record = record::decode(scan.space.name(), key, bytes)?;
                let key = Bytes::copy_from_slice(key);
                filling.push(Entry { key, record });
                Ok(ControlFlow::Continue(()))
            };
            files.visit(
                scan.space.name(),
                &scan.start,
                scan.end.as_deref(),
                &mut take,
            )
        })?;
        Ok(filling.page)
    }

    /// Everything but what the store keeps for itself.
    fn copy(&self, pages: &mut Pages) -> Result<(), Error> {
        let mut space: Arc<str> = OWN.name().into();
        self.with(|files| {
            files.copy(&mut |name, key, bytes| {
                if name == OWN.name() {
                    return Ok(());
                }
                if *space != *name {
                    space = name.into();
                }
                pages.push(Copied {
                    space: Arc::clone(&space),
                    key: Bytes::copy_from_slice(key),
                    record: record::decode(name, key, bytes),
                })
            })
        })
    }

    /// The first version that no earlier run can have given out.
    fn reserved(&self) -> Result<Version, Error> {
        let Some(record) = self.get(OWN, VERSIONS)? else {
            return Ok(0);
        };
        let bytes = <[u8; 8]>::try_from(&record.value[..]);
        bytes
            .map(Version::from_le_bytes)
            .map_err(|_| Error::damaged("the version counter is unreadable"))
    }
}

/// The committer's way to the files.
struct Writer<F> {
    shared: Arc<Shared<F>>,
    path: PathBuf,
    /// Versions below may be given out without writing [`VERSIONS`] again.
    reserved: Version,
}

impl<F: Files> Disk for Writer<F> {
    fn version(&self, space: Space, key: &[u8]) -> Result<Version, Error> {
        let record = self.shared.get(space, key)?;
        Ok(record.map_or(0, |record| record.version))
    }

    fn write(
        &mut self,
        writes: &mut dyn Iterator<Item = Write>,
        next: Version,
        durability: Durability,
    ) -> Result<(), Error> {
        let mut raws: Vec<Raw> = writes.map(raw).collect();
        let reserved = if next > self.reserved {
            let reserved = next + VERSIONS_AHEAD;
            raws.push(reservation(next, reserved));
            reserved
        } else {
            self.reserved
        };
        self.shared.with(|files| files.write(raws, durability))?;
        self.reserved = reserved;
        Ok(())
    }

    fn sync(&mut self) -> Result<(), Error> {
        self.shared.with(F::sync)
    }

    /// What failed is gone with the files that were open: what is there now is read anew, and
    /// written to from there.
    fn reopen(&mut self) -> Result<(), Error> {
        probe::room(&self.path)?;
        let mut files = self
            .shared
            .files
            .try_write_for(READERS_WAIT)
            .ok_or_else(|| Error::Unavailable("somebody reads the store".into()))?;
        // The lock of the old ones must be gone before the new ones take it.
        *files = None;
        *files = Some(F::open(&self.path)?);
        Ok(())
    }

    fn tell(&self, trouble: Option<&Error>) {
        *self.shared.trouble.lock() = trouble.map(|error| error.to_string().into());
    }
}

fn raw(write: Write) -> Raw {
    let Write { space, key, record } = write;
    let value = record.map(|record| record::encode(space.name(), &key, &record));
    let space = Cow::Borrowed(space.name());
    Raw { space, key, value }
}

fn reservation(next: Version, reserved: Version) -> Raw {
    raw(Write {
        space: OWN,
        key: Bytes::from_static(VERSIONS),
        record: Some(Record {
            version: next,
            value: Bytes::copy_from_slice(&reserved.to_le_bytes()),
        }),
    })
}

//! A store kept by sled 0.34. Its limits: docs/storage.md.
//!
//! `flush` of this sled hands its log to the system and does not sync it, so the files are synced
//! here. Values are cut into chunks; all records are in one tree, because its batches are atomic
//! over one tree only.

use std::{
    collections::HashSet,
    fs::{self, File},
    ops::ControlFlow,
    path::{Path, PathBuf},
};

use bytes::BufMut;
use parking_lot::{Mutex, RwLock};

use super::{
    Durability, Error,
    local::{Files, Raw, Visit, VisitAll, directory},
};

/// Memory for pages. sled goes over it: it keeps what was not flushed, and an index of all pages.
const CACHE_BYTES: u64 = 16 << 20;

/// Above about 128 KiB sled puts a value into a file of its own.
const CHUNK_BYTES: usize = 64 << 10;

/// First byte of a key: records, by space, a zero, and their key.
const RECORDS: u8 = b'r';

/// Further chunks of records, by the length of the record's place, that place, and their number.
const CHUNKS: u8 = b'c';

pub(super) struct Sled {
    /// Held by a commit until it is on disk, so that no reader sees what might not be.
    database: RwLock<sled::Db>,
    path: PathBuf,
    /// Files for large pages, which were synced and never change.
    synced_blobs: Mutex<HashSet<PathBuf>>,
    _lock: File,
}

impl Files for Sled {
    const NAME: &'static str = "sled";
    type Value = Vec<u8>;

    fn open(path: &Path) -> Result<Self, Error> {
        let lock = directory::lock(path)?;
        let path = path.join("sled");
        let database = sled::Config::new()
            .path(&path)
            .cache_capacity(CACHE_BYTES)
            .flush_every_ms(None)
            .open()
            .map_err(failure)?;
        let opened = Sled {
            database: RwLock::new(database),
            path,
            synced_blobs: Mutex::default(),
            _lock: lock,
        };
        opened.sync_files()?;
        Ok(opened)
    }

    fn get(&self, space: &str, key: &[u8]) -> Result<Option<Vec<u8>>, Error> {
        let database = self.database.read();
        let place = place(space, key);
        let head = database.get(&place).map_err(failure)?;
        head.map(|head| value(&database, &place, &head)).transpose()
    }

    fn visit(
        &self,
        space: &str,
        start: &[u8],
        end: Option<&[u8]>,
        visit: &mut Visit<'_>,
    ) -> Result<(), Error> {
        let database = self.database.read();
        let end = match end {
            Some(end) => place(space, end),
            None => behind(space),
        };
        for found in database.range(place(space, start)..end) {
            let (place, head) = found.map_err(failure)?;
            let value = value(&database, &place, &head)?;
            if let ControlFlow::Break(()) = visit(&place[space.len() + 2..], &value)? {
                break;
            }
        }
        Ok(())
    }

    /// This sled has no snapshots: commits wait until the copy is made.
    fn copy(&self, visit: &mut VisitAll<'_>) -> Result<(), Error> {
        let database = self.database.read();
        for found in database.scan_prefix([RECORDS]) {
            let (place, head) = found.map_err(failure)?;
            let value = value(&database, &place, &head)?;
            let end = place.iter().position(|byte| *byte == 0);
            let (space, key) = place[1..].split_at(end.ok_or_else(cut_short)? - 1);
            let space = str::from_utf8(space).map_err(|_| cut_short())?;
            visit(space, &key[1..], &value)?;
        }
        Ok(())
    }

    fn write(&self, writes: Vec<Raw>, durability: Durability) -> Result<(), Error> {
        let database = self.database.write();
        let mut batch = sled::Batch::default();
        for Raw { space, key, value } in writes {
            let place = place(&space, &key);
            let head = database.get(&place).map_err(failure)?;
            let chunks_before = head.map_or(Ok(0), |head| chunks(&head))?;
            let chunks_now = match value {
                Some(value) => put(&mut batch, &place, &value),
                None => {
                    batch.remove(place.clone());
                    0
                }
            };
            for number in chunks_now..chunks_before {
                batch.remove(chunk_place(&place, number));
            }
        }
        database.apply_batch(batch).map_err(failure)?;
        database.flush().map_err(failure)?;
        match durability {
            Durability::Durable => self.sync_files(),
            Durability::Relaxed => Ok(()),
        }
    }

    fn sync(&self) -> Result<(), Error> {
        let _no_commit = self.database.write();
        self.sync_files()
    }
}

impl Sled {
    /// Does what sled does not: makes its files survive a power cut.
    fn sync_files(&self) -> Result<(), Error> {
        let blobs = self.path.join("blobs");
        let mut synced = self.synced_blobs.lock();
        let mut there = HashSet::new();
        let mut is_new = false;
        for entry in fs::read_dir(&blobs)? {
            let path = entry?.path();
            if !synced.contains(&path) {
                File::open(&path)?.sync_all()?;
                is_new = true;
            }
            there.insert(path);
        }
        *synced = there;
        if is_new {
            File::open(&blobs)?.sync_all()?;
        }
        Ok(File::open(self.path.join("db"))?.sync_data()?)
    }
}

fn place(space: &str, key: &[u8]) -> Vec<u8> {
    [&[RECORDS], space.as_bytes(), &[0], key].concat()
}

/// The first place behind all of `space`.
fn behind(space: &str) -> Vec<u8> {
    [&[RECORDS], space.as_bytes(), &[1]].concat()
}

fn chunk_place(place: &[u8], number: u32) -> Vec<u8> {
    let mut bytes = vec![CHUNKS];
    bytes.put_u32(place.len() as u32);
    bytes.put_slice(place);
    bytes.put_u32(number);
    bytes
}

/// Puts `value`: its first chunk behind the number of the others. Returns that number.
fn put(batch: &mut sled::Batch, place: &[u8], value: &[u8]) -> u32 {
    let (first, rest) = value.split_at(value.len().min(CHUNK_BYTES));
    let mut further = 0;
    for chunk in rest.chunks(CHUNK_BYTES) {
        batch.insert(chunk_place(place, further), chunk);
        further += 1;
    }
    let head = [&further.to_be_bytes()[..], first].concat();
    batch.insert(place, head);
    further
}

fn chunks(head: &[u8]) -> Result<u32, Error> {
    let number = head.first_chunk().ok_or_else(cut_short)?;
    Ok(u32::from_be_bytes(*number))
}

fn value(database: &sled::Db, place: &[u8], head: &[u8]) -> Result<Vec<u8>, Error> {
    let mut value = head.get(4..).ok_or_else(cut_short)?.to_vec();
    for number in 0..chunks(head)? {
        let chunk = database.get(chunk_place(place, number)).map_err(failure)?;
        value.extend_from_slice(&chunk.ok_or_else(cut_short)?);
    }
    Ok(value)
}

fn cut_short() -> Error {
    Error::damaged("a record without its end")
}

fn failure(error: sled::Error) -> Error {
    match error {
        sled::Error::Io(error) => error.into(),
        other => Error::damaged(other.to_string()),
    }
}
